"""Aspect networks of a run: where their training is kept, what it belongs to, how to load one."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from began_jax import aspects, moving
from began_jax.configs import AspectConfig, TrainConfig
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.kinds import Kind
from began_jax.models.heads import factor, together
from began_jax.presets import ASPECT_RECIPES, DEFAULT_RECIPE, MANY_LABELS
from began_jax.run import checkpoints, closed_form, image_network
from began_jax.run.answers import TrainedAspect, answering
from began_jax.run.folder import Run
from began_jax.run.generator import Generator


def origin(run: Run, config: AspectConfig) -> dict[str, Any]:
    """Return what the pairs that an aspect network learns from belong to: another origin makes another network.

    So do the annotations of a data set that was prepared with --partial, which may change, and the T of new images.
    """
    how, step = run.inversion
    known: dict[str, Any] = {"generator_step": step}
    labels = run.folder / "labels" / "config.json"
    if config.target != "dataset" and labels.is_file():
        known["labels_of"] = " ".join(map(str, read_json(labels).values()))
    if config.target != "generated":
        known |= {f"inversion_{name}": value for name, value in dataclasses.asdict(how).items()}
        known |= run.learnt_annotations
    return known


def trained(run: Run) -> list[Path]:
    """Return the folders of the aspect networks of a run, by name."""
    return sorted(path for path in (run.folder / "aspect").glob("*") if checkpoints.exists(path))


def newest(run: Run) -> str:
    """Return the name of the aspect network of a run that was trained last; InputError when there is none."""
    found = trained(run)
    if not found:
        raise InputError(f"{run.folder / 'aspect'} holds no aspect network: run aspect.py --run {run.folder} first")
    return max(found, key=checkpoints.written).name


def shows_layers(run: Run) -> bool:
    """Return whether a run's generator shows its inner layers, as one of the user's may not."""
    return run.own is None or run.own.layers is not None


def possible(run: Run, config: AspectConfig) -> AspectConfig:
    """Return a recipe as far as a run can follow it: to read images takes an encoder, features and images a head."""
    head = run.kind.head_of(run.data) is not None
    features = config.features and head and shows_layers(run)
    images = config.image_steps if head and config.target == "dataset" else 0
    # T's labels are those of G(z), which the layers for z show.
    read = config.read and bool(run.config.encoder_weight) and not (features and config.target != "dataset")
    again = config.self_training and images > 0
    return dataclasses.replace(config, read=read, features=features, image_steps=images, self_training=again)


def fitting(run: Run, config: AspectConfig, count: int) -> AspectConfig:
    """Return a configuration as `count` latents are trained on: its batch, where few are annotated, and its epochs.

    Raises:
        InputError: the batch is larger than what is trained on.
    """
    if config.labelled or run.data.partial:
        config = aspects.fitting_batch(config, count)
    aspects.check_batch(config, count)
    return aspects.with_epochs(config, count)


def default_recipe(run: Run, labels: int = 0) -> str:
    """Return the name of the recipe of a run's aspect, by its preset, its annotation, and how many images have one.

    That number is `labels`, or that of the inverted training images with an annotation.
    """
    kind, name = run.kind, DEFAULT_RECIPE.get(run.config.preset, "paper")
    if name == "features" and (kind.head_of(run.data) is None or not shows_layers(run)):
        name = "combined"
    if name == "features" and kind.name != "mask":
        labels = labels or len(run.annotated("train", len(run.latents("train")["z"])))
        name = "combined-images" if labels >= MANY_LABELS else name
    return f"{name}-mask" if f"{name}-mask" in ASPECT_RECIPES and kind.name == "mask" else name


class Untrained(NamedTuple):
    """The network of an aspect, what it is given in a latent's place (None: the latent), and the shape of that."""

    network: nn.Module
    sight: aspects.Sight | None
    inputs: tuple[int, ...]

    def init(self, config: AspectConfig) -> aspects.AspectState:
        """Return the state before the first epoch."""
        return aspects.init(config, self.network, self.inputs)


def untrained(config: AspectConfig, kind: Kind, data: Any, training: TrainConfig, generator: Generator) -> Untrained:
    """Return what is trained for an aspect of a generator: on its inner layers with --features, else on latents.

    The data set may be anything with its shape, names, height and width: that of weights that come along is not there.
    """
    if not config.features:
        return Untrained(kind.network(training, data), None, (generator.latent_size,))
    layers, head = generator.layers, kind.head_of(data)
    if layers is None or head is None:
        raise InputError(f"--features: {'the generator shows no layers' if head else f'{kind.plural} have no head'}")

    def look(parameters: Any, z: jax.Array) -> jax.Array:
        return together(layers(parameters, z), data.height // factor(data.height, data.width))

    change = kind.moves
    if kind.name == "mask" and config.target != "dataset":
        change = moving.with_masks  # T's may be soft
    sight = aspects.Sight(look, generator.parameters, change)
    latent = jax.ShapeDtypeStruct((1, generator.latent_size), jnp.float32)
    return Untrained(head, sight, jax.eval_shape(sight, latent).shape[1:])


def of_run(run: Run, config: AspectConfig) -> Untrained:
    """Return the same for the generator that a run was inverted with."""
    return untrained(config, run.kind, run.data, run.config, run.inverted)


def load(run: Run, name: str, folder: Path | None = None, image: str | None = None) -> TrainedAspect:
    """Return the network with the best parameters of its newest checkpoint, with what is beside it.

    An image network whose training has not ended is left out, and a line says so.

    Args:
        run: whose network it is.
        name: of the network.
        folder: where networks are kept, by default the run's.
        image: which of its image networks, by default the last one (`image_network.trained`).

    Raises:
        InputError: as `stored`, and where what is beside it is damaged.
    """
    config, state = stored(run, name, folder)
    folder = (folder or run.folder / "aspect") / name
    beside = closed_form.load(folder) if config.closed_form == "process" else None
    image = image_network.trained(config, folder) if image is None else image
    images = image_network.load(run, config, folder, image) if image else None
    made = of_run(run, config)
    return answering(run, config, made.network, made.sight, state, beside, images)


def stored(run: Run, name: str, folder: Path | None = None) -> tuple[AspectConfig, aspects.AspectState]:
    """Return the configuration of an aspect network, and the state of its newest checkpoint.

    Raises:
        InputError: there is no such network, it is damaged, or it belongs to another state of the generator.
    """
    folder = (folder or run.folder / "aspect") / name
    if not checkpoints.exists(folder):
        raise InputError(f"{folder} holds no aspect network: run aspect.py --run {run.folder} --name {name} first")
    given = read_json(folder / "config.json")
    _, step = run.inversion
    if (learnt := given.get("generator_step", step)) != step:
        raise InputError(
            f"{folder} was trained for the generator of step {learnt}, and the run's latents are now of step {step}: "
            f"delete it, and run aspect.py again"
        )
    # options that came later have their defaults in older runs
    aspect = AspectConfig(**{key: given[key] for key in AspectConfig.__dataclass_fields__ if key in given})
    saved = checkpoints.manager(folder, read_only=True)
    like = of_run(run, aspect).init(aspect)
    found = checkpoints.restore_latest(saved, like)
    assert found is not None  # `exists` said so
    saved.close()
    return aspect, found[1]

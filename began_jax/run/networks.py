"""Aspect networks of a run: where their training is kept, what it belongs to, how to load one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from began_jax import aspects, gaussian_process, moving
from began_jax.configs import AspectConfig, TrainConfig
from began_jax.data.datasets import images_of
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.kinds import Kind
from began_jax.models import apply
from began_jax.models.heads import factor, together
from began_jax.presets import ASPECT_RECIPES, DEFAULT_RECIPE, MANY_LABELS
from began_jax.run import checkpoints, closed_form, image_network, reading
from began_jax.run.folder import Run
from began_jax.run.generator import Generator, batched


def origin(run: Run, config: AspectConfig) -> dict[str, Any]:
    """Return what the latents that an aspect network learns from belong to: another origin makes another network."""
    how, step = run.inversion
    if config.target == "generated":
        return {"generator_step": step}
    return {"generator_step": step} | {f"inversion_{name}": value for name, value in dataclasses.asdict(how).items()}


def trained(run: Run) -> list[Path]:
    """Return the folders of the aspect networks of a run, by name."""
    return sorted(path for path in (run.folder / "aspect").glob("*") if checkpoints.exists(path))


def newest(run: Run) -> str:
    """Return the name of the aspect network of a run that was trained last; InputError when there is none."""
    found = trained(run)
    if not found:
        raise InputError(f"{run.folder / 'aspect'} holds no aspect network: run aspect.py --run {run.folder} first")
    return max(found, key=lambda path: max(p.stat().st_mtime for p in path.iterdir())).name


class Pure(NamedTuple):
    """What a `TrainedAspect` does, as functions of (parameters, ...) to transform and to export.

    Images x are [N, H, W, C] in [-1, 1].
    """

    parameters: dict[str, Any]  # of the network, and of what is beside it
    annotate: Callable[[Any, Any], Any]  # (parameters, z) -> annotations
    answer: Callable[[Any, Any], Any]  # (parameters, z) -> annotations
    of_images: Callable[[Any, Any, Any], Any]  # (parameters, z, x) -> annotations
    expected_error: Callable[[Any, Any], Any] | None = None  # (parameters, z) -> [N]
    look: Callable[[Any, Any], Any] | None = None  # (parameters, x) -> annotations


class TrainedAspect(NamedTuple):
    """An aspect network of a run, as functions of numpy arrays.

    `annotate` maps latents z [N, latent] to annotations [N, ...] of the images G(z). `answer` is the same, but of the
    latents that it is given, and without the image network: with --read, of what the encoder has read (`reading`). With
    --features too, `annotate` gives z to the network and what was read to the process. `look` is the image network's
    answer for images, with which `of_images` says what all together say of images and what is read of them, and
    `of_inverted` the same of images and the latents that they were inverted to.
    """

    annotate: Callable[[np.ndarray], np.ndarray]
    epoch: int  # epochs that it was trained for
    share: float = 1.0  # of the network in what is said of latents; the rest is that of the process beside it
    expected_error: Callable[[np.ndarray], np.ndarray] | None = None  # of the answers [N], see `closed_form`
    answer: Callable[[np.ndarray], np.ndarray] | None = None  # None: annotate
    read: bool = False
    pure: Pure | None = None  # the same functions, traced
    look: Callable[[np.ndarray], np.ndarray] | None = None  # images uint8 [N, H, W, C] -> annotations
    look_share: float = 0.0  # of it in the answers; the rest is that of all others

    def of_images(self, z: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the annotations of images uint8 [N, H, W, C], by what is read of them or their latents."""
        return self.with_look((self.answer or self.annotate)(z), images)

    def with_look(self, said: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return what all together say of images, when what is `said` of their latents is known [N, ...]."""
        return said if self.look is None else self.look_share * self.look(images) + (1 - self.look_share) * said

    def of_inverted(self, run: Run, z: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the annotations of images uint8 [N, H, W, C] that were inverted to latents [N, latent]."""
        return self.of_images(reading.of_inverted(run.inverted, z, images) if self.read else z, images)

    def known(self, run: Run, split: str, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the annotations of images of a split, by their numbers [N] and inverted latents [N, latent]."""
        if not self.read and self.look is None:
            return (self.answer or self.annotate)(z)
        source = run.data.source(split)
        parts = (slice(first, first + reading.BATCH) for first in range(0, len(rows), reading.BATCH))
        return np.concatenate([self.of_inverted(run, z[part], images_of(source, rows[part])) for part in parts])


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
    return dataclasses.replace(config, read=read, features=features, image_steps=images)


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


def load(run: Run, name: str) -> TrainedAspect:
    """Return the network with the best parameters of its newest checkpoint, with what is beside it.

    An image network whose training has not ended is left out, and a line says so. Errors are those of `stored`, and of
    what is beside it.
    """
    config, state = stored(run, name)
    folder = run.folder / "aspect" / name
    beside = closed_form.load(folder) if config.closed_form == "process" else None
    images = image_network.load(run, config, folder) if image_network.trained(config, folder) else None
    return _answering(run, config, state, beside, images)


def fit(
    run: Run, config: AspectConfig, latents: np.ndarray, targets: np.ndarray, rows: np.ndarray | None = None
) -> TrainedAspect:
    """Return a network trained on these pairs as `aspect.py` does, which is kept nowhere: for measurements.

    An image network beside it takes the `rows`, the numbers of the pairs' images in the training split.
    """
    config = aspects.with_epochs(aspects.fitting_batch(config, len(latents)), len(latents))
    made = of_run(run, config)
    pairs = (jnp.asarray(latents), jnp.asarray(targets))
    trainer = aspects.Trainer(config, made.network, *pairs, sight=made.sight, loss=run.kind.loss)
    state = made.init(config)
    for _ in range(config.epochs):
        state, metrics = trainer.epoch(state)
        aspects.check_finite({name: float(value) for name, value in metrics.items()}, state.done)
    beside = closed_form.fit(config, latents, targets) if config.closed_form == "process" else None
    images = None
    if config.image_steps:
        assert rows is not None
        images = image_network.fit(run, config, image_network.Examples(latents, rows, targets))
    return _answering(run, config, state, beside, images)


def _answering(
    run: Run,
    config: AspectConfig,
    state: aspects.AspectState,
    beside: closed_form.Beside | None,
    images: image_network.Beside | None,
) -> TrainedAspect:
    made, generator, size = of_run(run, config), run.inverted, run.inverted.batch
    parameters: dict[str, Any] = {"network": state.best_parameters}
    if made.sight or config.read or images is not None:
        parameters["generator"] = generator.parameters
    if config.read:
        parameters["encoder"] = generator.encoder_parameters
    share, seen_share, shape = 1.0, 0.0, ()

    def alone(p: Any, z: Any) -> Any:
        sight = made.sight and made.sight._replace(parameters=p["generator"])
        return aspects.predict(made.network, p["network"], z, config.members, sight)

    validation = beside or images
    validated: Any = None
    if validation is not None:
        validated = batched(alone, parameters, size)(validation.z) if len(validation.z) else validation.targets
    if beside is not None:
        shape, parameters["process"] = beside.targets.shape[1:], beside.process
        share = beside.share(validated, config.features)
        validated = share * validated + (1 - share) * beside.left_out
    if images is not None:
        seen_share = images.share(validated)
        validated = seen_share * images.answers + (1 - seen_share) * validated

    scale = 1.0
    if beside is not None and beside.errors:
        scale = beside.better(validated) if config.features or images else 1.0
        parameters["errors"] = beside.errors

    def expected(p: Any, z: Any) -> Any:
        return scale * closed_form.expected_error(p["errors"], z)

    def answers(p: Any, z: Any, read: Any) -> Any:
        """Return what both say, the network of latents z and the process of what was read."""
        answer = alone(p, z)
        if beside is None:
            return answer
        return share * answer + (1 - share) * gaussian_process.predict(p["process"], read, shape)

    ordinary: Any = None
    look = None
    if images is not None:
        ordinary, parameters["images"] = image_network.network(run)[0], images.parameters
        look = image_network.annotator(run, images.parameters)

    def seen(p: Any, x: Any) -> Any:
        return apply(ordinary, p["images"], x)

    def with_look(p: Any, said: Any, x: Any) -> Any:
        return said if images is None else seen_share * seen(p, x) + (1 - seen_share) * said

    def of_new(p: Any, z: Any) -> Any:
        if not config.read and images is None:
            return answers(p, z, z)
        x = generator.stored(p["generator"], z)
        read = generator.encoder(p["encoder"], x) if config.read else z
        # The inner layers of G for z are what it has drawn, pixel by pixel; E need not tell.
        return with_look(p, answers(p, z if config.features else read, read), x)

    def of_z(p: Any, z: Any) -> Any:
        return answers(p, z, z)

    def of_images(p: Any, z: Any, x: Any) -> Any:
        return with_look(p, of_z(p, z), jnp.clip(x, -1, 1))

    alone_needs = {"network", "process"} | ({"generator"} if made.sight else set())
    answer = batched(of_z, {name: value for name, value in parameters.items() if name in alone_needs}, size)
    annotate = batched(of_new, parameters, size) if config.read or images is not None else answer
    known = batched(expected, {"errors": parameters["errors"]}) if "errors" in parameters else None
    pure = Pure(parameters, of_new, of_z, of_images, expected if known else None, seen if look else None)
    return TrainedAspect(annotate, state.done, share, known, answer, config.read, pure, look, seen_share)


def stored(run: Run, name: str) -> tuple[AspectConfig, aspects.AspectState]:
    """Return the configuration of an aspect network, and the state of its newest checkpoint.

    Raises:
        InputError: there is no such network, it is damaged, or it belongs to another state of the generator.
    """
    folder = run.folder / "aspect" / name
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

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
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.kinds import Kind
from began_jax.models.heads import factor, together
from began_jax.presets import ASPECT_RECIPES, DEFAULT_RECIPE, MANY_LABELS
from began_jax.run import checkpoints, closed_form, reading
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
    """A function of (parameters, latents [N, latent]) -> annotations [N, ...], with its parameters."""

    function: Callable[[Any, Any], Any]
    parameters: Any

    def __call__(self, z: Any) -> jax.Array:
        return self.function(self.parameters, z)


class TrainedAspect(NamedTuple):
    """An aspect network of a run, as functions of numpy arrays.

    `annotate` maps latents z [N, latent] to annotations [N, ...] of the images G(z). `answer` is the same, but of the
    latents that it is given: with --read, of what the encoder has read (`reading`). With --features too, `annotate`
    gives z to the network and what was read to the process.
    """

    annotate: Callable[[np.ndarray], np.ndarray]
    epoch: int  # epochs that it was trained for
    share: float = 1.0  # of the network in the answers; the rest is that of the process beside it
    expected_error: Callable[[np.ndarray], np.ndarray] | None = None  # of the answers [N], see `closed_form`
    answer: Callable[[np.ndarray], np.ndarray] | None = None  # None: annotate
    read: bool = False
    pure: tuple[Pure, Pure] | None = None  # `annotate` and `answer` as functions to transform, such as to export

    def known(self, run: Run, split: str, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the annotations of images of a split, by their numbers [N] and inverted latents [N, latent]."""
        given = reading.of_images(run, split, rows, z) if self.read else z
        return (self.answer or self.annotate)(given)


def shows_layers(run: Run) -> bool:
    """Return whether a run's generator shows its inner layers, as one of the user's may not."""
    return run.own is None or run.own.layers is not None


def possible(run: Run, config: AspectConfig) -> AspectConfig:
    """Return a recipe as far as a run can follow it: to read images takes an encoder, and features take a head."""
    features = config.features and run.kind.head_of(run.data) is not None and shows_layers(run)
    # T's labels are those of G(z), which the layers for z show.
    read = config.read and bool(run.config.encoder_weight) and not (features and config.target != "dataset")
    return dataclasses.replace(config, read=read, features=features)


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
        name = "combined" if labels >= MANY_LABELS else name
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
    """Return the network with the best parameters of its newest checkpoint; errors as `stored`."""
    config, state = stored(run, name)
    beside = closed_form.load(run.folder / "aspect" / name) if config.closed_form == "process" else None
    return _answering(run, config, state, beside)


def fit(run: Run, config: AspectConfig, latents: np.ndarray, targets: np.ndarray) -> TrainedAspect:
    """Return a network trained on these pairs as `aspect.py` does, which is kept nowhere: for measurements."""
    config = aspects.with_epochs(aspects.fitting_batch(config, len(latents)), len(latents))
    made = of_run(run, config)
    pairs = (jnp.asarray(latents), jnp.asarray(targets))
    trainer = aspects.Trainer(config, made.network, *pairs, sight=made.sight, loss=run.kind.loss)
    state = made.init(config)
    for _ in range(config.epochs):
        state, metrics = trainer.epoch(state)
        aspects.check_finite({name: float(value) for name, value in metrics.items()}, state.done)
    beside = closed_form.fit(config, latents, targets) if config.closed_form == "process" else None
    return _answering(run, config, state, beside)


def _answering(
    run: Run, config: AspectConfig, state: aspects.AspectState, beside: closed_form.Beside | None
) -> TrainedAspect:
    made = of_run(run, config)
    own, process = {"network": state.best_parameters, "seen": made.sight and made.sight.parameters}, None
    share, expected, shape, size = 1.0, None, (), run.inverted.batch

    def alone(own: Any, z: Any) -> Any:
        sight = made.sight and made.sight._replace(parameters=own["seen"])
        return aspects.predict(made.network, own["network"], z, config.members, sight)

    if beside is not None:
        shape, process = beside.targets.shape[1:], beside.process
        validated = batched(alone, own, size)(beside.z) if len(beside.z) else beside.targets
        share = beside.share(validated, config.features)
        scale = beside.better(validated, share) if config.features else 1.0
        if beside.errors:
            expected = batched(lambda errors, z: scale * closed_form.expected_error(errors, z), beside.errors)

    def answers(parameters: Any, z: Any, read: Any) -> Any:
        """Return what both say, the network of latents z and the process of what was read."""
        answer = alone(parameters["network"], z)
        if process is None:
            return answer
        return share * answer + (1 - share) * gaussian_process.predict(parameters["process"], read, shape)

    parameters = {"network": own, "process": process}
    pure = Pure(lambda p, z: answers(p, z, z), parameters)
    answer, pures = batched(*pure, size), (pure, pure)
    annotate = answer
    if config.read:
        read, of_reading = reading.of_new(run.inverted)

        def of_new(both: Any, z: Any) -> Any:
            seen = read(both[0], z)
            # The inner layers of G for z are what it has drawn, pixel by pixel; E need not tell.
            return answers(both[1], z if config.features else seen, seen)

        pures = (Pure(of_new, (of_reading, parameters)), pure)
        annotate = batched(*pures[0], size)
    return TrainedAspect(annotate, state.done, share, expected, answer, config.read, pures)


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

"""Aspect networks of a run: where their training is kept, what it belongs to, how to load one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from began_jax import aspects, gaussian_process
from began_jax.configs import AspectConfig
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.run import checkpoints, closed_form, reading
from began_jax.run.folder import Run
from began_jax.run.generator import batched


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


class TrainedAspect(NamedTuple):
    """An aspect network of a run, as functions of numpy arrays.

    `annotate` maps latents z [N, latent] to annotations [N, ...] of the images G(z). `answer` is the same, but of the
    latents that it is given: with --read, of what the encoder has read (`reading`).
    """

    annotate: Callable[[np.ndarray], np.ndarray]
    epoch: int  # epochs that it was trained for
    share: float = 1.0  # of the network in the answers; the rest is that of the process beside it
    expected_error: Callable[[np.ndarray], np.ndarray] | None = None  # of the answers [N], see `closed_form`
    answer: Callable[[np.ndarray], np.ndarray] | None = None  # None: annotate
    read: bool = False

    def known(self, run: Run, split: str, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the annotations of images of a split, by their numbers [N] and inverted latents [N, latent]."""
        given = reading.of_images(run, split, rows, z) if self.read else z
        return (self.answer or self.annotate)(given)


def possible(run: Run, config: AspectConfig) -> AspectConfig:
    """Return a recipe as far as a run can follow it: to read images takes an encoder."""
    return config if run.config.encoder_weight else dataclasses.replace(config, read=False)


def load(run: Run, name: str) -> TrainedAspect:
    """Return the network with the best parameters of its newest checkpoint; errors as `stored`."""
    config, state = stored(run, name)
    beside = closed_form.load(run.folder / "aspect" / name) if config.closed_form == "process" else None
    return _answering(run, config, state, beside)


def fit(run: Run, config: AspectConfig, latents: np.ndarray, targets: np.ndarray) -> TrainedAspect:
    """Return a network trained on these pairs as `aspect.py` does, which is kept nowhere: for measurements."""
    config = aspects.fitting_batch(config, len(latents))
    network = run.kind.network(run.config, run.data)
    trainer = aspects.Trainer(config, network, jnp.asarray(latents), jnp.asarray(targets))
    state = aspects.init(config, network, run.config.latent_size)
    for _ in range(config.epochs):
        state, metrics = trainer.epoch(state)
        aspects.check_finite({name: float(value) for name, value in metrics.items()}, state.done)
    beside = closed_form.fit(config, latents, targets) if config.closed_form == "process" else None
    return _answering(run, config, state, beside)


def _answering(
    run: Run, config: AspectConfig, state: aspects.AspectState, beside: closed_form.Beside | None
) -> TrainedAspect:
    network = run.kind.network(run.config, run.data)
    alone = lambda parameters, z: aspects.predict(network, parameters, z, config.members)  # noqa: E731
    answers, parameters, share, expected = alone, state.best_parameters, 1.0, None
    if beside is not None:
        shape = beside.targets.shape[1:]
        share = beside.share(batched(alone, parameters)(beside.z)) if len(beside.z) else 0.0
        parameters = {"network": parameters, "process": beside.process}
        expected = batched(closed_form.expected_error, beside.errors) if beside.errors else None

        def answers(parameters: Any, z: Any) -> Any:
            answer = gaussian_process.predict(parameters["process"], z, shape)
            return share * alone(parameters["network"], z) + (1 - share) * answer

    answer = annotate = batched(answers, parameters)
    if config.read:
        read, of_reading = reading.of_new(run.inverted)
        annotate = batched(lambda both, z: answers(both[1], read(both[0], z)), (of_reading, parameters))
    return TrainedAspect(annotate, state.done, share, expected, answer, config.read)


def stored(run: Run, name: str) -> tuple[AspectConfig, aspects.AspectState]:
    """Return the configuration of an aspect network, and the state of its newest checkpoint.

    Raises:
        InputError: there is no such network, it is damaged, or it belongs to another state of the generator.
    """
    folder = run.folder / "aspect" / name
    if not checkpoints.exists(folder):
        raise InputError(f"{folder} holds no aspect network: run aspect.py --run {run.folder} --name {name} first")
    network = run.kind.network(run.config, run.data)
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
    like = aspects.init(aspect, network, run.config.latent_size)
    found = checkpoints.restore_latest(saved, like)
    assert found is not None  # `exists` said so
    saved.close()
    return aspect, found[1]

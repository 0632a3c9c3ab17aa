"""Aspect networks of a run: which network its annotation needs, where the training is kept, how to load it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from began_jax import aspects, kinds
from began_jax.configs import AspectConfig, TrainConfig
from began_jax.data.datasets import DataSet
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.run import checkpoints
from began_jax.run import folder as runs


def network_for(config: TrainConfig, data: DataSet) -> nn.Module:
    """The network that the kind of a data set's annotation asks for; InputError where there is none to learn."""
    return kinds.of(data).network(config, data)


def targets(data: DataSet, split: str, count: int) -> np.ndarray:
    """Annotations [count, ...] of the first `count` images of a split, such as landmarks [count, K, 2]."""
    source = data.source(split)
    return np.stack([source.annotation(i) for i in range(count)])


def origin(run: Path, config: AspectConfig) -> dict[str, Any]:
    """What the latents that an aspect network learns from belong to: another origin makes another network."""
    how, step = runs.inverted(run)
    if config.target == "generated":
        return {"generator_step": step}
    return {"generator_step": step} | {f"inversion_{name}": value for name, value in dataclasses.asdict(how).items()}


def trained(run: Path) -> list[Path]:
    """Folders of the aspect networks of a run, by name."""
    return sorted(path for path in (run / "aspect").glob("*") if checkpoints.exists(path))


def newest(run: Path) -> str:
    """Name of the aspect network of a run that was trained last; InputError when there is none."""
    found = trained(run)
    if not found:
        raise InputError(f"{run / 'aspect'} holds no aspect network: run aspect.py --run {run} first")
    return max(found, key=lambda path: max(p.stat().st_mtime for p in path.iterdir())).name


class TrainedAspect(NamedTuple):
    """An aspect network of a run: `annotate` maps latents [N, latent] to annotations [N, ...], numpy arrays."""

    annotate: Callable[[np.ndarray], np.ndarray]
    epoch: int  # epochs that it was trained for


def load(run: Path, name: str, config: TrainConfig, data: DataSet) -> TrainedAspect:
    """The best parameters of an aspect network's newest checkpoint.

    Raises:
      InputError: there is no such network, it is damaged, or it belongs to another state of the generator.
    """
    folder = run / "aspect" / name
    if not checkpoints.exists(folder):
        raise InputError(f"{folder} holds no aspect network: run aspect.py --run {run} --name {name} first")
    network = network_for(config, data)
    stored = read_json(folder / "config.json")
    _, step = runs.inverted(run)
    if (learnt := stored.get("generator_step", step)) != step:
        raise InputError(
            f"{folder} was trained for the generator of step {learnt}, and the run's latents are now of step {step}: "
            f"delete it, and run aspect.py again"
        )
    # options that came later have their defaults in older runs
    aspect = AspectConfig(**{key: stored[key] for key in AspectConfig.__dataclass_fields__ if key in stored})
    saved = checkpoints.manager(folder, read_only=True)
    like = aspects.init(aspect, network, config.latent_size)
    state = checkpoints.restore(saved, saved.latest_step(), like)
    saved.close()
    annotate = batched(network, state.best_parameters, aspect.members)
    return TrainedAspect(annotate, int(state.epoch.max()))


def batched(
    network: nn.Module, parameters: Any, members: int = 1, batch: int = 256
) -> Callable[[np.ndarray], np.ndarray]:
    """A network, or the mean of an ensemble's, as a function over numpy rows, jitted once for one batch shape."""
    apply = jax.jit(lambda z: aspects.predict(network, parameters, z, members))

    def function(rows: np.ndarray) -> np.ndarray:
        padded = np.concatenate([rows, np.zeros((-len(rows) % batch, *rows.shape[1:]), np.float32)])
        return np.concatenate([np.asarray(apply(padded[i : i + batch])) for i in range(0, len(padded), batch)])[
            : len(rows)
        ]

    return function

"""The Gaussian process beside an aspect network (--closed-form process): RUN/aspect/NAME/process/, one Orbax item.

Both answer together, with the share for the network that is the best one on the validation latents, which neither has
learnt from: the process's answer for one of them is that of a process without it.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from began_jax import aspects, gaussian_process
from began_jax.configs import AspectConfig
from began_jax.errors import InputError
from began_jax.run import checkpoints
from began_jax.run.latents import Columns, ColumnsHandler

VALIDATION = 256  # latents that are kept to find the share on
DOUBT = 10  # of them halve the share
_ITEM = "process"


class Beside(NamedTuple):
    """A process, and the validation latents with its answers and the targets."""

    process: gaussian_process.Process
    z: np.ndarray
    left_out: np.ndarray
    targets: np.ndarray

    def share(self, answers: np.ndarray) -> float:
        """Return the share of the network, 0 to 1, whose answers for the validation latents are given.

        The one of the least squared error, <n - p, y - p> / |n - p|^2 for answers n, the process's p, targets y; and
        less of it where there are few validation latents, which can be right by chance.
        """
        apart = np.asarray(answers, np.float64) - self.left_out
        missing = np.asarray(self.targets, np.float64) - self.left_out
        best = np.clip((apart * missing).sum() / max((apart**2).sum(), 1e-30), 0, 1)
        return float(best * len(apart) / (len(apart) + DOUBT))


def fit(config: AspectConfig, latents: np.ndarray, targets: np.ndarray) -> Beside:
    """Fit a process to all pairs, and keep validation latents of the network's training with it."""
    _, held = aspects.validation_split(config, len(latents))
    rows = np.asarray(held)[np.linspace(0, len(held) - 1, min(len(held), VALIDATION)).astype(int)]
    found = gaussian_process.fit(latents, targets, rows)
    return Beside(found.process, latents[rows], found.left_out, targets[rows])


def fitted(folder: Path, config: AspectConfig, latents: np.ndarray, targets: np.ndarray) -> None:
    """Fit the process of an aspect network and keep it, unless the network goes on with the one that is there."""
    folder = Path(folder) / _ITEM
    if checkpoints.exists(folder):
        if checkpoints.exists(folder.parent):
            return
        shutil.rmtree(folder)  # of a network that was stopped before its first checkpoint, perhaps of another seed
    process, *validation = fit(config, latents, targets)
    beside = dict(zip((f"validation_{name}" for name in Beside._fields[1:]), validation, strict=True))
    with contextlib.closing(checkpoints.manager(folder, keep=None, items={_ITEM: ColumnsHandler})) as manager:
        manager.save(0, args=ocp.args.Composite(**{_ITEM: Columns(process._asdict() | beside)}))
        manager.wait_until_finished()


def load(folder: Path) -> Beside:
    """Return the process beside an aspect network; InputError when it is missing or damaged."""
    folder = Path(folder) / _ITEM
    remedy = f"delete {folder.parent}, and run aspect.py again"
    if not checkpoints.exists(folder):
        raise InputError(f"{folder} is missing: {remedy}")
    if damage := checkpoints.damage(folder / "0"):
        raise InputError(f"{folder} is damaged: {damage}; {remedy}")
    items = {_ITEM: ColumnsHandler}
    with contextlib.closing(checkpoints.manager(folder, keep=None, read_only=True, items=items)) as manager:
        restored: Any = manager.restore(0, args=ocp.args.Composite(**{_ITEM: Columns()}))
    found = restored[_ITEM]
    process = gaussian_process.Process(*(found[name] for name in gaussian_process.Process._fields))
    return Beside(process, *(found[f"validation_{name}"] for name in Beside._fields[1:]))

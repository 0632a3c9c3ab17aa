"""The Gaussian process beside an aspect network (--closed-form process): RUN/aspect/NAME/process/, one Orbax item.

Both answer together, with the share for the network that is the best one on the validation latents, which neither has
learnt from: the process's answer for one of them is that of a process without it.

A second process has learnt how large the first one's errors are where it was fitted without the example: it tells for
any latent what error to expect (see `doubt`).
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from began_jax import aspects, gaussian_process, metrics
from began_jax.configs import AspectConfig
from began_jax.run import checkpoints
from began_jax.run.latents import read_columns, write_columns
from began_jax.sampling import evenly

VALIDATION = 256  # latents that are kept to find the share on
HALF = 10  # of them weigh as much as what is known beforehand
ERRORS = 4096  # examples, evenly spaced, whose errors the second process learns
LENGTH, NOISE, ENOUGH = 8.0, 0.1, 50  # of a process of latents, where fewer than so many examples can tell
LEAST = 1e-6  # error, of which a logarithm is taken
_ITEM = "process"
_VALIDATION = ("z", "left_out", "targets")


class Beside(NamedTuple):
    """A process, the validation latents with its answers and the targets, and the process of its errors."""

    process: gaussian_process.Process
    z: np.ndarray
    left_out: np.ndarray
    targets: np.ndarray
    errors: gaussian_process.Process | None = None  # of their logarithm; networks of before 0.3.0 have none

    def share(self, answers: np.ndarray, better: bool = False) -> float:
        """Return the share of the network, 0 to 1, whose answers for the validation latents are given.

        See `best_share`. Where there are few validation latents, which can be right by chance, it is nearer to the
        whole answer of the one that is the better with few labels: of the network if `better`, else of the process.
        """
        return best_share(answers, self.left_out, self.targets, float(better))

    def better(self, answers: np.ndarray) -> float:
        """Return by what factor answers for the validation latents err less than the process's.

        It is nearer to 1 where these are few.
        """
        if not len(answers):
            return 1.0
        process, all_together = (metrics.rms_error(each, self.targets) for each in (self.left_out, answers))
        there = np.isfinite(process)  # all of a row may be absent
        if not there.any():
            return 1.0
        ratio = np.sqrt((all_together[there] ** 2).mean() / max(float((process[there] ** 2).mean()), 1e-30))
        return float((ratio * len(answers) + HALF) / (len(answers) + HALF))


def best_share(answers: np.ndarray, others: np.ndarray, targets: np.ndarray, expected: float) -> float:
    """Return the share, 0 to 1, of answers [N, ...] beside others that errs the least, by squares.

    Args:
        answers: n.
        others: o; the share is <n - o, y - o> / |n - o|^2 for targets y.
        targets: y, those of them that are NaN count nowhere.
        expected: the share that one would give without examples, to which it is nearer where these are few.
    """
    there = ~np.isnan(targets)
    apart = np.where(there, np.asarray(answers, np.float64) - others, 0)
    missing = np.where(there, np.asarray(targets, np.float64) - others, 0)
    best = np.clip((apart * missing).sum() / max((apart**2).sum(), 1e-30), 0, 1)
    return float((best * len(apart) + HALF * expected) / (len(apart) + HALF))


def validation_rows(config: AspectConfig, count: int) -> np.ndarray:
    """Return the numbers of the validation examples that shares are found on, of `count` examples, in order."""
    _, held = aspects.validation_split(config, count)
    return evenly(np.asarray(held), VALIDATION)


def fit(config: AspectConfig, latents: np.ndarray, targets: np.ndarray) -> Beside:
    """Fit a process to all pairs and one to its errors, and keep validation latents of the network's training.

    Values of targets that are absent (NaN) have no errors.
    """
    held = validation_rows(config, len(latents))
    rows = np.union1d(held, evenly(np.arange(len(latents)), ERRORS))
    found = gaussian_process.fit(latents, targets, rows)
    errors = metrics.rms_error(found.left_out, targets[rows])
    there = np.isfinite(errors)  # all of a row may be absent
    logarithms = np.log(np.maximum(errors[there], LEAST))[:, None]
    fitted = gaussian_process.fit(latents[rows[there]], logarithms)
    # The mean of a logarithm is that of a geometric mean; the root mean square of the errors is larger.
    larger = np.log(np.mean(np.exp(2 * (logarithms - fitted.left_out)))) / 2
    of_errors = fitted.process._replace(mean=fitted.process.mean + larger, limits=np.array([-np.inf, np.inf], "f4"))
    answers = found.left_out[np.searchsorted(rows, held)]
    return Beside(found.process, latents[held], answers, targets[held], of_errors)


def expected_error(errors: gaussian_process.Process, z: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
    """Return the root mean square error that an answer for each latent is expected to have."""
    return jnp.exp(gaussian_process.predict(errors, z, (1,))[:, 0])


def fitted(folder: Path, config: AspectConfig, latents: np.ndarray, targets: np.ndarray) -> None:
    """Fit the processes of an aspect network and keep them, unless the network goes on with those that are there."""
    folder = Path(folder) / _ITEM
    if checkpoints.exists(folder):
        if checkpoints.exists(folder.parent):
            return
        shutil.rmtree(folder)  # of a network that was stopped before its first checkpoint, perhaps of another seed
    found = fit(config, latents, targets)
    assert found.errors is not None
    columns = found.process._asdict() | {f"errors_{name}": values for name, values in found.errors._asdict().items()}
    columns |= {f"validation_{name}": getattr(found, name) for name in _VALIDATION}
    write_columns(folder, _ITEM, columns)


def load(folder: Path) -> Beside:
    """Return the process beside an aspect network; InputError when it is missing or damaged."""
    folder = Path(folder) / _ITEM
    found = read_columns(folder, _ITEM, f"delete {folder.parent}, and run aspect.py again")

    def process(prefix: str) -> gaussian_process.Process:
        if (total := f"{prefix}total") not in found:  # an older run
            found[total] = found[f"{prefix}weights"].astype(np.float64).sum(0).astype(np.float32)
        return gaussian_process.Process(*(found[prefix + name] for name in gaussian_process.Process._fields))

    errors = process("errors_") if "errors_mean" in found else None
    z, left_out, targets = (found[f"validation_{name}"] for name in _VALIDATION)
    return Beside(process(""), z, left_out, targets, errors)

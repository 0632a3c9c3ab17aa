"""A Gaussian process from latents to annotations: the closed-form answer, which needs no training.

One squared-exponential kernel on standardised latents, for all outputs:

    k(z, z') = exp(-|z - z'|^2 / (2 l^2)),    mean of f(z) = k(z, Z) (K + s I)^-1 (Y - mean) + mean

Length l and noise s are those of the least leave-one-out error, which has a closed form (Rasmussen and Williams, 2006,
section 5.4.2). So sixteen examples are enough, and the strength of the fit is never a matter of taste.

Fitting is numpy in float64 on the host; a prediction is two matrix products, in JAX.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from began_jax.errors import InputError
from began_jax.landmarks import completed
from began_jax.sampling import evenly

MOST = 4096  # examples that it is fitted to: the time grows with their cube
CHOOSING = 1024  # of those, on which length and noise are chosen
COMPONENTS = 64  # of the targets, where they have more outputs, such as a mask's pixels

_BLOCK = 256  # examples whose answers are made at a time, in float64
_LENGTHS = 2.0 ** np.arange(1, 7.1, 0.5)
_NOISES = 10.0 ** np.arange(-3, 1.1, 0.5)  # in units of the kernel's

Values = Float[Array | np.ndarray, "..."]
Targets = Float[Array | np.ndarray, "count ..."] | UInt8[Array | np.ndarray, "count ..."]


class Process(NamedTuple):
    """A fitted process: arrays only, a pytree."""

    centre: Values  # [latent], of the latents, and
    unit: Values  # [latent], their deviation times the length
    inputs: Values  # [examples, latent], about the centre and in those units
    weights: Values  # [examples, components]
    mean: Values  # [outputs], of the targets
    basis: Values  # [components, outputs], of the targets about their mean
    limits: Values  # [2], least and largest answer: 0 and 1 where no target lies outside, else infinite
    total: Values  # [components], the sum of the weights, see `predict`


class Fit(NamedTuple):
    """What `fit` returns."""

    process: Process
    left_out: Float[np.ndarray, "rows ..."]  # the answer for each example asked for, by a process without it
    length: float  # l, in units of the latents' deviations
    noise: float  # s, in units of the kernel's


def fit(
    z: Float[Array | np.ndarray, "count latent"], targets: Targets, rows: Int[np.ndarray, " rows"] | None = None
) -> Fit:
    """Fit a process to examples; of more than `MOST`, to as many, evenly spaced.

    Args:
        z: latents.
        targets: annotations of any shape, such as landmarks [count, points, 2] or masks [count, height, width, 1].
            Values that are NaN are absent, see `landmarks.completed`.
        rows: the examples whose left-out answers are wanted; by default all.

    Raises:
        InputError: there are fewer than three examples, not as many latents as targets, or rows that are none; a
            latent is not finite, or no target is.

    Examples:
        >>> import numpy as np
        >>> from began_jax import gaussian_process
        >>> z = np.random.default_rng(0).uniform(-1, 1, (40, 2)).astype(np.float32)
        >>> found = gaussian_process.fit(z, np.sin(z))
        >>> bool(np.abs(found.left_out - np.sin(z)).mean() < 0.02)
        True
    """
    z, targets = np.asarray(z), np.asarray(targets)
    if len(z) != len(targets):
        raise InputError(f"there are {len(z)} latents for {len(targets)} targets; there must be one for each")
    if len(z) < 3:
        raise InputError(f"a Gaussian process cannot be fitted to {len(z)} examples: it takes at least 3")
    if np.ndim(z) != 2 or not np.isfinite(z).all() or np.isinf(targets).any() or np.isnan(targets).all():
        found = f"latents are {list(np.shape(z))}, targets {list(np.shape(targets))}"
        raise InputError(f"{found}; latents must be finite [count, latent], and targets numbers, or NaN where absent")
    rows, targets = np.arange(len(z)) if rows is None else _rows(rows, len(z)), completed(targets)
    latents = np.asarray(z, np.float64)
    centre, unit = latents.mean(0), np.maximum(latents.std(0), 1e-6)
    latents = (latents - centre) / unit
    chosen = evenly(np.arange(len(z)), MOST)
    y = np.asarray(targets[chosen], np.float64).reshape(len(chosen), -1)
    mean = y.mean(0)
    basis = _basis(y - mean)
    parts = (y - mean) @ basis.T

    few = evenly(np.arange(len(chosen)), CHOOSING)
    length, noise = _choose(latents[chosen[few]], parts[few])
    inputs = latents[chosen] / length
    inverse = np.linalg.inv(_kernel(inputs, inputs) + noise * np.eye(len(chosen)))
    weights = inverse @ parts
    answers = _kernel(latents[rows] / length, inputs) @ weights
    place = np.minimum(np.searchsorted(chosen, rows), len(chosen) - 1)
    own = chosen[place] == rows  # their answer is that of a process without them
    answers[own] = (parts - weights / np.diag(inverse)[:, None])[place[own]]

    limits = (0.0, 1.0) if targets.min() >= 0 and targets.max() <= 1 else (-np.inf, np.inf)
    arrays = (centre, unit * length, inputs, weights, mean, basis, limits, weights.sum(0))
    process = Process(*(np.asarray(a, np.float32) for a in arrays))
    left_out = np.empty((len(rows), y.shape[1]), np.float32)
    for first in range(0, len(rows), _BLOCK):
        block = slice(first, first + _BLOCK)
        left_out[block] = np.clip(answers[block] @ basis + mean, *limits)
    return Fit(process, left_out.reshape(-1, *np.shape(targets)[1:]), float(length), float(noise))


def suggest(
    z: Float[np.ndarray, "count latent"], known: Int[np.ndarray, " known"], count: int, length: float, noise: float
) -> Int[np.ndarray, " count_suggested"]:
    """Return which examples to annotate next, the most telling first.

    Each is the one whose annotation would lower the sum of the process's variances at all examples the most, after the
    known ones and those before it (A-optimal design; the variance does not depend on the annotations). Of many examples
    as many as the process takes are looked at, evenly spaced.

    Args:
        z: latents of all examples.
        known: rows that are annotated already.
        count: how many to suggest; fewer where there are not so many.
        length: of the process, in units of the latents' deviations.
        noise: of the process, in units of the kernel's.

    Raises:
        InputError: `known` are no rows of the latents, a latent is not finite, or `length` or `noise` not positive.
    """
    known = _rows(known, len(z))
    z = np.asarray(z, np.float64)
    if not np.isfinite(z).all():
        raise InputError("a latent is not finite")
    if not (length > 0 and noise > 0):
        raise InputError(f"length is {length:g} and noise {noise:g}; both must be positive")
    scaled = (z - z.mean(0)) / np.maximum(z.std(0), 1e-6) / length
    rows = np.setdiff1d(evenly(np.arange(len(z)), MOST), known)
    covariance = _kernel(scaled[rows], scaled[rows])
    if len(known):
        known = evenly(known, MOST)
        across = _kernel(scaled[known], scaled[rows])
        inner = _kernel(scaled[known], scaled[known]) + noise * np.eye(len(known))
        covariance -= across.T @ np.linalg.solve(inner, across)
    chosen: list[int] = []
    for _ in range(min(count, len(rows))):
        variance = np.maximum(np.diag(covariance), 0) + noise
        gain = (covariance**2).sum(0) / variance
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        covariance -= np.outer(covariance[:, best], covariance[best]) / variance[best]
    return rows[chosen]


def _rows(rows: Int[np.ndarray, " rows"], count: int) -> Int[np.ndarray, " rows"]:
    rows = np.asarray(rows)
    if len(rows) and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= count):
        raise InputError(f"rows are {rows.dtype} from {rows.min()} to {rows.max()}; they must count {count} from 0")
    return rows


def predict(
    process: Process, z: Float[Array | np.ndarray, "batch latent"], shape: tuple[int, ...]
) -> Float[Array, "batch ..."]:
    """Return the answers for latents, [batch, *shape], where `shape` is that of a target.

    Where the length is large, k(z, Z) is near to 1 everywhere and large weights cancel, of which float32 would leave
    little. So they are multiplied by k - 1, which float32 knows as well as k, and their sum is added. With a small
    length, where k is near to 0, that costs the last digit of the sum of their magnitudes.

    Raises:
        InputError: the latents or the shape are not of the sizes that the process was fitted to.

    Examples:
        >>> import numpy as np
        >>> from began_jax import gaussian_process
        >>> z = np.random.default_rng(0).uniform(-1, 1, (40, 2)).astype(np.float32)
        >>> process = gaussian_process.fit(z, np.sin(z)).process
        >>> bool(np.abs(gaussian_process.predict(process, z, (2,)) - np.sin(z)).max() < 0.02)
        True
    """
    latent, outputs = process.centre.shape[0], process.mean.shape[0]
    if z.shape[1:] != (latent,) or math.prod(shape) != outputs:
        found = f"latents are {list(z.shape)} and answers {list(shape)}"
        raise InputError(f"{found}; the process knows [batch, {latent}] and {outputs} values an answer")
    parts = _product(_covariance_less_one(process, jnp.asarray(z)), process.weights) + process.total[None]
    answers = _product(parts, process.basis) + process.mean[None]
    return jnp.clip(answers, process.limits[0], process.limits[1]).reshape(-1, *shape)


def _covariance_less_one(process: Process, z: Float[Array, "batch latent"]) -> Float[Array, "batch examples"]:
    a, b = (z - process.centre[None]) / process.unit[None], process.inputs
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * _product(a, jnp.transpose(b))
    return jnp.expm1(-0.5 * jnp.maximum(squares, 0.0))


def _product(a: Values, b: Values) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.exp(-0.5 * np.maximum(squares, 0))


def _basis(y: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis [components, outputs] of what centred targets mostly are; all outputs if few."""
    if y.shape[1] <= 2 * COMPONENTS:
        return np.eye(y.shape[1])
    if len(y) < y.shape[1]:
        values, vectors = np.linalg.eigh(y @ y.T)
        kept = np.argsort(-values)[: min(COMPONENTS, len(y) - 1)]
        kept = kept[values[kept] > 1e-9 * max(values.max(), 1e-30)]
        return (vectors[:, kept] / np.sqrt(values[kept])).T @ y
    values, vectors = np.linalg.eigh(y.T @ y)
    return vectors[:, np.argsort(-values)[:COMPONENTS]].T


def _choose(z: np.ndarray, parts: np.ndarray) -> tuple[float, float]:
    """Return the length and the noise of the least leave-one-out error."""
    best, found = np.inf, (_LENGTHS[0], _NOISES[0])
    for length in _LENGTHS:
        values, vectors = np.linalg.eigh(_kernel(z / length, z / length))
        turned = vectors.T @ parts
        for noise in _NOISES:
            inverse = 1 / (np.maximum(values, 0) + noise)
            left = (vectors @ (inverse[:, None] * turned)) / ((vectors**2) @ inverse)[:, None]
            if (error := (left**2).mean()) < best:
                best, found = error, (length, noise)
    return found

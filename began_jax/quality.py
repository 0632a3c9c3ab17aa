"""Measures of a generator, from the features and the spectra of its images beside real ones; numpy in, numpy out.

None can be passed by a blurred mean: it covers no real image, and has no energy in the high octaves.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from began_jax.errors import InputError
from began_jax.features import luminance

OCTAVES = 4  # of spatial frequency: the first is the finest, half of Nyquist's to all of it; the last below an eighth
NEIGHBOURS = 5  # k of the balls about each image
BLOCK = 256  # rows whose distances to all others are in memory at once
GROUPS = 10  # of the jackknife, ...
STUDENT = 2.262  # ... and the 97.5 % quantile of Student's t with one degree of freedom less

Features = Float[np.ndarray, "_ features"]


class Manifolds(NamedTuple):
    """What `manifolds` finds of each image; the means are precision, recall, density and coverage."""

    precision: Bool[np.ndarray, " generated"]  # it lies in the ball of a real image
    recall: Bool[np.ndarray, " real"]  # it lies in the ball of a generated image
    density: Float[np.ndarray, " generated"]  # balls of real images that it lies in, over k
    coverage: Bool[np.ndarray, " real"]  # a generated image lies in its ball


def manifolds(real: Features, generated: Features, k: int = NEIGHBOURS) -> Manifolds:
    """Compare two sets by balls about each image, which reach to the k-th neighbour of its own set.

    Precision and recall are those of Kynkäänniemi et al. (2019), density and coverage those of Naeem et al. (2020).

    Args:
        real, generated: features [N, F] and [M, F], each of more than k images.
        k: neighbours.

    Raises:
        InputError: k is less than 1, a set has not more than k images, or a feature is not finite.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    if min(len(real), len(generated)) <= k:
        raise InputError(f"{len(real)} real and {len(generated)} generated images: each must be more than k = {k}")
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        raise InputError("a feature is not finite")
    real_radii, generated_radii = _radii(real, k), _radii(generated, k)
    counts, recall, coverage = np.zeros(len(generated), int), [], []
    for rows in _blocks(len(real)):
        between, radii = distances(real[rows], generated), real_radii[rows]
        counts += (between < radii[:, None]).sum(0)
        recall.append((between < generated_radii[None]).any(1))
        coverage.append(between.min(1) < radii)
    return Manifolds(
        precision=counts > 0, recall=np.concatenate(recall), density=counts / k, coverage=np.concatenate(coverage)
    )


def _radii(features: Features, k: int) -> Float[np.ndarray, " count"]:
    """Return the distance of each row to its k-th neighbour among the others."""
    blocks = (distances(features[rows], features) for rows in _blocks(len(features)))
    return np.concatenate([np.partition(block, k, axis=1)[:, k] for block in blocks])  # the 0-th is the image itself


def _blocks(count: int) -> Iterator[slice]:
    """Give the rows of a set by blocks, since all distances at once need not fit the memory."""
    return (slice(first, first + BLOCK) for first in range(0, count, BLOCK))


def distances(a: Features, b: Features) -> Float[np.ndarray, "a b"]:
    """Return the Euclidean distances of all pairs of rows."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def frechet_distance(a: Features, b: Features) -> float:
    """Return |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), C the covariances (Heusel et al., 2017).

    It is the FID where the features are those of its Inception network, and has another scale elsewhere. It grows as
    the sets get smaller; so compare sets of one size.

    Raises:
        InputError: a set has fewer than two images, or the sets are of two kinds of features.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise InputError(f"features are {list(a.shape)} and {list(b.shape)}; they must be [2 or more, F], F alike")
    x, y = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (a, b))
    x, y = (np.linalg.qr(v, mode="r") if len(v) > v.shape[1] else v for v in (x, y))  # R'R = v'v, and R has fewer rows
    # The eigenvalues of C_a C_b = x'x y'y are the squared singular values of x y'.
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * root)


def octave_energies(
    images: Float[np.ndarray, "count height width channels"],
) -> Float[np.ndarray, "count octaves"]:
    """Return the energy of each image's luminance in each octave of spatial frequency, the finest first.

    Frequencies are fractions of Nyquist's along each axis. The mean is left out, and what lies beyond Nyquist's in the
    corners. An octave that the image is too small for has energy 0. A ratio of two sets' means tells how sharp one is
    beside the other.

    Raises:
        InputError: images are of other axes.
    """
    x = np.asarray(images, np.float32)
    if x.ndim != 4:
        raise InputError(f"images are {list(x.shape)}; they must be [count, height, width, channels]")
    power = np.abs(np.fft.fft2(np.asarray(luminance(x)))) ** 2
    fy, fx = np.meshgrid(2 * np.fft.fftfreq(x.shape[1]), 2 * np.fft.fftfreq(x.shape[2]), indexing="ij")
    frequency = np.hypot(fy, fx)
    octave = np.clip(np.ceil(-np.log2(np.maximum(frequency, 1e-9))) - 1, 0, OCTAVES - 1)
    bands = [(octave == i) & (frequency <= 1) & (frequency > 0) for i in range(OCTAVES)]
    return np.stack([power[:, band].sum(1) for band in bands], axis=1)


def nearest(queries: Features, references: Features, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances [N, count] of the nearest references, the nearest first, and their indices [N, count]."""
    found, rows = [], []
    for some in _blocks(len(queries)):
        block = distances(queries[some], references)
        rows.append(np.argsort(block, axis=1, kind="stable")[:, :count])
        found.append(np.take_along_axis(block, rows[-1], axis=1))
    return np.concatenate(found), np.concatenate(rows)


def jackknife(measure: Callable[[np.ndarray], dict[str, float]], count: int) -> dict[str, float]:
    """Return half the width of each figure's 95 % interval, as far as it comes from which images were drawn.

    The figures are measured again without each of `GROUPS` groups of images (delete-a-group jackknife).

    Args:
        measure: indices of images, a part of 0 .. count - 1 -> figures of these.
        count: number of images.
    """
    group = np.arange(count) % GROUPS
    found = [measure(np.flatnonzero(group != i)) for i in range(GROUPS)]
    spread = {name: np.var([figures[name] for figures in found]) * (GROUPS - 1) for name in found[0]}
    return {name: STUDENT * float(np.sqrt(variance)) for name, variance in spread.items()}

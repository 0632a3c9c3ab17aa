"""Measures on held-out data and the baselines beside them; numpy in, numpy out."""

from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from began_jax.errors import InputError
from began_jax.landmarks import Scheme, completed, scheme

Given = Array | np.ndarray
Landmarks = Float[Given, "count points 2"]
Shape = "count height width 1"
Masks = Float[Given, Shape] | UInt8[Given, Shape] | Bool[Given, Shape]
Attributes = Float[Given, "count attributes"]
FURTHEST = 8.0  # that a true point may be from the corner of its picture, in widths and heights: pixels are further


def _same_shape(predicted: Any, truth: Any, rank: int | None = None) -> None:
    """Raise InputError where a measure would compare what does not belong together, by broadcasting."""
    if np.shape(predicted) != np.shape(truth) or (rank is not None and np.ndim(truth) != rank):
        found = f"{list(np.shape(predicted))} and {list(np.shape(truth))}"
        axes = "" if rank is None else f", of {rank} axes"
        raise InputError(f"predictions and truth are {found}; they must have one shape{axes}")


def _comparable(predicted: Any, truth: Any, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays that a threshold may cut; InputError where shapes differ or a value is no number."""
    _same_shape(predicted, truth, rank)
    for name, values in (("prediction", predicted), ("true value", truth)):
        if np.isnan(values).any():
            raise InputError(f"a {name} is NaN, which is on neither side of a threshold")
    return np.asarray(predicted), np.asarray(truth)


def nme_percent(
    predicted: Landmarks, truth: Landmarks, height: int, width: int, points: Scheme | None = None
) -> Float[np.ndarray, " count"]:
    """Return the normalised mean error per image: mean distance over the outer-eye distance, in percent.

    Landmarks are fractions of width and height; distances are taken in pixels. With 49 points the normaliser is the
    distance of points 19 and 28 (of 36 and 45 with 68), or that of the `unit` of `points`. Without one it is the
    diagonal of the tight box around the true points, and so where both eyes are in one place. True points that are NaN
    are absent: they count neither as an error nor as none, and the normaliser takes their likely places
    (`landmarks.completed`), or the box if it is an eye that is never seen.

    Raises:
        InputError: predictions and truth are not of one shape [count, points, 2], are not fractions, or have not the
            points of a scheme; or all true points of an image are in one place, so that an error has no scale.

    Examples:
        >>> import numpy as np
        >>> from began_jax import nme_percent
        >>> truth = np.random.default_rng(0).random((2, 49, 2)).astype(np.float32)
        >>> nme_percent(truth, truth, height=64, width=64).tolist()
        [0.0, 0.0]
    """
    _same_shape(predicted, truth, 3)
    count = np.shape(truth)[1]
    if np.shape(truth)[2] != 2 or min(height, width) < 1:
        raise InputError(f"landmarks are {list(np.shape(truth))} of {height}x{width}; they must be [count, points, 2]")
    if points is not None and len(points.names) != count:
        raise InputError(f"there are {count} points, and {len(points.names)} in the scheme")
    if (furthest := np.nanmax(np.abs(truth), initial=0)) > FURTHEST:
        raise InputError(
            f"a true point is at {furthest:g}; landmarks must be fractions of width and height, not pixels"
        )
    size = np.array([width, height])
    p, t = np.asarray(predicted) * size, np.asarray(truth) * size
    t = np.where(np.isnan(t).any(-1, keepdims=True), np.nan, t)
    seen = np.atleast_1d(~np.isnan(t[..., 0]).all(0))
    whole = completed(t)
    unit = (points or scheme(t.shape[1])).unit
    within = whole[:, seen] if seen.any() else whole
    scale = np.linalg.norm(within.max(1) - within.min(1), axis=-1)
    if unit and seen[list(unit)].all():
        apart = np.linalg.norm(whole[:, unit[0]] - whole[:, unit[1]], axis=-1)
        scale = np.where(apart > 0, apart, scale)
    if (scale == 0).any():
        raise InputError(f"all true points of image {np.argmax(scale == 0)} are in one place: an error has no scale")
    return 100 * _mean_present(np.linalg.norm(p - t, axis=-1), np.isnan(t[..., 0])) / scale


def _mean_present(
    values: Float[np.ndarray, "count values"], absent: Bool[np.ndarray, "count values"]
) -> Float[np.ndarray, " count"]:
    """Return each row's mean over the values that are not absent; NaN where all are."""
    if not absent.any():
        return values.mean(1)
    with np.errstate(invalid="ignore"):
        return np.where(absent, 0, values).sum(1) / (~absent).sum(1)


def iou(predicted: Masks, truth: Masks, threshold: float = 0.5) -> Float[np.ndarray, " count"]:
    """Return the intersection over union per image of masks at a threshold; 1 where both are empty.

    Raises:
        InputError: the masks are not of one shape [count, height, width, 1].

    Examples:
        >>> import numpy as np
        >>> from began_jax import iou
        >>> left, all_of_it = np.zeros((1, 4, 4, 1), np.float32), np.ones((1, 4, 4, 1), np.float32)
        >>> left[:, :, :2] = 1
        >>> iou(left, all_of_it).tolist()
        [0.5]
    """
    p, t = (values > threshold for values in _comparable(predicted, truth, 4))
    union = (p | t).sum((1, 2, 3))
    return np.where(union == 0, 1.0, (p & t).sum((1, 2, 3)) / np.maximum(union, 1))


def e1_percent(predicted: Masks, truth: Masks, threshold: float = 0.5) -> float:
    """Return the share of pixels on which masks disagree at a threshold, in percent: E1 of the NICE.I contest.

    Raises:
        InputError: the masks are not of one shape [count, height, width, 1].
    """
    p, t = (values > threshold for values in _comparable(predicted, truth, 4))
    return float(100 * (p != t).mean())


def f1(predicted: Masks, truth: Masks, threshold: float = 0.5) -> float:
    """Return the mean over images of F1 (Dice), 2 |P and T| / (|P| + |T|); 1 where both masks are empty."""
    overlap = iou(predicted, truth, threshold)
    return float((2 * overlap / (1 + overlap)).mean())


def failure_percent(nme: Float[Given, " count"], limit: float = 10.0) -> float:
    """Return the share of images whose landmarks are off by more than a limit, both in percent; NaN if an error is."""
    errors = np.asarray(nme)
    return float(100 * np.where(np.isnan(errors), np.nan, errors > limit).mean())


def auc(nme: Float[Given, " count"], limit: float = 10.0) -> float:
    """Return the area under the curve (error, share of images within it) up to a limit in percent, over the limit.

    1 where no landmark is off, and 0 where all images are beyond the limit. The curve is a step function of the errors,
    so its area is exact.
    """
    return float(np.maximum(1 - np.asarray(nme) / limit, 0).mean())


def accuracy_percent(predicted: Attributes, truth: Attributes, threshold: float = 0.5) -> Float[np.ndarray, " count"]:
    """Return the share of an image's attributes that are right at a threshold, in percent.

    Raises:
        InputError: predictions and truth are not of one shape [count, attributes].

    Examples:
        >>> import numpy as np
        >>> from began_jax import accuracy_percent
        >>> accuracy_percent(np.array([[0.9, 0.2]]), np.array([[1.0, 1.0]])).tolist()
        [50.0]
    """
    p, t = (values > threshold for values in _comparable(predicted, truth, 2))
    return 100 * (p == t).mean(1)


def balanced_accuracy_percent(predicted: Attributes, truth: Attributes, threshold: float = 0.5) -> float:
    """Return the mean over attributes of the recalls of yes and of no, in percent: 50 for an answer that never changes.

    Rare attributes make plain accuracy flattering. Where all images agree on an attribute, one recall is all there is.

    Raises:
        InputError: predictions and truth are not of one shape [count, attributes].

    Examples:
        >>> import numpy as np
        >>> from began_jax import balanced_accuracy_percent
        >>> truth = np.array([[1.0], [0.0], [0.0], [0.0]])
        >>> float(balanced_accuracy_percent(np.zeros((4, 1)), truth))
        50.0
    """
    p, t = (values > threshold for values in _comparable(predicted, truth, 2))
    right = p == t
    counts = np.stack([t.sum(0), (~t).sum(0)])
    recalls = np.stack([(right & t).sum(0), (right & ~t).sum(0)]) / np.maximum(counts, 1)
    return float(100 * (recalls.sum(0) / (counts > 0).sum(0)).mean())


def rms_error(
    predicted: Float[Given, "count ..."], truth: Float[Given, "count ..."] | UInt8[Given, "count ..."]
) -> Float[np.ndarray, " count"]:
    """Return the root mean square error per annotation, of any kind and in its own unit (the root of eq. 5).

    True values that are NaN are left out.

    Raises:
        InputError: predictions and truth are not of one shape.
    """
    _same_shape(predicted, truth)
    squares = (np.asarray(predicted, np.float32) - truth) ** 2
    absent = np.isnan(truth)
    return np.sqrt(_mean_present(squares.reshape(len(squares), -1), absent.reshape(len(squares), -1)))


def rank_correlation(a: Float[Given, " count"], b: Float[Given, " count"]) -> float:
    """Return Spearman's rank correlation, 0 where one of the two never changes."""
    from scipy.stats import rankdata  # JAX has it; half a second

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def kept(errors: Float[Given, " count"], doubt: Float[Given, " count"], share: float) -> Float[np.ndarray, " kept"]:
    """Return the errors of the `share` with the least doubt, at least one.

    Raises:
        InputError: there are not as many errors as doubts, or the share is not above 0 and at most 1.
    """
    if np.shape(errors) != np.shape(doubt) or not 0 < share <= 1:
        found = f"{len(errors)} errors, {len(doubt)} doubts and a share of {share:g}"
        raise InputError(f"there are {found}; each error must have its doubt, and the share be above 0, at most 1")
    return np.asarray(errors)[np.argsort(doubt, kind="stable")[: max(1, round(share * len(errors)))]]


class Ridge:
    """Ridge regression from latents to flattened targets, the strength chosen on a tenth of the training set.

    The linear baseline that an aspect network must beat. Targets that are NaN are absent, see `landmarks.completed`.

    Examples:
        >>> import numpy as np
        >>> from began_jax import Ridge
        >>> z = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
        >>> targets = np.stack([z @ [1, 2, 3], 5 - z[:, 0]], axis=1).astype(np.float32)
        >>> bool(np.abs(Ridge(z, targets)(z) - targets).max() < 0.2)
        True

    Raises:
        InputError: there are not as many latents [count, latent] as targets, or a latent is not finite.
    """

    def __init__(self, z: Float[Given, "count latent"], targets: Float[Given, "count ..."]) -> None:
        z = np.asarray(z, np.float64)
        if z.ndim != 2 or len(z) != len(targets) or not np.isfinite(z).all():
            found = f"latents are {list(z.shape)}, targets {list(np.shape(targets))}"
            raise InputError(f"{found}; there must be a finite latent [latent] for each target")
        y = np.asarray(completed(np.asarray(targets)), np.float64).reshape(len(targets), -1)
        held = np.arange(len(z)) % 10 == 9
        strengths = [10.0**e for e in range(-3, 5)]
        self.strength: float = 1.0
        if held.any() and not held.all():
            errors = [((_apply(_fit(z[~held], y[~held], s), z[held]) - y[held]) ** 2).mean() for s in strengths]
            self.strength = strengths[int(np.argmin(errors))]
        self._fitted = _fit(z, y, self.strength)
        self._shape = np.shape(targets)[1:]

    def __call__(self, z: Float[Given, "count latent"]) -> Float[np.ndarray, "count ..."]:
        """Return the predictions [count, ...] for latents; InputError where they are of another size."""
        if np.shape(z)[1:] != self._fitted[1].shape:
            raise InputError(f"latents are {list(np.shape(z))}; they must be [count, {len(self._fitted[1])}]")
        return _apply(self._fitted, np.asarray(z, np.float64)).reshape(len(z), *self._shape)


def _fit(z, y, strength):
    mean_z, mean_y = z.mean(0), y.mean(0)
    centred = z - mean_z
    weights = np.linalg.solve(centred.T @ centred + strength * np.eye(z.shape[1]), centred.T @ (y - mean_y))
    return weights, mean_z, mean_y


def _apply(fitted, z):
    weights, mean_z, mean_y = fitted
    return (z - mean_z) @ weights + mean_y

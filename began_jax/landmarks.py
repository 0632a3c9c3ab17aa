"""Names, skeletons and mirror images of facial landmarks.

Landmarks are (x, y) as fractions of width and height, [..., points, 2]; the pixel is fraction * size - 0.5,
with pixel centres at integers. "Left" is the left of the picture, as in CelebA (the subject's right). The 49
points of fig. 1 are those of iBUG's 68 without the 17 of the jaw and without the inner corners of the mouth
(60 and 64 counted from 0), in the same order. Mirroring a picture swaps left and right in their names.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from began_jax.errors import InputError

OUTER_EYES = (19, 28)  # of the 49: their distance is the unit of the normalised mean error
# Which points of larger sets the 49 are, in order: of iBUG's 68, and of WFLW's 98, whose brows and eyes have more.
POINTS_49 = {
    68: (*range(17, 60), *range(61, 64), *range(65, 68)),
    98: (
        *(*range(33, 38), *range(42, 47), *range(51, 60)),
        *(60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75),
        *(*range(76, 88), *range(89, 92), *range(93, 96)),
    ),
}


_COMPONENTS, _ROUNDS, _LARGEST = 12, 30, 1000  # of `completed`


class Scheme(NamedTuple):
    """What is known of a set of points: one name a point, parts and edges as 0-based indices.

    Point i of the mirrored face is point `mirrored[i]` of the face. The distance of the points `unit` is that in which
    errors are told; without it, it is the diagonal of the box around all points.
    """

    names: tuple[str, ...]
    parts: dict[str, tuple[int, ...]]
    edges: tuple[tuple[int, int], ...]
    mirrored: tuple[int, ...] | None
    unit: tuple[int, int] | None = None

    @property
    def skeleton(self) -> list[list[int]]:
        """The edges as COCO wants them, 1-based."""
        return [[a + 1, b + 1] for a, b in self.edges]


def _swap_sides(name: str) -> str:
    """Return the name of a point of the other side: left and right, or l and r as a word, change places."""
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
    other |= {"l": "r", "r": "l", "L": "R", "R": "L"}
    alone = "(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<![A-Za-z])[LR](?=[A-Z][a-z])|(?<=[a-z])[LR](?![A-Za-z])"
    return re.sub(f"left|right|Left|Right|LEFT|RIGHT|{alone}", lambda side: other[side[0]], name)


def partners(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return each point's other side by their names, itself where it has no side, or None where one is missing."""
    others = [_swap_sides(name) for name in names]
    return tuple(map(names.index, others)) if set(others) <= set(names) else None


def _path(points: Iterable[int], closed: bool = False) -> tuple[tuple[int, int], ...]:
    points = tuple(points)
    ends = (*points[1:], points[0]) if closed else points[1:]
    return tuple(zip(points, ends, strict=False))


_NAMES_49 = (
    *(f"left_brow_{i}" for i in (1, 2, 3, 4, 5)),  # from the temple to the nose
    *(f"right_brow_{i}" for i in (5, 4, 3, 2, 1)),
    *(f"nose_bridge_{i}" for i in (1, 2, 3, 4)),
    *("left_nostril_outer", "left_nostril_inner", "nose_base", "right_nostril_inner", "right_nostril_outer"),
    *(f"left_eye_{p}" for p in ("outer", "upper_outer", "upper_inner", "inner", "lower_inner", "lower_outer")),
    *(f"right_eye_{p}" for p in ("inner", "upper_inner", "upper_outer", "outer", "lower_outer", "lower_inner")),
    *("left_mouth_corner", "left_upper_lip_1", "left_upper_lip_2", "upper_lip_middle"),
    *("right_upper_lip_2", "right_upper_lip_1", "right_mouth_corner", "right_lower_lip_1"),
    *("right_lower_lip_2", "lower_lip_middle", "left_lower_lip_2", "left_lower_lip_1"),
    *("left_upper_lip_inside", "upper_lip_inside", "right_upper_lip_inside"),
    *("right_lower_lip_inside", "lower_lip_inside", "left_lower_lip_inside"),
)

IBUG_49 = Scheme(
    names=_NAMES_49,
    parts={
        "brows": tuple(range(10)),
        "nose": tuple(range(10, 19)),
        "eyes": tuple(range(19, 31)),
        "mouth": tuple(range(31, 49)),
    },
    edges=(
        *_path(range(5)),
        *_path(range(5, 10)),
        *_path(range(10, 14)),
        *_path(range(14, 19)),
        *_path(range(19, 25), closed=True),
        *_path(range(25, 31), closed=True),
        *_path(range(31, 43), closed=True),
        # The inner contour has no corners of its own among the 49: it shares those of the outer one.
        *_path((31, 43, 44, 45, 37, 46, 47, 48), closed=True),
    ),
    mirrored=partners(_NAMES_49),
    unit=OUTER_EYES,
)

_NAMES_68 = (
    *(f"left_jaw_{i}" for i in range(1, 9)),  # from the temple to the chin
    "chin",
    *(f"right_jaw_{i}" for i in range(8, 0, -1)),
    *_NAMES_49[:43],
    "left_mouth_corner_inside",
    *_NAMES_49[43:46],
    "right_mouth_corner_inside",
    *_NAMES_49[46:],
)

IBUG_68 = Scheme(
    names=_NAMES_68,
    parts={
        "jaw": tuple(range(17)),
        **{part: tuple(POINTS_49[68][i] for i in members) for part, members in IBUG_49.parts.items()},
    },
    edges=(
        *_path(range(17)),
        *((POINTS_49[68][a], POINTS_49[68][b]) for a, b in IBUG_49.edges[:-8]),
        *_path(range(60, 68), closed=True),
    ),
    mirrored=partners(_NAMES_68),
    unit=(36, 45),
)
IBUG_68.parts["mouth"] += (60, 64)

_NAMES_5 = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")

CELEB_A_5 = Scheme(
    names=_NAMES_5,
    parts={"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)},
    edges=((0, 2), (1, 2), (2, 3), (2, 4), (3, 4)),
    mirrored=partners(_NAMES_5),
)


SCHEMES = {68: IBUG_68, 49: IBUG_49, 5: CELEB_A_5}


def scheme(count: int) -> Scheme:
    """Return what is known of `count` points: iBUG's 68 or 49 of them, the 5 of CelebA, or plain numbered points."""
    names = tuple(f"point_{i + 1}" for i in range(count))
    return SCHEMES.get(count, Scheme(names, {"points": tuple(range(count))}, (), None))


def mirror(
    landmarks: Float[Array | np.ndarray, "*batch points 2"], points: Scheme | None = None
) -> Float[Array | np.ndarray, "*batch points 2"]:
    """Return the landmarks of the mirrored pictures: x -> 1 - x, and left and right points change places.

    Args:
        landmarks: (x, y) as fractions.
        points: says which change places; by default the `scheme` of their number.

    Raises:
        InputError: they are not [..., points, 2]; it is not known which points change places, or `points` are of
            another number.

    Examples:
        >>> import numpy as np
        >>> from began_jax import landmarks
        >>> points = np.random.default_rng(0).random((1, 49, 2))
        >>> bool(np.allclose(landmarks.mirror(landmarks.mirror(points)), points))
        True
    """
    if landmarks.shape[-1] != 2:
        raise InputError(f"landmarks are {list(landmarks.shape)}; they must be [..., points, 2]")
    count = landmarks.shape[-2]
    order = (points or scheme(count)).mirrored
    if order is None:
        known = "the left-right pairs are known for 68, 49 and 5 points, and of a Scheme that says `mirrored`"
        raise InputError(f"cannot mirror {count} landmarks: {known}")
    if len(order) != count:
        raise InputError(f"cannot mirror {count} landmarks as a scheme of {len(order)} points says")
    xp = landmarks.__array_namespace__()
    moved = landmarks[..., np.array(order), :]
    return xp.stack([1 - moved[..., 0], moved[..., 1]], axis=-1)


def completed(targets: Float[np.ndarray, "count ..."]) -> Float[np.ndarray, "count ..."]:
    """Return targets with a likely value in each place that is NaN, from the other values of its row and all rows.

    The rows are taken to lie near a plane of a few dimensions (principal components with missing values, Roweis 1998).
    Closed-form answers need whole rows; what is trained or measured leaves absent values out instead. Without a NaN the
    targets come back as they are. Of rows with more than 1,000 values an absent one is its mean.
    """
    if targets.dtype.kind in "biu" or not np.isnan(targets).any():
        return targets
    values = np.asarray(targets, np.float64).reshape(len(targets), -1)
    absent = np.isnan(values)
    there = (~absent).sum(0)
    mean = np.where(there > 0, np.nansum(values, 0) / np.maximum(there, 1), np.nanmean(values))
    whole = np.where(absent, mean, values)
    rank = min(_COMPONENTS, len(values) // 4, values.shape[1] // 2) if values.shape[1] <= _LARGEST else 0
    for _ in range(_ROUNDS if rank else 0):
        mean = whole.mean(0)
        centred = whole - mean
        squares, vectors = np.linalg.eigh(centred.T @ centred)
        sizes, vectors = np.sqrt(np.maximum(squares[-rank:], 1e-30)), vectors[:, -rank:]
        noise = np.sqrt(np.maximum(squares[:-rank], 0).mean())
        kept = np.maximum(1 - noise / sizes, 0)  # what noise alone would give is no shape
        whole = np.where(absent, (centred @ vectors * kept) @ vectors.T + mean, values)
    return whole.reshape(np.shape(targets)).astype(np.asarray(targets).dtype)

"""Names, skeletons and mirror images of facial landmarks.

Landmarks are (x, y) as fractions of width and height, [..., points, 2]; the pixel is fraction * size - 0.5,
with pixel centres at integers. "Left" is the left of the picture, as in CelebA (the subject's right). The 49
points of fig. 1 are those of iBUG's 68 without the 17 of the jaw and without the inner corners of the mouth
(60 and 64 counted from 0), in the same order. Mirroring a picture swaps left and right in their names.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from began_jax.errors import InputError

OUTER_EYES = (19, 28)  # of the 49: their distance is the unit of the normalised mean error


class Scheme(NamedTuple):
    """What is known of a set of points: one name a point, parts and edges as 0-based indices."""

    names: tuple[str, ...]
    parts: dict[str, tuple[int, ...]]
    edges: tuple[tuple[int, int], ...]
    mirrored: tuple[int, ...] | None  # point i of the mirrored face is point mirrored[i] of the face

    @property
    def skeleton(self) -> list[list[int]]:
        """The edges as COCO wants them, 1-based."""
        return [[a + 1, b + 1] for a, b in self.edges]


def _swap_sides(name: str) -> str:
    other = {"left": "right", "right": "left"}
    return re.sub("left|right", lambda side: other[side[0]], name)


def _mirrored(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(names.index(_swap_sides(name)) for name in names)


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
    mirrored=_mirrored(_NAMES_49),
)

_NAMES_5 = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")

CELEB_A_5 = Scheme(
    names=_NAMES_5,
    parts={"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)},
    edges=((0, 2), (1, 2), (2, 3), (2, 4), (3, 4)),
    mirrored=_mirrored(_NAMES_5),
)


def scheme(count: int) -> Scheme:
    """Return what is known of `count` points: the 49 of iBUG, the 5 of CelebA, or plain numbered points."""
    known = {49: IBUG_49, 5: CELEB_A_5}
    names = tuple(f"point_{i + 1}" for i in range(count))
    return known.get(count, Scheme(names, {"points": tuple(range(count))}, (), None))


def mirror(
    landmarks: Float[Array | np.ndarray, "*batch points 2"],
) -> Float[Array | np.ndarray, "*batch points 2"]:
    """Return the landmarks of the mirrored pictures: x -> 1 - x, and left and right points change places.

    Raises:
        InputError: it is not known which points change places (neither 49 nor 5 of them).
    """
    count = landmarks.shape[-2]
    order = scheme(count).mirrored
    if order is None:
        raise InputError(f"cannot mirror {count} landmarks: the left-right pairs are known for 49 and for 5 points")
    xp = landmarks.__array_namespace__()
    moved = landmarks[..., np.array(order), :]
    return xp.stack([1 - moved[..., 0], moved[..., 1]], axis=-1)

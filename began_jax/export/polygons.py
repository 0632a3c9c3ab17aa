"""Masks as polygons through the centres of their border pixels, as shares of width and height."""

import numpy as np

from began_jax import plugins


def of_mask(mask: np.ndarray) -> list[list[float]]:
    """Return a polygon x y x y ... for each piece of a mask [H, W] of {0, 1}; a hole is joined to its piece by a cut.

    Filled by the even-odd rule with their borders, as OpenCV's fillPoly does, they are the mask again.
    """
    cv2 = plugins.import_module("cv2", "--format yolo")
    height, width = mask.shape
    contours, levels = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if levels is None:
        return []
    rings = [contour[:, 0] for contour in contours]
    pieces = []
    for number, (_, _, child, parent) in enumerate(levels[0]):
        if parent >= 0:
            continue
        ring = rings[number]
        while child >= 0:
            ring = _joined(ring, rings[child])
            child = levels[0][child][0]
        ring = np.concatenate([ring, np.repeat(ring[-1:], max(0, 3 - len(ring)), axis=0)])  # a polygon has three
        pieces.append(((ring + 0.5) / (width, height)).ravel().tolist())
    return pieces


def _joined(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return one ring that goes around the outer one, over to the hole where it is nearest, around it and back."""
    apart = ((outer[:, None] - hole[None]) ** 2).sum(-1)
    a, b = np.unravel_index(int(apart.argmin()), apart.shape)
    around = np.concatenate([hole[b:], hole[: b + 1]])
    return np.concatenate([outer[: a + 1], around, outer[a:]])

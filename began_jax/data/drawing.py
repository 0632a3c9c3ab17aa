"""Plane geometry and antialiased filling for the procedural data sets.

All geometry is in fractions of the image, x of the width and y of the height, with pixel centres at
(column + 0.5) / width and (row + 0.5) / height, so that one scene can be drawn at any size.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

SUPERSAMPLING = 4


@lru_cache
def _catmull_rom_basis(steps: int) -> np.ndarray:
    """Return the weights [steps, 4] of four consecutive knots on the span between the middle two."""
    t = np.arange(steps) / steps
    return 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )


def smooth_curve(
    knots: Float[np.ndarray, "knots dims"], closed: bool = False, steps: int = 6
) -> Float[np.ndarray, "points dims"]:
    """Return a Catmull-Rom curve through every knot, `steps` points to a span."""
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    spans = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)
    curve = (_catmull_rom_basis(steps) @ spans).reshape(-1, knots.shape[1])
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ribbon(
    curve: Float[np.ndarray, "points 2"], widths: Float[np.ndarray, " points"]
) -> Float[np.ndarray, "twice_points 2"]:
    """Return the outline of a stroke along the curve that is `widths` wide at its points."""
    tangent = np.empty_like(curve)
    tangent[1:-1] = curve[2:] - curve[:-2]
    tangent[0] = curve[1] - curve[0]
    tangent[-1] = curve[-1] - curve[-2]
    tangent /= np.sqrt((tangent**2).sum(axis=1, keepdims=True)) + 1e-9
    offset = 0.5 * widths[:, None] * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    return np.concatenate([curve + offset, (curve - offset)[::-1]])


def ellipse(
    center: Float[np.ndarray, "2"], radius_x: float, radius_y: float, angle: float = 0.0, points: int = 20
) -> Float[np.ndarray, "{points} 2"]:
    """Return the outline of an ellipse turned by `angle` radians."""
    turn = np.arange(points) * (2 * np.pi / points)
    x, y = radius_x * np.cos(turn), radius_y * np.sin(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([center[0] + cos * x - sin * y, center[1] + sin * x + cos * y], axis=1)


def coverage(
    polygons: Sequence[Float[np.ndarray, "_ 2"]], height: int, width: int
) -> Float[np.ndarray, "{height} {width}"]:
    """Return the part of each pixel, in [0, 1], that the union of the polygons covers."""
    canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    size = np.array([canvas.width, canvas.height])
    for polygon in polygons:
        # Pillow puts pixel centres at integers.
        draw.polygon((polygon * size - 0.5).ravel().tolist(), fill=255)
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / np.float32(255)


def pixel_centers(height: int, width: int) -> tuple[Float[np.ndarray, "1 {width}"], Float[np.ndarray, "{height} 1"]]:
    """Return the x and the y fractions of the pixel centres, shaped to broadcast to an image."""
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]


def rgb(red: float, green: float, blue: float) -> Float[np.ndarray, "3 1 1"]:
    """Return a colour with components about [0, 1], shaped to broadcast to planes [3, height, width]."""
    return np.array([red, green, blue], np.float32)[:, None, None]


def palette(colors: str, position: float) -> Float[np.ndarray, "3 1 1"]:
    """Return the colour at `position` in [0, 1] along a list of hexadecimal colours."""
    table = np.array([list(bytes.fromhex(color)) for color in colors.split()]) / 255
    place = position * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    return rgb(*(table[low] + (place - low) * (table[low + 1] - table[low])).tolist())


def blend(
    planes: Float[np.ndarray, "*planes height width"],
    color: Float[np.ndarray, "..."] | np.float32,
    alpha: Float[np.ndarray, "height width"],
) -> None:
    """Move the planes in place towards the colour by the part alpha in [0, 1]."""
    planes += alpha * (color - planes)

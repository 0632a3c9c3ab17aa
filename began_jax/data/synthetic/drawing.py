"""Plane geometry and antialiased filling for the procedural data sets.

All geometry is in fractions of the image, x of the width and y of the height, with pixel centres at
(column + 0.5) / width and (row + 0.5) / height, so that one scene can be drawn at any size.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLING = 4


@lru_cache
def _catmull_rom(knots: int, closed: bool, steps: int) -> np.ndarray:
    """Return the matrix [points, knots] from knots to the points of the curve: a curve is linear in its knots."""
    t = np.arange(steps) / steps
    basis = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    each = np.eye(knots)
    if closed:
        padded = np.concatenate([each[-1:], each, each[:2]])
    else:
        padded = np.concatenate([2 * each[:1] - each[1:2], each, 2 * each[-1:] - each[-2:-1]])
    spans = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)
    matrix = (basis @ spans).reshape(-1, knots)
    return matrix if closed else np.concatenate([matrix, each[-1:]])


def smooth_curve(
    knots: Float[np.ndarray, "knots dims"], closed: bool = False, steps: int = 6
) -> Float[np.ndarray, "points dims"]:
    """Return a Catmull-Rom curve through every knot, `steps` points to a span."""
    return _catmull_rom(len(knots), closed, steps) @ knots


def ribbon(
    curve: Float[np.ndarray, "points 2"], widths: Float[np.ndarray, " points"] | float
) -> Float[np.ndarray, "twice_points 2"]:
    """Return the outline of a stroke along the curve that is `widths` wide at its points."""
    normal = np.empty_like(curve)
    normal[1:-1] = curve[2:] - curve[:-2]
    normal[0] = curve[1] - curve[0]
    normal[-1] = curve[-1] - curve[-2]
    normal = normal[:, ::-1] * [-1.0, 1.0]
    normal *= (0.5 * widths / (np.hypot(normal[:, 0], normal[:, 1]) + 1e-9))[:, None]
    return np.concatenate([curve + normal, (curve - normal)[::-1]])


@lru_cache
def _circle(points: int) -> np.ndarray:
    turn = np.arange(points) * (2 * np.pi / points)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def ellipse(
    centre: Float[np.ndarray, "2"], radius_x: float, radius_y: float, angle: float = 0.0, points: int = 20
) -> Float[np.ndarray, "{points} 2"]:
    """Return the outline of an ellipse turned by `angle` radians."""
    circle = _circle(points)
    cos, sin = np.cos(angle), np.sin(angle)
    return centre + circle @ np.array([[radius_x * cos, radius_x * sin], [-radius_y * sin, radius_y * cos]])


def coverage(
    polygons: Sequence[Float[np.ndarray, "_ 2"]], height: int, width: int, blur: float = 0.0
) -> Float[np.ndarray, "{height} {width}"]:
    """Return the part of each pixel, in [0, 1], under the union of the polygons after a Gaussian of `blur` widths."""
    result = np.zeros((height, width), np.float32)
    points = np.concatenate(polygons)
    # Only the box around the polygons is drawn: most features are small.
    margin = 1 + int(3 * blur * width + 0.5)
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    left, top = max(int(left * width) - margin, 0), max(int(top * height) - margin, 0)
    right, bottom = min(int(right * width) + margin + 1, width), min(int(bottom * height) + margin + 1, height)
    if right <= left or bottom <= top:
        return result
    samples = SUPERSAMPLING if blur * width < 0.5 else SUPERSAMPLING // 2  # A blur hides the steps.
    canvas = Image.new("L", ((right - left) * samples, (bottom - top) * samples))
    draw = ImageDraw.Draw(canvas)
    scale = np.array([width * samples, height * samples])
    # Pillow puts pixel centres at integers.
    offset = np.array([left * samples + 0.5, top * samples + 0.5])
    for polygon in polygons:
        draw.polygon((polygon * scale - offset).ravel().tolist(), fill=255)
    patch = soften(canvas.reduce(samples), blur * width)
    result[top:bottom, left:right] = np.asarray(patch)
    result *= np.float32(1 / 255)
    return result


def coverages(
    layers: Sequence[Sequence[Float[np.ndarray, "_ 2"]]], height: int, width: int, blur: float = 0.0
) -> Float[np.ndarray, "layers {height} {width}"]:
    """Return the coverage of each of several small layers that lie near each other, which is faster than one by one."""
    result = np.zeros((len(layers), height, width), np.float32)
    points = np.concatenate([polygon for polygons in layers for polygon in polygons])
    margin = 1 + int(3 * blur * width + 0.5)
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    # Nothing is cut off at the frame, so that no layer reaches into the next one of the stack.
    left, top = int(left * width // 1) - margin, int(top * height // 1) - margin
    right, bottom = int(right * width // 1) + margin + 1, int(bottom * height // 1) + margin + 1
    rows, columns = bottom - top, right - left
    samples = SUPERSAMPLING if blur * width < 0.5 else SUPERSAMPLING // 2  # A blur hides the steps.
    canvas = Image.new("L", (columns * samples, len(layers) * rows * samples))
    draw = ImageDraw.Draw(canvas)
    scale = np.array([width * samples, height * samples])
    for i, polygons in enumerate(layers):
        offset = np.array([left * samples + 0.5, (top - i * rows) * samples + 0.5])
        for polygon in polygons:
            draw.polygon((polygon * scale - offset).ravel().tolist(), fill=255)
    stack = np.asarray(soften(canvas.reduce(samples), blur * width)).reshape(len(layers), rows, columns)
    up, back = max(-top, 0), max(-left, 0)
    inside = stack[:, up : max(height - top, 0), back : max(width - left, 0)]
    result[:, top + up : top + up + inside.shape[1], left + back : left + back + inside.shape[2]] = inside
    result *= np.float32(1 / 255)
    return result


def soften(image: Image.Image, pixels: float) -> Image.Image:
    """Return the picture after a Gaussian of this deviation, which is left out where it is far below a pixel."""
    return image.filter(ImageFilter.GaussianBlur(pixels)) if pixels > 0.3 else image


@lru_cache
def _white_noise() -> Float[np.ndarray, "384 384"]:
    tile = np.random.default_rng(0).standard_normal((192, 192)).astype(np.float32)
    return np.tile(tile, (2, 2))


def noise(place: Float[np.ndarray, "2"], cells: int, height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:
    """Return smooth noise with `cells` <= 192 independent values along each side, of deviation near 1 if resolved.

    It is one fixed tile of white noise, shifted by `place` in [0, 1) and resampled: the same scene at every size.
    """
    row, column = int(place[0] * 192), int(place[1] * 192)
    patch = Image.fromarray(_white_noise()[row : row + cells, column : column + cells])
    return np.asarray(patch.resize((width, height), Image.Resampling.BILINEAR))


def pixel_centres(height: int, width: int) -> tuple[Float[np.ndarray, "1 {width}"], Float[np.ndarray, "{height} 1"]]:
    """Return the x and the y fractions of the pixel centres, shaped to broadcast to an image."""
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]


def rgb(red: float, green: float, blue: float) -> Float[np.ndarray, "3 1 1"]:
    """Return a colour with components about [0, 1], shaped to broadcast to planes [3, height, width]."""
    return np.array([red, green, blue], np.float32)[:, None, None]


def palette(colours: str, position: float) -> Float[np.ndarray, "3 1 1"]:
    """Return the colour at `position` in [0, 1] along a list of hexadecimal colours."""
    table = np.array([list(bytes.fromhex(colour)) for colour in colours.split()]) / 255
    place = position * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    return rgb(*(table[low] + (place - low) * (table[low + 1] - table[low])).tolist())


def blend(
    planes: Float[np.ndarray, "*planes height width"],
    colour: Float[np.ndarray, "..."] | np.float32,
    alpha: Float[np.ndarray, "height width"],
) -> None:
    """Move the planes in place towards the colour by the part alpha in [0, 1]."""
    planes += alpha * (colour - planes)

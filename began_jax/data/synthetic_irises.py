"""Procedural near-infrared eyes with the exact mask of the visible iris.

Every factor is drawn independently and uniformly between the bounds listed in `_FACTORS`:

- gaze: the pupil's centre;
- anatomy: radius, flattening and tilt of the iris, dilation and offset of the pupil, place of the collarette,
  phases, strengths and curl of the radial fibres and crypts;
- lids: height, bend and slope of both, number, length and darkness of the lashes;
- appearance: greys of pupil, iris, sclera and skin, side light, place and size of the highlights, exposure.

Lengths are fractions of the image's width, so the scene is 4 wide and 3 high whatever the pixel counts. The
mask is the part of the annulus between pupil and limbus that no lid covers, tested at the pixel centres;
lashes and highlights do not cut it.
"""

import numpy as np
from jaxtyping import UInt8

from began_jax.data.drawing import blend, coverage, pixel_centers, ribbon

_ASPECT = 0.75
_FIBRES = 10
_LASHES = 16
_FACTORS = {
    # Gaze and anatomy.
    "center_x": (0.42, 0.58),
    "center_y": (0.305, 0.445),
    "radius": (0.22, 0.32),
    "flattening": (0.92, 1.0),
    "tilt": (-0.2, 0.2),
    "dilation": (0.2, 0.45),
    "pupil_x": (-0.03, 0.03),
    "pupil_y": (-0.03, 0.03),
    "collarette": (0.25, 0.45),
    "fibre_curl": (-1.5, 1.5),
    "crypts": (0.0, 0.05),
    # Lids: heights over and under the centre in radii of the iris, bends per radius, slopes.
    "upper_lid": (0.45, 1.3),
    "lower_lid": (0.65, 1.35),
    "upper_bend": (0.08, 0.28),
    "lower_bend": (0.05, 0.22),
    "lid_slope": (-0.12, 0.12),
    "lid_apex": (-0.5, 0.5),
    "lash_length": (0.04, 0.1),
    "lash_darkness": (0.2, 0.65),
    # Greys before the exposure, and light.
    "pupil_grey": (0.06, 0.16),
    "iris_grey": (0.36, 0.5),
    "sclera_grey": (0.66, 0.76),
    "skin_grey": (0.64, 0.84),
    "contrast": (0.8, 1.15),
    "brightness": (-0.05, 0.05),
    "light_x": (-0.12, 0.12),
    "light_y": (-0.1, 0.06),
    "glint_x": (-0.35, 0.35),
    "glint_y": (-0.35, 0.35),
    "glint_size": (0.008, 0.016),
    "glint_gap": (0.0, 0.05),
}
_BOUNDS = np.array(list(_FACTORS.values()), np.float64)

Scene = dict[str, float]


def _draw_scene(seed: int, index: int) -> tuple[Scene, np.ndarray, np.ndarray]:
    """Return the factors, then fibres [_FIBRES, 3] and lashes [_LASHES, 3] with all entries in [0, 1)."""
    rng = np.random.default_rng([seed, index])
    values = rng.uniform(_BOUNDS[:, 0], _BOUNDS[:, 1])
    return (
        dict(zip(_FACTORS, values.tolist(), strict=True)),
        rng.random((_FIBRES, 3)),
        rng.random((_LASHES, 3)),
    )


def _ellipse_radius(s: Scene, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the offsets from the iris's centre along its axes and their length, in radii of the iris."""
    cos, sin = np.float32(np.cos(s["tilt"]) / s["radius"]), np.float32(np.sin(s["tilt"]) / s["radius"])
    dx, dy = x - np.float32(s["center_x"]), y - np.float32(s["center_y"])
    u, v = cos * dx + sin * dy, (cos * dy - sin * dx) / np.float32(s["flattening"])
    return u, v, np.sqrt(u * u + v * v)


def _lid_heights(s: Scene, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the y of the upper and of the lower lid's edge at x."""
    t = (x - s["center_x"]) / s["radius"]
    bow, slope = (t - s["lid_apex"]) ** 2, s["lid_slope"] * t
    upper = s["center_y"] + s["radius"] * (-s["upper_lid"] + s["upper_bend"] * bow + slope)
    lower = s["center_y"] + s["radius"] * (s["lower_lid"] - s["lower_bend"] * bow + slope)
    # Lids meet in the corners of the eye and never cross.
    middle = 0.5 * (upper + lower)
    return np.minimum(upper, middle).astype(np.float32), np.maximum(lower, middle).astype(np.float32)


def _ramp(distance: np.ndarray, softness: float) -> np.ndarray:
    """Return 0 far below a zero distance, 1 far above it and an even slope over `softness` between."""
    return np.clip(distance * np.float32(1 / softness) + np.float32(0.5), 0, 1)


def _texture(s: Scene, fibres: np.ndarray, u: np.ndarray, v: np.ndarray, depth: np.ndarray, width: int) -> np.ndarray:
    """Return the iris's grey, where depth is 0 at the pupil and 1 at the limbus."""
    angle = np.arctan2(v, u) + np.float32(0.15 * s["fibre_curl"]) * depth
    grey = np.full(depth.shape, s["iris_grey"], np.float32)
    for i, (phase, strength, fade) in enumerate(fibres.tolist()):
        count = 5 + 3 * i
        # Fibres thinner than the pixels would alias.
        seen = 1 / (1 + (count / (2.0 * width * s["radius"])) ** 4)
        band = 1 - np.abs(depth - np.float32(fade)) * np.float32(0.8)
        wave = np.sin(count * angle + np.float32(6.28 * phase) + np.float32(3 * fade) * depth)
        grey += np.float32(seen * (0.012 + 0.028 * strength)) * wave * band
    ring = (depth - np.float32(s["collarette"])) * np.float32(1 / 0.09)
    wavy = ring + 0.5 * np.sin(7 * angle + np.float32(6.28 * fibres[0, 0]))
    grey += np.float32(0.07) * np.exp(-wavy * wavy) - np.float32(s["crypts"]) * np.sin(9 * angle) * np.exp(
        -ring * ring / 4
    )
    return grey - np.float32(0.1) * _ramp(depth - np.float32(0.9), 0.3) + np.float32(0.03) * (1 - depth)


def _lashes(s: Scene, lashes: np.ndarray) -> list[np.ndarray]:
    """Return the lashes of the upper lid as polygons in fractions of the image."""
    t = np.linspace(0, 1, 5)
    polygons = []
    for place, length, lean in lashes.tolist():
        root = s["center_x"] + s["radius"] * 1.5 * (2 * place - 1)
        base = float(_lid_heights(s, np.array([root]))[0][0])
        reach = s["lash_length"] * (0.6 + 0.7 * length)
        swing = (1.6 * (place - 0.5) + 0.6 * (lean - 0.5)) * reach
        curve = np.stack([root + swing * t**1.5, base - 0.005 + reach * (1.4 * t - 0.4 * t * t)], axis=1)
        polygons.append(ribbon(curve, 0.0075 * (1 - 0.8 * t)) / np.array([1, _ASPECT]))
    return polygons


def render(
    seed: int, index: int, height: int, width: int
) -> tuple[UInt8[np.ndarray, "{height} {width} 1"], UInt8[np.ndarray, "{height} {width} 1"]]:
    """Return eye `index` in grey and the mask of its visible iris, 0 or 1."""
    s, fibres, lashes = _draw_scene(seed, index)
    x, y = pixel_centers(height, width)
    y = y * np.float32(_ASPECT)
    u, v, radius = _ellipse_radius(s, x, y)
    pupil = np.sqrt((u - np.float32(s["pupil_x"])) ** 2 + (v - np.float32(s["pupil_y"])) ** 2)
    upper, lower = _lid_heights(s, x)
    open_by = np.minimum(y - upper, lower - y)
    mask = (radius <= 1) & (pupil > s["dilation"]) & (open_by >= 0)

    # An edge is at least a pixel wide, which is antialiasing.
    blur = max(0.012, 1.2 / width)
    depth = np.clip((pupil - np.float32(s["dilation"])) * np.float32(1 / (1 - s["dilation"])), 0, 1)
    ball = np.float32(s["sclera_grey"]) - np.float32(0.05) * np.clip(radius - 1, 0, 2) ** 2
    blend(ball, _texture(s, fibres, u, v, depth, width), 1 - _ramp(radius - 1, 2.0 * blur / s["radius"]))
    blend(ball, np.float32(s["pupil_grey"]), 1 - _ramp(pupil - np.float32(s["dilation"]), blur / s["radius"]))
    ball *= 1 - np.float32(0.3) * np.exp(-np.maximum(y - upper, 0) * np.float32(1 / 0.035))
    skin = (
        s["skin_grey"]
        - 0.16 * np.exp(open_by * np.float32(1 / 0.02))
        + 0.05 * np.exp(-(((open_by + 0.06) / 0.03) ** 2))
    )
    skin -= np.float32(0.14) * np.exp(-(((y - upper + np.float32(0.11)) / np.float32(0.014)) ** 2))
    blend(ball, np.minimum(skin, 1).astype(np.float32), 1 - _ramp(open_by, blur))
    blend(ball, np.float32(0.1), np.float32(s["lash_darkness"]) * coverage(_lashes(s, lashes), height, width))

    image = ball * (1 + np.float32(s["light_x"]) * (2 * x - 1) + np.float32(s["light_y"]) * (2 * y / _ASPECT - 1))
    image = (image - 0.5) * np.float32(s["contrast"]) + np.float32(0.5 + s["brightness"])
    reach = s["radius"] * s["dilation"]
    for side in (0, 1):
        gx = s["center_x"] + reach * s["glint_x"] + side * (s["glint_gap"] + 0.01)
        gy = s["center_y"] + reach * s["glint_y"]
        size = max(s["glint_size"], 0.5 / width) * (1 - 0.4 * side)
        spot = np.exp(-((((x - gx) ** 2 + (y - gy) ** 2) / size**2) ** 2)).astype(np.float32)
        blend(image, np.float32(0.97), spot * _ramp(open_by, blur))
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], mask.astype(np.uint8)[..., None]

"""The skin of the procedural faces: light on a relief, uneven tone, folds that come with age and smiling."""

import numpy as np
from jaxtyping import Float

from began_jax.data.synthetic.drawing import blend, coverage, coverages, noise, palette, rgb, ribbon, smooth_curve
from began_jax.data.synthetic.factors import Scene
from began_jax.data.synthetic.shape import Shape, View, mirror, points

Plane = Float[np.ndarray, "height width"]

_SKIN = "f6d3bd e8b795 d39c74 a8734f 7d5238 57382a"  # Hexadecimal colours.

# Bumps of the face's relief: x, y, z of the centre, deviations along x and y, height; a pair where x > 0.
_NOSE_RELIEF = (
    (0.0, -0.02, 0.06, 0.032, 0.10, 0.026),
    (0.0, 0.11, 0.14, 0.045, 0.04, 0.042),
    (0.062, 0.135, 0.07, 0.026, 0.026, 0.015),
)
_RELIEF = (
    (0.185, -0.115, 0.0, 0.085, 0.045, -0.026),
    (0.185, -0.1, 0.0, 0.045, 0.026, 0.011),
    (0.17, -0.21, 0.01, 0.11, 0.03, 0.012),
    (0.225, 0.07, 0.0, 0.09, 0.075, 0.026),
    (0.0, 0.29, 0.05, 0.14, 0.08, 0.026),
    (0.0, 0.405, 0.05, 0.08, 0.022, -0.012),
    (0.0, 0.465, 0.05, 0.08, 0.045, 0.026),
)


def skin_colour(s: Scene) -> Float[np.ndarray, "3 1 1"]:
    """Return the colour of the skin in white light."""
    tint = np.float32(s["skin_tint"]) * rgb(0.02, -0.012, -0.035)
    return palette(_SKIN, s["skin_tone"]) * (1 + tint)


def _bumps(
    view: View, x: Plane, y: Plane, centres: np.ndarray, deviations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x and y in deviations from each of k centres, and the Gaussians, [k, height, width] each."""
    planar = (centres @ view.plane).astype(np.float32)[:, :, None, None]
    inverse = (1 / deviations).astype(np.float32)[:, :, None, None]
    dx, dy = (x - planar[:, 0]) * inverse[:, 0], (y - planar[:, 1]) * inverse[:, 1]
    square = dx * dx
    square += dy * dy
    square *= np.float32(-0.5)
    return dx, dy, np.exp(square, out=square)


def _relief(s: Scene) -> np.ndarray:
    """Return the bumps of the face, [k, 6] like `_RELIEF` but with the pairs as two bumps each."""
    nose = np.array(_NOSE_RELIEF) * [s["nose_width"], 1, 1, s["nose_width"], 1, 1]
    nose[1:, 1] += s["nose_length"]
    one_sided = np.concatenate([nose, _RELIEF])
    return np.concatenate([one_sided, (one_sided * [-1, 1, 1, 1, 1, 1])[one_sided[:, 0] > 0]])


def skin_light(s: Scene, view: View, x: Plane, y: Plane) -> Plane:
    """Return the light off the relief of the face, about 1 where it faces the viewer."""
    relief = _relief(s)
    dx, dy, gaussians = _bumps(view, x, y, relief[:, :3], relief[:, 3:5])
    dx *= gaussians
    dy *= gaussians
    steepness = (relief[:, 5:] / relief[:, 3:5]).astype(np.float32)
    middle = (np.array([0.0, 0.0, -0.15]) @ view.plane).astype(np.float32)
    bx, by = x - middle[0], y - middle[1]
    slope_x = -bx * (0.7 + 9 * bx * bx) - np.tensordot(steepness[:, 0], dx, 1)
    slope_y = -by * (0.35 + 2 * by * by) - np.tensordot(steepness[:, 1], dy, 1)
    diffuse = (1 - slope_x * s["light_x"] - slope_y * s["light_y"]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return np.float32(s["ambient"]) + np.float32(1 - s["ambient"]) * np.clip(diffuse, 0, 1.4)


def skin_tone(s: Scene, view: View, x: Plane, y: Plane, places: np.ndarray) -> Float[np.ndarray, "3 height width"]:
    """Return the factors of blush, sockets, the shadow under the nose, shine, mottling and freckles."""
    # Centres and deviations of blush, nose shadow, sockets, shine and the field of the freckles.
    low, shine = 0.2 + s["nose_length"], 0.25 * s["light_x"]
    table = np.array(
        [
            (-0.22, 0.1, 0, 0.08, 0.06),
            (0.22, 0.1, 0, 0.08, 0.06),
            (0, low, 0.03, 0.06, 0.018),
            (0.185, -0.12, 0, 0.085, 0.045),
            (-0.185, -0.12, 0, 0.085, 0.045),
            (shine, -0.34, 0.02, 0.14, 0.06),
            (0.2 * shine, 0.06, 0.16, 0.02, 0.07),
            (-0.2 + 0.3 * shine, 0.05, 0.02, 0.06, 0.045),
            (0.2 + 0.3 * shine, 0.05, 0.02, 0.06, 0.045),
        ]
    )
    g = _bumps(view, x, y, table[:, :3], table[:, 3:])[2]
    height, width = x.shape
    makeup = np.float32(0.05 + 0.13 * s["makeup"])
    dark = 1 - makeup * (g[3] + g[4]) - np.float32(0.1) * g[2]
    dark += np.float32(s["shine"]) * (g[5] + g[6] + g[7] + g[8])
    coarse = noise(places[0:2], 12, height, width)
    dark += np.float32(0.6 * s["mottling"]) * noise(places[2:4], 64, height, width)
    red = np.float32(s["mottling"]) * coarse + np.float32(0.9) * (g[0] + g[1] + np.float32(0.6) * g[6])
    if s["freckles"]:
        field = np.exp(-(((y - 0.02) / 0.13) ** 2)) * (np.abs(x) < 0.36)
        spots = np.clip(noise(places[4:6], 96, height, width) - np.float32(0.7), 0, 1.2)
        dark = dark - (np.float32(0.2 * s["freckles"]) * field * spots) * rgb(0.7, 1.0, 1.1)
    return dark - red * rgb(0.0, 0.06, 0.05)


def paint_folds(s: Scene, view: View, planes: np.ndarray, shape: Shape, skin: np.ndarray, shade: Plane) -> None:
    """Paint the folds from nose to mouth, under the eyes and across the forehead."""
    height, width = shade.shape
    corner, wing = shape.lips[6], shape.nose[8]
    middle = [0.5 * (corner[0] + wing[0]) + 0.035, 0.5 * (corner[1] + wing[1]) - 0.01, 0.03]
    cheek = np.array([wing, middle, corner]) + points([0.015, 0, 0.045], [-0.02, 0, 0.01], [-0.01, 0, -0.01])
    eye = shape.eyes[1]
    bag = eye[[0, 5, 4, 3]] + points([0.0, 0.0, 0.0, -0.02], [0.02, 0.03, 0.03, 0.024], [0, 0, 0, 0])
    smile = max(s["smile"], 0.0)
    layers = []
    for curve, thickness in ((cheek, 0.02), (bag, 0.016)):
        lines = [smooth_curve(view.project(side)) for side in (curve, mirror(curve))]
        taper = thickness * np.sin(np.linspace(0.3, 2.9, len(lines[0])))
        layers.append([ribbon(line, taper) for line in lines])
    fold, below_eye = coverages(layers, height, width, blur=0.007)
    depth = np.float32(0.12 + 0.28 * smile + 0.2 * s["age"]) * fold
    depth += np.float32(0.1 + 0.35 * s["age"] + 0.1 * smile) * below_eye
    blend(planes, planes * rgb(0.66, 0.56, 0.52), depth)
    if s["age"] > 0.45:
        lines = []
        for row in (-0.27, -0.305, -0.34):
            line = points([-0.2, -0.08, 0.08, 0.2], [row + 0.01, row, row + 0.004, row + 0.01], [0, 0.03, 0.03, 0])
            curve = smooth_curve(view.project(line))
            lines.append(ribbon(curve, 0.008 * np.sin(np.linspace(0.2, 2.9, len(curve)))))
        alpha = coverage(lines, height, width, blur=0.005)
        blend(planes, planes * rgb(0.7, 0.62, 0.58), np.float32(0.7 * (s["age"] - 0.45)) * alpha)

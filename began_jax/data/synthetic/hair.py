"""The hair of the procedural faces: the mass behind the head, the window it leaves for the face, and the beard."""

from typing import Any

import numpy as np
from jaxtyping import Float

from began_jax.data.synthetic.drawing import blend, coverage, noise, palette, smooth_curve
from began_jax.data.synthetic.factors import Scene
from began_jax.data.synthetic.shape import Points, Shape, View, mirror, points

Plane = Float[np.ndarray, "height width"]

_HAIR = "12100f 2e1c13 54371f 83431f b98f55 b3aea8"  # Hexadecimal colours.


def hair_colour(s: Scene) -> Float[np.ndarray, "3 1 1"]:
    """Return the colour of the hair in white light."""
    return palette(_HAIR, s["hair_colour"])


def _locks(curve: np.ndarray, amplitude: float, count: int, phases: np.ndarray) -> np.ndarray:
    """Return the outline moved along its normals by waves that stand for locks."""
    tangent = np.roll(curve, -1, 0) - np.roll(curve, 1, 0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    t = np.linspace(0, 2 * np.pi, len(curve), endpoint=False)
    turns = zip((1, 1.6, 2.7), phases, strict=True)
    waves: Any = sum(np.sin(round(count * k) * t + 6.28 * phase) for k, phase in turns)
    return curve + (0.5 * amplitude * waves)[:, None] * normal


def _back(s: Scene) -> Points:
    """Return the outline of the hair behind the face."""
    v, low = s["hair_volume"] + 0.05 * s["curl"], s["hair_length"]
    if s["hair_length"] < 0:
        v = 0.5 * v
    right = points(
        [0.3, 0.4 + v, 0.425 + v, 0.43 + v, 0.42 + v + 0.02 * low, 0.37],
        [-0.85 - v, -0.6, -0.36, -0.15, low, low + 0.11],
        [-0.2, -0.2, -0.2, -0.22, -0.24, -0.24],
    )
    return np.concatenate([[[0, -0.95 - v, -0.15]], right, mirror(right)[::-1]])


def _window(s: Scene) -> Points:
    """Return the outline of what the hair leaves free for the face."""
    line, part, temple = s["hairline"], s["hair_part"], 0.1 * s["recede"]
    # Hair that ends above the ears leaves the face free below them.
    drapes = [s["drape_left"], s["drape_right"]] if s["hair_length"] > 0 else [0.6, 0.6]
    bend = 0.06 if s["fringe"] else 0.0

    def side(sign: int, drape: float) -> Points:
        ear = 0.5 * (0.395 + min(drape, 0.44)) * s["face_width"]
        x = [0.5 * part + sign * 0.2, sign * 0.33 * s["face_width"], sign * ear, sign * drape, sign * (drape + 0.06)]
        y = [line + 0.015 - temple + bend * 0.3, line + 0.11 - temple, -0.12, 0.1, 0.8]
        return points(x, y, [-0.02, -0.08, -0.15, -0.16, -0.16])

    top = [[0.5 * part, line - 0.02 + bend * 0.2, 0.0]]
    return np.concatenate([top, side(1, drapes[1]), side(-1, drapes[0])[::-1]])


def _strands(s: Scene, x: Plane, y: Plane, places: np.ndarray) -> Plane:
    """Return the relative brightness of strands that leave the parting and fall along the head."""
    height, width = x.shape
    fall = 1 - np.exp(-np.maximum(y + np.float32(0.95), 0.02) * np.float32(1 / 0.3))
    across = (x - np.float32(0.5 * s["hair_part"])) / fall
    wave = np.float32(0.006 + 0.03 * s["curl"]) * noise(places[0:2], 9, height, width)
    across = across + wave
    total = np.zeros_like(x)
    for frequency, strength, phase in ((47, 0.05, places[2]), (118, 0.07, places[3]), (205, 0.06, places[4])):
        # Strands thinner than the pixels would alias.
        seen = 1 / (1 + (frequency / (2.2 * width)) ** 4)
        total += np.float32(seen * strength) * np.sin(np.float32(frequency) * across + np.float32(6.28 * phase))
    return total + np.float32(0.06 + 0.05 * s["curl"]) * noise(places[4:6], 34, height, width)


def paint_hair(
    s: Scene, view: View, x: Plane, y: Plane, places: np.ndarray
) -> tuple[Float[np.ndarray, "3 height width"], Plane, Plane]:
    """Return the colour of the hair, and the parts of the pixels under the hair behind and before the face."""
    height, width = x.shape
    ragged = 0.006 + 0.03 * s["curl"]
    back = _locks(smooth_curve(view.project(_back(s)), closed=True), ragged, 17, places[6:9])
    fringe = 0.003 + 0.008 * s["fringe"] + 0.016 * s["curl"]
    window = _locks(smooth_curve(view.project(_window(s)), closed=True), fringe, 19, places[9:12])
    behind = coverage([back], height, width, blur=0.004 + 0.006 * s["curl"])
    # The edge of the hair about the face ends in strands, most of all that of a fringe.
    free = coverage([window], height, width, blur=0.01 + 0.012 * s["fringe"])
    strands = _strands(s, x, y, places)
    before = np.clip(0.5 + (1.2 + 1.5 * s["fringe"]) * (0.5 - free + 2.2 * strands * (1 - np.abs(2 * free - 1))), 0, 1)
    light = 1 + 1.5 * strands
    light += np.float32(s["hair_sheen"]) * np.exp(-(((y + 0.42 - 0.5 * x * x) / 0.08) ** 2))
    # Locks beside the face lie in the shadow of the head and of each other.
    light *= 0.62 + 0.38 * np.clip(2.4 * np.abs(x) - np.float32(0.35), 0, 1) + 0.3 * np.clip(-y - 0.2, 0, 0.4)
    light *= 0.8 + np.float32(0.2 * s["exposure"]) + 0.35 * (s["light_x"] * x + s["light_y"] * y)
    if s["bald"]:
        return hair_colour(s) * light, np.zeros_like(behind), np.zeros_like(behind)
    return hair_colour(s) * light, behind, behind * before


def paint_beard(
    s: Scene, view: View, planes: np.ndarray, shape: Shape, face: Plane, shade: Plane, places: np.ndarray
) -> None:
    """Paint a moustache, and the beard where there is one, to be covered by the lips afterwards."""
    height, width = shade.shape
    corner, wide = shape.lips[6], s["face_width"]
    low, lip = shape.face[9, 1] + 0.03, shape.lips[3, 1]
    moustache = points([0.0, 0.1, corner[0] + 0.03], [lip - 0.055, lip - 0.045, corner[1] + 0.015], [0.09, 0.06, 0.0])
    below = points([corner[0], 0.0], [corner[1] + 0.012, shape.lips[9, 1]], [0.0, 0.07])
    upper = np.concatenate([moustache, below])
    ring = np.concatenate([upper, mirror(upper)[::-1][1:-1]])
    texture = np.clip(1 + np.float32(0.2) * noise(places[0:2], 110, height, width), 0, 1.4)
    colour = hair_colour(s) * np.float32(0.8) * (0.45 + 0.55 * shade)
    reach = min(1.0, s["beard"] + 0.2)
    alpha = coverage([view.project(ring)], height, width, blur=0.008)
    blend(planes, colour, np.float32(s["moustache"]) * texture * face * alpha)
    if not s["beard"]:
        return
    if s["goatee"]:
        half = points(
            [0.0, 0.1, corner[0] + 0.02, 0.15, 0.1], [lip + 0.06, lip + 0.06, corner[1], 0.42, low], [0.05] * 5
        )
    else:
        half = points(
            [0.0, corner[0] + 0.01, 0.27 * wide, 0.37 * wide, 0.43 * wide, 0.45 * wide, 0.36 * wide, 0.2],
            [lip + 0.05, corner[1] + 0.01, 0.19, 0.08, -0.06, 0.15, 0.36, low + 0.05],
            [0.05, 0.0, -0.05, -0.12, -0.18, -0.16, -0.1, 0.0],
        )
    outline = np.concatenate([half, mirror(half)[::-1]])
    alpha = coverage([view.project(outline)], height, width, blur=0.014)
    blend(planes, colour, np.float32(s["beard"] * reach) * texture * face * alpha)

"""Procedural faces, framed like the crop of a face detector, with 49 exact landmarks in iBUG order.

Every factor is drawn independently and uniformly between the bounds listed in `_FACTORS`:

- identity: face and jaw width; eye size, spacing, height and slant; brow height, arch and thickness; nose
  width and length; mouth width and height; fullness of the lips;
- pose: yaw, pitch and roll of a shape with depth, then scale and shift in the frame;
- expression: smile, open mouth (closed for a third of the faces), lids, raised brows, gaze;
- appearance: tone and tint of the skin, colour and cut of the hair, colours of iris, lips and background,
  direction and strength of the light.

The landmarks are the projected knots of the curves that are filled, so they are exact at every image size.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from began_jax.data.drawing import blend, coverage, ellipse, palette, pixel_centers, rgb, ribbon, smooth_curve

LANDMARKS_COUNT = 49

_FACTORS = {
    # Pose: degrees, then fractions of the frame.
    "yaw": (-20, 20),
    "pitch": (-11, 11),
    "roll": (-8, 8),
    "scale": (0.92, 1.08),
    "shift_x": (-0.045, 0.045),
    "shift_y": (-0.04, 0.04),
    # Identity: factors about 1, or offsets in fractions of the frame.
    "face_width": (0.92, 1.07),
    "jaw_width": (0.86, 1.1),
    "eye_size": (0.9, 1.25),
    "eye_spacing": (0.93, 1.06),
    "eye_height": (-0.012, 0.012),
    "eye_slant": (-0.012, 0.006),
    "brow_height": (-0.015, 0.015),
    "brow_arch": (0.004, 0.03),
    "brow_thickness": (0.018, 0.04),
    "nose_width": (0.8, 1.25),
    "nose_length": (-0.025, 0.025),
    "mouth_width": (0.84, 1.14),
    "mouth_height": (-0.015, 0.015),
    "lip_fullness": (0.75, 1.3),
    # Expression.
    "smile": (-0.2, 1),
    "mouth_open": (-0.5, 1),
    "eye_open": (0.35, 1.15),
    "brow_raise": (0, 0.025),
    "gaze_x": (-0.018, 0.018),
    "gaze_y": (-0.006, 0.006),
    # Appearance: positions along the palettes, factors and directions.
    "skin_tone": (0, 1),
    "skin_tint": (-1, 1),
    "hair_color": (0, 1),
    "hair_volume": (0.9, 1.12),
    "hair_length": (-0.15, 0.7),
    "hairline": (-0.46, -0.31),
    "hair_part": (-0.25, 0.25),
    "strands": (0, 6.28),
    "iris_color": (0, 1),
    "lip_redness": (0, 1),
    "background": (0.15, 0.9),
    "background_warmth": (-0.2, 0.2),
    "background_green": (-0.1, 0.1),
    "background_slope": (-0.5, 0.5),
    "background_angle": (0, 6.28),
    "light_x": (-0.75, 0.75),
    "light_y": (-0.8, 0),
    "ambient": (0.3, 0.6),
    "exposure": (0.85, 1.1),
}
_BOUNDS = np.array(list(_FACTORS.values()), np.float64)

_SKIN = "fcdec9 f2c4a3 d6a17a a37052 6e4733"  # Palettes are hexadecimal colours.
_HAIR = "12100f 331f14 5c381f 8c451f cca35c b3b0ad"
_IRIS = "21120a 4d2b14 526133 4d739e"

# Bumps of the face's relief: x, y, z of the centre, deviations along x and y, height; a pair where x > 0.
_NOSE_RELIEF = (
    (0.0, -0.02, 0.06, 0.027, 0.10, 0.034),
    (0.0, 0.105, 0.14, 0.042, 0.038, 0.05),
    (0.062, 0.135, 0.07, 0.024, 0.024, 0.018),
)
_RELIEF = (
    (0.19, -0.12, 0.0, 0.085, 0.045, -0.03),
    (0.19, -0.105, 0.0, 0.045, 0.026, 0.012),
    (0.17, -0.2, 0.01, 0.11, 0.03, 0.012),
    (0.23, 0.07, 0.0, 0.09, 0.07, 0.028),
    (0.0, 0.29, 0.05, 0.13, 0.075, 0.03),
    (0.0, 0.385, 0.05, 0.08, 0.022, -0.014),
    (0.0, 0.45, 0.05, 0.08, 0.045, 0.03),
)

Scene = dict[str, float]


class _View(NamedTuple):
    """The maps of a face's points [..., 3] to its own upright plane and from there to image fractions."""

    plane: np.ndarray
    turn: np.ndarray
    origin: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the image fractions [..., 2] of points [..., 3]."""
        return points @ self.plane @ self.turn + self.origin

    def upright(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the image fractions x [1, width] and y [height, 1] in the plane, [height, width] each."""
        back = np.linalg.inv(self.turn).astype(np.float32)
        x, y = x - np.float32(self.origin[0]), y - np.float32(self.origin[1])
        return back[0, 0] * x + back[1, 0] * y, back[0, 1] * x + back[1, 1] * y


def _draw_scene(seed: int, index: int) -> Scene:
    values = np.random.default_rng([seed, index]).uniform(_BOUNDS[:, 0], _BOUNDS[:, 1])
    scene = dict(zip(_FACTORS, values.tolist(), strict=True))
    scene["mouth_open"] = max(scene["mouth_open"], 0.0)
    return scene


def _view(s: Scene) -> _View:
    yaw, pitch, roll = np.deg2rad([s["yaw"], s["pitch"], s["roll"]])
    across = np.array([np.cos(yaw), 0, np.sin(yaw)])
    down = np.array([np.sin(yaw) * np.sin(pitch), np.cos(pitch), -np.cos(yaw) * np.sin(pitch)])
    plane = np.stack([across, down], axis=1)
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return _View(plane, s["scale"] * turn, np.array([0.5 + s["shift_x"], 0.5 + s["shift_y"]]))


def _points(x: list, y: list, z: list) -> np.ndarray:
    return np.array([x, y, z], np.float64).T


def _mirror(points: np.ndarray) -> np.ndarray:
    return points * np.array([-1.0, 1.0, 1.0])


def _eye(s: Scene) -> np.ndarray:
    """Return the image-left eye [6, 3] of the frontal face."""
    x, y, slant = -0.192 * s["eye_spacing"], -0.108 + s["eye_height"], s["eye_slant"]
    half, up, down = 0.07 * s["eye_size"], 0.036 * s["eye_size"] * s["eye_open"], 0.02 * s["eye_size"]
    return _points(
        [x - half, x - 0.38 * half, x + 0.38 * half, x + half, x + 0.38 * half, x - 0.38 * half],
        [y + slant, y - up + 0.4 * slant, y - up, y + 0.007, y + down, y + down + 0.4 * slant],
        [-0.05, -0.01, 0.0, -0.01, 0.0, -0.01],
    )


def _brow(s: Scene) -> np.ndarray:
    """Return the image-left brow [5, 3] of the frontal face."""
    top, arch = -0.198 + s["eye_height"] + s["brow_height"] - s["brow_raise"], s["brow_arch"]
    return _points(
        [-0.304, -0.252, -0.192, -0.132, -0.08],
        [top + 0.028, top + 0.004 - 0.25 * arch, top - arch, top - 0.8 * arch, top + 0.004 - 0.3 * arch],
        [-0.035, 0.02, 0.03, 0.03, 0.025],
    )


def _nose(s: Scene) -> np.ndarray:
    """Return bridge and nostrils [9, 3] of the frontal face."""
    wide, tip = s["nose_width"], 0.105 + s["nose_length"]
    bridge = np.stack([np.zeros(4), np.linspace(-0.1, tip, 4), [0.03, 0.07, 0.11, 0.16]], axis=1)
    x = [-0.08 * wide, -0.043 * wide, 0.0, 0.043 * wide, 0.08 * wide]
    y = [tip + 0.048, tip + 0.06, tip + 0.068, tip + 0.06, tip + 0.048]
    return np.concatenate([bridge, _points(x, y, [0.04, 0.08, 0.1, 0.08, 0.04])])


def _mouth(s: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return the outer mouth [12, 3] and the inner mouth with its corners [8, 3] of the frontal face."""
    half = 0.162 * s["mouth_width"] * (1 + 0.13 * s["smile"] - 0.1 * s["mouth_open"])
    rise, fall = 0.025 * s["mouth_open"], 0.065 * s["mouth_open"]
    x = np.array([-1, -0.62, -0.24, 0, 0.24, 0.62, 1, 0.62, 0.3, 0, -0.3, -0.62])
    lips = np.array([0, -0.72, -1, -0.84, -1, -0.72, 0, 0.9, 1.22, 1.28, 1.22, 0.9])
    inner_x = np.array([-0.88, -0.5, 0, 0.5, 0.88, 0.5, 0, -0.5])

    def place(x: np.ndarray, offset: np.ndarray, side: np.ndarray) -> np.ndarray:
        gap = np.where(side < 0, -rise, fall) * np.sqrt(np.maximum(1 - x**2, 0))
        gap = np.where(side == 0, 0.5 * (fall - rise), gap)
        y = 0.293 + s["mouth_height"] + offset + gap - 0.042 * s["smile"] * x**2
        return np.stack([half * x, y, 0.07 - 0.09 * x**2], axis=1)

    outer = place(x, 0.036 * s["lip_fullness"] * lips, lips)
    return outer, place(inner_x, np.zeros(8), np.array([0, -1, -1, -1, 0, 1, 1, 1]))


def _head(s: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the outlines of face, hair and of the hair's opening for the face, frontal, each [n, 3]."""
    wide, jaw, drop = s["face_width"], s["face_width"] * s["jaw_width"], 0.045 * s["mouth_open"]
    right = _points(
        [0.24 * wide, 0.375 * wide, 0.405 * wide, 0.385 * wide, 0.315 * jaw, 0.17 * jaw],
        [-0.5, -0.3, -0.06, 0.12, 0.3, 0.43 + drop],
        [-0.12, -0.16, -0.19, -0.17, -0.12, -0.02],
    )
    face = np.concatenate([[[0, -0.56, -0.1]], right, [[0, 0.465 + drop, 0.03]], _mirror(right)[::-1]])
    volume, low = s["hair_volume"], s["hair_length"]
    right = _points(
        [0.3 * volume, 0.45 * volume, 0.475 * volume, 0.46 * volume, 0.36],
        [-0.58, -0.36, -0.15, low + 0.03, low + 0.11],
        [-0.2, -0.2, -0.22, -0.24, -0.24],
    )
    hair = np.concatenate([[[0, -0.66, -0.15]], right, _mirror(right)[::-1]])
    line, shift = s["hairline"], 0.3 * s["hair_part"]
    side_x, side_y = [0.335 * wide, 0.385 * wide, 0.415 * wide, 0.42], [line + 0.13, -0.08, 0.1, 0.75]
    opening = _points(
        [s["hair_part"], shift + 0.22, *side_x, *(-x for x in side_x[::-1]), shift - 0.22],
        [line - 0.035, line + 0.02, *side_y, *side_y[::-1], line + 0.02],
        [0.0, -0.04, -0.12, -0.18, -0.18, -0.1, -0.1, -0.18, -0.18, -0.12, -0.04],
    )
    return face, hair, opening


def _bumps(
    view: _View, x: np.ndarray, y: np.ndarray, centers: np.ndarray, deviations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x and y in deviations from each of k centres, and the Gaussians, [k, height, width] each."""
    planar = (centers @ view.plane).astype(np.float32)[:, :, None, None]
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


def _skin_shade(s: Scene, view: _View, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the light [height, width] off the relief of the face, about 1 where it faces the viewer."""
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
    return np.float32(s["ambient"]) + np.float32(1 - s["ambient"]) * np.clip(diffuse, 0, 1.5)


def _skin_tone(s: Scene, view: _View, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the factors [3, height, width] of blush, sockets and the shadow under the nose."""
    sides = np.array([-1, 1, 1])[:, None]
    under = 0.195 + s["nose_length"]
    centers = np.array([[0.22, 0.1, 0], [0.22, 0.1, 0], [0, under, 0.03], [0.185, -0.125, 0], [-0.185, -0.125, 0]])
    centers[:3, :1] *= sides
    deviations = np.array([[0.08, 0.06], [0.08, 0.06], [0.06, 0.018], [0.085, 0.05], [0.085, 0.05]])
    blush_left, blush_right, shadow, *sockets = _bumps(view, x, y, centers, deviations)[2]
    dark = 1 - 0.16 * (sockets[0] + sockets[1]) - 0.13 * shadow
    return dark - (blush_left + blush_right) * rgb(0.0, 0.07, 0.06)


def _background(s: Scene, height: int, width: int) -> np.ndarray:
    x, y = pixel_centers(height, width)
    ramp = np.cos(s["background_angle"]) * (x - 0.5) + np.sin(s["background_angle"]) * (y - 0.5)
    warm, green = s["background_warmth"], s["background_green"]
    color = s["background"] + rgb(warm, green, -warm)
    return np.clip(color + np.float32(s["background_slope"]) * ramp, 0, 1).astype(np.float32)


def _paint_hair(s: Scene, planes: np.ndarray, alpha: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    angle = np.arctan2(x - np.float32(0.4 * s["hair_part"]), np.float32(0.25) - y)
    strands = np.sin(23 * angle + s["strands"]) + np.sin(41 * angle + 2 * s["strands"] + 6 * y)
    sheen = np.exp(-(((y + 0.4 - 0.5 * x * x) / 0.09) ** 2)) - 0.5 * np.exp(-(((np.abs(x) - 0.38) / 0.06) ** 2))
    light = 0.92 + 0.06 * strands + 0.25 * sheen + 0.25 * (s["light_x"] * x + s["light_y"] * y)
    blend(planes, palette(_HAIR, s["hair_color"]) * light, alpha)


def _paint_eyes(
    s: Scene, view: _View, planes: np.ndarray, eyes: list[np.ndarray], skin: np.ndarray, shade: np.ndarray
) -> None:
    """Paint what is seen between the lids, the upper lids' rims and their creases."""
    height, width = shade.shape
    openings, rims, creases, irises, pupils, glints = [], [], [], [], [], []
    radius = 0.031 * s["scale"] * s["eye_size"]
    for points in eyes:
        flat = view.project(points)
        upper, lower = smooth_curve(flat[:4]), smooth_curve(flat[[3, 4, 5, 0]])
        openings.append(np.concatenate([upper, lower[1:-1]]))
        rims.append(ribbon(upper, np.full(19, 0.012)))
        crease = points[:4] + _points([0, 0, 0, 0], [-0.008, -0.021, -0.021, -0.01], [0, 0.01, 0.01, 0])
        creases.append(ribbon(smooth_curve(view.project(crease)), np.full(19, 0.009)))
        gaze = np.array([s["gaze_x"], s["gaze_y"] - 0.006, 0.0])
        center = view.project(0.5 * (points[0] + points[3]) * [1, 1, 0] + gaze)
        irises.append(ellipse(center, radius, radius))
        pupils.append(ellipse(center, 0.45 * radius, 0.45 * radius, points=12))
        glint = center + radius * np.array([0.35 * np.sign(s["light_x"]), -0.4])
        glints.append(ellipse(glint, 0.25 * radius, 0.25 * radius, points=10))
    opening = coverage(openings, height, width)
    soft = 0.45 + 0.55 * shade
    blend(planes, skin * shade * 0.62, 0.6 * coverage(creases, height, width))
    blend(planes, rgb(0.93, 0.91, 0.9) * soft, opening)
    blend(planes, palette(_IRIS, s["iris_color"]) * soft, opening * coverage(irises, height, width))
    blend(planes, np.float32(0.03), opening * coverage(pupils, height, width))
    blend(planes, np.float32(0.97), opening * coverage(glints, height, width))
    blend(planes, skin * np.float32(0.16), 0.85 * coverage(rims, height, width))


def _paint_brows(
    s: Scene, view: _View, planes: np.ndarray, brows: list[np.ndarray], skin: np.ndarray, shade: np.ndarray
) -> None:
    color = (0.75 * palette(_HAIR, 0.85 * s["hair_color"]) + 0.08 * skin) * (0.5 + 0.5 * shade)
    curves = [smooth_curve(view.project(brow)) for brow in brows]
    taper = s["brow_thickness"] * np.interp(np.linspace(0, 1, len(curves[0])), [0, 0.5, 1], [0.35, 0.9, 1])
    for factor, alpha in ((1.3, 0.4), (0.75, 0.65)):
        strokes = [ribbon(curve, factor * taper) for curve in curves]
        blend(planes, color, np.float32(alpha) * coverage(strokes, *shade.shape))


def _paint_nose(s: Scene, view: _View, planes: np.ndarray, nose: np.ndarray, skin: np.ndarray) -> None:
    height, width = planes.shape[1:]
    holes, wings = [], []
    for side, base, corner in ((-1, nose[5], nose[4]), (1, nose[7], nose[8])):
        middle = view.project(base + np.array([side * 0.004, -0.006, 0.0]))
        tilt = np.deg2rad(s["roll"] - side * 15)
        holes.append(ellipse(middle, 0.019 * s["nose_width"], 0.0095, tilt, points=14))
        wing = corner + _points([-side * 0.012, side * 0.004, 0], [-0.05, -0.025, 0], [0, 0, 0])
        curve = smooth_curve(view.project(np.concatenate([wing, base[None]])))
        wings.append(ribbon(curve, np.full(len(curve), 0.011)))
    blend(planes, skin * np.float32(0.55), 0.4 * coverage(wings, height, width))
    blend(planes, skin * np.float32(0.22), 0.85 * coverage(holes, height, width))


def _paint_mouth(
    s: Scene, planes: np.ndarray, outer: np.ndarray, inner: np.ndarray, skin: np.ndarray, shade: np.ndarray
) -> None:
    """Paint lips, the gap between them and teeth; `outer` and `inner` are already projected."""
    height, width = shade.shape
    lips = np.concatenate([smooth_curve(outer[:7])[:-1], smooth_curve(outer[[6, 7, 8, 9, 10, 11, 0]])[:-1]])
    color = skin * rgb(0.86, 0.58, 0.58)
    color += np.float32(0.55 * s["lip_redness"]) * (rgb(0.97, 0.27, 0.3) * skin.mean() - color)
    # The upper lip faces the ground and the lower one the sky.
    seam = np.float32(0.5 * (inner[2, 1] + inner[6, 1]))
    tilt = 1 + 0.12 * np.tanh((pixel_centers(height, width)[1] - seam) / np.float32(0.02))
    blend(planes, color * (shade * tilt), coverage([lips], height, width))
    upper, lower = smooth_curve(inner[:5]), smooth_curve(inner[[4, 5, 6, 7, 0]])
    if s["mouth_open"] > 0.05:
        mouth = coverage([np.concatenate([upper, lower[1:-1]])], height, width)
        blend(planes, rgb(0.2, 0.05, 0.06), mouth)
        edge = upper + np.array([0, min(0.03, 0.05 * s["mouth_open"] + 0.004)])
        teeth = coverage([np.concatenate([upper, edge[::-1]])], height, width)
        blend(planes, rgb(0.92, 0.9, 0.86) * shade, mouth * teeth)
        rim = upper
    else:
        rim = np.concatenate([outer[:1], 0.5 * (upper + lower[::-1]), outer[6:7]])
    blend(
        planes,
        color * np.float32(0.38),
        0.8 * coverage([ribbon(rim, np.full(len(rim), 0.01))], height, width),
    )


def render(
    seed: int, index: int, height: int, width: int
) -> tuple[UInt8[np.ndarray, "{height} {width} 3"], Float[np.ndarray, "49 2"]]:
    """Return face `index` as RGB and its 49 landmarks, float32 (x, y) fractions of the frame in [0, 1]."""
    s = _draw_scene(seed, index)
    view = _view(s)
    eye, brow, nose = _eye(s), _brow(s), _nose(s)
    eyes, brows = [eye, _mirror(eye)[[3, 2, 1, 0, 5, 4]]], [brow, _mirror(brow)]
    lips, inner = _mouth(s)
    shape = np.concatenate([brow, brows[1][::-1], nose, *eyes, lips, inner[[1, 2, 3, 5, 6, 7]]])
    landmarks = view.project(shape).astype(np.float32)

    x, y = view.upright(*pixel_centers(height, width))
    shade = _skin_shade(s, view, x, y)
    skin = palette(_SKIN, s["skin_tone"]) * (1 + np.float32(s["skin_tint"]) * rgb(0.03, 0.0, -0.05))

    face, hair, opening = (
        coverage([smooth_curve(view.project(outline), closed=True)], height, width) for outline in _head(s)
    )
    neck = _points([-0.24, 0.24, 0.27, -0.27], [0.25, 0.25, 0.8, 0.8], [-0.2, -0.2, -0.2, -0.2])
    planes = _background(s, height, width)
    _paint_hair(s, planes, 0.97 * hair, x, y + np.float32(0.1))
    blend(planes, skin * (0.55 * shade), coverage([view.project(neck)], height, width))
    blend(planes, skin * shade * _skin_tone(s, view, x, y), face)
    _paint_nose(s, view, planes, nose, skin)
    _paint_mouth(s, planes, view.project(lips), view.project(inner), skin, shade)
    _paint_eyes(s, view, planes, eyes, skin, shade)
    _paint_brows(s, view, planes, brows, skin, shade)
    _paint_hair(s, planes, hair * (1 - opening), x, y)
    planes *= np.float32(255 * s["exposure"])
    return np.rint(np.clip(planes, 0, 255)).astype(np.uint8).transpose(1, 2, 0).copy(), landmarks

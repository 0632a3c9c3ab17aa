"""Procedural near-infrared eyes with the exact mask of the visible iris.

Every factor is drawn independently and uniformly between the bounds listed in `FACTORS`:

- gaze: the pupil's centre;
- anatomy: radius, flattening and tilt of the iris, dilation and offset of the pupil, place of the collarette,
  phases, strengths and curl of the radial fibres, crypts;
- lids: height, bend and slope of both, number, length, lean and darkness of the lashes of both;
- appearance: greys of pupil, iris, sclera and skin, softness of the limbus, side light, the ring of eight
  highlights, shine on the lower lid, defocus, exposure, noise.

Lengths are fractions of the image's width, so the scene is 4 wide and 3 high whatever the pixel counts. The
mask is the part of the annulus between pupil and limbus that no lid covers, tested at the pixel centres;
lashes and highlights do not cut it.
"""

import numpy as np
from jaxtyping import Float, UInt8

from began_jax.data.synthetic.drawing import blend, coverage, ellipse, noise, pixel_centres

ASPECT = 0.75
FIBRES = 8
LASHES = 64
LOWER_LASHES = 20
_HIGHLIGHTS = 8
FACTORS = {
    # Gaze and anatomy.
    "centre_x": (0.42, 0.58),
    "centre_y": (0.305, 0.445),
    "radius": (0.23, 0.33),
    "flattening": (0.94, 1.0),
    "tilt": (-0.2, 0.2),
    "dilation": (0.26, 0.5),
    "pupil_x": (-0.04, 0.04),
    "pupil_y": (-0.04, 0.04),
    "collarette": (0.18, 0.4),
    "fibre_curl": (-1.0, 1.0),
    "fibre_contrast": (0.3, 1.0),
    "crypts": (0.0, 0.09),
    "limbus": (0.05, 0.2),
    # Lids: heights over and under the centre in radii of the iris, bends per radius, slopes.
    "upper_lid": (0.45, 1.25),
    "lower_lid": (0.7, 1.35),
    "upper_bend": (0.06, 0.22),
    "lower_bend": (0.03, 0.16),
    "lid_slope": (-0.12, 0.12),
    "lid_apex": (-0.5, 0.5),
    "lash_length": (0.06, 0.15),
    "lash_darkness": (0.45, 0.9),
    "lash_droop": (-1.0, 0.75),
    # Greys before the exposure, and light.
    "pupil_grey": (0.09, 0.16),
    "iris_grey": (0.5, 0.68),
    "sclera_contrast": (0.08, 0.18),
    "skin_grey": (0.72, 1.02),
    "contrast": (0.9, 1.15),
    "brightness": (-0.05, 0.05),
    "light_x": (-0.14, 0.14),
    "light_y": (-0.1, 0.1),
    "ring_x": (-0.3, 0.3),
    "ring_y": (-0.2, 0.35),
    "ring_radius": (0.034, 0.046),
    "ring_turn": (0.0, 0.79),
    "lid_shine": (0.0, 0.8),
    "defocus": (0.0, 0.006),
    "noise": (0.004, 0.016),
}
_BOUNDS = np.array(list(FACTORS.values()), np.float64)

Scene = dict[str, float]


def _draw_scene(seed: int, index: int) -> tuple[Scene, np.ndarray, np.ndarray, np.ndarray]:
    """Return the factors, and numbers in [0, 1): fibres [FIBRES, 3], lashes [n, 3] of both lids, places [8]."""
    rng = np.random.default_rng([seed, index])
    values = rng.uniform(_BOUNDS[:, 0], _BOUNDS[:, 1])
    scene = dict(zip(FACTORS, values.tolist(), strict=True))
    return scene, rng.random((FIBRES, 3)), rng.random((LASHES + LOWER_LASHES, 3)), rng.random(8)


def _ellipse_radius(s: Scene, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the offsets from the iris's centre along its axes and their length, in radii of the iris."""
    cos, sin = np.float32(np.cos(s["tilt"]) / s["radius"]), np.float32(np.sin(s["tilt"]) / s["radius"])
    dx, dy = x - np.float32(s["centre_x"]), y - np.float32(s["centre_y"])
    u, v = cos * dx + sin * dy, (cos * dy - sin * dx) / np.float32(s["flattening"])
    return u, v, np.sqrt(u * u + v * v)


def _lid_heights(s: Scene, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the y of the upper and of the lower lid's edge at x."""
    t = (x - s["centre_x"]) / s["radius"]
    bow, slope = (t - s["lid_apex"]) ** 2, s["lid_slope"] * t
    upper = s["centre_y"] + s["radius"] * (-s["upper_lid"] + s["upper_bend"] * bow + slope)
    lower = s["centre_y"] + s["radius"] * (s["lower_lid"] - s["lower_bend"] * bow + slope)
    # Lids meet in the corners of the eye and never cross.
    middle = 0.5 * (upper + lower)
    return np.minimum(upper, middle).astype(np.float32), np.maximum(lower, middle).astype(np.float32)


def _ramp(distance: np.ndarray, softness: float) -> np.ndarray:
    """Return 0 far below a zero distance, 1 far above it and an even slope over `softness` between."""
    return np.clip(distance * np.float32(1 / softness) + np.float32(0.5), 0, 1)


def _texture(
    s: Scene, fibres: np.ndarray, u: np.ndarray, v: np.ndarray, depth: np.ndarray, places: np.ndarray
) -> Float[np.ndarray, "height width"]:
    """Return the iris's grey, where depth is 0 at the pupil and 1 at the limbus."""
    height, width = depth.shape
    speckle = noise(places[0:2], 56, height, width)
    angle = np.arctan2(v, u) + np.float32(0.15 * s["fibre_curl"]) * depth + np.float32(0.05) * speckle
    grey = np.float32(s["iris_grey"]) + np.float32(0.012) * speckle
    # Fibres are strongest about the pupil and fade towards the limbus.
    band = np.float32(s["fibre_contrast"]) * (1.2 - depth)
    for i, (phase, strength, fade) in enumerate(fibres.tolist()):
        count = 7 + 5 * i
        # Fibres thinner than the pixels would alias.
        seen = 1 / (1 + (count / (2.0 * width * s["radius"])) ** 4)
        wave = np.sin(count * angle + (np.float32(6.28 * phase) + np.float32(3 * fade) * depth))
        grey = grey + np.float32(seen * (0.008 + 0.022 * strength)) * wave * band
    ring = (depth - np.float32(s["collarette"])) * np.float32(1 / 0.11)
    wavy = ring + np.float32(0.6) * np.sin(9 * angle + np.float32(6.28 * fibres[0, 0]))
    grey += np.float32(s.get("collarette_light", 0.05)) * np.exp(-wavy * wavy)
    pits = np.clip(noise(places[2:4], 26, height, width) - np.float32(0.5), 0, 1)
    grey -= np.float32(s["crypts"]) * pits * np.exp(-ring * ring / 6)
    return grey - np.float32(0.08) * depth * depth


def _lashes(s: Scene, lashes: np.ndarray, upper: bool) -> list[np.ndarray]:
    """Return the lashes of a lid as polygons in fractions of the image."""
    place, length, lean = lashes.T[:, :, None]
    t = np.linspace(0, 1, 5)
    root = s["centre_x"] + s["radius"] * 2.1 * (2 * place - 1)
    base = _lid_heights(s, root)[0 if upper else 1]
    reach = s["lash_length"] * (0.5 + 0.7 * length) * (1.0 if upper else 0.6)
    outwards = 2 * place - 1 + 0.7 * (lean - 0.5)
    if upper:
        # Roots hang over the eye's edge, tips curl up over the skin or, where they droop, down over the iris.
        rise = np.where(lean < 0.5 + 0.5 * s["lash_droop"], -0.9, 1.0) * (0.6 + 0.4 * lean)
        down = 0.012 + reach * (0.5 * t * (1 - t) - rise * t**1.6)
    else:
        down = 0.004 + reach * (0.3 * t + 0.5 * t * t)
    x, y = root + outwards * reach * t**1.3, base + down
    half = (0.005 if upper else 0.0026) * (1 - 0.85 * t)
    outline = np.concatenate([np.stack([x - half, y], 2), np.stack([x + half, y], 2)[:, ::-1]], axis=1)
    return list(outline / np.array([1, ASPECT]))


def ring_of_lamps(s: Scene) -> list[np.ndarray]:
    """Return the reflections of a ring of lamps in the cornea, as polygons in fractions of the image."""
    reach = s["radius"] * s["dilation"]
    centre = np.array([s["centre_x"] + reach * s["ring_x"], s["centre_y"] + reach * s["ring_y"]])
    turn = s["ring_turn"] + 2 * np.pi * np.arange(_HIGHLIGHTS) / _HIGHLIGHTS
    spots = centre + s["ring_radius"] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return [ellipse(spot, 0.0105, 0.0105, points=10) / np.array([1, ASPECT]) for spot in spots]


def _skin(s: Scene, open_by: np.ndarray, above: np.ndarray, height: int, width: int, places: np.ndarray) -> np.ndarray:
    """Return the grey of the lids, bright and blotchy, darker along their edges."""
    skin = s["skin_grey"] - 0.2 * np.exp(np.minimum(open_by, 0) * np.float32(1 / 0.03))
    skin += np.float32(0.04) * noise(places[4:6], 9, height, width)
    # The fold of the upper lid.
    skin -= np.float32(0.07) * np.exp(-(((above - np.float32(0.13)) / np.float32(0.03)) ** 2))
    return skin.astype(np.float32)


def render(
    seed: int, index: int, height: int, width: int
) -> tuple[UInt8[np.ndarray, "{height} {width} 1"], UInt8[np.ndarray, "{height} {width} 1"]]:
    """Return eye `index` in grey and the mask of its visible iris, 0 or 1."""
    s, fibres, lashes, places = _draw_scene(seed, index)
    return paint(s, fibres, lashes, places, ring_of_lamps(s), height, width)


def paint(
    s: Scene,
    fibres: Float[np.ndarray, "fibres 3"],
    lashes: Float[np.ndarray, "lashes 3"],
    places: Float[np.ndarray, "8"],
    highlights: list[np.ndarray],
    height: int,
    width: int,
    rim: float = 0.0,
    lids: tuple[float, float] = (0.0, 0.0),
) -> tuple[UInt8[np.ndarray, "{height} {width} 1"], UInt8[np.ndarray, "{height} {width} 1"]]:
    """Return the eye of a scene and the mask of its visible iris.

    Args:
        s: the factors by name, see `FACTORS`.
        fibres, lashes, places: numbers in [0, 1), of the fibres, of the lashes of both lids, and of the noise.
        highlights: their polygons in fractions of the image; perhaps none.
        height, width: of the image.
        rim: share of the soft limbus's outer half that still belongs to the iris.
        lids: radii of the iris from the upper and the lower lid's edge to where the visible iris is said to begin.
    """
    x, y = pixel_centres(height, width)
    y = y * np.float32(ASPECT)
    u, v, radius = _ellipse_radius(s, x, y)
    pupil = np.sqrt((u - np.float32(s["pupil_x"])) ** 2 + (v - np.float32(s["pupil_y"])) ** 2)
    upper, lower = _lid_heights(s, x)
    open_by = np.minimum(y - upper, lower - y)
    mask = (radius <= 1 + rim * s["limbus"] / 2) & (pupil > s["dilation"]) & (open_by >= 0)
    mask &= (y - upper >= lids[0] * s["radius"]) & (lower - y >= lids[1] * s["radius"])

    # An edge is at least a pixel wide, which is antialiasing.
    blur = max(0.01, 1.2 / width) + s["defocus"]
    depth = np.clip((pupil - np.float32(s["dilation"])) * np.float32(1 / (1 - s["dilation"])), 0, 1)
    sclera = min(s["iris_grey"] + s["sclera_contrast"], 0.84)
    ball = np.float32(sclera) - np.float32(0.04) * np.clip(radius - 1, 0, 2) ** 2
    soft = s["limbus"] + 1.2 / (width * s["radius"])
    blend(ball, _texture(s, fibres, u, v, depth, places), 1 - _ramp(radius - 1, soft))
    blend(ball, np.float32(s["pupil_grey"]), 1 - _ramp(pupil - np.float32(s["dilation"]), blur / s["radius"]))
    ball *= 1 - np.float32(0.25) * np.exp(-np.maximum(y - upper, 0) * np.float32(1 / 0.04))
    # A film of tears shines along the lower lid.
    shine = np.exp(-(((lower - y - 0.006) / 0.006) ** 2) - ((x - s["centre_x"]) / 0.05) ** 2)
    blend(ball, np.float32(0.95), np.float32(s["lid_shine"]) * shine.astype(np.float32))
    blend(ball, _skin(s, open_by, upper - y, height, width, places), _ramp(-open_by, 2 * blur))

    image = ball * (1 + np.float32(s["light_x"]) * (2 * x - 1) + np.float32(s["light_y"]) * (2 * y / ASPECT - 1))
    image = (image - 0.55) * np.float32(s["contrast"]) + np.float32(0.55 + s["brightness"])
    hairs = _lashes(s, lashes[:LASHES], True) + _lashes(s, lashes[LASHES:], False)
    hair = coverage(hairs, height, width, blur=s["defocus"])
    if highlights:
        glint = coverage(highlights, height, width, blur=0.5 * s["defocus"])
        blend(image, np.float32(0.98), glint * _ramp(open_by, blur))
    blend(image, np.float32(0.17), np.float32(s["lash_darkness"]) * hair)
    image = image + np.float32(s["noise"]) * noise(places[6:8], 160, height, width)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], mask.astype(np.uint8)[..., None]

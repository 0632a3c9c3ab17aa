"""Near-infrared eyes as many cameras see them, with the mask of the visible iris: what a segmenter of eyes learns from.

The eyes are those of `irises`, with wider bounds of each factor, and all that differs between cameras: framing, lamps
and their reflections, glasses, brows, gradation, blur, noise and JPEG. The mask ends where people draw it.
"""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from began_jax.data.synthetic import irises
from began_jax.data.synthetic.drawing import blend, coverage, ellipse

# Where people draw: a little outside of the middle of the soft limbus, under the roots of the upper lashes, and over
# the wet line of the lower lid. The three numbers were set on the masks of CASIA-Interval.
RIM, LIDS = 0.1, (0.035, 0.022)
_WIDER = {
    "centre_x": (0.3, 0.7),
    "centre_y": (0.22, 0.53),
    "flattening": (0.88, 1.0),
    "tilt": (-0.5, 0.5),
    "dilation": (0.22, 0.62),
    "pupil_x": (-0.06, 0.06),
    "pupil_y": (-0.06, 0.06),
    "fibre_contrast": (0.0, 2.2),
    "crypts": (0.0, 0.3),
    "collarette_light": (0.0, 0.2),
    "limbus": (0.04, 0.3),
    "upper_lid": (0.25, 1.45),
    "lower_lid": (0.55, 1.45),
    "upper_bend": (0.05, 0.28),
    "lower_bend": (0.02, 0.2),
    "lid_slope": (-0.22, 0.22),
    "lash_darkness": (0.1, 1.0),
    "lash_droop": (-1.0, 1.0),
    "pupil_grey": (0.04, 0.32),
    "iris_grey": (0.36, 0.72),
    "sclera_contrast": (0.04, 0.34),
    "skin_grey": (0.5, 1.05),
    "contrast": (0.7, 1.25),
    "brightness": (-0.15, 0.1),
    "light_x": (-0.3, 0.3),
    "light_y": (-0.2, 0.2),
    "lid_shine": (0.0, 1.0),
    "defocus": (0.0, 0.01),
    "noise": (0.004, 0.03),
}
_FACTORS = irises.FACTORS | _WIDER
_BOUNDS = np.array(list(_FACTORS.values()), np.float64)
_RADII = (0.12, 0.36)  # of the iris, drawn evenly in the logarithm
_OWN_RADIUS = 0.28  # that lengths of lashes are for

Eye = tuple[UInt8[np.ndarray, "height width 1"], UInt8[np.ndarray, "height width 1"]]
Plane = Float[np.ndarray, "height width"]


def render(seed: int, index: int, height: int, width: int) -> Eye:
    """Return eye `index` in grey and the mask of its visible iris, 0 or 1; height is three quarters of the width."""
    rng = np.random.default_rng([seed, index])
    s = dict(zip(_FACTORS, rng.uniform(_BOUNDS[:, 0], _BOUNDS[:, 1]).tolist(), strict=True))
    s["radius"] = float(np.exp(rng.uniform(*np.log(_RADII))))
    s["lash_length"] *= s["radius"] / _OWN_RADIUS
    lashes = rng.random((irises.LASHES + irises.LOWER_LASHES, 3))
    image, mask = irises.paint(
        s, rng.random((irises.FIBRES, 3)), lashes, rng.random(8), _reflections(rng, s), height, width, RIM, LIDS
    )
    grey = image[..., 0] / np.float32(255)
    if s["radius"] < 0.22 and rng.random() < 0.6:
        grey = _with_brow(rng, s, grey)
    if rng.random() < 0.25:
        grey = _with_glasses(rng, s, grey)
    return _photographed(rng, grey), mask


def _reflections(rng: np.random.Generator, s: irises.Scene) -> list[np.ndarray]:
    """Return the reflections of lamps in the cornea: a ring of eight, some spots, a window, or none."""
    kind, scale = rng.random(), s["radius"] / _OWN_RADIUS
    if kind < 0.25:
        return irises.ring_of_lamps(s)
    if kind < 0.35:
        return []
    reach = s["radius"] * rng.uniform(0, 0.8)
    angle = rng.uniform(0, 2 * np.pi)
    place = np.array([s["centre_x"] + reach * np.cos(angle), s["centre_y"] + reach * np.sin(angle)])
    found = []
    for _ in range(rng.integers(1, 5)):
        spot = place + scale * rng.normal(0, 0.03, 2)
        across, down = (scale * rng.uniform(0.006, 0.035, 2)).tolist()
        if kind < 0.8:
            found.append(ellipse(spot, across, down if rng.random() < 0.3 else across, points=12))
        else:
            found.append(spot + 1.6 * np.array([across, down]) * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]))
    return [polygon / np.array([1, irises.ASPECT]) for polygon in found]


def _with_brow(rng: np.random.Generator, s: irises.Scene, grey: Plane) -> Plane:
    """Return the picture with a brow of short hairs above the eye."""
    radius, count = s["radius"], int(rng.integers(60, 160))
    t = rng.uniform(-1, 1, count)
    x = s["centre_x"] + 2.2 * radius * t
    y = s["centre_y"] - radius * (rng.uniform(1.9, 3.2) - 0.5 * (1 - t * t)) + 0.25 * radius * rng.normal(0, 1, count)
    length, lean = radius * rng.uniform(0.2, 0.5, count), rng.uniform(-0.6, 0.2, count) * rng.choice([-1, 1])
    thick = 0.002 + 0.02 * radius
    ends = np.stack([x + length * np.cos(lean), y + length * np.sin(lean)], 1)
    starts, across = np.stack([x, y], 1), np.array([0, thick])
    hairs = np.stack([starts - across, starts + across, ends], 1) / np.array([1, irises.ASPECT])
    grey = grey.copy()
    blend(
        grey, np.float32(rng.uniform(0.1, 0.4)), np.float32(rng.uniform(0.4, 0.9)) * coverage(list(hairs), *grey.shape)
    )
    return grey


def _with_glasses(rng: np.random.Generator, s: irises.Scene, grey: Plane) -> Plane:
    """Return the picture behind glasses: a bright or dark rim, and what the lens reflects."""
    grey, size = grey.copy(), np.array([1, irises.ASPECT])
    centre = np.array([s["centre_x"], s["centre_y"]]) + rng.normal(0, 0.06, 2)
    wide, high = s["radius"] * rng.uniform(1.6, 3.0), s["radius"] * rng.uniform(1.3, 2.0)
    outer, tilt = s["radius"] * rng.uniform(0.06, 0.25), rng.uniform(-0.1, 0.1)
    outside = coverage([ellipse(centre, wide + outer, high + outer, tilt, 40) / size], *grey.shape)
    inside = coverage([ellipse(centre, wide, high, tilt, 40) / size], *grey.shape)
    if rng.random() < 0.6:
        blend(grey, np.float32(rng.uniform(0.02, 0.95)), np.float32(rng.uniform(0.5, 1)) * (outside - inside))
    spots = []
    for _ in range(rng.integers(0, 4)):
        spot = centre + np.array([wide, high]) * rng.uniform(-0.9, 0.9, 2)
        across, down = (s["radius"] * rng.uniform(0.03, 0.4, 2)).tolist()
        spots.append(ellipse(spot, across, down, rng.uniform(0, 3), 12) / size)
    if spots:
        shine = coverage(spots, *grey.shape, blur=rng.uniform(0, 0.01))
        blend(grey, np.float32(0.97), np.float32(rng.uniform(0.2, 1)) * shine * inside)
    return grey


def _photographed(rng: np.random.Generator, grey: Plane) -> UInt8[np.ndarray, "height width 1"]:
    """Return the picture as a camera keeps it: gradation, dark corners, blur, noise, JPEG."""
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    grey = np.clip(grey, 0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    grey = grey * (1 - rng.choice([0, 1]) * rng.uniform(0, 0.5) * (x * x + y * y) / 2)
    picture = Image.fromarray(np.rint(255 * grey.clip(0, 1)).astype(np.uint8))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.2)))
    grey = np.asarray(picture, np.float32) + 255 * rng.choice([0, 0.01, 0.03]) * rng.normal(0, 1, (height, width))
    picture = Image.fromarray(np.rint(grey.clip(0, 255)).astype(np.uint8))
    if rng.random() < 0.4:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(25, 95)))
        picture = Image.open(file)
    return np.asarray(picture, np.uint8)[..., None]

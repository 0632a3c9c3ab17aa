"""A classical iris segmenter T for near-infrared eyes: pupil, limbus and both lids, each as a curve.

1. The pupil is the dark blob whose rim is the strongest at any threshold; its ellipse goes through the steepest
   points of the rays from its centre.
2. The limbus is the circle with the largest radial derivative left and right of the pupil, where no lid is (the
   integro-differential operator of Daugman, 1993, clipped so that no highlight outweighs the rest).
3. Each lid is the parabola with the steepest grey edge, after a horizontal closing has taken the lashes off.
4. What the lids leave visible of the limbus bends the circle by its first two harmonics.

The eye is upright, looks about at the camera and fills the picture: the limbus's radius is 0.15-0.42 of the width.
All lengths are pixels of a picture that is `_WIDTH` wide, and all greys those of the stretched one.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from began_jax.annotators import greys
from began_jax.annotators.annotator import Unsure

_WIDTH = 320
# Darker or brighter than these percentiles are specks; the rest is stretched to 0-255, so that greys compare.
_STRETCH = (0.5, 99.0)
_ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False)

# Degrees below the horizontal, left and right; lids cover the rest of the limbus in most eyes.
_LIMBUS_SECTOR = np.arange(-30, 51, 5)
# Its derivative is a difference over twice this, about its blur, clipped to these greys.
_LIMBUS_REACH, _LIMBUS_CLIP = 4, (-15, 30)
# The sides say little about its height, which is about the pupil's: greys a px that it is off.
_LIMBUS_LEVEL = 0.5
# The bent limbus stays this close to the circle; the stiffer a harmonic, the less a reflection pulls it along.
_BEND_REACH, _BEND_STIFFNESS = 8, np.array([0.04, 0.2, 0.4, 0.8, 1.6])

# The lids' numbers were set on half the people of CASIA-Interval: mean IoU 0.934 there, 0.923 on the others.
_LASHES = np.ones((1, 9), np.uint8)
_EDGE_REACH, _EDGE_CLIP = 2, (-5, 60)
# In radii; further out a lid leaves its parabola.
_LID_COLUMNS, _LID_STEP = 0.9, 0.02
# What a lid that is off the picture counts, as a share of the steepest edge.
_LID_OFF = 0.1
# People draw the lid under the roots of the upper lashes, and over the wet line of the lower lid.
_LID_SHIFT = {-1: 4.0, 1: -2.0}

# What makes an answer doubtful: greys from darkest to brightest, the clearness of the pupil's rim (no unit; at most 1
# over noise of any coarseness, 2-8 over real eyes), greys across the limbus, and the share that the lids leave open.
_LEAST_CONTRAST, _LEAST_PUPIL, _LEAST_LIMBUS, _LEAST_VISIBLE = 30, 1.2, 6.0, 0.2

Points = Float[np.ndarray, "*shape"]


class Ellipse(NamedTuple):
    """A pupil: centre and half axes in px, the first axis's angle in radians."""

    x: float
    y: float
    a: float
    b: float
    tilt: float

    def radius(self) -> float:
        """Return that of the circle of equal area."""
        return math.sqrt(self.a * self.b)

    def contains(self, x: Points, y: Points) -> Bool[np.ndarray, "*shape"]:
        """Tell which points are inside."""
        cos, sin, dx, dy = math.cos(self.tilt), math.sin(self.tilt), x - self.x, y - self.y
        return ((cos * dx + sin * dy) / self.a) ** 2 + ((cos * dy - sin * dx) / self.b) ** 2 < 1

    def rays(self, scale: Float[np.ndarray, " radii"]) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y [angles, radii] on the ellipse scaled about its centre."""
        u, v = np.cos(_ANGLES)[:, None] * scale * self.a, np.sin(_ANGLES)[:, None] * scale * self.b
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return self.x + cos * u - sin * v, self.y + sin * u + cos * v


class Limbus(NamedTuple):
    """A circle in px, bent by `bend` px times (1, cos, sin, cos 2, sin 2) of the angle."""

    x: float
    y: float
    r: float
    bend: np.ndarray

    def contains(self, x: Points, y: Points) -> Bool[np.ndarray, "*shape"]:
        """Tell which points are inside."""
        dx, dy = x - self.x, y - self.y
        distance = np.maximum(np.hypot(dx, dy), 1e-6)
        waves = _harmonics(dx / distance, dy / distance)
        return distance <= self.r + sum(b * wave for b, wave in zip(self.bend.tolist(), waves, strict=True))


class Lid(NamedTuple):
    """A parabola: y = y_0 + side r (height - bend t^2 + slope t), t = (x - x_0) / r; side -1 is the upper lid."""

    side: int
    height: float
    bend: float
    slope: float

    def y(self, limbus: Limbus, x: Points) -> Points:
        """Return where people would draw the lid at x, in px."""
        t = (x - limbus.x) / limbus.r
        height = self.height - self.bend * t * t + self.slope * t
        return limbus.y + self.side * limbus.r * height + _LID_SHIFT[self.side]


class IrisSegmenter:
    """T of equation 6: the visible iris, cut by the lids but not by lashes or highlights."""

    kind = "mask"

    def __call__(self, image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width 1"]:
        """Return the mask, 0 or 1, of a near-infrared eye at least 96 px wide.

        Raises:
            Unsure: no contrast, no pupil, no limbus or eye closed.
        """
        height, width = image.shape[:2]
        pupil, limbus, upper, lower = find_eye(image)
        scale = _WIDTH / width
        x, y = np.meshgrid(*(((np.arange(n) + 0.5) * scale - 0.5).astype(np.float32) for n in (width, height)))
        iris = limbus.contains(x, y) & ~pupil.contains(x, y)
        visible = iris & (y >= upper.y(limbus, x)) & (y <= lower.y(limbus, x))
        if visible.sum() <= _LEAST_VISIBLE * iris.sum():
            raise Unsure("eye closed")
        return visible.astype(np.uint8)[..., None]


def find_eye(image: UInt8[np.ndarray, "height width channels"]) -> tuple[Ellipse, Limbus, Lid, Lid]:
    """Return the pupil, the limbus, the upper and the lower lid.

    Raises:
        Unsure: no contrast, no pupil or no limbus.
    """
    grey = _stretched(image)
    pupil = _find_pupil(grey)
    limbus = _find_limbus(grey, pupil)
    bare = cv2.GaussianBlur(cv2.morphologyEx(grey, cv2.MORPH_CLOSE, _LASHES), (0, 0), 1.0).astype(np.float32)
    upper, lower = (_find_lid(side, bare, pupil, limbus) for side in (-1, 1))
    return pupil, _bent(grey, limbus, upper, lower), upper, lower


def _stretched(image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "rows columns"]:
    height, width = image.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    grey = cv2.resize(greys.of(image), size, interpolation=cv2.INTER_AREA if width > _WIDTH else cv2.INTER_CUBIC)
    return greys.stretched(grey, _STRETCH, _LEAST_CONTRAST)


def _disk(diameter: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))


def _sampled(grey: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the greys at points [rows, columns], and 0 where a point is off the picture."""
    return cv2.remap(grey, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)


def _on(grey: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x >= 0) & (y >= 0) & (x <= grey.shape[1] - 1) & (y <= grey.shape[0] - 1)


def _harmonics(cos: np.ndarray, sin: np.ndarray) -> list[np.ndarray]:
    return [np.ones_like(cos), cos, sin, cos * cos - sin * sin, 2 * cos * sin]


def _find_pupil(grey: np.ndarray) -> Ellipse:
    """Return the blob with the clearest rim; the lamps' highlights, narrower than a pupil, are filled first."""
    half = cv2.medianBlur(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 5)
    filled = cv2.morphologyEx(grey, cv2.MORPH_OPEN, _disk(11))
    rim = cv2.GaussianBlur(filled, (0, 0), 1.5).astype(np.float32)
    margin, best, pupil = 8, _LEAST_PUPIL, None
    darkest, middle = np.percentile(half, [0.5, 50])
    for threshold in np.linspace(darkest, middle, 16)[1:-1]:
        below = (half <= threshold).astype(np.uint8)
        dark = cv2.copyMakeBorder(below, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
        dark = cv2.morphologyEx(cv2.morphologyEx(dark, cv2.MORPH_CLOSE, _disk(7)), cv2.MORPH_OPEN, _disk(13))
        for contour in cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            hull = cv2.contourArea(cv2.convexHull(contour))
            if len(contour) < 20 or not np.pi * 6**2 < hull < np.pi * 36**2:
                continue
            (x, y), (a, b), angle = cv2.fitEllipse(contour - margin)
            # Diameters at half the size are radii at full size.
            blob = Ellipse(2 * x + 0.5, 2 * y + 0.5, a, b, math.radians(angle))
            px, py = blob.rays(np.array([0.8, 1.2]))
            inner, outer = _sampled(rim, px, py).T
            step = np.where(_on(grey, px, py).all(1), outer - inner, 0)
            # A rim all round counts, and a pupil that is dark everywhere, round and convex.
            clear = (np.percentile(step, 25) + 0.5 * np.median(step)) / (20 + np.percentile(inner, 80))
            clear *= min(a, b) / max(a, b) * cv2.contourArea(contour) / hull
            if clear > best:
                best, pupil = clear, blob
    if pupil is None:
        raise Unsure("no pupil")
    return _through_rim(cv2.GaussianBlur(filled, (0, 0), 1.0).astype(np.float32), pupil)


def _through_rim(grey: np.ndarray, pupil: Ellipse) -> Ellipse:
    """Return the ellipse through the steepest points of the rays, without those that are off a common circle."""
    reach = 3
    scale = np.linspace(0.6, 1.45, 52)
    for _ in range(2):
        x, y = pupil.rays(scale)
        greys = _sampled(grey, x, y)
        step = (greys[:, 2 * reach :] - greys[:, : -2 * reach]) * np.exp(-0.5 * ((scale[reach:-reach] - 1) / 0.25) ** 2)
        rows, columns = np.arange(len(step)), step.argmax(1) + reach
        points = np.stack([x[rows, columns], y[rows, columns]], axis=1)
        steep = keep = step.max(1) > 0.35 * np.median(step.max(1))
        for _ in range(4):
            p = points[keep]
            (cx, cy, c), *_ = np.linalg.lstsq(np.c_[2 * p, np.ones(len(p))], (p * p).sum(1), rcond=None)
            radius = np.sqrt(c + cx * cx + cy * cy)
            off = np.abs(np.hypot(points[:, 0] - cx, points[:, 1] - cy) / radius - 1)
            keep = steep & (off < min(max(2 * np.median(off), 0.02), 0.15))
            if keep.sum() < len(_ANGLES) / 3:
                raise Unsure("no pupil")
        (x, y), (a, b), angle = cv2.fitEllipseDirect(points[keep].astype(np.float32))
        pupil = Ellipse(x, y, a / 2, b / 2, math.radians(angle))
    return pupil


def _find_limbus(grey: np.ndarray, pupil: Ellipse) -> Limbus:
    """Return the circle with the largest mean step of grey across it, where its weaker side counts three times."""
    smooth = cv2.GaussianBlur(cv2.morphologyEx(grey, cv2.MORPH_OPEN, _disk(7)), (0, 0), 2.5).astype(np.float32)
    right = np.deg2rad(_LIMBUS_SECTOR)
    angle = np.concatenate([right, np.pi - right])[:, None]
    reach = _LIMBUS_REACH
    radii = np.arange(max(1.25 * pupil.radius(), 0.15 * _WIDTH) - 2 * reach, 0.42 * _WIDTH + 2 * reach, 2.0)

    def best(x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> tuple[float, float, float, float]:
        cx, cy = (c.reshape(-1, 1, 1) for c in np.meshgrid(np.add(x, dx), np.add(y, dy)))
        px, py = (p.reshape(-1, len(radii)) for p in (cx + np.cos(angle) * radii, cy + np.sin(angle) * radii))
        greys = _sampled(smooth, px, py)
        step = np.clip(greys[:, 2 * reach :] - greys[:, : -2 * reach], *_LIMBUS_CLIP)
        # The pupil's rim is steeper than any limbus.
        clear = np.hypot(px - pupil.x, py - pupil.y)[:, : -2 * reach] > 1.1 * pupil.radius() + 2 * reach
        step = step * (clear & _on(grey, px, py)[:, 2 * reach :])
        sides = step.reshape(cx.size, 2, len(right), -1).mean(2)
        weaker = sides.min(1)
        score = weaker + sides.mean(1) - _LIMBUS_LEVEL * np.abs(cy[:, 0] - pupil.y)
        i, j = np.unravel_index(score.argmax(), score.shape)
        return float(cx[i, 0, 0]), float(cy[i, 0, 0]), float(radii[reach + j]), float(weaker[i, j])

    x, y, *_ = best(pupil.x, pupil.y, np.arange(-15, 16, 5), np.arange(-12, 13, 6))
    x, y, r, contrast = best(x, y, np.arange(-3, 3.1, 1.5), np.arange(-3, 4, 3))
    if contrast < _LEAST_LIMBUS:
        raise Unsure("no limbus")
    return Limbus(x, y, r, np.zeros(5))


def _find_lid(side: int, bare: np.ndarray, pupil: Ellipse, limbus: Limbus) -> Lid:
    """Return the parabola with the steepest fall towards the centre in `bare`, the picture without lashes."""
    reach = _EDGE_REACH
    edge = np.zeros_like(bare)
    edge[reach:-reach] = np.clip(side * (bare[2 * reach :] - bare[: -2 * reach]), *_EDGE_CLIP) / _EDGE_CLIP[1]
    t = np.linspace(-_LID_COLUMNS, _LID_COLUMNS, 45)
    t = t[_on(bare, limbus.x + t * limbus.r, np.zeros_like(t))]
    rows = np.arange(0, 1.5, _LID_STEP)
    x, y = np.broadcast_arrays((limbus.x + t * limbus.r)[:, None], limbus.y + side * limbus.r * rows)
    clear = np.hypot(x - pupil.x, y - pupil.y) > max(pupil.a, pupil.b) + 6
    steepness = np.where(_on(bare, x, y), _sampled(edge, x, y) * clear, _LID_OFF)

    def best(heights: np.ndarray, bends: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        curves = np.stack(np.meshgrid(heights, bends, slopes, indexing="ij"), axis=-1).reshape(-1, 3)
        row = np.rint((curves[:, :1] - curves[:, 1:2] * t**2 + curves[:, 2:] * t) / _LID_STEP).astype(int)
        return curves[steepness[np.arange(len(t)), np.clip(row, 0, len(rows) - 1)].mean(1).argmax()]

    height, bend, slope = best(np.arange(0.1, 1.4, 0.04), np.arange(0, 0.5, 0.08), np.arange(-0.4, 0.41, 0.1))
    fine = np.array([-1, -0.5, 0, 0.5, 1])
    return Lid(side, *best(height + 0.04 * fine, bend + 0.08 * fine, slope + 0.1 * fine).tolist())


def _bent(grey: np.ndarray, limbus: Limbus, upper: Lid, lower: Lid) -> Limbus:
    """Return the limbus bent towards the steepest points of the arcs that the lids leave visible."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 2.0).astype(np.float32)
    angle = np.deg2rad(np.arange(0, 360, 4))
    basis = np.stack(_harmonics(np.cos(angle), np.sin(angle)), axis=1)
    reach, most = _LIMBUS_REACH, _BEND_REACH
    radii = limbus.r + np.arange(-most - reach, most + reach + 1.0)
    x, y = limbus.x + np.cos(angle)[:, None] * radii, limbus.y + np.sin(angle)[:, None] * radii
    rim_x, rim_y = x[:, most + reach], y[:, most + reach]
    visible = _on(grey, x, y).all(1) & (rim_y > upper.y(limbus, rim_x) + 4) & (rim_y < lower.y(limbus, rim_x) - 4)
    greys = _sampled(smooth, x, y)
    step = np.clip(greys[:, 2 * reach :] - greys[:, : -2 * reach], 0, 60)
    off = np.arange(-most, most + 1.0)
    bend = np.zeros(5)
    for width in (4, 4, 8 / 3, 8 / 3):
        near = step * np.exp(-0.5 * ((off - (basis @ bend)[:, None]) / width) ** 2)
        target = (near * off).sum(1) / (near.sum(1) + 1e-6)
        weighted = basis * (visible * np.minimum(near.max(1) / 10, 1))[:, None]
        bend = np.linalg.solve(weighted.T @ basis + np.diag(_BEND_STIFFNESS), weighted.T @ target)
    return limbus._replace(bend=bend)

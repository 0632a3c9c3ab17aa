"""T for near-infrared eyes: a small U-Net, trained on rendered eyes of many cameras and on nothing else.

`benchmarks/eye_network.py` trains it (`make eye-network`), and `data/synthetic/cameras.py` draws what it learns from.
It sees a picture at widths of 128, 144 and 160 pixels, its greys stretched, and mirrored too. A small iris is cut out
and seen again, until it fills what is seen as that of a close-up does. The mean of all answers counts, or the shape of
an iris that is nearest to it (`eye_shape`). docs/data.md says how good it is.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import UInt8
from PIL import Image

from began_jax.annotators import eye_shape, greys
from began_jax.annotators.annotator import Unsure
from began_jax.errors import InputError
from began_jax.files import replacing
from began_jax.images import to_float
from began_jax.models import apply
from began_jax.models.heads import OnImages, ToMask

WEIGHTS = Path(__file__).parents[1] / "weights" / "eyes.npz"
WIDTHS = (128, 144, 160)
SEARCHED = (WIDTHS, (256,))  # widths at which an iris is looked for: where none was found, a finer one
CLOSER = 3  # times at most that it is cut out and seen again
_SMALL, _FILLED = 0.45, 0.6  # of the width of what is seen: an iris that is cut out, and its size then
_SHAPE = 0.8  # height over width of what is cut out
_MULTIPLE = 16  # of the height and width of what the network sees: it halves them so often
_STRETCH = (0.5, 99.5)  # percentiles of the greys that become 0 and 255
_LEAST_CONTRAST = 12  # greys between them
_LEAST_IRIS = 0.002  # of the picture
# Pixels that are neither in nor out, as a share of the iris: 0.1 to 0.5 of an eye, and 0.7 to 10 of a face or of noise.
_MOST_BETWEEN = 0.6
_MOST_CUT_OUT = 0.37  # the same of what was cut out: 0.1 to 0.3 of an eye, and 0.44 or more in faces and noise
_ALIKE = 0.85  # intersection over union of the mask and a shape that is taken for it


def network() -> nn.Module:
    """Return the network from images [batch, height, width, 1] in [-1, 1] to soft masks of the same size."""
    return OnImages(ToMask(2, (16, 32, 48, 64)), 2)


def stretched(grey: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Return greys from 0 to 255, so that cameras compare; Unsure where there is hardly any contrast."""
    return greys.stretched(grey, _STRETCH, _LEAST_CONTRAST)


class EyeNetwork:
    """T of equation 6: the visible iris, cut by the lids but not by lashes or highlights."""

    kind = "mask"

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._parameters = load(weights)
        self._apply = jax.jit(lambda parameters, x: apply(network(), parameters, x))

    def __call__(self, image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width 1"]:
        """Return the mask, 0 or 1, of a near-infrared eye that is upright.

        Raises:
            Unsure: no contrast, or no iris.
        """
        grey = greys.of(image)
        for widths in SEARCHED:
            whole = self._mean(grey, widths)
            near = self._closer(grey, whole)
            if near is not whole and (mask := self._decided(near, _MOST_CUT_OUT, True)) is not None:
                return mask
            if widths is WIDTHS and (mask := self._decided(whole, _MOST_BETWEEN, False)) is not None:
                return mask
        raise Unsure("no iris")

    def _decided(self, soft: np.ndarray, most: float, shaped: bool) -> UInt8[np.ndarray, "height width 1"] | None:
        """Return the mask of a soft one, or None where it shows no iris: too small, too unsure, or of another shape."""
        mask = soft >= 0.5
        between = (soft > 0.25) & (soft < 0.75)
        if mask.mean() < _LEAST_IRIS or between.sum() > most * mask.sum():
            return None
        shape = eye_shape.nearest(soft)
        alike = (shape & mask).sum() > _ALIKE * (shape | mask).sum()
        if shaped and not alike:
            return None
        return (shape if alike else mask).astype(np.uint8)[..., None]

    def _closer(self, grey: np.ndarray, soft: np.ndarray) -> np.ndarray:
        """Return the soft mask, of a small iris as it is seen from near; outside of what is seen then it is 0."""
        (height, width), top, left, part = grey.shape, 0, 0, soft
        for _ in range(CLOSER):
            y, x = np.nonzero(eye_shape.largest(part >= 0.5))
            size = max(np.ptp(x), np.ptp(y)) + 1 if len(x) else width
            if size >= _SMALL * part.shape[1]:
                break
            across = min(width, max(_MULTIPLE, round(size / _FILLED)))
            down = min(height, round(_SHAPE * across))
            left = int(np.clip(left + (x.min() + x.max() + 1 - across) // 2, 0, width - across))
            top = int(np.clip(top + (y.min() + y.max() + 1 - down) // 2, 0, height - down))
            try:
                part = self._mean(grey[top : top + down, left : left + across], WIDTHS)
            except Unsure:  # no contrast there
                return soft
        if part is soft:
            return soft
        found = np.zeros_like(soft)
        found[top : top + part.shape[0], left : left + part.shape[1]] = part
        return found

    def _mean(self, grey: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
        return np.mean([self._soft(grey, width) for width in widths], axis=0)

    def _soft(self, grey: np.ndarray, width: int) -> np.ndarray:
        """Return the soft mask of a picture that is seen at a width, and mirrored."""
        full = grey.shape[1], grey.shape[0]
        small = (width, max(1, round(full[1] * width / full[0])))
        seen = stretched(np.asarray(Image.fromarray(grey).resize(small, Image.Resampling.BOX)))
        below = -len(seen) % _MULTIPLE
        padded = np.pad(seen, ((below // 2, below - below // 2), (0, 0)), "edge")
        both = np.stack([padded, padded[:, ::-1]])[..., None]
        answers = np.asarray(self._apply(self._parameters, to_float(both)))[..., 0]
        answer = (answers[0] + answers[1][:, ::-1])[below // 2 : below // 2 + len(seen)] / 2
        return np.asarray(Image.fromarray(answer).resize(full, Image.Resampling.BILINEAR))


def save(parameters: Any, path: Path) -> None:
    """Write parameters as float16."""
    flat: Any = {"/".join(name): np.asarray(value, np.float16) for name, value in flatten_dict(parameters).items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **flat)


def load(path: Path) -> Any:
    """Return parameters as float32; InputError where there are none."""
    if not path.is_file():
        raise InputError(f"--annotator eyes: {path} is missing; install began_jax again, or run make eye-network")
    with np.load(path) as file:
        return unflatten_dict({tuple(name.split("/")): file[name].astype(np.float32) for name in file.files})

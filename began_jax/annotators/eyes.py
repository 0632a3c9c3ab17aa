"""T for near-infrared eyes: a small U-Net, trained on rendered eyes of many cameras and on nothing else.

`benchmarks/eye_network.py` trains it (`make eye-network`), and `data/synthetic/cameras.py` draws what it learns from.
It sees a picture at widths of 128, 144 and 160 pixels, its greys stretched, and mirrored too; the mean of all answers
counts, or the shape of an iris that is nearest to it (`eye_shape`). docs/data.md says how good it is.
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
_MULTIPLE = 16  # of the height and width of what the network sees: it halves them so often
_STRETCH = (0.5, 99.5)  # percentiles of the greys that become 0 and 255
_LEAST_CONTRAST = 12  # greys between them
_LEAST_IRIS = 0.002  # of the picture
# Pixels that are neither in nor out, as a share of the iris: 0.1 to 0.5 of an eye, and 0.7 to 10 of a face or of noise.
_MOST_BETWEEN = 0.6
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
        soft = np.mean([self._soft(grey, width) for width in WIDTHS], axis=0)
        mask = soft >= 0.5
        between = (soft > 0.25) & (soft < 0.75)
        if mask.mean() < _LEAST_IRIS or between.sum() > _MOST_BETWEEN * mask.sum():
            raise Unsure("no iris")
        shape = eye_shape.nearest(soft)
        if (shape & mask).sum() > _ALIKE * (shape | mask).sum():
            mask = shape
        return mask.astype(np.uint8)[..., None]

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

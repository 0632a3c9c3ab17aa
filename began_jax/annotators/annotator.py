"""What a perfect aspect generator T (table 1) is, and how a command line names one.

T is any callable from a picture, uint8 [H, W, C], to its annotation: landmarks [K, 2], (x, y) as fractions of width
and height; a mask [H, W, 1], 0 or 1; or attributes [K], 0 or 1. It raises `Unsure` where it finds no answer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from began_jax import plugins
from began_jax.errors import InputError
from began_jax.images import fit_image, fit_mask

Annotator = Callable[[np.ndarray], np.ndarray]

# Name -> class. They need the extra [faces]; so they are imported when they are asked for.
BUILT_IN = {
    "dlib": "began_jax.annotators.faces:FaceLandmarks",
    "segmenter": "began_jax.annotators.irises:IrisSegmenter",
}

WORKING_SIZE = 128  # pixels a side that T sees at least: landmarks in a picture of 48 pixels would be coarse


class Unsure(Exception):
    """T has no answer for a picture; the text is the reason, such as "no face"."""


def load(name: str, **options: Any) -> Annotator:
    """Return the annotator that `name` says: dlib, segmenter, FILE.py:NAME or PACKAGE.MODULE:NAME.

    Args:
        name: NAME is a callable as the module describes, or a class of such, which is made without arguments.
        options: of a built-in one's class.

    Raises:
        InputError: there is none of this name, or a package that it needs is missing.
    """
    if ":" not in (place := BUILT_IN.get(name, name)):
        raise InputError(f"--annotator {name}: there are {', '.join(BUILT_IN)}, FILE.py:NAME and PACKAGE.MODULE:NAME")
    annotator: Any = plugins.load(place, f"--annotator {name}")
    return annotator(**options) if isinstance(annotator, type) else annotator


def annotated(annotate: Annotator, crop: UInt8[np.ndarray, "h w c"], height: int, width: int) -> dict[str, np.ndarray]:
    """Return T's annotation of a crop by its kind: `landmarks`, `mask` [height, width, 1] or `attributes`.

    T sees the crop at a whole multiple of height x width, of at least 128 pixels a side.

    Raises:
        Unsure: T has no answer, or one that is no annotation; the text says why.
    """
    multiple = max(1, -(-WORKING_SIZE // min(height, width)))
    answer = np.asarray(annotate(fit_image(crop, multiple * height, multiple * width)))
    if not np.isfinite(answer).all():
        raise Unsure("the annotator's answer is not finite")
    if answer.ndim == 2 and answer.shape[1] == 2:
        if np.abs(answer).max() > 3:
            raise Unsure("the annotator's landmarks are no fractions of width and height")
        return {"landmarks": answer.astype(np.float32)}
    if answer.ndim == 3 and answer.shape[2] == 1:
        return {"mask": fit_mask((answer > 0).astype(np.uint8), height, width)}
    if answer.ndim == 1:
        return {"attributes": answer.astype(np.float32)}
    raise Unsure(f"the annotator's answer has shape {list(answer.shape)}: no [K, 2], [H, W, 1] or [K]")

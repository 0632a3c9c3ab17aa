"""What a perfect aspect generator T (table 1) is, and how a command line names one.

T is any callable from a picture, uint8 [H, W, C], to its annotation: landmarks [K, 2], (x, y) as fractions of width
and height; a mask [H, W, 1], 0 to 1; attributes [K], 0 or 1; or another array, whose kind its attribute `kind` names.
It raises `Unsure` where it finds no answer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from began_jax import plugins
from began_jax.errors import InputError
from began_jax.images import fit_image, fit_mask

Annotator = Callable[[np.ndarray], np.ndarray]

# Name -> class. The first two need the extra [faces]; so they are imported when they are asked for.
BUILT_IN = {
    "dlib": "began_jax.annotators.faces:FaceLandmarks",
    "segmenter": "began_jax.annotators.irises:IrisSegmenter",
    "eyes": "began_jax.annotators.eyes:EyeNetwork",
}

WORKING_SIZE = 128  # pixels a side that T sees at least: landmarks in a picture of 48 pixels would be coarse
RESERVED = ("image", "id", "annotated", "picture", "left_out", "none")  # what else a record has, or --data says


class Unsure(Exception):
    """T has no answer for a picture; the text is the reason, such as "no face"."""


class WrongAnswer(InputError):
    """T's answer is no annotation of its kind: not this picture is at fault but T, so that nothing goes on."""


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
    if isinstance(annotator, type):
        try:
            annotator = annotator(**options)
        except TypeError as error:
            raise InputError(f"--annotator {name}: cannot be made without arguments ({error})") from None
    if (kind := getattr(annotator, "kind", "")) != "":
        check_name(kind, f"--annotator {name}")
    return annotator


def check_name(kind: Any, where: str) -> None:
    """Raise InputError where a kind's name cannot be that of a record's field."""
    if not isinstance(kind, str) or kind in RESERVED or not kind.isidentifier() or kind.endswith("_end"):
        raise InputError(f"{where}: its kind is {kind!r}; it must be a name, and no field of a record")


def annotated(
    annotate: Annotator, crop: UInt8[np.ndarray, "h w c"], height: int, width: int, kind: str = ""
) -> dict[str, np.ndarray]:
    """Return T's annotation of a crop by its kind: `landmarks`, `mask` [height, width, 1], `attributes` or another.

    T sees the crop at a whole multiple of height x width, of at least 128 pixels a side. A soft mask is cut at 0.5.

    Args:
        annotate: T. Its attribute `kind`, if it has one, names the kind of its answers.
        crop: the picture.
        height, width: of the result.
        kind: that the answers are to have, where T does not say it.

    Raises:
        Unsure: T has no answer.
        WrongAnswer: its answer is none of its kind, or does not tell its kind.
    """
    multiple = max(1, -(-WORKING_SIZE // min(height, width)))
    seen = (multiple * height, multiple * width)
    answer = np.asarray(annotate(fit_image(crop, *seen)))
    if answer.dtype.kind not in "biuf":
        raise WrongAnswer(f"the annotator's answer is {answer.dtype}, not numbers")
    if not answer.ndim or not answer.size:
        raise WrongAnswer(f"the annotator's answer is {answer.dtype} {list(answer.shape)}; it must be an array")
    if not np.isfinite(answer).all():
        raise Unsure("the annotator's answer is not finite")
    kind = getattr(annotate, "kind", "") or kind or _kind_of(answer, seen)
    if kind == "landmarks":
        return {kind: _landmarks(answer)}
    if kind == "mask":
        return {kind: fit_mask(binary(answer, seen), height, width)}
    if kind == "attributes":
        if answer.ndim != 1 or answer.min() < 0 or answer.max() > 1:
            raise WrongAnswer(f"the annotator's {_shown(answer)} are no attributes [K] of 0 or 1")
        return {kind: (answer >= 0.5).astype(np.float32)}
    values = answer.astype(np.float32)
    if values.shape[:2] == seen:  # a map: each of its pixels is the mean of what T saw there
        values = values.reshape(height, multiple, width, multiple, *values.shape[2:]).mean((1, 3))
    return {kind: values}


def binary(answer: np.ndarray, size: tuple[int, ...]) -> UInt8[np.ndarray, "h w 1"]:
    """Return T's mask of a picture of this size, [h, w] or [h, w, 1] in [0, 1], cut at 0.5; WrongAnswer for no mask."""
    answer = np.asarray(answer)
    if answer.dtype.kind == "f" and not np.isfinite(answer).all():
        raise Unsure("the annotator's answer is not finite")
    mask = answer[..., None] if answer.ndim == 2 else answer
    if mask.shape != (*size, 1) or not (answer.min() >= 0 and answer.max() <= 1):
        shape = [*size, 1]
        raise WrongAnswer(f"the annotator's {_shown(answer)} is no mask {shape} with 0 outside and 1 inside")
    return (mask >= 0.5).astype(np.uint8)


def _landmarks(answer: np.ndarray) -> np.ndarray:
    if answer.ndim != 2 or answer.shape[1] != 2 or np.median(np.abs(answer)) > 1.5:
        raise WrongAnswer(f"the annotator's {_shown(answer)} are no landmarks [K, 2], (x, y) as fractions of the size")
    if np.abs(answer).max() > 3:
        raise Unsure("the annotator's landmarks lie far outside")
    return answer.astype(np.float32)


def _kind_of(answer: np.ndarray, seen: tuple[int, int]) -> str:
    """Return the kind of an answer whose shape and values fit one kind alone."""
    if answer.ndim == 2 and answer.shape[1] == 2:
        return "landmarks"
    ends = (answer < 0.1) | (answer > 0.9)
    if answer.shape in (seen, (*seen, 1)) and answer.min() >= 0 and answer.max() <= 1 and ends.mean() > 0.5:
        return "mask"
    if answer.ndim == 1 and np.isin(answer, (0, 1)).all():
        return "attributes"
    known = "landmarks [K, 2] (fractions), a mask [H, W, 1] (0 to 1) nor attributes [K] (0 or 1)"
    raise WrongAnswer(f"the annotator's {_shown(answer)} is neither {known}; name its kind, as in NAME.kind = 'depth'")


def _shown(answer: np.ndarray) -> str:
    values = f" from {answer.min():.4g} to {answer.max():.4g}" if answer.size else ""
    return f"{answer.dtype} {list(answer.shape)}{values}"

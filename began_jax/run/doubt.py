"""Doubt of annotations: how far each one may be off, a root mean square over its values and in their unit.

Three things make a new image and its annotation doubtful. The annotated images may say little about such a latent: that
is the error which the process beside the aspect network expects there (`closed_form.expected_error`). Or the image may
not show what its latent stands for, such as a face that came out broken: then the encoder, which looks at the image,
finds another latent, and that latent has another annotation. Or the image network, if there is one, reads something
else in the image.

    doubt(z)^2 = expected_error^2 + mean |G_a(z) - G_a(E(G(z)))|^2 + mean |G_a(z) - image network(G(z))|^2

The error is expected at the latent that the process is given (`reading`), and so is what the image network is compared
with. Of an image x of the data set x and E(x) are meant. What a run has not has no term.

A mask says itself where it is unsure: a pixel that is inside with probability p has the mean square error p (1 - p).
And as many wrong pixels are worse in a small mask. So the doubt of a mask p is the share of wrong pixels that is to be
expected, over its area:

    doubt(z) = (expected_error^2 + mean |p - G_a(E(G(z)))|^2 + mean p (1 - p)) / mean p

where p is the mean of G_a and the image network, so that it is unsure where the two differ.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from began_jax import metrics
from began_jax.run.answers import TrainedAspect
from began_jax.run.folder import Run

# (latents [N, latent], images uint8 [N, H, W, C], whether these are the data set's and not G(z)) -> [N]
Doubt = Callable[[np.ndarray, np.ndarray, bool], np.ndarray]


class _Asked(NamedTuple):
    """The functions that are asked, of numpy arrays or of traced ones; None: the run does not have it."""

    answer: Callable[[Any], Any]  # latents -> annotations
    error: Callable[[Any], Any] | None  # latents -> the expected error [N]
    encode: Callable[[Any], Any] | None  # images -> latents
    look: Callable[[Any], Any] | None  # images -> annotations


def has_doubt(run: Run, aspect: TrainedAspect) -> bool:
    """Return whether there is a doubt: that takes a process, an encoder or an image network."""
    return bool(aspect.expected_error or run.inverted.encode or aspect.look)


def of(run: Run, aspect: TrainedAspect) -> Doubt | None:
    """Return the doubt of a run's aspect network, or None where none is known."""
    if not has_doubt(run, aspect):
        return None
    encode = run.inverted.read if run.inverted.encode else None
    asked = _Asked(aspect.answer or aspect.annotate, aspect.expected_error, encode, aspect.look)
    return lambda z, images, known=False: _doubt(run, aspect, asked, z, images, known)


def of_new(run: Run, aspect: TrainedAspect) -> Callable[[Any, Any, Any], Any] | None:
    """Return the same of new images, traced: (parameters, z, G(z) as it is stored [N, H, W, C]) -> [N].

    The parameters are those of `aspect.pure`, and the encoder's as "encoder".
    """
    pure, encode = aspect.pure, run.inverted.encode
    assert pure is not None  # `networks.load` gives it
    if not has_doubt(run, aspect):
        return None

    def doubt(parameters: Any, z: Any, x: Any) -> Any:
        look, error = (each and partial(each, parameters) for each in (pure.look, pure.expected_error))
        read = encode and partial(encode, parameters["encoder"])
        asked = _Asked(partial(pure.answer, parameters), error, read, look)
        return _doubt(run, aspect, asked, z, x, False)

    return doubt


def _doubt(run: Run, aspect: TrainedAspect, asked: _Asked, z: Any, images: Any, known: bool) -> Any:
    mask = run.kind.name == "mask"
    seen = asked.encode(images) if asked.encode else z
    given = ((z + seen) / 2 if known else seen) if aspect.read else z
    squares = asked.error(given) ** 2 if asked.error else 0.0
    if not asked.encode and not mask and not asked.look:
        return squares**0.5
    said = asked.answer(z)
    again = asked.answer(seen) if asked.encode else said
    squares = squares + _means((said - again) ** 2)
    if not mask and not asked.look:
        return squares**0.5
    believed = (asked.answer(given) if known else again) if aspect.read else said
    looked = asked.look(images) if asked.look else believed
    if not mask:
        return (squares + _means((believed - looked) ** 2)) ** 0.5
    inside = (aspect.look_share * looked + (1 - aspect.look_share) * believed).clip(0, 1)
    return (squares + _means(inside * (1 - inside))) / _area(inside)


def true_error(run: Run, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return what the doubt of answers [N, ...] is to rank, where the truth is known [N]: of masks 1 - IoU."""
    return 1 - metrics.iou(predicted, truth) if run.kind.name == "mask" else metrics.rms_error(predicted, truth)


def _means(values: Any) -> Any:
    return values.reshape(values.shape[0], -1).mean(1)


def _area(masks: Any) -> Any:
    """Return the share of each picture that is inside, of empty masks that of one pixel."""
    return _means(masks).clip(1 / math.prod(masks.shape[1:]))

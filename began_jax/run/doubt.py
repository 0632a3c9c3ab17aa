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

from collections.abc import Callable

import numpy as np

from began_jax import metrics
from began_jax.run.folder import Run
from began_jax.run.networks import TrainedAspect

# (latents [N, latent], images uint8 [N, H, W, C], whether these are the data set's and not G(z)) -> [N]
Doubt = Callable[[np.ndarray, np.ndarray, bool], np.ndarray]


def of(run: Run, aspect: TrainedAspect) -> Doubt | None:
    """Return the doubt of a run's aspect network, or None where there is no process, encoder or image network."""
    expected, look = aspect.expected_error, run.inverted.read if run.inverted.encode else None
    if expected is None and look is None and aspect.look is None:
        return None
    answer = aspect.answer or aspect.annotate

    def doubt(z: np.ndarray, images: np.ndarray, known: bool = False) -> np.ndarray:
        seen, squares = look(images) if look else z, np.zeros(len(z), np.float32)
        given = ((z + seen) / 2 if known else seen) if aspect.read else z
        if expected:
            squares += expected(given) ** 2
        mask = run.kind.name == "mask"
        if not look and not mask and not aspect.look:
            return np.sqrt(squares)
        said = answer(z)
        again = answer(seen) if look else said
        squares += metrics.rms_error(said, again) ** 2
        if not mask and not aspect.look:
            return np.sqrt(squares)
        believed = (answer(given) if known else again) if aspect.read else said
        if not mask and aspect.look:
            return np.sqrt(squares + metrics.rms_error(believed, aspect.look(images)) ** 2)
        inside = np.clip(aspect.with_look(believed, images), 0, 1)
        return (squares + _means(inside * (1 - inside))) / _area(inside)

    return doubt


def true_error(run: Run, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return what the doubt of answers [N, ...] is to rank, where the truth is known [N]: of masks 1 - IoU."""
    return 1 - metrics.iou(predicted, truth) if run.kind.name == "mask" else metrics.rms_error(predicted, truth)


def _means(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).mean(1)


def _area(masks: np.ndarray) -> np.ndarray:
    """Return the share of each picture that is inside, of empty masks that of one pixel."""
    return np.maximum(_means(masks), 1 / masks[0].size)

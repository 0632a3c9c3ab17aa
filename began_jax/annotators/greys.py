"""Greys of a picture of an eye, so that those of all cameras compare."""

import numpy as np
from jaxtyping import UInt8

from began_jax.annotators.annotator import Unsure


def of(image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width"]:
    """Return a picture as grey: the mean of its channels."""
    return image[..., 0] if image.shape[2] == 1 else image.mean(2).round().astype(np.uint8)


def stretched(
    grey: UInt8[np.ndarray, "height width"], percentiles: tuple[float, float], least: int
) -> UInt8[np.ndarray, "height width"]:
    """Return greys stretched so that two percentiles of them become 0 and 255.

    Raises:
        Unsure: they are less than `least` greys apart.
    """
    low, high = np.percentile(grey, percentiles)
    if high - low < least:
        raise Unsure("no contrast")
    return np.clip((grey - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)

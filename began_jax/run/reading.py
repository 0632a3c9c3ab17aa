"""What the encoder reads in images: latents that annotations are learnt from and asked for with --read.

An inverted latent is the one whose image comes nearest, noise and all; the encoder's is smoother and less exact. For an
image of the data set, of which both are known, their mean is better than either. A new image G(z) is read too: E(G(z))
tells what is to be seen in it, where a random z may have said more than G has drawn (docs/aspects.md).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from began_jax.data.datasets import images_of
from began_jax.run.folder import Run
from began_jax.run.generator import Generator

BATCH = 256  # images that are read together


def of_images(run: Run, split: str, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the mean of z and E(x) [N, latent] for images x of a split.

    Args:
        run: with an encoder.
        split: of the data set.
        rows: numbers of the images [N].
        z: their inverted latents [N, latent].
    """
    source = run.data.source(split)
    parts = (slice(first, first + BATCH) for first in range(0, len(rows), BATCH))
    return np.concatenate([of_inverted(run.inverted, z[part], images_of(source, rows[part])) for part in parts])


def of_inverted(generator: Generator, z: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the mean of z and E(x) [N, latent] for images x uint8 [N, H, W, C] and the latents z they have."""
    return (z + generator.read(images)) / 2


def of_new(generator: Generator) -> tuple[Callable[[Any, Any], jax.Array], Any]:
    """Return the function z -> E(G(z)) of (parameters, z), and its parameters."""
    encode = generator.encoder

    def read(parameters: Any, z: Any) -> jax.Array:
        return encode(parameters["encoder"], generator.stored(parameters["generator"], z))

    return read, {"generator": generator.parameters, "encoder": generator.encoder_parameters}

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

_BATCH = 256


def of_images(run: Run, split: str, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the mean of z and E(x) [N, latent] for images x of a split.

    Args:
        run: with an encoder.
        split: of the data set.
        rows: numbers of the images [N].
        z: their inverted latents [N, latent].
    """
    read, source = run.inverted.read, run.data.source(split)
    parts = (rows[first : first + _BATCH] for first in range(0, len(rows), _BATCH))
    seen = [read(images_of(source, part)) for part in parts]
    return (z + np.concatenate(seen)) / 2


def of_new(generator: Generator) -> tuple[Callable[[Any, Any], jax.Array], Any]:
    """Return the function z -> E(G(z)) of (parameters, z), and its parameters."""
    encode = generator.encoder

    def read(parameters: Any, z: Any) -> jax.Array:
        return encode(parameters["encoder"], generator.apply(parameters["generator"], z))

    return read, {"generator": generator.parameters, "encoder": generator.encoder_parameters}

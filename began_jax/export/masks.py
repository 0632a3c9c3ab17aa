"""Pictures with masks: `images/000000.png`, `masks/000000.png` (0 outside, 255 inside), `latents.npy`."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from began_jax.errors import InputError
from began_jax.export.dataset import Doubts, Pictures, dataset, resumable

Write = Callable[..., None]


@contextlib.contextmanager
def mask_writer(out: str | os.PathLike[str], provenance: dict[str, Any], resume: bool = False) -> Iterator[Write]:
    """Give `write(latents, images, masks, doubt=None)` to call batch by batch; `out` appears when the block ends.

    With `resume` a set that was stopped goes on, see `dataset`.

    Masks are [batch, height, width, 1] in [0, 1]; at 0.5 and more a pixel is inside.

    Raises:
        InputError: `out` is not empty, or images, masks and earlier batches differ in size.
    """
    with dataset(out, provenance, resume) as written:

        def write(
            latents: Float[Array | np.ndarray, "batch latent"],
            images: Pictures,
            masks: Float[Array | np.ndarray, "batch mask_height mask_width 1"],
            doubt: Doubts = None,
            numbers: np.ndarray | None = None,
        ) -> None:
            if images.shape[1:3] != masks.shape[1:3]:
                raise InputError(f"masks of {masks.shape[1:3]} pixels for images of {images.shape[1:3]}")
            inside = np.asarray(masks, np.float32) >= 0.5
            indices = written.add(latents, images, doubt, numbers)
            written.save_pictures("masks", indices, inside.astype(np.uint8) * 255)
            written.batch_done()

        yield resumable(write, written)

"""Pictures with any annotation: `images/000000.png`, `annotations.npy` float32 [N, ...], `latents.npy`."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from began_jax.export.dataset import Doubts, Pictures, dataset, resumable

Write = Callable[..., None]


@contextlib.contextmanager
def array_writer(out: str | os.PathLike[str], provenance: dict[str, Any], resume: bool = False) -> Iterator[Write]:
    """Give `write(latents, images, annotations, doubt=None)` to call batch by batch; `out` appears when the block ends.

    With `resume` a set that was stopped goes on, see `dataset`.

    Raises:
        InputError: `out` is not empty, or batches differ in size.
    """
    with dataset(out, provenance, resume) as written:
        rows = written.rows("annotations.npy")

        def write(
            latents: Float[Array | np.ndarray, "batch latent"],
            images: Pictures,
            annotations: Float[Array | np.ndarray, "batch ..."],
            doubt: Doubts = None,
            numbers: np.ndarray | None = None,
        ) -> None:
            written.add(latents, images, doubt, numbers)
            rows.add(annotations)
            written.batch_done()

        yield resumable(write, written)

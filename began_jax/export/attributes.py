"""Pictures with attributes: `images/000000.png`, `attributes.csv` (a row a picture, 0 or 1), `latents.npy`."""

import contextlib
import csv
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from began_jax.errors import InputError
from began_jax.export.dataset import Doubts, Pictures, dataset, file_name, resumable

Write = Callable[..., None]


@contextlib.contextmanager
def attribute_writer(
    out: str | os.PathLike[str], provenance: dict[str, Any], names: Sequence[str], resume: bool = False
) -> Iterator[Write]:
    """Give `write(latents, images, attributes, doubt=None)` to call batch by batch; `out` appears when the block ends.

    With `resume` a set that was stopped goes on, see `dataset`.

    Attributes are [batch, len(names)] in [0, 1]; at 0.5 and more a picture has one.

    Raises:
        InputError: `out` is not empty, the attributes are not as many as the names, or batches differ in size.
    """
    with dataset(out, provenance, resume) as written:
        table = csv.writer(written.text("attributes.csv"), lineterminator="\n")
        if not written.count:
            table.writerow(["file_name", *names])

        def write(
            latents: Float[Array | np.ndarray, "batch latent"],
            images: Pictures,
            attributes: Float[Array | np.ndarray, "batch attributes"],
            doubt: Doubts = None,
            numbers: np.ndarray | None = None,
        ) -> None:
            if attributes.shape[1] != len(names):
                raise InputError(f"{attributes.shape[1]} attributes cannot take {len(names)} names")
            answers = (np.asarray(attributes, np.float32) >= 0.5).astype(int).tolist()
            for index, row in zip(written.add(latents, images, doubt, numbers), answers, strict=True):
                table.writerow([file_name(index, written.form), *row])
            written.batch_done()

        yield resumable(write, written)

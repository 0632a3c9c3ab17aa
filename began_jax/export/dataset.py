"""The part of a written data set that does not depend on the annotation: pictures, latents, provenance.

    OUT/images/000000.png ...   the generated pictures
    OUT/latents.npy             float32 [N, latent]: the z that each picture, and its annotation, came from
    OUT/doubt.npy               float32 [N]: how far each annotation may be off, where the caller knows
    OUT/dataset.json            count, sizes and what the caller tells of the origin

Everything is built in OUT.partial, which takes the name OUT when it is complete: OUT is whole or absent.
"""

import collections
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, UInt8

from began_jax import sharding
from began_jax.errors import InputError
from began_jax.files import new_folder, refuse_taken
from began_jax.images import quick_png, to_uint8

Doubts = Float[Array | np.ndarray, " doubts"] | None  # as many as the images
# In [-1, 1], or as they are stored.
Pictures = (
    Float[Array | np.ndarray, "batch height width channels"] | UInt8[Array | np.ndarray, "batch height width channels"]
)

_BATCHES = 2  # whose pictures are being encoded while the next one is made


def file_name(index: int) -> str:
    """Return the picture's name under `images/` and `masks/`."""
    return f"{index:06d}.png"


class Rows:
    """float32 rows of one shape, appended to a .npy file batch by batch."""

    def __init__(self, path: Path):
        self._file = path.open("wb")
        self._count = 0
        self._shape: tuple[int, ...] | None = None

    def add(self, rows: Float[Array | np.ndarray, "batch ..."]) -> None:
        """Write a batch of rows, or raise InputError where they have another shape than those of the first."""
        if self._shape is None:
            self._shape = tuple(rows.shape[1:])
            self._write_header(self._shape)
        if self._shape != tuple(rows.shape[1:]):
            raise InputError(f"rows of shape {tuple(rows.shape[1:])} cannot follow rows of shape {self._shape}")
        self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self._count += len(rows)

    def _write_header(self, shape: tuple[int, ...]) -> None:
        # numpy pads the header so that the first axis may grow: the final one has the length of the first.
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._count, *shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Complete the file, or leave it empty if nothing was added."""
        if self._shape is not None:
            self._file.seek(0)
            self._write_header(self._shape)
        self._file.close()


class Dataset:
    """A data set being written into `folder`; memory stays that of a few batches.

    Pictures are encoded by threads, for which zlib works outside of Python's lock, while the caller goes on.
    """

    def __init__(self, folder: Path, pool: ThreadPoolExecutor):
        self.folder = folder
        self.count = 0
        self.image_shape: tuple[int, ...] | None = None
        self.latent_size: int | None = None
        self._pool, self._waiting = pool, collections.deque[list[Future]]()
        self._latents = Rows(folder / "latents.npy")
        self._doubts: Rows | None = None

    def add(
        self,
        latents: Float[Array | np.ndarray, "batch latent"],
        images: Pictures,
        doubt: Doubts = None,
    ) -> range:
        """Write a batch, images in [-1, 1] or uint8, and return the indices that its samples got.

        Raises:
            InputError: not as many latents or doubts as images, other sizes than those of the first batch, or doubts
                for some batches only.
        """
        if len(latents) != len(images):
            raise InputError(f"{len(latents)} latents for {len(images)} images")
        if doubt is not None and len(doubt) != len(images):
            raise InputError(f"{len(doubt)} doubts for {len(images)} images")
        shape, latent_size = tuple(images.shape[1:]), latents.shape[1]
        if self.image_shape is None:
            self.image_shape, self.latent_size = shape, latent_size
        if (shape, latent_size) != (self.image_shape, self.latent_size):
            raise InputError(
                f"a batch of images {shape} and latents of {latent_size} cannot follow images "
                f"{self.image_shape} and latents of {self.latent_size} in one data set"
            )
        indices = range(self.count, self.count + len(images))
        pictures = np.array(images) if images.dtype == np.uint8 else to_uint8(np.asarray(images, np.float32))
        self.save_pictures("images", indices, pictures)
        self._latents.add(latents)
        if self.count and (doubt is None) != (self._doubts is None):
            raise InputError("a data set has doubts for all of its images, or for none")
        if doubt is not None:
            self._doubts = self._doubts or Rows(self.folder / "doubt.npy")
            self._doubts.add(doubt)
        self.count = indices.stop
        return indices

    def save_pictures(
        self, kind: str, indices: Sequence[int], pictures: UInt8[np.ndarray, "batch height width channels"]
    ) -> None:
        """Write uint8 pictures, grey or RGB, as PNG files of the folder `kind`."""
        folder = self.folder / kind
        folder.mkdir(exist_ok=True)

        def save(item: tuple[int, np.ndarray]) -> None:
            index, picture = item
            (folder / file_name(index)).write_bytes(quick_png(picture))

        self._waiting.append([self._pool.submit(save, item) for item in zip(indices, pictures, strict=True)])
        self._wait(_BATCHES)

    def close(self) -> None:
        """Wait for the pictures, and complete `latents.npy` and `doubt.npy`."""
        self._latents.close()
        if self._doubts:
            self._doubts.close()
        self._wait(0)

    def _wait(self, left: int) -> None:
        """Wait until so many calls of `save_pictures` are under way, and raise what a thread raised."""
        while len(self._waiting) > left:
            for picture in self._waiting.popleft():
                picture.result()


@contextlib.contextmanager
def dataset(out: str | os.PathLike, provenance: dict) -> Iterator[Dataset]:
    """Open a new data set; `provenance` (sampler, generator run, seed, ...) goes into dataset.json.

    Raises:
        InputError: `out` is a file or a folder with something in it, or the block added no sample.
    """
    out = Path(out)
    refuse_taken(out)
    with new_folder(out) as partial:
        with ThreadPoolExecutor(sharding.cores()) as pool, contextlib.closing(Dataset(partial, pool)) as written:
            yield written
        if written.image_shape is None:
            raise InputError(f"{out}: no sample was added to the data set")
        height, width, channels = written.image_shape
        sizes = {"height": height, "width": width, "channels": channels, "latent_size": written.latent_size}
        document = {"count": written.count, **sizes, **provenance}
        (partial / "dataset.json").write_text(json.dumps(document, indent=2) + "\n")

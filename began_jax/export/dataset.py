"""The part of a written data set that does not depend on the annotation: pictures, latents, provenance.

    OUT/images/000000.png ...   the generated pictures; or .jpg or .webp
    OUT/latents.npy             float32 [N, latent]: the z that each picture, and its annotation, came from
    OUT/doubt.npy               float32 [N]: how far each annotation may be off, where the caller knows
    OUT/numbers.npy             int64 [N]: which sample of its origin each picture is, where the caller knows
    OUT/dataset.json            count, sizes and what the caller tells of the origin

Everything is built in OUT.partial, which takes the name OUT when it is complete: OUT is whole or absent. Every `PART`
pictures OUT.partial/progress.json notes how long its files are then. The same data set, begun again after a stop, goes
on from there: what was appended after it is cut off.
"""

import collections
import contextlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8
from PIL import Image

from began_jax import sharding
from began_jax.errors import InputError
from began_jax.files import new_folder, refuse_taken, write_json
from began_jax.images import quick_png, to_uint8

Doubts = Float[Array | np.ndarray, " doubts"] | None  # as many as the images
# In [-1, 1], or as they are stored.
Pictures = (
    Float[Array | np.ndarray, "batch height width channels"] | UInt8[Array | np.ndarray, "batch height width channels"]
)

PART = 4096  # pictures that a stop loses at most
PROGRESS = "progress.json"
# How pictures are stored: file name's ending, and what Pillow is told; PNG is our own. WebP loses nothing either.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": (".png", {}),
    "jpeg": (".jpg", {"quality": 95, "subsampling": 0}),
    "webp": (".webp", {"lossless": True, "method": 0}),
}
_BATCHES = 2  # whose pictures are being encoded while the next one is made


def file_name(index: int, form: str = "png") -> str:
    """Return the picture's name under `images/`, by its form, and `masks/`."""
    return f"{index:06d}{FORMS[form][0]}"


def encoded(picture: UInt8[np.ndarray, "height width channels"], form: str) -> bytes:
    """Return a picture, grey or RGB, as a file of one of `FORMS`."""
    if form == "png":
        return quick_png(picture)
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, form.upper(), **FORMS[form][1])
    return file.getvalue()


def _cut(file: IO, length: int) -> None:
    """Shorten a file to what was noted of it; InputError where it is shorter, as a loss of power may leave it."""
    if os.fstat(file.fileno()).st_size < length:
        raise InputError(f"{file.name}: is shorter than was noted; delete {Path(file.name).parent} and begin anew")
    file.truncate(length)


class Rows:
    """Rows of one shape, appended to a .npy file batch by batch.

    Args:
        path: of the file.
        count: of the rows that it has and keeps; 0 begins it anew.
        dtype: of the rows.
    """

    def __init__(self, path: Path, count: int = 0, dtype: str = "<f4") -> None:
        self._count, self._dtype = count, np.dtype(dtype)
        self._shape: tuple[int, ...] | None = None
        if not count:
            self._file = path.open("w+b")
            return
        self._file = path.open("r+b")
        np.lib.format.read_magic(self._file)
        self._shape = np.lib.format.read_array_header_1_0(self._file)[0][1:]
        _cut(self._file, self._file.tell() + count * self._row)
        self._file.seek(0, os.SEEK_END)

    @property
    def _row(self) -> int:
        return self._dtype.itemsize * math.prod(self._shape or ())

    def flush(self) -> int:
        """Hand everything to the operating system, and return the number of rows."""
        self._file.flush()
        return self._count

    def add(self, rows: Shaped[Array | np.ndarray, "batch ..."]) -> None:
        """Write a batch of rows, or raise InputError where they have another shape than those of the first."""
        if self._shape is None:
            self._shape = tuple(rows.shape[1:])
            self._write_header(self._shape)
        if self._shape != tuple(rows.shape[1:]):
            raise InputError(f"rows of shape {tuple(rows.shape[1:])} cannot follow rows of shape {self._shape}")
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._count += len(rows)

    def _write_header(self, shape: tuple[int, ...]) -> None:
        # numpy pads the header so that the first axis may grow: the final one has the length of the first.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count, *shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def last(self) -> np.ndarray:
        """Return the last row; there must be one."""
        self._file.seek(-self._row, os.SEEK_END)
        return np.frombuffer(self._file.read(self._row), self._dtype).reshape(self._shape or ())

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

    def __init__(self, folder: Path, pool: ThreadPoolExecutor, found: Mapping[str, Any], form: str = "png") -> None:
        self.folder: Path = folder
        self.form: str = form
        self.count: int = found.get("count", 0)
        self.image_shape: tuple[int, ...] | None = tuple(found["image_shape"]) if found else None
        self.latent_size: int | None = found.get("latent_size")
        self._pool, self._waiting = pool, collections.deque[list[Future]]()
        self.origin: dict[str, Any] = {}
        self._found, self._files, self._told = found, dict[str, Rows | TextIO](), self.count
        self._latents = self.rows("latents.npy")
        again = found.get("files", {})
        self._doubts = self.rows("doubt.npy") if "doubt.npy" in again else None
        self._numbers = self.rows("numbers.npy", "<i8") if "numbers.npy" in again else None
        # The sample after the last one that is there, where the caller numbered them.
        self.next_number: int = int(self._numbers.last()) + 1 if self._numbers and self.count else self.count

    def rows(self, name: str, dtype: str = "<f4") -> Rows:
        """Return rows of the data set, as many as there are pictures when it is complete."""
        self._files[name] = rows = Rows(self.folder / name, self._found.get("files", {}).get(name, 0), dtype)
        return rows

    def text(self, name: str) -> TextIO:
        """Return a text file of the data set to write to; after a stop it has what it had at the last note."""
        length = self._found.get("files", {}).get(name, 0)
        file = (self.folder / name).open("r+" if length else "w", newline="", encoding="utf-8")
        _cut(file, length)
        file.seek(length)
        self._files[name] = file
        return file

    def add(
        self,
        latents: Float[Array | np.ndarray, "batch latent"],
        images: Pictures,
        doubt: Doubts = None,
        numbers: np.ndarray | None = None,
    ) -> range:
        """Write a batch, images in [-1, 1] or uint8, and return the indices that its samples got.

        `numbers` say which samples of their origin they are, in rising order.

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
        self.save_pictures("images", indices, pictures, self.form)
        self._latents.add(latents)
        if self.count and (doubt is None) != (self._doubts is None):
            raise InputError("a data set has doubts for all of its images, or for none")
        if doubt is not None:
            self._doubts = self._doubts or self.rows("doubt.npy")
            self._doubts.add(doubt)
        if numbers is not None:
            self._numbers = self._numbers or self.rows("numbers.npy", "<i8")
            self._numbers.add(numbers)
        self.count = indices.stop
        return indices

    def batch_done(self) -> None:
        """Note how far the files are, once in `PART` pictures; for writers, after the last one of a batch's files."""
        if self.count - self._told < PART:
            return
        self._wait(0)
        lengths = {}
        for name, file in self._files.items():
            lengths[name] = file.flush() if isinstance(file, Rows) else (file.flush(), file.tell())[1]
        sizes = {"image_shape": self.image_shape, "latent_size": self.latent_size}
        write_json(self.folder / PROGRESS, {"count": self.count, **sizes, "files": lengths} | self.origin)
        self._told = self.count

    def save_pictures(
        self,
        kind: str,
        indices: Sequence[int],
        pictures: UInt8[np.ndarray, "batch height width channels"],
        form: str = "png",
    ) -> None:
        """Write uint8 pictures, grey or RGB, as files of the folder `kind`, of one of `FORMS`."""
        folder = self.folder / kind
        folder.mkdir(exist_ok=True)

        def save(item: tuple[int, np.ndarray]) -> None:
            index, picture = item
            (folder / file_name(index, form)).write_bytes(encoded(picture, form))

        self._waiting.append([self._pool.submit(save, item) for item in zip(indices, pictures, strict=True)])
        self._wait(_BATCHES)

    def close(self) -> None:
        """Wait for the pictures, and complete all files."""
        for file in self._files.values():
            file.close()
        self._wait(0)

    def _wait(self, left: int) -> None:
        """Wait until so many calls of `save_pictures` are under way, and raise what a thread raised."""
        while len(self._waiting) > left:
            for picture in self._waiting.popleft():
                picture.result()


@contextlib.contextmanager
def dataset(out: str | os.PathLike[str], provenance: dict[str, Any], resume: bool = False) -> Iterator[Dataset]:
    """Open a data set; `provenance` (sampler, generator run, seed, ...) goes into dataset.json.

    Its `picture`, one of `FORMS`, is how the pictures are stored: PNG by default.

    With `resume` one of the same provenance that was stopped goes on, see the head of this module: then the caller adds
    only what comes after the pictures that are there (`Dataset.count`).

    Raises:
        InputError: `out` is a file or a folder with something in it, or the block added no sample.
    """
    out = Path(os.path.abspath(out))
    refuse_taken(out)
    origin = {"origin": json.loads(json.dumps(provenance))}
    found = _progress(out.with_name(f"{out.name}.partial") / PROGRESS, origin) if resume else {}
    with new_folder(out, keep=PROGRESS, again=bool(found)) as partial:
        with (
            ThreadPoolExecutor(sharding.cores()) as pool,
            contextlib.closing(Dataset(partial, pool, found, provenance.get("picture", "png"))) as written,
        ):
            written.origin = origin
            yield written
        if written.image_shape is None:
            raise InputError(f"{out}: no sample was added to the data set")
        height, width, channels = written.image_shape
        sizes = {"height": height, "width": width, "channels": channels, "latent_size": written.latent_size}
        document = {"count": written.count, **sizes, **provenance} | {"count": written.count}
        (partial / "dataset.json").write_text(json.dumps(document, indent=2) + "\n")
        (partial / PROGRESS).unlink(missing_ok=True)


def _progress(path: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Return what was noted of a data set of this origin, or nothing."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if origin.items() <= found.items() else {}


def resumable(write: Callable[..., None], written: Any) -> Callable[..., None]:
    """Return the function with `written`, which tells the caller how much is there already after a stop."""
    setattr(write, "written", written)  # noqa: B010
    return write

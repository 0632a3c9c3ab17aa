"""The input pipeline: pictures read and decoded, alone or beside the training that they feed; simulated sources."""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from began_jax.data.datasets import batches, open_data, prefetch
from began_jax.data.synthetic.dataset import write_synthetic
from benchmarks import our_tasks
from benchmarks.plan import Size
from benchmarks.workers import Task

READ_AHEAD = 64  # batches a call, many more than the pipeline holds ready when a turn begins


def read(size: Size, folder: str, pictures: int, encoding: str) -> Task:
    """Batches of pictures, which nothing competes with; a unit is a picture."""
    feed = _feed(size, folder, pictures, encoding)

    def call() -> None:
        for _ in range(READ_AHEAD):
            next(feed)

    return Task(call, READ_AHEAD * size.batch)


def fed_training(size: Size, folder: str, pictures: int, encoding: str) -> Task:
    """A training step on pictures that are read and decoded while it runs."""
    return our_tasks.training(size, _feed(size, folder, pictures, encoding))


@dataclasses.dataclass(frozen=True)
class JpegSource:
    """Pictures of a source as JPEG, which sets of other origin hold."""

    encoded: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.encoded)

    def image(self, i: int) -> np.ndarray:
        """Image i, uint8 [H, W, C]."""
        return np.asarray(Image.open(io.BytesIO(self.encoded[i])))


def jpeg(image: np.ndarray) -> bytes:
    """A picture as JPEG of the usual quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


def _feed(size: Size, folder: str, pictures: int, encoding: str) -> Iterator[np.ndarray]:
    # Rendered faces, stored as PNG like every set that prepare.py makes.
    out = Path(folder) / f"faces-{size.height}x{size.width}"
    if not out.exists():
        write_synthetic("synthetic-faces", out, pictures, 0, size.height, size.width, 0)
    source = open_data(out).source("train")
    if encoding == "jpeg":
        source = JpegSource(tuple(jpeg(source.image(i)) for i in range(len(source))))
    return (batch["image"] for batch in prefetch(batches(source, size.batch, 0)))


@dataclasses.dataclass(frozen=True)
class SimulatedSource:
    """A source of any length, whose images are made when they are asked for."""

    length: int
    height: int
    width: int
    channels: int

    def __len__(self) -> int:
        return self.length

    def image(self, i: int) -> np.ndarray:
        """Image i, uint8 [H, W, C]."""
        return np.random.default_rng(i).integers(0, 256, (self.height, self.width, self.channels), np.uint8)


def read_simulated(size: Size, length: int, batches_a_call: int) -> Task:
    """Batches from a simulated source of so many images; a unit is a picture."""
    source = SimulatedSource(length, size.height, size.width, size.channels)
    feed = prefetch(batches(source, size.batch, 0))

    def call() -> None:
        for _ in range(batches_a_call):
            next(feed)

    return Task(call, batches_a_call * size.batch)

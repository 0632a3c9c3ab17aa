"""What feeds a training, alone or beside it: pictures read and decoded, or kept; simulated sources; the loop itself."""

import dataclasses
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from began_jax import sharding
from began_jax.data import feed
from began_jax.data.datasets import open_data
from began_jax.data.synthetic.dataset import write_synthetic
from began_jax.run.loop import IN_FLIGHT, Loop, Packed
from benchmarks import our_tasks
from benchmarks.plan import Size
from benchmarks.workers import Task

STORED = 256  # pictures
METRICS = 12  # of a step of the sharp recipe
READ_AHEAD = 64  # batches a call, many more than the pipeline holds ready when a turn begins


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A source of images alone, uint8 [H, W, C] by their number."""

    length: int
    image: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return self.length


def read(size: Size, folder: str, encoding: str) -> Task:
    """Read batches of pictures, which nothing competes with; a unit is a picture."""
    return _reading(_feed(_stored(size, folder, encoding), size), size)


def read_simulated(size: Size, length: int) -> Task:
    """Read batches from a source of any length, whose images are made when they are asked for; a unit is a picture."""
    shape = (size.height, size.width, size.channels)
    source = Pictures(length, lambda i: np.random.default_rng(i).integers(0, 256, shape, np.uint8))
    return _reading(_feed(source, size), size)


def read_kept(size: Size, folder: str) -> Task:
    """Read batches of pictures that are kept in memory; a unit is a picture."""
    source = feed.Kept(_stored(size, folder, "png"))
    source.all()
    return _reading(_feed(source, size), size)


@flax.struct.dataclass
class Counter:
    """A state of a training that learns nothing."""

    step: jax.Array

    @property
    def done(self) -> int:
        """Steps done."""
        return int(self.step)

    @property
    def score(self) -> float:
        """The same for all."""
        return 0.0


def loop(size: Size, folder: str) -> Task:
    """Make steps that do nothing, on the numbers of rows as where images lie on the device: the loop's own time.

    Up to `IN_FLIGHT` calls are under way, as on a GPU, and each has as many metrics as a training's.
    """
    sharding.use_cpu_devices(size.batch, 1)
    packed, images = Packed(), np.zeros((STORED, 1), np.uint8)

    def step(state: Counter, batch: jax.Array) -> tuple[Counter, jax.Array]:
        value = state.step + batch[0, 0] / 255
        return Counter(state.step + 1), packed.pack({f"metric_{i}": value * i for i in range(METRICS)})

    jitted, choose = jax.jit(step, donate_argnums=0), jax.jit(lambda images, rows: images[rows])
    start, resident = Counter(jnp.zeros((), jnp.int32)), jax.device_put(images)
    rows = itertools.cycle(np.arange(size.batch * READ_AHEAD, dtype=np.int32).reshape(READ_AHEAD, -1) % STORED)
    options = {"save_every": 10**9, "unpack": packed.steps, "in_flight": IN_FLIGHT}
    running = Loop("loop", Path(folder) / f"loop-{size.batch}", start, 10**9, **options)
    numbers = iter(running)

    def call() -> None:
        for _ in range(READ_AHEAD):
            next(numbers)
            running.advance(*jitted(running.state, choose(resident, next(rows))))

    return Task(call, READ_AHEAD)


def fed_training(size: Size, folder: str, encoding: str) -> Task:
    """Make a training step on pictures that are read and decoded while it runs."""
    return our_tasks.training(size, _feed(_stored(size, folder, encoding), size))


def _reading(feed: Iterator[np.ndarray], size: Size) -> Task:
    def call() -> None:
        for _ in range(READ_AHEAD):
            next(feed)

    return Task(call, READ_AHEAD * size.batch)


def _feed(source: Pictures | feed.Kept, size: Size) -> Iterator[np.ndarray]:
    steps = feed.batches(source, feed.rows(len(source), size.batch, 0))
    return (batch["image"] for batch in feed.ahead(steps))


def _stored(size: Size, folder: str, encoding: str) -> Pictures:
    """Render faces, stored as PNG like every set that prepare.py makes, or held as JPEG like sets of other origin."""
    out = Path(folder) / f"faces-{size.height}x{size.width}"
    if not out.exists():
        write_synthetic("synthetic-faces", out, STORED, 0.0, size.height, size.width, 0)
    source = open_data(out).source("train")
    if encoding == "png":
        return Pictures(len(source), source.image)
    encoded = [_jpeg(source.image(i)) for i in range(len(source))]
    return Pictures(len(source), lambda i: np.asarray(Image.open(io.BytesIO(encoded[i]))))


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()

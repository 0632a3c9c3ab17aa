"""What feeds a training: the rows of each step, a pure function of it, and their images, wherever these are kept.

Images are read and decoded ahead of the step by threads. Where memory allows, each is decoded once and then kept; where
an accelerator's memory allows, all of them lie there, and only the numbers of rows travel (`began_jax.run.feed`).
"""

import contextlib
import operator
import os
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

import grain
import numpy as np

from began_jax import sharding
from began_jax.data.datasets import images_of
from began_jax.errors import InputError

MOST_THREADS = 16  # each of which has two steps ready
SHARE = 0.25  # of the memory that is free: what decoded images may take of it


class Images(Protocol):
    """Examples by their numbers, such as those of `DataSet.source`."""

    def __len__(self) -> int: ...

    def image(self, i: SupportsIndex, /) -> np.ndarray:
        """Return an image, uint8 [H, W, C]."""
        ...


def rows(count: int, batch_size: int, seed: int, *, process_index: int = 0, process_count: int = 1) -> grain.MapDataset:
    """Return the examples of each step as a pure function of it: `ds[step]` are their numbers, int [B].

    The steps read one endless stream, a new permutation of the examples each epoch, so none is left out and a batch may
    span two epochs. Each process gets its contiguous share of the rows of the global batch.

    Args:
        count: of the examples.
        batch_size: of the global batch, over all processes.
        seed: of the permutations.
        process_index: which share to return.
        process_count: number of shares.

    Raises:
        InputError: the batch is larger than the data set, or no multiple of the number of processes.
    """
    if not 1 <= batch_size <= count:
        raise InputError(f"batch size {batch_size}: must be from 1 to the {count} images of the data set")
    if batch_size % process_count:
        raise InputError(f"batch size {batch_size}: must be a multiple of the {process_count} processes")
    share = batch_size // process_count
    mine = slice(process_index * share, (process_index + 1) * share)
    order = grain.MapDataset.range(count).seed(seed).shuffle().repeat()
    return order.batch(batch_size, drop_remainder=True).map(lambda batch: batch[mine])


def batches(source: Any, rows: grain.MapDataset, *, masks: bool = False) -> grain.MapDataset:
    """Return the images of each step: `ds[step]` is {"image": uint8 [B, H, W, C]}.

    Args:
        source: `Images`; with masks what `DataSet.source` gives.
        rows: of each step, as `rows` returns them.
        masks: whether to add "mask", uint8 [B, H, W, 1], 0 or 1.
    """

    def load(numbers: np.ndarray) -> dict[str, np.ndarray]:
        if not masks:
            return {"image": images_of(source, numbers)}
        examples = [source[i] for i in numbers]
        return {name: np.stack([example[name] for example in examples]).astype(np.uint8) for name in ("image", "mask")}

    return rows.map(load)


class Kept(Sequence):
    """A source whose images, and masks where they are asked for, are decoded once and kept in memory.

    Args:
        source: what `DataSet.source` gives.
        masks: whether masks are read too.
    """

    def __init__(self, source: Any, masks: bool = False) -> None:
        self._source, self._there = source, np.zeros(len(source), bool)
        shape = source.image(0).shape
        self._images = np.zeros((len(source), *shape), np.uint8)  # takes memory as it is filled
        self._masks = np.zeros((len(source), *shape[:2], 1), np.uint8) if masks else None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: Any) -> dict[str, np.ndarray]:
        image = self.image(i)
        return {"image": image} | ({} if self._masks is None else {"mask": self._masks[i]})

    def image(self, i: SupportsIndex, /) -> np.ndarray:
        """Return an image, uint8 [H, W, C]; that several threads decode it at once does no harm."""
        i = operator.index(i)
        if not self._there[i]:
            if self._masks is None:
                self._images[i] = self._source.image(i)
            else:
                example = self._source[i]
                self._images[i], self._masks[i] = example["image"], example["mask"] > 0
            self._there[i] = True
        return self._images[i]

    def all(self) -> dict[str, np.ndarray]:
        """Return all images, and masks, uint8 [N, H, W, C]."""
        everything = grain.MapDataset.range(len(self)).map(self.image)
        for _ in ahead(everything):
            pass
        return {"image": self._images} | ({} if self._masks is None else {"mask": self._masks})


def size(source: Any, masks: bool = False) -> int:
    """Return how many bytes the decoded images of a source take, and its masks."""
    height, width, channels = source.image(0).shape
    return len(source) * height * width * (channels + masks)


def free_memory() -> int:
    """Return the bytes of memory that are free on this machine, or what its group of processes may still take."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    information = Path("/proc/meminfo")
    if information.exists():  # what files' pages take counts as free
        lines = dict(line.split(":", 1) for line in information.read_text().splitlines())
        free = 1024 * int(lines.get("MemAvailable", "0 kB").split()[0]) or free
    for folder in _groups(Path("/proc/self/cgroup")):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):  # "max", or another version of groups
                most, taken = (int((folder / name).read_text()) for name in (limit, used))
                pages = re.search(r"^(?:total_)?inactive_file (\d+)", (folder / "memory.stat").read_text(), re.M)
                free = min(free, most - taken + int(pages[1] if pages else 0))
    return free


def _groups(listed: Path) -> Iterator[Path]:
    """Yield the folders of the groups of processes that limit this one, and of their parents."""
    lines = listed.read_text().splitlines() if listed.exists() else []
    for _, names, path in (line.split(":", 2) for line in lines):
        root = Path("/sys/fs/cgroup", *(["memory"] if "memory" in names.split(",") else []))
        if not names or root.name == "memory":
            inner = Path(path.lstrip("/"))
            yield from (root / part for part in (inner, *inner.parents))


def ahead(ds: grain.MapDataset, start: int = 0, threads: int | None = None) -> Generator[Any, None, None]:
    """Yield ds[start], ds[start + 1], ... made ahead by threads, one a core, which end when this is closed."""
    threads = threads or min(max(2, sharding.cores()), MOST_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    iterator = iter(ds[start:].to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()

"""The shards of a run: its data set in parts that are inverted together, and what is found of each, on disk."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np

from began_jax import sharding
from began_jax.configs import InvertConfig
from began_jax.data import feed
from began_jax.files import read_json
from began_jax.run import checkpoints
from began_jax.run.folder import Run
from began_jax.run.generator import Generator
from began_jax.run.inverter import Shard, largest_shard
from began_jax.run.latents import Latents

SPLITS = ("train", "test")  # that are inverted
READERS = 4  # threads, each of which reads a shard; as many again are ready


def has_shards(run: Run) -> bool:
    """Return whether anything of a run was inverted, which says how the rest must be."""
    return any(checkpoints.exists(run.folder / "latents" / split) for split in SPLITS)


def kept_size(run: Run, config: InvertConfig, written: bool = False) -> int:
    """Return the size of a shard: the given one, or the one that the run keeps, or 0 where there is none.

    It keeps the one of its shards, or the one that another process has `written` for those to come.
    """
    stored = run.folder / "latents" / "config.json"
    kept = stored.exists() and (written or has_shards(run))
    return config.shard_size or (read_json(stored)["shard_size"] if kept else 0)


def fitted(run: Run, config: InvertConfig, generator: Generator) -> tuple[InvertConfig, jax.sharding.Mesh]:
    """Return the configuration with a size of shards that fits the memory, and the devices of this process."""
    devices = None
    # A kept size was perhaps found for other devices than those that are here.
    if config.shard_size == 0 or (run.folder / "latents" / "config.json").exists():
        size = kept_size(run, config, jax.process_index() > 0) or largest_shard(config, generator)
        config = dataclasses.replace(config, shard_size=size)
        devices = sharding.most_devices(size, jax.local_device_count())
    return config, sharding.data_mesh(config.shard_size, devices, local=True)


class Shards:
    """The shards of a run that this process still has to invert, and all of them on disk.

    Args:
        run: whose images they are.
        size: images of a shard.
        images: of the training split, rounded up to whole shards; 0 for all of them.
    """

    def __init__(self, run: Run, size: int, images: int = 0) -> None:
        self._run, self._size = run, size
        splits = run.data.splits
        self._counts = {split: math.ceil(splits[split] / size) for split in SPLITS if split in splits}
        if images:
            self._counts["train"] = min(self._counts["train"], math.ceil(images / size))
        self._stores = {split: Latents(run.folder / "latents" / split) for split in self._counts}
        done = {split: store.done() for split, store in self._stores.items()}
        missing = [(split, i) for split, count in self._counts.items() for i in range(count) if i not in done[split]]
        sharding.meet("shards shared")  # before any is written, all have seen the same ones missing
        self.missing: list[tuple[str, int]] = sharding.share(missing)
        self._ids: dict[tuple[str, int], list[str]] = {}

    @property
    def images(self) -> int:
        """How many images all shards have."""
        return sum(min(count * self._size, self._run.data.splits[split]) for split, count in self._counts.items())

    @property
    def images_missing(self) -> int:
        """How many images the missing ones have."""
        return sum(min(self._size, self._run.data.splits[split] - i * self._size) for split, i in self.missing)

    def read(self) -> Iterator[Shard]:
        """Give the missing shards with their images, uint8, which are read ahead."""
        sources = {split: self._run.data.source(split) for split in self._counts}

        def load(number: int) -> list[dict[str, Any]]:
            split, shard = self.missing[number]
            rows = range(shard * self._size, min((shard + 1) * self._size, len(sources[split])))
            return [sources[split].picture(i) for i in rows]

        steps = grain.MapDataset.range(len(self.missing)).map(load)
        with contextlib.closing(feed.ahead(steps, threads=READERS)) as ready:
            for (split, shard), examples in zip(self.missing, ready, strict=True):
                self._ids[split, shard] = [example["id"] for example in examples]
                images = np.stack([example["image"] for example in examples])
                yield (split, shard), images, shard * self._size + np.arange(len(images))

    def save(self, key: tuple[str, int], results: dict[str, np.ndarray]) -> None:
        """Start writing the results of a shard that was read."""
        split, shard = key
        self._stores[split].save(shard, self._ids.pop(key), results)

    def wait(self) -> None:
        """Wait until everything is written."""
        for store in self._stores.values():
            store.wait()

    def load(self) -> dict[str, np.ndarray]:
        """Return the columns of all shards, those of other processes included."""
        parts = [self._run.latents(split) for split in self._counts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "id"}

    def figures(self, config: InvertConfig, cube: bool) -> dict[str, float | int]:
        """Return the figures of the inversion over all shards; latents from the `cube` may have left it."""
        latents = self.load()
        l1 = latents["l1"]
        figures = {
            "images": len(l1),
            "steps": config.steps,
            "l1": float(l1.mean()),
            "psnr_db": float(latents["psnr_db"].mean()),
            "failed": int((~(l1 <= config.failure_l1)).sum()),
        }
        if cube:
            figures["fraction_outside_cube"] = float((np.abs(latents["z"]) > 1).mean())
        return figures | ({"mean_steps": float(latents["steps"].mean())} if config.tolerance else {})

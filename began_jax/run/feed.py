"""A run's training images on their way to the step: all on the device, in memory, or decoded anew each time."""

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from began_jax import sharding
from began_jax.data import feed
from began_jax.data.source import Source
from began_jax.errors import InputError
from began_jax.run.folder import Run

PLACES = ("auto", "device", "memory", "disk")
_PROCESSES = 8  # of one machine, at most: each takes its share of the memory that is free

Batch = dict[str, Any]


class Feed:
    """The batches of a run, a pure function of the step wherever the images are.

    `inputs` gives what travels to the devices, and `put` makes batches of it there.

    Args:
        run: whose training images they are.
        mesh: of the devices.
        place: `device`: all images lie on each device, and only the numbers of rows travel; `memory`: each is decoded
            once and kept; `disk`: each is decoded whenever it is needed; `auto`: the first of them that has room (in
            `feed.SHARE` of the memory that is free, for `device` of both), where a CPU is no device of its own.

    Raises:
        InputError: the batch does not fit the data set or the processes, or masks are needed and there are none.
    """

    def __init__(self, run: Run, mesh: Mesh, place: str = "auto") -> None:
        config, data = run.config, run.data
        if config.low_quality and data.annotation != "mask":
            raise InputError(f"--low-quality needs a data set with masks; {data.path} has {data.annotation or 'none'}")
        if config.low_quality and data.partial:
            raise InputError(f"--low-quality needs the mask of each image; {data.path} is annotated in part")
        source, self._masks = data.source("train"), config.low_quality
        part = {"process_index": jax.process_index(), "process_count": jax.process_count()}
        self._rows = feed.rows(len(source), config.batch_size, config.seed, **part)
        self.place: str = _place(source, self._masks) if place == "auto" else place
        self._source, self._mesh, self._resident = source, mesh, None
        self._choose = {
            stacked: jax.jit(
                lambda images, rows: {name: values[rows] for name, values in images.items()},
                out_shardings=sharding.split(mesh, axis=int(stacked)),
            )
            for stacked in (False, True)
        }

    def inputs(self, start: int) -> contextlib.closing[Generator[Batch, None, None]]:
        """Give the inputs of the steps from `start` on, made ahead; close it."""
        if self.place == "device":
            self._resident = self._on_devices()
            rows = self._rows.map(lambda rows: {"row": rows.astype(np.int32)})
            return contextlib.closing(feed.ahead(rows, start))  # shuffling takes a tenth of a millisecond a row
        source = feed.Kept(self._source, self._masks) if self.place == "memory" else self._source
        return contextlib.closing(feed.ahead(feed.batches(source, self._rows, masks=self._masks), start))

    def put(self, steps: Sequence[Batch], *, stacked: bool = False) -> Batch:
        """Return the batch of a step, or those of several with an axis of steps in front, split over the devices.

        It has "image" uint8 [B, H, W, C], and "mask" uint8 [B, H, W, 1] where the run needs it.

        Args:
            steps: their inputs.
            stacked: whether there is an axis of steps.
        """
        given = {name: np.stack([step[name] for step in steps]) for name in steps[0]} if stacked else steps[0]
        if jax.process_count() > 1 or self._resident is None:
            given = sharding.assemble(self._mesh, given, axis=int(stacked))
        # A call of its own: the step's is then the same program, with the same bits, wherever the images are.
        return given if self._resident is None else self._choose[stacked](self._resident, given["row"])

    def _on_devices(self) -> Batch:
        everywhere = sharding.replicated(self._mesh)
        return {
            name: jax.make_array_from_callback(values.shape, everywhere, lambda i, v=values: v[i])
            for name, values in feed.Kept(self._source, self._masks).all().items()
        }


def _place(source: Source, masks: bool) -> str:
    """Return the fastest place that has room for the images, on every process."""
    size, free = feed.size(source, masks), sharding.free_device_memory()
    place = "disk"
    if size <= feed.SHARE * feed.free_memory() / min(jax.process_count(), _PROCESSES):
        place = "device" if free is not None and size <= feed.SHARE * free else "memory"
    if jax.process_count() > 1:
        place = PLACES[int(multihost_utils.process_allgather(np.int32(PLACES.index(place))).max())]
    return place

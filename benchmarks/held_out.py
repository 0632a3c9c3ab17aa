"""The held-out images of a trained run, and inversions of its generator over them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from began_jax import inversion, sharding
from began_jax.configs import InvertConfig
from began_jax.data.datasets import ordered
from began_jax.images import to_float
from began_jax.run import inverter
from began_jax.run.folder import Run
from benchmarks import our_tasks


class HeldOut:
    """A run's first held-out images, or training images where none are held out, and its generator.

    Args:
        folder: of the run.
        count: the most images.
        parts: that `inverter` parts them into.
    """

    def __init__(self, folder: Path, count: int, parts: int = 1):
        run = Run.open(folder)
        self.split = "test" if "test" in run.data.splits else "train"
        self._size = min(count, run.data.splits[self.split]) // parts
        sharding.use_cpu_devices(self._size)
        self._mesh = sharding.data_mesh(self._size)
        self.config, self.generator = run.config, run.generator()
        self.images = to_float(ordered(run.data.source(self.split), 0, self._size * parts)["image"])
        self._positions = np.arange(len(self.images))
        generate = self.generator.apply
        self._finish = jax.jit(lambda p, state, x: inversion.finish(lambda z: generate(p, z), state, x))
        self._parameters = jax.device_put(self.generator.parameters, sharding.replicated(self._mesh))
        self._x = jax.device_put(self.images, sharding.split(self._mesh))

    def states(self, config: InvertConfig) -> Iterator[inversion.InversionState]:
        """Yield the state of an inversion of all images together before each of its steps, without end."""
        z = inverter.Starts(config, self.generator, self._mesh)(self.images, self._positions)
        z = jax.device_put(z, sharding.split(self._mesh))
        return our_tasks.states(config, self.generator.apply, self._parameters, self._x, z)

    def results(self, state: inversion.InversionState) -> dict[str, np.ndarray]:
        """Return what an inversion that ended in this state would have given."""
        return jax.device_get(self._finish(self._parameters, state, self._x))

    def inverter(self, config: InvertConfig) -> Callable[[], dict[str, np.ndarray]]:
        """Return a function that inverts the images part by part, as invert.py does, and returns the results."""
        invert = inverter.of_shards(config, self.generator, self._mesh)
        parts = np.split(self._positions, len(self._positions) // self._size)

        def results() -> dict[str, np.ndarray]:
            found = dict(invert(((i, self.images[rows], rows) for i, rows in enumerate(parts)), self._size))
            return {name: np.concatenate([found[i][name] for i in range(len(parts))]) for name in found[0]}

        return results

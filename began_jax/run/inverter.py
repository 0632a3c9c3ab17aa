"""Inversion of a run's generator shard by shard: from z = 0, random latents or E(x)."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from began_jax import inversion, sharding
from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.inversion.batches import Count, after_a_move, filling, ignore
from began_jax.inversion.loop import Inverter
from began_jax.run import objective
from began_jax.run.folder import Run
from began_jax.run.generator import Generator

Shard = tuple[Any, np.ndarray, np.ndarray]  # key, images [n, H, W, C] uint8 or in [-1, 1], their positions in the split
Results = tuple[Any, dict[str, np.ndarray]]  # key, columns [n, ...]


def of_shards(
    config: InvertConfig,
    generator: Generator,
    mesh: Mesh,
    steps_per_call: int | None = None,
    codes: Callable[[], np.ndarray] | None = None,
) -> Callable[..., Iterator[Results]]:
    """Return a function of shards, of the most images in one, of what counts the work, and of whether some is done.

    It reads shards as needed and yields their results as they are complete. The count is told how many steps of how
    many images have been done since the last time, their product; an image that leaves early counts with all its steps.

    Args:
        config: of the inversion.
        generator: that is inverted.
        mesh: of the devices that the images are split over.
        steps_per_call: see `Inverter`.
        codes: gives latents of training images [N, latent], for a prior that is their density.

    Raises:
        InputError: an encoder is asked for, and the generator has none; or the cube, and it draws elsewhere.
        DivergedError: the function, where no image has moved from its start, and none had before.
    """
    if generator.draw is not None and (config.clip or config.prior == "cube"):
        given = "--clip" if config.clip else "--prior cube"
        raise InputError(f"{given}: the run's generator draws its latents itself, and not from [-1, 1]: leave it out")
    starts = Starts(config, generator, mesh)
    parameters = jax.device_put(generator.parameters, sharding.replicated(mesh))
    one_start = dataclasses.replace(config, starts=1)
    counted = (objective.loss(config, generator), objective.prior(config, codes))
    inverse = Inverter(one_start, generator.apply, parameters, sharding.split(mesh), steps_per_call, *counted)
    floats = jax.jit(to_float)  # there, since a quarter of the bytes travel

    def best(images: np.ndarray, indices: np.ndarray, count: Count) -> tuple[dict[str, np.ndarray], bool]:
        x = jax.device_put(images, sharding.split(mesh))
        x = floats(x) if images.dtype == np.uint8 else x
        of_each = [inverse.attempt(x, starts(x, indices, i), count) for i in range(config.starts)]
        return inversion.best_of([found for found, _ in of_each]), any(moved for _, moved in of_each)

    def in_parts(
        parts: int, images: np.ndarray, indices: np.ndarray, number: int, count: Count
    ) -> tuple[dict[str, np.ndarray], bool]:
        size, found = len(images) // parts, []
        for first in range(0, number, size):
            own = min(number - first, size)  # the others are copies
            rows = slice(first, first + size)
            found.append(best(images[rows], indices[rows], lambda steps, own=own: count(own * steps)))
        columns = {name: np.concatenate([part[name] for part, _ in found]) for name in found[0][0]}
        return columns, any(moved for _, moved in found)

    def halved(error: Exception, number: int) -> int:
        """Return half the number of images at once where memory ran out; raise whatever else went wrong."""
        if "RESOURCE_EXHAUSTED" not in str(error) or number % (2 * mesh.size):
            raise error
        print(f"invert: memory ran out; {number // 2} images at once from here on", file=sys.stderr)
        return number // 2

    def in_shards(shards: Iterable[Shard], size: int, count: Count = ignore, begun: bool = False) -> Iterator[Results]:
        return after_a_move(attempts(shards, size, count), begun)

    def attempts(shards: Iterable[Shard], size: int, count: Count) -> Iterator[tuple[Any, dict[str, np.ndarray], bool]]:
        at_once, told = size, list[int]()

        def tell(steps: int) -> None:
            told.append(steps)
            count(steps)

        for key, number, images, indices in _filled_up(shards, size):
            found = None
            told.clear()
            while found is None:
                try:
                    found = in_parts(size // at_once, images, indices, number, tell)
                except jax.errors.JaxRuntimeError as error:
                    at_once = halved(error, at_once)
                    count(-sum(told))
                    told.clear()
            columns, moved = found
            yield key, {name: values[:number] for name, values in columns.items()}, moved

    def in_slots(shards: Iterable[Shard], size: int, count: Count = ignore, begun: bool = False) -> Iterator[Results]:
        slots, unread, waiting, left = size, iter(shards), dict[Any, Shard](), 0

        def read() -> Iterator[Shard]:
            yield from list(waiting.values())
            for shard in unread:
                waiting[shard[0]] = shard
                yield shard

        def tell(images: int) -> None:
            nonlocal left
            left += images
            count(images * config.steps)

        while True:
            try:
                for key, values in complete(read(), size, slots, tell, begun):
                    begun = True
                    left -= config.starts * len(waiting.pop(key)[1])
                    yield key, values
                return
            except jax.errors.JaxRuntimeError as error:
                slots = halved(error, slots)
                count(-left * config.steps)  # of shards that are not complete, which begin again
                left = 0

    def complete(shards: Iterable[Shard], size: int, slots: int, count: Count, begun: bool) -> Iterator[Results]:
        """Give the results of shards, the best of their starts, as they are complete."""

        def batches() -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
            for key, number, images, indices in _filled_up(shards, size):
                images = to_float(images) if images.dtype == np.uint8 else images
                for start in range(config.starts):
                    yield (key, start), images[:number], np.asarray(starts(images, indices, start))[:number]

        found: dict[Any, dict[int, dict[str, np.ndarray]]] = {}
        for (key, start), values in inverse.refilled(batches(), slots, count, begun):
            found.setdefault(key, {})[start] = values
            if len(found[key]) == config.starts:
                of_each = [values for _, values in sorted(found.pop(key).items())]
                steps = np.sum([values["steps"] for values in of_each], 0)
                yield key, inversion.best_of(of_each) | {"steps": steps}

    return in_slots if config.tolerance else in_shards


def of_run(
    run: Run, config: InvertConfig, generator: Generator, mesh: Mesh, steps_per_call: int | None = None
) -> Callable[..., Iterator[Results]]:
    """Return `of_shards` with the latents of the run for a prior that is their density."""
    return of_shards(config, generator, mesh, steps_per_call, lambda: objective.codes_of(run, generator))


class Starts:
    """Latents before the first step: E(x), or those of `inversion.start`; after the first start always drawn ones."""

    def __init__(self, config: InvertConfig, generator: Generator, mesh: Mesh) -> None:
        self._config, self._generator, self._split = config, generator, sharding.split(mesh)
        self._encode = None
        if config.start == "encoder":
            if generator.encode is None:
                raise InputError(
                    "--start encoder needs a run that was trained with --encoder-weight; this one has no encoder"
                )
            self._encode = jax.jit(generator.encode)
            self._parameters = jax.device_put(generator.encoder_parameters, sharding.replicated(mesh))

    def __call__(self, images: np.ndarray | jax.Array, indices: np.ndarray, number: int = 0) -> jax.Array:
        """Return the latents [n, latent] of start `number` for images [n, ...] at these positions of their split."""
        if self._encode is not None and number == 0:
            return self._encode(self._parameters, jax.device_put(images, self._split))
        return inversion.start(self._config, indices, self._generator.latent_size, number, self._generator.draw)


def _filled_up(shards: Iterable[Shard], size: int) -> Iterator[tuple[Any, int, np.ndarray, np.ndarray]]:
    """Give shards with their number of images; copies of the last fill short ones up, for calls of one shape."""
    for key, images, indices in shards:
        rows = filling(len(images), size)
        yield key, len(images), images[rows], indices[rows]


def step_of(config: InvertConfig, generator: Generator, count: int) -> tuple[Callable, tuple[Any, Any, Any]]:
    """Return the step of so many images, (parameters, state, images) -> state, and the shapes of its arguments."""
    counted = objective.of_the_size(config, generator)

    def step(parameters, state, images):
        return inversion.step(config, lambda z: generator.apply(parameters, z), state, images, None, counted)

    shapes = (count, generator.latent_size), (count, *generator.image_shape)
    z, images = (jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes)
    return step, (generator.parameters, jax.eval_shape(lambda z: inversion.init(config, z), z), images)


def largest_shard(config: InvertConfig, generator: Generator) -> int:
    """Return how many images a process can optimise together (`sharding.largest_batch`)."""

    def compiled(count):
        step, arguments = step_of(config, generator, count)
        return jax.jit(step).lower(*arguments).compile()

    return sharding.largest_batch(compiled)

"""Inversion of a run's generator over its images, shard by shard: from z = 0, random latents or E(x)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from began_jax import began, inversion, sharding
from began_jax.configs import InvertConfig, TrainConfig
from began_jax.errors import InputError
from began_jax.inversion.loop import Inverter


def inverter(
    config: InvertConfig,
    train_config: TrainConfig,
    state: began.BeganState,
    mesh: Mesh,
    steps_per_call: int | None = None,
) -> Callable[[Iterable[tuple[Any, np.ndarray, np.ndarray]], int], Iterator[int | tuple[Any, dict[str, np.ndarray]]]]:
    """A function of shards, (key, images, positions), and of the most images in one, which reads them as it needs them.

    It yields how many steps of how many images have been done since the last time, their product, and (key, results)
    as shards are complete. An image that leaves early counts with all its steps.

    Raises:
      InputError: a start from an encoder is asked for, and the run has none.
    """
    if config.start == "encoder" and not train_config.encoder_weight:
        raise InputError("--start encoder needs a run that was trained with --encoder-weight; this one has no encoder")
    generator, _ = began.networks(train_config)
    encoder = began.encoder_network(train_config)
    parameters, encoder_parameters = jax.device_put((state.generator, state.encoder), sharding.replicated(mesh))
    inverse = Inverter(
        config, lambda p, z: generator.apply({"params": p}, z), parameters, sharding.split(mesh), steps_per_call
    )
    encode = jax.jit(lambda p, x: encoder.apply({"params": p}, x))

    def start(images: np.ndarray, indices: np.ndarray, number: int) -> jax.Array:
        if config.start == "encoder" and number == 0:
            return encode(encoder_parameters, jax.device_put(images, sharding.split(mesh)))
        return inversion.start(config, indices, train_config.latent_size, number)

    def filled_up(shards: Iterable, size: int) -> Iterator[tuple[Any, int, np.ndarray, np.ndarray]]:
        for key, images, indices in shards:
            # A short shard is filled up with copies of its last image, so that every call has one shape.
            rows = np.minimum(np.arange(size), len(images) - 1)
            yield key, len(images), images[rows], indices[rows]

    def in_shards(shards: Iterable, size: int) -> Iterator[Any]:
        for key, count, images, indices in filled_up(shards, size):
            found = []
            for number in range(config.starts):
                done = 0
                for result in inverse(images, start(images, indices, number)):
                    if isinstance(result, dict):
                        found.append(result)
                    else:
                        yield count * (result - done)
                        done = result
            yield key, {name: values[:count] for name, values in inversion.best_of(found).items()}

    def in_slots(shards: Iterable, size: int) -> Iterator[Any]:
        def starts() -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
            for key, count, images, indices in filled_up(shards, size):
                for number in range(config.starts):
                    yield (key, number), images[:count], np.asarray(start(images, indices, number))[:count]

        found: dict[Any, dict[int, dict[str, np.ndarray]]] = {}
        for result in inverse.refilled(starts(), size):
            if not isinstance(result, tuple):
                yield result * config.steps
                continue
            (key, number), values = result
            found.setdefault(key, {})[number] = values
            if len(found[key]) == config.starts:
                of_each = [values for _, values in sorted(found.pop(key).items())]
                steps = np.sum([values["steps"] for values in of_each], 0)
                yield key, inversion.best_of(of_each) | {"steps": steps}

    return in_slots if config.tolerance else in_shards


def largest_shard(config: InvertConfig, train_config: TrainConfig, state: began.BeganState) -> int:
    """How many images a process can optimise together (`sharding.largest_batch`)."""
    generator, _ = began.networks(train_config)

    def step(parameters, inversion_state, images):
        return inversion.step(config, lambda z: generator.apply({"params": parameters}, z), inversion_state, images)

    def compiled(count):
        z = jax.ShapeDtypeStruct((count, train_config.latent_size), np.float32)
        size = (train_config.height, train_config.width, train_config.channels)
        images = jax.ShapeDtypeStruct((count, *size), np.float32)
        start = jax.eval_shape(lambda z: inversion.init(config, z), z)
        return jax.jit(step).lower(state.generator, start, images).compile()

    return sharding.largest_batch(compiled)

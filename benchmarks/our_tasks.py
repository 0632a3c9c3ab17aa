"""The work of the stages in our code, as the entry points run it: virtual CPU devices, jitted, donated."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from began_jax import aspects, began, inversion, sharding
from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
from began_jax.models import LandmarkNetwork, apply
from benchmarks import operations
from benchmarks.plan import Size
from benchmarks.workers import Task

STEPS_PER_CALL = 10  # of the inversion: `Inverter` waits for the device after so many


def train_config(size: Size) -> TrainConfig:
    """Return the paper's training at a size, with the loss power of the BEGAN codes."""
    return TrainConfig(
        height=size.height,
        width=size.width,
        channels=size.channels,
        latent_size=size.latent,
        filters=size.filters,
        encoder_filters=size.widths,
        batch_size=size.batch,
        loss_power=1,
    )


def train(size: Size, devices: int | None = 1, eigen: bool = True) -> Task:
    """Make a training step on batches in memory."""
    images = np.random.default_rng(0).integers(0, 256, (4, *_shape(size)), np.uint8)
    return training(size, itertools.cycle(images), devices, eigen)


def training(size: Size, feed: Iterator[np.ndarray], devices: int | None = 1, eigen: bool = True) -> Task:
    """Make a training step on the batches of `feed`, each put on the devices, and read its metrics."""
    config = train_config(size)
    mesh = _mesh(size.batch, devices, eigen)
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    state = jax.jit(lambda: began.init(config), out_shardings=everywhere)()
    step = jax.jit(lambda s, x: began.step(config, s, x, split), donate_argnums=0, out_shardings=everywhere)

    def call() -> None:
        nonlocal state
        state, metrics = step(state, jax.device_put(next(feed), split))
        jax.device_get(metrics)

    return Task(call, 1, {"operations": operations.training_step(size)})


def invert(size: Size, devices: int | None = None, eigen: bool = False) -> Task:
    """Make steps of a batched inversion (eq. 4); a unit is one step of one image."""
    mesh = _mesh(size.batch, devices, eigen)
    generator, _ = began.networks(train_config(size))
    z = jnp.zeros((size.batch, size.latent))
    parameters = jax.jit(generator.init, out_shardings=sharding.replicated(mesh))(jax.random.key(0), z)["params"]
    x = np.random.default_rng(0).uniform(-1, 1, _shape(size)).astype(np.float32)
    x, z = jax.device_put((x, z), sharding.split(mesh))
    found = states(InvertConfig(), functools.partial(apply, generator), parameters, x, z)

    def call() -> None:
        for _ in range(STEPS_PER_CALL):
            state = next(found)
        jax.block_until_ready(state.step)

    return Task(call, STEPS_PER_CALL * size.batch, {"operations": operations.inversion_step(size) // size.batch})


def states(
    config: InvertConfig, generate: Callable[[Any, jax.Array], jax.Array], parameters: Any, x: jax.Array, z: jax.Array
) -> Iterator[inversion.InversionState]:
    """Yield the state of an inversion before each of its steps, without end; a step is jitted as `Inverter` does it.

    The next state takes the place of this one in memory, so read it at once.
    """
    step = jax.jit(lambda p, s, x: inversion.step(config, functools.partial(generate, p), s, x), donate_argnums=1)
    state = jax.jit(lambda z: inversion.init(config, z))(z)
    while True:
        yield state
        state = step(parameters, state, x)


def aspect(latents: int, members: int = 1) -> Task:
    """Make an epoch of the landmark network, or of an ensemble; a unit is a step of all members."""
    sharding.use_cpu_devices(members)
    config, network = AspectConfig(members=members), LandmarkNetwork()
    random = np.random.default_rng(0)
    z = jnp.asarray(random.uniform(-1, 1, (latents, 64)), jnp.float32)
    trainer = aspects.Trainer(config, network, z, jnp.asarray(random.random((latents, network.points, 2)), jnp.float32))
    state = aspects.init(config, network, z.shape[1])

    def call() -> None:
        nonlocal state
        state, metrics = trainer.epoch(state)
        jax.device_get(metrics)

    by_hand = members * operations.aspect_step(z.shape[1], network.hidden, 2 * network.points, config.batch_size)
    return Task(call, trainer.batches, {"operations": by_hand})


def matmul(side: int) -> Task:
    """Multiply two square matrices, the rows of the first split over the devices."""
    mesh, random, product = _mesh(side), np.random.default_rng(0), jax.jit(jnp.matmul)
    a = jax.device_put(random.random((side, side), np.float32), sharding.split(mesh))
    b = jax.device_put(random.random((side, side), np.float32), sharding.replicated(mesh))
    return Task(lambda: jax.block_until_ready(product(a, b)), 1, {"operations": operations.matmul(side)})


def _mesh(batch: int, devices: int | None = None, eigen: bool = False) -> Mesh:
    sharding.use_cpu_devices(batch, devices, kernel_gradients=eigen)
    return sharding.data_mesh(batch)


def _shape(size: Size) -> tuple[int, int, int, int]:
    return size.batch, size.height, size.width, size.channels

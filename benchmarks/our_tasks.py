"""The work of the stages in our code, as the entry points run it: virtual CPU devices, jitted, donated."""

import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from began_jax import aspects, began, inversion, sharding
from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
from began_jax.inversion.loop import Inverter
from began_jax.models import LandmarkNetwork
from benchmarks import operations
from benchmarks.plan import Size
from benchmarks.workers import Task

STEPS_PER_CALL = 10  # of the inversion: `Inverter` waits for the device after so many


def train_config(size: Size) -> TrainConfig:
    """The paper's training at a size, with the loss power of the BEGAN codes."""
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


def train(size: Size, devices: int | None = 1) -> Task:
    """A training step, the batch put on the devices and the metrics read."""
    images = np.random.default_rng(0).integers(0, 256, (4, *_shape(size)), np.uint8)

    def feed() -> Iterator[np.ndarray]:
        while True:
            yield from images

    return training(size, feed(), devices)


def without(size: Size, task: str, lever: str) -> Task:
    """`train` or `invert` without one of `plan.LEVERS`."""
    flags = os.environ.get("XLA_FLAGS", "")
    if lever == "Eigen's convolutions":
        os.environ["XLA_FLAGS"] = f"{flags} {sharding.EIGEN_CONVOLUTIONS.replace('=-', '=+')}"
    elif lever == "XLA's own convolutions":
        os.environ["XLA_FLAGS"] = f"{flags} {sharding.EIGEN_CONVOLUTIONS}"
    how = {"one device": {"devices": None}, "a device a core": {"devices": 1}}.get(lever, {})
    return {"train": train, "invert": invert}[task](size, **how)


def training(size: Size, feed: Iterator[np.ndarray], devices: int | None = 1) -> Task:
    """A training step on the batches of `feed`."""
    config = train_config(size)
    mesh = _mesh(size.batch, devices, training=True)
    state = jax.jit(lambda: began.init(config), out_shardings=sharding.replicated(mesh))()
    step = jax.jit(
        lambda state, batch: began.step(config, state, batch, sharding.split(mesh)),
        donate_argnums=0,
        out_shardings=sharding.replicated(mesh),
    )
    example = jax.ShapeDtypeStruct(_shape(size), jnp.uint8, sharding=sharding.split(mesh))
    info = {
        "operations": operations.training_step(size),
        "operations_of_definition": operations.training_step(size, reduced=False),
        "operations_counted": step.lower(state, example).cost_analysis()["flops"],
        "devices": mesh.size,
    }

    def call() -> None:
        nonlocal state
        state, metrics = step(state, jax.device_put(next(feed), sharding.split(mesh)))
        jax.device_get(metrics)

    return Task(call, 1, info)


def invert(size: Size, devices: int | None = None) -> Task:
    """Steps of a batched inversion (eq. 4); a unit is one step of one image."""
    mesh = _mesh(size.batch, devices)
    config = InvertConfig(steps=10**9, shard_size=size.batch)  # more than will ever be asked for
    generator, _ = began.networks(train_config(size))
    z = jnp.zeros((size.batch, size.latent))
    parameters = jax.jit(generator.init, out_shardings=sharding.replicated(mesh))(jax.random.key(0), z)["params"]
    x = np.random.default_rng(0).uniform(-1, 1, _shape(size)).astype(np.float32)

    def generate(parameters: Any, z: jax.Array) -> jax.Array:
        return generator.apply({"params": parameters}, z)

    one = jax.jit(lambda p, s, x: inversion.step(config, lambda z: generate(p, z), s, x))
    counted = one.lower(parameters, inversion.init(config, z), x).cost_analysis()["flops"]
    running = Inverter(config, generate, parameters, sharding.split(mesh), steps_per_call=1)(x, z)

    def call() -> None:
        for _ in range(STEPS_PER_CALL):
            next(running)

    info = {
        "operations": operations.inversion_step(size) // size.batch,
        "operations_of_definition": operations.inversion_step(size, reduced=False) // size.batch,
        "operations_counted": counted / size.batch,
        "devices": mesh.size,
    }
    return Task(call, STEPS_PER_CALL * size.batch, info)


def aspect(latents: int, members: int = 1) -> Task:
    """An epoch of the landmark network, or of an ensemble; a unit is a step of all members."""
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
    """A product of two square matrices, the rows of the first split over the devices."""
    mesh = _mesh(side, None)
    a = jax.device_put(np.random.default_rng(0).random((side, side), np.float32), sharding.split(mesh))
    b = jax.device_put(np.random.default_rng(1).random((side, side), np.float32), sharding.replicated(mesh))
    product = jax.jit(jnp.matmul)
    return Task(lambda: jax.block_until_ready(product(a, b)), 1, {"operations": operations.matmul(side)})


def conv(size: Size) -> Task:
    """A 3x3 convolution, the images split over the devices."""
    mesh, random = _mesh(size.batch, None), np.random.default_rng(0)
    shape = (size.batch, size.height, size.width, size.filters)
    x = jax.device_put(random.random(shape, np.float32), sharding.split(mesh))
    kernel = random.random((3, 3, size.filters, size.filters), np.float32)
    kernel = jax.device_put(kernel, sharding.replicated(mesh))
    convolve = jax.jit(
        lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    return Task(lambda: jax.block_until_ready(convolve(x, kernel)), 1, {"operations": operations.conv(size)})


def _mesh(batch: int, devices: int | None, training: bool = False) -> Mesh:
    sharding.use_cpu_devices(batch, devices, kernel_gradients=training)
    return sharding.data_mesh(batch)


def _shape(size: Size) -> tuple[int, int, int, int]:
    return size.batch, size.height, size.width, size.channels

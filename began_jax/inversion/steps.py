"""Inversion of any generator (eq. 4): z = argmin |x - G(z)|, for a whole batch of latents at once.

Adam is elementwise, so one Adam over [N, latent] with the loss summed over images is N separate ones: results depend
neither on the batch's size nor on its order. BFGS is kept per image and so is no different. Nothing here knows BEGAN:
`generate` is any function from latents [N, latent] to images [N, height, width, channels] float in [-1, 1] that treats
its rows separately.
"""

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from began_jax.configs import InvertConfig
from began_jax.inversion import bfgs

LONG_BFGS = 60  # steps; after more of them the rounding of TensorFloat-32 makes BFGS reject half of its trials

Generate = Callable[[Float[Array, "batch latent"]], Float[Array, "batch height width channels"]]


@typing.no_type_check  # JAX and Orbax rebuild a pytree with leaves that are no arrays
@flax.struct.dataclass
class InversionState:
    """Latents under optimisation, and for each image the best one that was met."""

    step: Int[Array, "*batch"]  # one for all, or one an image
    z: Float[Array, "batch latent"]
    optimizer: Any  # Adam's state, for all or an image each as `step` is; or BFGS's, an image each
    best_z: Float[Array, "batch latent"]
    best_error: Float[Array, " batch"]  # l1 of best_z


def l1(x: Float[Array, "*batch h w c"], y: Float[Array, "*batch h w c"]) -> Float[Array, "*batch"]:
    """Return |x - y| of eq. 4 per image, mean over pixels and channels."""
    return jnp.abs(x - y).mean((-3, -2, -1))


def start(
    config: InvertConfig, indices: Int[Array | np.ndarray, " batch"], latent_size: int, number: int = 0
) -> Float[Array, "batch latent"]:
    """Return the latents before the first step; a uniform one depends on the image's index and the start's `number`.

    Start 0 is the configured one, the others are uniform. A start from an encoder is no matter of indices: pass its
    latents to `init` or `invert` instead.
    """
    if config.start == "zero" and number == 0:
        return jnp.zeros((len(indices), latent_size))
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(config.seed)))(indices)
    if number:
        keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
    return jax.vmap(lambda key: jax.random.uniform(key, (latent_size,), minval=-1.0))(keys)


def init(config: InvertConfig, z: Float[Array, "batch latent"], separate: bool = False) -> InversionState:
    """Return the state before the first step; `separate` counts each image's steps on their own."""
    error = jnp.full(z.shape[:1], jnp.inf, z.dtype)
    if config.optimizer == "bfgs":
        memory = jax.vmap(bfgs.init)(z)
    else:
        memory = jax.vmap(optimizer(config).init)(z) if separate else optimizer(config).init(z)
    return InversionState(jnp.zeros(z.shape[:1] if separate else (), jnp.int32), z, memory, z, error)


def optimizer(config: InvertConfig) -> optax.GradientTransformation:
    """Return Adam (0.1, 0.9, 0.999 in the paper) with the configured step size over the steps."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, max(config.steps, 1))
    return optax.adam(rate, config.beta1, config.beta2)


def products(config: InvertConfig) -> AbstractContextManager:
    """Return the context in which the generator's matrix products have the bits that the configuration asks for."""
    coarse_enough = config.optimizer == "adam" or config.steps <= LONG_BFGS
    exact = config.products == "float32" or (config.products == "auto" and not coarse_enough)
    return jax.default_matmul_precision("float32") if exact else contextlib.nullcontext()


def step(
    config: InvertConfig, generate: Generate, state: InversionState, images: Float[Array, "batch height width channels"]
) -> InversionState:
    """Take one step on every latent, and note the errors of the latents that it started from."""
    with products(config):
        error, pull = jax.vjp(lambda z: l1(generate(z), images), state.z)
        # A cotangent of ones is the gradient of the sum over images, without a sum that devices would have to share.
        (gradient,) = pull(jnp.ones_like(error))
    z: Any
    if config.optimizer == "bfgs":
        with jax.default_matmul_precision("float32"):  # of what it knows of the curvature, which costs nothing
            z, memory = jax.vmap(partial(bfgs.step, config.learning_rate))(state.z, error, gradient, state.optimizer)
    else:
        change = optimizer(config).update
        change = jax.vmap(change) if state.step.ndim else change
        update, memory = change(gradient, state.optimizer)
        z = optax.apply_updates(state.z, update)
    if config.clip:
        z = z.clip(-1, 1)
    new = dataclasses.replace(keep_best(state, error), step=state.step + 1, z=z, optimizer=memory)
    # Images with counts of their own reach the last step at different times, and wait there.
    return where(state.step < config.steps, new, state) if state.step.ndim else new


def where(chosen: Bool[Array, " batch"], new: Any, old: Any) -> Any:
    """Return the leaves [batch, ...] of one tree at the chosen rows, of the other elsewhere."""
    pick = lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
    return jax.tree.map(pick, new, old)


def keep_best(state: InversionState, error: Float[Array, " batch"]) -> InversionState:
    """Note the state's latents where their errors are the lowest so far."""
    better = error < state.best_error
    return dataclasses.replace(
        state,
        best_z=jnp.where(better[:, None], state.z, state.best_z),
        best_error=jnp.where(better, error, state.best_error),
    )


def finish(
    generate: Generate, state: InversionState, images: Float[Array, "batch height width channels"]
) -> dict[str, Array]:
    """Return per image `z` with the lowest error met, its `l1`, and `psnr_db` on the [0, 1] scale, clipped."""
    state = keep_best(state, l1(generate(state.z), images))
    generated = generate(state.best_z)
    # The [-1, 1] scale is twice as wide as [0, 1].
    mse = (((generated.clip(-1, 1) - images) / 2) ** 2).mean((1, 2, 3))
    return {"z": state.best_z, "l1": l1(generated, images), "psnr_db": -10 * jnp.log10(jnp.maximum(mse, 1e-10))}


def best_of(starts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return, of the results of several starts, each image's with the lowest `l1`; the first of equal ones."""
    best = np.argmin([np.nan_to_num(found["l1"], nan=np.inf) for found in starts], 0)
    rows = np.arange(len(best))
    return {name: np.stack([found[name] for found in starts])[best, rows] for name in starts[0]}


def invert(
    config: InvertConfig,
    generate: Generate,
    images: Float[Array, "batch height width channels"],
    z: Float[Array, "batch latent"],
) -> dict[str, Array]:
    """Invert a batch from the starting latents `z`: all steps in one `lax.scan`, to be jitted by the caller.

    On a CPU convolutions in a loop body are several times slower: use `Inverter` there.
    """
    state, _ = jax.lax.scan(
        lambda s, _: (step(config, generate, s, images), None), init(config, z), length=config.steps
    )
    with products(config):
        return finish(generate, state, images)

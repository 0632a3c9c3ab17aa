"""Inversion of any generator (eq. 4): z = argmin |x - G(z)|, for a whole batch of latents at once.

Adam is elementwise, so one Adam over all latents with the loss summed over images is one for each: results depend
neither on the batch's size nor on its order, as far as the generator's rounding does not. BFGS is kept per image and so
is no different, but it amplifies rounding. Nothing here knows BEGAN: `generate` is any function from latents to images
float in [-1, 1] that treats its rows separately. Latents are an array [N, ...] or a tree of them.
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
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.inversion import bfgs, starts
from began_jax.inversion.objective import PIXELS, Images, Loss, Objective, Prior, Weights, check_weights, l1, psnr_db
from began_jax.inversion.objective import of as objective_of
from began_jax.options import check_config

LONG_BFGS = 60  # steps; after more of them the rounding of TensorFloat-32 makes BFGS reject half of its trials

Generate = Callable[[Any], Float[Array, "batch ..."]]
Latents = Any  # float [batch, ...], or a tree of such arrays


@typing.no_type_check  # JAX and Orbax rebuild a pytree with leaves that are no arrays
@flax.struct.dataclass
class InversionState:
    """Latents under optimisation, and for each image the best one that was met."""

    step: Int[Array, "*batch"]  # one for all, or one an image
    z: Latents
    optimizer: Any  # Adam's state, for all or an image each as `step` is; or BFGS's, an image each
    best_z: Latents
    best_error: Float[Array, " batch"]  # the objective of best_z


def init(config: InvertConfig, z: Latents, separate: bool = False) -> InversionState:
    """Return the state before the first step; `separate` counts each image's steps on their own.

    Raises:
        InputError: the latents have no common first axis, or are not floats.
    """
    if config.clip:
        z = jax.tree.map(lambda leaf: leaf.clip(-1, 1), z)
    count, first = starts.rows(z), jax.tree.leaves(z)[0]
    if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(z)):
        raise InputError(f"latents are {first.dtype}; they must be floats")
    # Derived from a latent, so that it lies on the devices that the latents lie on.
    error = jnp.full_like(first.reshape(count, -1)[:, 0], jnp.inf)
    if config.optimizer == "bfgs":
        memory = jax.vmap(lambda one: bfgs.init(ravel_pytree(one)[0]))(z)
    else:
        memory = jax.vmap(optimizer(config).init)(z) if separate else optimizer(config).init(z)
    steps = jnp.zeros_like(error, jnp.int32) if separate else jnp.zeros((), jnp.int32)
    return InversionState(steps, z, memory, z, error)


def optimizer(config: InvertConfig) -> optax.GradientTransformation:
    """Return Adam (0.1, 0.9, 0.999 in the paper) with the configured step size over the steps."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, max(config.steps, 1))
    return optax.adam(rate, config.beta1, config.beta2)


def products(config: InvertConfig) -> AbstractContextManager[None]:
    """Return the context in which the generator's matrix products have the bits that the configuration asks for."""
    coarse_enough = config.optimizer == "adam" or config.steps <= LONG_BFGS
    exact = config.products == "float32" or (config.products == "auto" and not coarse_enough)
    return jax.default_matmul_precision("float32") if exact else contextlib.nullcontext()


def step(
    config: InvertConfig,
    generate: Generate,
    state: InversionState,
    images: Images,
    weights: Weights | None = None,
    objective: Objective | None = None,
) -> InversionState:
    """Take one step on every latent, and note the objective of the latents that it started from.

    Args:
        config: of the inversion.
        generate: latents -> images.
        state: before the step.
        images: [batch, height, width, channels] float, or whatever `generate` gives.
        weights: of the images' values, at least 0, of their shape or 1 along axes but the first; None: all alike.
        objective: what is made small; by default what the configuration says.

    Raises:
        InputError: generated images, images and weights do not fit together.
    """

    counted = objective_of(config) if objective is None else objective

    def errors(z: Latents) -> Array:
        return counted(generate(z), images, z, weights).astype(state.best_error.dtype)

    with products(config):
        error, pull = jax.vjp(errors, state.z)
        # A cotangent of ones is the gradient of the sum over images, without a sum that devices would have to share.
        (gradient,) = pull(jnp.ones_like(error))
    z: Any
    if config.optimizer == "bfgs":
        with jax.default_matmul_precision("float32"):  # of what it knows of the curvature, which costs nothing
            z, memory = jax.vmap(partial(_bfgs_step, config.learning_rate))(state.z, error, gradient, state.optimizer)
    else:
        change = optimizer(config).update
        change = jax.vmap(change) if state.step.ndim else change
        update, memory = change(gradient, state.optimizer)
        z = optax.apply_updates(state.z, update)
    if config.clip:
        z = jax.tree.map(lambda leaf: leaf.clip(-1, 1), z)
    new = dataclasses.replace(keep_best(state, error), step=state.step + 1, z=z, optimizer=memory)
    # Images with counts of their own reach the last step at different times, and wait there.
    return where(state.step < config.steps, new, state) if state.step.ndim else new


def _bfgs_step(
    first: float, z: Any, error: Float[Array, ""], gradient: Any, memory: bfgs.Curvature
) -> tuple[Any, bfgs.Curvature]:
    """Take a step of one image's BFGS on the vector of all its coordinates."""
    vector, back = ravel_pytree(z)
    following, memory = bfgs.step(first, vector, error, ravel_pytree(gradient)[0], memory)
    return back(following), memory


def where(chosen: Bool[Array, " batch"], new: Any, old: Any) -> Any:
    """Return the leaves [batch, ...] of one tree at the chosen rows, of the other elsewhere."""
    pick = lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
    return jax.tree.map(pick, new, old)


def keep_best(state: InversionState, error: Float[Array, " batch"]) -> InversionState:
    """Note the state's latents where their errors are the lowest so far."""
    better = error < state.best_error
    return dataclasses.replace(
        state,
        best_z=where(better, state.z, state.best_z),
        best_error=jnp.where(better, error, state.best_error),
    )


def finish(
    generate: Generate,
    state: InversionState,
    images: Images,
    weights: Weights | None = None,
    objective: Objective = PIXELS,
) -> dict[str, Any]:
    """Return per image `z` with the lowest objective met, its `l1`, and `psnr_db` on the [0, 1] scale, clipped.

    Both are over the weighted values. An objective other than that of eq. 4 is returned too, as `loss`.
    """
    generated = generate(state.z)
    error = objective(generated, images, state.z, weights).astype(state.best_error.dtype)
    state = keep_best(state, error)
    generated = generate(state.best_z)
    found = {"z": state.best_z, "l1": l1(generated, images, weights), "psnr_db": psnr_db(generated, images, weights)}
    return found if objective.plain else found | {"loss": state.best_error}


def best_of(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return, of the results of several starts, each image's with the lowest objective; the first of equal ones.

    The objective is `loss` where results have it, else `l1`.
    """
    lowest = "loss" if "loss" in found[0] else "l1"
    best = np.argmin([np.nan_to_num(each[lowest], nan=np.inf) for each in found], 0)
    rows = np.arange(len(best))
    return jax.tree.map(lambda *values: np.stack(values)[best, rows], *found)


def invert(
    config: InvertConfig,
    generate: Generate,
    images: Images,
    z: Latents,
    *,
    loss: Loss | None = None,
    weights: Weights | None = None,
    prior: Prior | None = None,
) -> dict[str, Any]:
    """Invert a batch from the starting latents `z`: all steps in one `lax.scan`, to be jitted by the caller.

    On a CPU convolutions in a loop body are several times slower, and this does neither several starts nor a
    tolerance: `invert_all` does both, by the loop that is the fastest.

    Args:
        config: of the inversion; its `start` is the caller's, who gives z.
        generate: latents -> images, each row on its own.
        images: [batch, height, width, channels] float in [-1, 1], or whatever `generate` gives.
        z: latents [batch, ...], or a tree of them.
        loss: see `Objective`; by default the configuration's.
        weights: of the images' values, at least 0, of their shape or 1 along axes but the first; None: all alike.
        prior: see `Objective`; by default the configuration's.

    Returns:
        The results of `finish`.

    Raises:
        InputError: `starts` or `tolerance` ask for what this does not do, or shapes and types do not fit together.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import InvertConfig, invert
        >>> def generate(z):
        ...     return jnp.tanh(z)[:, :, None, None] * jnp.ones((1, 1, 4, 3))
        >>> z = jnp.array([[0.5, -0.2], [0.33, 0.71]])
        >>> find = jax.jit(lambda x, start: invert(InvertConfig(optimizer="bfgs", steps=15), generate, x, start))
        >>> found = find(generate(z), jnp.zeros((2, 2)))
        >>> bool(found["l1"].max() < 0.05)
        True
    """
    check_config(config, InvertConfig)
    check_one_start(config, "invert")
    check_weights(weights)
    objective = objective_of(config, loss, prior)
    state, _ = jax.lax.scan(
        lambda s, _: (step(config, generate, s, images, weights, objective), None), init(config, z), length=config.steps
    )
    with products(config):
        return finish(generate, state, images, weights, objective)


def check_one_start(config: InvertConfig, who: str, tolerance: bool = False) -> None:
    """Raise InputError where a configuration asks for several starts or, unless it is served, a tolerance."""
    asked = "starts" if config.starts > 1 else "tolerance" if config.tolerance and not tolerance else ""
    if asked:
        raise InputError(f"{asked} is {getattr(config, asked)}, which {who} does not serve; invert_all does")

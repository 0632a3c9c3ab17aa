"""Inversion of any generator (eq. 4): z = argmin |x - G(z)|, by one Adam over a whole batch of latents.

Adam is elementwise, so one Adam over [N, latent] with the loss summed over images is N separate ones: results depend
neither on the batch's size nor on its order. Nothing here knows BEGAN: `generate` is any function from latents
[N, latent] to images [N, height, width, channels] float in [-1, 1] that treats its rows separately.
"""

import typing
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from began_jax.configs import InvertConfig

Generate = Callable[[Float[Array, "batch latent"]], Float[Array, "batch height width channels"]]


@typing.no_type_check  # JAX and Orbax rebuild a pytree with leaves that are no arrays
@flax.struct.dataclass
class InversionState:
    """Latents under optimisation, and for each image the best one that was met."""

    step: Int[Array, ""]
    z: Float[Array, "batch latent"]
    optimizer: optax.OptState
    best_z: Float[Array, "batch latent"]
    best_error: Float[Array, " batch"]  # l1 of best_z


def l1(x: Float[Array, "*batch h w c"], y: Float[Array, "*batch h w c"]) -> Float[Array, "*batch"]:
    """|x - y| of eq. 4 per image, mean over pixels and channels."""
    return jnp.abs(x - y).mean((-3, -2, -1))


def start(
    config: InvertConfig, indices: Int[Array | np.ndarray, " batch"], latent_size: int
) -> Float[Array, "batch latent"]:
    """Latents before the first step; a uniform start depends on the image's index alone.

    A start from an encoder is no matter of indices: pass its latents to `init` or `invert` instead.
    """
    if config.start == "zero":
        return jnp.zeros((len(indices), latent_size))
    key = jax.random.key(config.seed)
    return jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (latent_size,), minval=-1.0))(indices)


def init(config: InvertConfig, z: Float[Array, "batch latent"]) -> InversionState:
    """State before the first step, from starting latents."""
    error = jnp.full(z.shape[:1], jnp.inf, z.dtype)
    return InversionState(jnp.zeros((), jnp.int32), z, optimizer(config).init(z), z, error)


def optimizer(config: InvertConfig) -> optax.GradientTransformation:
    """Adam (0.1, 0.9, 0.999 in the paper) with the configured step size over the steps."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    return optax.adam(rate, config.beta1, config.beta2)


def step(
    config: InvertConfig, generate: Generate, state: InversionState, images: Float[Array, "batch height width channels"]
) -> InversionState:
    """One Adam step on every latent; also notes the errors of the latents that it started from."""
    error, pull = jax.vjp(lambda z: l1(generate(z), images), state.z)
    # A cotangent of ones is the gradient of the sum over images, without a sum that devices would have to share.
    (gradient,) = pull(jnp.ones_like(error))
    update, optimizer_state = optimizer(config).update(gradient, state.optimizer)
    z = optax.apply_updates(state.z, update)
    if config.clip:
        z = z.clip(-1, 1)
    return keep_best(state, error).replace(step=state.step + 1, z=z, optimizer=optimizer_state)


def keep_best(state: InversionState, error: Float[Array, " batch"]) -> InversionState:
    """Note the state's latents where their errors are the lowest so far."""
    better = error < state.best_error
    return state.replace(
        best_z=jnp.where(better[:, None], state.z, state.best_z), best_error=jnp.where(better, error, state.best_error)
    )


def finish(
    generate: Generate, state: InversionState, images: Float[Array, "batch height width channels"]
) -> dict[str, Array]:
    """Results per image: `z` with the lowest error met, its `l1`, and `psnr_db` on the [0, 1] scale, clipped."""
    state = keep_best(state, l1(generate(state.z), images))
    generated = generate(state.best_z)
    # The [-1, 1] scale is twice as wide as [0, 1].
    mse = (((generated.clip(-1, 1) - images) / 2) ** 2).mean((1, 2, 3))
    return {"z": state.best_z, "l1": l1(generated, images), "psnr_db": -10 * jnp.log10(jnp.maximum(mse, 1e-10))}


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
    return finish(generate, state, images)


class Inverter:
    """The jitted stages of `invert` over arrays split along a mesh axis, with the loop where it is fastest.

    Args:
      config: of the inversion.
      generate: (parameters, latents) -> images.
      parameters: of the generator, replicated.
      sharding: of arrays with a leading image axis.
      steps_per_call: steps in one call of the device. By default 1 on a CPU, where a loop on the device loses the
        library's convolutions, and all of them elsewhere.
    """

    def __init__(
        self, config: InvertConfig, generate: Callable, parameters: Any, sharding, steps_per_call: int | None = None
    ):
        self._config, self._parameters, self._sharding = config, parameters, sharding
        if steps_per_call is None:
            steps_per_call = 1 if jax.default_backend() == "cpu" else config.steps
        self.steps_per_call = min(steps_per_call, config.steps)

        def run(parameters, state, images, steps):
            one = lambda s: step(config, lambda z: generate(parameters, z), s, images)  # noqa: E731
            return one(state) if steps == 1 else jax.lax.fori_loop(0, steps, lambda _, s: one(s), state)

        self._run = jax.jit(run, donate_argnums=1, static_argnums=3)
        self._init = jax.jit(lambda z: init(config, z))
        self._finish = jax.jit(lambda parameters, state, x: finish(lambda z: generate(parameters, z), state, x))

    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width channels"], z: Float[Array, "batch latent"]
    ) -> Iterator[Any]:
        """Yields the number of steps done after each call of the device, and the results last."""
        images, z = jax.device_put((images, z), self._sharding)
        state, done = self._init(z), 0
        while done < self._config.steps:
            count = min(self.steps_per_call, self._config.steps - done)
            state = self._run(self._parameters, state, images, count)
            done += count
            if done % 10 == 0:
                jax.block_until_ready(state.step)  # bounds the queue, and lets the progress line tell the truth
            yield done
        yield jax.device_get(self._finish(self._parameters, state, images))

"""Training on images in memory in one call."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from began_jax.began.training import BeganState, init, step
from began_jax.configs import TrainConfig
from began_jax.errors import InputError, require_finite
from began_jax.models import apply
from began_jax.models.configured import encoder_network, networks
from began_jax.options import check_config
from began_jax.sharding import automatic, check_split, jitted, replicated

CHECK_EVERY = 100  # steps between two looks at whether the losses are finite


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A generator that was trained: pure functions over its parameters, to be jitted or not.

    Args:
        config: of the training.
        state: at its end.
        history: metrics of `began.step`, one value a step.
    """

    config: TrainConfig
    state: BeganState
    history: dict[str, np.ndarray]

    def generate(self, z: Float[Array | np.ndarray, "batch latent"]) -> Float[Array, "batch height width channels"]:
        """Return images in [-1, 1] of latents, of which [-1, 1]^latent_size was trained on.

        Raises:
            InputError: latents are of another size.
        """
        check_latents(self.config, z)
        generator, _ = networks(self.config)
        return apply(generator, self.state.averaged["generator"], jnp.asarray(z))

    def encode(self, x: Float[Array | np.ndarray, "batch height width channels"]) -> Float[Array, "batch latent"]:
        """Return latents near those that give images in [-1, 1], a start for an inversion.

        Raises:
            InputError: no encoder was trained, or images are of another size.
        """
        check_images(self.config, x)
        if not self.config.encoder_weight:
            raise InputError("there is no encoder: train with encoder_weight above 0")
        return apply(encoder_network(self.config), self.state.averaged["encoder"], jnp.asarray(x))


def check_latents(config: TrainConfig, z: Any) -> None:
    """Raise InputError where latents are not [count, latent] of a configuration."""
    if jnp.ndim(z) != 2 or jnp.shape(z)[1] != config.latent_size:
        raise InputError(f"latents are {jnp.shape(z)}; they must be (count, {config.latent_size})")


def check_images(config: TrainConfig, x: Any) -> None:
    """Raise InputError where images are no floats [count, height, width, channels] of a configuration."""
    wanted = (config.height, config.width, config.channels)
    if jnp.shape(x)[1:] != wanted or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise InputError(f"images are {jnp.result_type(x)} {jnp.shape(x)}; they must be floats (count, *{wanted})")


def fit(
    images: UInt8[Array | np.ndarray, "count height width channels"] | np.ndarray,
    config: TrainConfig,
    *,
    callback: Callable[[int, dict[str, Array]], None] | None = None,
    sharding: jax.sharding.Sharding | None = None,
) -> Trained:
    """Train a generator on images in memory (appendix A, or as the configuration says).

    Each pass over the images has an order of its own; the result depends on the configuration and the images alone.

    Args:
        images: uint8, of the configuration's height, width and channels.
        config: of the training. `data` and `preset` say nothing here.
        callback: told after each step its number and its metrics, arrays that are perhaps not computed yet.
        sharding: of arrays with a leading image axis, over which a batch is split.

    Raises:
        InputError: what was given does not fit together; the message says what, and what would.
        DivergedError: a loss is no longer finite.

    Examples:
        >>> import numpy as np
        >>> from began_jax import TrainConfig, began
        >>> images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
        >>> small = dict(height=8, width=8, channels=1, latent_size=4, filters=4, encoder_filters=(4, 8))
        >>> trained = began.fit(images, TrainConfig(**small, steps=20))
        >>> trained.generate(np.zeros((3, 4), np.float32)).shape, len(trained.history["convergence"])
        ((3, 8, 8, 1), 20)
    """
    check_config(config, TrainConfig)
    images, batch = np.asarray(images), config.batch_size
    wanted = (config.height, config.width, config.channels)
    if images.dtype != np.uint8 or images.shape[1:] != wanted:
        shape = ("count", *wanted)
        raise InputError(f"images are {images.dtype} {images.shape}; the configuration needs uint8 {shape}")
    if len(images) < batch:
        raise InputError(f"there are {len(images)} images, and a batch has {batch}; lower batch_size")
    place = automatic(sharding)
    if place is not None and not isinstance(place, jax.sharding.NamedSharding):
        raise InputError(f"sharding is a {type(place).__name__}; it must be a NamedSharding")
    if place is not None:
        check_split(batch, place.num_devices)
    whole = None if place is None else replicated(place.mesh)  # pyright: ignore[reportArgumentType]
    advance = jitted(lambda state, x: step(config, state, x, place), place, donate_argnums=0)
    state = jitted(lambda: init(config), place, out_shardings=whole)()
    history = list[dict[str, Array]]()
    for number, rows in enumerate(itertools.islice(_batches(config, len(images)), config.steps), 1):
        state, metrics = advance(state, jax.device_put(images[rows], place))
        history.append(metrics)
        if callback is not None:
            callback(number, metrics)
        if number % CHECK_EVERY == 0 or number == config.steps:
            history[-CHECK_EVERY:] = jax.device_get(history[-CHECK_EVERY:])  # no more of them stay on the device
            remedy = "lower learning_rate, or take another seed"
            require_finite(history[-1], f"training diverged at step {number}", remedy)
    return Trained(config, state, {name: np.array([metrics[name] for metrics in history]) for name in history[0]})


def _batches(config: TrainConfig, count: int) -> Iterator[np.ndarray]:
    """Give the rows of each step's batch without end: pass after pass, each in an order of its own."""
    for done in itertools.count(0, count // config.batch_size):
        order = np.random.default_rng((config.seed, done)).permutation(count)
        yield from order[: len(order) // config.batch_size * config.batch_size].reshape(-1, config.batch_size)

"""One step of an aspect network's training, and what surrounds it: pure functions of one state."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from began_jax.aspects.losses import Loss, squared_error
from began_jax.configs import AspectConfig
from began_jax.errors import InputError, require_finite
from began_jax.models import Network, apply


@typing.no_type_check  # JAX and Orbax rebuild a pytree with leaves that are no arrays
@flax.struct.dataclass
class AspectState:
    """Everything that training needs, and the parameters of the best epoch."""

    epoch: Int[Array, "*members"]  # epochs done
    key: Key[Array, "*members"]  # constant; an epoch uses fold_in(key, epoch)
    parameters: Any
    optimizer: optax.OptState
    best_parameters: Any  # of the epoch with the lowest error on the validation latents; without those, the last
    best_error: Float[Array, "*members"]

    @property
    def done(self) -> int:
        """Epochs done."""
        return int(self.epoch.max())

    @property
    def score(self) -> float:
        """The error of the best epoch, of an ensemble the mean."""
        return float(self.best_error.mean())


# Masks may be uint8, 0 or 1: a quarter of the memory. Classes are integers.
Targets = Float[Array, "count ..."] | UInt8[Array, "count ..."] | Int[Array, "count ..."]


# Latents, or what else a sight looks at: images as they are stored, or the numbers of some.
Inputs = Float[Array, "batch ..."] | UInt8[Array, "batch ..."] | Int[Array, " batch"]


class Sight(NamedTuple):
    """What a network is given in a latent's place, such as the inner layers of a generator for it.

    Args:
        look: (parameters, latents [batch, latent], or what there is in their place) -> inputs [batch, ...].
        parameters: of it, which are not trained.
        change: (key, inputs, targets) -> those of a batch as they are learnt, such as `moving.with_landmarks`; or None.
    """

    look: Callable[[Any, Array], Array]
    parameters: Any
    change: Callable[[Key[Array, ""], Array, Array], tuple[Array, Array]] | None = None

    def __call__(self, z: Inputs) -> Float[Array, "batch ..."]:
        return self.look(self.parameters, z)


def seen_by(sight: Sight | None, z: Array) -> Array:
    """Return what the network is given for latents: these, without a sight."""
    return z if sight is None else sight(z)


def init(config: AspectConfig, network: Network, latent_size: int | tuple[int, ...]) -> AspectState:
    """Return the state before the first epoch, a pure function of configuration (its seed), network and input size.

    The input may have any shape, such as that of an image: a T is learnt in the same way. Member i of an ensemble has
    the seed `config.seed` + i, and starts as a network alone with that seed does.

    Examples:
        >>> from began_jax import AspectConfig, MultilayerNetwork, aspects
        >>> state = aspects.init(AspectConfig(members=3), MultilayerNetwork((5,)), latent_size=2)
        >>> state.best_parameters["output"]["bias"].shape
        (3, 5)
    """
    if config.members == 1:
        return _init(config, network, latent_size, config.seed)
    seeds = config.seed + jnp.arange(config.members)
    return jax.jit(jax.vmap(lambda seed: _init(config, network, latent_size, seed)))(seeds)


def _init(config: AspectConfig, network: Network, latent_size: int | tuple[int, ...], seed: Any) -> AspectState:
    key, key_init = jax.random.split(jax.random.key(seed))
    parameters = network.init(key_init, jnp.zeros((1, *np.atleast_1d(latent_size))))["params"]
    copy = jax.tree.map(jnp.copy, parameters)  # donated buffers must not be shared
    best_error = jnp.full((), jnp.inf, jnp.float32)  # without its type it would be weakly typed, and compile twice
    return AspectState(jnp.zeros((), jnp.int32), key, parameters, optimizer(config).init(parameters), copy, best_error)


def optimizer(config: AspectConfig) -> optax.GradientTransformation:
    """Return Adam (3e-4, 0.9, 0.999 in the paper), AdamW where weight decay is asked for."""
    if config.weight_decay:
        return optax.adamw(config.learning_rate, config.beta1, config.beta2, weight_decay=config.weight_decay)
    return optax.adam(config.learning_rate, config.beta1, config.beta2)


def validation_split(config: AspectConfig, count: int) -> tuple[Int[Array, " train"], Int[Array, " validation"]]:
    """Return rows to train on and rows to validate on, both in order; a function of the seed."""
    held = round(config.validation * count)
    order = jax.random.permutation(jax.random.fold_in(jax.random.key(config.seed), 1), count)
    return jnp.sort(order[held:]), jnp.sort(order[:held])


def epoch_rows(config: AspectConfig, state: AspectState, count: int) -> Int[Array, "batches batch"]:
    """Return the rows of the next epoch's batches: a permutation, the remainder left to another epoch's chance."""
    order = jax.random.permutation(jax.random.fold_in(state.key, state.epoch), count)
    batches = count // config.batch_size
    return order[: batches * config.batch_size].reshape(batches, config.batch_size)


def step(
    config: AspectConfig,
    network: Network,
    state: AspectState,
    latents: Float[Array, "count ..."] | UInt8[Array, "count ..."] | Int[Array, " count"],
    targets: Targets,
    rows: Int[Array, " batch"],
    deviation: Float[Array, "..."] | None = None,
    examples: Int[Array, " train"] | None = None,
    sight: Sight | None = None,
    absent: bool = False,
    loss: Loss = squared_error,
) -> tuple[AspectState, Float[Array, ""]]:
    """Take one Adam step on a batch, given as rows of the latents and targets, and return its loss.

    Args:
        config: of the training.
        network: from latents to predictions of the targets' shape.
        state: before the step.
        latents: of all examples, or what else a sight looks at, such as images as they are stored, uint8.
        targets: of all examples.
        rows: the batch.
        deviation: of the latents over all rows, in units of which they are jittered; by default it is computed.
        examples: to train on, which `rows` then count; by default all.
        sight: what the network is given in the latents' place.
        absent: whether targets may have NaN, see `squared_error`.
        loss: (predicted, target, absent) -> error of each example, see `losses.of`.

    Raises:
        InputError: predictions are not of the targets' shape.
    """
    chosen = rows if examples is None else examples[rows]
    z, target = latents[chosen], as_floats(targets[chosen], float_type(latents))
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.epoch), rows[0] + 1)
    if config.jitter:
        deviation = latents.std(0) if deviation is None else deviation
        z = z + config.jitter * deviation[None] * jax.random.normal(key, z.shape)
    inputs = seen_by(sight, z)
    if sight is not None and sight.change is not None:
        # Fused with what comes before and after, a CPU computes the same values several times.
        inputs = jax.lax.optimization_barrier(inputs)
        changed = sight.change(jax.random.fold_in(key, 1), inputs, target)
        inputs, target = jax.lax.optimization_barrier(changed)

    def mean_loss(parameters):
        return loss(apply(network, parameters, inputs), target, absent).mean()

    value, gradient = jax.value_and_grad(mean_loss)(state.parameters)
    update, optimizer_state = optimizer(config).update(gradient, state.optimizer, state.parameters)
    if config.schedule == "cosine":
        batches = len(latents if examples is None else examples) // config.batch_size
        done: Any = optax.tree_utils.tree_get(state.optimizer, "count")
        rate = (1 + jnp.cos(jnp.pi * jnp.minimum(done / (config.epochs * batches), 1))) / 2
        update = jax.tree.map(lambda u: rate * u, update)
    parameters = optax.apply_updates(state.parameters, update)
    return dataclasses.replace(state, parameters=parameters, optimizer=optimizer_state), value


def end_epoch(
    network: Network,
    state: AspectState,
    mean_loss: Float[Array, ""],
    latents: Float[Array, "validation ..."] | UInt8[Array, "validation ..."] | Int[Array, " validation"],
    targets: Float[Array, "validation ..."] | Int[Array, "validation ..."],
    sight: Sight | None = None,
    absent: bool = False,
    loss: Loss = squared_error,
) -> tuple[AspectState, dict[str, Array]]:
    """Count the epoch and note its parameters when their validation error is the lowest (or none is measured)."""
    if len(latents) == 0:
        state = dataclasses.replace(
            state, best_parameters=jax.tree.map(jnp.copy, state.parameters), best_error=mean_loss
        )
        return dataclasses.replace(state, epoch=state.epoch + 1), {"loss": mean_loss}
    error = loss(apply(network, state.parameters, seen_by(sight, latents)), targets, absent).mean()
    better = error < state.best_error
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.parameters, state.best_parameters)
    state = dataclasses.replace(
        state, epoch=state.epoch + 1, best_parameters=best, best_error=jnp.where(better, error, state.best_error)
    )
    return state, {"loss": mean_loss, "validation_loss": error}


def predict(
    network: Network, parameters: Any, z: Float[Array, "batch ..."], members: int = 1, sight: Sight | None = None
) -> Array:
    """Return G_a(z) [batch, ...]; of an ensemble, the mean over its members.

    Raises:
        InputError: the parameters are of another number of members.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import AspectConfig, MultilayerNetwork, aspects
        >>> network = MultilayerNetwork((5,))
        >>> state = aspects.init(AspectConfig(members=3), network, latent_size=2)
        >>> aspects.predict(network, state.best_parameters, jnp.zeros((4, 2)), members=3).shape
        (4, 5)
    """
    if members > 1 and {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(parameters)} != {(members,)}:
        raise InputError(f"the parameters are not those of {members} members; the first axis of each must be theirs")
    inputs = seen_by(sight, z)
    if members == 1:
        return apply(network, parameters, inputs)
    return jax.vmap(lambda p: apply(network, p, inputs))(parameters).mean(0)


def float_type(inputs: Any) -> Any:
    """Return the type of inputs that are floats, and of others, such as images uint8, float32."""
    return inputs.dtype if jnp.issubdtype(inputs.dtype, jnp.floating) else jnp.float32


def as_floats(targets: Targets, dtype: Any) -> Array:
    """Return targets as a loss is given them: masks of uint8 as floats, classes and floats as they are."""
    return targets.astype(dtype) if targets.dtype == jnp.uint8 else targets


def training_count(config: AspectConfig, count: int) -> int:
    """Return how many of `count` latents are trained on, see `validation_split`."""
    return count - round(config.validation * count)


def fitting_batch(config: AspectConfig, count: int) -> AspectConfig:
    """Return the configuration with a batch that `count` latents can fill, however few they are."""
    return dataclasses.replace(config, batch_size=max(1, min(config.batch_size, training_count(config, count))))


def with_epochs(config: AspectConfig, count: int) -> AspectConfig:
    """Return the configuration with the epochs of `count` latents in which its number of steps is done, if it has one.

    Raises:
        InputError: see `check_batch`.
    """
    if not config.steps:
        return config
    check_batch(config, count)
    return dataclasses.replace(config, epochs=-(-config.steps // (training_count(config, count) // config.batch_size)))


def fitted_to(config: AspectConfig, count: int) -> AspectConfig:
    """Return the configuration as any `count` latents can be trained on: with `fitting_batch` and `with_epochs`."""
    return with_epochs(fitting_batch(config, count), count)


def check_batch(config: AspectConfig, count: int) -> None:
    """Raise InputError for a batch that is larger than what `count` latents leave to train on."""
    train = training_count(config, count)
    if config.batch_size > train:
        raise InputError(f"a batch of {config.batch_size} is larger than the {train} latents to train on")


def check_finite(metrics: dict[str, float], epoch: int) -> None:
    """Raise DivergedError, naming the epoch, when a metric is NaN or infinite."""
    require_finite(metrics, f"aspect training diverged at epoch {epoch}", "lower --learning-rate")

"""Training of an aspect network G_a: latents -> annotation (eqs. 1, 5 and 6), for any latents and any targets.

loss = mean (G_a(z) - T(x))^2, over a batch of 16 and all outputs                     (eqs. 5 and 6)

An ensemble (`AspectConfig.members` > 1) is one state whose leaves have a leading axis of members. Each has a seed of
its own, all have the same validation latents, and the mean of their predictions is the ensemble's.
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from began_jax import sharding
from began_jax.configs import AspectConfig
from began_jax.errors import InputError, require_finite
from began_jax.models import apply


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


# Masks may be uint8, 0 or 1: a quarter of the memory.
Targets = Float[Array, "count ..."] | UInt8[Array, "count ..."]


SEEN = 256  # validation latents at most, evenly spaced, whose inputs are looked at together: these may be large


class Sight(NamedTuple):
    """What a network is given in a latent's place, such as the inner layers of a generator for it.

    Args:
        look: (parameters, latents [batch, latent]) -> inputs [batch, ...].
        parameters: of it, which are not trained.
        change: (key, inputs, targets) -> those of a batch as they are learnt, such as those of `moving.MOVES`; or None.
    """

    look: Callable[[Any, Array], Array]
    parameters: Any
    change: Callable[[Key[Array, ""], Array, Array], tuple[Array, Array]] | None = None

    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch ..."]:
        return self.look(self.parameters, z)


def _seen(sight: Sight | None, z: Array) -> Array:
    return z if sight is None else sight(z)


def init(config: AspectConfig, network: nn.Module, latent_size: int | tuple[int, ...]) -> AspectState:
    """Return the state before the first epoch, a pure function of configuration (its seed), network and input size.

    The input may have any shape, such as that of an image: a T is learnt in the same way. Member i of an ensemble has
    the seed `config.seed` + i, and starts as a network alone with that seed does.
    """
    if config.members == 1:
        return _init(config, network, latent_size, config.seed)
    seeds = config.seed + jnp.arange(config.members)
    return jax.jit(jax.vmap(lambda seed: _init(config, network, latent_size, seed)))(seeds)


def _init(config: AspectConfig, network: nn.Module, latent_size: int | tuple[int, ...], seed: Any) -> AspectState:
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


def squared_error(
    predicted: Float[Array, "batch ..."], target: Float[Array, "batch ..."], absent: bool = False
) -> Float[Array, " batch"]:
    """Return the mean square error per example (eqs. 5 and 6).

    Where values may be `absent`, those of the target that are NaN are left out, and their error is no one's.
    """
    if not absent:
        return ((predicted - target) ** 2).reshape(len(target), -1).mean(1)
    there = ~jnp.isnan(target)
    squares = jnp.where(there, predicted - jnp.where(there, target, 0), 0) ** 2
    return squares.reshape(len(target), -1).sum(1) / jnp.maximum(there.reshape(len(target), -1).sum(1), 1)


def have_absent(targets: Targets) -> bool:
    """Say whether some values of targets are absent, that is NaN, such as landmarks that are not to be seen."""
    return jnp.issubdtype(targets.dtype, jnp.floating) and bool(jnp.isnan(targets).any())


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
    network: nn.Module,
    state: AspectState,
    latents: Float[Array, "count ..."],
    targets: Targets,
    rows: Int[Array, " batch"],
    deviation: Float[Array, "..."] | None = None,
    examples: Int[Array, " train"] | None = None,
    sight: Sight | None = None,
    absent: bool = False,
) -> tuple[AspectState, Float[Array, ""]]:
    """Take one Adam step on a batch, given as rows of the latents and targets, and return its loss.

    Args:
        config: of the training.
        network: from latents to predictions of the targets' shape.
        state: before the step.
        latents: of all examples.
        targets: of all examples.
        rows: the batch.
        deviation: of the latents over all rows, in units of which they are jittered; by default it is computed.
        examples: to train on, which `rows` then count; by default all.
        sight: what the network is given in the latents' place.
        absent: whether targets may have NaN, see `squared_error`.
    """
    chosen = rows if examples is None else examples[rows]
    z, target = latents[chosen], targets[chosen].astype(latents.dtype)
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.epoch), rows[0] + 1)
    if config.jitter:
        deviation = latents.std(0) if deviation is None else deviation
        z = z + config.jitter * deviation[None] * jax.random.normal(key, z.shape)
    inputs = _seen(sight, z)
    if sight is not None and sight.change is not None:
        # Fused with what comes before and after, a CPU computes the same values several times.
        inputs = jax.lax.optimization_barrier(inputs)
        changed = sight.change(jax.random.fold_in(key, 1), inputs, target)
        inputs, target = jax.lax.optimization_barrier(changed)

    def loss(parameters):
        return squared_error(apply(network, parameters, inputs), target, absent).mean()

    value, gradient = jax.value_and_grad(loss)(state.parameters)
    update, optimizer_state = optimizer(config).update(gradient, state.optimizer, state.parameters)
    if config.schedule == "cosine":
        batches = len(latents if examples is None else examples) // config.batch_size
        done: Any = optax.tree_utils.tree_get(state.optimizer, "count")
        rate = (1 + jnp.cos(jnp.pi * done / (config.epochs * batches))) / 2
        update = jax.tree.map(lambda u: rate * u, update)
    parameters = optax.apply_updates(state.parameters, update)
    return dataclasses.replace(state, parameters=parameters, optimizer=optimizer_state), value


def end_epoch(
    network: nn.Module,
    state: AspectState,
    loss: Float[Array, ""],
    latents: Float[Array, "validation ..."],
    targets: Float[Array, "validation ..."],
    sight: Sight | None = None,
    absent: bool = False,
) -> tuple[AspectState, dict[str, Array]]:
    """Count the epoch and note its parameters when their validation error is the lowest (or none is measured)."""
    if len(latents) == 0:
        state = dataclasses.replace(state, best_parameters=jax.tree.map(jnp.copy, state.parameters), best_error=loss)
        return dataclasses.replace(state, epoch=state.epoch + 1), {"loss": loss}
    error = squared_error(apply(network, state.parameters, _seen(sight, latents)), targets, absent).mean()
    better = error < state.best_error
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.parameters, state.best_parameters)
    state = dataclasses.replace(
        state, epoch=state.epoch + 1, best_parameters=best, best_error=jnp.where(better, error, state.best_error)
    )
    return state, {"loss": loss, "validation_loss": error}


def predict(
    network: nn.Module, parameters: Any, z: Float[Array, "batch ..."], members: int = 1, sight: Sight | None = None
) -> Array:
    """Return G_a(z) [batch, ...]; of an ensemble, the mean over its members."""
    inputs = _seen(sight, z)
    if members == 1:
        return apply(network, parameters, inputs)
    return jax.vmap(lambda p: apply(network, p, inputs))(parameters).mean(0)


class Trainer:
    """The jitted epoch: on the device in one call where loops keep their speed, else a call a step.

    Convolutions in a loop body are several times slower on a CPU, so there a mask network's steps are called one by
    one; a landmark network is matrix products only and always runs a whole epoch a call. The members of an ensemble are
    spread over as many local devices as divide their number, and trained side by side on each.

    Args:
        config: of the training.
        network: any flax module from latents to predictions of the targets' shape.
        latents: [count, latent] and
        targets: [count, ...], on the device, which holds them once; masks may be uint8. Values that are NaN are
            absent and left out.
        one_call: the choice above; by default made from the targets' rank, the sight and the platform.
        sight: what the network is given in the latents' place.
    """

    def __init__(
        self,
        config: AspectConfig,
        network: nn.Module,
        latents: Array,
        targets: Array,
        one_call: bool | None = None,
        sight: Sight | None = None,
    ):
        train, held = validation_split(config, len(latents))
        if sight is not None:
            held = held[:: -(-max(len(held), 1) // SEEN)]
        absent = have_absent(targets)
        deviation = latents[train].std(0) if config.jitter else None  # once, not at every step
        seen = None if sight is None else sight.parameters  # arguments of what is jitted, not its constants
        self._train = (latents, targets, deviation, train, seen)
        self._held = (latents[held], targets[held].astype(latents.dtype))
        self.batches = len(train) // config.batch_size
        if one_call is None:
            one_call = (targets.ndim < 4 and sight is None) or jax.default_backend() != "cpu"

        if config.members == 1:
            self._mesh = None
        else:
            devices = sharding.most_devices(config.members, jax.local_device_count())
            self._mesh = sharding.data_mesh(config.members, devices, local=True)
            self._train, self._held = jax.device_put((self._train, self._held), sharding.replicated(self._mesh))

        def looking(seen):
            return None if sight is None else sight._replace(parameters=seen)

        def end(state, losses, held, seen):
            latents, targets = held
            return end_epoch(network, state, losses.mean(), latents, targets, looking(seen), absent)

        def epoch(state, train, held):
            latents, targets, deviation, examples, seen = train
            rows, sight = epoch_rows(config, state, len(examples)), looking(seen)
            step_on = lambda s, r: step(config, network, s, latents, targets, r, deviation, examples, sight, absent)  # noqa: E731
            state, losses = jax.lax.scan(step_on, state, rows)
            return end(state, losses, held, seen)

        def one(state, data, rows, i):
            latents, targets, deviation, examples, seen = data
            return step(config, network, state, latents, targets, rows[i], deviation, examples, looking(seen), absent)

        each = self._of_each_member
        self._epoch = jax.jit(each(epoch, (0, None, None)), donate_argnums=0) if one_call else None
        self._rows = jax.jit(each(lambda state: epoch_rows(config, state, len(train)), (0,)))
        self._step = jax.jit(each(one, (0, None, 0, None)), donate_argnums=0)
        self._end = jax.jit(each(end, (0, 0, None, None)), donate_argnums=0)

    def epoch(self, state: AspectState) -> tuple[AspectState, dict[str, Array]]:
        """Make a pass over the latents, with the metrics `loss` (mean over the epoch's batches) and `validation_loss`.

        Those of an ensemble are means over its members.
        """
        if self._mesh is not None:
            state = jax.device_put(state, sharding.split(self._mesh))  # nothing to do from the second epoch on
        state, metrics = self._one_epoch(state)
        return state, metrics if self._mesh is None else {name: value.mean() for name, value in metrics.items()}

    def _one_epoch(self, state: AspectState) -> tuple[AspectState, dict[str, Array]]:
        if self._epoch is not None:
            return self._epoch(state, self._train, self._held)
        rows, losses = self._rows(state), []
        for i in range(self.batches):
            state, loss = self._step(state, self._train, rows, i)
            losses.append(loss)
        return self._end(state, jnp.stack(losses, -1), self._held, self._train[-1])

    def _of_each_member(self, function: Callable, axes: tuple[int | None, ...]) -> Callable:
        """Return the function for one network, or for a device's members at once; `axes` are those of the members."""
        if self._mesh is None:
            return function
        members, shared = sharding.split(self._mesh).spec, sharding.replicated(self._mesh).spec
        specs = tuple(shared if axis is None else members for axis in axes)
        return jax.shard_map(jax.vmap(function, axes), mesh=self._mesh, in_specs=specs, out_specs=members)


def training_count(config: AspectConfig, count: int) -> int:
    """Return how many of `count` latents are trained on, see `validation_split`."""
    return count - round(config.validation * count)


def fitting_batch(config: AspectConfig, count: int) -> AspectConfig:
    """Return the configuration with a batch that `count` latents can fill, however few they are."""
    return dataclasses.replace(config, batch_size=max(1, min(config.batch_size, training_count(config, count))))


def with_epochs(config: AspectConfig, count: int) -> AspectConfig:
    """Return the configuration with the epochs of `count` latents in which its number of steps is done, if it has one.

    A batch must fit, see `check_batch`.
    """
    if not config.steps:
        return config
    return dataclasses.replace(config, epochs=-(-config.steps // (training_count(config, count) // config.batch_size)))


def check_batch(config: AspectConfig, count: int) -> None:
    """Raise InputError for a batch that is larger than what `count` latents leave to train on."""
    train = training_count(config, count)
    if config.batch_size > train:
        raise InputError(f"a batch of {config.batch_size} is larger than the {train} latents to train on")


def check_finite(metrics: dict[str, float], epoch: int) -> None:
    """Raise DivergedError, naming the epoch, when a metric is NaN or infinite."""
    require_finite(metrics, f"aspect training diverged at epoch {epoch}", "lower --learning-rate")

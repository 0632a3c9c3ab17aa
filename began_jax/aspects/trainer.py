"""The epochs of an aspect network's training, jitted where they run fastest."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array

from began_jax import sharding
from began_jax.aspects import losses
from began_jax.aspects.losses import LossName
from began_jax.aspects.training import (
    AspectState,
    Sight,
    as_floats,
    check_batch,
    end_epoch,
    epoch_rows,
    float_type,
    step,
    validation_split,
    with_epochs,
)
from began_jax.configs import AspectConfig
from began_jax.errors import InputError
from began_jax.models import Network

# Validation examples are looked at together, evenly spaced ones of them: at most so many where a sight makes inputs of
# them, and so many pixels where they or their targets are images, since all of a network's layers are in memory.
SEEN, SEEN_PIXELS = 256, 2**22


def _at_once(latents: Array, targets: Array, sight: Sight | None) -> int:
    """Return how many validation examples are looked at together."""
    if sight is not None:
        return SEEN
    pixels = max((math.prod(each.shape[1:3]) for each in (latents, targets) if each.ndim >= 4), default=0)
    return max(SEEN, SEEN_PIXELS // pixels) if pixels else len(latents)


class Trainer:
    """The jitted epoch: on the device in one call where loops keep their speed, else a call a step.

    Convolutions in a loop body are several times slower on a CPU, so there a mask network's steps are called one by
    one; a landmark network is matrix products only and always runs a whole epoch a call. The members of an ensemble are
    spread over as many local devices as divide their number, and trained side by side on each.

    Args:
        config: of the training.
        network: from latents to predictions of the targets' shape.
        latents: [count, latent], or what else the sight looks at, such as images as they are stored, uint8, and
        targets: [count, ...], on the device, which holds them once; masks may be uint8. Values that are NaN are
            absent and left out.
        one_call: the choice above; by default made from the targets' rank, the sight and the platform.
        sight: what the network is given in the latents' place.
        loss: "squared" (eqs. 5 and 6), "cross_entropy", or a function, see `losses.of`.

    Raises:
        InputError: there are not as many targets as latents, fewer than a batch to train on, a latent that is not
            finite, or no such loss.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import AspectConfig, MultilayerNetwork, aspects
        >>> z = jnp.linspace(-1, 1, 64).reshape(32, 2)
        >>> config, network = AspectConfig(batch_size=8), MultilayerNetwork((1,))
        >>> trainer = aspects.Trainer(config, network, z, z[:, :1])
        >>> state, metrics = trainer.epoch(aspects.init(config, network, latent_size=2))
        >>> sorted(metrics), int(state.done)
        (['loss'], 1)
        >>> aspects.predict(network, state.best_parameters, z).shape
        (32, 1)
    """

    def __init__(
        self,
        config: AspectConfig,
        network: Network,
        latents: Array,
        targets: Array,
        one_call: bool | None = None,
        sight: Sight | None = None,
        loss: LossName | Callable = "squared",
    ) -> None:
        latents, targets = jnp.asarray(latents), jnp.asarray(targets)
        if len(latents) != len(targets):
            raise InputError(f"{len(latents)} latents and {len(targets)} targets; there must be as many of both")
        config = with_epochs(config, len(latents))
        check_batch(config, len(latents))
        if jnp.issubdtype(latents.dtype, jnp.floating) and not jnp.isfinite(latents).all():
            raise InputError("a latent is not finite")
        error = losses.of(loss)
        train, held = validation_split(config, len(latents))
        held = held[:: -(-max(len(held), 1) // _at_once(latents, targets, sight))]
        absent = losses.have_absent(targets)
        if absent:
            there = losses.with_target(targets)
            train, held = (jnp.asarray(rows[there[np.asarray(rows)]]) for rows in (train, held))
            if config.batch_size > len(train):
                raise InputError(f"a batch of {config.batch_size} is larger than the {len(train)} that have a target")
        deviation = latents[train].std(0) if config.jitter else None  # once, not at every step
        seen = None if sight is None else sight.parameters  # arguments of what is jitted, not its constants
        self._train = (latents, targets, deviation, train, seen)
        self._held = (latents[held], as_floats(targets[held], float_type(latents)))
        self.batches: int = len(train) // config.batch_size
        if one_call is None:
            one_call = (targets.ndim < 4 and sight is None) or jax.default_backend() != "cpu"

        # Where all arguments are: of another place, or of none that is said, the same step would be compiled again.
        if config.members == 1:
            one_device = len(latents.devices()) == 1
            self._mesh, everywhere = None, SingleDeviceSharding(*latents.devices()) if one_device else None
            self._states = everywhere
        else:
            devices = sharding.most_devices(config.members, jax.local_device_count())
            self._mesh = sharding.data_mesh(config.members, devices, local=True)
            everywhere, self._states = sharding.replicated(self._mesh), sharding.split(self._mesh)
        self._train, self._held = jax.device_put((self._train, self._held), everywhere)

        def looking(seen):
            return None if sight is None else sight._replace(parameters=seen)

        def end(state, values, held, seen):
            latents, targets = held
            return end_epoch(network, state, values.mean(), latents, targets, looking(seen), absent, error)

        def epoch(state, train, held):
            latents, targets, deviation, examples, seen = train
            rows, sight = epoch_rows(config, state, len(examples)), looking(seen)
            more = (deviation, examples, sight, absent, error)
            step_on = lambda s, r: step(config, network, s, latents, targets, r, *more)  # noqa: E731
            state, values = jax.lax.scan(step_on, state, rows)
            return end(state, values, held, seen)

        def one(state, data, rows, i):
            latents, targets, deviation, examples, seen = data
            more = (deviation, examples, looking(seen), absent, error)
            return step(config, network, state, latents, targets, rows[i], *more)

        each = self._of_each_member
        self._epoch = jax.jit(each(epoch, (0, None, None)), donate_argnums=0) if one_call else None
        self._rows = jax.jit(each(lambda state: epoch_rows(config, state, len(train)), (0,)))
        self._step = jax.jit(each(one, (0, None, 0, None)), donate_argnums=0)
        self._end = jax.jit(each(end, (0, 0, None, None)), donate_argnums=0)

    def epoch(self, state: AspectState) -> tuple[AspectState, dict[str, Array]]:
        """Make a pass over the latents, with the metrics `loss` (mean over the epoch's batches) and `validation_loss`.

        Those of an ensemble are means over its members. The state that is given is donated: use the one returned.
        """
        state, metrics = self._one_epoch(jax.device_put(state, self._states))  # nothing to do from the second one on
        return state, metrics if self._mesh is None else {name: value.mean() for name, value in metrics.items()}

    def _one_epoch(self, state: AspectState) -> tuple[AspectState, dict[str, Array]]:
        if self._epoch is not None:
            return self._epoch(state, self._train, self._held)
        rows, values = self._rows(state), []
        for i in range(self.batches):
            state, loss = self._step(state, self._train, rows, i)
            values.append(loss)
        return self._end(state, jnp.stack(values, -1), self._held, self._train[-1])

    def _of_each_member(self, function: Callable, axes: tuple[int | None, ...]) -> Callable:
        """Return the function for one network, or for a device's members at once; `axes` are those of the members."""
        if self._mesh is None:
            return function
        members, shared = sharding.split(self._mesh).spec, sharding.replicated(self._mesh).spec
        specs = tuple(shared if axis is None else members for axis in axes)
        return jax.shard_map(jax.vmap(function, axes), mesh=self._mesh, in_specs=specs, out_specs=members)

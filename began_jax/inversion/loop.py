"""The loop of an inversion: a batch with one count of steps, or slots that images leave as they converge."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.inversion.batches import Batch, Count, after_a_move, alike, filling, ignore
from began_jax.inversion.objective import Loss, Prior, check_weights
from began_jax.inversion.objective import of as objective_of
from began_jax.inversion.steps import InversionState, check_one_start, finish, init, products, step, where
from began_jax.options import check_config
from began_jax.sharding import automatic, check_split, jitted, parts_of

# On GPUs and TPUs: some tenths of a second, so that a call costs nothing beside them, a stop is answered soon and the
# progress line moves.
STEPS_PER_CALL = 10
CALLS_TO_REFILL = 8  # so many fill all slots anew: what travels to the devices is hardly more than the new images


class Inverter:
    """The jitted stages of `invert` over arrays split along a mesh axis, with the loop where it is fastest.

    Args:
        config: of the inversion, of one start: what `starts` asks for is `invert_all`'s.
        generate: (parameters, latents) -> images.
        parameters: of the generator, such as {"params": state.generator} for `Decoder.apply`, replicated.
        sharding: of arrays with a leading image axis; None for JAX's default device.
        steps_per_call: steps in one call of the device. By default 1 on a CPU, where a loop on the device loses the
            library's convolutions, and `STEPS_PER_CALL` elsewhere.
        loss: what is made small, see `Objective`; by default the configuration's.
        prior: that is added to it, see `Objective`; by default the configuration's.

    Raises:
        InputError: an argument is none that it can be.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import InvertConfig, Inverter
        >>> generate = lambda p, z: jnp.tanh(p * z).reshape(-1, 2, 2, 1)
        >>> images = generate(2.0, jnp.linspace(-0.5, 0.5, 12).reshape(3, 4))
        >>> inverse = Inverter(InvertConfig(steps=200), generate, parameters=2.0, sharding=None)
        >>> found = inverse(images, jnp.zeros((3, 4)))
        >>> found["z"].shape, bool(found["l1"].max() < 0.01)
        ((3, 4), True)
    """

    def __init__(
        self,
        config: InvertConfig,
        generate: Callable[[Any, Any], Any],
        parameters: Any,
        sharding: jax.sharding.Sharding | None = None,
        steps_per_call: int | None = None,
        loss: Loss | None = None,
        prior: Prior | None = None,
    ) -> None:
        check_config(config, InvertConfig)
        check_one_start(config, "Inverter", tolerance=True)
        objective = objective_of(config, loss, prior)
        self._config, self._parameters, self._sharding = config, parameters, automatic(sharding)
        self._devices = parts_of(sharding)
        if steps_per_call is None:
            steps_per_call = 1 if jax.default_backend() == "cpu" else STEPS_PER_CALL
        self.steps_per_call: int = max(min(steps_per_call, config.steps), 1)

        def run(parameters, state, data, steps):
            one = lambda s: step(config, lambda z: generate(parameters, z), s, data[0], data[1], objective)  # noqa: E731
            return one(state) if steps == 1 else jax.lax.fori_loop(0, steps, lambda _, s: one(s), state)

        self._run = jitted(run, self._sharding, donate_argnums=1, static_argnums=3)
        # Without the shardings the zeros would lie elsewhere than what follows them, and every stage compile twice.
        self._init = jitted(lambda z: self._split(init(config, z)), self._sharding)
        fill = lambda z, data: (init(config, z, separate=True), data)  # noqa: E731
        self._fill = jitted(fill, self._sharding, out_shardings=self._sharding)

        def refill(old, slots_of, z, data):
            """Put new images at slots; a choice by slot, not a scatter, so that devices exchange nothing."""
            same = jnp.arange(len(old[0].best_error))[:, None] == slots_of[None]
            new = same.argmax(1)
            z, data = jax.tree.map(lambda rows: rows[new], (z, data))
            return where(same.any(1), (init(config, z, separate=True), data), old)

        self._refill = jitted(refill, self._sharding, donate_argnums=0)

        def end(parameters, state, data):
            with products(config):
                return finish(lambda z: generate(parameters, z), state, data[0], data[1], objective)

        self._finish = jitted(end, self._sharding)

    def __call__(
        self,
        images: Float[Array | np.ndarray, "batch ..."],
        z: Any,
        count: Count = ignore,
        weights: Float[Array | np.ndarray, "batch ..."] | None = None,
    ) -> dict[str, Any]:
        """Invert a batch from the starting latents `z` with all steps, and return the results of `finish`.

        Args:
            images: what is inverted, of the shape that `generate` gives.
            z: latents [batch, ...], or a tree of them.
            count: told after each call of the device how many steps were done in it.
            weights: of the images' values, see `invert`.

        Raises:
            InputError: a tolerance is set, which is `refilled`'s; or shapes or types do not fit together.
            DivergedError: no image got anywhere from its start by a finite gradient.
        """
        ((_, found),) = after_a_move([(None, *self.attempt(images, z, count, weights))])
        return found

    def attempt(
        self,
        images: Float[Array | np.ndarray, "batch ..."],
        z: Any,
        count: Count = ignore,
        weights: Float[Array | np.ndarray, "batch ..."] | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """Do the same for a batch of several, and return whether one of its images moved: see `after_a_move`."""
        if self._config.tolerance:
            raise InputError(f"tolerance is {self._config.tolerance}: Inverter.refilled serves it, and invert_all")
        check_split(len(images), self._devices)
        check_weights(weights)
        data, z = jax.device_put(((images, weights), z), self._sharding)
        state, done = self._init(z), 0
        while done < self._config.steps:
            steps = min(self.steps_per_call, self._config.steps - done)
            state = self._run(self._parameters, state, data, steps)
            done += steps
            if done % 10 == 0:
                jax.block_until_ready(state.step)  # bounds the queue, and lets the progress line tell the truth
            count(steps)
        found, start, last = jax.device_get((self._finish(self._parameters, state, data), z, state.z))
        return found, self._any_moved(start, last, found["z"])

    def refilled(
        self, batches: Iterable[tuple[Any, ...]], slots: int, count: Count = ignore, begun: bool = False
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Invert in `slots`: an image that has converged leaves, and the next one takes its place.

        Each image has its own count of steps and its own optimiser, so its result is that of `invert` with as many
        steps: a matter of the image and its start alone, not of slot, order or neighbours. It has converged when its
        lowest error fell by less than the share `tolerance` in its last `window` steps.

        Args:
            batches: (key, images float [n, ...], starting latents [n, ...]), read as slots become free; weights of
                the images' values may come fourth, for all of them.
            slots: images optimised together.
            count: told how many images have left since the last time.
            begun: whether an image moved from its start in a call before, see `after_a_move`.

        Yields:
            (key, results) as batches are complete: the results of `finish`, and the `steps` [n] that each image had.

        Raises:
            InputError: there is no slot; a batch has no image, so that it would never be complete; or some batches have
                weights, and others none.
            DivergedError: no image got anywhere from its start by a finite gradient, see `after_a_move`, which gives no
                result before that.
        """
        if slots < 1:
            raise InputError(f"slots is {slots}; it must be at least 1")
        check_split(slots, self._devices)
        return after_a_move(self._leaving(batches, slots, count), begun)

    def _leaving(
        self, batches: Iterable[tuple[Any, ...]], slots: int, count: Count
    ) -> Iterator[tuple[Any, dict[str, Any], bool]]:
        queue = ((batch, row) for batch in alike(Batch(*b) for b in batches) for row in range(batch.size))
        occupants: list[tuple[Batch, int] | None] = [None] * slots
        reference = np.full(slots, np.inf)
        state = None
        while True:
            free = [slot for slot, occupant in enumerate(occupants) if occupant is None]
            fresh = dict(zip(free, queue, strict=False))
            for slot, occupant in fresh.items():
                occupants[slot], reference[slot] = occupant, np.inf
            if not any(occupants):
                break
            state = self._advance_window(self._with(fresh, state, slots))
            found = jax.device_get({name: getattr(state[0], name) for name in ("z", "best_z", "best_error", "step")})
            left = self._left(found, reference)
            reference = found["best_error"].copy()  # what a device gave is read-only
            leaving = {slot: who for slot, who in enumerate(occupants) if who is not None and left[slot]}
            count(len(leaving))
            for slot, (batch, row) in leaving.items():
                occupants[slot] = None
                batch.rows[row] = _row(found, slot)
                batch.left += 1
                if batch.left == batch.size:
                    ended = _stacked(batch.rows)
                    moved = self._any_moved(batch.z, ended["z"], ended["best_z"])
                    yield batch.key, self._results(batch, slots), moved

    def _split(self, state: Any) -> Any:
        """Return a state whose leaves are split by their first axis; a count of steps is everywhere."""
        if not isinstance(self._sharding, NamedSharding):
            return state
        mesh, first = self._sharding.mesh, self._sharding.spec[:1]
        where = lambda leaf: NamedSharding(mesh, PartitionSpec(*first[: leaf.ndim]))  # noqa: E731
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, where(leaf)), state)

    def _with(self, fresh: dict[int, tuple[Batch, int]], state: Any, slots: int) -> Any:
        """Return the state and the images of all slots, with fresh images in some of them."""
        if state is None:
            return self._fill(*jax.device_put(_rows(fresh, range(slots)), self._sharding))
        places, size = list(fresh), -(-slots // CALLS_TO_REFILL)
        for first in range(0, len(places), size):
            some = places[first : first + size]
            some += some[-1:] * (size - len(some))  # one shape however many are new
            state = self._refill(state, np.array(some, np.int32), *_rows(fresh, some))
        return state

    def _advance_window(self, state: Any) -> Any:
        done, window = 0, self._config.window
        while done < window:
            steps = min(self.steps_per_call, window - done)
            state = self._run(self._parameters, *state, steps), state[1]
            done += steps
        return state

    def _any_moved(self, start: Any, last: Any, best: Any) -> bool:
        """Say whether an image has left its start: its last latent is finite, or a better one was met on the way."""

        def rows(tree: Any) -> np.ndarray:
            return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(tree)], axis=1)

        # What `init` makes of a start.
        start = jax.tree.map(lambda given, found: np.asarray(given, found.dtype), start, best)
        start, last, best = (rows(tree) for tree in (start, last, best))
        start = start.clip(-1, 1) if self._config.clip else start
        better = np.isfinite(best).all(1) & (best != start).any(1)
        return bool((np.isfinite(last).all(1) | better).any())

    def _left(self, found: dict[str, np.ndarray], reference: np.ndarray) -> np.ndarray:
        """Return which slots have all their steps, or an error that hardly fell below what it was a window ago."""
        lowest = found["best_error"]
        with np.errstate(invalid="ignore"):  # of infinite ones, which have not converged
            converged = reference - lowest < self._config.tolerance * np.abs(lowest)  # a prior may be negative
        return (found["step"] >= self._config.steps) | converged

    def _results(self, batch: Batch, slots: int) -> dict[str, Any]:
        parts = [self._part(batch, first, slots) for first in range(0, batch.size, slots)]
        return jax.tree.map(lambda *values: np.concatenate(values)[: batch.size], *parts)

    def _part(self, batch: Batch, first: int, slots: int) -> dict[str, Any]:
        rows = filling(batch.size, slots, first)
        found = _stacked([batch.rows[row] for row in rows])
        state, data = jax.device_put((InversionState(optimizer=(), **found), _row(batch.data, rows)), self._sharding)
        return jax.device_get(self._finish(self._parameters, state, data)) | {"steps": found["step"]}


def _row(tree: Any, row: Any) -> Any:
    return jax.tree.map(lambda values: values[row], tree)


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *rows: np.stack(rows), *trees)


def _rows(fresh: dict[int, tuple[Batch, int]], places: Iterable[int]) -> tuple[Any, Any]:
    """Return latents and images, with their weights, for these slots; where none is fresh, any."""
    some = next(iter(fresh.values()))
    rows = [fresh.get(place, some) for place in places]
    return _stacked([_row(batch.z, row) for batch, row in rows]), _stacked([_row(b.data, row) for b, row in rows])

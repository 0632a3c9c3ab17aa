"""Training of the aspect network: the loss of eqs. 5 and 6, epochs, the split for validation, the best epoch."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from began_jax import aspects
from began_jax.configs import AspectConfig
from began_jax.errors import DivergedError, InputError
from began_jax.models import Decoder, LandmarkNetwork

LATENT = 4
NETWORKS = {
    "landmarks": (LandmarkNetwork(points=3, hidden=(8,)), (3, 2)),
    "mask": (Decoder(8, 8, 1, filters=2, poolings=0), (8, 8, 1)),
}
TINY = dict(epochs=3, batch_size=4, learning_rate=1e-3)


def examples(shape, count=18, seed=0):
    """Latents and targets in [0, 1] that depend on them smoothly."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (count, LATENT)).astype(np.float32)
    waves = np.sin(z @ rng.normal(0, 1, (LATENT, math.prod(shape))))
    return jnp.asarray(z), jnp.asarray((0.5 + 0.4 * waves).reshape(count, *shape).astype(np.float32))


def copied(tree):
    """A tree with buffers of its own: those of states are donated to the next epoch."""
    return jax.tree.map(jnp.copy, tree)


def assert_close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(x, y, **tolerance)


def initial(config, network):
    return jax.jit(lambda: aspects.init(config, network, LATENT))()


def trained(config, network, latents, targets, **options):
    """The state after all epochs, and what every epoch left: its metrics and parameters."""
    trainer = aspects.Trainer(config, network, latents, targets, **options)
    state, history = initial(config, network), []
    for _ in range(config.epochs):
        state, metrics = trainer.epoch(state)
        history.append((copied(metrics), copied(state.parameters)))
    return state, history


class Affine(nn.Module):
    """The smallest network there is: quick to compile."""

    @nn.compact
    def __call__(self, z):
        return nn.Dense(2)(z)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_step_is_adam_on_the_mean_square_error(kind):
    network, shape = NETWORKS[kind]
    latents, targets = examples(shape)
    config = AspectConfig(**TINY)
    before = initial(config, network)
    rows = jnp.asarray([3, 17, 0, 5])
    after, loss = jax.jit(lambda state: aspects.step(config, network, state, latents, targets, rows))(before)

    def formula(parameters):
        predicted = network.apply({"params": parameters}, latents[rows])
        return jnp.sum((predicted - targets[rows]) ** 2) / (4 * math.prod(shape))

    @jax.jit
    def by_hand(parameters):
        adam = optax.adam(1e-3, b1=0.9, b2=0.999)
        value, gradient = jax.value_and_grad(formula)(parameters)
        return value, optax.apply_updates(parameters, adam.update(gradient, adam.init(parameters))[0])

    wanted, parameters = by_hand(before.parameters)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    # At the first step Adam divides a gradient by itself, so rounding shows where it is nearly nothing.
    assert_close(after.parameters, parameters, rtol=1e-4, atol=2e-6)
    assert_close(after.replace(parameters=0, optimizer=0), before.replace(parameters=0, optimizer=0), rtol=0)


def test_the_error_is_per_example_over_all_outputs():
    predicted, target = np.random.default_rng(0).random((2, 5, 3, 2)).astype(np.float32)
    wanted = [((p - t) ** 2).sum() / 6 for p, t in zip(predicted, target, strict=True)]
    np.testing.assert_allclose(aspects.squared_error(jnp.asarray(predicted), jnp.asarray(target)), wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_epoch_in_one_call_equals_an_epoch_of_calls(kind):
    network, shape = NETWORKS[kind]
    config = AspectConfig(**TINY, validation=0.2, jitter=0.1, weight_decay=0.1)
    (one, history), (many, steps) = (
        trained(config, network, *examples(shape), one_call=one_call) for one_call in (True, False)
    )
    assert_close(one, many, rtol=1e-4, atol=1e-5)
    for (metrics, _), (metrics_of_steps, _) in zip(history, steps, strict=True):
        assert metrics.keys() == {"loss", "validation_loss"}
        assert_close(metrics, metrics_of_steps, rtol=1e-4)
    assert one.epoch == 3


@pytest.mark.parametrize("one_call", [True, False])
def test_each_member_of_an_ensemble_is_a_network_alone_with_a_seed_of_its_own_and_their_mean_is_predicted(one_call):
    options = TINY | dict(validation=0.2, jitter=0.1, weight_decay=0.1)
    network, (latents, targets) = Affine(), examples((2,), 20)
    config = AspectConfig(**options, members=3)
    together, history = trained(config, network, latents, targets, one_call=one_call)
    train, held = aspects.validation_split(config, 20)
    predictions, losses = [], []
    for i in range(3):
        # The validation latents are the ensemble's: they depend on its seed alone.
        state, metrics = initial(AspectConfig(**options, seed=i), network), []
        for _ in range(config.epochs):
            for rows in aspects.epoch_rows(config, state, len(train)):
                state, loss = aspects.step(config, network, state, latents[train], targets[train], rows)
                metrics.append(loss)
            state, _ = aspects.end_epoch(network, state, loss, latents[held], targets[held])
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), state, rtol=1e-4, atol=1e-6)
        predictions.append(network.apply({"params": state.best_parameters}, latents))
        losses.append(np.mean(metrics[-4:]))
    np.testing.assert_allclose(history[-1][0]["loss"], np.mean(losses), rtol=1e-4)
    predicted = aspects.predict(network, together.best_parameters, latents, 3)
    np.testing.assert_allclose(predicted, np.mean(predictions, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("count", "size"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_an_epochs_rows_are_a_permutation_without_the_remainder_and_epochs_differ(count, size):
    config = AspectConfig(batch_size=size)
    state = initial(config, Affine())
    epochs = [
        np.asarray(aspects.epoch_rows(config, state.replace(epoch=jnp.asarray(epoch, jnp.int32)), count))
        for epoch in range(4)
    ]
    for rows in epochs:
        assert rows.shape == (count // size, size)
        assert len(set(rows.flat)) == rows.size
        assert set(rows.flat) <= set(range(count))
    assert len({rows.tobytes() for rows in epochs}) == 4


@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99]))
def test_validation_rows_are_their_share_of_all_rows_and_a_function_of_the_seed(seed, share):
    config = AspectConfig(seed=seed, validation=share)
    train, held = (np.asarray(rows) for rows in aspects.validation_split(config, 30))
    assert len(held) == round(share * 30)
    assert sorted([*train, *held]) == list(range(30))
    assert (np.diff(train) > 0).all() and (np.diff(held) > 0).all()
    again = aspects.validation_split(config, 30)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(held, again[1])


def test_other_seeds_hold_back_other_rows():
    held = {tuple(aspects.validation_split(AspectConfig(seed=s, validation=0.2), 30)[1].tolist()) for s in range(5)}
    assert len(held) == 5


def test_validation_latents_are_never_trained_on():
    config = AspectConfig(**TINY, validation=0.25)
    latents, targets = examples((2,), 16)
    _, held = aspects.validation_split(config, 16)
    (state, history), (other, other_history) = (
        trained(config, Affine(), latents, t, one_call=True) for t in (targets, targets.at[held].add(5.0))
    )
    assert_close(state.parameters, other.parameters, rtol=0)
    assert other_history[0][0]["validation_loss"] > history[0][0]["validation_loss"] + 10


def test_of_many_images_evenly_spaced_ones_validate_which_bounds_the_memory(monkeypatch):
    monkeypatch.setattr(aspects.trainer, "SEEN", 2)
    network, shape = NETWORKS["mask"]
    config = AspectConfig(**TINY, validation=0.5)
    counts = []
    for pixels in (5 * 64, 3 * 64):
        monkeypatch.setattr(aspects.trainer, "SEEN_PIXELS", pixels)
        counts.append(len(aspects.Trainer(config, network, *examples(shape, 20))._held[0]))
    assert counts == [5, 3]
    assert len(aspects.Trainer(config, Affine(), *examples((2,), 20))._held[0]) == 10


def test_the_best_parameters_are_those_of_the_epoch_with_the_lowest_validation_error():
    config = AspectConfig(
        epochs=12, batch_size=4, learning_rate=0.3, validation=0.25
    )  # too fast: errors go up and down
    latents, targets = examples((2,), 16)
    state, history = trained(config, Affine(), latents, targets)
    _, held = aspects.validation_split(config, 16)
    errors = []
    for metrics, parameters in history:
        dense = jax.tree.map(np.asarray, parameters["Dense_0"])
        predicted = np.asarray(latents)[held] @ dense["kernel"] + dense["bias"]
        errors.append(((predicted - np.asarray(targets)[held]) ** 2).mean())
        np.testing.assert_allclose(metrics["validation_loss"], errors[-1], rtol=1e-4)
    best = int(np.argmin(errors))
    assert best < 11  # else the last epoch would pass for the best
    assert_close(state.best_parameters, history[best][1], rtol=0)
    assert_close(state.parameters, history[-1][1], rtol=0)
    np.testing.assert_allclose(state.best_error, errors[best], rtol=1e-4)


def test_without_validation_the_best_parameters_are_the_last():
    config = AspectConfig(epochs=5, batch_size=4, learning_rate=0.3)
    state, history = trained(config, Affine(), *examples((2,), 16))
    assert_close(state.best_parameters, state.parameters, rtol=0)
    assert history[-1][0].keys() == {"loss"}
    assert state.best_error == history[-1][0]["loss"]


def test_jitter_moves_latents_by_its_share_of_each_coordinates_deviation_and_none_by_0():
    seen = []

    class Spy(nn.Module):
        @nn.compact
        def __call__(self, z):
            jax.debug.callback(lambda values: seen.append(np.array(values)), z)
            return nn.Dense(1)(z)

    rng = np.random.default_rng(0)
    latents = jnp.asarray(rng.normal(0, [0.1, 1, 10, 100], (400, 4)), jnp.float32)
    targets, rows = jnp.zeros((400, 1)), jnp.asarray(rng.permutation(400))
    moved = {}
    for jitter in (0.0, 0.5):
        config = AspectConfig(batch_size=400, jitter=jitter)
        state = initial(config, Spy())
        seen.clear()
        step = jax.jit(lambda s, config=config: aspects.step(config, Spy(), s, latents, targets, rows))
        for epoch in (0, 1):
            jax.block_until_ready(step(state.replace(epoch=jnp.asarray(epoch, jnp.int32))))
        jax.effects_barrier()
        moved[jitter] = [values - np.asarray(latents[rows]) for values in seen]
    np.testing.assert_array_equal(moved[0.0], 0)
    first, second = moved[0.5]
    for noise in (first, second):
        np.testing.assert_allclose(noise.std(0), 0.5 * np.asarray(latents).std(0), rtol=0.15)
    assert not np.array_equal(first, second)


def test_weight_decay_takes_its_share_of_the_parameters_at_each_step():
    latents, targets = examples((2,))
    after = {}
    for decay in (0.0, 0.5):
        config = AspectConfig(batch_size=4, learning_rate=0.01, weight_decay=decay)
        before = initial(config, Affine())
        step = jax.jit(lambda s, config=config: aspects.step(config, Affine(), s, latents, targets, jnp.arange(4)))
        after[decay] = step(before)[0].parameters
    wanted = jax.tree.map(lambda p, start: p - 0.01 * 0.5 * start, after[0.0], before.parameters)
    assert_close(after[0.5], wanted, rtol=1e-5, atol=1e-7)


def test_a_smooth_map_is_learnt_from_few_latents():
    latents, targets = examples((3, 2), 64)
    config = AspectConfig(epochs=150, batch_size=16, learning_rate=5e-3)
    _, history = trained(config, LandmarkNetwork(points=3, hidden=(32, 32)), latents, targets)
    assert history[-1][0]["loss"] < 0.05 * np.asarray(targets).var(0).mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be positive"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"validation": 1.0}, "validation is 1.0; it must be in [0, 1)"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"batch_size": 21}, "a batch of 21 is larger than the 20 latents"),
        ({"batch_size": 20, "validation": 0.1}, "a batch of 20 is larger than the 18 latents"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"members": 0}, "members is 0; it must be positive"),
        ({"beta1": 1.0}, "beta1 is 1.0; it must be in [0, 1)"),
        ({"seed": 10**19}, "seed is 10000000000000000000"),
    ],
)
def test_options_that_cannot_be_trained_with_are_refused_by_name(changes, message):
    with pytest.raises(InputError) as error:
        aspects.check_batch(AspectConfig(**changes), 20)
    assert message in str(error.value)


def test_options_that_can_be_trained_with_pass():
    aspects.check_batch(AspectConfig(batch_size=20), 20)
    aspects.check_batch(AspectConfig(batch_size=18, validation=0.1), 20)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused_with_its_epoch(value):
    aspects.check_finite({"loss": 0.1, "validation_loss": 0.2}, 7)
    with pytest.raises(DivergedError, match="epoch 7: validation_loss"):
        aspects.check_finite({"loss": 0.1, "validation_loss": value}, 7)

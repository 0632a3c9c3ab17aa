"""The training step against appendix A written out plainly, in numpy where numbers suffice."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType

from began_jax import began, sharding
from began_jax.errors import DivergedError, InputError
from began_jax.images import to_float

finite = st.floats(0, 4, width=32)


def images(batch=4, height=16, width=24, channels=3, seed=0):
    return jnp.asarray(
        np.random.default_rng(seed).integers(0, 256, (batch, height, width, channels), np.uint8)
    )


def host(tree):
    """Leaves as numpy arrays, keys as their data."""
    return [
        np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in jax.tree.leaves(tree)
    ]


def assert_same(a, b):
    for x, y in zip(host(a), host(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_close(a, b, rtol=1e-4, atol=1e-5):
    for x, y in zip(host(a), host(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@functools.cache
def compiled_init(config):
    return jax.jit(lambda: began.init(config))()


@functools.cache
def compiled_step(config):
    return jax.jit(lambda state, batch: began.step(config, state, batch))


def run(config, steps, batch=None):
    """The state after some steps on one batch, and the metrics of each."""
    state, history = compiled_init(config), []
    for _ in range(steps):
        state, metrics = compiled_step(config)(state, images() if batch is None else batch)
        history.append(jax.device_get(metrics))
    return state, history


@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("power", [1, 2])
def test_gradients_of_one_backward_pass_equal_those_of_each_loss_alone(tiny_config, power, separate):
    config = tiny_config(loss_power=power, separate_latents=separate)
    generator, discriminator = began.networks(config)
    state, x, key = compiled_init(config), to_float(images()), jax.random.key(7)
    key_g, key_d = jax.random.split(key)
    z_g = jax.random.uniform(key_g, (4, 8), minval=-1.0)
    z_d = jax.random.uniform(key_d, (4, 8), minval=-1.0) if separate else z_g

    def autoencode(theta_d, v):
        return (jnp.abs(v - discriminator.apply({"params": theta_d}, v)) ** power).mean()

    def loss_d(theta_d, theta_g, k):
        return autoencode(theta_d, x) - k * autoencode(theta_d, generator.apply({"params": theta_g}, z_d))

    def loss_g(theta_g, theta_d):
        return autoencode(theta_d, generator.apply({"params": theta_g}, z_g))

    @jax.jit
    def plain(state):
        return (
            jax.value_and_grad(loss_g)(state.generator, state.discriminator),
            jax.value_and_grad(loss_d)(state.discriminator, state.generator, state.k),
        )

    fast = jax.jit(lambda state: began.gradients(config, state, x, key))
    for k in (0.0, 0.3, 1.0):
        at_k = state.replace(k=jnp.asarray(k))
        (value_g, grads_g), (value_d, grads_d) = plain(at_k)
        ours_g, ours_d, losses = fast(at_k)
        scale = max(abs(leaf).max() for leaf in host(grads_d))
        assert_close(ours_g, grads_g, atol=1e-5 * scale)
        assert_close(ours_d, grads_d, atol=1e-5 * scale)
        np.testing.assert_allclose(losses["loss_generated"], value_g, rtol=1e-5)
        np.testing.assert_allclose(losses["loss_discriminator"], value_d, rtol=1e-4, atol=1e-6)


@given(k=st.floats(0, 1, width=32), real=finite, generated=finite, gamma=finite, rate=finite)
def test_next_k_equals_numpy_and_stays_in_0_1(k, real, generated, gamma, rate):
    ours = began.next_k(*map(jnp.asarray, (k, real, generated)), gamma, rate)
    wanted = np.clip(k + rate * (gamma * real - generated), 0, 1)
    assert 0 <= ours <= 1
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("place", range(3))
def test_next_k_of_a_nan_is_nan(place):
    values = [jnp.asarray(np.nan if i == place else 0.5) for i in range(3)]
    assert np.isnan(began.next_k(*values, 0.5, 1e-3))


@given(real=finite, generated=finite, gamma=finite)
def test_convergence_measure_equals_numpy(real, generated, gamma):
    ours = began.convergence_measure(jnp.asarray(real), jnp.asarray(generated), gamma)
    np.testing.assert_allclose(ours, real + abs(gamma * real - generated), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_autoencoder_loss_equals_numpy_per_image(power):
    v, w = np.random.default_rng(0).standard_normal((2, 3, 4, 6, 1)).astype(np.float32)
    ours = began.autoencoder_loss(jnp.asarray(v), jnp.asarray(w), power)
    np.testing.assert_allclose(ours, (abs(v - w) ** power).reshape(3, -1).mean(1), rtol=1e-5)


def test_step_under_jit_equals_eager(tiny_config):
    config = tiny_config(k_0=0.3, patience=2)
    state = compiled_init(config)
    eager, eager_metrics = began.step(config, state, images())
    jitted, jitted_metrics = compiled_step(config)(state, images())
    assert eager_metrics.keys() == jitted_metrics.keys()
    assert_close(eager_metrics, jitted_metrics)
    # Adam divides a gradient by its own size, so rounding of a tiny one can move a parameter by a learning rate.
    assert_close(eager, jitted, atol=2 * config.learning_rate)
    assert_close(eager.generator_optimizer.mu, jitted.generator_optimizer.mu)
    assert_close(eager.discriminator_optimizer.mu, jitted.discriminator_optimizer.mu)


def test_step_split_over_1_2_and_4_devices_equals_the_unsharded_step(tiny_config):
    config = tiny_config(k_0=0.3)
    alone, alone_metrics = compiled_step(config)(compiled_init(config), images())
    assert len(jax.devices()) == 4
    for count in (1, 2, 4):
        mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])
        everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
        step = jax.jit(lambda state, x: began.step(config, state, x), out_shardings=everywhere)
        state, metrics = step(
            jax.device_put(compiled_init(config), everywhere), jax.device_put(images(), split)
        )
        assert len(state.k.sharding.device_set) == count
        assert_close(metrics, alone_metrics)
        assert_close(state, alone, atol=2 * config.learning_rate)
        assert_close(state.generator_optimizer.mu, alone.generator_optimizer.mu)
        assert_close(state.discriminator_optimizer.mu, alone.discriminator_optimizer.mu)


def test_data_mesh_spans_all_devices_and_refuses_a_batch_they_do_not_divide():
    assert sharding.data_mesh(8).devices.size == 4
    with pytest.raises(InputError, match="batch of 6 .* 4 devices"):
        sharding.data_mesh(6)


def test_update_equals_optax_adam(tiny_config):
    config = tiny_config(k_0=0.3)
    state, _ = run(config, 2)
    x = to_float(images())
    grads_g, grads_d, _ = jax.jit(
        lambda state: began.gradients(config, state, x, jax.random.fold_in(state.key, state.step))
    )(state)
    adam = optax.adam(config.learning_rate, b1=config.beta1, b2=config.beta2)
    after, _ = compiled_step(config)(state, images())
    for name, grads in (("generator", grads_g), ("discriminator", grads_d)):
        moments = getattr(state, f"{name}_optimizer")
        updates, _ = adam.update(grads, (moments, optax.EmptyState()), getattr(state, name))
        wanted = optax.apply_updates(getattr(state, name), updates)
        assert_close(getattr(after, name), wanted, atol=0.02 * config.learning_rate)


def track(config, measures):
    """Learning rates along a sequence of M."""
    state, rates = began.init(config), []
    follow = jax.jit(lambda state, m: began.track_convergence(config, state.replace(step=state.step + 1), m))
    for m in measures:
        state = follow(state, jnp.asarray(m))
        rates.append(float(state.learning_rate))
    return rates


def test_a_stalled_convergence_halves_the_learning_rate_down_to_the_floor(tiny_config):
    config = tiny_config(learning_rate=1e-3, learning_rate_floor=3e-4, patience=3)
    rates = track(config, [0.5] * 12)
    np.testing.assert_allclose(rates, [1e-3] * 3 + [5e-4] * 3 + [3e-4] * 6, rtol=1e-6)


def test_an_improving_convergence_keeps_the_learning_rate(tiny_config):
    config = tiny_config(patience=3)
    assert len(set(track(config, np.linspace(1, 0.1, 12)))) == 1


def test_without_patience_the_learning_rate_is_constant(tiny_config):
    assert len(set(track(tiny_config(patience=0), [0.5] * 12))) == 1


def test_a_rate_below_the_floor_is_never_raised(tiny_config):
    config = tiny_config(learning_rate=1e-5, learning_rate_floor=2e-5, patience=2)
    np.testing.assert_allclose(track(config, [0.5] * 6), 1e-5, rtol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_check_finite_names_the_step_and_the_metric(value):
    began.check_finite({"loss_real": 0.1, "k": 0.0}, 12)
    with pytest.raises(DivergedError, match=r"step 12: loss_real (nan|inf);") as caught:
        began.check_finite({"loss_real": value, "k": 0.0}, 12)
    assert "k 0" not in str(caught.value)


def test_a_nan_in_the_parameters_shows_in_the_metrics(tiny_config):
    config = tiny_config()
    state = compiled_init(config)
    dense = state.generator["dense"]
    broken = state.replace(generator=state.generator | {"dense": dense | {"bias": dense["bias"] * jnp.nan}})
    _, metrics = compiled_step(config)(broken, images())
    with pytest.raises(DivergedError, match="loss_generated nan.*k nan"):
        began.check_finite({name: float(value) for name, value in metrics.items()}, 1)


def test_the_loss_of_a_constant_batch_falls(tiny_config):
    _, history = run(tiny_config(learning_rate=3e-3), 30)
    losses = [metrics["loss_real"] for metrics in history]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_step_is_a_function_of_state_and_images_alone(tiny_config):
    config = tiny_config()
    state, _ = run(config, 1)
    assert_same(compiled_step(config)(state, images()), compiled_step(config)(state, images()))
    other, _ = compiled_step(config)(state.replace(step=state.step + 1), images())
    same, _ = compiled_step(config)(state, images())
    assert any((a != b).any() for a, b in zip(host(other.generator), host(same.generator), strict=True))


def test_init_is_a_function_of_the_seed_alone(tiny_config):
    config = tiny_config(seed=3)
    assert_same(jax.jit(lambda: began.init(config))(), compiled_init(config))
    other = compiled_init(dataclasses.replace(config, seed=4))
    assert any((a != b).any() for a, b in zip(host(other), host(compiled_init(config)), strict=True))


def test_samples_depend_on_the_parameters_and_not_on_the_step(tiny_config):
    config = tiny_config()
    state = compiled_init(config)
    sample = jax.jit(lambda state: began.samples(config, state, 3))
    pictures = sample(state)
    assert pictures.shape == (3, 16, 24, 3)
    assert_same(pictures, sample(state.replace(step=state.step + 5)))

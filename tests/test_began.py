"""The training step against appendix A written out plainly, in numpy where numbers suffice."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType

from began_jax import began, sharding
from began_jax.configs import TrainConfig
from began_jax.errors import DivergedError, InputError
from began_jax.images import to_float

# What a state holds, k and the learning rate among it, needs no step compiled anew: most tests share one.
TINY = TrainConfig(height=16, width=24, filters=4, encoder_filters=(4, 6), latent_size=8, batch_size=4)
finite = st.floats(0, 4, width=32)


def images(batch=4, height=16, width=24, channels=3, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (batch, height, width, channels), np.uint8))


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


def assert_close_states(a, b):
    """Equal to rounding; Adam divides a gradient by its size, so rounding may move a parameter by a step."""
    assert_close(a, b, atol=2 * TINY.learning_rate)
    assert_close(a.generator_optimizer.mu, b.generator_optimizer.mu)
    assert_close(a.discriminator_optimizer.mu, b.discriminator_optimizer.mu)


@pytest.fixture(scope="module")
def initial():
    """The state at step 0 of the tiny configuration, with values of k and of the learning rate as asked."""
    state = jax.jit(lambda: began.init(TINY))()

    def with_values(**values):
        return state.replace(**{k: jnp.asarray(np.asarray(v, getattr(state, k).dtype)) for k, v in values.items()})

    return with_values


@functools.cache
def compiled_step(config=TINY):
    return jax.jit(lambda state, batch: began.step(config, state, batch))


@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("power", [1, 2])
def test_gradients_of_one_backward_pass_equal_those_of_each_loss_alone(initial, power, separate):
    config = dataclasses.replace(TINY, loss_power=power, separate_latents=separate)
    generator, discriminator = began.networks(config)
    state, x, key = initial(), to_float(images()), jax.random.key(7)
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
        ours_g, ours_d, *_, losses = fast(at_k)
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


@pytest.mark.slow
def test_step_under_jit_equals_eager():
    # Eagerly every operation of a new shape compiles alone, so the shapes are few.
    config = dataclasses.replace(TINY, height=8, width=8, encoder_filters=(4, 4), latent_size=4, k_0=0.3)
    state, batch = began.init(config), images(height=8, width=8)
    eager, eager_metrics = began.step(config, state, batch)
    jitted, jitted_metrics = compiled_step(config)(state, batch)
    assert eager_metrics.keys() == jitted_metrics.keys()
    assert_close(eager_metrics, jitted_metrics)
    assert_close_states(eager, jitted)


@pytest.mark.slow
def test_step_split_over_1_2_and_4_devices_equals_the_unsharded_step(initial):
    start = initial(k=0.3)
    alone, alone_metrics = compiled_step()(start, images())
    assert len(jax.devices()) == 4
    for count in (1, 2, 4):
        devices = jax.devices()[:count]
        mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
        step = jax.jit(functools.partial(began.step, TINY, sharding=split), out_shardings=everywhere)
        state, metrics = step(jax.device_put(start, everywhere), jax.device_put(images(), split))
        assert len(state.k.sharding.device_set) == count
        assert_close(metrics, alone_metrics)
        assert_close_states(state, alone)


EIGHT = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)
from began_jax import began, sharding
from began_jax.configs import TrainConfig
config = TrainConfig(height=8, width=8, filters=4, encoder_filters=(4, 4), latent_size=4, batch_size=8, k_0=0.3)
images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
results = []
for count in (1, 8):
    mesh = sharding.data_mesh(8, count)
    state = jax.jit(lambda: began.init(config), out_shardings=sharding.replicated(mesh))()
    step = jax.jit(lambda s, x: began.step(config, s, x, sharding.split(mesh)), out_shardings=sharding.replicated(mesh))
    state, metrics = step(state, sharding.assemble(mesh, images))
    assert len(state.k.sharding.device_set) == count
    results.append(jax.device_get((metrics, state.generator_optimizer.mu, state.discriminator_optimizer.mu)))
for a, b in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
def test_step_split_over_8_devices_equals_that_of_one():
    # The tests' own process has four.
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", EIGHT], env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("trained", "before", "after"),
    [
        (True, "", sharding.EIGEN_CONVOLUTIONS),
        (True, "--xla_a=1", f"--xla_a=1 {sharding.EIGEN_CONVOLUTIONS}"),
        (True, "--xla_cpu_experimental_ynn_fusion_type=", "--xla_cpu_experimental_ynn_fusion_type="),
        (False, "--xla_a=1", "--xla_a=1"),
    ],
)
def test_only_trained_kernels_get_other_convolutions_and_a_users_choice_of_them_stays(
    monkeypatch, trained, before, after
):
    monkeypatch.setenv("XLA_FLAGS", before)
    sharding.use_cpu_devices(4, kernel_gradients=trained)
    assert os.environ["XLA_FLAGS"] == after


def test_data_mesh_spans_all_devices_and_refuses_a_batch_they_do_not_divide():
    assert sharding.data_mesh(8).devices.size == 4
    with pytest.raises(InputError, match=r"batch of 6 .* 4 devices"):
        sharding.data_mesh(6)


def test_update_equals_optax_adam(initial):
    state, _ = compiled_step()(initial(k=0.3), images())  # so that Adam's moments are not zero
    x = to_float(images())
    grads_g, grads_d, *_ = jax.jit(
        lambda state: began.gradients(TINY, state, x, jax.random.fold_in(state.key, state.step))
    )(state)
    adam = optax.adam(TINY.learning_rate, b1=TINY.beta1, b2=TINY.beta2)
    after, _ = compiled_step()(state, images())
    for name, grads in (("generator", grads_g), ("discriminator", grads_d)):
        params, moments = getattr(state, name), (getattr(state, f"{name}_optimizer"), optax.EmptyState())
        updates, _ = jax.jit(adam.update)(grads, moments, params)
        wanted = jax.jit(optax.apply_updates)(params, updates)
        assert_close(getattr(after, name), wanted, rtol=0, atol=0.02 * TINY.learning_rate)


def track(initial, measures, **changes):
    """Learning rates along a sequence of M."""
    config, rates = dataclasses.replace(TINY, **changes), []
    state = initial(learning_rate=config.learning_rate)
    follow = jax.jit(lambda state, m: began.track_convergence(config, state.replace(step=state.step + 1), m))
    for m in measures:
        state = follow(state, jnp.asarray(m))
        rates.append(float(state.learning_rate))
    return rates


def test_a_stalled_convergence_halves_the_learning_rate_down_to_the_floor(initial):
    rates = track(initial, [0.5] * 12, learning_rate=1e-3, learning_rate_floor=3e-4, patience=3)
    np.testing.assert_allclose(rates, [1e-3] * 3 + [5e-4] * 3 + [3e-4] * 6, rtol=1e-6)


def test_an_improving_convergence_keeps_the_learning_rate(initial):
    assert len(set(track(initial, np.linspace(1, 0.1, 12), patience=3))) == 1


def test_without_patience_the_learning_rate_is_constant(initial):
    assert len(set(track(initial, [0.5] * 12, patience=0))) == 1


def test_a_rate_below_the_floor_is_never_raised(initial):
    rates = track(initial, [0.5] * 6, learning_rate=1e-5, learning_rate_floor=2e-5, patience=2)
    np.testing.assert_allclose(rates, 1e-5, rtol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_check_finite_names_the_step_and_the_metric(value):
    began.check_finite({"loss_real": 0.1, "k": 0.0}, 12)
    with pytest.raises(DivergedError, match=r"step 12: loss_real (nan|inf);") as caught:
        began.check_finite({"loss_real": value, "k": 0.0}, 12)
    assert "k 0" not in str(caught.value)


def test_a_nan_in_the_parameters_shows_in_the_metrics(initial):
    state = initial()
    dense = state.generator["dense"]
    broken = state.replace(generator=state.generator | {"dense": dense | {"bias": dense["bias"] * jnp.nan}})
    _, metrics = compiled_step()(broken, images())
    values = {name: float(value) for name, value in metrics.items()}
    with pytest.raises(DivergedError, match=r"loss_generated nan") as caught:
        began.check_finite(values, 1)
    assert "k nan" in str(caught.value)
    assert "loss_real" not in str(caught.value)


def test_the_loss_of_a_constant_batch_falls(initial):
    state, losses = initial(learning_rate=1e-2), []
    for _ in range(30):
        state, metrics = compiled_step()(state, images())
        losses.append(float(metrics["loss_real"]))
    assert max(losses[-5:]) < 0.9 * min(losses[:5])


def test_step_is_a_function_of_state_and_images_alone(initial):
    state, _ = compiled_step()(initial(), images())
    once, again = compiled_step()(state, images()), compiled_step()(state, images())
    assert_same(once, again)
    other, _ = compiled_step()(state.replace(step=state.step + 1), images())  # other latents
    assert differ(other.generator, once[0].generator)


def differ(a, b):
    return any((x != y).any() for x, y in zip(host(a), host(b), strict=True))


def test_init_is_a_function_of_the_seed_alone(initial):
    assert_same(jax.jit(lambda: began.init(TINY))(), initial())
    other = jax.jit(lambda: began.init(dataclasses.replace(TINY, seed=1)))()
    assert differ(other.generator, initial().generator)
    assert differ(other.key, initial().key)


def test_samples_depend_on_the_parameters_and_not_on_the_step(initial):
    sample = jax.jit(lambda state: began.samples(TINY, state, 3))
    pictures = sample(initial())
    assert pictures.shape == (3, 16, 24, 3)
    assert_same(pictures, sample(initial(step=5)))

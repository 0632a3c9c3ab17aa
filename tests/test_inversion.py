"""Inversion is N separate optimisations, however they are grouped, ordered, looped over and sharded."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from began_jax import inversion, sharding
from began_jax.configs import InvertConfig
from began_jax.inversion.loop import Inverter
from began_jax.models import Decoder

LATENT = 6
DECODER = Decoder(8, 8, 1, filters=3, poolings=1)
# Every pair of values occurs.
VARIANTS = {
    "constant-zero": dict(schedule="constant", start="zero", clip=False),
    "constant-uniform-clip": dict(schedule="constant", start="uniform", clip=True),
    "cosine-zero-clip": dict(schedule="cosine", start="zero", clip=True),
    "cosine-uniform": dict(schedule="cosine", start="uniform", clip=False),
}


@pytest.fixture
def x64():
    """Float64, where grouping changes only the last of many digits and Adam cannot blow that up."""
    with jax.enable_x64(True):
        yield


@jax.jit
def generate(parameters, z):
    return DECODER.apply({"params": parameters}, z)


def problem(count, dtype=np.float64):
    """A generator's parameters, and images that it can nearly make."""
    rng = np.random.default_rng(1)

    def initial(leaf):
        return (rng.normal(0, 0.1, leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]) / 100)).astype(dtype)

    shapes = jax.eval_shape(lambda: DECODER.init(jax.random.key(0), jnp.zeros((1, LATENT))))["params"]
    parameters = jax.tree.map(initial, shapes)
    images = np.asarray(generate(parameters, jnp.asarray(rng.uniform(-1, 1, (count, LATENT)).astype(dtype))))
    return parameters, (images + rng.normal(0, 0.05, images.shape)).clip(-1, 1).astype(dtype)


def inverted(config, parameters, images, indices=None):
    """All of `images`, which have these places in the data set, in one scan."""
    z = inversion.start(config, jnp.asarray(range(len(images)) if indices is None else indices), LATENT)
    return SCAN(config, parameters, jnp.asarray(images), z)


SCAN = jax.jit(
    lambda config, parameters, images, z: inversion.invert(config, lambda z: generate(parameters, z), images, z),
    static_argnums=0,
)


def looped(inverter, images, z):
    """The results of an Inverter, and the numbers of steps that it reported."""
    calls = []
    results = inverter(jnp.asarray(images), z, calls.append)
    return results, np.cumsum(calls).tolist()


def inverter(config, parameters, devices=1, **options):
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    parameters = jax.device_put(parameters, sharding.replicated(mesh))
    return Inverter(config, generate, parameters, sharding.split(mesh), **options)


def assert_equal(results, wanted, tolerance=1e-9):
    for name in ("z", "l1", "psnr_db"):
        np.testing.assert_allclose(results[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_equals_its_images_one_at_a_time_after_100_steps(x64, name):
    config = InvertConfig(steps=100, **VARIANTS[name])
    parameters, images = problem(4)
    together = inverted(config, parameters, images)
    assert together["z"].dtype == np.float64
    alone = [inverted(config, parameters, images[i : i + 1], [i]) for i in range(4)]
    assert_equal(together, {key: np.concatenate([one[key] for one in alone]) for key in together})
    if config.clip:
        assert np.abs(together["z"]).max() <= 1


def test_permuted_images_give_permuted_results(x64):
    config = InvertConfig(steps=100, start="uniform")
    parameters, images = problem(6)
    order = np.random.default_rng(2).permutation(6)
    wanted = inverted(config, parameters, images)
    permuted = inverted(config, parameters, images[order], order)
    assert_equal(permuted, {key: np.asarray(values)[order] for key, values in wanted.items()})


@pytest.mark.parametrize("size", [4, 5])
def test_shards_equal_the_whole_also_where_the_last_is_filled_up(x64, size):
    config = InvertConfig(steps=100, start="uniform", schedule="cosine", shard_size=size)
    parameters, images = problem(6)
    invert, parts = inverter(config, parameters), []
    for first in range(0, 6, size):
        count = min(size, 6 - first)
        rows = np.minimum(np.arange(size), count - 1)  # copies of the last image
        z = inversion.start(config, jnp.asarray(first + rows), LATENT)
        results, _ = looped(invert, images[first + rows], z)
        parts.append({key: values[:count] for key, values in results.items()})
    shards = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    assert_equal(shards, inverted(config, parameters, images))


def test_the_loop_on_the_host_equals_the_scan_for_any_number_of_steps_in_a_call(x64, monkeypatch):
    config = InvertConfig(steps=30, start="uniform", schedule="cosine")
    parameters, images = problem(4)
    wanted = inverted(config, parameters, images)
    z = inversion.start(config, jnp.arange(4), LATENT)
    for steps, reported in {1: list(range(1, 31)), 7: [7, 14, 21, 28, 30], 1000: [30]}.items():
        results, done = looped(inverter(config, parameters, steps_per_call=steps), images, z)
        assert_equal(results, wanted)
        assert done == reported
    assert inverter(config, parameters).steps_per_call == 1  # on a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert inverter(config, parameters).steps_per_call == 10  # a stop is answered soon


@pytest.mark.slow
def test_sharded_equals_unsharded(x64):
    config = InvertConfig(steps=50)
    parameters, images = problem(8)
    wanted = inverted(config, parameters, images)
    z = inversion.start(config, jnp.arange(8), LATENT)
    for devices in (1, 2, 4):
        results, _ = looped(inverter(config, parameters, devices), images, z)
        assert_equal(results, wanted)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_steps_are_adam_on_the_gradient_of_the_summed_error(x64, schedule):
    config = InvertConfig(steps=10, learning_rate=0.05, beta1=0.8, beta2=0.9, schedule=schedule)
    parameters, images = problem(3)
    images = jnp.asarray(images)
    gradient = jax.jit(jax.grad(lambda z: jnp.abs(images - generate(parameters, z)).mean((1, 2, 3)).sum()))
    step = jax.jit(lambda state: inversion.step(config, lambda z: generate(parameters, z), state, images))
    z = np.random.default_rng(3).uniform(-1, 1, (3, LATENT))
    state = inversion.init(config, jnp.asarray(z))
    m = v = 0.0
    for t in range(1, 4):
        state = step(state)
        g = np.asarray(gradient(jnp.asarray(z)))
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        rate = 0.05 * (0.5 + 0.5 * np.cos(np.pi * (t - 1) / 10) if schedule == "cosine" else 1.0)
        z = z - rate * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        np.testing.assert_allclose(state.z, z, rtol=1e-10, atol=1e-10)
    assert state.step == 3


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        (dict(optimizer="bfgs", steps=30), False),
        (dict(optimizer="bfgs", steps=61), True),
        (dict(optimizer="bfgs", steps=61, products="device"), False),
        (dict(steps=200), False),
        (dict(steps=200, products="float32"), True),
    ],
)
def test_products_have_all_bits_where_gradients_must_be_exact(options, exact):
    config = InvertConfig(learning_rate=0.05, **options)
    parameters, images = (jax.tree.map(jnp.asarray, part) for part in problem(2, np.float32))
    program = jax.make_jaxpr(
        lambda z: inversion.step(config, lambda z: generate(parameters, z), inversion.init(config, z), images).z
    )(jnp.zeros((2, LATENT)))
    convolutions = [line for line in str(program).split("conv_general_dilated")[1:]]
    assert convolutions
    assert all(("HIGHEST" in text.split("]")[0]) == exact for text in convolutions)


def test_the_papers_optimiser_is_adam_with_a_constant_rate_of_a_tenth():
    ours, wanted = inversion.optimizer(InvertConfig()), optax.adam(0.1, 0.9, 0.999)
    z = jnp.asarray([[0.3, -0.2]])
    a, b = ours.init(z), wanted.init(z)
    for scale in (1.0, -3.0, 0.01):
        (update_a, a), (update_b, b) = ours.update(scale * z, a), wanted.update(scale * z, b)
        np.testing.assert_array_equal(update_a, update_b)


def test_reported_errors_are_those_of_the_reported_latents_and_never_above_the_starts():
    parameters, images = problem(5, np.float32)
    at_zero = np.abs(np.asarray(generate(parameters, jnp.zeros((5, LATENT)))) - images).mean((1, 2, 3))
    for rate in (0.05, 3.0):  # the second one overshoots
        results = inverted(InvertConfig(steps=20, learning_rate=rate), parameters, images)
        generated = np.asarray(generate(parameters, results["z"]), np.float64)
        np.testing.assert_allclose(results["l1"], np.abs(generated - images).mean((1, 2, 3)), rtol=1e-5)
        difference = (generated.clip(-1, 1) + 1) / 2 - (np.asarray(images, np.float64) + 1) / 2
        psnr = 10 * np.log10(1 / (difference**2).mean((1, 2, 3)))
        np.testing.assert_allclose(results["psnr_db"], psnr, rtol=1e-4)
        assert (np.asarray(results["l1"]) <= at_zero * (1 + 1e-6)).all()
        assert rate == 3.0 or (np.asarray(results["l1"]) < 0.9 * at_zero).any()


def test_any_function_can_be_inverted_and_a_linear_maps_latents_are_found():
    rng = np.random.default_rng(4)
    matrix = jnp.asarray(rng.normal(0, 0.3, (3, 5 * 4 * 2)), jnp.float32)
    linear = lambda z: (z @ matrix).reshape(-1, 5, 4, 2)  # noqa: E731
    z = jnp.asarray(rng.uniform(-1, 1, (7, 3)), jnp.float32)
    config = InvertConfig(steps=300, schedule="cosine")
    found = inversion.invert(config, linear, linear(z), jnp.zeros_like(z))
    np.testing.assert_allclose(found["z"], z, atol=2e-3)
    assert (np.asarray(found["l1"]) < 1e-3).all()


def test_a_perfect_reconstruction_has_a_finite_psnr():
    images = jnp.zeros((2, 4, 4, 1))
    result = inversion.invert(InvertConfig(steps=1), lambda z: z.reshape(2, 4, 4, 1), images, jnp.zeros((2, 16)))
    np.testing.assert_array_equal(result["l1"], 0)
    np.testing.assert_allclose(result["psnr_db"], 100)


@given(st.lists(st.integers(0, 2**31 - 1), min_size=5, max_size=5), st.integers(0, 4), st.integers(0, 2**31 - 1))
def test_a_uniform_start_depends_on_seed_and_index_only(indices, place, seed):
    config = InvertConfig(start="uniform", seed=seed)
    together = np.asarray(inversion.start(config, jnp.asarray(indices), LATENT))
    alone = inversion.start(config, jnp.asarray(indices[place : place + 1]), LATENT)
    np.testing.assert_array_equal(together[place], alone[0])
    assert together.min() >= -1 and together.max() < 1
    assert len(np.unique(together, axis=0)) == len(set(indices))


def test_a_zero_start_is_the_middle_of_the_cube():
    z = inversion.start(InvertConfig(), jnp.arange(3), 5)
    assert z.shape == (3, 5)
    assert not z.any()

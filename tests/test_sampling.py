import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from began_jax import density, sampling
from began_jax.errors import InputError

KEY = jax.random.key(7)
Z_DATA = jax.random.normal(jax.random.key(1), (30, 64)) * jnp.linspace(0.1, 0.6, 64)[None]

MIXTURE = density.fit(np.asarray(Z_DATA), components=2)

SAMPLERS = {
    "uniform": lambda key, i: sampling.uniform_latents(key, i, 64),
    "bootstrap": lambda key, i: sampling.bootstrap_latents(key, i, Z_DATA, 0.2),
    "interpolated": lambda key, i: sampling.interpolated_latents(key, i, Z_DATA),
    "density": lambda key, i: sampling.density_latents(key, i, MIXTURE, 0.9),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_do_not_depend_on_the_batch(name):
    draw = jax.jit(SAMPLERS[name])
    whole = draw(KEY, jnp.arange(12))
    assert whole.shape == (12, 64) and whole.dtype == jnp.float32
    in_parts = [draw(KEY, jnp.arange(start, start + 4)) for start in (0, 4, 8)]
    np.testing.assert_allclose(np.concatenate(in_parts), whole, rtol=1e-6, atol=1e-7)
    assert np.unique(np.round(whole, 5), axis=0).shape[0] == 12
    assert not np.allclose(whole[:4], draw(jax.random.key(8), jnp.arange(4)))


@pytest.mark.parametrize("name", sampling.SAMPLERS)
def test_a_sampler_is_an_argument_of_what_is_jitted_and_its_data_no_constant(name):
    draw = sampling.sampler(name, KEY, 64, Z_DATA, truncation=0.9 if name == "density" else 1.0)
    drawn = jax.jit(lambda sample, numbers: sample(numbers))
    np.testing.assert_allclose(drawn(draw, jnp.arange(5)), draw(jnp.arange(5)), rtol=1e-5, atol=1e-6)
    closed = jax.make_jaxpr(lambda sample, numbers: sample(numbers))(draw, jnp.arange(5))
    assert sum(np.size(constant) for constant in closed.consts) < 64


def test_uniform_fills_the_cube():
    z = np.asarray(sampling.uniform_latents(KEY, 1000))
    jitted = jax.jit(sampling.uniform_latents)(KEY, jnp.arange(1000))
    np.testing.assert_allclose(z, jitted, rtol=1e-6, atol=1e-7)
    assert z.min() >= -1 and z.max() < 1
    np.testing.assert_allclose(z.std(axis=0), 1 / np.sqrt(3), rtol=0.08)


def test_bootstrap_draws_rows_and_adds_jitter_in_deviations():
    draw = jax.jit(lambda jitter: sampling.bootstrap_latents(KEY, 1000, Z_DATA, jitter))
    rows, noisy = np.asarray(draw(jnp.float32(0))), np.asarray(draw(jnp.float32(0.5)))
    assert {row.tobytes() for row in rows} == {row.tobytes() for row in np.asarray(Z_DATA)}
    noise = noisy - rows
    np.testing.assert_allclose(noise.std(axis=0), 0.5 * np.std(Z_DATA, axis=0), rtol=0.12)


def test_interpolated_stays_between_its_rows():
    ends = jnp.array([[-1.0, 0.0], [1.0, 0.5]])
    x, y = np.asarray(jax.jit(lambda: sampling.interpolated_latents(KEY, 500, ends))()).T
    np.testing.assert_allclose(y, 0.25 * (x + 1), atol=1e-6)  # on the segment, whichever rows were drawn
    assert np.unique(x).size > 200


def test_interpolate_keeps_its_ends():
    z0, z1 = Z_DATA[0], Z_DATA[1]
    walk = sampling.interpolate(z0, z1)
    assert walk.shape == (16, 64)
    np.testing.assert_array_equal(walk[0], z0)
    np.testing.assert_array_equal(walk[-1], z1)
    np.testing.assert_allclose(np.diff(walk, axis=0), np.tile((z1 - z0) / 15, (15, 1)), atol=1e-6)


def test_numpy_latents_and_counts_give_what_jax_ones_do():
    key, z = jax.random.key(5), np.random.default_rng(5).normal(size=(6, 3)).astype(np.float32)
    for draw in (sampling.bootstrap_latents, sampling.interpolated_latents):
        np.testing.assert_array_equal(draw(key, np.int64(4), z), draw(key, 4, jnp.asarray(z)))
    walked = sampling.interpolate(z[0], z[1])
    np.testing.assert_array_equal(walked, sampling.interpolate(jnp.asarray(z[0]), jnp.asarray(z[1])))


@pytest.mark.parametrize("name", sampling.SAMPLERS)
def test_latents_and_indices_may_be_split_over_explicit_axes(name):
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    rows, numbers = jax.device_put((Z_DATA, np.arange(4)), jax.NamedSharding(mesh, jax.P("x")))
    wanted = sampling.sampler(name, KEY, 64, Z_DATA)(4)
    for z_data, indices in ((rows, 4), (rows, numbers), (Z_DATA, numbers)):
        if name != "uniform" or indices is numbers:
            given = np.asarray(z_data) if indices is numbers else z_data  # which lies on no device of its own
            np.testing.assert_allclose(sampling.sampler(name, KEY, 64, given)(indices), wanted, atol=1e-6)


def test_a_walk_needs_two_latents():
    # Whole numbers, all of whose stops would be whole; jaxtyping refuses them first where it looks on.
    with pytest.raises((InputError, TypeCheckError)):
        sampling.interpolate(np.zeros(4, np.int32), np.ones(4, np.int32))
    with pytest.raises(InputError, match="points is -1"):
        sampling.interpolate(np.zeros(4, np.float32), np.ones(4, np.float32), -1)


def test_rows_are_drawn_of_latents_alone():
    with pytest.raises(InputError, match=r"Z_data must be floats \[data, latent\]"):
        sampling.bootstrap_latents(jax.random.key(0), 2, np.zeros((0, 4), np.float32))
    mixture = density.fit(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32), 1)
    with pytest.raises(InputError, match=r"must be \[count, 3\]"):
        density.log_likelihood(mixture, jnp.zeros((2, 1)))

"""The mixture of Gaussians: its density, its samples, and the number of its components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from began_jax import density
from began_jax.errors import InputError

CENTRES = np.array([[3.0, 0.0, -2.0], [-3.0, 2.0, 0.0], [0.0, -3.0, 3.0], [1.0, 3.0, 4.0]])


def clouds(count, seed):
    rng = np.random.default_rng(seed)
    own = rng.integers(len(CENTRES), size=count)
    return (CENTRES[own] + rng.normal(0, [0.2, 0.3, 0.5], (count, 3))).astype(np.float32), own


@pytest.fixture(scope="module")
def mixture():
    """Of four clouds, with the number of its components chosen."""
    return density.fit(clouds(4000, 0)[0])


def test_the_number_of_components_is_that_of_the_clouds(mixture):
    assert len(mixture.weights) == 4
    np.testing.assert_allclose(mixture.weights, 0.25, atol=0.03)
    apart = np.linalg.norm(mixture.means[:, None] - CENTRES[None], axis=-1)
    assert sorted(apart.argmin(1)) == [0, 1, 2, 3] and (apart.min(1) < 0.05).all()


def test_the_likelihood_is_that_of_scipy(mixture):
    z = clouds(50, 1)[0]
    parts = [
        weight * multivariate_normal(mean, factor.astype(np.float64) @ factor.T).pdf(z)
        for weight, mean, factor in zip(*mixture, strict=True)
    ]
    np.testing.assert_allclose(density.log_likelihood(mixture, jnp.asarray(z)), np.log(sum(parts)), rtol=1e-3)


def test_samples_are_as_likely_as_what_was_held_out(mixture):
    draw = jax.jit(jax.vmap(lambda key: density.sample(mixture, key)))
    samples = draw(jax.random.split(jax.random.key(0), 4000))
    likely, held_out = (density.log_likelihood(mixture, jnp.asarray(z)) for z in (samples, clouds(4000, 2)[0]))
    np.testing.assert_allclose(np.quantile(likely, [0.1, 0.5, 0.9]), np.quantile(held_out, [0.1, 0.5, 0.9]), atol=0.25)


def test_truncation_draws_samples_to_the_means_and_1_leaves_them(mixture):
    keys = jax.random.split(jax.random.key(0), 100)
    whole, half, none = (jax.vmap(lambda k, t=t: density.sample(mixture, k, t))(keys) for t in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(half, (whole + none) / 2, atol=1e-5)
    to = np.abs(np.asarray(none)[:, None] - mixture.means[None]).max(-1)
    assert (to.min(1) < 1e-6).all() and len(set(to.argmin(1))) == 4


def test_latents_that_are_one_gaussian_get_one_component():
    z = np.random.default_rng(0).normal(0, 1, (4000, 3)) @ np.random.default_rng(1).normal(0, 1, (3, 3)) + 5
    found = density.fit(z.astype(np.float32))
    assert len(found.weights) == 1
    factor = found.factors[0]
    np.testing.assert_allclose(factor @ factor.T, np.cov(z, rowvar=False, bias=True), rtol=0.02, atol=0.02)
    np.testing.assert_allclose(found.means[0], z.mean(0), atol=1e-3)


def test_latents_that_never_change_in_a_direction_are_drawn_so():
    z = np.random.default_rng(0).normal(0, 1, (4000, 3)).astype(np.float32)
    z[:, 1] = 0.25
    found = density.fit(z, components=1)
    drawn = jax.vmap(lambda k: density.sample(found, k))(jax.random.split(jax.random.key(0), 100))
    np.testing.assert_allclose(drawn[:, 1], 0.25, atol=0.02)


@pytest.mark.parametrize(
    "z, components, message", [(np.ones((3, 2)), 2, "2 components"), (np.full((9, 2), np.nan), None, "finite")]
)
def test_too_few_latents_and_such_as_are_not_numbers_are_refused(z, components, message):
    with pytest.raises(InputError, match=message):
        density.fit(z, components)

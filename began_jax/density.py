"""A density of latents: a mixture of Gaussians fitted to Z_data, to draw new latents from.

    p(z) = sum_k w_k N(z; m_k, C_k)

Expectation maximisation (Dempster, Laird and Rubin, 1977) on whitened latents. Each covariance is drawn towards the
mean of all components' covariances, as if `PRIOR` latents of that one had been seen too, so that a component with few
latents stays a sound one. The number of components is chosen by the likelihood of held-out latents.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from began_jax.errors import InputError
from began_jax.sharding import freed

COMPONENTS = (1, 2, 4, 8, 16)  # that are tried
PRIOR = 64.0  # latents
LEAST = 1e-4  # variance of a component, as a share of that of all latents
GAIN = 0.05  # of the logarithm of the likelihood, that more components must be worth
STEPS = 25  # of expectation maximisation
CHOOSING = 4096  # latents, on which the number of components is chosen
LONGEST = 1024  # latent, whose covariances are 4 MB each
HELD_OUT = 10  # every tenth of them is held out

_EXACT = jax.lax.Precision.HIGHEST


class Mixture(NamedTuple):
    """A mixture of K Gaussians over latents: arrays only, a pytree."""

    weights: Float[Array | np.ndarray, " components"]
    means: Float[Array | np.ndarray, "components latent"]
    factors: Float[Array | np.ndarray, "components latent latent"]  # F of each covariance F F'


def fit(z: Float[Array | np.ndarray, "count latent"], components: int | None = None, seed: int = 0) -> Mixture:
    """Fit a mixture to latents.

    Args:
        z: latents.
        components: how many Gaussians; None for the number in `COMPONENTS` that is best on held-out latents.
        seed: of the components' first means, which are latents.

    Raises:
        InputError: there are fewer than two latents a component, one is not finite, or they are too long.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from began_jax import density
        >>> z = np.random.default_rng(0).normal(3, 1, (200, 2)).astype(np.float32)
        >>> mixture = density.fit(z, components=1)
        >>> bool(np.abs(mixture.means - z.mean(0)).max() < 1e-4)
        True
        >>> near, far = density.log_likelihood(mixture, jnp.array([[3.0, 3.0], [9.0, 9.0]]))
        >>> bool(near > far), density.sample(mixture, jax.random.key(0)).shape
        (True, (2,))
    """
    z = np.asarray(z, np.float32)
    if z.ndim != 2 or not z.shape[1] or (components is not None and components < 1):
        asked = "" if components is None else f" and {components} components"
        raise InputError(f"latents are {list(z.shape)}{asked}; they must be [count, latent], and at least 1 component")
    if z.shape[1] > LONGEST:
        raise InputError(f"a density is fitted to latents of at most {LONGEST:,} numbers; these have {z.shape[1]:,}")
    if len(z) < 2 * (components or 1):
        raise InputError(f"a density of {components or 1} components cannot be fitted to {len(z)} latents")
    if not np.isfinite(z).all():
        raise InputError("a density cannot be fitted: a latent is not finite")
    if components is None:
        components = _best(z, seed)
    centre, spread = z.mean(0), _root(np.cov(z, rowvar=False, bias=True))
    white = jnp.asarray(np.linalg.solve(spread, (z - centre).T).T, jnp.float32)
    first = jnp.asarray(_spread(np.asarray(white), components, np.random.default_rng(seed)))
    weights, means, factors = jax.tree.map(np.asarray, _maximised(white, first))
    return Mixture(weights, means @ spread.T.astype(np.float32) + centre, spread.astype(np.float32)[None] @ factors)


def log_likelihood(mixture: Mixture, z: Float[Array, "count latent"]) -> Float[Array, " count"]:
    """Return log p(z) of each latent; InputError where these are of another size."""
    if z.shape[1:] != mixture.means.shape[1:]:
        raise InputError(f"latents are {list(z.shape)}; they must be [count, {mixture.means.shape[1]}]")
    return freed(lambda mixture, z: jax.nn.logsumexp(_joint(mixture, z), axis=1), mixture, z, like=z)


def sample(
    mixture: Mixture, key: Key[Array, ""], truncation: float | Float[Array, ""] = 1.0
) -> Float[Array, " latent"]:
    """Draw a latent; below 1, `truncation` draws it towards its component's mean by that factor."""
    which, where = jax.random.split(key)
    k = jax.random.categorical(which, jnp.log(mixture.weights))
    means, factors = jnp.asarray(mixture.means), jnp.asarray(mixture.factors)
    noise = jax.random.normal(where, means.shape[1:], means.dtype)
    return means[k] + truncation * jnp.matmul(factors[k], noise, precision=_EXACT)


_scored = jax.jit(log_likelihood)


def _best(z: np.ndarray, seed: int) -> int:
    """Return the least number of components under which held-out latents are as likely as under any, but for `GAIN`."""
    z = z[:: -(-len(z) // CHOOSING)]
    held = np.arange(len(z)) % HELD_OUT == HELD_OUT - 1
    tried = [count for count in COMPONENTS if 2 * count <= (~held).sum()]
    if not held.any() or len(tried) < 2:
        return 1
    scores = [float(_scored(fit(z[~held], count, seed), jnp.asarray(z[held])).mean()) for count in tried]
    return next(count for count, score in zip(tried, scores, strict=True) if score >= max(scores) - GAIN)


def _spread(z: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return latents drawn with a chance that grows with the squared distance to those drawn already (k-means++)."""
    chosen = [int(rng.integers(len(z)))]
    apart = ((z - z[chosen[0]]) ** 2).sum(1)
    for _ in range(count - 1):
        chosen.append(int(rng.choice(len(z), p=apart / apart.sum())) if apart.sum() > 0 else chosen[0])
        apart = np.minimum(apart, ((z - z[chosen[-1]]) ** 2).sum(1))
    return z[chosen]


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return F with F F' a covariance, whose least eigenvalues are raised to what float32 can tell."""
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    return vectors * np.sqrt(np.maximum(values, max(1e-6 * values.max(), 1e-12)))


def _joint(mixture: Mixture, z: Float[Array, "count latent"]) -> Float[Array, "count components"]:
    """Return log w_k N(z; m_k, C_k)."""

    def component(weight: Array, mean: Array, factor: Array) -> Array:
        scaled = jnp.linalg.solve(factor, (z - mean[None]).T)
        volume = jnp.linalg.slogdet(factor)[1] + 0.5 * z.shape[1] * jnp.log(2 * jnp.pi)
        return jnp.log(weight) - 0.5 * (scaled**2).sum(0) - volume

    return jax.lax.map(lambda each: component(*each), mixture).T


@jax.jit
def _maximised(z: Float[Array, "count latent"], means: Float[Array, "components latent"]) -> Mixture:
    """Return the mixture after expectation maximisation on whitened latents."""
    count, latent = z.shape
    components = len(means)

    def maximise(shares: Float[Array, "count components"]) -> Mixture:
        total = shares.sum(0)
        means = jnp.matmul(shares.T, z, precision=_EXACT) / jnp.maximum(total, 1e-6)[:, None]

        def scatter(k: Int[Array, ""]) -> Array:
            apart = z - means[k][None]
            return jnp.matmul((shares[:, k, None] * apart).T, apart, precision=_EXACT)

        scatters = jax.lax.map(scatter, jnp.arange(components))
        within = scatters.sum(0) / count + LEAST * jnp.eye(latent, dtype=z.dtype)
        covariances = (scatters + PRIOR * within[None]) / (total + PRIOR)[:, None, None]
        weights = (total + 1.0) / (count + components)  # no component dies
        return Mixture(weights, means, jnp.linalg.cholesky(covariances))

    one = jnp.eye(latent, dtype=z.dtype)
    weights = jnp.full((components,), 1 / components, z.dtype)
    start = Mixture(weights, means, jnp.broadcast_to(one, (components, latent, latent)))
    step = lambda mixture, _: (maximise(jax.nn.softmax(_joint(mixture, z), axis=1)), None)  # noqa: E731
    return jax.lax.scan(step, start, None, STEPS)[0]

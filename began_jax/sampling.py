"""Latents to generate from: uniform in the cube, near Z_data, what the data set was inverted to, or of its density.

Sample i depends on `fold_in(key, i)` alone: whatever the batch size, and wherever a stopped run goes on, the
same key gives the same samples. Latents are float32 [count, latent]; keys are typed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from began_jax import density
from began_jax.errors import InputError
from began_jax.sharding import freed

Indices = Int[Array | np.ndarray, " count"]

SAMPLERS = ("uniform", "data", "interpolated", "density")  # by name: each of the functions below, in their order
JITTER = 0.1  # of `data` by default, in standard deviations
FITTED = 20_000  # rows of Z_data that the density is fitted to, evenly spaced


def sampler(
    name: str,
    key: Key[Array, ""],
    latent_size: int,
    z_data: Float[Array | np.ndarray, "data latent"] | None = None,
    jitter: float = JITTER,
    truncation: float = 1.0,
    draw: Callable[[Key[Array, ""]], Float[Array, " latent"]] | None = None,
) -> Callable[[Indices | int | np.integer], Float[Array, "count latent"]]:
    """Return the sampler of a name in SAMPLERS as a function of indices; all but `uniform` need Z_data.

    `jitter` is that of `data`, and `truncation` that of `density`, which is fitted here. `draw` is what a generator
    draws its latents by in the place of `uniform`, a function of a key. The function is a pytree, as an argument of one
    that is jitted too: then Z_data is no constant of it.
    """
    if name == "uniform":
        own = None if draw is None else lambda key, indices: jax.vmap(draw)(_keys(key, indices))
        return _of_key(own or (lambda key, indices: uniform_latents(key, indices, latent_size)), key)
    if name not in SAMPLERS:
        raise InputError(f"sampler is {name!r}; it must be one of {', '.join(SAMPLERS)}")
    if z_data is None:
        raise InputError(f"sampler {name} needs z_data, latents [data, latent]")
    if name == "density":
        rows = np.asarray(z_data)
        mixture = density.fit(rows[evenly(np.arange(len(rows)), FITTED)])
        return _of_key(density_latents, key, mixture, truncation)
    latents = jnp.asarray(z_data)
    if name == "data":
        return _of_key(bootstrap_latents, key, latents, jitter)
    return _of_key(interpolated_latents, key, latents)


def _of_key(function: Callable, key: Key[Array, ""], *values: Any) -> Callable:
    """Return a function (key, indices, values) as one of indices alone, which is a pytree of the key and the values."""
    return jax.tree_util.Partial(lambda key, values, indices: function(key, indices, *values), key, values)


def _keys(key: Key[Array, ""], indices: Indices | int | np.integer) -> Key[Array, " count"]:
    indices = indices if isinstance(indices, jax.Array) else np.asarray(indices)
    one = indices.ndim == 0
    whole = jnp.issubdtype(jnp.result_type(indices), jnp.integer)
    if not whole or (one and not isinstance(indices, Tracer) and int(indices) < 0):
        found = indices if one else f"{indices.dtype} {list(indices.shape)}"
        raise InputError(f"indices are {found}; they must be whole numbers [count], or how many, at least 0")
    indices = jnp.arange(indices) if one else jnp.asarray(indices)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)


def _each(draw: Callable, keys: Key[Array, " count"], *values: Any) -> Float[Array, "count latent"]:
    """Return what is drawn by each key from the same values."""
    return freed(lambda keys, *values: jax.vmap(lambda k: draw(k, *values))(keys), keys, *values, like=keys)


def _rows(latents: Any) -> Array:
    """Return Z_data as JAX's array, since numpy has no row of a traced number; InputError where it is none."""
    if latents.ndim != 2 or not len(latents) or latents.dtype.kind in "biu":
        raise InputError(f"latents are {latents.dtype} {list(latents.shape)}; Z_data must be floats [data, latent]")
    return jnp.asarray(latents)


def uniform_latents(
    key: Key[Array, ""], indices: Indices | int | np.integer, latent_size: int = 64
) -> Float[Array, "count latent"]:
    """Draw z uniformly from [-1, 1]^latent_size (fig. 5) for the given indices, or for the first so many.

    Examples:
        >>> import jax
        >>> from began_jax import uniform_latents
        >>> z = uniform_latents(jax.random.key(0), 100)
        >>> z.shape, bool((uniform_latents(jax.random.key(0), 10) == z[:10]).all())
        ((100, 64), True)
    """
    return jax.vmap(lambda k: jax.random.uniform(k, (latent_size,), minval=-1.0, maxval=1.0))(_keys(key, indices))


def bootstrap_latents(
    key: Key[Array, ""],
    indices: Indices | int | np.integer,
    latents: Float[Array | np.ndarray, "data latent"],
    jitter: float | Float[Array, ""] = 0.0,
) -> Float[Array, "count latent"]:
    """Draw rows of Z_data with replacement and add Gaussian noise.

    The unit of `jitter` is the standard deviation of each coordinate. The result is not clipped: like Z_data
    itself, it may leave the cube.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import bootstrap_latents
        >>> z_data = jnp.arange(6.0).reshape(3, 2)
        >>> bootstrap_latents(jax.random.key(0), 5, z_data, jitter=0.1).shape
        (5, 2)
    """

    def draw(key: Key[Array, ""], latents: Array, deviation: Array) -> Float[Array, " latent"]:
        row_key, noise_key = jax.random.split(key)
        z = latents[jax.random.randint(row_key, (), 0, latents.shape[0])]
        return z + deviation * jax.random.normal(noise_key, z.shape, z.dtype)

    latents = _rows(latents)
    return _each(draw, _keys(key, indices), latents, jitter * latents.std(axis=0))


def interpolated_latents(
    key: Key[Array, ""], indices: Indices | int | np.integer, latents: Float[Array | np.ndarray, "data latent"]
) -> Float[Array, "count latent"]:
    """Draw points, uniformly, on segments between two random rows of Z_data.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import interpolated_latents
        >>> interpolated_latents(jax.random.key(0), 5, jnp.eye(3)).shape
        (5, 3)
    """

    def draw(key: Key[Array, ""], latents: Array) -> Float[Array, " latent"]:
        rows_key, place_key = jax.random.split(key)
        z0, z1 = latents[jax.random.randint(rows_key, (2,), 0, latents.shape[0])]
        t = jax.random.uniform(place_key, (), latents.dtype)
        return (1 - t) * z0 + t * z1

    return _each(draw, _keys(key, indices), _rows(latents))


def density_latents(
    key: Key[Array, ""],
    indices: Indices | int | np.integer,
    mixture: density.Mixture,
    truncation: float | Float[Array, ""] = 1.0,
) -> Float[Array, "count latent"]:
    """Draw from a density of Z_data, see `density.sample`. The result is not clipped: it may leave the cube.

    Examples:
        >>> import jax, numpy as np
        >>> from began_jax import density
        >>> from began_jax.sampling import density_latents
        >>> mixture = density.fit(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32), components=1)
        >>> density_latents(jax.random.key(0), 5, mixture, truncation=0.9).shape
        (5, 3)
    """
    return _each(lambda k, m, t: density.sample(m, k, t), _keys(key, indices), mixture, truncation)


def evenly(rows: Int[np.ndarray, " rows"], count: int) -> Int[np.ndarray, " count"]:
    """Return `count` of the rows, evenly spaced, or all of them where they are fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]


def interpolate(
    z0: Float[Array | np.ndarray, " latent"], z1: Float[Array | np.ndarray, " latent"], points: int = 14
) -> Float[Array, "steps latent"]:
    """Walk from z0 to z1 in a straight line with `points` stops between (fig. 7): [points + 2, latent].

    Raises:
        InputError: z0 and z1 are no two latents [latent] of floats of one length, or there are fewer than 0 points.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import interpolate
        >>> interpolate(jnp.zeros(1), jnp.ones(1), points=3)[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if z0.ndim != 1 or z0.shape != z1.shape or {z0.dtype.kind, z1.dtype.kind} & set("biu"):
        found = " and ".join(f"{z.dtype} {list(z.shape)}" for z in (z0, z1))
        raise InputError(f"the ends are {found}; they must be two latents [latent] of floats, of one length")
    if points < 0:
        raise InputError(f"points is {points}; it must be at least 0")
    t = jnp.linspace(0, 1, points + 2, dtype=z0.dtype)[:, None]
    return (1 - t) * z0[None] + t * z1[None]

"""Latents before the first step, of any shape: an array, or a tree of arrays, a row for each image."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from began_jax.configs import InvertConfig
from began_jax.errors import InputError


def like(latent: Any) -> Any:
    """Return the tree of one latent's shapes and types.

    Args:
        latent: a size such as 64, a shape such as (18, 512), or a tree of sizes, shapes and `jax.ShapeDtypeStruct`,
            such as {"style": (18, 512), "noise": (32, 32, 1)}.

    Raises:
        InputError: a size is less than 1, or there is something else in the tree.
    """

    def struct(leaf: Any) -> jax.ShapeDtypeStruct:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        shape = (leaf,) if isinstance(leaf, int | np.integer) else leaf
        if not _is_shape(shape) or min(shape, default=1) < 1:
            raise InputError(f"latent is {leaf!r}; it must be a size, a shape, or a tree of them, each at least 1")
        return jax.ShapeDtypeStruct(shape, jnp.result_type(float))

    return jax.tree.map(struct, latent, is_leaf=_is_shape)


def _is_shape(latent: Any) -> bool:
    return isinstance(latent, tuple) and bool(latent) and all(isinstance(size, int | np.integer) for size in latent)


def start(
    config: InvertConfig,
    indices: Int[Array | np.ndarray, " batch"],
    latent: Any,
    number: int = 0,
    draw: Callable[[Array], Any] | None = None,
) -> Any:
    """Return the latents [batch, ...] before the first step; a uniform one depends on the image's index and `number`.

    Start 0 is the configured one, the others are uniform in [-1, 1]. A start from an encoder is no matter of indices:
    pass its latents to `init` or `invert` instead.

    Args:
        config: of the inversion; `start` and `seed` count.
        indices: of the images.
        latent: of one image, see `like`.
        number: of the start.
        draw: key -> a latent, in the place of the uniform one.

    Raises:
        InputError: the configured start is an encoder's.
    """
    wanted = like(latent)
    if config.start == "encoder" and number == 0:
        raise InputError("start is encoder: pass the encoder's latents of the images instead")
    if config.start == "zero" and number == 0:
        return jax.tree.map(lambda leaf: jnp.zeros((len(indices), *leaf.shape), leaf.dtype), wanted)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(config.seed)))(jnp.asarray(indices))
    if number:
        keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
    if draw is not None:
        return jax.vmap(draw)(keys)
    leaves, tree = jax.tree.flatten(wanted)

    def drawn(key: Array) -> list[Array]:
        of_leaf = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
        pairs = zip(of_leaf, leaves, strict=True)
        return [jax.random.uniform(k, leaf.shape, leaf.dtype, minval=-1.0) for k, leaf in pairs]

    return tree.unflatten(jax.vmap(drawn)(keys))


def rows(z: Any) -> int:
    """Return how many images latents [batch, ...] are of.

    Raises:
        InputError: they have no such axis, or one each of another length.
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(z)}
    if len(lengths) != 1 or () in lengths:
        shapes = jax.tree.map(jnp.shape, z)
        raise InputError(f"latents are {shapes}; the first axis must be that of the images, in each array alike")
    return next(iter(lengths))[0]

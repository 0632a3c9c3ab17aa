"""Differentiable augmentation (Zhao et al., 2020) for small data sets: what D sees is changed at random (--augment).

Real and generated images are changed alike, so D cannot learn the real ones by heart; and G learns through the change,
so that it does not learn to draw changed images.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Images = Float[Array, "batch height width channels"]

SHIFT = 1 / 8  # of the height and width, at most
HOLE = 1 / 2  # of the height and width


def augment(key: Key[Array, ""], images: Images, names: tuple[str, ...]) -> Images:
    """Return the images changed by the augmentations of these names, each image in its own way.

    Args:
        key: random key.
        images: in [-1, 1]; the result may leave it.
        names: of `AUGMENTATIONS`.
    """
    for i, name in enumerate(names):
        images = AUGMENTATIONS[name](jax.random.fold_in(key, i), images)
    return images


def colour(key: Key[Array, ""], images: Images) -> Images:
    """Change brightness by up to 0.5, saturation by a factor of 0 to 2, contrast by one of 0.5 to 1.5."""
    u = jax.random.uniform(key, (3, len(images), 1, 1, 1))
    images = images + u[0] - 0.5
    grey = images.mean(-1, keepdims=True)
    images = grey + 2 * u[1] * (images - grey)
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean + (u[2] + 0.5) * (images - mean)


def translation(key: Key[Array, ""], images: Images) -> Images:
    """Shift by up to an eighth of the size along each axis; what comes in is 0."""
    rows, columns = (
        _shifts(k, len(images), size) for k, size in zip(jax.random.split(key), images.shape[1:3], strict=True)
    )
    # Products with matrices of zeros and ones: their gradient has no scatter, and is exact.
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("nij,njkc,nlk->nilc", rows, images, columns, precision=exact)


def cutout(key: Key[Array, ""], images: Images) -> Images:
    """Set a rectangle of half the height and width to 0; a part of it may lie outside of the image."""
    holes = [
        _hole(k, len(images), size) for k, size in zip(jax.random.split(key), images.shape[1:3], strict=True)
    ]  # [batch, height], [batch, width]
    kept = 1.0 - holes[0][:, :, None] * holes[1][:, None, :]
    return images * kept[..., None]


AUGMENTATIONS = {"colour": colour, "translation": translation, "cutout": cutout}


def _shifts(key: Key[Array, ""], count: int, size: int) -> Float[Array, "count size size"]:
    """Return matrices that shift a vector by a random number of places."""
    most = int(size * SHIFT + 0.5)
    shift = jax.random.randint(key, (count, 1, 1), -most, most + 1)
    place = jnp.arange(size)[None, None]
    return (place == place.swapaxes(1, 2) + shift).astype(jnp.float32)


def _hole(key: Key[Array, ""], count: int, size: int) -> Float[Array, "count size"]:
    """Return 1 at the places of an interval of half the size whose middle is anywhere, and 0 elsewhere."""
    length = int(size * HOLE + 0.5)
    start = jax.random.randint(key, (count, 1), -(length // 2), size - length // 2)
    place = jnp.arange(size)[None]
    return ((place >= start) & (place < start + length)).astype(jnp.float32)

"""An ordinary network that a user trains on pairs, images -> annotation, and the augmentation that goes with it.

What generated pairs are worth is its error on real held-out images. Nothing here knows a generator: a student sees
real or generated pairs, in the same way.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from began_jax.landmarks import mirror, scheme

Images = Float[Array, "batch height width channels"]
Targets = Float[Array, "batch ..."]

TURN = 0.26  # radians either way: 15 degrees
SCALE = 0.15  # in the logarithm
SHIFT = 0.06  # of the height and width
LIGHT = 0.2  # of brightness, contrast and each channel's own brightness


def augment(key: Key[Array, ""], images: Images, targets: Targets, kind: str) -> tuple[Images, Targets]:
    """Return the pairs turned, scaled, shifted, every second one mirrored, and lit differently.

    Args:
        key: random key.
        images: in [-1, 1]; the result may leave it. What comes in from outside repeats the edge.
        targets: landmarks [batch, points, 2] as fractions, which move with the picture and are mirrored where it is
            known which points change places; masks [batch, height, width, 1], which move too and are then 0 or 1;
            any other kind stays as it is, and so does the place of its pictures.
        kind: name of the annotation.
    """
    where, how = jax.random.split(key)
    moved = MOVES.get(kind)
    if moved:
        images, targets = moved(where, images, targets)
    return light(how, images), targets


def light(key: Key[Array, ""], images: Images) -> Images:
    """Change brightness, each channel's brightness, and contrast about the mean, by up to `LIGHT`."""
    count, channels = len(images), images.shape[-1]
    brightness, contrast, colours = jax.random.split(key, 3)
    shift = jax.random.uniform(brightness, (count, 1, 1, 1), minval=-LIGHT, maxval=LIGHT)
    tint = jax.random.uniform(colours, (count, 1, 1, channels), minval=-LIGHT / 2, maxval=LIGHT / 2)
    factor = 1 + jax.random.uniform(contrast, (count, 1, 1, 1), minval=-LIGHT, maxval=LIGHT)
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean + factor * (images - mean) + shift + tint


def similarity(key: Key[Array, ""], count: int) -> tuple[Float[Array, "batch 2 2"], Float[Array, "batch 2"]]:
    """Return random turns with a scale, of vectors (x, y), and shifts as fractions of the width and height."""
    turn, scale, shift = jax.random.split(key, 3)
    angle = jax.random.uniform(turn, (count,), minval=-TURN, maxval=TURN)
    size = jnp.exp(jax.random.uniform(scale, (count,), minval=-SCALE, maxval=SCALE))
    cos, sin = size * jnp.cos(angle), size * jnp.sin(angle)
    matrix = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], 1)
    return matrix, jax.random.uniform(shift, (count, 2), minval=-SHIFT, maxval=SHIFT)


def move(images: Images, matrix: Float[Array, "batch 2 2"], shift: Float[Array, "batch 2"]) -> Images:
    """Return images turned about their centre and shifted, bilinear; pixels from outside repeat the edge."""
    height, width = images.shape[1:3]
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5 - height / 2, jnp.arange(width) + 0.5 - width / 2, indexing="ij")
    size = jnp.array([width, height], jnp.float32)
    to = jnp.stack([x, y], -1).reshape(1, -1, 2) - (shift * size[None])[:, None]
    source = jnp.einsum("nij,npj->npi", jnp.linalg.inv(matrix), to, precision=jax.lax.Precision.HIGHEST)

    def sample(image: Float[Array, "height width channels"], source: Float[Array, "pixels 2"]) -> Array:
        rows, columns = source[:, 1] + height / 2 - 0.5, source[:, 0] + width / 2 - 0.5
        one = lambda plane: jax.scipy.ndimage.map_coordinates(plane, [rows, columns], 1, "nearest")  # noqa: E731
        return jax.vmap(one, 2, 1)(image).reshape(image.shape)

    return jax.vmap(sample)(images, source)


def move_points(
    points: Float[Array, "batch points 2"],
    matrix: Float[Array, "batch 2 2"],
    shift: Float[Array, "batch 2"],
    height: int,
    width: int,
) -> Float[Array, "batch points 2"]:
    """Return points (x, y), fractions of width and height, where `move` takes them."""
    size = jnp.array([width, height], jnp.float32)
    from_centre = (points - 0.5) * size[None, None]
    turned = jnp.einsum("nij,npj->npi", matrix, from_centre, precision=jax.lax.Precision.HIGHEST)
    return turned / size[None, None] + 0.5 + shift[:, None]


def _with_landmarks(key: Key[Array, ""], images: Images, landmarks: Targets) -> tuple[Images, Targets]:
    which, how = jax.random.split(key)
    if scheme(landmarks.shape[1]).mirrored is not None:
        turned = jax.random.bernoulli(which, 0.5, (len(images),))
        images = jnp.where(turned[:, None, None, None], images[:, :, ::-1], images)
        landmarks = jnp.where(turned[:, None, None], mirror(landmarks), landmarks)
    matrix, shift = similarity(how, len(images))
    return move(images, matrix, shift), move_points(landmarks, matrix, shift, *images.shape[1:3])


def _with_masks(key: Key[Array, ""], images: Images, masks: Targets) -> tuple[Images, Targets]:
    which, how = jax.random.split(key)
    both = jnp.concatenate([images, masks], -1)
    turned = jax.random.bernoulli(which, 0.5, (len(images),))
    both = move(jnp.where(turned[:, None, None, None], both[:, :, ::-1], both), *similarity(how, len(images)))
    return both[..., :-1], (both[..., -1:] > 0.5).astype(masks.dtype)


MOVES: dict[str, Callable[[Key[Array, ""], Images, Targets], tuple[Images, Targets]]] = {
    "landmarks": _with_landmarks,
    "mask": _with_masks,
}

"""Images, or maps such as a generator's inner layers, moved together with what annotates them.

Each is turned, scaled and shifted by a random similarity, and every second one is mirrored.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from began_jax.landmarks import Scheme, mirror, scheme

Images = Float[Array, "batch height width channels"]
Targets = Float[Array, "batch ..."]

TURN = 0.26  # radians either way: 15 degrees
SCALE = 0.15  # in the logarithm
SHIFT = 0.06  # of the height and width


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


def with_landmarks(
    key: Key[Array, ""], images: Images, landmarks: Targets, points: Scheme | None = None
) -> tuple[Images, Targets]:
    """Move images and landmarks, fractions of width and height; mirrored points take each other's numbers.

    Which those are say `points`, by default the scheme of their number. Where they do not, nothing is mirrored.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax.moving import with_landmarks
        >>> images, landmarks = with_landmarks(jax.random.key(0), jnp.zeros((2, 8, 8, 3)), jnp.full((2, 49, 2), 0.5))
        >>> images.shape, bool(abs(landmarks - 0.5).max() < 0.2)  # the middle stays near the middle
        ((2, 8, 8, 3), True)
    """
    which, how = jax.random.split(key)
    points = points or scheme(landmarks.shape[1])
    if points.mirrored is not None:
        turned = jax.random.bernoulli(which, 0.5, (len(images),))
        images = jnp.where(turned[:, None, None, None], images[:, :, ::-1], images)
        landmarks = jnp.where(turned[:, None, None], mirror(landmarks, points), landmarks)
    matrix, shift = similarity(how, len(images))
    return move(images, matrix, shift), move_points(landmarks, matrix, shift, *images.shape[1:3])


def with_masks(key: Key[Array, ""], images: Images, masks: Targets) -> tuple[Images, Targets]:
    """Move images and masks, which may have another height and width, and may be soft."""
    which, how = jax.random.split(key)
    turned = jax.random.bernoulli(which, 0.5, (len(images), 1, 1, 1))
    given = similarity(how, len(images))
    images, masks = (move(jnp.where(turned, x[:, :, ::-1], x), *given) for x in (images, masks))
    return images, masks


def with_hard_masks(key: Key[Array, ""], images: Images, masks: Targets) -> tuple[Images, Targets]:
    """Move images and masks in {0, 1}, which stay so."""
    images, moved = with_masks(key, images, masks)
    return images, (moved > 0.5).astype(masks.dtype)

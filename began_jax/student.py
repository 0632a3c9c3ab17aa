"""An ordinary network that a user trains on pairs, images -> annotation, with the augmentation that goes with it.

What generated pairs are worth is its error on real held-out images. Nothing here knows a generator: a student sees
real or generated pairs, in the same way.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, UInt8

from began_jax.aspects import squared_error
from began_jax.errors import require_finite
from began_jax.images import to_float
from began_jax.landmarks import mirror, scheme
from began_jax.models import apply

Images = Float[Array, "batch height width channels"]
Targets = Float[Array, "batch ..."]

TURN = 0.26  # radians either way: 15 degrees
SCALE = 0.15  # in the logarithm
SHIFT = 0.06  # of the height and width
LIGHT = 0.2  # of brightness, contrast and each channel's own brightness


class Recipe(NamedTuple):
    """How a student is trained: AdamW, whose rate falls to 0 as half a cosine. Every choice of pairs gets the same."""

    steps: int = 4000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


Set = tuple[UInt8[np.ndarray, "_ height width channels"], np.ndarray]


def fit(
    network: nn.Module,
    sets: Sequence[Set],
    kind: str,
    recipe: Recipe,
    seed: int = 0,
    step_done: Callable[[], None] = lambda: None,
) -> Any:
    """Train a network on pairs from nothing and return its parameters.

    Args:
        network: from images [batch, height, width, channels] in [-1, 1] to annotations.
        sets: of pairs, images uint8 and their annotations [count, ...]. Each gives an equal part of every batch,
            drawn with replacement, however many pairs it has.
        kind: name of the annotation, see `augment`.
        recipe: of the training.
        seed: of the parameters, the batches and the augmentation.
        step_done: called after each step.

    Raises:
        DivergedError: the loss is no longer finite at the end.
    """
    schedule = optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps)
    optimizer = optax.adamw(schedule, weight_decay=recipe.weight_decay)
    each = [len(part) for part in np.array_split(np.arange(recipe.batch_size), len(sets))]
    given = [(jnp.asarray(images), jnp.asarray(targets)) for images, targets in sets]
    key_init, key_steps = jax.random.split(jax.random.key(seed))
    parameters = network.init(key_init, jnp.zeros((1, *given[0][0].shape[1:])))["params"]

    def loss(parameters: Any, images: Array, targets: Array) -> Array:
        return squared_error(apply(network, parameters, images), targets).mean()

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple[Any, Any], sets: Any, number: Array) -> tuple[tuple[Any, Any], Array]:
        parameters, moments = state
        key = jax.random.fold_in(key_steps, number)
        drawn = []
        for i, ((images, targets), count) in enumerate(zip(sets, each, strict=True)):
            rows = jax.random.randint(jax.random.fold_in(key, i), (count,), 0, len(images))
            drawn.append((to_float(images[rows]), targets[rows].astype(jnp.float32)))
        images, targets = (jnp.concatenate(column) for column in zip(*drawn, strict=True))
        images, targets = augment(jax.random.fold_in(key, len(sets)), images, targets, kind)
        value, gradient = jax.value_and_grad(loss)(parameters, images, targets)
        update, moments = optimizer.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, update), moments), value

    state, value = (parameters, optimizer.init(parameters)), jnp.zeros(())
    for number in range(recipe.steps):
        state, value = step(state, given, jnp.asarray(number))
        step_done()
    require_finite({"loss": float(value)}, "a student's training diverged", "use fewer or cleaner pairs")
    return state[0]


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

"""An ordinary network that a user trains on pairs, images -> annotation, with the augmentation that goes with it.

What generated pairs are worth is its error on real held-out images. Nothing here knows a generator: a student sees
real or generated pairs, in the same way.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, UInt8

from began_jax.aspects import have_absent, squared_error
from began_jax.aspects.losses import Loss
from began_jax.errors import InputError, require_finite
from began_jax.images import to_float
from began_jax.models import apply
from began_jax.models.heads import ImageToVector, OnImages, ToMask, factor
from began_jax.moving import Images, Targets

NETWORKS = ("regression", "heatmaps")
MASK_WIDTHS, REGRESSION_WIDTHS = (16, 32, 64), (32, 48, 64)
LIGHT = 0.2  # of brightness, contrast and each channel's own brightness


class Recipe(NamedTuple):
    """How a student is trained: AdamW, whose rate falls to 0 as half a cosine.

    Every choice of pairs gets as many steps; a mixture may have two such trainings in them (`downstream.Plan`).
    """

    steps: int = 4000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


def network(
    kind: str, shape: tuple[int, ...], height: int, width: int, name: str = NETWORKS[0], head: nn.Module | None = None
) -> nn.Module:
    """Return a student's network for images of a size.

    Args:
        kind: name of the annotation.
        shape: of an annotation.
        height, width: of the images.
        name: one of `NETWORKS`, for landmarks: their coordinates by dense layers, as small networks for telephones do,
            or by heat maps. Masks have a U-Net of 136,000 parameters. Any other kind has its head on the image, or a
            regression where it has none.
        head: of the kind, see `kinds.Kind`.

    Raises:
        InputError: there is no such network, or heat maps are asked for without a head.
    """
    if name not in NETWORKS:
        raise InputError(f"name is {name!r}; it must be {' or '.join(NETWORKS)}")
    size = factor(height, width)
    if kind == "mask":
        return OnImages(ToMask(size, MASK_WIDTHS), size)
    if kind == "landmarks" and name == "heatmaps" and head is None:
        raise InputError("heat maps of landmarks are read by their kind's head, and there is none")
    if head is None or (kind == "landmarks" and name != "heatmaps"):
        return ImageToVector(REGRESSION_WIDTHS, shape, size)
    return OnImages(head, size)


Set = tuple[UInt8[np.ndarray, "_ height width channels"], np.ndarray]
Moves = Callable[[Key[Array, ""], Images, Targets], tuple[Images, Targets]]


def fit(
    network: nn.Module,
    sets: Sequence[Set],
    recipe: Recipe,
    seed: int = 0,
    step_done: Callable[[], None] = lambda: None,
    moves: Moves | None = None,
    loss: Loss = squared_error,
    start: Any = None,
) -> Any:
    """Train a network on pairs and return its parameters.

    Args:
        network: from images [batch, height, width, channels] in [-1, 1] to annotations.
        sets: of pairs, images uint8 and their annotations [count, ...]. Each gives an equal part of every batch,
            drawn with replacement, however many pairs it has. Values of annotations that are NaN are absent.
        recipe: of the training.
        seed: of the parameters, the batches and the augmentation.
        step_done: called after each step.
        moves: of the annotation's kind, see `augment`.
        loss: (predicted, target, absent) -> error of each example, see `aspects.losses.of`.
        start: parameters that it goes on from, such as those learnt from other pairs; by default new ones.

    Raises:
        InputError: a set has no pairs, or not as many images as annotations, or none that is there; sets differ in
            shape; or a batch has no place for each of them.
        DivergedError: the loss is no longer finite at the end.
    """
    _check(sets, recipe)
    given = [(jnp.asarray(images), jnp.asarray(targets)) for images, targets in sets]
    absent = any(have_absent(targets) for _, targets in given)
    key_init, key_steps = jax.random.split(jax.random.key(seed))
    if start is None:
        start = network.init(key_init, jnp.zeros((1, *given[0][0].shape[1:])))["params"]

    what = (network, recipe, absent, moves, loss)
    try:
        step = _step(*what)
    except TypeError:  # a network or a loss of the user's may have no hash
        step = _step.__wrapped__(*what)
    parameters = jax.tree.map(jnp.array, start)  # what is donated is a copy of it
    state, value = (parameters, _optimizer(recipe).init(parameters)), jnp.zeros(())
    for number in range(recipe.steps):
        state, value = step(state, given, key_steps, jnp.asarray(number))
        step_done()
    require_finite({"loss": float(value)}, "a student's training diverged", "use fewer or cleaner pairs")
    return state[0]


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps)
    return optax.adamw(schedule, weight_decay=recipe.weight_decay)


@lru_cache(maxsize=16)
def _step(network: nn.Module, recipe: Recipe, absent: bool, moves: Moves | None, loss: Loss) -> Callable:
    """Return the jitted step of a training, which others of the same kind and sizes of sets need not compile again."""
    optimizer = _optimizer(recipe)

    def mean_loss(parameters: Any, images: Array, targets: Array) -> Array:
        return loss(apply(network, parameters, images), targets, absent).mean()

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple[Any, Any], sets: Any, key: Key[Array, ""], number: Array) -> tuple[tuple[Any, Any], Array]:
        parameters, moments = state
        key, drawn = jax.random.fold_in(key, number), []
        places = np.array_split(np.arange(recipe.batch_size), len(sets))
        for i, ((images, targets), own) in enumerate(zip(sets, places, strict=True)):
            rows = jax.random.randint(jax.random.fold_in(key, i), (len(own),), 0, len(images))
            drawn.append((to_float(images[rows]), targets[rows].astype(jnp.float32)))
        images, targets = (jnp.concatenate(column) for column in zip(*drawn, strict=True))
        images, targets = augment(jax.random.fold_in(key, len(sets)), images, targets, moves)
        value, gradient = jax.value_and_grad(mean_loss)(parameters, images, targets)
        update, moments = optimizer.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, update), moments), value

    return step


def _check(sets: Sequence[Set], recipe: Recipe) -> None:
    if min(recipe.steps, recipe.batch_size) < 1 or not recipe.learning_rate >= 0:
        raise InputError(f"{recipe}: steps and batch_size must be at least 1, learning_rate at least 0")
    if not 1 <= len(sets) <= recipe.batch_size:
        raise InputError(f"{len(sets)} sets, and a batch has {recipe.batch_size} places; each set needs one")
    for images, targets in sets:
        shapes = f"{images.dtype} {list(np.shape(images))} and {list(np.shape(targets))}"
        if len(images) != len(targets) or not len(images) or images.dtype != np.uint8:
            raise InputError(f"images and annotations are {shapes}; images must be uint8, and each have an annotation")
        if have_absent(targets) and np.isnan(targets).all():
            raise InputError("all annotations of a set are NaN, that is absent")
        own, first = ([np.shape(each)[1:] for each in pair] for pair in ((images, targets), sets[0]))
        if own != first:
            raise InputError(f"a set has images and annotations of {own}, and the first one of {first}")


def augment(
    key: Key[Array, ""], images: Images, targets: Targets, moves: Moves | None = None
) -> tuple[Images, Targets]:
    """Return the pairs moved, such as turned, scaled, shifted and mirrored, and lit differently.

    Args:
        key: random key.
        images: in [-1, 1]; the result may leave it.
        targets: their annotations [batch, ...].
        moves: (key, images, targets) -> both moved alike, such as `moving.with_landmarks`; None: they stay in place.
    """
    where, how = jax.random.split(key)
    if moves is not None:
        images, targets = moves(where, images, targets)
    return light(how, images), targets


def light(key: Key[Array, ""], images: Images) -> Images:
    """Change brightness, each channel's brightness, and contrast about the mean, by up to `LIGHT`.

    Raises:
        InputError: images are whole numbers, as they are stored.
    """
    if images.dtype.kind in "biu":
        raise InputError(f"images are {images.dtype}; they must be floats in [-1, 1], as to_float makes them")
    count, channels = len(images), images.shape[-1]
    brightness, contrast, colours = jax.random.split(key, 3)
    shift = jax.random.uniform(brightness, (count, 1, 1, 1), minval=-LIGHT, maxval=LIGHT)
    tint = jax.random.uniform(colours, (count, 1, 1, channels), minval=-LIGHT / 2, maxval=LIGHT / 2)
    factor = 1 + jax.random.uniform(contrast, (count, 1, 1, 1), minval=-LIGHT, maxval=LIGHT)
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean + factor * (images - mean) + shift + tint

"""Inversion of images in memory in one call, by the loop that is the fastest where it runs."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.inversion import starts
from began_jax.inversion.batches import Count, after_a_move, filling, ignore
from began_jax.inversion.loop import Inverter
from began_jax.inversion.objective import Loss, Prior, check_weights
from began_jax.inversion.steps import best_of
from began_jax.options import check_config
from began_jax.sharding import CPU_BATCH, automatic, parts_of, replicated

DEVICE_BATCH = 256  # images optimised together on each GPU or TPU, where nothing is asked for

Start = Any  # latents [count, ...], or a function images -> latents


@flax.struct.dataclass
class Inversion:
    """What an inversion found, numpy arrays with a row for each image.

    Args:
        z: latents with the lowest objective met, [count, ...] or a tree of such arrays.
        loss: the objective there: the loss, with the prior where there is one.
        l1: mean absolute difference of pixels and channels on the [-1, 1] scale, over those that have weight.
        psnr_db: peak signal-to-noise ratio on the [0, 1] scale, over those that have weight.
        steps: that were taken, of all starts together.
        converged: whether the error had stopped falling by `tolerance` before the steps were over; False without it.
    """

    z: Any
    loss: Float[np.ndarray, " count"]
    l1: Float[np.ndarray, " count"]
    psnr_db: Float[np.ndarray, " count"]
    steps: Int[np.ndarray, " count"]
    converged: Bool[np.ndarray, " count"]


def invert_all(
    generate: Callable[..., Any],
    images: Float[Array | np.ndarray, "count ..."] | np.ndarray,
    *,
    latent: Any = None,
    config: InvertConfig = InvertConfig(),  # noqa: B008
    parameters: Any = None,
    start: Start | None = None,
    loss: Loss | None = None,
    weights: Float[Array | np.ndarray, "..."] | None = None,
    prior: Prior | None = None,
    batch_size: int | None = None,
    sharding: jax.sharding.Sharding | None = None,
    progress: Count | None = None,
) -> Inversion:
    """Find for each image the latent that a generator makes it from (eq. 4).

    It takes the loop that is the fastest on the platform, fills the last batch up, and does the several starts and the
    tolerance that a configuration asks for. What an image becomes does not depend on its neighbours, but for rounding:
    a plain product of matrices rounds differently in another batch.

    Args:
        generate: latents [n, ...] -> images [n, ...], each row on its own; (parameters, latents) -> images where
            parameters are given, which spares compiling them in.
        images: [count, height, width, channels], uint8 or float in [-1, 1], or whatever `generate` gives.
        latent: of one image: a size, a shape, or a tree of them, such as 64, (18, 512) or {"w": 64, "noise": (8, 8)}.
            Needed unless `start` says it.
        config: of the inversion. `failure_l1` and `shard_size` are of data sets on disk and count for nothing here.
        parameters: of the generator.
        start: latents before the first step, [count, ...], or a function images -> latents such as an encoder, which
            is jitted and given float images in batches; by default what the configuration says.
        loss: "l1", "l2", or a function (generated, images) -> [n], with weights (generated, images, weights) -> [n];
            by default the configuration's.
        weights: at least 0, of the images' shape or one that broadcasts to it, such as [height, width, 1]; pixels of
            weight 0 are not looked at.
        prior: latents -> [n], added to the loss; by default the configuration's.
        batch_size: images optimised together; by default 64 on a CPU, 256 on each GPU or TPU, and never more than are
            there.
        sharding: of arrays with a leading image axis, over which the images are split.
        progress: told how many steps of images were done since the last time, count x steps x starts in all; an image
            that leaves early counts with all its steps.

    Raises:
        InputError: what was given does not fit together; the message says what, and what would.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import InvertConfig, invert_all
        >>> generate = lambda z: jnp.tanh(z).reshape(-1, 2, 2, 1)
        >>> images = generate(jnp.linspace(-1, 1, 12).reshape(3, 4))
        >>> found = invert_all(generate, images, latent=4, config=InvertConfig(steps=300))
        >>> found.z.shape, bool(found.l1.max() < 0.01)
        ((3, 4), True)
    """
    check_config(config, InvertConfig)
    images, weights = _checked(images, weights)
    progress = progress or ignore
    apply = generate if parameters is not None else lambda _, z: generate(z)
    one_start = dataclasses.replace(config, starts=1)
    if sharding is not None and not isinstance(sharding, jax.sharding.Sharding):
        raise InputError(f"sharding is a {type(sharding).__name__}; it must be a jax.sharding.Sharding, or None")
    sharding = automatic(sharding)
    if isinstance(sharding, jax.sharding.NamedSharding):
        parameters = jax.device_put(parameters, replicated(sharding.mesh))  # pyright: ignore[reportArgumentType]
    inverse = Inverter(one_start, apply, parameters, sharding, None, loss, prior)
    size = _batch_size(batch_size, len(images), parts_of(sharding))
    give = _starts(config, images, latent, start, size)

    def batches() -> Iterator[tuple[Any, ...]]:
        for first in range(0, len(images), size):
            rows = np.arange(first, min(first + size, len(images)))
            x = images[rows]
            x = np.asarray(to_float(x)) if x.dtype == np.uint8 else x
            w = None if weights is None else weights[rows if len(weights) > 1 else np.zeros_like(rows)]
            for number in range(config.starts):
                yield (first, number), x, give(x, rows, number), w

    found: dict[int, list[dict[str, Any]]] = {}
    for (first, _), result in _run(inverse, config, batches(), size, progress):
        found.setdefault(first, []).append(result)
    parts = [_best(config, found[first]) for first in sorted(found)]
    columns = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
    return Inversion(**{"loss": columns["l1"]} | columns)


def _run(
    inverse: Inverter, config: InvertConfig, batches: Iterator[tuple[Any, ...]], size: int, progress: Count
) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Give the results of each batch and start."""
    if config.tolerance:
        yield from inverse.refilled(batches, size, lambda images: progress(images * config.steps))
        return

    def attempts() -> Iterator[tuple[Any, dict[str, Any], bool]]:
        for key, x, z, w in batches:
            number = len(x)
            rows = filling(number, size)
            x, z, w = jax.tree.map(lambda values, rows=rows: values[rows], (x, z, w))
            result, moved = inverse.attempt(x, z, lambda steps, number=number: progress(number * steps), w)
            yield key, jax.tree.map(lambda values, number=number: values[:number], result), moved

    yield from after_a_move(attempts())


def _best(config: InvertConfig, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the best of each image's starts, with the steps of all and whether the best converged."""
    if not config.tolerance:
        found = [each | {"steps": np.full(len(each["l1"]), config.steps)} for each in found]
    best = best_of(found)
    return best | {"steps": np.sum([each["steps"] for each in found], 0), "converged": best["steps"] < config.steps}


def _checked(images: Any, weights: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return images and weights [count or 1, ...] as numpy arrays, or raise InputError."""
    images = np.asarray(images)
    if not images.ndim or not len(images):
        raise InputError("there are no images to invert")
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}; they must be uint8, or float in [-1, 1]")
    weights = None if weights is None else _checked_weights(np.asarray(weights), images)
    if images.dtype != np.uint8 and not np.isfinite(images).all():
        if weights is not None:
            images = np.where(weights > 0, images, 0)  # a missing pixel may be anything, and 0 times NaN is not 0
        if not np.isfinite(images).all():
            raise InputError("images are not finite: leave pixels that are missing out by weights of 0")
    return images, weights


def _checked_weights(weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    weights = weights.astype(np.float32) if weights.dtype == bool else weights
    weights = weights.reshape((1,) * (images.ndim - weights.ndim) + weights.shape)
    pairs = zip(weights.shape, images.shape, strict=False)
    fits = weights.ndim == images.ndim and all(own in (1, other) for own, other in pairs)
    if not fits:
        raise InputError(f"weights are {weights.shape}; they must broadcast to the images' {images.shape}")
    check_weights(weights)  # all of them, before the first batch is worked on
    unseen = np.flatnonzero(~weights.reshape(len(weights), -1).any(1))
    if len(unseen):
        raise InputError(f"the weights of image {unseen[0]} are all 0, so there is nothing to invert it by")
    return weights


def _starts(
    config: InvertConfig, images: np.ndarray, latent: Any, start: Start | None, size: int
) -> Callable[[np.ndarray, np.ndarray, int], Any]:
    """Return the function (at most `size` images, their rows, number of the start) -> latents."""
    if start is None:
        if config.start == "encoder":
            raise InputError("start is encoder in the configuration: give start=encode, images -> latents, too")
        if latent is None:
            raise InputError("latent is missing: the size or shape of one image's latent, such as 64 or (18, 512)")
        return lambda x, rows, number: jax.tree.map(np.asarray, starts.start(config, rows, latent, number))
    if isinstance(start, str):
        remedy = f"latents, a function, or a name in the configuration: InvertConfig(start={start!r})"
        raise InputError(f"start is {start!r}; it must be {remedy}")
    encode = jax.jit(start) if callable(start) else None
    if encode is None:
        start = jax.tree.map(np.asarray, start)
        if starts.rows(start) != len(images):
            raise InputError(f"start has {starts.rows(start)} latents for {len(images)} images; it must have one each")

    shapes: Any = None

    def given(x: np.ndarray, rows: np.ndarray, number: int) -> Any:
        nonlocal shapes
        if number:  # the first start comes before, and tells the shapes
            return jax.tree.map(np.asarray, starts.start(config, rows, shapes, number))
        if encode is None:
            first = jax.tree.map(lambda leaf: leaf[rows], start)
        else:
            found = encode(x[filling(len(x), size)])  # copies fill a short batch up, so that there is one shape
            if starts.rows(found) != size:
                raise InputError(f"start gives {starts.rows(found)} latents for {size} images; it must give one each")
            first = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(x)], found)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(first)):
            raise InputError("start gives a latent that is not finite")
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), first)
        if latent is not None and jax.tree.map(lambda a: a.shape, starts.like(latent)) != jax.tree.map(
            lambda a: a.shape, shapes
        ):
            raise InputError(f"start gives latents of {shapes}, and latent says {latent}; both must be alike")
        return first

    return given


def _batch_size(batch_size: int | None, count: int, devices: int) -> int:
    """Return how many images are optimised together, a multiple of the devices."""
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    default = CPU_BATCH if jax.default_backend() == "cpu" else DEVICE_BATCH * devices
    size = min(batch_size or default, count)
    return -(-size // devices) * devices

"""Annotated images of a run: latents, the images G(z), what an aspect network says of them, and its doubt.

Or, with IMAGES as the sampler, the data set's own images in the place of new ones: those that somebody has annotated
with these annotations, and all others with what the network says of the latents that they were inverted to.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import sampling
from began_jax.data.datasets import images_of
from began_jax.errors import InputError
from began_jax.images import to_uint8
from began_jax.run import doubt
from began_jax.run.answers import TrainedAspect
from began_jax.run.folder import Run
from began_jax.run.generator import batched

IMAGES = "images"
SAMPLERS = (*sampling.SAMPLERS, IMAGES)
BATCH = 256  # latents drawn, generated and annotated together
JUDGED = 1024  # other latents, whose doubts say which one is still kept


class Draw(NamedTuple):
    """Which latents are drawn, one of SAMPLERS, and the share that is kept: that with the least doubt."""

    sampler: str = "uniform"
    jitter: float = sampling.JITTER
    keep: float = 1.0
    truncation: float = 1.0
    part: tuple[int, int] = (0, 1)  # (i, n): of the samples' batches every n-th, from the i-th on


def check_draw(sampler: str, jitter: float, truncation: float) -> None:
    """Raise InputError for options of a draw that do nothing with its sampler."""
    for name, value, default, whose in (
        ("jitter", jitter, sampling.JITTER, "data"),
        ("truncation", truncation, 1.0, "density"),
    ):
        if value != default and sampler != whose:
            raise InputError(f"--{name} {value} does nothing with --sampler {sampler}, only with {whose}")


class Pairs(NamedTuple):
    """Latents [N, latent], their images uint8 [N, H, W, C], annotations [N, ...] and, where it is known, doubts [N].

    Each is a sample of its draw, and has its number there [N].
    """

    z: np.ndarray
    images: np.ndarray
    annotations: np.ndarray
    doubt: np.ndarray | None
    numbers: np.ndarray


def drawn(run: Run, aspect: TrainedAspect, count: int, draw: Draw, seed: int, first: int = 0) -> Iterator[Pairs]:
    """Yield `count` pairs, batch by batch; each sample is a function of the seed and of its own number alone.

    Samples before number `first`, rounded up to a whole batch, are left out. To keep a share below 1 takes an aspect
    network that has a doubt. Of the data set's own images there may be fewer than `count`.
    """
    most = np.inf
    make, judged, end = (_of_images if draw.sampler == IMAGES else _of_samples)(run, aspect, draw, seed)
    if draw.keep < 1:
        if not doubt.has_doubt(run, aspect):
            raise InputError(f"--keep {draw.keep}: the network has no doubt: no process, no image network, no encoder")
        found = [each.doubt for each in judged if each.doubt is not None]
        most = np.quantile(np.concatenate(found), draw.keep)
        if not np.isfinite(most):
            raise InputError(f"--keep {draw.keep}: doubts are not finite; train the aspect network again")
    missing = count
    number, parts = draw.part
    batches = (batch for batch in itertools.count(-(-first // BATCH)) if batch % parts == number)
    for start in (batch * BATCH for batch in batches):
        if missing <= 0 or start >= end:
            return
        made = make(start)
        rows = (np.arange(len(made.z)) if made.doubt is None else np.flatnonzero(made.doubt <= most))[:missing]
        known = None if made.doubt is None else made.doubt[rows]
        if len(rows):
            yield Pairs(made.z[rows], made.images[rows], made.annotations[rows], known, made.numbers[rows])
        missing -= len(rows)


Source = tuple[Callable[[int], Pairs], Iterator[Pairs], float]  # of a batch by its first number; to judge by; their end


def _of_samples(run: Run, aspect: TrainedAspect, draw: Draw, seed: int) -> Source:
    """Return what makes new images, of which there is no end."""
    generator, key, annotate = run.inverted, jax.random.key(seed), annotated(run, aspect)
    given = (generator.latent_size, run.latents("train")["z"], draw.jitter, draw.truncation, generator.draw)

    @jax.jit
    def latents(sample: Callable, numbers: jax.Array) -> jax.Array:  # Z_data is an argument, not a constant
        return sample(numbers)

    def pairs(sample: Callable, first: int) -> Pairs:
        numbers = np.arange(first, first + BATCH)
        z = np.asarray(latents(sample, jnp.asarray(numbers)))  # whole batches, so that every call has one shape
        images, annotations, *doubts = annotate(z)
        return Pairs(z, images, annotations, doubts[0] if doubts else None, numbers)

    def judged() -> Iterator[Pairs]:
        other = sampling.sampler(draw.sampler, jax.random.fold_in(key, 1), *given)
        yield from (pairs(other, first) for first in range(0, JUDGED, BATCH))

    sample = sampling.sampler(draw.sampler, key, *given)
    return lambda first: pairs(sample, first), judged(), math.inf


def annotated(run: Run, aspect: TrainedAspect) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Return the function from new latents [N, latent] to images uint8, annotations and, where it is known, doubts.

    They are made in one call, so that G draws once, and nothing but the results leaves the device.
    """
    made, parameters = new(run, aspect)

    def stored(parameters: Any, z: Any) -> tuple[jax.Array, ...]:
        x, *known = made(parameters, z)
        return to_uint8(x), *known

    return batched(stored, parameters, run.inverted.batch)


def new(run: Run, aspect: TrainedAspect) -> tuple[Callable[[Any, Any], tuple[jax.Array, ...]], dict[str, Any]]:
    """Return that function before it is jitted, of (parameters, z) and with images in [-1, 1]; and the parameters."""
    generator, pure, doubts = run.inverted, aspect.pure, doubt.of_new(run, aspect)
    assert pure is not None  # `networks.load` gives it

    def made(parameters: Any, z: Any) -> tuple[jax.Array, ...]:
        x = generator.stored(parameters["generator"], z)
        found = x, pure.annotate(parameters, z)
        return (*found, doubts(parameters, z, x)) if doubts else found

    return made, pure.parameters | {"generator": generator.parameters, "encoder": generator.encoder_parameters}


def _of_images(run: Run, aspect: TrainedAspect, draw: Draw, seed: int) -> Source:
    """Return what gives the data set's own images, whose annotations are without doubt where somebody made them."""
    doubts, z_data, source = doubt.of(run, aspect), run.latents("train")["z"], run.data.source("train")
    by_somebody = set(run.data.annotated("train").tolist())

    def pairs(first: int) -> Pairs:
        numbers = np.arange(first, min(first + BATCH, len(z_data)))
        z, images = z_data[numbers], images_of(source, numbers)
        annotations = np.array(aspect.known(run, "train", numbers, z))
        doubt = doubts(z, images, True) if doubts else None
        for i, row in enumerate(numbers.tolist()):
            if row in by_somebody:
                annotations[i] = source.annotation(row)
                if doubt is not None:
                    doubt[i] = 0
        return Pairs(z, images, annotations, doubt, numbers)

    return pairs, (pairs(first) for first in range(0, len(z_data), BATCH)), float(len(z_data))

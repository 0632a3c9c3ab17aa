"""New annotated images of a run: latents, the images G(z), what an aspect network says of them, and its doubt."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import sampling
from began_jax.errors import InputError
from began_jax.run import doubt
from began_jax.run.folder import Run
from began_jax.run.networks import TrainedAspect

BATCH = 256  # latents drawn, generated and annotated together
JUDGED = 1024  # other latents, whose doubts say which one is still kept


class Draw(NamedTuple):
    """Which latents are drawn, see `sampling.sampler`, and the share that is kept: that with the least doubt."""

    sampler: str = "uniform"
    jitter: float = sampling.JITTER
    keep: float = 1.0
    truncation: float = 1.0
    part: tuple[int, int] = (0, 1)  # (i, n): of the samples' batches every n-th, from the i-th on


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
    network that has a doubt.
    """
    doubts = doubt.of(run, aspect)

    def pairs(sample: Callable, first: int) -> Pairs:
        z = np.asarray(sample(jnp.arange(first, first + BATCH)))  # whole batches, so that every call has one shape
        images, annotations = run.inverted.pictures(z), aspect.annotate(z)
        numbers = np.arange(first, first + BATCH)
        return Pairs(z, images, annotations, doubts(z, images, False) if doubts else None, numbers)

    key, z_data, generator = jax.random.key(seed), run.latents("train")["z"], run.inverted
    given, most = (generator.latent_size, z_data, draw.jitter, draw.truncation, generator.draw), np.inf
    if draw.keep < 1:
        if doubts is None:
            raise InputError(f"--keep {draw.keep}: the network has no doubt: it has no process, and the run no encoder")
        judged = jax.jit(sampling.sampler(draw.sampler, jax.random.fold_in(key, 1), *given))
        found = [pairs(judged, first).doubt for first in range(0, JUDGED, BATCH)]
        most = np.quantile(np.concatenate([each for each in found if each is not None]), draw.keep)
        if not np.isfinite(most):
            raise InputError(f"--keep {draw.keep}: doubts are not finite; train the aspect network again")
    sample = jax.jit(sampling.sampler(draw.sampler, key, *given))
    missing = count
    number, parts = draw.part
    batches = (batch for batch in itertools.count(-(-first // BATCH)) if batch % parts == number)
    for start in (batch * BATCH for batch in batches):
        if missing <= 0:
            return
        made = pairs(sample, start)
        rows = (np.arange(BATCH) if made.doubt is None else np.flatnonzero(made.doubt <= most))[:missing]
        known = None if made.doubt is None else made.doubt[rows]
        if len(rows):
            yield Pairs(made.z[rows], made.images[rows], made.annotations[rows], known, made.numbers[rows])
        missing -= len(rows)

"""How good a run's generator is, beside what held-out images would get in its place."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL.Image import Image

from began_jax import began, features, figures, quality
from began_jax.configs import TrainConfig
from began_jax.data.datasets import DataSet, images_of
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.models import apply
from began_jax.sampling import evenly, uniform_latents

LEAST = 50  # images of each set: with fewer the figures say nothing
WHILE_TRAINING = 500  # images of each set
MOST_REFERENCES = 20_000  # training images, evenly spaced, among which copies are looked for
COPY_QUANTILE = 0.05  # of the held-out images' distances to their nearest training images: a copy is nearer
LEAST_DEVIATION = 0.05  # of a feature, as a share of the median one
SUSPECTS, THEIR_NEAREST = 12, 3  # generated images in the picture, and training images below each

_BATCH = 100

Function = Callable[[Any], Any]
_scattering = jax.jit(features.scattering)


def available(data: DataSet, count: int) -> int:
    """Return how many images of each set there are to measure with, at most `count`."""
    train = data.splits["train"]
    return min(count, train, data.splits["test"]) if "test" in data.splits else min(count, train // 2)


class Described(NamedTuple):
    """A set of images: features [N, F], energies of their octaves [N, octaves], distances to the training set [N]."""

    features: np.ndarray
    energies: np.ndarray
    nearest: np.ndarray


class Quality:
    """The measures of `began_jax.quality` for the generators of one data set, whose own images are read once.

    Real images are training images; the octaves' energies are compared with those of held-out ones. Beside each figure
    stands what the held-out images get in the generated ones' place (`_floor`). Where nothing is held out they are
    every second training image, and the others the real ones.

    Args:
        data: of the run.
        count: images of each set; fewer where there are not so many.
        references: training images among which copies are looked for.
        function: uint8 images [N, H, W, C] -> features [N, F], taken as they are; None for scattering, each of whose
            features is divided by its deviation over the training images.
        name: of the features.

    Raises:
        InputError: there are fewer than `LEAST` images, or the function gives no features.
    """

    def __init__(
        self,
        data: DataSet,
        count: int,
        references: int = MOST_REFERENCES,
        function: Function | None = None,
        name: str = features.NAME,
    ) -> None:
        self._train = data.source("train")
        every = np.arange(len(self._train))
        split = "test" in data.splits
        held_out = data.source("test") if split else self._train
        rows, held_rows = (every, np.arange(len(held_out))) if split else (every[::2], every[1::2])
        self.count: int = available(data, count)
        if self.count < LEAST:
            raise InputError(f"{self.count} images are too few to measure a generator with; it takes {LEAST}")
        self.name: str = name
        self._function, self._mean, self._unit = function or _scattering, 0.0, 1.0

        self._rows = evenly(rows, max(references, self.count))
        found = self._features(_batches(self._train.image(i) for i in self._rows))
        if function is None:
            deviation = found.std(0)
            # A feature that hardly changes, such as the colour of a border, must not outweigh the others.
            self._mean, self._unit = found.mean(0), np.maximum(deviation, LEAST_DEVIATION * np.median(deviation))
        self._references = (found - self._mean) / self._unit
        self._real = self._references[evenly(np.arange(len(found)), self.count)]
        images = np.stack([held_out.image(i) for i in evenly(held_rows, self.count)])
        self._held_out = self._described(images)
        self._copy = float(np.quantile(self._held_out.nearest, COPY_QUANTILE))

    def measure(self, images: np.ndarray) -> dict[str, float]:
        """Return the figures of generated images, uint8 [count, H, W, C], by their names."""
        return self._figures(self._described(images))

    def report(self, images: np.ndarray) -> dict[str, float | str]:
        """Return the figures with their 95 % intervals (half the width) and floors, and what they were measured on."""
        generated = self._described(images)

        def part(indices: np.ndarray) -> dict[str, float]:
            return self._figures(Described(*(values[indices] for values in generated)))

        found, floor = self._figures(generated), self._figures(self._held_out)
        intervals = quality.jackknife(part, len(images))
        return {
            **found,
            **{f"{name}_interval": value for name, value in intervals.items()},
            **{f"{name}_floor": value for name, value in floor.items() if not name.startswith("energy")},
            "features": self.name,
            "images": len(images),
            "training_images": len(self._rows),
        }

    def picture(self, images: np.ndarray) -> Image:
        """Draw the generated images that lie nearest to a training image, and below each its nearest ones.

        Args:
            images: uint8 [N, H, W, C].
        """
        nearest, which = quality.nearest(self._features(_batches(images)), self._references, THEIR_NEAREST)
        suspects = np.argsort(nearest[:, 0], kind="stable")[:SUSPECTS]
        rows = [images[suspects]]
        rows += [images_of(self._train, self._rows[column]) for column in which[suspects].T]
        return figures.grid(to_float(np.concatenate(rows)), columns=len(suspects))

    def _figures(self, generated: Described) -> dict[str, float]:
        found = quality.manifolds(self._real, generated.features)
        energies = zip(generated.energies.mean(0), self._held_out.energies.mean(0), strict=True)
        return {
            **{name: float(values.mean()) for name, values in found._asdict().items()},
            "frechet": quality.frechet_distance(self._real, generated.features),
            **{f"energy_octave_{i}": float(own / real) for i, (own, real) in enumerate(energies, 1) if real > 0},
            "copies_percent": 100 * float((generated.nearest < self._copy).mean()),
        }

    def _described(self, images: np.ndarray) -> Described:
        found = self._features(_batches(images))
        nearest, _ = quality.nearest(found, self._references)
        energies = [quality.octave_energies(to_float(batch)) for batch in _batches(images)]
        return Described(found, np.concatenate(energies), nearest[:, 0])

    def _features(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        found = []
        for batch in batches:
            full = np.concatenate([batch, np.repeat(batch[-1:], _BATCH - len(batch), axis=0)])  # one shape to compile
            rows = np.asarray(self._function(full), np.float64)
            if rows.ndim != 2 or len(rows) != _BATCH or not np.isfinite(rows).all():
                shape = list(rows.shape)
                raise InputError(f"{self.name}: {shape} for {_BATCH} images; features must be [{_BATCH}, F] and finite")
            found.append(rows[: len(batch)])
        return (np.concatenate(found) - self._mean) / self._unit


def of_training(data: DataSet, config: TrainConfig) -> Callable[[began.BeganState], dict[str, float]] | None:
    """Return a function from a state of the training to the figures of what it draws; None where images are too few.

    The data set is read when it is first asked.
    """
    if available(data, WHILE_TRAINING) < LEAST:
        return None
    generator, _ = began.networks(config)
    draw = jax.jit(lambda parameters, z: to_uint8(apply(generator, parameters, z)))

    @functools.cache
    def real() -> Quality:
        return Quality(data, WHILE_TRAINING, references=WHILE_TRAINING)

    def measure(state: began.BeganState) -> dict[str, float]:
        z = uniform_latents(jax.random.key(config.seed), real().count, config.latent_size)
        parameters = jax.device_get(state.averaged["generator"])
        drawn = [np.asarray(draw(parameters, z[i : i + _BATCH])) for i in range(0, len(z), _BATCH)]
        return real().measure(np.concatenate(drawn))

    return measure


def _batches(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    images = iter(images)
    while batch := list(itertools.islice(images, _BATCH)):
        yield np.stack(batch)

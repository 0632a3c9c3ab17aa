"""Batches of images on their way through an inversion: what they must be, and which results count."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from began_jax.errors import DivergedError, InputError
from began_jax.inversion import starts
from began_jax.inversion.objective import check_weights

Count = Callable[[int], Any]
ENOUGH = 64  # images none of which moves, after which no further ones are tried
_NO_GRADIENT = "no image has a finite gradient; look at the generator, the loss, the prior and the start"


def ignore(number: int) -> None:
    """Count nothing: nobody looks on."""


class Batch:
    """Images whose results are awaited together."""

    def __init__(self, key: Any, images: Any, z: Any, weights: Any = None) -> None:
        self.key, self.z, self.data = key, jax.tree.map(np.asarray, z), jax.tree.map(np.asarray, (images, weights))
        self.size = len(self.data[0])
        latents = starts.rows(self.z)
        if not self.size or self.size != latents:
            found = f"{self.size} images and {latents} latents"
            raise InputError(f"batch {key} has {found}; it must have as many of both, at least one")
        check_weights(self.data[1])
        self.rows: list[dict[str, Any]] = [{} for _ in range(self.size)]  # empty until its image has left
        self.left = 0


def after_a_move(results: Iterable[tuple[Any, Any, bool]], begun: bool = False) -> Iterator[tuple[Any, Any]]:
    """Give (key, found) of each (key, found, moved), none of them before an image has moved from its start.

    An image without a finite gradient is one that failed. Where all of `ENOUGH` are, the fault is not the images'.

    Args:
        results: where `moved` says whether an image of them has moved.
        begun: whether one did so before.

    Raises:
        DivergedError: none has, of all or of the first `ENOUGH`.
    """
    held, images = [], 0
    for key, found, moved in results:
        begun, images = begun or moved, images + len(found["l1"])
        held.append((key, found))
        if begun:
            yield from held
            held.clear()
        elif images >= ENOUGH:
            break
    if held:
        raise DivergedError(_NO_GRADIENT)


def alike(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Give batches on; InputError where one has weights and another none, since they share the slots."""
    first = None
    for batch in batches:
        first = batch if first is None else first
        if (first.data[1] is None) != (batch.data[1] is None):
            having, lacking = (first, batch) if batch.data[1] is None else (batch, first)
            raise InputError(f"batch {having.key} has weights, and batch {lacking.key} none; give them to all or none")
        yield batch


def filling(count: int, size: int, first: int = 0) -> np.ndarray:
    """Return `size` rows of `count`, from the first on: copies of the last fill a batch up, so there is one shape."""
    return np.minimum(np.arange(first, first + size), count - 1)

"""Section 3.2.1 as a recipe: segment an eye picture, crop it to 4:3, resize it, and add low-quality copies of it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from began_jax.annotators import annotator
from began_jax.annotators.annotator import Unsure
from began_jax.data.builder import unannotated
from began_jax.data.mask_files import MaskFiles
from began_jax.data.mask_shapes import MaskShapes
from began_jax.images import fit_image, fit_mask, read_image, to_float, to_uint8

# Subject and eye in the names of CASIA-Iris: S1001L01 is frame 01 of the left eye of subject 001.
CASIA = r"S\d(\d{3})[LR]\d+\.\w+$"


@dataclasses.dataclass(frozen=True)
class IrisRecipe:
    """How an eye picture becomes `copies` examples of height x width x 1 with the mask of its iris."""

    root: Path
    ids: Sequence[str]
    height: int
    width: int
    channels: int
    masks: MaskFiles | MaskShapes | None  # of humans; or
    annotator: str | None  # T by name
    copies: int = 1  # the picture as it is, and copies - 1 of low quality
    seed: int = 0  # of the low-quality copies
    partial: bool = False  # whether pictures without a mask in `masks` are kept

    def open(self) -> Callable[[int], list[dict[str, Any]]]:
        """Load T, and return a function from a picture's number to its examples."""
        annotate = annotator.load(self.annotator) if self.annotator else None
        spoil = _spoiler(self.seed, self.copies - 1) if self.copies > 1 else None

        def examples(index: int) -> list[dict[str, Any]]:
            name = self.ids[index]
            picture = read_image(self.root / name, self.channels)
            if self.partial and self.masks and name not in self.masks:
                image = fit_image(picture, self.height, self.width)
                return [{"image": image, "id": name} | unannotated("mask", (self.height, self.width, 1))]
            if annotate is not None:
                # T sees the whole picture as it is: more of it than 4:3, and at its own resolution
                mask = annotator.binary(annotate(picture), picture.shape[:2])
            else:
                assert self.masks is not None  # one of the two is given
                mask = self.masks.read(name, *picture.shape[:2])
            if mask.shape != (*picture.shape[:2], 1):
                raise Unsure(f"its mask is {list(mask.shape)}, its picture {list(picture.shape)}")
            image = fit_image(picture, self.height, self.width)
            mask = fit_mask(mask, self.height, self.width)
            if not mask.any():
                raise Unsure("no iris within the crop")
            spoilt = spoil(image, mask, index) if spoil else []
            names = [name, *(f"{name}~{copy}" for copy in range(1, self.copies))]
            also = {"annotated": 1} if self.partial else {}
            return [{"image": x, "mask": mask, "id": n} | also for x, n in zip([image, *spoilt], names, strict=True)]

        return examples


def _spoiler(seed: int, copies: int) -> Callable[[np.ndarray, np.ndarray, int], list[np.ndarray]]:
    """Return a function from image, mask and the picture's number to its low-quality copies."""
    import jax

    from began_jax.data import augment

    root = jax.random.key(seed)

    @jax.jit
    def spoil(image, mask, index):
        keys = jax.vmap(lambda copy: jax.random.fold_in(jax.random.fold_in(root, index), copy))
        made, _ = jax.vmap(lambda key: augment.low_quality(key, image, mask))(keys(jax.numpy.arange(1, copies + 1)))
        return made

    return lambda image, mask, index: list(to_uint8(np.asarray(spoil(to_float(image), mask.astype(np.float32), index))))

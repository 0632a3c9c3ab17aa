"""The built-in data sets: rendered faces with landmarks and rendered irises with masks, as TFDS data sets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from began_jax.data.builder import Example, Written, write, written_before
from began_jax.errors import InputError

KINDS = ("synthetic-faces", "synthetic-irises")
KEYPOINTS = 49
DEFAULT_COUNT = 4000
DEFAULT_HOLDOUT = 0.1


@dataclasses.dataclass(frozen=True)
class Examples(Sequence):
    """Rendered examples number `start` .. `stop` - 1 of a kind, each a function of seed and number alone."""

    kind: str
    seed: int
    start: int
    stop: int
    height: int
    width: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, i: int) -> Example:
        if not 0 <= i < len(self):
            raise IndexError(i)
        index = self.start + i
        example: Example = {"id": f"{self.kind}-{index:06d}"}
        if self.kind == "synthetic-faces":
            from began_jax.data.synthetic.faces import render

            example["image"], example["landmarks"] = render(self.seed, index, self.height, self.width)
        else:
            from began_jax.data.synthetic.irises import render

            example["image"], example["mask"] = render(self.seed, index, self.height, self.width)
        return example


def write_synthetic(kind: str, out: Path, count: int, holdout: float, height: int, width: int, seed: int) -> Written:
    """Render `count` examples to `out`, the last `holdout` share as test split, unless this has been done before."""
    if kind not in KINDS:
        raise InputError(f"{kind}: no built-in data set; there are {' and '.join(KINDS)}")
    test = round(count * holdout)
    if count < 1 or test >= count:
        raise InputError(f"{count} images with {test} of them held out: none is left for training")
    if holdout and not test:
        raise InputError(f"--holdout {holdout:g}: less than one image of {count}; give a larger fraction or count")
    told = {"kind": kind, "count": count, "holdout": holdout, "height": height, "width": width, "seed": seed}
    if before := written_before(out, told):
        return before
    examples = Examples(kind, seed, 0, count - test, height, width)
    splits = {"train": examples}
    if test:
        splits["test"] = dataclasses.replace(examples, start=count - test, stop=count)
    faces = kind == "synthetic-faces"
    what = "3 with 49 landmarks" if faces else "1 with masks"
    write(
        out,
        splits,
        height=height,
        width=width,
        channels=3 if faces else 1,
        annotation="landmarks" if faces else "mask",
        keypoints=KEYPOINTS if faces else None,
        description=f"{kind}, rendered by began_jax",
        metadata={
            "source": kind,
            "height": height,
            "width": width,
            "holdout": holdout,
            "seed": seed,
            "count": count,
        },
        command=told,
        what=what,
    )
    return Written({name: len(split) for name, split in splits.items()}, what)

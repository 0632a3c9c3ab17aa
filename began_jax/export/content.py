"""A written data set read back, picture by picture, to be written in another format: memory stays that of one."""

import csv
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from began_jax.data import landmark_schemes
from began_jax.errors import InputError
from began_jax.export.dataset import file_name
from began_jax.images import quick_png, read_image
from began_jax.landmarks import Scheme


class Item(NamedTuple):
    """A picture: its number, name, annotation and doubt, which is None where the set has none.

    Landmarks are in pixels [K, 2], a mask is uint8 [H, W] of {0, 1}, all else as it was written.
    """

    index: int
    name: str
    annotation: np.ndarray
    doubt: float | None


@dataclasses.dataclass(frozen=True)
class Content:
    """A data set that `generate.py` wrote."""

    folder: Path

    @functools.cached_property
    def told(self) -> dict[str, Any]:
        """What dataset.json says: count, sizes, origin."""
        return json.loads((self.folder / "dataset.json").read_text())

    @property
    def count(self) -> int:
        """Number of pictures."""
        return self.told["count"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        return self.told["height"], self.told["width"]

    @property
    def form(self) -> str:
        """How the pictures are stored, see `dataset.FORMS`."""
        return self.told.get("picture", "png")  # as all were before 0.3.0

    @functools.cached_property
    def kind(self) -> str:
        """Which annotation the pictures have."""
        for name, place in (("landmarks", "landmarks.npy"), ("mask", "masks"), ("attributes", "attributes.csv")):
            if (self.folder / place).exists():
                return name
        return "annotations"

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of the attributes, or nothing."""
        if self.kind != "attributes":
            return []
        with (self.folder / "attributes.csv").open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file))[1:]

    @functools.cached_property
    def scheme(self) -> Scheme:
        """What is known of the landmarks: as it was told when the set was written, or by their number."""
        return landmark_schemes.restored(self.told, self._rows.shape[1])

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        return np.load(self.folder / f"{self.kind}.npy", mmap_mode="r")

    def image(self, index: int) -> Path:
        """Return the file of a picture."""
        return self.folder / "images" / file_name(index, self.form)

    def pixels(self, index: int) -> np.ndarray:
        """Return a picture as an array, uint8 [height, width, channels]."""
        return read_image(self.image(index), self.told["channels"])

    def png(self, index: int) -> bytes:
        """Return a picture as a PNG file."""
        return self.image(index).read_bytes() if self.form == "png" else quick_png(self.pixels(index))

    def mask(self, index: int) -> Path:
        """Return the file of a mask."""
        return self.folder / "masks" / file_name(index)

    def items(self) -> Iterator[Item]:
        """Yield the pictures in order."""
        path = self.folder / "doubt.npy"
        doubts = np.load(path, mmap_mode="r") if path.is_file() else None
        for index, annotation in enumerate(self._annotations()):
            yield Item(index, file_name(index, self.form), annotation, None if doubts is None else float(doubts[index]))

    def _annotations(self) -> Iterator[np.ndarray]:
        height, width = self.size
        if self.kind == "landmarks":
            for row in self._rows:
                yield np.asarray(row, np.float64) * (width, height) - 0.5  # pixel centres at integers
        elif self.kind == "mask":
            for index in range(self.count):
                with Image.open(self.mask(index)) as picture:
                    yield (np.asarray(picture) > 0).astype(np.uint8)
        elif self.kind == "attributes":
            with (self.folder / "attributes.csv").open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                next(rows)
                for row in rows:
                    yield np.array(row[1:], np.float32)
        else:
            yield from self._rows


def open_content(folder: Path) -> Content:
    """Return the data set in a folder; InputError where `generate.py` has not written it, or before version 0.3.0."""
    content = Content(folder)
    if not (folder / "dataset.json").is_file():
        raise InputError(f"{folder}: holds no data set of generate.py")
    if content.kind == "annotations" and not (folder / "annotations.npy").is_file():
        raise InputError(f"{folder}: holds no annotations that --format knows; write them anew, or by a writer of ours")
    return content


def link(source: Path, target: Path) -> None:
    """Put a file at another place too: as a second name of it where the file system can, else as a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

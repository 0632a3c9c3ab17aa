"""Examples of a prepared data set by number, decoded and brought to the size that is asked for."""

import dataclasses
import io
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from PIL import Image

from began_jax.data.builder import parse_record
from began_jax.data.layout import Layout
from began_jax.images import fit_image, fit_landmarks, fit_mask


@dataclasses.dataclass(frozen=True)
class Source(Sequence):
    """Examples of a split in data set order, cropped and resized to `height` x `width` where that differs.

    `source[i]` is a dict: `image` uint8 [H, W, C], `id` str, and the annotation by its name, where there is one:
    `landmarks` float32 [K, 2], fractions of width and height, `mask` float32 [H, W, 1] in {0, 1}, `attributes`
    float32 [K] in {0, 1}, or another float32 array as it is stored, or as `follow` moves it with its image.
    """

    records: Any
    layout: Layout
    split: str
    height: int
    width: int
    follow: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: SupportsIndex) -> dict[str, Any]:
        fields = self.fields(i)
        annotation = self.layout.annotation
        return self._picture(fields, i) | ({annotation: self._annotation(fields)} if annotation else {})

    def picture(self, i: SupportsIndex) -> dict[str, Any]:
        """Return image and id alone; no annotation is decoded."""
        return self._picture(self.fields(i), i)

    def _picture(self, fields: Mapping[str, Any], i: SupportsIndex) -> dict[str, Any]:
        layout = self.layout
        return {
            "image": fit_image(_decode(fields[layout.image], layout.channels), self.height, self.width),
            "id": bytes_of(fields[layout.id]).decode() if layout.id else f"{self.split}-{operator.index(i):06d}",
        }

    def image(self, i: SupportsIndex) -> np.ndarray:
        """Return the image alone, uint8 [H, W, C]; no annotation is decoded."""
        picture = _decode(self.fields(i)[self.layout.image], self.layout.channels)
        return fit_image(picture, self.height, self.width)

    def annotation(self, i: SupportsIndex) -> np.ndarray:
        """Return the annotation alone; no image is decoded."""
        return self._annotation(self.fields(i))

    def _annotation(self, fields: Mapping[str, Any]) -> np.ndarray:
        layout, (names, shape) = self.layout, self.layout.annotated
        stored, wanted = (layout.height, layout.width), (self.height, self.width)
        if layout.annotation == "mask":
            mask = (_decode(fields[names[0]], 1) > 0).astype(np.uint8)
            return fit_mask(mask, *wanted).astype(np.float32)
        values = np.concatenate([_numbers(fields[name]) for name in names]).reshape(shape)
        if layout.annotation == "landmarks" and len(names) > 1:  # pixels
            values = (values + 0.5) / (layout.width, layout.height)
        values = values.astype(np.float32)
        if stored == wanted or layout.annotation == "attributes":
            return values
        if layout.annotation == "landmarks":
            return fit_landmarks(values, stored, wanted)
        return self.follow(values)

    def fields(self, i: SupportsIndex) -> Mapping[str, Any]:
        """Return the fields of a record as they are stored, by their names."""
        i = operator.index(i)
        if not 0 <= i < len(self):
            raise IndexError(f"{i}: {self.split} has {len(self)} examples")
        return parse_record(self.records[i]).features.feature


def bytes_of(field: Any) -> bytes:
    """Return the bytes that a field of a record holds."""
    return field.bytes_list.value[0]


def _numbers(field: Any) -> np.ndarray:
    return np.array(getattr(field, field.WhichOneof("kind")).value, np.float64)


def _decode(field: Any, channels: int) -> np.ndarray:
    with Image.open(io.BytesIO(bytes_of(field))) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)

"""How the records of a TFDS data set hold image, id and annotation: the names of their fields, and which are read."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from began_jax.errors import InputError

CELEB_A_POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
ID_FEATURES = ("id", "file_name", "filename", "image/filename", "image_id")


NONE = "none"  # in the place of an annotation's name
# What the annotations of these names have to be.
UNITS = {
    "landmarks": "floats [K, 2], (x, y) as fractions of width and height",
    "mask": "a picture (tfds.features.Image) with 0 outside",
    "attributes": "numbers [K], 0 or 1",
}


class Annotated(NamedTuple):
    """The fields of an annotation and its shape: one field holds all numbers, or each its own (celeb_a)."""

    fields: tuple[str, ...]
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What we read of a record: an image of this size, the id, and the annotation by its name."""

    height: int
    width: int
    channels: int
    image: str
    id: str | None
    annotation: str | None
    annotated: Annotated

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a fingerprint covers of this."""
        fields, shape = self.annotated
        size = (self.height, self.width, self.channels)
        # The order and the gaps are those of version 0.1.0, so that a run from then still knows its data set.
        known: tuple[Any, ...] = (None, (), None, None)
        if self.annotation == "landmarks":
            known = (*((fields[0], ()) if len(fields) == 1 else (None, fields)), None, shape[0])
        elif self.annotation == "mask":
            known = (None, (), "mask", None)
        elif self.annotation:
            known = (*known, self.annotation, fields, shape)
        return (*size, self.image, self.id, *known)


def find_layout(data: str, info: tfds.core.DatasetInfo, wanted: str = "") -> Layout:
    """Find the fields that hold image, id and the `wanted` annotation, or else the first of `annotations`.

    Raises:
        InputError: there is no image of one known size, not that annotation, or no random access to the records.
    """
    flat = _flat(info.features) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    pictures = [key for key, f in flat.items() if isinstance(f, tfds.features.Image) and key != "mask"]
    image = "image" if "image" in pictures else pictures[0] if len(pictures) == 1 else None
    if image is None:
        raise InputError(f"--data {data}: has no feature image; its features are {', '.join(flat) or 'none'}")
    shape, dtype = tuple(flat[image].shape), np.dtype(flat[image].np_dtype)
    if None in shape or len(shape) != 3 or shape[-1] not in (1, 3) or dtype != np.uint8:
        raise InputError(
            f"--data {data}: its {image} is {dtype} {shape}; it must be uint8 (height, width, 1 or 3) of one known size"
        )
    file_format = info.file_format.value if info.file_format else "an unknown format"
    if file_format != "array_record":
        raise InputError(
            f"--data {data}: stored as {file_format}, which has no random access; prepare it with "
            "file_format='array_record'"
        )
    found = annotations(flat)
    other = next((name for name in UNITS if name in flat and name not in found), None)
    before = not found or other is None or list(UNITS).index(other) < _place(next(iter(found)))
    if other and (wanted == other or (not wanted and before)):
        rest = "".join(f", or name another annotation as in --data {place(data)}#{name}" for name in list(found)[:1])
        raise InputError(
            f"--data {data}: its {other} are {_described(flat[other])}; they must be {UNITS[other]}{rest}; "
            f"{place(data)}#{NONE} trains without"
        )
    if wanted and wanted not in (*found, NONE):
        raise InputError(f"--data {data}: has no annotation {wanted}; it has {', '.join(found) or 'none'}")
    annotation = None if wanted == NONE else wanted or next(iter(found), None)
    annotated = found[annotation] if annotation else Annotated((), ())
    if annotation == "mask" and annotated.shape != (*shape[:2], 1):
        raise InputError(f"--data {data}: its mask is {annotated.shape}, its image {shape}; sizes must agree")
    ids = [key for key in ID_FEATURES if isinstance(flat.get(key), tfds.features.Text)]
    height, width, channels = shape
    return Layout(height, width, channels, image, ids[0] if ids else None, annotation, annotated)


def _place(name: str) -> int:
    return list(UNITS).index(name) if name in UNITS else len(UNITS)


def place(data: str) -> str:
    """Return where a data set is, without the annotation that `data` names."""
    return data.rpartition("#")[0] or data


def _described(feature: Any) -> str:
    shape = getattr(feature, "shape", None)
    kind = getattr(feature, "np_dtype", None)
    kind = getattr(kind, "__name__", kind) if type(feature) is tfds.features.Tensor else type(feature).__name__
    return f"{kind} {list(shape)}" if isinstance(shape, tuple) else f"{kind}"


def annotations(flat: Mapping[str, Any]) -> dict[str, Annotated]:
    """Return the annotations among features: landmarks, a mask, attributes, then any other array of one known shape."""
    arrays = {name: feature.shape for name, feature in flat.items() if _is_array(feature)}
    tensor, vector = arrays.pop("landmarks", ()), arrays.pop("attributes", ())
    arrays.pop("mask", None)  # only a picture is one
    found = {}
    if len(tensor) == 2 and tensor[1] == 2 and np.issubdtype(flat["landmarks"].np_dtype, np.floating):
        found["landmarks"] = Annotated(("landmarks",), tensor)
    for prefix in ("landmarks/", ""):
        points = tuple(f"{prefix}{point}_{axis}" for point in CELEB_A_POINTS for axis in "xy")
        if "landmarks" not in found and all(name in flat for name in points):
            found["landmarks"] = Annotated(points, (len(CELEB_A_POINTS), 2))
    if isinstance(flat.get("mask"), tfds.features.Image):
        found["mask"] = Annotated(("mask",), tuple(flat["mask"].shape))
    answers = tuple(name for name, f in flat.items() if name.startswith("attributes/") and f.np_dtype == np.bool_)
    if answers or len(vector) == 1:
        found["attributes"] = Annotated(answers, (len(answers),)) if answers else Annotated(("attributes",), vector)
    return found | {name: Annotated((name,), shape) for name, shape in arrays.items()}


def attribute_names(layout: Layout, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the attributes where they are read: those given, those of their fields, or numbers."""
    if layout.annotation != "attributes":
        return ()
    fields, (count,) = layout.annotated
    given = metadata.get("attribute_names", [name.split("/", 1)[1] for name in fields if "/" in name])
    return tuple(given) if len(given) == count else tuple(f"attribute_{i + 1}" for i in range(count))


def _is_array(feature: Any) -> bool:
    # Boxes and labels are tensors too, of classes of their own; an encoded tensor is stored as bytes.
    if type(feature) is not tfds.features.Tensor:
        return False
    shape: Any = feature.shape
    if not shape or None in shape:
        return False
    stored: Any = feature.get_serialized_info()
    return np.dtype(stored.np_dtype).kind in "biuf"


def _flat(features: tfds.features.FeaturesDict, prefix: str = "") -> dict[str, Any]:
    """Return the features by the names that their fields have in a record, in the order of these names."""
    flat: dict[str, Any] = {}
    for key, feature in sorted(features.items()):  # tfds gives another order in each process
        nested = isinstance(feature, tfds.features.FeaturesDict)
        flat |= _flat(feature, f"{prefix}{key}/") if nested else {prefix + key: feature}
    return flat

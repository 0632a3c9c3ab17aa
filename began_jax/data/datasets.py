"""Reads TFDS data sets (array_record) without TensorFlow: open one, take examples by number.

`open_data` accepts what `prepare.py` writes, a TFDS folder in array_record with an `image` feature of known size,
and `tfds:NAME`; `#ANNOTATION` behind it picks one of several annotations. Other features are never decoded.
"""

import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from began_jax.data import landmark_schemes
from began_jax.data.builder import canonical, parse_record
from began_jax.data.layout import UNITS, Layout, attribute_names, find_layout
from began_jax.data.own_annotations import Fit, fitted
from began_jax.data.places import brief, builder_at
from began_jax.data.source import Source, bytes_of
from began_jax.errors import InputError
from began_jax.landmarks import Scheme
from began_jax.logs import root_kept
from began_jax.sampling import evenly

LOOKED_AT = 64  # annotations of a data set of others, evenly spaced, that are looked at when it is opened


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A prepared data set as a run sees it: every image has `height` x `width` x `channels`."""

    name: str
    path: str
    fingerprint: str  # of sizes and a sample of the records as stored, whatever height and width were asked
    height: int
    width: int
    channels: int
    annotation: str | None  # its name: landmarks, mask, attributes or that of a kind of the user's
    names: tuple[str, ...]  # of the attributes
    splits: dict[str, int]  # split name -> number of examples
    metadata: dict[str, Any] = dataclasses.field(repr=False)  # provenance, of data sets from prepare.py
    layout: Layout = dataclasses.field(repr=False)
    builder: Any = dataclasses.field(repr=False)  # tfds.core.DatasetBuilder
    # Gives the `fit` of an annotation that is none of ours, once the annotation is asked for at another size.
    fit: Callable[[], Fit | None] = dataclasses.field(default=lambda: None, repr=False, compare=False)

    @property
    def keypoints(self) -> int | None:
        """K, where the annotation is landmarks."""
        return self.shape[0] if self.annotation == "landmarks" else None

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one annotation; InputError where it is none of ours and cannot follow its images to their size."""
        if self.annotation == "mask":
            return (self.height, self.width, 1)
        same = (self.layout.height, self.layout.width) == (self.height, self.width)
        if same or self.annotation in (None, *UNITS):
            return self.layout.annotated.shape
        for split in self.splits:
            for row in self.annotated(split)[:1]:
                return dataclasses.replace(self.source(split), follow=self._moved).annotation(int(row)).shape
        return self.layout.annotated.shape

    @property
    def of_pixels(self) -> bool:
        """Whether the annotation is none of ours, with a value for each pixel of its image as it is stored."""
        stored = (self.layout.height, self.layout.width)
        return self.annotation not in (None, *UNITS) and self.layout.annotated.shape[:2] == stored

    @functools.cached_property
    def points(self) -> Scheme | None:
        """What is known of the landmarks, where they are the annotation: as prepare.py was told, or by their number."""
        return None if self.keypoints is None else landmark_schemes.restored(self.metadata, self.keypoints)

    def annotated(self, split: str) -> np.ndarray:
        """Return the numbers of a split's annotated examples, in order: of `prepare.py --partial` some, else all."""
        rows = self.metadata.get("annotated", {}).get(split)
        return np.arange(self.splits.get(split, 0)) if rows is None else np.array(rows, int)

    def known(self, annotations: np.ndarray) -> np.ndarray:
        """Return landmarks [N, K, 2] of a network with NaN for points that no picture shows, and all else as it is."""
        unseen = self.metadata.get("unseen", [])
        if not unseen:
            return annotations
        return np.where(np.isin(np.arange(annotations.shape[1]), unseen)[:, None], np.nan, annotations)

    @property
    def changeable(self) -> bool:
        """Whether annotations may change though the data set stays the same, as of one of `prepare.py --partial`."""
        return "annotated" in self.metadata

    @property
    def partial(self) -> bool:
        """Whether some of the training examples are not annotated."""
        return len(self.annotated("train")) < self.splits.get("train", 0)

    def source(self, split: str) -> Source:
        """Return random access to a split, or raise InputError naming the splits there are."""
        if split not in self.splits:
            raise InputError(f"--data {self.path}: has no split {split}; it has {', '.join(self.splits)}")
        return Source(_records(self.builder, split), self.layout, split, self.height, self.width, self._followed)

    def _followed(self, annotation: np.ndarray) -> np.ndarray:
        """Return an annotation that is none of ours where its image of another size has it, of the data set's shape."""
        if np.isnan(annotation).all():  # there is none
            return np.full(self.shape, np.nan, np.float32)
        moved = self._moved(annotation)
        if moved.shape != self.shape:
            shapes = f"{list(moved.shape)}, and {list(self.shape)} before"
            raise InputError(f"--data {self.path}: `fit` of the kind: {self.annotation} is {shapes}")
        return moved

    def _moved(self, annotation: np.ndarray) -> np.ndarray:
        fit, stored = self.fit(), (self.layout.height, self.layout.width)
        if fit is not None:
            where = f"--data {self.path}"
            return fitted(fit, annotation, stored, (self.height, self.width), where, self.annotation or "")
        if self.of_pixels:
            is_map = f"its {self.annotation} is an array {annotation.shape} of the images' size"
            remedy = f"which its kind has no `fit` to change; prepare it at {self.height}x{self.width}"
            raise InputError(f"--data {self.path}: {is_map}, {remedy}")
        return annotation


def _records(builder: Any, split: str) -> Any:
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


@root_kept()
def open_data(
    data: str | os.PathLike[str], height: int | None = None, width: int | None = None, fit: Fit | None = None
) -> DataSet:
    """Open a prepared data set; a `height` or `width` other than the stored one is cropped and resized to.

    Args:
        data: a folder that `prepare.py` wrote, any prepared TFDS folder (or the parent of a single one), or
            `tfds:NAME` for a data set prepared in TFDS_DATA_DIR or ~/tensorflow_datasets. Of several annotations
            landmarks are read, else a mask, else attributes, else another array of one known shape, the first by
            name; `#ANNOTATION` at the end names which: `tfds:celeb_a#attributes`, or with `#none` that it is none.
        height: of the images that sources give; None for the stored height.
        width: likewise.
        fit: how an annotation that is none of ours follows its image to another height and width, see `kinds.Kind`.

    Raises:
        InputError: there is no data set, or none that has images of one known size in array_record files, or
            not the annotation that is named.

    Examples:
        >>> import pathlib, tempfile
        >>> from began_jax import open_data
        >>> from began_jax.data.synthetic.dataset import write_synthetic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = pathlib.Path(folder) / "data"
        ...     _ = write_synthetic("synthetic-faces", out, count=5, holdout=0.2, height=16, width=16, seed=0)
        ...     data = open_data(out)
        ...     data.splits, data.source("train")[0]["image"].shape
        ({'train': 4, 'test': 1}, (16, 16, 3))
    """
    data = os.fspath(data)
    place, mark, wanted = data.rpartition("#")
    if not mark or Path(data).expanduser().exists():  # a folder may have a # in its own name
        place, wanted = data, ""
    builder = builder_at(place)
    layout = find_layout(data, builder.info, wanted)
    splits = {name: info.num_examples for name, info in builder.info.splits.items() if info.num_examples}
    if not splits:
        raise InputError(f"--data {data}: holds no examples")
    metadata = dict(builder.info.metadata or {})
    height, width = height or layout.height, width or layout.width
    result = DataSet(
        name=builder.info.name,
        path=data,
        fingerprint=_fingerprint(data, builder, layout, splits),
        height=height,
        width=width,
        channels=layout.channels,
        annotation=layout.annotation,
        names=attribute_names(layout, metadata),
        splits=splits,
        metadata=metadata,
        layout=layout,
        builder=builder,
        fit=lambda: fit,
    )
    _check_annotation(result)
    return result


def _check_annotation(data: DataSet) -> None:
    """Raise InputError where an annotation of others has another unit than ours."""
    wrong = ""
    if data.annotation == "landmarks" and "landmark_units" not in data.metadata:
        wrong = _no_fractions(np.stack(_annotated(data)))
    elif data.annotation == "mask" and "began_jax" not in data.builder.info.description:
        values = _mask_values(data)
        if len(values) > 2 or values[:-1] > [0]:
            wrong = f"masks hold the values {', '.join(map(str, values))}; they must be two-valued, 0 outside"
    elif data.annotation == "attributes":
        other = set(np.unique(_annotated(data)).tolist()) - {0, 1}
        wrong = f"attributes have the value {min(other):g}; they must be 0 or 1" if other else ""
    if wrong:
        raise InputError(f"--data {data.path}: {wrong}")


def _no_fractions(points: np.ndarray) -> str:
    """Say why landmarks [N, K, 2] are no fractions of their images, or nothing. Some may lie outside, or be NaN."""
    there = points[np.isfinite(points)]
    if there.size and (largest := np.abs(there).max()) > 2:
        return f"landmarks reach {largest:.4g}; they must be fractions of the image"
    if absent := int((points == -1).all(-1).sum() + (points == 0).all(-1).sum()):
        return f"{absent:,} landmarks of some images lie at (-1, -1) or (0, 0); where one is absent it must be NaN"
    if (there < -0.05).mean() > 0.25:
        return f"landmarks lie from {there.min():.2g} to {there.max():.2g}; they must be fractions, 0 to 1"
    return ""


def _mask_values(data: DataSet) -> list[int]:
    """Return the values of some masks as they are stored, at most four of them."""
    values: set[int] = set()
    for field in _annotated(data, stored=True):
        with Image.open(io.BytesIO(bytes_of(field))) as picture:
            values |= set(np.unique(np.asarray(picture)).tolist())
    return sorted(values)[:4]


def _annotated(data: DataSet, stored: bool = False) -> list[Any]:
    """Return some annotations, evenly spaced, or the first field of each as it is stored."""
    split, rows = next((name, rows) for name in data.splits if len(rows := data.annotated(name)))
    source, name = data.source(split), data.layout.annotated.fields[0]
    some = [int(row) for row in evenly(rows, LOOKED_AT)]
    return [source.fields(row)[name] if stored else source.annotation(row) for row in some]


def _fingerprint(data: str, builder: Any, layout: Layout, splits: Mapping[str, int]) -> str:
    """Hash sizes and up to 16 records a split; tfds keeps no checksum of its record files."""
    partial = "annotated" in (builder.info.metadata or {})
    digest = hashlib.sha256(repr((layout.identity, sorted(splits.items()))).encode())
    for split, count in sorted(splits.items()):
        try:
            records = _records(builder, split)
            for i in np.unique(np.linspace(0, count - 1, 16).astype(int)):
                record = canonical(records[int(i)])
                if partial:  # to annotate more of its images makes no other data set
                    fields = parse_record(record).features.feature
                    record = b"".join(bytes_of(fields[name]) for name in (layout.id, layout.image) if name)
                digest.update(hashlib.sha256(record).digest())
        except Exception as error:  # missing or damaged files: whatever the C++ reader says
            raise InputError(f"--data {data}: its {split} records cannot be read ({brief(error)})") from None
    return digest.hexdigest()[:16]


def ordered(source: Source, start: int, stop: int) -> dict[str, Any]:
    """Return examples start .. stop - 1 in data set order: arrays stacked on axis 0, `id` a list of str."""
    examples = [source[i] for i in range(start, min(stop, len(source)))]
    if not examples:
        raise InputError(f"examples {start} to {stop}: the data set has {len(source)}")
    return _columns(examples)


def _columns(examples: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {key: [example[key] for example in examples] for key in examples[0]}
    return {key: values if key == "id" else np.stack(values) for key, values in columns.items()}


def chosen(source: Source, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
    """Return the examples of these numbers as `ordered` does."""
    return _columns([source[int(row)] for row in rows])


def images_of(source: Any, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the images of these numbers of a `Source`, uint8 [N, H, W, C]; no annotation is decoded."""
    return np.stack([source.image(int(row)) for row in rows])

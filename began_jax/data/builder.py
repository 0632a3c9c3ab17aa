"""Writes a TFDS data set (array_record, no TensorFlow needed) from sequences of annotated images.

`ShardBasedBuilder` rather than `GeneratorBasedBuilder`: the latter sorts all records in memory and, beyond
1 GB, in temporary files that only TensorFlow can write. Shards keep the order given and bound the memory.
"""

import contextlib
import functools
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from began_jax.errors import InputError
from began_jax.images import png

Annotation = Literal["landmarks", "mask", "attributes"]
# One example: "image" uint8 [H, W, C] or PNG bytes, "id" str, and "landmarks" float32 [K, 2] in fractions of width and
# height, "mask" uint8 [H, W, 1] in {0, 1}, "attributes" float32 [K] in {0, 1}, or an array of another name.
Example = dict[str, Any]


class Written(NamedTuple):
    """What prepare.py reports: examples of each split, what they hold in words, and what was left out with reasons."""

    splits: dict[str, int]
    what: str
    left_out: list[tuple[str, str]]


EXAMPLES_PER_SHARD = 4096  # tfds holds the encoded examples of one shard in memory: about 100 MB at 128x128


def canonical(record: bytes) -> bytes:
    """Returns a tf.Example record with its fields in order; protobuf varies it between processes."""
    return tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)


class _RepeatableWriter(tfds_writer.ExampleWriter):
    def write(self, path, examples):
        return super().write(path, ((key, canonical(record)) for key, record in examples))


def encoded(example: Example) -> Example:
    """Returns the example with image and mask as PNG bytes, the mask's 1 as 255; those that are bytes stay."""
    most = {"image": 1, "mask": 255}
    pixels = {name: example[name] for name in most if isinstance(example.get(name), np.ndarray)}
    return example | {name: png(values * np.uint8(most[name])) for name, values in pixels.items()}


class AnnotatedImages(tfds.core.ShardBasedBuilder):
    """The data set that `write` prepares: image, id and at most one annotation."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        splits: Mapping[str, Sequence],
        features: dict,
        description: str,
        metadata: dict,
        **kwargs,
    ):
        self._splits, self._features = splits, features
        self._description, self._metadata = description, metadata
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=tfds.features.FeaturesDict(self._features),
            metadata=tfds.core.MetadataDict(self._metadata),
        )

    def _example_writer(self) -> tfds_writer.ExampleWriter:
        return _RepeatableWriter(self.info.file_format)

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable[[], Iterator[tuple[int, Example]]]]]:
        return {
            name: [
                functools.partial(self._shard, name, examples, start)
                for start in range(0, len(examples), EXAMPLES_PER_SHARD)
            ]
            for name, examples in self._splits.items()
        }

    def _shard(self, name: str, examples: Sequence, start: int) -> Iterator[tuple[int, Example]]:
        stop = min(start + EXAMPLES_PER_SHARD, len(examples))
        # disable=None: no bar where standard error is no terminal, so that logs stay readable
        for i in tqdm(
            range(start, stop),
            name,
            initial=start,
            total=len(examples),
            unit="image",
            leave=False,
            disable=None,
        ):
            yield i, encoded(examples[i])


def write(
    out: Path,
    splits: Mapping[str, Sequence],
    *,
    height: int,
    width: int,
    channels: int,
    annotation: str | None,
    keypoints: int | None = None,
    names: Sequence[str] = (),
    description: str = "Images for began_jax.",
    metadata: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> None:
    """Writes `out`, a folder for `tfds.builder_from_directory`, whole or not at all.

    Args:
        out: must not exist, or be an empty folder.
        splits: split name -> examples, read one at a time and in order; empty splits are left out.
        height: of every image and mask, in pixels.
        width: likewise.
        channels: 1 or 3.
        annotation: which one the examples carry, if any; its name is that of its kind (see `began_jax.kinds`).
        keypoints: K, number of landmarks.
        names: of the attributes; without them they are numbered.
        description: one sentence for the data set's info.
        metadata: provenance, kept as JSON beside the records, with the units of landmarks and the names of attributes.
        files: name -> text of files to put beside the records.

    Raises:
        InputError: `out` is taken, or an example cannot be made; then nothing is left behind.
    """
    out = Path(os.path.abspath(out))
    refuse_taken(out)
    features = {
        "image": tfds.features.Image(shape=(height, width, channels), encoding_format="png"),
        "id": tfds.features.Text(),
    }
    if annotation == "landmarks":
        features["landmarks"] = tfds.features.Tensor(shape=(keypoints, 2), dtype=np.float32)
        metadata = {**(metadata or {}), "landmark_units": "fraction of width and height"}
    elif annotation == "mask":
        features["mask"] = tfds.features.Image(shape=(height, width, 1), encoding_format="png")
    elif annotation:
        shape = np.shape(next(examples[0] for examples in splits.values() if len(examples))[annotation])
        features[annotation] = tfds.features.Tensor(shape=shape, dtype=np.float32)
        if names and shape != (len(names),):
            raise InputError(f"{len(names)} names for {annotation} of shape {shape}; there must be one for each")
        metadata = {**(metadata or {}), **({"attribute_names": list(names)} if names else {})}
    partial = out.with_name(out.name + ".partial")
    new_parents = [parent for parent in out.parents if not parent.exists()]
    done = False
    try:
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"--out {out}: cannot be written ({error.strerror}); give a folder that can") from None
        builder = AnnotatedImages(
            splits={name: examples for name, examples in splits.items() if len(examples)},
            features=features,
            description=description,
            metadata=dict(metadata or {}),
            data_dir=partial,
            file_format="array_record",
        )
        with contextlib.redirect_stdout(io.StringIO()):  # tfds prints where it writes, which is not where we end
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        for name, text in (files or {}).items():
            (Path(builder.data_path) / name).write_text(text, encoding="utf-8")
        os.rename(builder.data_path, out)
        done = True
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in () if done else new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()


def refuse_taken(out: Path) -> None:
    """Raises InputError where `out` exists and is more than an empty folder."""
    if out.is_dir():
        if any(out.iterdir()):
            raise InputError(f"--out {out}: exists and is not empty; remove it or give another folder")
    elif out.exists():
        raise InputError(f"--out {out}: is a file; give a folder that does not exist yet")

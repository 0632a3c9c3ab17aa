"""Writes a TFDS data set (array_record, no TensorFlow needed) from sequences of annotated images.

The records are written shard by shard, in the order given, with TFDS' own features and description, so that memory
stays that of one example and TFDS reads the folder as one that it prepared.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.core import ShardedFileTemplate, SplitInfo
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from began_jax.data.landmark_schemes import STORED, stored
from began_jax.errors import InputError
from began_jax.files import new_folder, read_json, refuse_taken
from began_jax.images import png
from began_jax.landmarks import Scheme

NAME = "annotated_images"  # of every data set of ours
EXAMPLES_PER_SHARD = 4096  # so that a shard has about 100 MB at 128x128

# One example: "image" uint8 [H, W, C] or PNG bytes, "id" str, and "landmarks" float32 [K, 2] in fractions of width and
# height, "mask" uint8 [H, W, 1] in {0, 1}, "attributes" float32 [K] in {0, 1}, or an array of another name. Where some
# have no annotation, "annotated" is 1 or 0, and an annotation that is none is NaN or an empty mask.
Example = dict[str, Any]


class Written(NamedTuple):
    """What prepare.py reports: examples of each split, what they hold in words, what was left out with reasons, notes.

    `before` says that an earlier run of the same command had written it.
    """

    splits: dict[str, int]
    what: str
    left_out: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    before: bool = False


def written_before(out: Path, command: Mapping[str, Any]) -> Written | None:
    """Return what an earlier run of a command wrote as `out`, or None where there is nothing.

    Args:
        out: the data set.
        command: what decides it, by the options' names; `write` keeps it.

    Raises:
        InputError: there is something else.
    """
    path = out / "metadata.json"  # of TFDS
    if not path.is_file():
        refuse_taken(out)
        return None
    found, wanted = read_json(path), json.loads(json.dumps(command))
    if "command" not in found:
        refuse_taken(out)
    given = found["command"]
    if "scheme" not in given:  # before 0.3.0, when the names in a COCO file were not read either
        wanted.pop(STORED, None)
    if "content" not in given:  # before 0.3.0 too
        wanted.pop("content", None)
    for name in sorted(given.keys() | wanted.keys()):
        if given.get(name) != wanted.get(name):
            both = f"{name} {given.get(name)}, and now {wanted.get(name)}"
            raise InputError(f"--out {out}: exists, prepared with {both}; remove it or give another folder")
    return Written(found["wrote"]["splits"], found["wrote"]["what"], before=True)


def unannotated(annotation: str, shape: tuple[int, ...]) -> Example:
    """Return what stands in the place of an annotation of this shape that there is not."""
    empty = np.zeros(shape, np.uint8) if annotation == "mask" else np.full(shape, np.nan, np.float32)
    return {annotation: empty, "annotated": 0}


def parse_record(record: bytes) -> Any:
    """Return a tf.Example record as a message."""
    messages: Any = tf_example_pb2  # protobuf makes its classes when it is loaded
    return messages.Example.FromString(record)


def canonical(record: bytes) -> bytes:
    """Return a tf.Example record with its fields in order; protobuf varies it between processes."""
    return parse_record(record).SerializeToString(deterministic=True)


def encoded(example: Example) -> Example:
    """Return the example with image and mask as PNG bytes, the mask's 1 as 255; those that are bytes stay."""
    most = {"image": 1, "mask": 255}
    pixels = {name: example[name] for name in most if isinstance(example.get(name), np.ndarray)}
    return example | {name: png(values * np.uint8(most[name])) for name, values in pixels.items()}


def _write_split(
    folder: Path,
    name: str,
    examples: Sequence[Any],
    features: tfds.features.FeaturesDict,
    seen: Callable[[Example], None],
) -> SplitInfo:
    """Write the records of a split, shard by shard, and return what TFDS has to know of them."""
    place: Any = folder  # TFDS says epath.Path, and takes any
    template = ShardedFileTemplate(place, dataset_name=NAME, split=name, filetype_suffix="array_record")
    starts = range(0, len(examples), EXAMPLES_PER_SHARD)
    files = [Path(template.sharded_filepath(shard_index=i, num_shards=len(starts))) for i in range(len(starts))]
    # disable=None: no bar where standard error is no terminal, so that logs stay readable
    with tqdm(total=len(examples), desc=name, unit="image", leave=False, disable=None) as bar:
        for start, file in zip(starts, files, strict=True):
            writer = ArrayRecordWriter(str(file), "group_size:1")
            try:
                for i in range(start, min(start + EXAMPLES_PER_SHARD, len(examples))):
                    example = examples[i]
                    seen(example)
                    writer.write(canonical(features.serialize_example(encoded(example))))
                    bar.update()
            finally:
                writer.close()
    lengths = [min(EXAMPLES_PER_SHARD, len(examples) - start) for start in starts]
    size = sum(file.stat().st_size for file in files)
    return SplitInfo(name=name, shard_lengths=lengths, num_bytes=size, filename_template=template)


def write(
    out: Path,
    splits: Mapping[str, Sequence[Any]],
    *,
    height: int,
    width: int,
    channels: int,
    annotation: str | None,
    keypoints: int | None = None,
    scheme: Scheme | None = None,
    names: Sequence[str] = (),
    description: str = "Images for began_jax.",
    metadata: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    annotated: Mapping[str, Sequence[int]] | None = None,
    command: Mapping[str, Any] | None = None,
    what: str = "",
) -> list[str]:
    """Write `out`, a folder for `tfds.builder_from_directory`, whole or not at all; return notes on what is in it.

    Args:
        out: must not exist, or be an empty folder.
        splits: split name -> examples, read one at a time and in order; empty splits are left out.
        height: of every image and mask, in pixels.
        width: likewise.
        channels: 1 or 3.
        annotation: which one the examples carry, if any; its name is that of its kind (see `began_jax.kinds`).
        keypoints: K, number of landmarks.
        scheme: what is known of them beyond their number.
        names: of the attributes; without them they are numbered.
        description: one sentence for the data set's info.
        metadata: provenance, kept as JSON beside the records, with the units of landmarks and the names of attributes.
        files: name -> text of files to put beside the records.
        annotated: split -> numbers of its examples that are annotated; None where all are. Each example then says it
            too.
        command: that decides the data set, and
        what: it holds, in words; kept for `written_before`.

    Raises:
        InputError: `out` is taken, or an example cannot be made; then nothing is left behind.
    """
    refuse_taken(out)
    features: dict[str, Any] = {
        "image": tfds.features.Image(shape=(height, width, channels), encoding_format="png"),
        "id": tfds.features.Text(),
    }
    known = dict(metadata or {})
    if command is not None:
        counts = {name: len(examples) for name, examples in splits.items() if len(examples)}
        known |= {"command": dict(command), "wrote": {"splits": counts, "what": what}}
    if annotated is not None:
        features["annotated"] = tfds.features.Scalar(np.int64)
        known["annotated"] = {name: list(annotated[name]) for name, examples in splits.items() if len(examples)}
    if annotation == "landmarks":
        features["landmarks"] = tfds.features.Tensor(shape=(keypoints, 2), dtype=np.float32)
        known["landmark_units"] = "fraction of width and height"
        known |= stored(scheme)
    elif annotation == "mask":
        features["mask"] = tfds.features.Image(shape=(height, width, 1), encoding_format="png")
    elif annotation:
        shape = np.shape(next(examples[0] for examples in splits.values() if len(examples))[annotation])
        features[annotation] = tfds.features.Tensor(shape=shape, dtype=np.float32)
        if names and shape != (len(names),):
            raise InputError(f"{len(names)} names for {annotation} of shape {shape}; there must be one for each")
        known |= {"attribute_names": list(names)} if names else {}
    shares: list[float] = []

    def seen(example: Example) -> None:
        if annotation == "mask" and example.get("annotated", 1):
            shares.append(_share(example["mask"]))

    write_features(out, splits, features, description, known, files, seen)
    return [shares_in_words(shares)] if shares else []


def _share(mask: np.ndarray | bytes) -> float:
    if isinstance(mask, bytes):
        with Image.open(io.BytesIO(mask)) as picture:
            mask = np.asarray(picture)
    return float((mask > 0).mean())


def shares_in_words(shares: Sequence[float]) -> str:
    """Return what shares of the pictures are inside of their masks, to be read by the person who gave them."""
    median, least, most = (f"{100 * v:.1f}" for v in (np.median(shares), min(shares), max(shares)))
    counts = {"empty": sum(v == 0 for v in shares), "full": sum(v == 1 for v in shares)}
    odd = [f", {count:,} {'is' if count == 1 else 'are'} {what}" for what, count in counts.items() if count]
    return f"masks: {median} % of a picture is inside (median; {least} to {most}){''.join(odd)}"


def write_features(
    out: Path,
    splits: Mapping[str, Sequence[Any]],
    features: Mapping[str, Any],
    description: str,
    metadata: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    seen: Callable[[Example], None] = lambda example: None,
) -> None:
    """Write `out` with TFDS' features by their names, whole or not at all; the rest as `write` has it.

    `seen` is given each example before it is written.
    """
    with new_folder(out) as partial:
        identity = tfds.core.DatasetIdentity(
            name=NAME, version=tfds.core.Version("1.0.0"), data_dir=str(partial), module_name=__name__
        )
        described = tfds.features.FeaturesDict(dict(features))
        info = tfds.core.DatasetInfo(
            builder=identity,
            description=description,
            features=described,
            metadata=tfds.core.MetadataDict(metadata),
        )
        info.set_file_format("array_record")
        filled = {name: examples for name, examples in splits.items() if len(examples)}
        written = [_write_split(partial, name, examples, described, seen) for name, examples in filled.items()]
        info.set_splits(tfds.core.SplitDict(written))
        info.write_to_directory(partial)
        for name, text in (files or {}).items():
            (partial / name).write_text(text, encoding="utf-8")

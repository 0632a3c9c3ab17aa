"""Generated data sets in the formats of other tools: OUT/FORMAT/ beside what generate.py writes, each whole or absent.

Pictures are linked, not copied, where a format keeps them as files.
"""

import csv
import io
import itertools
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from began_jax import plugins
from began_jax.data import builder
from began_jax.errors import InputError
from began_jax.export import polygons
from began_jax.export.coco import boxes
from began_jax.export.content import Content, Item, link
from began_jax.files import new_folder

SHARD = 4096  # pictures in a tar file
DECIMALS = 3  # of a pixel
EPOCH = 315532800  # 1980, the first time that archives can hold: equal data sets are equal bytes


class Format(NamedTuple):
    """A format: (content, folder) -> None writes it, for these kinds of annotation, and `text` says what it is."""

    write: Callable[[Content, Path], None]
    kinds: tuple[str, ...]
    text: str


def convert(content: Content, names: Sequence[str]) -> list[Path]:
    """Write a data set in formats that it does not have yet, and return their folders.

    Raises:
        InputError: as `check`.
    """
    check(content.kind, names)
    folders = [content.folder / name for name in names]
    for name, folder in zip(names, folders, strict=True):
        if not folder.exists():
            with new_folder(folder) as partial:
                FORMATS[name].write(content, partial)
    return folders


def check(kind: str, names: Sequence[str]) -> None:
    """Raise InputError for a format that there is not, or not for a kind of annotation."""
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format {name}: there are {', '.join(FORMATS)}")
        if kind not in FORMATS[name].kinds:
            having = ", ".join(other for other, form in FORMATS.items() if kind in form.kinds)
            raise InputError(
                f"--format {name}: is for {' and '.join(FORMATS[name].kinds)}, not {kind}; there are {having}"
            )
        if name == "yolo" and kind == "mask":
            plugins.import_module("cv2", "--format yolo")  # said before anything is generated


def _link_images(content: Content, folder: Path) -> None:
    folder.mkdir(parents=True)
    for index in range(content.count):
        link(content.image(index), folder / content.image(index).name)


def _coco(content: Content, out: Path) -> None:
    """Write masks as COCO's uncompressed RLE, one annotation for each that is not empty."""
    _link_images(content, out / "images")
    height, width = content.size
    with (out / "annotations.json").open("w") as file:
        head = {"info": {"description": "images with masks by began_jax", "version": "1.0"}, "licenses": []}
        category = {"id": 1, "name": "object", "supercategory": "object"}
        file.write(json.dumps(head | {"categories": [category]})[:-1] + ', "annotations": [\n')
        mark = ""
        for item in content.items():
            if item.annotation.any():
                file.write(mark + json.dumps(_coco_mask(item, height, width)))
                mark = ",\n"
        file.write('\n], "images": [\n')
        for i in range(content.count):
            image = {"id": i, "file_name": content.image(i).name, "height": height, "width": width}
            file.write(json.dumps(image) + (",\n" if i + 1 < content.count else "\n]}\n"))


def _coco_mask(item: Item, height: int, width: int) -> dict[str, Any]:
    rows, columns = np.nonzero(item.annotation)
    left, top = int(columns.min()), int(rows.min())
    flat = np.concatenate([[0], item.annotation.ravel(order="F"), [-1]])  # runs, the first one of zeros
    ends = np.flatnonzero(np.diff(flat)).tolist()
    counts = np.diff([0, *ends]).tolist()
    return {
        "id": item.index + 1,
        "image_id": item.index,
        "category_id": 1,
        "segmentation": {"size": [height, width], "counts": counts},
        "area": len(rows),
        "bbox": [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
        "iscrowd": 0,
    }


def _yolo(content: Content, out: Path) -> None:
    """Write Ultralytics' layout: pose for landmarks, segment for masks; coordinates are shares of width and height."""
    _link_images(content, out / "images")
    (out / "labels").mkdir()
    height, width = content.size
    for item in content.items():
        rows = _pose(item, height, width) if content.kind == "landmarks" else polygons.of_mask(item.annotation)
        lines = (" ".join(["0", *(f"{value:.6f}".rstrip("0").rstrip(".") for value in row)]) for row in rows)
        (out / "labels" / f"{item.index:06d}.txt").write_text("".join(f"{line}\n" for line in lines))
    described: dict[str, Any] = {"train": "images", "val": "images", "names": {0: "object"}}
    if content.kind == "landmarks":
        described |= {"kpt_shape": [len(content.scheme.names), 3]}
        if content.scheme.mirrored is not None:
            described |= {"flip_idx": list(content.scheme.mirrored)}
    (out / "data.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in described.items()))


def _pose(item: Item, height: int, width: int) -> list[list[float]]:
    points = item.annotation
    there = np.isfinite(points[:, 0])
    inside = there & ((points >= -0.5) & (points <= (width - 0.5, height - 0.5))).all(-1)
    (middle,), (size,) = boxes(points[None], width, height)
    shares = np.where(inside[:, None], (points + 0.5) / (width, height), 0)
    box = [*((middle + 0.5) / (width, height)), *(size / (width, height))]
    seen = np.where(inside, 2.0, 0.0)
    return [[*map(float, box), *np.concatenate([shares, seen[:, None]], 1).ravel().tolist()]]


def _values(content: Content, item: Item) -> dict[str, Any]:
    """Return an annotation as JSON holds it, but for masks, which are pictures."""
    known: dict[str, Any] = {}
    if content.kind == "landmarks":
        known["landmarks"] = [[_number(v) for v in point] for point in item.annotation.tolist()]
    elif content.kind == "attributes":
        known |= {name: int(value) for name, value in zip(content.names, item.annotation, strict=True)}
    elif content.kind == "annotations":
        known["annotation"] = np.asarray(item.annotation).tolist()
    return known | ({} if item.doubt is None else {"doubt": round(item.doubt, 6)})


def _number(value: float) -> float | None:
    return round(value, DECIMALS) if np.isfinite(value) else None


def _hugging_face(content: Content, out: Path) -> None:
    """Write an image folder with metadata.jsonl, which `datasets.load_dataset("imagefolder")` reads."""
    _link_images(content, out / "train" / "images")
    if content.kind == "mask":
        (out / "train" / "masks").mkdir()
    with (out / "train" / "metadata.jsonl").open("w") as file:
        for item in content.items():
            row = {"file_name": f"images/{item.name}"}
            if content.kind == "mask":
                mask = content.mask(item.index)
                link(mask, out / "train" / "masks" / mask.name)
                row["mask_file_name"] = f"masks/{mask.name}"
            file.write(json.dumps(row | _values(content, item)) + "\n")


def _web_dataset(content: Content, out: Path) -> None:
    """Write tar files of 000000.png (or .jpg, .webp), 000000.json and 000000.mask.png."""
    items = content.items()
    for first in range(0, content.count, SHARD):
        with tarfile.open(out / f"{first // SHARD:06d}.tar", "w") as archive:
            for item in itertools.islice(items, SHARD):
                image = content.image(item.index)
                parts = {image.suffix.lstrip("."): image.read_bytes()}
                parts["json"] = json.dumps(_values(content, item)).encode()
                if content.kind == "mask":
                    parts["mask.png"] = content.mask(item.index).read_bytes()
                for ending, data in parts.items():
                    entry = tarfile.TarInfo(f"{item.index:06d}.{ending}")
                    entry.size, entry.mtime = len(data), EPOCH
                    archive.addfile(entry, io.BytesIO(data))


class _Records(Sequence):
    """The pictures as examples of `builder.write`, which reads them in order."""

    def __init__(self, content: Content) -> None:
        self._content, self._items = content, content.items()

    def __len__(self) -> int:
        return self._content.count

    def __getitem__(self, i: int) -> builder.Example:
        if i == 0:
            self._items = self._content.items()
        item, content = next(self._items), self._content
        height, width = content.size
        annotation: Any = np.asarray(item.annotation, np.float32)
        if content.kind == "landmarks":
            annotation = ((item.annotation + 0.5) / (width, height)).astype(np.float32)
        elif content.kind == "mask":
            annotation = content.mask(item.index).read_bytes()
        name = "annotation" if content.kind == "annotations" else content.kind
        return {"image": content.png(item.index), "id": item.name, name: annotation}


def _tfds(content: Content, out: Path) -> None:
    """Write a TFDS data set as prepare.py does: `train.py --data OUT/tfds` reads it."""
    height, width = content.size
    name = "annotation" if content.kind == "annotations" else content.kind
    known = content.scheme if content.kind == "landmarks" else None
    builder.write(
        out / "data",
        {"train": _Records(content)},
        height=height,
        width=width,
        channels=content.told["channels"],
        annotation=name,
        keypoints=len(known.names) if known else None,
        scheme=known,
        names=content.names,
        description="Annotated images, written by began_jax",
        metadata={"generated": content.told},
    )


def _face_synthetics(content: Content, out: Path) -> None:
    """Write the layout of Microsoft's FaceSynthetics: 000000.png, 000000_ldmks.txt or 000000_seg.png."""
    for item in content.items():
        if content.form == "png":
            link(content.image(item.index), out / item.name)
        else:  # the layout has no other form
            (out / f"{item.index:06d}.png").write_bytes(content.png(item.index))
        if content.kind == "mask":
            Image.fromarray(item.annotation).save(out / f"{item.index:06d}_seg.png")
        else:
            lines = (f"{x:.{DECIMALS}f} {y:.{DECIMALS}f}\n" for x, y in item.annotation)
            (out / f"{item.index:06d}_ldmks.txt").write_text("".join(lines))


def _csv(content: Content, out: Path) -> None:
    """Write a table: `prepare.py --landmarks` reads that of landmarks."""
    with (out / f"{content.kind}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        if content.kind == "landmarks":
            columns = [f"{axis}{i}" for i in range(len(content.scheme.names)) for axis in "xy"]
        else:
            columns = content.names
        table.writerow(["name", *columns])
        for item in content.items():
            values = item.annotation.ravel()
            shown = ["" if np.isnan(value) else f"{value:.{DECIMALS}f}" for value in values]
            table.writerow([item.name, *(shown if content.kind == "landmarks" else values.astype(int))])


def _npz(content: Content, out: Path) -> None:
    """Write arrays.npz: name, images uint8, the annotation (landmarks in pixels), latents and doubt, row by row."""
    height, width = content.size
    first = next(content.items()).annotation
    dtype = np.uint8 if content.kind == "mask" else np.float32
    arrays: Mapping[str, Any] = {
        "name": np.array([content.image(i).name for i in range(content.count)]),
        "latents": np.load(content.folder / "latents.npy", mmap_mode="r"),
    }
    if (content.folder / "doubt.npy").is_file():
        arrays["doubt"] = np.load(content.folder / "doubt.npy", mmap_mode="r")

    images = (content.pixels(index) for index in range(content.count))
    annotations = (np.asarray(item.annotation, dtype) for item in content.items())
    with zipfile.ZipFile(out / "arrays.npz", "w", allowZip64=True) as archive:
        for name, values in arrays.items():
            _add(archive, name, values.dtype, values.shape, values)
        _add(archive, "images", np.dtype(np.uint8), (content.count, height, width, content.told["channels"]), images)
        _add(archive, content.kind, np.dtype(dtype), (content.count, *first.shape), annotations)


def _add(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], rows: Any) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy")
    with archive.open(entry, "w", force_zip64=True) as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype).tobytes())


KINDS = ("landmarks", "mask", "attributes", "annotations")  # the last one: any other
FORMATS = {
    "coco": Format(_coco, ("mask",), "COCO masks as RLE (landmarks are a COCO data set already)"),
    "yolo": Format(_yolo, ("landmarks", "mask"), "Ultralytics' pose or segment"),
    "huggingface": Format(_hugging_face, KINDS, "an image folder with metadata.jsonl for Hugging Face's datasets"),
    "webdataset": Format(_web_dataset, KINDS, "tar files"),
    "tfds": Format(_tfds, KINDS, "a TFDS data set, which --data reads"),
    "facesynthetics": Format(_face_synthetics, ("landmarks", "mask"), "the layout of FaceSynthetics"),
    "csv": Format(_csv, ("landmarks", "attributes"), "a table, which prepare.py --landmarks or --attributes reads"),
    "npz": Format(_npz, KINDS, "numpy arrays in one file"),
}

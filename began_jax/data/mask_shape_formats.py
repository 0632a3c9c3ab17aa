"""Outlines as files hold them: COCO segmentation (.json), CVAT for images (.xml), a folder of LabelMe's .json.

All become shapes of a class, in pixels of the upright picture, whose first pixel spans 0 to 1.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from began_jax.data import coco_files
from began_jax.data.pictures import files_below
from began_jax.data.text_files import text_of
from began_jax.errors import InputError

_ANGLES = np.linspace(0, 2 * np.pi, 180, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
_SQUARE = np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)])


class Shape(NamedTuple):
    """A class, and an outline [K, 2], or run lengths of a whole mask (column by column, the first outside).

    Or why it is neither, which matters where its class is inside.
    """

    label: str
    outline: np.ndarray | None = None
    runs: np.ndarray | None = None
    size: tuple[int, int] | None = None  # (width, height) of the mask, if told
    no_area: str = ""


class Found(NamedTuple):
    """What files hold: name -> shapes, name -> (width, height), whether names lack the picture's ending, and notes."""

    shapes: dict[str, list[Shape]]
    sizes: dict[str, tuple[int, int]]
    stems: bool = False
    notes: tuple[str, ...] = ()


def read(masks: Path) -> Found:
    """Return what a file or a folder holds; InputError where it is none of these, and other errors of damaged ones."""
    if masks.is_dir():
        return _read_labelme(masks)
    return _read_cvat(masks) if masks.suffix.lower() == ".xml" else _read_coco(masks)


def _read_coco(path: Path) -> Found:
    content = coco_files.read(path, f"--masks {path}")
    images = {image["id"]: str(image["file_name"]) for image in content["images"]}
    sizes = {str(i["file_name"]): (int(i["width"]), int(i["height"])) for i in content["images"] if i.get("width")}
    called = {category["id"]: str(category["name"]) for category in content["categories"]}
    found: dict[str, list[Shape]] = {name: [] for name in images.values()}  # one without a shape has an empty mask
    for annotation in content["annotations"]:
        category, image = annotation["category_id"], annotation["image_id"]
        if category not in called or image not in images:
            lacks = f"image_id {image!r}" if image not in images else f"category_id {category!r}"
            raise InputError(f"--masks {path}: an annotation is of {lacks}, which is not in its list")
        label, given, shapes = called[category], annotation.get("segmentation"), found[images[image]]
        if isinstance(given, dict):
            counts, (height, width) = given["counts"], given["size"]
            runs = np.array(counts if isinstance(counts, list) else _counts(counts))
            whole = runs.dtype.kind in "iuf" and (runs >= 0).all() and (runs == np.round(runs)).all()
            of_runs = Shape(label, runs=runs.astype(int), size=(int(width), int(height))) if whole else None
            shapes.append(of_runs or Shape(label, no_area="has run lengths that are no whole numbers"))
        elif given:
            rings = given if isinstance(given[0], list) else [given]  # some programs write the one ring alone
            shapes += [_coco_ring(label, ring) for ring in rings if ring or not any(rings)]
        else:
            shapes.append(Shape(label, no_area="has no segmentation"))
    return Found(found, sizes)


def _coco_ring(label: str, ring: Any) -> Shape:
    numbers = np.array(ring, float).ravel()  # some programs write pairs
    if numbers.size % 2:
        return Shape(label, no_area=f"has an outline of {numbers.size} numbers, which are no pairs")
    return _outlined(label, numbers.reshape(-1, 2))


def _outlined(label: str, outline: np.ndarray) -> Shape:
    """Return the shape of an outline [K, 2], or why it is none."""
    if len(outline) < 3:
        return Shape(label, no_area=f"has an outline of {len(outline)} points")
    if not np.isfinite(outline).all():
        return Shape(label, no_area="has a point that is no number")
    return Shape(label, outline)


def _counts(text: str) -> list[int]:
    """Return the run lengths in COCO's text of them: five bits a letter, from the third on what was added since."""
    counts: list[int] = []
    value = bits = 0
    for letter in text.encode():
        code = letter - 48
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
    return counts


def _read_labelme(folder: Path) -> Found:
    found: dict[str, list[Shape]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    others: list[Path] = []
    for path in files_below(folder):
        if path.suffix.lower() != ".json":
            continue
        content: Any = json.loads(text_of(path, f"--masks {path}"))
        if not isinstance(content, dict) or "shapes" not in content:
            others.append(path)
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        found[name] = [_labelme(shape) for shape in content["shapes"]]
        if content.get("imageWidth"):
            sizes[name] = (int(content["imageWidth"]), int(content["imageHeight"]))
    if not found:
        raise InputError(f"--masks {others[0]}: is no file of LabelMe, which holds shapes")
    notes = (f"{len(others):,} .json in {folder} hold no shapes, and are skipped",) if others else ()
    return Found(found, sizes, True, notes)


def _labelme(shape: Any) -> Shape:
    kind, points = shape.get("shape_type") or "polygon", np.array(shape["points"], np.float64)
    if kind == "rectangle" and len(points) == 2:  # else all corners
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind == "circle" and len(points) == 2:
        points = points[0] + np.hypot(*(points[1] - points[0])) * _CIRCLE
    elif kind not in ("polygon", "rectangle"):
        count = f" of {len(points)} points" if kind == "circle" else ""
        return Shape(str(shape["label"]), no_area=f"is a {kind}{count}")
    return _outlined(str(shape["label"]), points)


def _read_cvat(path: Path) -> Found:
    found: dict[str, list[Shape]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    root = ElementTree.parse(path).getroot()
    if root.find(".//image") is None:
        raise InputError(f"--masks {path}: lists no image; export it as CVAT for images 1.1")
    for image in root.iter("image"):
        name = image.attrib["name"]
        if name in found:
            raise InputError(f"--masks {path}: {name} is there twice; export one task, or give each picture one name")
        sizes[name] = width, height = int(image.attrib["width"]), int(image.attrib["height"])
        found[name] = []
        for each in image:
            given, label = each.attrib, each.attrib.get("label", "")
            if each.tag == "polygon":
                pairs = [point.split(",") for point in given["points"].split(";")]
                found[name].append(_outlined(label, np.array(pairs, np.float64)))
            elif each.tag in ("ellipse", "box"):
                found[name].append(_outlined(label, _cvat_turned(each.tag, given)))
            elif each.tag == "mask":
                found[name].append(Shape(label, runs=_cvat_runs(given, width, height)))
            elif each.tag not in ("tag", "attribute"):
                found[name].append(Shape(label, no_area=f"is a {each.tag}"))
    return Found(found, sizes)


def _cvat_turned(tag: str, given: Any) -> np.ndarray:
    """Return the outline of an ellipse or a box of CVAT, which is turned clockwise about its centre by degrees."""
    names = ("cx", "cy", "rx", "ry") if tag == "ellipse" else ("xtl", "ytl", "xbr", "ybr")
    first, second = np.array([float(given[name]) for name in names]).reshape(2, 2)
    centre, radii = (first, second) if tag == "ellipse" else ((first + second) / 2, (second - first) / 2)
    angle = np.deg2rad(float(given.get("rotation", 0)))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # of rows (x, y), y downwards
    return centre + radii * (_CIRCLE if tag == "ellipse" else _SQUARE) @ turn


def _cvat_runs(given: Any, width: int, height: int) -> np.ndarray:
    """Return run lengths of the whole picture for a mask of CVAT: row by row within a box."""
    left, top, w, h = (int(given[name]) for name in ("left", "top", "width", "height"))
    runs = np.array(given["rle"].split(","), int)
    box = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(h, w)
    whole = np.zeros((height, width), bool)
    whole[top : top + h, left : left + w] = box
    flat = np.concatenate([[False], whole.ravel(order="F")])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    return np.diff([0, *ends.tolist(), width * height])

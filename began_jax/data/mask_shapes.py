"""Masks as outlines: COCO segmentation (.json), CVAT for images (.xml), a folder of LabelMe's .json; by class names.

Outlines are in pixels of the upright picture, whose first pixel spans 0 to 1; a pixel is inside where its centre is.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from began_jax.data.pictures import files_below, same_name, same_stem
from began_jax.errors import InputError


class Shape(NamedTuple):
    """A class, and either an outline [K, 2] or run lengths of a whole mask (column by column, the first outside)."""

    label: str
    outline: np.ndarray | None = None
    runs: np.ndarray | None = None


class MaskShapes(NamedTuple):
    """The masks of pictures by their ids: shapes, and (width, height) of the picture that they were drawn in."""

    of: dict[str, list[Shape]]
    sizes: dict[str, tuple[int, int]]
    where: str

    def described(self) -> str:
        """Return what differs where the masks do."""
        drawn = [
            (n, [(s.label, np.concatenate([np.ravel(v) for v in s[1:] if v is not None]).tolist()) for s in of])
            for n, of in sorted(self.of.items())
        ]
        return repr(drawn)

    def __contains__(self, name: object) -> bool:
        return name in self.of

    def read(self, name: str, height: int, width: int) -> np.ndarray:
        """Return the mask uint8 [height, width, 1] of a picture; InputError where that had another size."""
        told = self.sizes.get(name, (width, height))
        if told != (width, height):
            both = f"{told[0]}x{told[1]}, and {name} has {width}x{height} pixels (width x height)"
            raise InputError(f"{self.where}: shapes of {name} are drawn in {both}")
        mask = np.zeros((height, width), bool)
        for shape in self.of[name]:
            outline = shape.outline
            mask |= _unrolled(shape, height, width) if outline is None else filled(outline, height, width)
        return mask.astype(np.uint8)[..., None]


def filled(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which pixels [height, width] have their centre within a closed outline [K, 2], by the even-odd rule."""
    start, end = np.asarray(outline, np.float64), np.roll(np.asarray(outline, np.float64), -1, axis=0)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    inside = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(start, end, strict=True):
        if y0 == y1:
            continue
        crossed = (rows >= min(y0, y1)) & (rows < max(y0, y1))
        at = x0 + (rows[crossed] - y0) * (x1 - x0) / (y1 - y0)
        inside[crossed] ^= columns[None] > at[:, None]
    return inside


def _unrolled(shape: Shape, height: int, width: int) -> np.ndarray:
    runs = shape.runs
    assert runs is not None
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs)[: height * width].reshape(width, height).T


def holds_shapes(masks: Path, images: Path) -> bool:
    """Say whether masks are given as outlines: a .json or .xml file, or a folder of LabelMe's files.

    Such a folder may be that of the images; else it has more .json files than others.
    """
    if masks.is_file():
        return masks.suffix.lower() in (".json", ".xml")
    if not masks.is_dir():
        return False
    kinds = Counter(path.suffix.lower() for path in files_below(masks))
    return kinds[".json"] > (0 if images.is_dir() and masks.samefile(images) else kinds.total() / 2)


def match_shapes(masks: Path, ids: Sequence[str], partial: bool, given: str | None = None) -> MaskShapes:
    """Return the shapes of pictures.

    Args:
        masks: a file or folder, see `holds_shapes`.
        ids: of the pictures.
        partial: whether some may have none.
        given: the classes that are inside, parted by commas; it may be left out where there is one.

    Raises:
        InputError: they cannot be read, or do not fit the pictures.
    """
    where = f"--masks {masks}"
    try:
        found, sizes, stems = _read(masks)
    except InputError:
        raise
    except Exception as error:  # damaged files make json, numpy and the XML reader raise many kinds
        raise InputError(f"{where}: cannot be read ({type(error).__name__}: {error})") from None
    labels = Counter(shape.label for shapes in found.values() for shape in shapes)
    known = ", ".join(f"{label} ({count:,})" for label, count in labels.most_common())
    wanted = {label.strip() for label in given.split(",")} if given else set(labels)
    if not wanted <= set(labels) or (len(wanted) > 1 and not given) or not labels:
        remedy = "say which are inside with --mask-values, such as " + next(iter(labels), "iris")
        raise InputError(f"{where}: holds shapes of {known or 'no class'}; {remedy}")
    spelt = {_key(name, stems): name for name in ids}
    if len(spelt) < len(ids):
        raise InputError(f"{where}: two pictures have one name but for its ending; rename one")
    own = {spelt.get(_key(name, stems), name): shapes for name, shapes in found.items()}
    missing = [name for name in ids if name not in own]
    surplus = sorted(own.keys() - set(ids))
    if missing and (not partial or len(missing) == len(ids)):
        there = f"masks for {len(ids) - len(missing)} of {len(ids)} images"
        raise InputError(f"{where}: {there}; the first missing is {missing[0]}; --partial keeps such images")
    if surplus:
        raise InputError(f"{where}: {len(surplus)} masks without an image; the first is {surplus[0]}")
    chosen = {name: [shape for shape in shapes if shape.label in wanted] for name, shapes in own.items()}
    return MaskShapes(chosen, {spelt.get(_key(n, stems), n): size for n, size in sizes.items()}, where)


def _key(name: str, stems: bool) -> str:
    return same_stem(name) if stems else same_name(name)


_Found = tuple[dict[str, list[Shape]], dict[str, tuple[int, int]], bool]


def _read(masks: Path) -> _Found:
    """Return name -> shapes, name -> (width, height), and whether names lack the picture's ending."""
    if masks.is_dir():
        return _read_labelme(masks)
    return _read_cvat(masks) if masks.suffix.lower() == ".xml" else _read_coco(masks)


def _read_coco(path: Path) -> _Found:
    content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise InputError(f"--masks {path}: is no COCO data set, which holds images, annotations and categories")
    images = {image["id"]: str(image["file_name"]) for image in content["images"]}
    sizes = {str(i["file_name"]): (int(i["width"]), int(i["height"])) for i in content["images"] if i.get("width")}
    called = {category["id"]: str(category["name"]) for category in content["categories"]}
    found: dict[str, list[Shape]] = {name: [] for name in images.values()}  # one without a shape has an empty mask
    for annotation in content["annotations"]:
        label, given = called[annotation["category_id"]], annotation.get("segmentation")
        if not given:
            continue
        if isinstance(given, dict):
            counts = given["counts"]
            runs = np.array(counts if isinstance(counts, list) else _counts(counts))
            found[images[annotation["image_id"]]].append(Shape(label, runs=runs))
        else:
            for ring in given:
                found[images[annotation["image_id"]]].append(Shape(label, np.array(ring, float).reshape(-1, 2)))
    return found, sizes, False


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


def _read_labelme(folder: Path) -> _Found:
    found: dict[str, list[Shape]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for path in files_below(folder):
        if path.suffix.lower() != ".json":
            continue
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict) or "shapes" not in content:
            raise InputError(f"--masks {path}: is no file of LabelMe, which holds shapes")
        name = path.relative_to(folder).with_suffix("").as_posix()
        found[name] = [_labelme(shape, path) for shape in content["shapes"]]
        if content.get("imageWidth"):
            sizes[name] = (int(content["imageWidth"]), int(content["imageHeight"]))
    return found, sizes, True


def _labelme(shape: Any, path: Path) -> Shape:
    kind, points = shape.get("shape_type", "polygon"), np.array(shape["points"], np.float64)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind == "circle":
        angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], 1)
    elif kind != "polygon":
        raise InputError(f"--masks {path}: has a shape of the type {kind}; polygons, rectangles and circles are read")
    return Shape(str(shape["label"]), points)


def _read_cvat(path: Path) -> _Found:
    found: dict[str, list[Shape]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for image in ElementTree.parse(path).getroot().iter("image"):
        name = image.attrib["name"]
        sizes[name] = width, height = int(image.attrib["width"]), int(image.attrib["height"])
        found[name] = []
        for each in image:
            given, label = each.attrib, each.attrib.get("label", "")
            if each.tag == "polygon":
                pairs = [point.split(",") for point in given["points"].split(";")]
                found[name].append(Shape(label, np.array(pairs, np.float64)))
            elif each.tag == "mask":
                found[name].append(Shape(label, runs=_cvat_runs(given, width, height)))
            elif each.tag not in ("tag", "attribute"):
                raise InputError(f"--masks {path}: has a {each.tag} in {name}; polygons and masks are read")
    return found, sizes, False


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

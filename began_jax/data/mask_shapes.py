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

from began_jax.data import coco_files
from began_jax.data.pictures import files_below, same_name, same_stem
from began_jax.data.text_files import text_of
from began_jax.errors import InputError


class Shape(NamedTuple):
    """A class, and an outline [K, 2], or run lengths of a whole mask (column by column, the first outside).

    Or why it is neither, which matters where its class is inside.
    """

    label: str
    outline: np.ndarray | None = None
    runs: np.ndarray | None = None
    size: tuple[int, int] | None = None  # (width, height) of the mask, if told
    no_area: str = ""


class MaskShapes(NamedTuple):
    """The masks of pictures by their ids: shapes, and (width, height) of the picture that they were drawn in."""

    of: dict[str, list[Shape]]
    sizes: dict[str, tuple[int, int]]
    where: str
    notes: tuple[str, ...] = ()  # to print

    def described(self) -> str:
        """Return what differs where the masks do."""

        def drawn(shape: Shape) -> tuple[str, list[float]]:
            parts = [np.ravel(each) for each in (shape.outline, shape.runs) if each is not None]
            return shape.label, np.concatenate(parts).tolist()

        return repr([(name, [drawn(shape) for shape in shapes]) for name, shapes in sorted(self.of.items())])

    def __contains__(self, name: object) -> bool:
        return name in self.of

    def read(self, name: str, height: int, width: int) -> np.ndarray:
        """Return the mask uint8 [height, width, 1] of a picture; InputError where that had another size."""
        told = self.sizes.get(name, (width, height))
        if told != (width, height):
            both = f"{told[0]}x{told[1]}, and {name} has {width}x{height} pixels (width x height)"
            raise InputError(f"{self.where}: shapes of {name} are drawn in {both}")
        mask = np.zeros((height, width), bool)
        self._check(name, height, width)
        for shape in self.of[name]:
            if shape.outline is not None:
                mask |= filled(shape.outline, height, width)
                continue
            assert shape.runs is not None
            size, pixels = shape.size or told, int(shape.runs.sum())
            if size != told or pixels != height * width:
                held = f"{size[0]}x{size[1]}" if size != told else f"{pixels:,}"
                raise InputError(f"{self.where}: run lengths of {held} for {name}, of {width}x{height} pixels")
            mask |= _unrolled(shape.runs, height, width)
        return mask.astype(np.uint8)[..., None]

    def _check(self, name: str, height: int, width: int) -> None:
        """Raise InputError where no outline is a part of a picture, or one goes on for more than its size outside."""
        outlines = [shape.outline for shape in self.of[name] if shape.outline is not None]
        reaches = [(outline.min(0), outline.max(0)) for outline in outlines]
        size = np.array([width, height])
        outside = [bool((high < -1).any() or (low > size + 1).any()) for low, high in reaches]
        for low, high in reaches:
            if all(outside) or (low < -size).any() or (high > 2 * size).any():
                reach = f"from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}), outside its {width}x{height}"
                raise InputError(f"{self.where}: a shape of {name} reaches {reach}; give (x, y) in pixels of the image")


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


def _unrolled(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def holds_shapes(masks: Path, images: Path) -> bool:
    """Say whether masks are given as outlines: a .json or .xml file, or a folder of LabelMe's files.

    Such a folder may be that of the images. Else the other files in it are fewer, or the pictures that were drawn in.
    """
    if masks.is_file():
        return masks.suffix.lower() in (".json", ".xml")
    if not masks.is_dir():
        return False
    files = list(files_below(masks))
    told = [path for path in files if path.suffix.lower() == ".json"]
    if images.is_dir() and masks.samefile(images):
        return bool(told)
    others = [path for path in files if path.suffix.lower() != ".json"]
    if len(told) <= len(others) and not all(_is_picture(path, images / path.relative_to(masks)) for path in others):
        return False
    return any('"shapes"' in path.read_text(errors="replace") for path in told)


def _is_picture(path: Path, of: Path) -> bool:
    """Say whether a file beside LabelMe's is no mask: a copy `of` an image, or one that LabelMe's file of it names."""
    if of.is_file():
        return path.stat().st_size == of.stat().st_size
    drawn = path.with_suffix(".json")
    return drawn.is_file() and path.name in drawn.read_text(errors="replace")


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
    several = given.split(",") if given and given.strip() not in labels else [given or ""]  # a name may have a comma
    with_area = {shape.label for shapes in found.values() for shape in shapes if not shape.no_area}
    wanted = {label.strip() for label in several} if given else with_area or set(labels)
    if not wanted <= set(labels) or (len(wanted) > 1 and not given) or not labels:
        remedy = "say which are inside with --mask-values, such as " + next(iter(labels), "iris")
        raise InputError(f"{where}: holds shapes of {known or 'no class'}; {remedy}")
    spelt = {same_stem(name) if stems else same_name(name): name for name in ids}
    if len(spelt) < len(ids):
        raise InputError(f"{where}: two pictures have one name but for its ending; rename one")
    own = {spelt.get(same_name(name), same_name(name)): shapes for name, shapes in found.items()}
    if len(own) < len(found):
        twice = Counter(map(same_name, found)).most_common(1)[0][0]
        raise InputError(f"{where}: {twice} is there twice, spelt in two ways; give each picture one entry")
    notes = ()
    if partial and (silent := [name for name, shapes in own.items() if not shapes]):
        own = {name: shapes for name, shapes in own.items() if shapes}
        said = "are listed without a shape, and are taken as not annotated (without --partial their masks are empty)"
        notes = (f"{len(silent):,} pictures {said}",)
    missing = [name for name in ids if name not in own]
    surplus = sorted(own.keys() - set(ids))
    if missing and (not partial or len(missing) == len(ids)):
        there = f"masks for {len(ids) - len(missing)} of {len(ids)} images"
        first = f"; the first name in it is {surplus[0]}" if len(missing) == len(ids) and surplus else ""
        raise InputError(f"{where}: {there}; the first missing is {missing[0]}{first}; --partial keeps such images")
    if surplus:
        raise InputError(f"{where}: {len(surplus)} masks without an image; the first is {surplus[0]}")
    chosen = {name: [shape for shape in shapes if shape.label in wanted] for name, shapes in own.items()}
    for name, shapes in chosen.items():
        if without := next((shape for shape in shapes if shape.no_area), None):
            raise InputError(
                f"{where}: {without.label} of {name} {without.no_area}; polygons, rectangles, circles and run "
                "lengths are read"
            )
    _check_pixels(chosen, where)
    return MaskShapes(chosen, {spelt.get(same_name(n), n): size for n, size in sizes.items()}, where, notes)


def _check_pixels(chosen: dict[str, list[Shape]], where: str) -> None:
    """Raise InputError where outlines look like fractions of their pictures, but for a sliver in a corner."""
    drawn = {name: [shape.outline for shape in shapes if shape.outline is not None] for name, shapes in chosen.items()}
    points = {name: np.concatenate(outlines) for name, outlines in drawn.items() if outlines}
    near = [n for n, each in points.items() if np.abs(each).max() <= 1.5 and (each != np.round(each)).any()]
    within = [name for name in near if 2 * len(near) > len(points) or (points[name].min(0) > 0.1).all()]
    if within:
        reach = f"all coordinates of {within[0]} lie within {np.abs(points[within[0]]).max():.2g}"
        raise InputError(f"{where}: {reach}, which looks like fractions; give pixels")


_Found = tuple[dict[str, list[Shape]], dict[str, tuple[int, int]], bool]


def _read(masks: Path) -> _Found:
    """Return name -> shapes, name -> (width, height), and whether names lack the picture's ending."""
    if masks.is_dir():
        return _read_labelme(masks)
    return _read_cvat(masks) if masks.suffix.lower() == ".xml" else _read_coco(masks)


def _read_coco(path: Path) -> _Found:
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
            shapes.append(Shape(label, runs=runs, size=(int(width), int(height))))
        elif given:
            rings = given if isinstance(given[0], list) else [given]  # some programs write the one ring alone
            shapes += [_coco_ring(label, ring) for ring in rings if ring or not any(rings)]
        else:
            shapes.append(Shape(label, no_area="has no segmentation"))
    return found, sizes, False


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


def _read_labelme(folder: Path) -> _Found:
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
    return found, sizes, True


def _labelme(shape: Any) -> Shape:
    kind, points = shape.get("shape_type") or "polygon", np.array(shape["points"], np.float64)
    if kind == "rectangle" and len(points) == 2:  # else all corners
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], 1)
    elif kind not in ("polygon", "rectangle"):
        count = f" of {len(points)} points" if kind == "circle" else ""
        return Shape(str(shape["label"]), no_area=f"is a {kind}{count}")
    return _outlined(str(shape["label"]), points)


def _read_cvat(path: Path) -> _Found:
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
            elif each.tag == "mask":
                found[name].append(Shape(label, runs=_cvat_runs(given, width, height)))
            elif each.tag not in ("tag", "attribute"):
                found[name].append(Shape(label, no_area=f"is a {each.tag}"))
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

"""Masks of pictures from outlines, see `mask_shape_formats`: those of the classes that are inside, drawn.

Outlines are in pixels of the upright picture, whose first pixel spans 0 to 1; a pixel is inside where its centre is.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from began_jax.data import mask_shape_formats
from began_jax.data.mask_shape_formats import Shape
from began_jax.data.pictures import files_below, known_formats, same_name, same_stem
from began_jax.errors import InputError


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
    others = [path for path in files if path.suffix.lower() in known_formats()]
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
        found, sizes, stems, notes = mask_shape_formats.read(masks)
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
    if partial and (silent := [name for name, shapes in own.items() if not shapes]):
        own = {name: shapes for name, shapes in own.items() if shapes}
        said = "are listed without a shape, and are taken as not annotated (without --partial their masks are empty)"
        notes += (f"{len(silent):,} pictures {said}",)
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
                f"{where}: {without.label} of {name} {without.no_area}; polygons, rectangles, circles, ellipses "
                "and run lengths are read"
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

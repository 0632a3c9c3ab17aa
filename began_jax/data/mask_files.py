"""Mask files as people have them: which stored values are inside is found out from all masks of a set together.

Two values: the higher, brighter or coloured one is inside. Grey, as soft edges and JPEG leave it: cut at the middle.
Several classes: the caller has to say. Anything else is refused. One mask says too little: it may show two classes.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from began_jax.data import mask_planes
from began_jax.data.pictures import list_pictures, same_stem
from began_jax.errors import InputError

ENDS = 0.15  # of the range: a value farther from both ends lies between inside and outside
FLAT = 0.02  # of the range, by which the neighbours of a pixel in an even area differ at most
EVEN = 5e-4  # share of pixels in even areas between the ends, from which on these are a class of their own
NOISE = 3  # of 255, by which JPEG of the best quality changes an even area
BLUR, NEAR = 32, 0.005  # of 255, by which JPEG blurs a value; share of the pixels, from which on that matters
MANY_COLOURS = 256  # more are no palette
BETWEEN = 4  # times as many pixels lie between the ends as at the upper one, at most, where edges are soft
_ASK_COLOURS = "say which are inside with --mask-values, such as {}; or by the numbers of a palette, such as 1"
_OF_JPEG = {
    True: "store exact colours, as PNG",
    False: "leave it out where there is one class, or give a range, such as 100-160, or 1.5-2.5 for 2 alone",
}
_ASK = "say which are inside with --mask-values, such as {} or 128-255"


@dataclasses.dataclass(frozen=True)
class Values:
    """Which values of a mask are inside: ranges of numbers, both ends included, or colours.

    With `alpha` a mask of one colour is what it shows of it: others of the set are black cut-outs.
    """

    ranges: tuple[tuple[float, float], ...] = ()
    colours: tuple[int, ...] = ()  # 0xRRGGBB
    alpha: bool = False
    indices: bool = False  # of a palette are meant, not its colours


def parse_values(text: str) -> Values:
    """Return the values that a list such as 2 or 1,3 or 128-255 or #ff0000 names; InputError where it is none."""
    ranges, colours = [], []
    for part in text.replace(" ", "").split(","):
        if colour := re.fullmatch(r"#([0-9a-fA-F]{6})", part):
            colours.append(int(colour[1], 16))
        elif number := re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", part):
            ranges.append((float(number[1]), float(number[2] or number[1])))
        else:
            raise InputError(f"--mask-values {text}: must be values, ranges or colours, such as 2 or 1,3 or 128-255")
    if ranges and colours:
        raise InputError(f"--mask-values {text}: must be values or colours, not both")
    return Values(tuple(ranges), tuple(colours), indices=bool(ranges))


def inside(paths: Sequence[Path], where: str, given: str | None = None) -> Values:
    """Return which values of these masks are inside, or raise InputError where they do not tell.

    Args:
        paths: of all masks.
        where: they are, for the message.
        given: the values that are inside, as `parse_values` takes them.
    """
    wanted = parse_values(given) if given else None
    asked, indices = bool(wanted and wanted.colours), bool(wanted and wanted.ranges)
    held = _survey(paths, asked, False, indices)
    if held.colours and not asked:  # then black ones are colours too
        held = _survey(paths, True, False, indices)
    elif held.alpha:  # then those that are opaque all over are full
        held = _survey(paths, asked, True, indices)
    if wanted:
        _check_palettes(wanted, held, f"{where}: --mask-values {given}")
        if not any(_among(wanted, value, held.colours) for value in held.values):
            raise InputError(f"{where}: no mask holds a value of --mask-values {given}; {held.in_words()}")
        if (missed := _near(wanted, held)) > NEAR * held.count:
            near = f"{100 * missed / held.count:.1f} % of their pixels are near to --mask-values {given}, but not equal"
            raise InputError(f"{where}: the masks are blurred, as by JPEG: {near}; {_OF_JPEG[held.colours]}")
        return dataclasses.replace(wanted, alpha=held.alpha)
    values = sorted(map(float, held.values))
    if len(values) == 1:
        raise InputError(f"{where}: {held.in_words()} alone; there must be an inside and an outside")
    if held.colours:
        if len(values) == 2 and values[0] == 0:
            return Values(colours=(int(values[1]),))
        remedy = "JPEG blurs colours, so " + _OF_JPEG[True] if held.lossy else _ASK_COLOURS
        raise InputError(f"{where}: {held.in_words()}; {remedy.format(held.name(held.most()[1]))}")
    if len(values) == 2:
        return Values(((values[1], np.inf),), alpha=held.alpha)
    if _several_classes(held):
        raise InputError(f"{where}: {held.in_words()}; {_ASK.format(held.name(values[1]))}")
    low, high = values[0], values[-1]
    if held.least < 0.25 * high:
        reach = f"some masks hold values to {held.least:g} and others to {high:g}"
        raise InputError(f"{where}: {reach}; store them alike, from 0 to one value")
    if low > 0.2 * held.full or high < 0.8 * held.full or held.between > BETWEEN * held.upper:
        some = f"values from {low:g} to {high:g}, {100 * held.between / len(paths):.0f} % of them between the ends"
        remedy = _ASK.format(f"{(low + high) / 2:.0f}-{high:g}")
        raise InputError(f"{where}: the masks hold {some}, and nothing is clearly inside; {remedy}")
    return Values((((low + high) / 2, np.inf),), alpha=held.alpha)


def _check_palettes(wanted: Values, held: "_Held", where: str) -> None:
    """Raise InputError where a number that is wanted has the colour of another one in another mask's palette."""
    for number, colours in held.palette.items():
        if len(colours) < 2 or not _among(wanted, float(number), False):
            continue
        if any(colours & each for other, each in held.palette.items() if other != number):
            named = " or ".join(f"#{colour:06x}" for colour in sorted(colours)[:3])
            differ = f"{number} is {named} by the palettes of the masks, which differ"
            raise InputError(f"{where}: {differ}; name the colours that are inside")


def _near(wanted: Values, held: "_Held") -> float:
    """Return the shares of the values that blur may have made of those that are wanted, but which are none of them.

    Masks that are not blurred have few values, or such as fill even areas.
    """
    found = 0.0
    few = MANY_COLOURS if held.colours else mask_planes.FEW
    # 0, 1, 2, ... are classes, however many.
    numbered = not held.colours and max(held.values) < 2 * BLUR and all(map(float.is_integer, held.values))
    if not held.lossy and (len(held.values) <= few or numbered):
        return found
    for value, share in held.values.items():
        if held.colours:
            apart = min(
                max(abs((int(value) >> i & 255) - (colour >> i & 255)) for i in (0, 8, 16)) for colour in wanted.colours
            )
        else:
            apart = min((max(low - value, value - high) for low, high in wanted.ranges if low == high), default=np.inf)
        meant = not held.lossy and held.flat.get(value, 0.0) > share / 2
        found += share if 0 < apart <= BLUR and not meant and not _among(wanted, value, held.colours) else 0
    return found


class MaskFiles(NamedTuple):
    """The masks of pictures by their ids: files, and which of their values are inside."""

    of: dict[str, Path]
    folder: Path
    values: Values = Values()  # see `inside`
    notes: tuple[str, ...] = ()  # to print

    def described(self) -> list[tuple[str, int]]:
        """Return names and lengths of the files, which differ where the masks do."""
        return [(name, path.stat().st_size) for name, path in sorted(self.of.items())]

    def __contains__(self, name: object) -> bool:
        return name in self.of

    def read(self, name: str, height: int, width: int) -> np.ndarray:
        """Return the mask uint8 [height, width, 1] of a picture; InputError where it has another size."""
        mask = read_mask(self.of[name], self.values)
        if mask.shape[:2] != (height, width):
            raise InputError(
                f"{self.of[name]}: the mask is {mask.shape[1]}x{mask.shape[0]}, its image {width}x{height} pixels "
                "(width x height); a mask must have the size of its image"
            )
        return mask


def match_masks(masks: Path, ids: Sequence[str], partial: bool) -> MaskFiles:
    """Return picture -> its mask, a file of the same relative path with any ending, .png before others.

    Notes say which other files are there.

    Raises:
        InputError: a picture has none, or two share one; with `partial`: none has one, or one belongs to no picture.
    """
    by_stem: dict[str, list[Path]] = {}
    try:
        listed = list_pictures(masks, "--masks", frames=False)
    except InputError as error:
        remedy = "masks are pictures in a folder, or outlines: COCO's .json, CVAT's .xml, LabelMe's .json in a folder"
        raise InputError(f"{error}; {remedy}") from None
    for name in listed.ids:
        by_stem.setdefault(same_stem(name), []).append(masks / name)
    found: dict[str, Path] = {}
    for name in ids:
        files = by_stem.get(same_stem(name), [])
        same = [path for path in files if path.suffix == ".png"] or files
        if len(same) > 1:
            raise InputError(f"--masks {masks}: {same[0].name} and {same[1].name} may be the mask of {name}; keep one")
        if same:
            found[name] = same[0]
    missing = [name for name in ids if name not in found]
    first = Path(missing[0]).with_suffix(".png") if missing else None
    if len(missing) == len(ids):
        there = f"the first would be {first}, and the first that is there is {listed.ids[0]}"
        raise InputError(f"--masks {masks}: holds no mask of any of {len(ids)} images; {there}")
    if missing and not partial:
        there = f"masks for {len(found)} of {len(ids)} images"
        raise InputError(f"--masks {masks}: {there}; the first missing is {first}; --partial keeps such images")
    owner: dict[Path, str] = {}
    for name, path in found.items():
        if (other := owner.setdefault(path, name)) != name:
            raise InputError(f"--masks {masks}: {other} and {name} would share the mask {path.name}; rename one")
    used = {same_stem(name) for name in found}
    if partial and (surplus := sorted(stem for stem in by_stem if stem not in used)):
        path = by_stem[surplus[0]][0].relative_to(masks)
        raise InputError(f"--masks {masks}: {len(surplus)} masks without an image; the first is {path}")
    return MaskFiles(found, masks, notes=tuple(listed.notes))


def read_mask(path: Path, values: Values) -> np.ndarray:
    """Decode a mask to uint8 [h, w, 1] in {0, 1}, 1 where its value is inside."""
    plane = mask_planes.read(path, bool(values.colours), values.alpha, values.indices)
    within = np.zeros(plane.values.shape, bool)
    for low, high in () if plane.of_colours else values.ranges:
        within |= (plane.values >= low) & (plane.values <= high)
    for colour in values.colours if plane.of_colours else ():
        within |= plane.values == colour
    return within.astype(np.uint8)[..., None]


@dataclasses.dataclass
class _Held:
    """What masks hold, summed over them: values with their shares of the pixels, and shares by where these lie."""

    colours: bool = False
    full: float = 1.0  # the largest value that their format can hold
    values: dict[float, float] = dataclasses.field(default_factory=dict)
    even: dict[float, float] = dataclasses.field(default_factory=dict)  # those in even areas
    flat: dict[float, float] = dataclasses.field(default_factory=dict)  # those in areas of one value
    between: float = 0.0
    upper: float = 0.0
    count: int = 0
    alpha: bool = False  # whether some are read by it, being of one colour
    lossy: bool = True  # whether all are JPEG
    palette: dict[int, set[int]] = dataclasses.field(default_factory=dict)  # number -> its colours, where one is used
    least: float = np.inf  # of the largest values of masks that have an even area of it

    def name(self, value: float) -> str:
        """Return a value as --mask-values takes it."""
        return f"#{int(value):06x}" if self.colours else f"{value:g}"

    def most(self) -> list[float]:
        """Return the values, the most frequent first."""
        return sorted(self.values, key=lambda value: -self.values[value])

    def in_words(self) -> str:
        """Return the values with their shares, those of the larger ones where they are many."""
        shown = [f"{self.name(v)} ({100 * self.values[v] / self.count:.1f} %)" for v in self.most()[:6]]
        more = f" and {len(self.values) - 6:,} more" if len(self.values) > 6 else ""
        kind = ("colour" if self.colours else "value") + ("s" if len(self.values) > 1 else "")
        return f"the masks hold the {kind} {', '.join(shown)}{more}"


def _several_classes(held: _Held) -> bool:
    """Say whether values between the least and the largest fill even areas, as those of soft edges do not."""
    low, high = min(held.values), max(held.values)
    near = NOISE if held.lossy and high - low > 255 - 2 * NOISE else 0
    if not any(low + near < value < high - near for value in held.values):
        return False
    if len(held.values) <= 4:
        return True
    if len(held.values) <= mask_planes.FEW:
        return any(share > EVEN * held.count for value, share in held.even.items() if low < value < high)
    margin = ENDS * (high - low)
    return sum(s for v, s in held.even.items() if low + margin < v < high - margin) > EVEN * held.count


def _survey(paths: Sequence[Path], asked: bool, alpha: bool, indices: bool) -> _Held:
    held = _Held(colours=asked)
    with ThreadPoolExecutor() as pool:
        for each in pool.map(lambda path: _seen(path, asked, alpha, indices), paths):
            held.least = min(held.least, each.least)
            held.colours |= each.colours
            held.alpha |= each.alpha
            held.lossy &= each.lossy
            for number, colours in each.palette.items():
                held.palette.setdefault(number, set()).update(colours)
            held.full = max(held.full, each.full)
            for total, own in ((held.values, each.values), (held.even, each.even), (held.flat, each.flat)):
                total.update({value: total.get(value, 0.0) + share for value, share in own.items()})
            held.between += each.between
            held.upper += each.upper
            held.count += 1
    return held


def _seen(path: Path, asked: bool, alpha: bool, indices: bool) -> _Held:
    plane, of_colours, by_alpha, lossy, used = mask_planes.read(path, asked, alpha, indices)
    palette = {number: {colour} for number, colour in (used or {}).items()}
    most = plane.max()
    full = 1.0 if plane.dtype.kind == "f" and most <= 1 else 255.0 if most <= 255 else 65535.0
    levels = np.unique(plane)
    if len(levels) > 1024 and not of_colours:
        plane = np.round(plane * (1024 / full)) * (full / 1024)
    values = _shares(plane, plane.size)
    if of_colours:
        return _Held(True, full, values, count=1, alpha=by_alpha, lossy=lossy)
    height, width = (max(side - 2, 0) for side in plane.shape)
    windows = [plane[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    low, high = functools.reduce(np.minimum, windows), functools.reduce(np.maximum, windows)
    even = high - low <= (0 if len(levels) <= mask_planes.FEW else FLAT * full)
    one_value = _shares(windows[4][high == low], plane.size)
    upper = plane >= (1 - ENDS) * full
    between = (plane > ENDS * full) & ~upper
    flat = _shares(windows[4][even], plane.size)
    top = float(levels[-1])
    least = top if len(levels) > 1 and flat.get(top, 0.0) > EVEN else np.inf
    shares = values, flat, one_value, float(between.mean()), float(upper.mean())
    return _Held(False, full, *shares, 1, by_alpha, lossy, palette, least)


def _shares(values: np.ndarray, size: int) -> dict[float, float]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.astype(float).tolist(), (counts / size).tolist(), strict=True))


def _among(values: Values, value: float, of_colours: bool) -> bool:
    if of_colours:
        return value in values.colours
    return any(low <= value <= high for low, high in values.ranges)

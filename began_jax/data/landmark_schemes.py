"""What is known of landmarks that are not the paper's: their names, which change places in a mirrored picture, lines.

It is said by a file (prepare.py --scheme FILE), or by the names in a file of COCO keypoints:

    {"names": ["nose", "left_ear", "right_ear", "tail"],
     "pairs": [["left_ear", "right_ear"]],
     "edges": [["nose", "left_ear"], ["nose", "right_ear"], ["nose", "tail"]],
     "unit": ["nose", "tail"]}

`names` are needed, one a point, in the order of the landmarks. Points of `pairs` change places, and the others stay;
without `pairs` the names themselves say it, by left and right. `edges` are lines to draw. `unit` are two points whose
distance is that in which errors are told. Names without a side must not be a numbered row (nose_1, nose_2), of which
some could be left; then `pairs` are needed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from began_jax.errors import InputError
from began_jax.landmarks import SCHEMES, Scheme, partners, scheme

STORED = "landmark_scheme"  # of metadata
KEYS = ("names", "pairs", "edges", "unit")
SHOWN = 4  # points that stay, in a line to print


def read(path: Path) -> Scheme:
    """Return the scheme of a file; InputError where it is none."""
    where = f"--scheme {path}"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise InputError(f"{where}: cannot be read ({reason})") from None
    if not isinstance(found, dict) or "names" not in found or found.keys() - set(KEYS):
        shown = f"holds {', '.join(map(repr, found)) or 'nothing'}" if isinstance(found, dict) else "is no JSON object"
        raise InputError(f"{where}: {shown}; it must hold names, and may hold {', '.join(KEYS[1:])}")
    names = found["names"]
    if not _are_names(names):
        raise InputError(f"{where}: names must be a list of different names, one for each point")
    mirrored = _by_names(names)
    if "pairs" in found:
        pairs = _numbered(found["pairs"], names, f"{where}: pairs")
        if len({point for pair in pairs for point in pair}) < 2 * len(pairs):
            raise InputError(f"{where}: pairs: a point is in two of them, or its own partner")
        other = {first: second for pair in pairs for first, second in (pair, pair[::-1])}
        mirrored = tuple(other.get(point, point) for point in range(len(names)))
    edges = _numbered(found.get("edges", []), names, f"{where}: edges")
    unit = _numbered([found["unit"]], names, f"{where}: unit", "two names")[0] if "unit" in found else None
    if unit is not None and unit[0] == unit[1]:
        raise InputError(f"{where}: unit: has one point twice")
    return _scheme(names, edges, mirrored, unit)


def of_coco(names: Any, skeleton: Any, count: int) -> Scheme | None:
    """Return the scheme that a COCO category tells of its points, or None where its names say nothing.

    68 or 49 points whose names do not contradict it are those of iBUG under other names.
    """
    if not _are_names(names) or len(names) != count:
        return None
    if len({re.sub(r"[\d_\s]+", "", name) for name in names}) == 1:  # numbers, point_1, point_2, ...
        return None
    edges, known = _skeleton(skeleton, count), SCHEMES.get(count)
    if known and tuple(names) == known.names:
        return known
    if known and known.unit and partners(names) in (known.mirrored, tuple(range(count))):
        return known._replace(names=tuple(names), edges=edges or known.edges)
    return _scheme(names, edges, _by_names(names))


def _skeleton(edges: Any, count: int) -> tuple[tuple[int, int], ...]:
    """Return COCO's edges, which number points from 1, as ours, or none where one is none."""
    edges = edges if isinstance(edges, list) else []
    for edge in edges:
        fits = isinstance(edge, list) and len(edge) == 2
        if not fits or not all(isinstance(end, int) and 1 <= end <= count for end in edge):
            return ()
    return tuple((first - 1, second - 1) for first, second in edges)


def check(points: Scheme, count: int, where: str) -> None:
    """Raise InputError where a scheme is of another number of points."""
    if len(points.names) != count:
        raise InputError(f"{where}: names {len(points.names)} points, and the landmarks are {count}")


def described(points: Scheme | None, count: int) -> str:
    """Say, in a line to print, which points change places in a mirrored picture, and what the unit of errors is.

    Args:
        points: what was told of them, if anything.
        count: how many there are.
    """
    known = points or scheme(count)
    ends = known.unit and f"the distance of {known.names[known.unit[0]]} and {known.names[known.unit[1]]}"
    unit = f"errors are told in {ends or 'the diagonal of the box around them'}"
    if known.mirrored is None:
        unknown = f"which of the {count} change places in a mirrored picture is not known, so none is mirrored"
        remedy = '"pairs" of --scheme FILE say it' if points else "--scheme FILE says both"
        return f"landmarks: {unknown}; {unit}; {remedy}"
    how = "what is told of them" if points else "their number (--scheme FILE says otherwise)"
    pairs = sum(i < other for i, other in enumerate(known.mirrored))
    staying = [known.names[i] for i, other in enumerate(known.mirrored) if i == other]
    shown = ", ".join(staying[:SHOWN]) + (f" and {len(staying) - SHOWN} more" if len(staying) > SHOWN else "")
    stay = f", and {shown} stay{'s' if len(staying) == 1 else ''}" if staying else ""
    change = f"{pairs} pair{'s change' if pairs != 1 else ' changes'} places in a mirrored picture{stay}"
    return f"landmarks: by {how}, {change}; {unit}"


def stored(points: Scheme | None) -> dict[str, Any]:
    """Return what a data set's metadata say of a scheme: nothing of one that the number of points tells."""
    if points is None or points == scheme(len(points.names)):
        return {}
    return {STORED: json.loads(json.dumps(points._asdict()))}  # lists, which JSON gives back as they are


def of_ours(metadata: Mapping[str, Any], names: Any, count: int) -> Scheme | None:
    """Return the scheme that is `stored` in metadata, or None where they have none of points of these names."""
    try:
        found = restored(metadata, count)
    except (AttributeError, LookupError, TypeError, ValueError):  # what others keep there under our name
        return None
    return found if STORED in metadata and list(found.names) == names else None


def restored(metadata: Mapping[str, Any], count: int) -> Scheme:
    """Return the scheme of `count` points, as `stored` in metadata or by their number.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: the metadata hold something else under our name.
    """
    told = metadata.get(STORED)
    if told is None:
        return scheme(count)
    pair = lambda ends: (int(ends[0]), int(ends[1]))  # noqa: E731
    found = Scheme(
        names=tuple(told["names"]),
        parts={name: tuple(members) for name, members in told["parts"].items()},
        edges=tuple(map(pair, told["edges"])),
        mirrored=None if told["mirrored"] is None else tuple(told["mirrored"]),
        unit=None if told["unit"] is None else pair(told["unit"]),
    )
    places = [*found.mirrored] if found.mirrored is not None else list(range(count))
    used = {*sum(found.edges, ()), *(found.unit or ()), *sum(found.parts.values(), ())}
    if len(found.names) != count or [places[i] for i in places] != list(range(count)) or used - set(range(count)):
        raise ValueError(f"no scheme of {count} points")
    return found


def _are_names(names: Any) -> bool:
    return (
        isinstance(names, list)
        and len(names) > 0
        and all(isinstance(name, str) and name.strip() and name.isprintable() for name in names)
        and len(set(names)) == len(names)
    )


def _numbered(given: Any, names: Sequence[str], where: str, what: str = "a list of pairs") -> list[tuple[int, int]]:
    """Return pairs of names as numbers of points."""
    if not isinstance(given, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise InputError(f'{where}: must be {what}, as in ["left_ear", "right_ear"]')
    if strange := [name for pair in given for name in pair if name not in names]:
        raise InputError(f"{where}: has {strange[0]}, which is none of the names")
    return [(names.index(first), names.index(second)) for first, second in given]


def _by_names(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return which points change places, by left and right in their names, or None where that is not certain.

    It is where no name has a side, the other side of one is missing, or names without a side are a numbered row, of
    which some may be left.
    """
    found = partners(names)
    if found is None or found == tuple(range(len(names))):
        return None
    rows = [re.sub(r"\d+", "", names[i]) for i, other in enumerate(found) if i == other]
    return found if len(set(rows)) == len(rows) else None


def _scheme(
    names: Sequence[str],
    edges: Sequence[tuple[int, int]],
    mirrored: tuple[int, ...] | None,
    unit: tuple[int, int] | None = None,
) -> Scheme:
    return Scheme(tuple(names), {"points": tuple(range(len(names)))}, tuple(edges), mirrored, unit)

"""The landmarks of pictures, from a file: one row for each picture, checked against the pictures that there are."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from began_jax.data import landmark_schemes
from began_jax.data.landmark_formats import read
from began_jax.data.pictures import face_of, rows_of, same_name, same_stem
from began_jax.errors import InputError
from began_jax.landmarks import POINTS_49, Scheme

MARGIN = 0.05  # of a picture's size, by which a point is outside that may not be right ...
SEVERAL = 3  # ... where it has so many points or more, and most of them are
ONE = "give each image one row, or use prepare.py faces --detector landmarks --several each, which crops each face"


class Matched(NamedTuple):
    """Landmarks [N, K, 2] of pictures, (x, y) in their pixels.

    A point that is absent is NaN, and so are all of a picture that the file says nothing of. `sizes` are (width,
    height) of the pictures where the file tells, by their names, `notes` lines to print, and `scheme` what was told of
    the points beyond their number. `ids` are those of the rows, which are the pictures' but where each face has a row.
    """

    ids: list[str]
    points: np.ndarray
    sizes: dict[str, tuple[int, int]]
    notes: list[str]
    scheme: Scheme | None


def match_landmarks(
    path: Path,
    ids: Sequence[str],
    root: Path,
    gaps: bool = False,
    only: int | None = None,
    scheme: Path | None = None,
    each: bool = False,
) -> Matched:
    """Return the landmarks of the pictures with these ids below `root`.

    Args:
        path: of the file, see `landmark_formats`.
        ids: of the pictures.
        root: their folder.
        gaps: whether the file may say nothing of some of them.
        only: 49, to keep the paper's points of 68 (iBUG) or 98 (WFLW).
        scheme: a file that says which points they are, see `landmark_schemes`.
        each: whether a picture may have several rows, one a face: each has an id of its own then, see `face_of`.

    Raises:
        InputError: the file cannot be read, does not fit the pictures, or holds no numbers in pixels.
    """
    found, pictures = read(path), ids
    where = f"--landmarks {path}"
    points = found.points if only is None else _chosen(found.points, only, where)
    names = _ids_of(found.names, ids, path.is_dir(), where)
    if each:
        rows_of(list(dict.fromkeys(names)), ids, gaps, where, "landmarks", root)
        names, points, ids = _of_each(names, points, ids, found.notes)
    rows = rows_of(names, ids, gaps, where, "landmarks", root, ONE)
    none = np.full_like(points[:1], np.nan)
    points = np.concatenate([points, none])[[rows.get(name, len(points)) for name in ids]]
    check_points(points, ids, gaps, where)
    sizes = dict(zip(_ids_of(found.sizes, pictures, False, where), found.sizes.values(), strict=True))
    count, known = points.shape[1], found.scheme if only is None else None
    if scheme is not None:
        known = landmark_schemes.read(scheme)
        landmark_schemes.check(known, count, f"--scheme {scheme}")
    return Matched(list(ids), points, sizes, found.notes, known)


def check_points(points: np.ndarray, ids: Sequence[str], gaps: bool, where: str) -> None:
    """Raise InputError where points [N, K, 2] are half there, missing without `gaps`, or fractions."""
    there = np.isfinite(points)
    half = np.flatnonzero((there[..., 0] != there[..., 1]).any(1) | np.isinf(points).any((1, 2)))
    none = np.flatnonzero(~there.any((1, 2)))
    bad = half if len(half) else none if not gaps or len(none) == len(ids) else []
    if len(bad):
        remedy = "give both x and y of a point, or neither" if len(half) else "--partial keeps images without landmarks"
        raise InputError(f"{where}: no finite number in {len(bad)} rows; the first is {ids[int(bad[0])]}; {remedy}")
    known = points[there]
    if points.shape[0] * points.shape[1] > 1 and np.abs(known).max() <= 1.5:
        raise InputError(
            f"{where}: all coordinates lie in [{known.min():.2g}, {known.max():.2g}], which looks like "
            "fractions; give (x, y) in pixels of the image"
        )
    largest = np.where(there, np.abs(points), 0).max((1, 2))
    parts = (there & (points != np.round(points))).any((1, 2)) & (there[..., 0].sum(1) > 1)
    if (alike := np.flatnonzero(parts & (largest <= 1.5))).size:
        raise InputError(
            f"{where}: all coordinates of {ids[int(alike[0])]} lie within {largest[alike[0]]:.2g}, which looks like "
            "fractions, where others are pixels; give (x, y) in pixels of the image"
        )


def _chosen(points: np.ndarray, only: int, where: str) -> np.ndarray:
    kept = POINTS_49.get(points.shape[1]) if only == 49 else None
    if points.shape[1] == only:
        return points
    if kept is None:
        known = ", ".join(map(str, POINTS_49))
        raise InputError(f"--points {only}: {where} has {points.shape[1]} points; the {only} are known of {known}")
    return points[:, list(kept)]


def _ids_of(names: Sequence[str] | dict, ids: Sequence[str], stems: bool, where: str) -> list[str]:
    """Return the ids that names in a file stand for; a name that fits none stays. Of stems the ending is added."""
    spelt = {same_name(name): name for name in ids}
    if stems:
        by_stem: dict[str, list[str]] = {}
        for name in ids:
            by_stem.setdefault(same_stem(name), []).append(name)
        for stem in names:
            if len(several := by_stem.get(same_name(stem), [])) > 1:
                raise InputError(f"{where}: {stem} may be {several[0]} or {several[1]}; keep one of them")
        spelt = {stem: of[0] for stem, of in by_stem.items()}
    return [spelt.get(same_name(name), name) for name in names]


def _of_each(
    names: Sequence[str], points: np.ndarray, ids: Sequence[str], notes: list[str]
) -> tuple[list[str], np.ndarray, list[str]]:
    """Return names and points of the rows, and ids of the pictures, where each of several rows has an id of its own.

    The same row of a picture twice is one.
    """
    rows: dict[tuple[str, bytes], int] = {}
    for row, name in enumerate(names):
        rows.setdefault((name, points[row].tobytes()), row)
    different = list(rows.values())
    if len(different) < len(names):
        notes.append(f"{len(names) - len(different):,} rows are there twice, and are taken once")
    names, points = [names[row] for row in different], points[different]
    total, found, before = Counter(names), [], Counter()
    for name in names:
        before[name] += 1
        found.append(face_of(name, before[name]) if total[name] > 1 else name)
    several = ([face_of(name, i + 1) for i in range(total[name])] if total[name] > 1 else [name] for name in ids)
    return found, points, [name for faces in several for name in faces]


def absent_in_words(points: np.ndarray) -> str:
    """Return how many points of the annotated pictures are absent, in words, or nothing where all are there."""
    there = np.isfinite(points[..., 0])
    counted = there[there.any(1)]
    absent = int((~counted).sum())
    nowhere = f", point {' and '.join(map(str, unseen(points)))} (from 0) in all" if unseen(points) else ""
    return f", {absent:,} of {counted.size:,} absent{nowhere}" if absent else ""


def unseen(points: np.ndarray) -> list[int]:
    """Return the numbers of the points [N, K, 2] that are absent in all pictures: nothing can be learnt of them."""
    return np.flatnonzero(~np.isfinite(points[..., 0]).any(0)).tolist()


def resized(told: tuple[int, int] | None, width: int, height: int) -> str:
    """Say that a picture has not the size (width, height) that its annotation was made for, or nothing."""
    if told in (None, (width, height)):
        return ""
    return f"has {width}x{height} pixels, and its landmarks are of one with {told[0]}x{told[1]} (width x height)"


def outside(points: np.ndarray, width: int, height: int) -> str:
    """Say which of a picture's points [K, 2] is more than the picture's size outside of it, or nothing."""
    places = fractions(points, width, height)
    if not (np.nanmin(places) < -1 or np.nanmax(places) > 2):
        return ""
    x, y = points[int(np.nanargmax(np.abs(places - 0.5).max(-1)))]
    return (
        f"its landmark at ({x:g}, {y:g}) is more than a picture's size outside its {width}x{height} pixels "
        "(width x height); give (x, y) in pixels of the image"
    )


def mostly_outside(points: np.ndarray, width: int, height: int) -> bool:
    """Say whether most of a picture's points [K, 2] lie outside of it; one or two may be hidden there."""
    places = fractions(points, width, height)
    there = places[np.isfinite(places).all(1)]
    beyond = ((there < -MARGIN) | (there > 1 + MARGIN)).any(1)
    return len(there) >= SEVERAL and bool(2 * beyond.sum() > len(there))


def fractions(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return points [K, 2] in pixels of a picture as fractions of its width and height."""
    # pixel centres are at integers, so the picture spans -0.5 .. size - 0.5
    return (points.astype(np.float64) + 0.5) / (width, height)

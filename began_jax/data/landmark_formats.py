"""Landmarks as files hold them: .npz, .csv, COCO keypoints (.json), .jsonl, WFLW's list (.txt), 300-W's .pts.

All become (x, y) in pixels of the upright picture with pixel centres at integers, and NaN for a point that is absent.
"""

import collections
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from began_jax.data import coco_files, landmark_schemes
from began_jax.data.pictures import files_below
from began_jax.data.text_files import lines_of, rows_of_csv, text_of
from began_jax.errors import InputError
from began_jax.landmarks import Scheme

FORMATS = ".npz, .csv, .jsonl, COCO's .json, WFLW's .txt, or a folder of .pts"
ABSENT = "leave the fields of an absent point empty (NaN in .npz), or tell by v0, v1, ... (visible) 0 from 1"
ABSENT_IN_LIST = "if they are absent, (-1, -1) says so there"  # in lists without a field for it
VISIBLE = ("visible", "visibility")  # names of what is 0 where a point is absent
UNSURE = (  # where 0 or 1 is absent
    *("vis", "v", "valid", "valid_mask", "present", "presence", "observed", "is_visible", "visibilities", "mask"),
    *("absent", "missing", "hidden", "invisible", "occluded", "occlusion", "occlusions", "confidence", "weights"),
)
BOX = {"x", "left", "xmin", "x_min", "bbox", "box"}  # beside which a width and a height are those of a box
REPEATED = 3  # pictures with a point at one place outside, left above, and ...
OFTEN = 0.01  # ... share of all, from which on this stands for something
OUTER_CORNER = "(0, 0) is the outer corner of the first pixel"  # our COCO files until version 0.3.0


@dataclasses.dataclass
class Landmarks:
    """What a file says: names of pictures, their points [N, K, 2], sizes where they are told, and notes to print."""

    names: list[str]
    points: np.ndarray
    sizes: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # name -> (width, height)
    notes: list[str] = dataclasses.field(default_factory=list)
    scheme: Scheme | None = None  # what it tells of the points, see `landmark_schemes`


def read(path: Path) -> Landmarks:
    """Read a file of landmarks; InputError where it is none."""
    where = f"--landmarks {path}"
    readers = {".npz": _read_npz, ".csv": _read_csv, ".json": _read_coco, ".jsonl": _read_lines, ".txt": _read_wflw}
    if not path.is_dir() and path.suffix.lower() not in readers:
        raise InputError(f"{where}: neither {FORMATS.replace(', or', ' nor')}")
    if not path.exists():
        raise InputError(f"{where}: no such file")
    try:
        if path.is_dir():
            return _read_pts(path)
        return readers[path.suffix.lower()](path)
    except InputError:
        raise
    except Exception as error:  # damaged files make numpy, zipfile, json and csv raise many kinds
        if "allow_pickle" in str(error):  # what numpy says of them
            error = ValueError("an array holds Python objects; save numbers, and names by numpy.array(names, str)")
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError | TypeError) else error
        raise InputError(f"{where}: cannot be read ({reason})") from None


def with_absent(
    where: str, names: Sequence[str], points: np.ndarray, visible: np.ndarray | None, remedy: str = ABSENT
) -> Landmarks:
    """Return the landmarks with NaN for what is not there, by visibility [N, K] (0: absent) or by how lists say it."""
    points = np.array(points, np.float32)
    if visible is not None:
        if odd := set(np.unique(np.asarray(visible, np.float64)).tolist()) - {0, 1, 2}:
            raise InputError(f"{where}: visibility {min(odd):g}; it must be 0 (absent), 1 (hidden) or 2 (visible)")
        points[np.asarray(visible) == 0] = np.nan
    zero = (points == 0).all(-1)
    if visible is None and zero.any():
        first = names[int(np.flatnonzero(zero.any(1))[0])]
        raise InputError(f"{where}: {zero.sum():,} points lie at (0, 0), the first of {first}; {remedy}")
    minus = (points == -1).all(-1)
    if visible is None:
        _check_repeated(where, names, points, minus, remedy)
    points[minus] = np.nan
    notes = [f"{minus.sum():,} landmarks at (-1, -1) are taken as absent"] if minus.any() else []
    return Landmarks(list(names), points, notes=notes)


def _check_repeated(where: str, names: Sequence[str], points: np.ndarray, known: np.ndarray, remedy: str) -> None:
    """Raise InputError where many pictures have a point at one place left above of them, as other marks of absence."""
    beyond = (points <= -1).all(-1) & ~known  # -0.5 is the picture's edge
    places, counts = np.unique(points[beyond], axis=0, return_counts=True)
    if len(counts) and counts.max() >= max(REPEATED, OFTEN * len(points)):
        place = places[counts.argmax()]
        first = names[int(np.flatnonzero((points == place).all(-1).any(1))[0])]
        at = f"({place[0]:g}, {place[1]:g})"
        raise InputError(f"{where}: {counts.max():,} points lie at {at}, the first of {first}; {remedy}")


def _of_table(where: str, names: Sequence[str], table: np.ndarray) -> Landmarks:
    """Return the landmarks of a table [N, K, 2 or 3] of x, y and perhaps visibility, NaN where nothing is said."""
    if table.shape[2] == 2:
        return with_absent(where, names, table, None)
    table[np.isnan(table).all(-1), 2] = 0
    return with_absent(where, names, table[..., :2], table[..., 2])


def _read_npz(path: Path) -> Landmarks:
    where = f"--landmarks {path}"
    with np.load(path, allow_pickle=False) as arrays:
        keys = [key for key in arrays.files if re.fullmatch(r"landmarks\d*", key)]
        if "name" not in arrays.files or len(keys) != 1:
            raise InputError(
                f"{where}: holds {', '.join(arrays.files) or 'nothing'}; it needs name [N] and "
                "one array landmarks or landmarksK [N, K, 2]"
            )
        names, points = arrays["name"], arrays[keys[0]]
        visible = next((arrays[name] for name in VISIBLE if name in arrays.files), None)
        if other := [key for key in arrays.files if key in UNSURE and arrays[key].shape == points.shape[:2]]:
            remedy = "call it visible, or leave it out; in visible 0 is absent"
            raise InputError(f"{where}: {other[0]} has a value for each point; {remedy}")
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(f"{where}: name is {names.dtype} {names.shape}, not strings [N]")
    k = keys[0].removeprefix("landmarks")
    shape = (len(names), int(k) if k else max(1, *points.shape[1:2], 1), 2)
    if points.shape != shape or points.dtype.kind not in "fiu":
        raise InputError(
            f"{where}: {keys[0]} is {points.dtype} {list(points.shape)}; it must be numbers "
            f"[{len(names)}, {k or 'K'}, 2]"
        )
    if visible is not None and (visible.shape != shape[:2] or visible.dtype.kind not in "biuf"):
        raise InputError(f"{where}: visible is {visible.dtype} {list(visible.shape)}; it must be {list(shape[:2])}")
    decoded = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    return with_absent(where, decoded, points, visible)


def _read_csv(path: Path) -> Landmarks:
    where = f"--landmarks {path}"
    names, rows = [], []
    table = rows_of_csv(path, where)
    _, header = next(table, (1, []))
    axes = "xyv" if "v0" in header else "xy"
    k = (len(header) - 1) // len(axes)
    columns = [f"{axis}{i}" for i in range(k) for axis in axes]
    if k < 1 or header[0] not in ("name", "file_name") or header[1:] != columns:
        raise InputError(f"{where}: the header must be name,x0,y0,x1,y1,... or name,x0,y0,v0,x1,y1,v1,...")
    for line, fields in table:
        if len(fields) != len(header):
            raise InputError(f"{where}: line {line} has {len(fields)} fields, the header {len(header)}")
        try:
            rows.append(np.array([field or "nan" for field in fields[1:]], np.float32))
        except ValueError as error:
            raise InputError(f"{where}: line {line}: {error}; {ABSENT}") from None
        names.append(fields[0])
    return _of_table(where, names, np.reshape(np.array(rows, np.float32), (len(names), k, len(axes))))


def _read_coco(path: Path) -> Landmarks:
    where = f"--landmarks {path}"
    content = coco_files.read(path, where)
    images = {image["id"]: image for image in content["images"]}
    found = [a for a in content["annotations"] if not a.get("iscrowd") and any((a.get("keypoints") or ())[2::3])]
    if not found:
        raise InputError(f"{where}: no annotation has keypoints")
    ids = collections.Counter(annotation.get("category_id") for annotation in found)
    if len(ids) > 1:
        called = {category["id"]: category["name"] for category in content["categories"]}
        shown = ", ".join(f"{count:,} {called.get(i, i)}" for i, count in ids.items())
        raise InputError(f"{where}: keypoints of several categories ({shown}); keep one of them in the file")
    lengths = {len(annotation["keypoints"]) for annotation in found}
    named = [len(c.get("keypoints") or ()) for c in content["categories"] if c.get("id") in ids]
    if len(lengths) > 1 or min(lengths) % 3 or (any(named) and {3 * max(named)} != lengths):
        raise InputError(f"{where}: keypoints of {sorted(lengths)} numbers; each must have x, y, v of the same points")
    if lost := [a["image_id"] for a in found if a["image_id"] not in images]:
        raise InputError(f"{where}: an annotation is of image_id {lost[0]}, which is not among the images")
    table = np.array([annotation["keypoints"] for annotation in found], np.float32).reshape(len(found), -1, 3)
    names = [str(images[annotation["image_id"]]["file_name"]) for annotation in found]
    result = with_absent(where, names, table[..., :2], table[..., 2])
    info: Any = content.get("info") or {}
    if OUTER_CORNER in str(info.get("description", "")):
        result.points -= 0.5
    result.sizes = {
        str(image["file_name"]): (int(image["width"]), int(image["height"]))
        for image in images.values()
        if image.get("width") and image.get("height")
    }
    category = next((c for c in content["categories"] if c.get("id") in ids), {})
    told, skeleton, count = category.get("keypoints"), category.get("skeleton"), result.points.shape[1]
    # somebody may have changed the points of what we wrote
    result.scheme = landmark_schemes.of_ours(info, told, count) or landmark_schemes.of_coco(told, skeleton, count)
    return result


def _read_lines(path: Path) -> Landmarks:
    """Read an image folder's metadata.jsonl: file_name, landmarks (or keypoints) [[x, y], ...], null if absent."""
    where, names, rows, sizes = f"--landmarks {path}", [], [], {}
    for number, line in lines_of(path, where):
        row: Any = json.loads(line)
        if not isinstance(row, dict) or "file_name" not in row or not {"landmarks", "keypoints"} & row.keys():
            raise InputError(f"{where}: line {number} has not file_name and landmarks (or keypoints)")
        given = row.get("landmarks", row.get("keypoints")) or []
        if told := [key for key in (*VISIBLE, *UNSURE) if _is_of_each(row.get(key), given)]:
            raise InputError(f"{where}: line {number} has {told[0]}; give points as [x, y, v], or leave it out")
        names.append(str(row["file_name"]))
        of_picture = isinstance(row.get("width"), int) and isinstance(row.get("height"), int)
        if of_picture and not BOX & {key.lower() for key in row}:
            sizes[names[-1]] = row["width"], row["height"]
        rows.append((number, given))
    shapes = ((len(given), len(point)) for _, given in rows for point in given if isinstance(point, list) and point)
    if (shape := next(shapes, None)) is None:
        raise InputError(f"{where}: holds no list of points [[x, y], ...]")
    table = np.full((len(rows), *shape), np.nan, np.float32)
    for i, (number, given) in enumerate(rows):
        try:
            points = np.array([point or [np.nan] * shape[1] for point in given], np.float32)  # null: NaN
        except (TypeError, ValueError):
            points = np.zeros(0)
        if given and (points.shape != shape or shape[1] not in (2, 3)):
            raise InputError(
                f"{where}: line {number} has points {list(points.shape)}; all must be [K, 2] or [K, 3], as those "
                f"of the first, {list(shape)}"
            )
        if given:
            table[i] = points
    return dataclasses.replace(_of_table(where, names, table), sizes=sizes)


def _is_of_each(value: Any, points: Any) -> bool:
    """Say whether a value of a line is a list with a number for each of its points."""
    return isinstance(value, list) and len(value) == len(points) and not any(isinstance(v, list | str) for v in value)


def _read_wflw(path: Path) -> Landmarks:
    """Read a list of WFLW: 98 points, a box of 4, 6 attributes and the picture's name in each line."""
    where, names, rows = f"--landmarks {path}", [], []
    for number, line in enumerate(text_of(path, where).splitlines(), 1):
        fields = line.split(maxsplit=2 * 98 + 10)
        if not fields:
            continue
        if len(fields) != 2 * 98 + 11:
            raise InputError(f"{where}: line {number} is none of WFLW's, which have 98 points, 10 numbers and a name")
        rows.append(np.array(fields[: 2 * 98], np.float32).reshape(98, 2))
        names.append(fields[-1].strip())
    if not rows:
        raise InputError(f"{where}: holds no line")
    return with_absent(where, names, np.stack(rows), None, ABSENT_IN_LIST)


def _read_pts(folder: Path) -> Landmarks:
    """Read the .pts files in a folder or below; they number pixels from 1, and are named without picture's ending."""
    files = sorted(path for path in files_below(folder) if path.suffix.lower() == ".pts")
    if not files:
        raise InputError(f"--landmarks {folder}: holds no .pts file")
    names, points = [], []
    for path in files:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        inside = re.search(r"n_points:\s*(\d+).*?\{(.*?)\}", text, re.DOTALL)
        numbers = inside and inside[2].split()
        try:
            values = np.array(numbers or (), np.float32).reshape(-1, 2)
        except ValueError:
            values = np.zeros((0, 2))
        if not inside or len(values) != int(inside[1]) or not len(values):
            raise InputError(f"--landmarks {path}: is no .pts file (n_points: K, and K lines x y between braces)")
        names.append(path.relative_to(folder).with_suffix("").as_posix())
        points.append(values)
    counts = collections.Counter(map(len, points))
    if len(counts) > 1:
        few = counts.most_common()[-1][0]
        path = files[next(i for i, values in enumerate(points) if len(values) == few)]
        raise InputError(f"--landmarks {folder}: {path.name} has {few} points, others {counts.most_common(1)[0][0]}")
    found = with_absent(f"--landmarks {folder}", names, np.array(points), None, ABSENT_IN_LIST)
    found.points -= 1
    return found

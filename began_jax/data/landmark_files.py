"""Files of landmarks: .npz or .csv, the name of each picture and its points in pixels."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from began_jax.errors import InputError


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Read picture -> landmarks float32 [K, 2], in pixels, from a .npz or .csv file; pictures may be missing in it."""
    names, points = _read_landmarks(path)
    return {name: row for name, row in zip(names, points, strict=True) if np.isfinite(row).all()}


def match_landmarks(path: Path, ids: Sequence[str], root: Path, partial: bool = False) -> np.ndarray:
    """Return the landmarks [N, K, 2] of the pictures with these ids below `root`; with `partial` NaN for those without.

    Raises:
        InputError: the file cannot be read, does not fit the pictures, or holds no numbers in pixels.
    """
    names, points = _read_landmarks(path)
    where = f"--landmarks {path}"
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) < len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise InputError(f"{where}: {twice} is there twice; give each image one row")
    missing = [name for name in ids if name not in rows]
    if missing and (not partial or len(missing) == len(ids)):
        raise InputError(
            f"{where}: landmarks for {len(ids) - len(missing)} of {len(ids)} images; the first missing is "
            f"{missing[0]} (names are relative to {root}); --partial keeps such images for the generator"
        )
    surplus = sorted(rows.keys() - set(ids))
    if surplus:
        raise InputError(f"{where}: {len(surplus)} names without an image; the first is {surplus[0]}")
    none = np.full_like(points[:1], np.nan)
    points = np.concatenate([points, none])[[rows.get(name, len(points)) for name in ids]]
    finite = np.isfinite(points)
    bad = np.flatnonzero(finite.any((1, 2)) & ~finite.all((1, 2)) if partial else ~finite.all((1, 2)))
    if len(bad) or not finite.any():
        first = ids[int(bad[0])] if len(bad) else ids[0]
        raise InputError(f"{where}: no finite number in {len(bad) or len(ids)} rows; the first is {first}")
    known = points[finite]
    if points.shape[1] > 1 and np.abs(known).max() <= 1.5:
        raise InputError(
            f"{where}: all coordinates lie in [{known.min():.2g}, {known.max():.2g}], which looks like "
            "fractions; give (x, y) in pixels of the image"
        )
    return points


def _read_landmarks(path: Path) -> tuple[list[str], np.ndarray]:
    """Read names and points [N, K, 2] from a .npz or .csv file."""
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"--landmarks {path}: neither .npz nor .csv")
    if not path.is_file():
        raise InputError(f"--landmarks {path}: no such file")
    try:
        return readers[path.suffix.lower()](path)
    except InputError:
        raise
    except Exception as error:  # damaged files make numpy, zipfile and csv raise many kinds
        raise InputError(f"--landmarks {path}: cannot be read ({error})") from None


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        keys = [key for key in arrays.files if re.fullmatch(r"landmarks\d*", key)]
        if "name" not in arrays.files or len(keys) != 1:
            raise InputError(
                f"--landmarks {path}: holds {', '.join(arrays.files) or 'nothing'}; it needs name [N] and "
                "one array landmarks or landmarksK [N, K, 2]"
            )
        names, points = arrays["name"], arrays[keys[0]]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(f"--landmarks {path}: name is {names.dtype} {names.shape}, not strings [N]")
    k = keys[0].removeprefix("landmarks")
    shape = (len(names), int(k) if k else max(1, *points.shape[1:2], 1), 2)
    if points.shape != shape or points.dtype.kind not in "fiu":
        raise InputError(
            f"--landmarks {path}: {keys[0]} is {points.dtype} {list(points.shape)}; it must be numbers "
            f"[{len(names)}, {k or 'K'}, 2]"
        )
    decoded = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    return decoded, points.astype(np.float32)


def _read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    names, rows = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [field.strip() for field in next(reader, [])]
        k = (len(header) - 1) // 2
        if k < 1 or header != ["name", *(f"{axis}{i}" for i in range(k) for axis in "xy")]:
            raise InputError(f"--landmarks {path}: the header must be name,x0,y0,x1,y1,...")
        for fields in filter(None, reader):
            where = f"--landmarks {path}: line {reader.line_num}"
            if len(fields) != len(header):
                raise InputError(f"{where} has {len(fields)} fields, the header {len(header)}")
            try:
                rows.append(np.array(fields[1:], np.float32))
            except ValueError as error:
                raise InputError(f"{where}: {error}") from None
            names.append(fields[0].strip())
    return names, np.reshape(np.array(rows, np.float32), (len(names), k, 2))

"""The folder of CelebA as it is distributed: aligned pictures, official splits, five landmarks, forty attributes."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from began_jax.data.landmark_files import check_points
from began_jax.data.landmark_formats import ABSENT_IN_LIST, with_absent
from began_jax.data.text_files import rows_of_csv, text_of
from began_jax.errors import InputError

PICTURES = "img_align_celeba"
SPLITS = {"0": "train", "1": "validation", "2": "test"}


class CelebA(NamedTuple):
    """Which files of CelebA a folder holds; None where one is not there."""

    pictures: Path
    partition: Path | None
    landmarks: Path | None
    attributes: Path | None


def find(folder: Path) -> CelebA | None:
    """Return the files of a folder with CelebA's layout (as distributed, or with .csv lists), or None."""
    pictures = folder / PICTURES
    if not pictures.is_dir():
        return None
    if (pictures / PICTURES).is_dir():  # some archives hold the folder twice
        pictures = pictures / PICTURES

    def listed(name: str) -> Path | None:
        places = [at / f"{name}{end}" for at in (folder, folder / "Anno", folder / "Eval") for end in (".txt", ".csv")]
        return next((path for path in places if path.is_file()), None)

    return CelebA(
        pictures, listed("list_eval_partition"), listed("list_landmarks_align_celeba"), listed("list_attr_celeba")
    )


def _table(path: Path, header: bool) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the columns and picture -> values of a list, .txt or .csv."""
    if path.suffix == ".csv":
        rows = [row for _, row in rows_of_csv(path, str(path))]
        names, rows = (rows[0][1:], rows[1:]) if rows else ([], [])
    else:
        rows = [line.split() for line in text_of(path, str(path)).splitlines() if line.strip()]
        if header:  # the number of pictures, then the names
            names, rows = (rows[1], rows[2:]) if len(rows) > 1 else ([], [])
        else:
            names, rows = ["partition"], rows
    for row in rows:
        if len(row) != len(names) + 1:
            raise InputError(f"{path}: {row[0]} has {len(row) - 1} values; there must be {len(names)}")
    if not rows:
        raise InputError(f"{path}: holds no pictures")
    listed = [row[0] for row in rows]
    if len(set(listed)) < len(listed):
        twice = Counter(listed).most_common(1)[0][0]
        raise InputError(f"{path}: {twice} is there twice; give each picture one row")
    return names, {row[0]: row[1:] for row in rows}


def _numbers(path: Path, rows: dict[str, list[str]]) -> np.ndarray:
    try:
        return np.array(list(rows.values()), np.float32)
    except ValueError as error:
        raise InputError(f"{path}: {error}; all values must be numbers") from None


def read_splits(path: Path) -> dict[str, str]:
    """Return picture -> train, validation or test, the official splits."""
    _, rows = _table(path, header=False)
    wrong = [name for name, (split,) in rows.items() if split not in SPLITS]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} is in part {rows[wrong[0]][0]}; there are 0, 1 and 2")
    return {name: SPLITS[split] for name, (split,) in rows.items()}


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Return picture -> its landmarks float32 [5, 2], (x, y) in pixels of the aligned picture, where it has any."""
    names, rows = _table(path, header=True)
    points = _numbers(path, rows)
    if points.shape[1] != 10:
        raise InputError(f"{path}: has {points.shape[1]} columns ({', '.join(names[:3])}, ...); there must be 10")
    found = with_absent(str(path), list(rows), points.reshape(-1, 5, 2), None, ABSENT_IN_LIST).points
    check_points(found, list(rows), True, str(path))
    return {name: own for name, own in zip(rows, found, strict=True) if np.isfinite(own).any()}


def check_two(answers: Collection[str], where: str) -> None:
    """Raise InputError where a column of a table of attributes has 0 and -1: one of them says that it is not known."""
    if "-1" in answers and "0" in answers:
        raise InputError(
            f"{where} holds 0 and -1, of which one is no and the other unknown; give 1 and 0, and leave pictures "
            "with an unknown attribute out (--partial keeps them for the generator)"
        )


def read_attributes(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the attributes' names, and picture -> its attributes float32 [K] in {0, 1}."""
    names, rows = _table(path, header=True)
    values = _numbers(path, rows)
    if not np.isin(values, (-1, 0, 1)).all():
        raise InputError(f"{path}: has values other than -1, 0 and 1")
    for name, column in zip(names, values.T, strict=True):
        check_two({f"{value:g}" for value in np.unique(column)}, f"{path}: column {name}")
    return names, dict(zip(rows, (values > 0).astype(np.float32), strict=True))

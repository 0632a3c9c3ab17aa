"""The attributes of pictures, from a table: a row for each picture, yes or no in each column."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from began_jax.data.celeba import check_two, read_attributes
from began_jax.data.pictures import rows_of, same_name
from began_jax.data.text_files import lines_of, rows_of_csv
from began_jax.errors import InputError

FORMATS = ".csv, .jsonl, or CelebA's .txt"
NOTHING = ("nan", "none", "null", "n/a", "na", "<na>")  # as programs write an empty field
ANSWERS = {"1": 1, "true": 1, "yes": 1, "0": 0, "-1": 0, "false": 0, "no": 0}  # CelebA says -1
PICTURE = ("file_name", "filename", "image", "image_id", "name", "id")  # what the column of pictures may be called


class Attributes(NamedTuple):
    """Names of the attributes, their values float32 [N, K] in {0, 1} or NaN in a row that is missing, and notes."""

    names: tuple[str, ...]
    values: np.ndarray
    notes: list[str]


def match_attributes(path: Path, ids: Sequence[str], gaps: bool = False) -> Attributes:
    """Return the attributes of the pictures with these ids.

    Columns without a yes or no in any row, such as captions, are left out, and a note names them.

    Args:
        path: of the table, see `FORMATS`.
        ids: of the pictures.
        gaps: whether it may say nothing of some of them.

    Raises:
        InputError: the table cannot be read, does not fit the pictures, or a value is neither yes nor no.
    """
    where = f"--attributes {path}"
    if not path.is_file():
        raise InputError(f"{where}: no such file; it must be {FORMATS}")
    reader = {".csv": _of_csv, ".jsonl": _of_lines, ".txt": _of_celeba}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{where}: must be {FORMATS}")
    rows = list(reader(path))
    names, notes = _columns([row for _, row in rows], where)
    if gaps:  # a row that says nothing is one that is not there
        rows = [(name, row) for name, row in rows if any(_plain(row.get(column)) for column in names)]
    for column in names:
        check_two({_plain(row.get(column)) for _, row in rows}, f"{where}: column {column}")
    spelt = {same_name(name): name for name in ids}
    listed = [str(spelt.get(same_name(told), told)) for told, _ in rows]
    places = rows_of(listed, ids, gaps, where, "attributes")
    values = np.full((len(rows) + 1, len(names)), np.nan, np.float32)  # the last one is of pictures without
    for i, (name, (_, row)) in enumerate(zip(listed, rows, strict=True)):
        values[i] = [_answer(row.get(column), name, column, where) for column in names]
    return Attributes(tuple(names), values[[places.get(name, len(rows)) for name in ids]], notes)


def _columns(rows: list[dict[str, str]], where: str) -> tuple[list[str], list[str]]:
    """Return the columns that are attributes, and a note on the others."""
    every = list(dict.fromkeys(name for row in rows for name in row))
    no_attributes = {"", "unnamed: 0", "doubt", *PICTURE}  # numbers of rows, and what generate.py writes beside
    kept = [
        name
        for name in every
        if name.lower() not in no_attributes and any(_plain(row.get(name)) in ANSWERS for row in rows)
    ]
    if not kept:
        raise InputError(f"{where}: no column has 0 or 1 (or -1, true, false, yes, no)")
    left = [name or "the one without a name" for name in every if name not in kept]
    return kept, [f"left out columns that are no attributes: {', '.join(left)}"] if left else []


def _plain(value: str | None) -> str:
    text = (value or "").strip().lower()
    return "" if text in NOTHING else re.sub(r"\.0+$", "", text)


def _answer(value: str | None, name: str, column: str, where: str) -> int:
    if _plain(value) not in ANSWERS:
        said = f"has {value.strip()!r}" if value and _plain(value) else "has no value"
        raise InputError(f"{where}: {name} {said} in column {column}; it must be 0 or 1 (or -1, true, false, yes, no)")
    return ANSWERS[_plain(value)]


def _of_csv(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    rows = [row for _, row in rows_of_csv(path, f"--attributes {path}")]
    while rows and all(len(row) == len(rows[0]) and not row[-1] for row in rows):
        rows = [row[:-1] for row in rows]  # an empty column at the end
    if len(rows) < 2:
        raise InputError(f"--attributes {path}: holds no pictures; the first line names the columns")
    head = rows[0]
    lower = [column.lower() for column in head]
    place = next((lower.index(name) for name in PICTURE if name in lower), None)
    if place is None:
        raise InputError(f"--attributes {path}: no column is called {' or '.join(PICTURE[:3])}, for the pictures")
    if len(set(head)) < len(head):
        raise InputError(f"--attributes {path}: two columns are called {max(head, key=head.count)}")
    for row in rows[1:]:
        if len(row) != len(head):
            raise InputError(f"--attributes {path}: {row[0]} has {len(row)} values; there must be {len(head)}")
        told = dict(zip(head, row, strict=True))
        yield told.pop(head[place]), told


def _of_lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for number, line in lines_of(path, f"--attributes {path}"):
        try:
            told = dict[str, Any](json.loads(line))
            name = told.pop(next(key for wanted in PICTURE for key in told if key.lower() == wanted))
        except (ValueError, TypeError, StopIteration):
            raise InputError(f"--attributes {path}: line {number} is no object with a file_name") from None
        yield str(name), {key: str(value) for key, value in told.items() if value is not None}


def _of_celeba(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    names, rows = read_attributes(path)
    return [(name, dict(zip(names, map(str, map(int, row)), strict=True))) for name, row in rows.items()]

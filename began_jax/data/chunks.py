"""Raw pictures made into examples by worker processes, chunk by chunk on disk: stops cost little, memory is flat.

A recipe says how one picture becomes an example. Each worker takes a chunk of `CHUNK` pictures and writes one file,
complete or absent; `Chunks` then reads the examples in order, for `builder.write`. What cannot be made into an example
is left out, with its reason.
"""

import collections
import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from began_jax.annotators.annotator import Unsure, WrongAnswer
from began_jax.annotators.workers import ordered_map
from began_jax.data.builder import Example, encoded
from began_jax.errors import InputError
from began_jax.files import replacing

CHUNK = 64  # pictures a task: seconds of work, and all that a stop loses for each worker


@runtime_checkable
class Recipe(Protocol):
    """How a picture becomes examples; picklable, since each worker process gets it."""

    @property
    def ids(self) -> Sequence[str]:
        """The pictures' names, or those of each of their faces."""
        ...

    def open(self) -> Callable[[int], list[Example]]:
        """Return a function from a picture's number to its examples; it raises Unsure, or InputError."""
        ...


class Chunk(NamedTuple):
    """What became of the pictures of a chunk."""

    pictures: list[int]  # for each example, in order, the number of its picture
    left_out: list[tuple[str, str]]  # id, reason
    annotated: list[int]  # for each example, 1 or 0
    annotation: tuple[str, tuple[int, ...]] | None = None  # its name and shape, () for a mask; None without an example


@dataclasses.dataclass(frozen=True)
class _Maker:
    """What the worker processes are given."""

    recipe: Recipe
    folder: Path

    def open(self) -> Callable[[int], Chunk]:
        """Return a function that makes the chunk of a number and writes it to the folder."""
        make, ids = self.recipe.open(), self.recipe.ids

        def chunk(number: int) -> Chunk:
            examples, pictures, left_out = [], [], []
            for index in range(number * CHUNK, min((number + 1) * CHUNK, len(ids))):
                try:
                    made = make(index)
                except WrongAnswer:
                    raise
                except Unsure as why:
                    left_out.append((ids[index], str(why)))
                except InputError as error:
                    left_out.append((ids[index], reason(error)))
                except Exception as error:  # a user's annotator, or a decoder: one picture does not stop the others
                    left_out.append((ids[index], f"{type(error).__name__}: {' '.join(str(error).split())}"))
                else:
                    examples += map(encoded, made)
                    pictures += [index] * len(made)
            return _write(self.folder / f"{number:06d}.npz", examples, pictures, left_out)

        return chunk


def reason(error: InputError) -> str:
    """Return the part of a refusal that is not the file's path and not the remedy, on one line."""
    return " ".join(str(error).partition(": ")[2].split("; ")[0].split()) or str(error)


def _write(path: Path, examples: list[Example], pictures: list[int], left_out: list[tuple[str, str]]) -> Chunk:
    columns: dict[str, Any] = {
        "id": np.array([example["id"] for example in examples], np.str_),
        "picture": np.array(pictures, np.int64),
        "left_out": np.array(left_out, np.str_).reshape(-1, 2),
    }
    if several := {name for example in examples for name in example} - set(examples[0] if examples else ()):
        raise InputError(f"the annotator gives {' and '.join(sorted(several))} for some pictures only")
    for name in examples[0] if examples else ():
        values = [example[name] for example in examples]
        if isinstance(values[0], bytes):  # PNGs are a third of the pixels
            columns[f"{name}_end"] = np.cumsum([len(value) for value in values])
            columns[name] = np.frombuffer(b"".join(values), np.uint8)
        elif name != "id":
            if len({np.shape(value) for value in values}) > 1:
                shapes = " and ".join(sorted({str(list(np.shape(value))) for value in values}))
                raise InputError(f"the annotator's {name} have several shapes, {shapes}; they must be alike")
            columns[name] = np.stack(values)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **columns)
    return Chunk(
        pictures, left_out, columns.get("annotated", np.ones(len(pictures), int)).tolist(), _annotation(columns)
    )


def _annotation(columns: Mapping[str, Any]) -> tuple[str, tuple[int, ...]] | None:
    """Return the name and the shape of a chunk's annotations."""
    names = [n for n in columns if n not in ("id", "image", "annotated", "picture", "left_out") and n[-4:] != "_end"]
    if not names:
        return None
    return names[0], () if f"{names[0]}_end" in columns else columns[names[0]].shape[1:]


def _summary(path: Path) -> Chunk:
    with np.load(path, allow_pickle=False) as columns:
        left_out = [(name, why) for name, why in columns["left_out"].tolist()]
        pictures = columns["picture"].tolist()
        annotated = columns["annotated"].tolist() if "annotated" in columns else [1] * len(pictures)
        return Chunk(pictures, left_out, annotated, _annotation(columns))


def make_chunks(recipe: Recipe, folder: Path, workers: int | None = None) -> Iterator[Chunk]:
    """Yield the chunks of all pictures in order; those that are in the folder already are read, not made."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.partial"):
        leftover.unlink()
    count = -(-len(recipe.ids) // CHUNK)
    there = {n for n in range(count) if (folder / f"{n:06d}.npz").is_file()}
    made = ordered_map(_Maker(recipe, folder).open, [n for n in range(count) if n not in there], workers)
    for number in range(count):
        yield _summary(folder / f"{number:06d}.npz") if number in there else next(made)


class Chunks(Sequence):
    """The examples with these `indices` among all that were kept, in that order; one chunk is held at a time.

    `image` and `mask` are PNG bytes, as `builder.write` takes them too.
    """

    def __init__(self, folder: Path, lengths: Sequence[int], indices: Sequence[int]) -> None:
        self._folder, self._indices = folder, indices
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
        self._number, self._columns = -1, {}

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, i: int) -> Example:
        index = self._indices[i]
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        if number != self._number:
            with np.load(self._folder / f"{number:06d}.npz", allow_pickle=False) as columns:
                self._number, self._columns = number, dict(columns)
        row = index - self._starts[number]
        example: Example = {}
        for name, column in self._columns.items():
            if f"{name}_end" in self._columns:
                ends = self._columns[f"{name}_end"]
                example[name] = column[ends[row - 1] if row else 0 : ends[row]].tobytes()
            elif name == "id":
                example[name] = str(column[row])
            elif name not in ("picture", "left_out") and not name.endswith("_end"):
                example[name] = column[row]
        return example


def reasons(left_out: Sequence[tuple[str, str]]) -> str:
    """Return how often each reason occurs, the most frequent first: "12 no face, 3 2 faces"."""
    counts = collections.Counter(why for _, why in left_out)
    return ", ".join(f"{count:,} {why}" for why, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def left_out_csv(left_out: Sequence[tuple[str, str]]) -> str:
    """Return the list of what was left out as a table: id, reason."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("id", "reason"), *left_out])
    return text.getvalue()

"""What annotates pictures in a way of the user's own: read by their kind, and moved with each picture's crop."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from began_jax.annotators.annotator import check_name
from began_jax.data.layout import UNITS
from began_jax.errors import InputError

Size = tuple[int, int]  # height and width
Reader = Callable[[Path], Callable[[str], Any]]
Fit = Callable[[np.ndarray, Size, Size], Any]


@dataclasses.dataclass(frozen=True)
class OwnAnnotations:
    """The annotations of a kind: its name, where they are, how they are read, and how they follow their picture.

    `read` takes `path` and returns a function from a picture's id to its annotation, or None where it has none. `fit`
    takes an annotation, the size of its picture and that of the data set; without it nothing is done.
    """

    name: str
    path: Path
    read: Reader
    fit: Fit | None

    def open(self) -> "Annotations":
        """Return the annotations, read; InputError where they cannot be, or the name is that of a kind of ours."""
        where = f"--annotations {self.path}"
        check_name(self.name, f"--kind of {where}")
        if self.name in UNITS:
            raise InputError(f"{where}: of {self.name}, which --{'masks' if self.name == 'mask' else self.name} reads")
        if not self.path.exists():
            raise InputError(f"{where}: no such file or folder")
        try:
            return Annotations(self, where, self.read(self.path))
        except Exception as error:  # whatever the user's code raises
            raise _failed(where, error) from error


class Annotations:
    """What `OwnAnnotations.open` has read."""

    def __init__(self, own: OwnAnnotations, where: str, answer: Callable[[str], Any]):
        self._own, self._where, self._answer = own, where, answer
        self._shape: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Name of the kind."""
        return self._own.name

    def described(self) -> list[tuple[str, int]]:
        """Return names and lengths of the files, for a digest."""
        path = self._own.path
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        return [(file.relative_to(path).as_posix(), file.stat().st_size) for file in files]

    def has(self, id: str) -> bool:
        """Return whether a picture is annotated."""
        return self._given(id) is not None

    def of(self, id: str, stored: Size, wanted: Size) -> np.ndarray:
        """Return the annotation of a picture, float32, once the picture of size `stored` became one of `wanted`.

        Raises:
            InputError: there is none, it is no array of finite numbers, of another shape than those before, or a map
                of the picture's pixels that does not follow the picture.
        """
        given = self._given(id)
        if given is None:
            raise InputError(f"{self._where}: nothing of {id}; --partial keeps such images for the generator")
        found = self._array(given, id)
        if self._own.fit is not None:
            try:
                moved = self._own.fit(found, stored, wanted)
            except Exception as error:
                raise _failed(f"{self._where}: {id}: fit", error) from error
            found = self._array(moved, id)
        elif found.shape[:2] == stored != wanted:
            remedy = f"give the kind a `fit` that makes it {wanted[0]}x{wanted[1]} with its picture"
            raise InputError(f"{self._where}: {id}: {self.name} has a value for each pixel of its picture; {remedy}")
        if self._shape not in (None, found.shape):
            raise InputError(
                f"{self._where}: {id}: {self.name} is {list(found.shape)}, and {list(self._shape or ())} before"
            )
        self._shape = found.shape
        return found.astype(np.float32)

    def _given(self, id: str) -> Any:
        try:
            return self._answer(id)
        except Exception as error:
            raise _failed(f"{self._where}: {id}", error) from error

    def _array(self, values: Any, id: str) -> np.ndarray:
        found = np.asarray(values)
        if found.dtype.kind not in "biuf" or not found.ndim or not found.size or not np.isfinite(found).all():
            raise InputError(f"{self._where}: {id}: {self.name} is no array of finite numbers")
        return found


def _failed(where: str, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    return InputError(" ".join(f"{where}: {type(error).__name__}: {error}".split()))

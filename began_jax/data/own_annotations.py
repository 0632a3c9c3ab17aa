"""What annotates pictures in a way of the user's own: read by their kind, and moved with each picture's crop."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from began_jax.annotators.annotator import check_name
from began_jax.data.layout import UNITS
from began_jax.errors import InputError

Size = tuple[int, int]  # height and width
Fit = Callable[[np.ndarray, Size, Size], Any]  # an annotation, its picture's size, the wanted one -> it moved alike
Reader = Callable[[Path], Callable[[str], Any]]


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
        check_name(self.name, where)
        if self.name in UNITS:
            raise InputError(f"{where}: of {self.name}, which --{'masks' if self.name == 'mask' else self.name} reads")
        if not self.path.exists():
            raise InputError(f"{where}: no such file or folder")
        try:
            answer = self.read(self.path)
        except Exception as error:  # whatever the user's code raises
            raise _failed(where, error) from error
        if not callable(answer):
            given = f"`read` of the kind gives a {type(answer).__name__}"
            raise InputError(f"{where}: {given}; it must give a function from a picture's id, such as a dict's .get")
        return Annotations(self, where, answer)


class Annotations:
    """What `OwnAnnotations.open` has read."""

    def __init__(self, own: OwnAnnotations, where: str, answer: Callable[[str], Any]) -> None:
        self._own, self._where, self._answer = own, where, answer
        self._shape: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Name of the kind."""
        return self._own.name

    def _files(self) -> list[Path]:
        path = self._own.path
        return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())

    def apart(self, images: Path) -> Path | None:
        """Return the folder that holds the annotations alone, if they are in one and not in that of the images."""
        path = self._own.path
        return path if path.is_dir() and not (images.is_dir() and path.samefile(images)) else None

    def suffixes(self) -> set[str]:
        """Return the extensions of the files, in small letters."""
        return {file.suffix.lower() for file in self._files()}

    def described(self) -> list[tuple[str, str]]:
        """Return names and digests of the files."""
        return [(str(file), hashlib.sha256(file.read_bytes()).hexdigest()[:16]) for file in self._files()]

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
        found = _as_annotation(given, f"{self._where}: {id}", self.name)
        if self._own.fit is not None:
            found = fitted(self._own.fit, found, stored, wanted, f"{self._where}: {id}", self.name)
        elif found.shape[:2] == stored != wanted:
            remedy = f"give the kind a `fit` that makes it {wanted[0]}x{wanted[1]} with its picture"
            raise InputError(f"{self._where}: {id}: {self.name} has a value for each pixel of its picture; {remedy}")
        if self._shape not in (None, found.shape):
            raise InputError(
                f"{self._where}: {id}: {self.name} is {list(found.shape)}, and {list(self._shape or ())} before"
            )
        self._shape = found.shape
        return found

    def _given(self, id: str) -> Any:
        try:
            return self._answer(id)
        except Exception as error:
            raise _failed(f"{self._where}: {id}", error) from error


def _as_annotation(values: Any, where: str, name: str) -> np.ndarray:
    """Return what code of the user's gives as float32, of which a single number becomes an array of one.

    Raises:
        InputError: it is no array of finite numbers.
    """
    try:
        found = np.atleast_1d(np.asarray(values))
    except ValueError:  # rows of several lengths
        raise InputError(f"{where}: {name} has rows of several lengths; it must be one array") from None
    if found.dtype.kind not in "biuf" or not found.size:
        raise InputError(f"{where}: {name} is {found.dtype} {list(found.shape)}; it must be numbers")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{where}: {name} has a number that is not finite, as float32")
    return found


def fitted(fit: Fit, annotation: np.ndarray, stored: Size, wanted: Size, where: str, name: str) -> np.ndarray:
    """Return an annotation as `fit` moves it with its picture, float32; InputError where it fails or gives none."""
    where = f"{where}: `fit` of the kind"
    try:
        moved = fit(annotation, stored, wanted)
    except Exception as error:  # whatever the user's code raises
        raise _failed(where, error) from error
    return _as_annotation(moved, where, name)


def _failed(where: str, error: Exception) -> InputError:
    """Return the one line that tells what code of the user's raised."""
    said = f"{error}" if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return InputError(" ".join(f"{where}: {said}".split()))

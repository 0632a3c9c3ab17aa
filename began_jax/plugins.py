"""Functions of the user's own, named on a command line as FILE.py:NAME or PACKAGE.MODULE:NAME."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from began_jax.errors import InputError

# Module -> what to install, and the extra that has it.
EXTRA = {
    "cv2": ("opencv-python-headless<5", "faces"),
    "dlib": ("dlib-bin", "faces"),
    "face_recognition_models": ("face_recognition_models", "faces"),
    **{name: (name, "onnx") for name in ("jax2onnx", "onnx", "onnxruntime", "safetensors", "flatbuffers")},
}


def load(name: str, option: str) -> Any:
    """Return the callable that `name` says; arguments and errors as `find`."""
    found = find(name, option)
    if not callable(found):
        place, _, attribute = name.rpartition(":")
        raise InputError(f"{option}: {place} has no callable {attribute}")
    return found


def find(name: str, option: str) -> Any:
    """Return what `name` says, or None where its file or module has nothing of that name.

    Args:
        name: FILE.py:NAME or PACKAGE.MODULE:NAME.
        option: that it was given to, as the messages call it.

    Raises:
        InputError: there is none of this name, or a package that it needs is missing.
    """
    place, _, attribute = name.rpartition(":")
    if not place:
        raise InputError(f"{option}: give FILE.py:NAME or PACKAGE.MODULE:NAME")
    module = _from_file(Path(place), option) if place.endswith(".py") else import_module(place, option)
    return getattr(module, attribute, None)


def import_module(place: str, option: str) -> Any:
    """Import a module; InputError, naming the option that asks for it, where it or a package it needs is missing."""
    try:
        return importlib.import_module(place)
    except ImportError as error:
        missing, extra = EXTRA.get((error.name or "").partition(".")[0], ("", ""))
        remedy = f"pip install '{missing}' (or began_jax[{extra}])" if missing else "check the name"
        raise InputError(f"{option}: {error}; {remedy}") from None
    except Exception as error:  # whatever the user's code raises
        raise InputError(f"{option}: {place} cannot be imported ({type(error).__name__}: {error})") from error


def _from_file(path: Path, option: str) -> Any:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise InputError(f"{option}: no such file as {path}")
    name = f"began_jax_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader  # the name ends in .py
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception):
                raise InputError(f"{option}: {path} cannot be run ({type(error).__name__}: {error})") from error
            raise
    return sys.modules[name]


def named(found: Any) -> str:
    """Return what `find` has found, in words."""
    return "nothing" if found is None else f"a {type(found).__name__}"


def absolute(name: str) -> str:
    """Return the name with a file's path made absolute, so that it holds in any working folder."""
    place, _, attribute = name.rpartition(":")
    return f"{Path(place).expanduser().resolve()}:{attribute}" if place.endswith(".py") else name


def fingerprint(name: str) -> str:
    """Return what differs where the file behind FILE.py:NAME does, and nothing for another name."""
    place, _, _ = name.rpartition(":")
    path = Path(place).expanduser()
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if place.endswith(".py") and path.is_file() else ""

"""Files and folders that are complete or absent, small JSON files, and what a command may not contradict."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from began_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mark: str | None = None) -> Iterator[Path]:
    """Give a temporary sibling to write to, which takes the place of `path` when the block ends well.

    Its name has a mark, this process's number, so that several may write at once. With a fixed one, what a kill leaves
    is replaced the next time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{mark or os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let no other process into its own such block of the same file, where the system has locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # of a network's disk, which may have none
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_folder(out: Path, keep: str = "", again: bool = False) -> Iterator[Path]:
    """Give a folder OUT.partial to fill, which takes the name OUT when the block ends well and else is removed.

    Args:
        out: its name.
        keep: name of a file in it; where there is one, the folder stays when the block does not end well.
        again: whether what a block before has left is given.

    Raises:
        InputError: there can be no folder of this name.
    """
    out = Path(os.path.abspath(out))
    partial = out.with_name(f"{out.name}.partial")
    new_parents = [parent for parent in out.parents if not parent.exists()]
    done = False
    try:
        if not again:
            shutil.rmtree(partial, ignore_errors=True)  # what a killed command left
        try:
            partial.mkdir(parents=True, exist_ok=again)
        except OSError as error:
            raise InputError(f"--out {out}: cannot be written ({error.strerror}); give a folder that can") from None
        yield partial
        os.replace(partial, out)
        done = True
    finally:
        if done or not (keep and (partial / keep).is_file()):
            shutil.rmtree(partial, ignore_errors=True)
        for parent in () if done else new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()


def refuse_taken(out: Path) -> None:
    """Raise InputError where `out` exists and is more than an empty folder."""
    if out.is_dir():
        if any(out.iterdir()):
            raise InputError(f"--out {out}: exists and is not empty; remove it or give another folder")
    elif out.exists():
        raise InputError(f"--out {out}: is a file (not empty, not a folder); give a folder that does not exist yet")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is complete or absent at any moment."""
    with replacing(path, "json") as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; InputError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); delete it and run the stage again that wrote it") from None


def agree(
    path: Path,
    wanted: dict[str, Any],
    stage: str,
    *,
    free: tuple[str, ...] = (),
    defaults: dict[str, Any] | None = None,
    otherwise: str = "another folder",
    used: bool = True,
) -> None:
    """Write a stage's configuration, or check that it equals the one that is there already.

    Args:
        path: of the configuration.
        wanted: its values.
        stage: what was done with it, in the past tense.
        free: values that may change.
        defaults: of values that are not stored, because their options came later.
        otherwise: what can be done other than to give the same value.
        used: whether anything was made with the stored one; if not, it binds nobody.

    Raises:
        InputError: a value that is not free differs; the message names both.
    """
    if not used or not path.exists():
        write_json(path, wanted)
        return
    found = read_json(path)
    wanted, before = (json.loads(json.dumps(values)) for values in (wanted, (defaults or {}) | found))
    for name, value in wanted.items():
        if name not in free and before.get(name) != value:
            raise InputError(
                f"{path.parent} was {stage} with {name} {_shown(before.get(name))}, and now {_shown(value)} "
                f"is asked for; give the same value, or {otherwise}"
            )
    if found != wanted:
        write_json(path, found | wanted)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)

"""Small JSON files, complete or absent, and the check that a command agrees with what an earlier one stored."""

import json
import os
from pathlib import Path
from typing import Any

from began_jax.errors import InputError


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is complete or absent at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; InputError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); delete it and run the stage again that wrote it") from None


def agree(
    path: Path,
    wanted: dict[str, Any],
    stage: str,
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

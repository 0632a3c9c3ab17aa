"""A COCO data set's file, as landmarks and masks are read from it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from began_jax.data.text_files import text_of
from began_jax.errors import InputError


def read(path: Path, where: str) -> dict[str, Any]:
    """Return its content; InputError where it is none, or where an id or a picture has two different entries."""
    content: Any = json.loads(text_of(path, where))
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise InputError(f"{where}: is no COCO data set, which holds images, annotations and categories")
    for name in ("images", "categories"):  # some programs that join files repeat what these share
        content[name] = list({json.dumps(entry, sort_keys=True): entry for entry in content[name]}.values())
    for name, key in (("images", "id"), ("images", "file_name"), ("categories", "id")):
        found = Counter(entry.get(key) for entry in content[name])
        twice = next((value for value, count in found.items() if count > 1 and value is not None), None)
        if twice is not None:
            raise InputError(f"{where}: {key} {twice} is twice among its {name}; give each its own")
    return content

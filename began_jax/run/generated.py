"""The folder that `generate.py` writes: where its pairs come from, and what lies beside them."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from began_jax.data import landmark_schemes
from began_jax.errors import InputError
from began_jax.export import card, croissant, formats
from began_jax.export.content import open_content
from began_jax.files import read_json, replacing, write_json
from began_jax.run import own_generator, pairs
from began_jax.run.folder import Run


def finish(out: Path, run: Run, names: list[str]) -> None:
    """Give a data set its card, and write it in further formats, both of which it may have already."""
    if not (out / "README.md").exists():
        source = run.data.metadata.get("source") or Path(run.data.metadata.get("images", run.data.path)).name
        figures_of_run = read_json(run.folder / "metrics.json")
        with replacing(out / "README.md") as partial:
            partial.write_text(card.text(read_json(out / "dataset.json"), figures_of_run, run.kind.plural, source))
    if not (out / "croissant.json").exists():
        with contextlib.suppress(InputError):  # what a writer of the user's has written is not known
            write_json(out / "croissant.json", croissant.document(open_content(out), run.kind.plural))
    if names:
        print(f"generate: {', '.join(map(str, formats.convert(open_content(out), names)))}")


def provenance(run: Run, aspect: str, epoch: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what OUT/dataset.json tells of its origin: the run with its networks, and the stage's options."""
    own = {"generator": name} if (name := own_generator.name_of(run.folder)) else {}
    told = own | landmark_schemes.stored(run.data.points)
    told |= {"annotations": run.digest} if options["sampler"] == pairs.IMAGES else {}
    return told | {
        "run": str(options["run"]),
        "generator_step": run.inverted.step,
        "aspect": aspect,
        "aspect_epoch": epoch,
        **{name: options[name] for name in ("sampler", "jitter", "seed", "keep", "truncation", "picture", "part")},
    }


def written_by_this_command(out: Path, expected: dict[str, Any]) -> bool:
    """Return whether `out` is a complete data set of exactly this origin: then there is nothing left to do."""
    path = out / "dataset.json"
    new = {"keep": 1.0, "truncation": 1.0, "picture": "png", "part": "0/1"}  # options that there were not before 0.3.0
    new |= {name: expected[name] for name in ("latents", "network") if name in expected}  # nor were these told
    found = new | json.loads(path.read_text()) if path.is_file() else {}
    return expected.items() <= found.items()

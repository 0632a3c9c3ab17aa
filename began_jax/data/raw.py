"""From raw pictures to a data set: a recipe over all of them in worker processes, the splits, the records.

OUT.work holds what is made so far until OUT is whole, so the same command goes on where a stopped one left off.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from began_jax.annotators.annotator import absolute
from began_jax.data import builder, celeba
from began_jax.data.chunks import Chunks, Recipe, left_out_csv, make_chunks, reasons
from began_jax.data.folder import group, hold_out, list_images, open_folder, read_landmarks
from began_jax.data.raw_faces import FaceRecipe
from began_jax.data.raw_irises import CASIA, IrisRecipe
from began_jax.errors import InputError
from began_jax.files import agree
from began_jax.progress import Progress

LEFT_OUT = "left_out.csv"


def write_faces(
    out: Path,
    images: Path,
    landmarks: Path | None = None,
    *,
    height: int = 128,
    width: int = 128,
    channels: int | None = 3,
    holdout: float = 0.0,
    group_regex: str | None = None,
    seed: int = 0,
    annotator: str | None = None,
    annotation: str = "landmarks49",
    detector: str = "haar",
    several: str = "leave-out",
    max_doubt: float = 3.0,
    workers: int | None = None,
) -> builder.Written:
    """Makes photographs of faces into the data set `out` (section 3.1.1); prepare.py's options by their names.

    Raises:
        InputError: as `write_raw`, or the options do not fit together or to the files.
    """
    builder.refuse_taken(out)
    celeba_files, names, known, official = celeba.find(images), None, None, None
    if annotation != "landmarks49":
        if annotator or landmarks:
            raise InputError(
                f"--annotation {annotation}: is read from CelebA's lists; without --annotator or --landmarks"
            )
        if celeba_files is None:
            raise InputError(f"--annotation {annotation}: {images} has not CelebA's layout (no {celeba.PICTURES})")
        listed = celeba_files.landmarks if annotation == "landmarks5" else celeba_files.attributes
        if listed is None:
            raise InputError(f"--annotation {annotation}: {images} holds no list of them (list_landmarks_align_celeba"
                             " or list_attr_celeba, .txt or .csv)")  # fmt: skip
        if annotation == "landmarks5":
            known = celeba.read_landmarks(listed)
        else:
            names, known = celeba.read_attributes(listed)
    elif landmarks:
        if annotator:
            raise InputError("--landmarks and --annotator: give one of the two")
        known = read_landmarks(landmarks)
    else:
        annotator = absolute(annotator or "dlib")
    root = celeba_files.pictures if celeba_files else images
    ids = list_images(root)
    if celeba_files and celeba_files.partition and not holdout:
        official = celeba.read_splits(celeba_files.partition)
        if missing := next((name for name in ids if name not in official), None):
            raise InputError(f"{celeba_files.partition}: does not say which split {missing} is in")
    options = {"max_doubt": max_doubt, "find_face": False} if annotator == "dlib" else {}
    channels = channels or 3
    kind = "attributes" if annotation == "attributes" else "landmarks"
    recipe = FaceRecipe(root, ids, height, width, channels, detector, several, annotator, options, kind, known)
    metadata = {
        "images": str(images), "annotation": annotation, "annotator": annotator, "landmarks": str(landmarks or ""),
        "detector": detector, "several": several, "max_doubt": max_doubt, "height": height, "width": width,
        "channels": channels, "holdout": holdout, "group_regex": group_regex, "seed": seed,
    }  # fmt: skip
    splits = {"official": official, "holdout": holdout, "group_regex": group_regex, "seed": seed}
    return write_raw(out, recipe, **splits, attribute_names=names, metadata=metadata, workers=workers)


def write_irises(
    out: Path,
    images: Path,
    masks: Path | None = None,
    *,
    height: int = 96,
    width: int = 128,
    channels: int | None = 1,
    holdout: float = 0.0,
    group_regex: str | None = None,
    seed: int = 0,
    annotator: str | None = None,
    copies: int = 1,
    workers: int | None = None,
) -> builder.Written:
    """Makes pictures of eyes into the data set `out` (section 3.2.1); prepare.py's options by their names.

    Raises:
        InputError: as `write_raw`, or the options do not fit together or to the files.
    """
    builder.refuse_taken(out)
    if masks and annotator:
        raise InputError("--masks and --annotator: give one of the two")
    if masks:
        ids = list(open_folder(images, masks=masks).ids)
    else:
        annotator = absolute(annotator or "segmenter")
        ids = list_images(images)
    if holdout and group_regex is None:
        if not all(re.search(CASIA, name) for name in ids):
            raise InputError("--holdout: the ids do not name the subjects as CASIA's do (S1001L01.jpg); give "
                             "--group-regex, such as '^([^/]+)/' for one folder a subject")  # fmt: skip
        group_regex = CASIA
    channels = channels or 1
    recipe = IrisRecipe(images, ids, height, width, channels, masks, annotator, copies, seed)
    metadata = {
        "images": str(images), "annotator": annotator, "masks": str(masks or ""), "copies": copies, "height": height,
        "width": width, "channels": channels, "holdout": holdout, "group_regex": group_regex, "seed": seed,
    }  # fmt: skip
    splits = {"holdout": holdout, "group_regex": group_regex, "seed": seed}
    return write_raw(out, recipe, **splits, metadata=metadata, workers=workers)


def write_raw(
    out: Path,
    recipe: FaceRecipe | IrisRecipe,
    *,
    official: Mapping[str, str] | None = None,
    holdout: float = 0.0,
    group_regex: str | None = None,
    seed: int = 0,
    attribute_names: list[str] | None = None,
    metadata: Mapping[str, Any],
    workers: int | None = None,
) -> builder.Written:
    """Makes all pictures of a recipe into the data set `out`.

    Args:
        out: must not exist, or be empty.
        recipe: knows its pictures' ids and the size.
        official: picture -> split, which then takes the place of `holdout`.
        holdout: share of the pictures in the test split, drawn by `seed` and whole groups as `folder.hold_out` does.
        group_regex: likewise.
        seed: likewise.
        attribute_names: of attributes.
        metadata: what decides the result; kept in the data set, and compared when a stopped command goes on.
        workers: processes; None for one a core.

    Raises:
        InputError: `out` is taken, OUT.work is another command's, or no picture can be used.
    """
    builder.refuse_taken(out)
    group(recipe.ids, group_regex)  # refuses before the work what `hold_out` would refuse after it
    recipe.open()  # what it lacks is said before anything is written
    work = out.with_name(out.name + ".work")
    agree(work / "config.json", {**metadata, "pictures": len(recipe.ids)}, "begun")
    lengths, pictures, left_out = _run(recipe, work, workers)
    if not pictures:
        raise InputError(f"--images {recipe.root}: none of {len(recipe.ids)} pictures can be used: {reasons(left_out)}")
    splits = _splits(recipe, pictures, official, holdout, group_regex, seed)
    first = Chunks(work, lengths, [0])[0]
    annotation = next(name for name in first if name not in ("image", "id"))
    builder.write(
        out,
        {name: Chunks(work, lengths, rows) for name, rows in splits.items()},
        height=recipe.height,
        width=recipe.width,
        channels=recipe.channels,
        annotation=annotation,
        keypoints=len(first["landmarks"]) if annotation == "landmarks" else None,
        names=(attribute_names or ()) if annotation == "attributes" else (),
        description=f"{len(pictures)} pictures from {recipe.root}, prepared by began_jax",
        metadata={**metadata, "left_out": len(left_out)},
        files={LEFT_OUT: left_out_csv(left_out)},
    )
    shutil.rmtree(work)
    what = f"{recipe.channels} with " + ("masks" if annotation == "mask" else f"{len(first[annotation])} {annotation}")
    return builder.Written({name: len(rows) for name, rows in splits.items() if rows}, what, left_out)


def _run(recipe: Recipe, work: Path, workers: int | None) -> tuple[list[int], list[int], list]:
    bar = Progress("prepare", len(recipe.ids), unit="picture")
    lengths, pictures, left_out = [], [], []
    try:
        for chunk in make_chunks(recipe, work, workers):
            lengths.append(len(chunk.pictures))
            pictures += chunk.pictures
            left_out += chunk.left_out
            bar.update(len(set(chunk.pictures)) + len(chunk.left_out), left_out=len(left_out))
    except (KeyboardInterrupt, SystemExit):
        bar.close()
        print(f"prepare: stopped; {work} holds what is made so far, and the same command goes on", file=sys.stderr)
        raise
    finally:
        bar.close()
    return lengths, pictures, left_out


def _splits(recipe, pictures, official, holdout, group_regex, seed) -> dict[str, list[int]]:
    """Numbers of the examples of each split; the copies of a picture stay together."""
    of_picture: dict[int, list[int]] = {}
    for example, picture in enumerate(pictures):
        of_picture.setdefault(picture, []).append(example)
    order = list(of_picture)
    if official is None:
        train, test = hold_out([recipe.ids[p] for p in order], holdout, group_regex, seed)
        chosen = {"train": train, "test": test}
    else:
        names = [official[recipe.ids[p]] for p in order]
        chosen = {name: [i for i, n in enumerate(names) if n == name] for name in ("train", "validation", "test")}
    return {name: [row for i in rows for row in of_picture[order[i]]] for name, rows in chosen.items()}

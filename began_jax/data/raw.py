"""From raw pictures to a data set: a recipe over all of them in worker processes, the splits, the records.

OUT.work holds what is made so far until OUT is whole, so the same command goes on where a stopped one left off.
"""

import dataclasses
import hashlib
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from began_jax.data import builder, celeba, landmark_schemes
from began_jax.data.chunks import Chunks, Recipe, left_out_csv, make_chunks, reasons
from began_jax.data.configs import FacesConfig, IrisesConfig, command, decisive
from began_jax.data.folder import check_unit, open_folder
from began_jax.data.landmark_files import absent_in_words, unseen
from began_jax.data.pictures import picture_of
from began_jax.data.raw_faces import FaceRecipe, framing
from began_jax.data.raw_irises import CASIA, IrisRecipe
from began_jax.data.splits import annotated_rows, check_seen, group, hold_out, in_words
from began_jax.errors import InputError
from began_jax.files import agree
from began_jax.landmarks import Scheme
from began_jax.plugins import absolute, fingerprint
from began_jax.progress import Progress

LEFT_OUT = "left_out.csv"
RULES = 2  # by which masks are cut: what was begun by others does not go on


def write_faces(out: Path, config: FacesConfig) -> builder.Written:
    """Make photographs of faces into the data set `out` (section 3.1.1).

    Raises:
        InputError: as `write_raw`, or the options do not fit together or to the files.
    """
    _check_detector(config)
    lists = celeba.find(config.images)
    names, known, annotator = _annotations(config, lists)
    root = lists.pictures if lists else config.images
    folder, official = open_folder(config, root), None
    ids = list(folder.ids)
    if folder.landmarks is not None and folder.annotated is not None:
        known = {ids[row]: folder.landmarks[row] for row in np.flatnonzero(folder.annotated)}
    if lists and lists.partition and not config.holdout:
        official = celeba.read_splits(lists.partition)
        if missing := next((name for name in map(picture_of, ids) if name not in official), None):
            raise InputError(f"{lists.partition}: does not say which split {missing} is in")
    options = {"max_doubt": config.max_doubt, "find_face": False} if annotator == "dlib" else {}
    kind = "attributes" if config.annotation == "attributes" else "landmarks"
    points = {name: known[name] for name in ids if name in known} if known and kind == "landmarks" else {}
    if points:
        check_unit(root, list(points), np.stack(list(points.values())), each=False)
    if config.partial and not set(ids) & set(known or ()):
        listed = f"the first picture is {ids[0]}, the first name {next(iter(known or ()), 'none')}"
        raise InputError(f"--partial: none of {len(ids)} pictures is annotated by the file; {listed}")
    size = (config.height, config.width, config.channels)
    ways = (config.detector, config.several, annotator, options)
    inner = framing(folder.scheme, folder.keypoints or 0)
    recipe = FaceRecipe(root, ids, *size, *ways, kind, known, config.partial, folder.sizes, inner)
    metadata = decisive(config) | {"annotator": annotator, "landmarks": str(config.landmarks or "")}
    scheme, notes = folder.scheme, folder.notes
    if config.scheme and not config.landmarks:
        scheme = landmark_schemes.read(config.scheme)
        notes = (*notes, landmark_schemes.described(scheme, len(scheme.names)))
    told = command("faces", config, len(ids), folder.digest, folder.content, scheme)
    known_of = {"official": official, "scheme": scheme, "attribute_names": names}
    return write_raw(out, recipe, config, metadata=metadata, told=told, notes=notes, **known_of)


def _check_detector(config: FacesConfig) -> None:
    if config.several == "each" and config.detector != "landmarks":
        raise InputError("--several each: needs --detector landmarks, which crops a face by the landmarks of its row")
    if config.detector != "landmarks":
        return
    if config.several == "largest":
        raise InputError("--several largest: does nothing with --detector landmarks, which finds no faces; see each")
    if config.annotation != "landmarks49":
        raise InputError(f"--detector landmarks: not with --annotation {config.annotation}, which has no --landmarks")
    if not config.landmarks:
        raise InputError("--detector landmarks: needs --landmarks FILE, the landmarks that it crops faces by")
    if config.partial:
        raise InputError("--detector landmarks: not with --partial, whose pictures without landmarks it cannot crop")


def _annotations(
    config: FacesConfig, lists: celeba.CelebA | None
) -> tuple[list[str] | None, dict[str, np.ndarray] | None, str | None]:
    """Return the names of the attributes, and what files say of the pictures by their names, or else the name of T."""
    if config.landmarks and config.annotator and config.annotation == "landmarks49":
        raise InputError("--landmarks and --annotator: give one of the two")
    if config.annotation == "landmarks49":
        if config.landmarks:
            return None, None, None  # `open_folder` reads them
        return None, None, absolute(config.annotator or "dlib")
    asked = f"--annotation {config.annotation}"
    if config.annotator or config.landmarks:
        raise InputError(f"{asked}: is read from CelebA's lists; without --annotator or --landmarks")
    if lists is None:
        raise InputError(f"{asked}: {config.images} has not CelebA's layout (no {celeba.PICTURES})")
    listed = lists.landmarks if config.annotation == "landmarks5" else lists.attributes
    if listed is None:
        names = "(list_landmarks_align_celeba or list_attr_celeba, .txt or .csv)"
        raise InputError(f"{asked}: {config.images} holds no list of them {names}")
    if config.annotation == "landmarks5":
        return None, celeba.read_landmarks(listed), None
    return *celeba.read_attributes(listed), None


def write_irises(out: Path, config: IrisesConfig) -> builder.Written:
    """Make pictures of eyes into the data set `out` (section 3.2.1).

    Raises:
        InputError: as `write_raw`, or the options do not fit together or to the files.
    """
    if config.masks and config.annotator:
        raise InputError("--masks and --annotator: give one of the two")
    annotator = None if config.masks else absolute(config.annotator or "segmenter")
    folder = open_folder(config)
    ids = list(folder.ids)
    told = command("irises", config, len(ids), folder.digest, folder.content)
    if before := _written_before(out, told):
        return before
    folder = folder.surveyed(config.mask_values)
    if config.holdout and config.group_regex is None:
        if not all(re.search(CASIA, name) for name in ids):
            remedy = "give --group-regex, such as '^([^/]+)/' for one folder a subject"
            raise InputError(f"--holdout: the ids do not name the subjects as CASIA's do (S1001L01.jpg); {remedy}")
        config = dataclasses.replace(config, group_regex=CASIA)
    size = (config.height, config.width, config.channels)
    recipe = IrisRecipe(config.images, ids, *size, folder.masks, annotator, config.copies, config.seed, config.partial)
    metadata = decisive(config) | {"annotator": annotator, "masks": str(config.masks or "")}
    return write_raw(out, recipe, config, metadata=metadata, told=told, notes=folder.notes)


def write_raw(
    out: Path,
    recipe: FaceRecipe | IrisRecipe,
    config: FacesConfig | IrisesConfig,
    *,
    official: Mapping[str, str] | None = None,
    scheme: Scheme | None = None,
    attribute_names: list[str] | None = None,
    metadata: Mapping[str, Any],
    told: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> builder.Written:
    """Make all pictures of a recipe into the data set `out`.

    Args:
        out: must not exist, or be empty.
        recipe: knows its pictures' ids and the size.
        config: says how the test split is drawn (in whole groups, as `splits.hold_out` does), and how many processes
            work.
        official: picture -> split, which then takes the place of a drawn one.
        scheme: what was told of the landmarks.
        attribute_names: of attributes.
        metadata: what decides the result; kept in the data set, and compared when a stopped command goes on.
        told: the command in the same way, as it was given; a whole data set that it wrote before is left as it is.
        notes: to print.

    Raises:
        InputError: `out` is taken, OUT.work is another command's, or no picture can be used.
    """
    if before := _written_before(out, told):
        return before
    group(recipe.ids, config.group_regex)  # refuses before the work what `hold_out` would refuse after it
    recipe.open()  # what it lacks is said before anything is written
    work = _work(out)
    of_ids = hashlib.sha256("\n".join(recipe.ids).encode()).hexdigest()[:16]
    begun = {**metadata, "scheme": None, "pictures": len(recipe.ids), "ids": of_ids, "rules": RULES}
    begun |= {name: told[name] for name in ("annotations", "content")}
    begun["annotator_file"] = fingerprint(recipe.annotator or "")
    remedy = f"delete {work}"
    defaults = {"partial": False, "scheme": None, "content": told["content"]}
    if isinstance(recipe, FaceRecipe):
        begun["inner"] = defaults["inner"] = list(recipe.inner)
    agree(work / "config.json", begun, "begun", defaults=defaults, otherwise=remedy)
    lengths, pictures, left_out, having = _run(recipe, work, config.workers, scheme)
    if not pictures:
        raise InputError(f"--images {recipe.root}: none of {len(recipe.ids)} pictures can be used: {reasons(left_out)}")
    annotated = np.array(having, bool) if config.partial else None
    splits = _splits(recipe, pictures, official, config)
    absent, never = "", {}
    if isinstance(recipe, FaceRecipe) and recipe.kind == "landmarks" and recipe.known:
        none = np.full_like(next(iter(recipe.known.values())), np.nan)
        points = np.stack([recipe.known.get(recipe.ids[picture], none) for picture in pictures])
        check_seen(splits, points)
        absent, never = absent_in_words(points), {"unseen": unseen(points)}
    first = Chunks(work, lengths, [0])[0]
    annotation = next(name for name in first if name not in ("image", "id", "annotated"))
    what = f"{recipe.channels} with " + ("masks" if annotation == "mask" else f"{len(first[annotation])} {annotation}")
    what += in_words(annotated) + absent
    seen = builder.write(
        out,
        {name: Chunks(work, lengths, rows) for name, rows in splits.items()},
        height=recipe.height,
        width=recipe.width,
        channels=recipe.channels,
        annotation=annotation,
        keypoints=len(first["landmarks"]) if annotation == "landmarks" else None,
        scheme=scheme,
        names=(attribute_names or ()) if annotation == "attributes" else (),
        description=f"{len(pictures)} pictures from {recipe.root}, prepared by began_jax",
        metadata={**metadata, **never, "left_out": len(left_out)},
        files={LEFT_OUT: left_out_csv(left_out)},
        annotated=annotated_rows(splits, annotated),
        command=told,
        what=what,
    )
    shutil.rmtree(work)
    return builder.Written({name: len(rows) for name, rows in splits.items() if rows}, what, left_out, (*notes, *seen))


def _work(out: Path) -> Path:
    return out.with_name(out.name + ".work")


def _written_before(out: Path, told: Mapping[str, Any]) -> builder.Written | None:
    before = builder.written_before(out, told)
    if before:
        shutil.rmtree(_work(out), ignore_errors=True)  # of a command that was killed after its last step but one
    return before


def _run(
    recipe: Recipe, work: Path, workers: int | None, scheme: Scheme | None
) -> tuple[list[int], list[int], list, list[int]]:
    bar = Progress("prepare", len(recipe.ids), unit="picture")
    lengths, pictures, left_out, annotated, known = [], [], [], [], None
    try:
        for chunk in make_chunks(recipe, work, workers):
            if known and chunk.annotation and chunk.annotation != known:
                both = " and ".join(f"{name} {list(shape)}" for name, shape in (known, chunk.annotation))
                raise InputError(f"the annotations of some pictures are {both}; they must be alike")
            if scheme and chunk.annotation and not known:
                name, shape = chunk.annotation
                if name != "landmarks":
                    raise InputError(f"--scheme: the pictures are annotated with {name}, and a scheme is of landmarks")
                landmark_schemes.check(scheme, shape[0], "--scheme")
            known = known or chunk.annotation
            lengths.append(len(chunk.pictures))
            pictures += chunk.pictures
            left_out += chunk.left_out
            annotated += chunk.annotated
            bar.update(len(set(chunk.pictures)) + len(chunk.left_out), left_out=len(left_out))
    except (KeyboardInterrupt, SystemExit):
        bar.close()
        print(f"prepare: stopped; {work} holds what is made so far, and the same command goes on", file=sys.stderr)
        raise
    finally:
        bar.close()
    return lengths, pictures, left_out, annotated


def _splits(
    recipe: FaceRecipe | IrisRecipe,
    pictures: list[int],
    official: Mapping[str, str] | None,
    config: FacesConfig | IrisesConfig,
) -> dict[str, list[int]]:
    """Return the numbers of the examples of each split; the copies of a picture stay together."""
    of_picture: dict[int, list[int]] = {}
    for example, picture in enumerate(pictures):
        of_picture.setdefault(picture, []).append(example)
    order = list(of_picture)
    if official is None:
        ids = [recipe.ids[p] for p in order]
        train, test = hold_out(ids, config.holdout, config.group_regex, config.seed)
        chosen = {"train": train, "test": test}
    else:
        names = [official[picture_of(recipe.ids[p])] for p in order]
        chosen = {name: [i for i, n in enumerate(names) if n == name] for name in ("train", "validation", "test")}
    return {name: [row for i in rows for row in of_picture[order[i]]] for name, rows in chosen.items()}

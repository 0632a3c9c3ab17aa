"""A folder of pictures, with a file of landmarks or attributes or a folder of masks, as examples of one size.

What names and counts can show is refused before the first picture is decoded; a picture that cannot be
decoded, or a mask of another size than its picture, when its turn comes.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from began_jax.data import landmark_schemes
from began_jax.data.attribute_files import match_attributes
from began_jax.data.builder import Annotation, Example, Written, unannotated, write, written_before
from began_jax.data.configs import FacesConfig, FolderConfig, IrisesConfig, command
from began_jax.data.landmark_files import absent_in_words, match_landmarks, outside, resized, unseen
from began_jax.data.mask_files import MaskFiles, inside, match_masks
from began_jax.data.mask_shapes import MaskShapes, holds_shapes, match_shapes
from began_jax.data.pictures import list_pictures
from began_jax.errors import InputError
from began_jax.images import fit_image, fit_landmarks, fit_mask, read_image, unreadable
from began_jax.landmarks import Scheme

ANNOTATIONS: tuple[Annotation, ...] = ("landmarks", "mask", "attributes")
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclasses.dataclass(frozen=True)
class Folder:
    """Pictures below `root`: their ids (relative POSIX paths, sorted) and what annotates them."""

    root: Path
    ids: tuple[str, ...]
    landmarks: np.ndarray | None = None  # float32 [N, K, 2], (x, y) in pixels of the picture, NaN where absent
    masks: MaskFiles | MaskShapes | None = None
    attributes: np.ndarray | None = None  # float32 [N, K] in {0, 1}, NaN in the rows of pictures without
    names: tuple[str, ...] = ()  # of the attributes
    annotated: np.ndarray | None = None  # bool [N], where some are not
    scheme: Scheme | None = None  # what was told of the landmarks
    sizes: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # id -> (width, height), if told
    notes: tuple[str, ...] = ()  # to print

    @property
    def annotation(self) -> Annotation | None:
        """Which annotation the pictures carry."""
        having = {"landmarks": self.landmarks, "mask": self.masks, "attributes": self.attributes}
        return next((name for name in ANNOTATIONS if having[name] is not None), None)

    @functools.cached_property
    def digest(self) -> str:
        """Of what annotates the pictures: other landmarks, or masks of other names or lengths, have another one."""
        found = hashlib.sha256()
        if self.landmarks is not None:
            found.update(np.ascontiguousarray(self.landmarks).tobytes())
        elif self.masks is not None:
            found.update(repr(self.masks.described()).encode())
        elif self.attributes is not None:
            found.update(repr(self.names).encode() + np.ascontiguousarray(self.attributes).tobytes())
        return found.hexdigest()[:16] if self.annotation else ""

    def surveyed(self, given: str | None) -> "Folder":
        """Return the folder with what is inside of its masks, which takes to read them all.

        Args:
            given: --mask-values.

        Raises:
            InputError: the masks do not tell.
        """
        if not isinstance(self.masks, MaskFiles):
            return self
        values = inside(list(self.masks.of.values()), f"--masks {self.masks.folder}", given)
        return dataclasses.replace(self, masks=self.masks._replace(values=values))

    @property
    def keypoints(self) -> int | None:
        """Number of landmarks of a picture."""
        return None if self.landmarks is None else self.landmarks.shape[1]


def open_folder(config: FolderConfig | IrisesConfig | FacesConfig, root: Path | None = None) -> Folder:
    """List the pictures of a configuration and pair each with its annotation, or raise InputError.

    With `partial` some of them may have none, and `Folder.annotated` says which have one. So it is of faces, of which
    those without are left out.

    Args:
        config: names the pictures and what annotates them.
        root: where the pictures are, if not where the configuration says.
    """
    images, masks = root or config.images, getattr(config, "masks", None)
    landmarks: Path | None = getattr(config, "landmarks", None)
    attributes: Path | None = getattr(config, "attributes", None)
    given = {"landmarks": landmarks, "masks": masks, "attributes": attributes}
    several = [f"--{name}" for name, path in given.items() if path is not None]
    if len(several) > 1:
        raise InputError(f"{' and '.join(several)}: a data set has one annotation; give one of them")
    outlines = masks is not None and holds_shapes(masks, images)
    if masks is not None:
        if not masks.exists():
            raise InputError(f"--masks {masks}: no such folder or file")
        if images.is_dir() and masks.samefile(images) and not outlines:
            raise InputError(f"--masks {masks}: is the folder of the images; keep masks in a folder of their own")
    beside = {".pts"} if landmarks is not None and landmarks.is_dir() else {landmarks.suffix} if landmarks else ()
    beside = {".json"} if outlines else {attributes.suffix} if attributes is not None else beside
    ids, notes = list_pictures(images, without=None if outlines else masks, beside=beside)
    if landmarks is not None:
        gaps = config.partial or isinstance(config, FacesConfig)
        told = (getattr(config, "points", None), getattr(config, "scheme", None))
        found = match_landmarks(landmarks, ids, images, gaps, *told)
        there = np.asarray(np.isfinite(found.points).any((1, 2))) if gaps else None
        said = [*notes, *found.notes]
        if (count := found.points.shape[1]) > 1:
            said.append(landmark_schemes.described(found.scheme, count))
        of_points = {"sizes": found.sizes, "scheme": found.scheme}
        return Folder(images, tuple(ids), found.points, annotated=there, notes=tuple(said), **of_points)
    if attributes is not None:
        of_ids = match_attributes(attributes, ids, config.partial)
        there = np.asarray(np.isfinite(of_ids.values).all(1)) if config.partial else None
        answers, names, said = of_ids.values, of_ids.names, (*notes, *of_ids.notes)
        return Folder(images, tuple(ids), attributes=answers, names=names, annotated=there, notes=said)
    if masks is None:
        return Folder(images, tuple(ids), notes=tuple(notes))
    values: str | None = getattr(config, "mask_values", None)
    if outlines:
        of_images = match_shapes(masks, ids, config.partial, values)
    else:
        of_images = MaskFiles(match_masks(masks, ids, config.partial), masks)
    having = np.array([name in of_images for name in ids]) if config.partial else None
    return Folder(images, tuple(ids), masks=of_images, annotated=having, notes=tuple(notes))


def mostly_colour(folder: Folder) -> bool:
    """Say whether more than half of the pictures are stored in colour; reads their headers only."""
    colour = 0
    for name in folder.ids:
        try:
            with Image.open(folder.root / name) as picture:
                colour += picture.mode not in GREY_MODES
        except Exception as error:
            raise unreadable(folder.root / name, error) from None
    return 2 * colour > len(folder.ids)


@dataclasses.dataclass(frozen=True)
class Examples(Sequence):
    """The pictures of a folder with these `indices`, made to height x width x channels when asked for."""

    folder: Folder
    indices: Sequence[int]
    height: int
    width: int
    channels: int

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Example:
        index = self.indices[i]
        name, folder, wanted = self.folder.ids[index], self.folder, (self.height, self.width)
        image = read_image(folder.root / name, self.channels)
        h, w = image.shape[:2]
        example: Example = {"image": fit_image(image, *wanted), "id": name}
        if folder.annotated is not None:
            if not folder.annotated[index]:
                assert folder.annotation
                values = folder.landmarks if folder.landmarks is not None else folder.attributes
                shape = (*wanted, 1) if values is None else values.shape[1:]
                return example | unannotated(folder.annotation, shape)
            example["annotated"] = 1
        if folder.landmarks is not None:
            points = folder.landmarks[index]
            if wrong := outside(points, w, h) or resized(folder.sizes.get(name), w, h):
                raise InputError(f"{folder.root / name}: {wrong}")
            fractions = (points.astype(np.float64) + 0.5) / (w, h)  # pixel centres are at integers
            example["landmarks"] = fit_landmarks(fractions, (h, w), wanted)
        if folder.attributes is not None:
            example["attributes"] = folder.attributes[index]
        if folder.masks is not None:
            example["mask"] = fit_mask(folder.masks.read(name, h, w), *wanted)
        return example


def group(ids: Sequence[str], group_regex: str | None) -> dict[str, list[int]]:
    """Return group -> indices of its ids, as `hold_out` splits them; InputError where the regex matches not all."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        match = re.search(group_regex or ".*", name, re.DOTALL)
        found = match and match.group(1 if match.re.groups else 0)
        if found is None:
            raise InputError(f"--group-regex {group_regex}: does not match {name}; every id must match")
        groups.setdefault(found, []).append(index)
    return groups


def hold_out(ids: Sequence[str], fraction: float, group_regex: str | None, seed: int) -> tuple[list[int], list[int]]:
    """Split indices into (train, test): whole groups, drawn by `seed`, until test holds at least `fraction`.

    A group is the set of ids in which `group_regex` matches the same text (its first parenthesis, or all of
    it); without a regex each image is its own group. Both lists are in the order of `ids`.
    """
    groups = group(ids, group_regex)
    names, test = sorted(groups), []
    for draw in np.random.default_rng(seed).permutation(len(names)):
        if len(test) >= fraction * len(ids):
            break
        test += groups[names[draw]]
    if len(test) == len(ids):
        raise InputError(
            f"--holdout {fraction:g}: leaves none of {len(ids)} images in {len(names)} group(s) for "
            "training; give a smaller fraction, or a --group-regex with more groups"
        )
    held = set(test)
    return [i for i in range(len(ids)) if i not in held], sorted(test)


def write_folder(out: Path, config: FolderConfig) -> Written:
    """Write ready pictures with their annotations as the data set `out`.

    Raises:
        InputError: anything is wrong with the folder or with a picture; nothing is written then.
    """
    folder = open_folder(config)
    told = command("folder", config, len(folder.ids), folder.digest)
    if before := written_before(out, told):
        return before
    folder = folder.surveyed(config.mask_values)
    train, test = hold_out(folder.ids, config.holdout, config.group_regex, config.seed)
    channels = config.channels or (3 if mostly_colour(folder) else 1)
    size: dict[str, Any] = {"height": config.height, "width": config.width, "channels": channels}
    indices = {"train": train, "test": test} if test else {"train": train}
    if folder.landmarks is not None:
        check_seen(indices, folder.landmarks)
    splits = {name: Examples(folder, index, **size) for name, index in indices.items()}
    options = {"holdout": config.holdout, "group_regex": config.group_regex, "seed": config.seed}
    source = {name: getattr(config, name) for name in ("images", "landmarks", "masks", "attributes")}
    annotation = {"landmarks": f" with {folder.keypoints} landmarks", "mask": " with masks", None: ""}
    annotation["attributes"] = f" with {len(folder.names)} attributes"
    what = f"{channels}{annotation[folder.annotation]}{in_words(folder.annotated)}"
    what += absent_in_words(folder.landmarks) if folder.landmarks is not None else ""
    never = {} if folder.landmarks is None else {"unseen": unseen(folder.landmarks)}
    notes = write(
        out,
        splits,
        **size,
        annotation=folder.annotation,
        keypoints=folder.keypoints,
        scheme=folder.scheme,
        names=folder.names,
        description=f"{len(folder.ids)} pictures from {config.images}, prepared by began_jax",
        metadata={name: str(path) for name, path in source.items() if path} | size | options | never,
        annotated=annotated_rows(indices, folder.annotated),
        command=told,
        what=what,
    )
    sizes = {name: len(split) for name, split in splits.items()}
    return Written(sizes, what, notes=(*folder.notes, *notes))


def annotated_rows(splits: Mapping[str, Sequence[int]], annotated: np.ndarray | None) -> dict[str, list[int]] | None:
    """Return the numbers of each split's annotated pictures, or None where all are.

    Raises:
        InputError: a split that is learnt from or measured on has none.
    """
    if annotated is None:
        return None
    rows = {name: np.flatnonzero(annotated[list(pictures)]).tolist() for name, pictures in splits.items()}
    for name in ("train", "test"):
        if len(splits.get(name, ())) and not rows[name]:
            count = f"none of the {len(splits[name]):,} pictures of the {name} split is annotated"
            raise InputError(f"--partial: {count}; annotate some of it, or draw it by another --holdout or --seed")
    return rows


def check_seen(splits: Mapping[str, Sequence[int]], points: np.ndarray) -> None:
    """Raise InputError where a point of landmarks [N, K, 2] is absent in all pictures of a split, but not of others."""
    there = np.isfinite(points[..., 0])
    for name in ("train", "test"):
        rows = list(splits.get(name, ()))
        if len(rows) and there[rows].any() and (nowhere := np.flatnonzero(there.any(0) & ~there[rows].any(0)).tolist()):
            first = f"point {nowhere[0]} (from 0) is absent in all {len(rows):,} pictures of the {name} split"
            raise InputError(f"--landmarks: {first}; leave it out, or draw the split by another --holdout or --seed")


def in_words(annotated: np.ndarray | None) -> str:
    """Return how many pictures are annotated, to follow what they hold, or nothing where all are."""
    return "" if annotated is None else f" for {annotated.sum():,} of them"

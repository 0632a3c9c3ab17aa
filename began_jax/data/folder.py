"""A folder of pictures, with a landmarks file or a folder of masks, as examples of one size.

What names and counts can show is refused before the first picture is decoded; a picture that cannot be
decoded, or a mask of another size than its picture, when its turn comes.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from began_jax.data.builder import Annotation, Example, Written, unannotated, write
from began_jax.data.configs import FolderConfig
from began_jax.data.landmark_files import match_landmarks
from began_jax.errors import InputError
from began_jax.files import refuse_taken
from began_jax.images import fit_image, fit_landmarks, fit_mask, read_image, read_mask, unreadable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclasses.dataclass(frozen=True)
class Folder:
    """Pictures below `root`: their ids (relative POSIX paths, sorted) and what annotates them."""

    root: Path
    ids: tuple[str, ...]
    landmarks: np.ndarray | None = None  # float32 [N, K, 2], (x, y) in pixels of the picture, ordered as ids
    masks: Path | None = None
    annotated: np.ndarray | None = None  # bool [N], where some are not

    @property
    def annotation(self) -> Annotation | None:
        """Which annotation the pictures carry."""
        return "landmarks" if self.landmarks is not None else "mask" if self.masks is not None else None

    @property
    def keypoints(self) -> int | None:
        """Number of landmarks of a picture."""
        return None if self.landmarks is None else self.landmarks.shape[1]

    def mask_path(self, name: str) -> Path:
        """Return the file that holds the mask of the picture `name`."""
        assert self.masks is not None
        return self.masks / Path(name).with_suffix(".png")


def list_images(images: Path) -> list[str]:
    """List the pictures in a folder or below, sorted, as relative POSIX paths; InputError where there is none."""
    if not images.is_dir():
        raise InputError(f"--images {images}: no such folder")
    ids = _pictures(images)
    if not ids:
        raise InputError(f"--images {images}: holds no image ({' '.join(EXTENSIONS)})")
    return ids


def _pictures(images: Path) -> list[str]:
    return sorted(
        path.relative_to(images).as_posix()
        for path in images.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not path.name.startswith(".")  # the shadow files that some systems leave beside pictures
        and path.is_file()
    )


def open_folder(
    images: Path, landmarks: Path | None = None, masks: Path | None = None, partial: bool = False
) -> Folder:
    """List the pictures below `images` and pair each with its annotation, or raise InputError.

    With `partial` some of them may have none, and `Folder.annotated` says which have one.
    """
    if landmarks is not None and masks is not None:
        raise InputError("--landmarks and --masks: a data set has one annotation; give one of the two")
    for option, path in (("--images", images), ("--masks", masks)):
        if path is not None and not path.is_dir():
            raise InputError(f"{option} {path}: no such folder")
    if masks is not None and masks.samefile(images):
        raise InputError(f"--masks {masks}: is the folder of the images; keep masks in a folder of their own")
    ids = _pictures(images)
    if masks is not None and masks.resolve().is_relative_to(images.resolve()):
        below = masks.resolve().relative_to(images.resolve()).as_posix() + "/"
        ids = [name for name in ids if not name.startswith(below)]
    if not ids:
        raise InputError(f"--images {images}: holds no image ({' '.join(EXTENSIONS)})")
    folder = Folder(images, tuple(ids), masks=masks)
    if landmarks is not None:
        points = match_landmarks(landmarks, folder.ids, images, partial)
        there = np.isfinite(points).all((1, 2)) if partial else None
        return dataclasses.replace(folder, landmarks=points, annotated=there)
    if masks is not None:
        missing = [name for name in ids if not folder.mask_path(name).is_file()]
        first = folder.mask_path(missing[0]).relative_to(masks) if missing else None
        if partial and len(missing) == len(ids):
            raise InputError(f"--masks {masks}: holds no mask of any of {len(ids)} images; the first would be {first}")
        if partial:
            named = {folder.mask_path(name) for name in ids}
            surplus = sorted(path for path in masks.rglob("*.png") if path not in named)
            if surplus:
                first = surplus[0].relative_to(masks)
                raise InputError(f"--masks {masks}: {len(surplus)} masks without an image; the first is {first}")
            absent = set(missing)
            return dataclasses.replace(folder, annotated=np.array([name not in absent for name in ids]))
        if missing:
            there = f"masks for {len(ids) - len(missing)} of {len(ids)} images"
            raise InputError(f"--masks {masks}: {there}; the first missing is {first}; --partial keeps such images")
    return folder


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
                shape = (*wanted, 1) if folder.landmarks is None else folder.landmarks.shape[1:]
                return example | unannotated(folder.annotation, shape)
            example["annotated"] = 1
        if folder.landmarks is not None:
            # pixel centres are at integers, so the picture spans -0.5 .. size - 0.5
            fractions = (folder.landmarks[index].astype(np.float64) + 0.5) / (w, h)
            if fractions.min() < -1 or fractions.max() > 2:
                x, y = folder.landmarks[index][np.abs(fractions - 0.5).max(-1).argmax()]
                raise InputError(
                    f"{folder.root / name}: its landmark at ({x:g}, {y:g}) is more than a picture's size "
                    f"outside its {w}x{h} pixels (width x height); give (x, y) in pixels of the image"
                )
            example["landmarks"] = fit_landmarks(fractions, (h, w), wanted)
        if folder.masks is not None:
            mask = read_mask(folder.mask_path(name))
            if mask.shape[:2] != (h, w):
                raise InputError(
                    f"{folder.mask_path(name)}: is {mask.shape[1]}x{mask.shape[0]}, its image {w}x{h} pixels "
                    "(width x height); a mask must have the size of its image"
                )
            example["mask"] = fit_mask(mask, *wanted)
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
    refuse_taken(out)
    folder = open_folder(config.images, config.landmarks, config.masks, config.partial)
    train, test = hold_out(folder.ids, config.holdout, config.group_regex, config.seed)
    channels = config.channels or (3 if mostly_colour(folder) else 1)
    size: dict[str, Any] = {"height": config.height, "width": config.width, "channels": channels}
    indices = {"train": train, "test": test} if test else {"train": train}
    splits = {name: Examples(folder, index, **size) for name, index in indices.items()}
    options = {"holdout": config.holdout, "group_regex": config.group_regex, "seed": config.seed}
    source = {"images": config.images, "landmarks": config.landmarks, "masks": config.masks}
    write(
        out,
        splits,
        **size,
        annotation=folder.annotation,
        keypoints=folder.keypoints,
        description=f"{len(folder.ids)} pictures from {config.images}, prepared by began_jax",
        metadata={name: str(path) for name, path in source.items() if path} | size | options,
        annotated=annotated_rows(indices, folder.annotated),
    )
    annotation = {"landmarks": f" with {folder.keypoints} landmarks", "mask": " with masks", None: ""}
    sizes = {name: len(split) for name, split in splits.items()}
    what = f"{channels}{annotation[folder.annotation]}{in_words(folder.annotated)}"
    return Written(sizes, what, [])


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


def in_words(annotated: np.ndarray | None) -> str:
    """Return how many pictures are annotated, to follow what they hold, or nothing where all are."""
    return "" if annotated is None else f" for {annotated.sum():,} of them"

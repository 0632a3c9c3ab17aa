"""A folder of pictures, with a file of landmarks or attributes or a folder of masks, as examples of one size.

What names and counts can show is refused before the first picture is decoded; a picture that cannot be
decoded, or a mask of another size than its picture, when its turn comes.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from began_jax.data import landmark_schemes
from began_jax.data.attribute_files import match_attributes
from began_jax.data.builder import Example, Written, unannotated, write, written_before
from began_jax.data.configs import FacesConfig, FolderConfig, IrisesConfig, command
from began_jax.data.landmark_files import (
    absent_in_words,
    fractions,
    match_landmarks,
    mostly_outside,
    outside,
    resized,
    unseen,
)
from began_jax.data.mask_files import MaskFiles, inside, match_masks
from began_jax.data.mask_shapes import MaskShapes, holds_shapes, match_shapes
from began_jax.data.own_annotations import Annotations, OwnAnnotations
from began_jax.data.pictures import digest, list_pictures, picture_of
from began_jax.data.splits import annotated_rows, check_seen, hold_out, in_words
from began_jax.errors import InputError
from began_jax.images import fit_image, fit_landmarks, fit_mask, read_image, unreadable, upright_size
from began_jax.landmarks import Scheme
from began_jax.sampling import evenly

LOOKED_AT = 64  # pictures, evenly spaced, whose landmarks must lie inside them
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclasses.dataclass(frozen=True)
class Folder:
    """Pictures below `root`: their ids (relative POSIX paths, sorted; see `picture_of`) and what annotates them."""

    root: Path
    ids: tuple[str, ...]
    landmarks: np.ndarray | None = None  # float32 [N, K, 2], (x, y) in pixels of the picture, NaN where absent
    masks: MaskFiles | MaskShapes | None = None
    attributes: np.ndarray | None = None  # float32 [N, K] in {0, 1}, NaN in the rows of pictures without
    names: tuple[str, ...] = ()  # of the attributes
    own: Annotations | None = None  # of a kind of the user's
    annotated: np.ndarray | None = None  # bool [N], where some are not
    scheme: Scheme | None = None  # what was told of the landmarks
    sizes: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # picture -> (width, height), if told
    notes: tuple[str, ...] = ()  # to print

    @property
    def annotation(self) -> str | None:
        """Which annotation the pictures carry."""
        if self.own is not None:
            return self.own.name
        having = {"landmarks": self.landmarks, "mask": self.masks, "attributes": self.attributes}
        return next((name for name, values in having.items() if values is not None), None)

    @functools.cached_property
    def digest(self) -> str:
        """Of what annotates the pictures, but for what mask files hold: other landmarks have another one."""
        found = hashlib.sha256()
        if self.landmarks is not None:
            found.update(np.ascontiguousarray(self.landmarks).tobytes())
            if faces := [name for name in self.ids if name != picture_of(name)]:
                found.update("\n".join(faces).encode())
        elif self.masks is not None:
            found.update(repr(self.masks.described()).encode())
        elif self.attributes is not None:
            found.update(repr(self.names).encode() + np.ascontiguousarray(self.attributes).tobytes())
        elif self.own is not None:
            found.update(repr(self.own.described()).encode())
        return found.hexdigest()[:16] if self.annotation else ""

    @functools.cached_property
    def content(self) -> str:
        """A digest of the pictures and of mask files, which takes to read them all."""
        masks = self.masks.of if isinstance(self.masks, MaskFiles) else {}
        images = {f"image/{name}": self.root / name for name in dict.fromkeys(map(picture_of, self.ids))}
        return digest(images | {f"mask/{name}": masks[name] for name in sorted(masks)})

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


def open_folder(
    config: FolderConfig | IrisesConfig | FacesConfig, root: Path | None = None, own: OwnAnnotations | None = None
) -> Folder:
    """List the pictures of a configuration and pair each with its annotation, or raise InputError.

    With `partial` some of them may have none, and `Folder.annotated` says which have one. So it is of faces, of which
    those without are left out.

    Args:
        config: names the pictures and what annotates them.
        root: where the pictures are, if not where the configuration says.
        own: annotations of a kind of the user's.
    """
    images, masks = root or config.images, getattr(config, "masks", None)
    landmarks: Path | None = getattr(config, "landmarks", None)
    attributes: Path | None = getattr(config, "attributes", None)
    given = {"landmarks": landmarks, "masks": masks, "attributes": attributes, "annotations": own}
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
    apart = None if outlines else masks  # a folder that may lie in that of the pictures
    annotations = None if own is None else own.open()
    if annotations is not None:
        apart, beside = annotations.apart(images), annotations.suffixes()
    ids, notes = list_pictures(images, without=apart, beside=beside)
    if landmarks is not None:
        gaps = config.partial or isinstance(config, FacesConfig)
        told = (getattr(config, "points", None), getattr(config, "scheme", None))
        each = getattr(config, "several", None) == "each"
        found = match_landmarks(landmarks, ids, images, gaps, *told, each)
        there = np.asarray(np.isfinite(found.points).any((1, 2))) if gaps else None
        said = [*notes, *found.notes]
        if (count := found.points.shape[1]) > 1:
            said.append(landmark_schemes.described(found.scheme, count))
        of_points = {"sizes": found.sizes, "scheme": found.scheme}
        return Folder(images, tuple(found.ids), found.points, annotated=there, notes=tuple(said), **of_points)
    if attributes is not None:
        of_ids = match_attributes(attributes, ids, config.partial)
        there = np.asarray(np.isfinite(of_ids.values).all(1)) if config.partial else None
        answers, names, said = of_ids.values, of_ids.names, (*notes, *of_ids.notes)
        return Folder(images, tuple(ids), attributes=answers, names=names, annotated=there, notes=said)
    if annotations is not None:
        having = np.array([annotations.has(name) for name in ids]) if config.partial else None
        return Folder(images, tuple(ids), own=annotations, annotated=having, notes=tuple(notes))
    if masks is None:
        return Folder(images, tuple(ids), notes=tuple(notes))
    values: str | None = getattr(config, "mask_values", None)
    if outlines:
        of_images = match_shapes(masks, ids, config.partial, values)
    else:
        of_images = match_masks(masks, ids, config.partial)
    having = np.array([name in of_images for name in ids]) if config.partial else None
    return Folder(images, tuple(ids), masks=of_images, annotated=having, notes=(*notes, *of_images.notes))


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


def check_unit(root: Path, ids: Sequence[str], points: np.ndarray, each: bool = True) -> None:
    """Raise InputError where most points [N, K, 2] of most pictures lie outside of them; reads the headers of some.

    A picture that cannot be read and a single point far outside are refused too, unless `each` is False.
    """
    rows, beyond = evenly(np.flatnonzero(np.isfinite(points[..., 0]).any(1)), LOOKED_AT), 0
    for row in rows:
        path = root / picture_of(ids[int(row)])
        try:
            with Image.open(path) as picture:
                size = upright_size(picture)
        except Exception as error:
            if not each:
                continue
            raise unreadable(path, error) from None
        if each and (wrong := outside(points[row], *size)):
            raise InputError(f"{path}: {wrong}")
        beyond += mostly_outside(points[row], *size)
    if 2 * beyond > len(rows):
        raise InputError(
            f"most landmarks of {beyond} in {len(rows)} pictures lie outside of them, as those of larger pictures do; "
            "give (x, y) in pixels of the image"
        )


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
                return example | unannotated(folder.annotation, self._shape)
            example["annotated"] = 1
        if folder.landmarks is not None:
            points = folder.landmarks[index]
            if wrong := outside(points, w, h) or resized(folder.sizes.get(name), w, h):
                raise InputError(f"{folder.root / name}: {wrong}")
            example["landmarks"] = fit_landmarks(fractions(points, w, h), (h, w), wanted)
        if folder.attributes is not None:
            example["attributes"] = folder.attributes[index]
        if folder.masks is not None:
            example["mask"] = fit_mask(folder.masks.read(name, h, w), *wanted)
        if folder.own is not None:
            example[folder.own.name] = folder.own.of(name, (h, w), wanted)
        return example

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        """Of one annotation."""
        folder, wanted = self.folder, (self.height, self.width)
        if folder.own is not None:
            name = next(name for name in folder.ids if folder.own.has(name))
            return folder.own.of(name, read_image(folder.root / name, self.channels).shape[:2], wanted).shape
        values = folder.landmarks if folder.landmarks is not None else folder.attributes
        return (*wanted, 1) if values is None else values.shape[1:]


def write_folder(out: Path, config: FolderConfig, own: OwnAnnotations | None = None) -> Written:
    """Write ready pictures with their annotations as the data set `out`.

    Args:
        out: must not exist, or be empty.
        config: says all.
        own: what --annotations names, of the kind that --kind names.

    Raises:
        InputError: anything is wrong with the folder or with a picture; nothing is written then.
    """
    if config.annotations is not None and own is None:
        raise InputError(f"--annotations {config.annotations}: needs the kind that reads them")
    folder = open_folder(config, own=own)
    told = command("folder", config, len(folder.ids), folder.digest, folder.content, folder.scheme)
    if before := written_before(out, told):
        return before
    folder = folder.surveyed(config.mask_values)
    train, test = hold_out(folder.ids, config.holdout, config.group_regex, config.seed)
    channels = config.channels or (3 if mostly_colour(folder) else 1)
    size: dict[str, Any] = {"height": config.height, "width": config.width, "channels": channels}
    indices = {"train": train, "test": test} if test else {"train": train}
    if folder.landmarks is not None:
        check_seen(indices, folder.landmarks)
        check_unit(folder.root, folder.ids, folder.landmarks)
    splits = {name: Examples(folder, index, **size) for name, index in indices.items()}
    options = {"holdout": config.holdout, "group_regex": config.group_regex, "seed": config.seed}
    source = {name: getattr(config, name) for name in ("images", "landmarks", "masks", "attributes", "annotations")}
    annotation = {"landmarks": f" with {folder.keypoints} landmarks", "mask": " with masks", None: ""}
    annotation["attributes"] = f" with {len(folder.names)} attributes"
    what = f"{channels}{annotation.get(folder.annotation, f' with {folder.annotation}')}{in_words(folder.annotated)}"
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

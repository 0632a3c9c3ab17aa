"""The options of prepare.py: one flat frozen dataclass for each kind of source."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from began_jax.data.landmark_schemes import stored
from began_jax.data.mask_files import parse_values
from began_jax.data.mask_shapes import holds_shapes
from began_jax.errors import InputError
from began_jax.landmarks import Scheme
from began_jax.options import Valid, option
from began_jax.plugins import fingerprint

AT_LEAST_1 = Valid(lambda value: value >= 1, "1 or more")
SHARE = Valid(lambda value: 0 <= value < 1, "at least 0 and less than 1")

IMAGES = "pictures, in this folder or below; the relative path is the id. faces: CelebA's own folder is recognised"
LANDMARKS = (
    ".npz with name [N] and landmarks [N, K, 2]; .csv with the header name,x0,y0,x1,y1,...; COCO keypoints (.json); "
    ".jsonl; WFLW's .txt; or a folder of .pts, which number pixels from 1. (x, y) in pixels of the upright picture, "
    "pixel centres at integers; docs/data.md says how to leave out a point"
)
MASKS = (
    "a folder with a mask for each picture, of its name and size: what is inside is found out from the values of all "
    "masks. Or outlines: COCO's .json, CVAT's .xml, a folder of LabelMe's .json"
)
MASK_VALUES = (
    "what is inside, where there are several classes: values 2, or 1,3, or 128-255, or #ff0000; or names of classes"
)
ATTRIBUTES = (
    "a table with a row for each picture: .csv or .jsonl with a column file_name and one for each attribute, 0 or 1 "
    "(or -1, true, false, yes, no); or CelebA's .txt. Other columns, such as captions, are left out, which is said"
)
POINTS = "49: keep the paper's 49 points of 68 (iBUG, 300-W) or 98 (WFLW)"
SCHEME = (
    "a .json that says which point is which: names, and if need be pairs that change places in a mirrored picture, "
    "edges to draw, unit of the error (docs/data.md). COCO keypoints say it by their names, and 5, 49 or 68 points are "
    "else taken as CelebA's or iBUG's"
)
ANNOTATIONS = "annotations of a kind of yours: a file or folder that the `read` of --kind reads, see docs/data.md"
KIND = "the kind of --annotations, FILE.py:NAME or PACKAGE.MODULE:NAME of a began_jax.Kind"
PARTIAL = (
    "some of the pictures are annotated: the others are kept too, and train the generator; without this a picture that "
    "--landmarks, --masks, --attributes or --annotations say nothing of is an error, or left out (faces)"
)
HEIGHT = "rows of the result"
WIDTH = "columns of the result; pictures of another shape lose equal margins"
CHANNELS = "1 grey, 3 RGB; by default for ready pictures 3 when most of them are stored in colour"
HOLDOUT = "share of the pictures kept in a test split for evaluate.py; the paper trains on everything"
GROUP_REGEX = (
    "pictures whose id gives the same match (first parenthesis, or the whole) stay in one split, such as 'S(\\d+)' for "
    "the subject; otherwise near copies of a training picture would be held out (irises default: the subject in "
    "CASIA's names)"
)
SEED = "draws the held-out groups, copies and synthetic pictures"
ANNOTATOR = (
    "T, which annotates each picture: dlib (49 landmarks), segmenter or eyes (iris mask), FILE.py:NAME or "
    "PACKAGE.MODULE:NAME, a callable of yours from uint8 [H, W, C] to landmarks [K, 2] as fractions, a mask [H, W, 1] "
    "or attributes [K] (default: dlib for faces, segmenter for irises, none where --landmarks or --masks are given)"
)
WORKERS = "processes (default: one a core)"


@dataclass(frozen=True)
class FolderConfig:
    """Ready pictures with landmarks, with masks, with attributes or with none of them."""

    images: Path = option(help=IMAGES, metavar="DIR", kind=Path)
    landmarks: Path | None = option(None, LANDMARKS, metavar="FILE", kind=Path)
    points: int | None = option(None, POINTS, (49,), kind=int)
    scheme: Path | None = option(None, SCHEME, metavar="FILE", kind=Path)
    masks: Path | None = option(None, MASKS, metavar="DIR", kind=Path)
    mask_values: str | None = option(None, MASK_VALUES, metavar="VALUES", kind=str)
    attributes: Path | None = option(None, ATTRIBUTES, metavar="FILE", kind=Path)
    annotations: Path | None = option(None, ANNOTATIONS, metavar="PATH", kind=Path)
    kind: str | None = option(None, KIND, metavar="FILE.py:NAME", kind=str)
    partial: bool = option(False, PARTIAL)
    height: int = option(128, HEIGHT, valid=AT_LEAST_1, metavar="PIXELS")
    width: int = option(128, WIDTH, valid=AT_LEAST_1, metavar="PIXELS")
    channels: int | None = option(None, CHANNELS, (1, 3), kind=int)
    holdout: float = option(0.0, HOLDOUT, valid=SHARE, metavar="FRACTION")
    group_regex: str | None = option(None, GROUP_REGEX, metavar="REGEX", kind=str)
    seed: int = option(0, SEED)


@dataclass(frozen=True)
class FacesConfig:
    """Photographs of faces (section 3.1.1)."""

    images: Path = option(help=IMAGES, metavar="DIR", kind=Path)
    landmarks: Path | None = option(None, LANDMARKS, metavar="FILE", kind=Path)
    points: int | None = option(None, POINTS, (49,), kind=int)
    scheme: Path | None = option(None, SCHEME, metavar="FILE", kind=Path)
    partial: bool = option(False, PARTIAL)
    height: int = option(128, HEIGHT, valid=AT_LEAST_1, metavar="PIXELS")
    width: int = option(128, WIDTH, valid=AT_LEAST_1, metavar="PIXELS")
    channels: int = option(3, CHANNELS, (1, 3))
    holdout: float = option(0.0, HOLDOUT, valid=SHARE, metavar="FRACTION")
    group_regex: str | None = option(None, GROUP_REGEX, metavar="REGEX", kind=str)
    seed: int = option(0, SEED)
    annotator: str | None = option(None, ANNOTATOR, kind=str)
    annotation: str = option(
        "landmarks49",
        "landmarks49: T's, or those of --landmarks; landmarks5 or attributes: those of CelebA's lists",
        ("landmarks49", "landmarks5", "attributes"),
    )
    detector: str = option(
        "haar",
        "haar: crop the face that OpenCV's cascade finds, as the paper; landmarks: crop around those of --landmarks; "
        "whole: the picture is a crop already",
        ("haar", "landmarks", "whole"),
    )
    several: str = option(
        "leave-out",
        "pictures with several faces; each: an example of each row of --landmarks, with --detector landmarks",
        ("leave-out", "largest", "each"),
    )
    max_doubt: float = option(
        3.0,
        "leave out faces whose landmarks dlib is less sure of: spread of its fits over the outer-eye distance",
        metavar="PERCENT",
    )
    workers: int | None = option(None, WORKERS, kind=int)


@dataclass(frozen=True)
class IrisesConfig:
    """Near-infrared pictures of eyes (section 3.2.1)."""

    images: Path = option(help=IMAGES, metavar="DIR", kind=Path)
    masks: Path | None = option(None, MASKS, metavar="DIR", kind=Path)
    mask_values: str | None = option(None, MASK_VALUES, metavar="VALUES", kind=str)
    partial: bool = option(False, PARTIAL)
    height: int = option(96, HEIGHT, valid=AT_LEAST_1, metavar="PIXELS")
    width: int = option(128, WIDTH, valid=AT_LEAST_1, metavar="PIXELS")
    channels: int = option(1, CHANNELS, (1, 3))
    holdout: float = option(0.0, HOLDOUT, valid=SHARE, metavar="FRACTION")
    group_regex: str | None = option(None, GROUP_REGEX, metavar="REGEX", kind=str)
    seed: int = option(0, SEED)
    annotator: str | None = option(None, ANNOTATOR, kind=str)
    copies: int = option(
        1,
        "of each picture: itself and N - 1 of low quality (contrast, shadow, motion blur); the paper's set is "
        "five-fold",
        valid=AT_LEAST_1,
    )
    workers: int | None = option(None, WORKERS, kind=int)


@dataclass(frozen=True)
class FacesSyntheticConfig:
    """Rendered faces."""

    count: int = option(4000, "how many pictures: 4000 train the demo in minutes", valid=AT_LEAST_1)
    height: int = option(128, HEIGHT, valid=AT_LEAST_1, metavar="PIXELS")
    width: int = option(128, WIDTH, valid=AT_LEAST_1, metavar="PIXELS")
    holdout: float = option(0.0, HOLDOUT, valid=SHARE, metavar="FRACTION")
    seed: int = option(0, SEED)


@dataclass(frozen=True)
class IrisesSyntheticConfig(FacesSyntheticConfig):
    """Rendered eyes."""

    height: int = option(96, HEIGHT, valid=AT_LEAST_1, metavar="PIXELS")


PrepareConfig = FolderConfig | FacesConfig | IrisesConfig | FacesSyntheticConfig

KINDS: dict[str, type[PrepareConfig]] = {
    "folder": FolderConfig,
    "faces": FacesConfig,
    "irises": IrisesConfig,
    "synthetic-faces": FacesSyntheticConfig,
    "synthetic-irises": IrisesSyntheticConfig,
}


def decisive(config: PrepareConfig) -> dict[str, Any]:
    """Return the options that decide a data set, by their names: all but the number of processes."""
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "workers"}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def command(
    kind: str,
    config: PrepareConfig,
    pictures: int,
    annotations: str = "",
    content: str = "",
    scheme: Scheme | None = None,
) -> dict[str, Any]:
    """Return all that decides a data set.

    That is the options, the number of pictures, digests of what annotates them and of what files hold, and what was
    told of the landmarks.
    """
    told = decisive(config)
    if own := told.pop("kind", None):  # the key that says which source it is
        told |= {"annotations_path": told["annotations"], "annotations_kind": own, "kind_file": fingerprint(own)}
    told |= stored(scheme)
    return {**told, "kind": kind, "pictures": pictures, "annotations": annotations, "content": content}


def check_partial(config: PrepareConfig) -> None:
    """Raise InputError for --partial where no file says which pictures are annotated."""
    if not getattr(config, "partial", False):
        return
    files = ("landmarks", "masks", "attributes", "annotations")
    lists = getattr(config, "annotation", "landmarks49") != "landmarks49"  # CelebA's own
    if not lists and all(getattr(config, name, None) is None for name in files):
        raise InputError("--partial: needs --landmarks, --masks, --attributes or --annotations of some pictures")
    if getattr(config, "copies", 1) > 1:
        raise InputError("--partial: not with --copies, which needs the mask of each picture")


def check_of_annotations(config: PrepareConfig) -> None:
    """Raise InputError for options of annotations that are not given, or cannot be read."""
    pairs = (("mask_values", "masks"), ("points", "landmarks"), ("kind", "annotations"), ("annotations", "kind"))
    for name, of in pairs:
        if getattr(config, name, None) is not None and getattr(config, of, None) is None:
            raise InputError(f"--{name.replace('_', '-')}: needs --{of}, which it is about")
    if (scheme := getattr(config, "scheme", None)) is not None:
        if getattr(config, "points", None):
            raise InputError(f"--scheme {scheme}: not with --points, whose points are known")
        if getattr(config, "landmarks", None) is None and getattr(config, "annotator", None) is None:
            raise InputError(f"--scheme {scheme}: needs --landmarks, or an --annotator of yours that gives landmarks")
    masks, values = getattr(config, "masks", None), getattr(config, "mask_values", None)
    if values and masks and isinstance(config, FolderConfig | IrisesConfig) and not holds_shapes(masks, config.images):
        parse_values(values)


def check_group_regex(config: PrepareConfig) -> None:
    """Raise InputError for a --group-regex that divides nothing or is no regular expression."""
    regex = getattr(config, "group_regex", None)
    if regex is None:
        return
    if not config.holdout:
        raise InputError("--group-regex: needs --holdout FRACTION, which it divides")
    try:
        re.compile(regex)
    except re.error as error:
        raise InputError(f"--group-regex {regex}: {error}") from None

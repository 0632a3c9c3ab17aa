"""Section 3.1.1 as a recipe: find the face in a photograph, crop it, resize it, annotate it.

The annotation is T's on the crop, or what a file says of the whole photograph, moved into the crop.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from began_jax import plugins
from began_jax.annotators import annotator
from began_jax.annotators.annotator import Unsure
from began_jax.data.builder import unannotated
from began_jax.data.landmark_files import outside, resized
from began_jax.data.pictures import picture_of
from began_jax.images import Crop, fit_image, fit_landmarks, read_image
from began_jax.landmarks import POINTS_49, SCHEMES, Scheme

FRAME, LIFT = 1.5, 0.06  # side of a window over that of the box of its landmarks, share of it that it lies higher
LEAST = 16  # pixels of a window's side


@dataclasses.dataclass(frozen=True)
class FaceRecipe:
    """How a photograph becomes a face of height x width x channels with its annotation."""

    root: Path
    ids: Sequence[str]
    height: int
    width: int
    channels: int
    detector: str  # haar; landmarks, around which the crop is; or whole: the photograph is the crop
    several: str  # what to do with several faces that are found: leave-out, or take the largest
    annotator: str | None  # T by name, or None where `known` says the annotation
    annotator_options: Mapping[str, Any]
    kind: str = "landmarks"  # of `known`: landmarks, in pixels of the photograph, or attributes
    known: Mapping[str, np.ndarray] | None = None  # id -> annotation
    partial: bool = False  # whether photographs that are not in `known` are kept
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # of a picture, if told
    inner: Sequence[int] = ()  # which of the landmarks a face is cropped around: all, or the paper's of 68 or 98

    def open(self) -> Callable[[int], list[dict[str, Any]]]:
        """Load detector and T, and return a function from a photograph's number to its one example."""
        detect = load_detector(self.detector)
        annotate = annotator.load(self.annotator, **self.annotator_options) if self.annotator else None
        read = functools.lru_cache(maxsize=1)(lambda name: read_image(self.root / name, self.channels))  # faces of one
        shape = np.shape(next(iter(self.known.values()))) if self.known else ()

        def example(index: int) -> list[dict[str, Any]]:
            name = self.ids[index]
            known = None if self.known is None else self.known.get(name)
            if self.known is not None and known is None and not self.partial:
                raise Unsure(f"no {self.kind} in the file")
            photograph = read(picture_of(name))
            size = photograph.shape[1::-1]
            wrong, told = "", self.sizes.get(picture_of(name))
            if known is not None and self.kind == "landmarks":
                wrong = "a landmark is more than a picture's size outside" if outside(known, *size) else ""
                wrong = wrong or (resized(told, *size) and "not of the size of its landmarks' picture")
            if wrong:
                raise Unsure(wrong)
            points = known if self.kind == "landmarks" else None
            if self.detector == "landmarks":
                assert points is not None
                top, left, height, width = landmark_window(points, self.inner, *size)
            else:
                top, left, height, width = face_window(photograph, detect, self.several, points)
            crop = photograph[top : top + height, left : left + width]
            made = {"image": fit_image(crop, self.height, self.width), "id": name}
            if self.partial:
                made["annotated"] = int(known is not None)
            if annotate is not None:
                made |= annotator.annotated(annotate, crop, self.height, self.width)
            elif known is None:
                made |= unannotated(self.kind, shape)
            elif self.kind == "landmarks":
                # pixel centres are at integers
                fractions = (known.astype(np.float64) - (left, top) + 0.5) / (width, height)
                if self.detector == "landmarks" and (np.nanmin(fractions) < -1 or np.nanmax(fractions) > 2):
                    raise Unsure("a landmark is more than the crop's size outside of it")
                made["landmarks"] = fit_landmarks(fractions, (height, width), (self.height, self.width))
            else:
                made[self.kind] = known
            return [made]

        return example


def load_detector(name: str) -> Callable | None:
    """Return what finds the faces of a photograph, or None where nothing has to: `whole` and `landmarks`."""
    if name != "haar":
        return None
    return plugins.import_module("began_jax.annotators.faces", f"--detector {name}").FaceDetector()


def framing(scheme: Scheme | None, count: int) -> tuple[int, ...]:
    """Return which of `count` landmarks tell a face's crop: the paper's 49 of iBUG's 68 or WFLW's 98, or () for all.

    A scheme that was told counts before the number: 68 points with other ends of the eyes are those of something else.
    """
    known = SCHEMES.get(count)
    if scheme is not None and (known is None or scheme.unit != known.unit):
        return ()
    return POINTS_49.get(count, ())


def landmark_window(points: np.ndarray, inner: Sequence[int], width: int, height: int) -> Crop:
    """Return the square window of a picture around landmarks [K, 2], half as large again as the box around them.

    Around the paper's 49 it holds about what OpenCV's cascade would find there, or as much of it as the picture has.
    Unsure where they tell no window.

    Args:
        points: of the face.
        inner: numbers of those that tell the window, where half of them or more are there; else all do.
        width, height: of the picture.
    """
    chosen = points[list(inner)]
    if len(chosen) and 2 * np.isfinite(chosen).all(1).sum() >= len(chosen):
        points = chosen
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    side = min(round(FRAME * float((high - low).max())), width, height)
    if side < LEAST:
        raise Unsure(f"its face is {side} pixels wide, and {LEAST} are the least")
    x, y = (low + high) / 2 + 0.5
    if not (0 <= x <= width and 0 <= y <= height):
        raise Unsure("the middle of its landmarks lies outside of it")
    top, left = y - (0.5 + LIFT) * side, x - side / 2
    return Crop(int(np.clip(round(top), 0, height - side)), int(np.clip(round(left), 0, width - side)), side, side)


def face_window(
    photograph: np.ndarray, detect: Callable | None, several: str, landmarks: np.ndarray | None = None
) -> Crop:
    """Return the window of a photograph that holds its face, or all of it without a detector; Unsure for none.

    Of several faces it is the largest one in which the centre of the landmarks is, where these are known.
    """
    height, width = photograph.shape[:2]
    if detect is None:
        return Crop(0, 0, height, width)
    faces = detect(photograph)
    if not faces:
        raise Unsure("no face")
    if len(faces) > 1 and several == "leave-out":
        raise Unsure("several faces")
    if landmarks is not None:
        x, y = np.nanmean(landmarks, axis=0)
        faces = [f for f in faces if f.left <= x < f.left + f.size and f.top <= y < f.top + f.size]
        if not faces:
            raise Unsure("its landmarks are not in the face that was found")
    return Crop(faces[0].top, faces[0].left, faces[0].size, faces[0].size)

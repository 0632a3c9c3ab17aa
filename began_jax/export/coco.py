"""Pictures with landmarks as a COCO keypoints data set: `images/`, `annotations.json`, `latents.npy`, `landmarks.npy`.

Keypoints are 0-indexed pixel positions, as pycocotools, detectron2, mmpose and CVAT read them: the centre of the first
pixel is (0, 0), and x = fraction * width - 0.5. A point that is absent has 0, 0, 0. Boxes are in the same numbers, at
least a pixel wide and high, and within the picture where the points are.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from began_jax.data import landmark_schemes
from began_jax.errors import InputError
from began_jax.export.dataset import Doubts, Pictures, dataset, file_name, resumable
from began_jax.landmarks import Scheme, scheme

_DECIMALS = 3  # a thousandth of a pixel

Write = Callable[..., None]


def boxes(points: Float[np.ndarray, "batch points 2"], width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return middles and sizes [batch, 2] of the boxes about points in pixels, those outside moved to the edge.

    A box is at least a pixel wide and high: one point alone has one too.
    """
    last = (width - 1, height - 1)
    low, high = np.clip(np.nanmin(points, 1), 0, last), np.clip(np.nanmax(points, 1), 0, last)
    return (low + high) / 2, np.maximum(high - low, 1)


def _annotations(indices: range, faces: Float[np.ndarray, "batch points 2"], width: int, height: int) -> Iterator[dict]:
    """Yield an annotation for each face, in pixels; a point outside of the picture is labelled, not visible."""
    there = np.isfinite(faces[..., 0])
    inside = ((faces >= -0.5) & (faces <= (width - 0.5, height - 0.5))).all(-1)
    visible = np.where(there, np.where(inside, 2, 1), 0).tolist()
    counts = there.sum(1).tolist()
    middles, size = boxes(faces, width, height)
    corners, sizes = (middles - size / 2).round(_DECIMALS).tolist(), size.round(_DECIMALS).tolist()
    areas = size.prod(1).round(_DECIMALS).tolist()
    faces = np.where(there[..., None], faces, 0)
    for i, (index, points) in enumerate(zip(indices, faces.tolist(), strict=True)):
        yield {
            "id": index + 1,  # pycocotools takes an annotation 0 for "no match"
            "image_id": index,
            "category_id": 1,
            "keypoints": [value for (x, y), seen in zip(points, visible[i], strict=True) for value in (x, y, seen)],
            "num_keypoints": counts[i],
            "bbox": corners[i] + sizes[i],
            "area": areas[i],
            "iscrowd": 0,
        }


def _head(points: Scheme, category: str) -> str:
    face = {
        "id": 1,
        "name": category,
        "supercategory": "person",
        "keypoints": list(points.names),
        "skeleton": points.skeleton,
    }
    info = {
        "description": "images with keypoints by began_jax; (0, 0) is the centre of the first pixel",
        "version": "1.0",
        **landmark_schemes.stored(points),
    }
    head = json.dumps({"info": info, "licenses": [], "categories": [face]}, indent=2)
    return head.removesuffix("\n}") + ',\n"annotations": [\n'


def _tail(count: int, width: int, height: int, form: str) -> Iterator[str]:
    """Yield the end of the document: the images come last, since only then is their number known."""
    yield '\n],\n"images": [\n'
    for index in range(count):
        image = {"id": index, "file_name": file_name(index, form), "width": width, "height": height}
        yield json.dumps(image) + (",\n" if index + 1 < count else "\n")
    yield "]}\n"


@contextlib.contextmanager
def coco_writer(
    out: str | os.PathLike[str],
    provenance: dict[str, Any],
    points: Scheme | None = None,
    category: str = "face",
    resume: bool = False,
) -> Iterator[Write]:
    """Give `write(latents, images, landmarks, doubt=None)` to call batch by batch; `out` appears when the block ends.

    With `resume` a set that was stopped goes on, see `dataset`.

    Landmarks are (x, y) fractions [batch, K, 2]; `points` names them (by default from K, see `scheme`). Those that are
    NaN are absent.

    Raises:
        InputError: `out` is not empty, a picture's landmarks are all absent or one is infinite, or batches differ in
            size or in points.
    """
    with dataset(out, provenance | landmark_schemes.stored(points), resume) as written:
        rows, file = written.rows("landmarks.npy"), written.text("annotations.json")
        known = points

        def write(
            latents: Float[Array | np.ndarray, "batch latent"],
            images: Pictures,
            landmarks: Float[Array | np.ndarray, "batch points 2"],
            doubt: Doubts = None,
            numbers: np.ndarray | None = None,
        ) -> None:
            nonlocal known
            height, width = images.shape[1:3]
            pixels = np.asarray(landmarks, np.float64) * (width, height) - 0.5
            known = known or scheme(landmarks.shape[1])
            if len(known.names) != landmarks.shape[1]:
                raise InputError(f"{landmarks.shape[1]} landmarks cannot take {len(known.names)} names")
            absent = np.isnan(pixels).any(-1, keepdims=True)
            pixels = np.where(absent, np.nan, pixels)
            if np.isnan(pixels).all((1, 2)).any() or np.isinf(pixels).any():
                raise InputError("a picture's landmarks are no finite numbers; COCO cannot hold them")
            rows.add(landmarks)
            if written.count == 0:
                file.write(_head(known, category))
            for found in _annotations(
                written.add(latents, images, doubt, numbers), pixels.round(_DECIMALS), width, height
            ):
                file.write(("" if found["image_id"] == 0 else ",\n") + json.dumps(found))

            written.batch_done()

        yield resumable(write, written)
        if written.image_shape:
            height, width, _ = written.image_shape
            file.writelines(_tail(written.count, width, height, written.form))

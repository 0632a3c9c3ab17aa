"""Faces: OpenCV's frontal Haar cascade finds them (section 3.1.1), dlib's 68-point model fits the landmarks.

dlib says nothing of how sure it is. So the model is fitted from several boxes about the face: the mean of the fits is
the answer, and their spread the doubt, which on CelebA goes along with the error (correlation 0.7).
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import cv2.data
import dlib
import numpy as np
from jaxtyping import Float64, UInt8

from began_jax.annotators.annotator import WORKING_SIZE, Unsure
from began_jax.errors import InputError
from began_jax.landmarks import OUTER_EYES, POINTS_49

_dlib: Any = dlib  # its classes are compiled, and no type checker sees them

MODEL = "shape_predictor_68_face_landmarks.dat"
MAX_DOUBT = 3.0  # percent of the outer-eye distance; 0.6 is the median of CelebA's crops, 2.5 their 99th percentile
_LONGEST = 640  # pixels that Haar sees at most: large photographs take seconds otherwise, and find more that is no face
_OFFSETS = ((0, 0, 0, 0), (4, 4, -4, -4), (-4, -4, 4, 4), (4, 0, 4, 0), (-4, 0, -4, 0))  # percent of a box's size


class Box(NamedTuple):
    """A square of a picture in pixels: rows top .. top + size - 1."""

    top: int
    left: int
    size: int


class FaceDetector:
    """OpenCV's frontal face cascade: all faces of a picture, the largest first.

    Args:
        neighbours: overlapping detections that a face needs; 5 finds no second face in single portraits where 3 does.
        smallest: a face's smallest size, as a share of the picture's shorter side.
    """

    def __init__(self, neighbours: int = 5, smallest: float = 0.2) -> None:
        self._cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
        self._neighbours, self._smallest = neighbours, smallest

    def __call__(self, image: UInt8[np.ndarray, "height width channels"]) -> list[Box]:
        """Return the boxes of the faces, each wholly inside the picture."""
        grey = image[..., 0] if image.shape[-1] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = grey.shape
        scale = min(1.0, _LONGEST / max(height, width))
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        least = max(24, round(self._smallest * min(grey.shape)))
        found = self._cascade.detectMultiScale(grey, 1.1, self._neighbours, minSize=(least, least))
        boxes = []
        for x, y, w, _ in found:
            size = min(round(w / scale), height, width)
            boxes.append(Box(min(round(y / scale), height - size), min(round(x / scale), width - size), size))
        return sorted(boxes, key=lambda box: (-box.size, box))


class FaceLandmarks:
    """T for faces: a picture that one face fills, as the detector crops it -> 49 landmarks as fractions [49, 2].

    Args:
        max_doubt: fits that differ by more are refused; mean distance from their mean, in percent of the outer-eye
            distance.
        find_face: refuse a picture in which the Haar cascade finds no face, as T does with generated ones.
    """

    kind = "landmarks"

    def __init__(self, max_doubt: float = MAX_DOUBT, find_face: bool = True) -> None:
        self._predictor = _dlib.shape_predictor(str(model_path()))
        self._detector = FaceDetector(neighbours=3, smallest=0.4) if find_face else None
        self.max_doubt = max_doubt

    def __call__(self, image: UInt8[np.ndarray, "height width channels"]) -> Float64[np.ndarray, "49 2"]:
        """Return the landmarks, or raise Unsure."""
        height, width = image.shape[:2]
        scale = max(1.0, WORKING_SIZE / min(height, width))
        picture = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else image
        picture = np.ascontiguousarray(np.broadcast_to(np.atleast_3d(picture), (*picture.shape[:2], 3)))
        if self._detector is not None:
            # the cascade's window wants some room about a face
            margin = min(picture.shape[:2]) // 4
            room = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
            if not self._detector(room):
                raise Unsure("no face")
        fits = self._fits(picture)
        landmarks = fits.mean(0)
        eyes = np.linalg.norm(landmarks[OUTER_EYES[0]] - landmarks[OUTER_EYES[1]])
        doubt = 100 * np.linalg.norm(fits - landmarks, axis=-1).mean() / max(eyes, 1e-9)
        if not doubt <= self.max_doubt:
            raise Unsure("unsure landmarks")
        return (landmarks + 0.5) / (picture.shape[1], picture.shape[0])

    def _fits(self, picture: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, "fits 49 2"]:
        corner = np.array([0, 0, picture.shape[1] - 1, picture.shape[0] - 1])
        unit = min(picture.shape[:2]) / 100
        fits = []
        for offset in _OFFSETS:
            left, top, right, bottom = (round(v) for v in corner + unit * np.array(offset))
            shape = self._predictor(picture, _dlib.rectangle(left, top, right, bottom))
            fits.append([(shape.part(i).x, shape.part(i).y) for i in POINTS_49[68]])
        return np.array(fits, np.float64)


def model_path() -> Path:
    """Return the file of dlib's 68-point model; InputError where its package is missing."""
    # Importing the package needs pkg_resources, which current setuptools no longer has; its file does not.
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "models" / MODEL).is_file():
            return path
    raise InputError("dlib's landmark model is missing: pip install face_recognition_models (or began_jax[faces])")

"""The shape of a procedural face: a wire frame with depth, its projection and its 49 landmarks in iBUG order."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from began_jax.data.synthetic.factors import Scene

Points = Float[np.ndarray, "_ 3"]


class View(NamedTuple):
    """The maps of a face's points [..., 3] to its own upright plane and from there to image fractions."""

    plane: np.ndarray
    turn: np.ndarray
    origin: np.ndarray

    def project(self, points: Float[np.ndarray, "*knots 3"]) -> Float[np.ndarray, "*knots 2"]:
        """Return the image fractions of the points."""
        return points @ self.plane @ self.turn + self.origin

    def upright(
        self, x: Float[np.ndarray, "1 width"], y: Float[np.ndarray, "height 1"]
    ) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
        """Return the image fractions x and y in the upright plane."""
        # The turn is a rotation times a scale.
        back = (self.turn.T / np.linalg.det(self.turn)).astype(np.float32)
        x, y = x - np.float32(self.origin[0]), y - np.float32(self.origin[1])
        return back[0, 0] * x + back[1, 0] * y, back[0, 1] * x + back[1, 1] * y


class Shape(NamedTuple):
    """The curves of a face that are drawn, frontal, in fractions of the frame about its centre, x right, y down."""

    eyes: list[Points]
    brows: list[Points]
    nose: Points
    lips: Points
    inner_lips: Points
    face: Points

    def landmarks(self) -> Float[np.ndarray, "49 3"]:
        """Return the landmarks: brows, bridge and nostrils, eyes, outer and inner mouth without its corners."""
        left, right = self.brows
        return np.concatenate(
            [left, right[::-1], self.nose, *self.eyes, self.lips, self.inner_lips[[1, 2, 3, 5, 6, 7]]]
        )


def points(x: list[float | int], y: list[float | int], z: list[float | int]) -> Points:
    """Return points from their three coordinates."""
    return np.array([x, y, z], np.float64).T


def mirror(curve: Points) -> Points:
    """Return the curve on the other side of the face."""
    return curve * np.array([-1.0, 1.0, 1.0])


def make_view(s: Scene) -> View:
    """Return the orthographic view of a face's pose."""
    yaw, pitch, roll = np.deg2rad([s["yaw"], s["pitch"], s["roll"]])
    across = np.array([np.cos(yaw), 0, np.sin(yaw)])
    down = np.array([np.sin(yaw) * np.sin(pitch), np.cos(pitch), -np.cos(yaw) * np.sin(pitch)])
    plane = np.stack([across, down], axis=1)
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return View(plane, s["scale"] * turn, np.array([0.5 + s["shift_x"], 0.5 + s["shift_y"]]))


def _eye(s: Scene) -> Points:
    """Return the image-left eye [6, 3]."""
    x, y, slant = -0.184 * s["eye_spacing"], -0.1 + s["eye_height"], s["eye_slant"]
    opened = s["eye_open"] * (1 - 0.18 * max(s["smile"], 0))
    half, up, down = 0.073 * s["eye_size"], 0.04 * s["eye_size"] * opened, 0.015 * s["eye_size"]
    return points(
        [x - half, x - 0.39 * half, x + 0.39 * half, x + half, x + 0.39 * half, x - 0.39 * half],
        [y - 0.003 + slant, y - up + 0.4 * slant, y - up + 0.002, y + 0.006, y + down, y + down + 0.4 * slant],
        [-0.05, -0.01, 0.0, -0.01, 0.0, -0.01],
    )


def _brow(s: Scene) -> Points:
    """Return the upper edge of the image-left brow [5, 3]."""
    top, arch = s["eye_height"] + s["brow_height"] - s["brow_raise"], s["brow_arch"]
    wide = 1 + 0.5 * (s["eye_spacing"] - 1)
    return points(
        [-0.342 * wide, -0.287 * wide, -0.214 * wide, -0.142 * wide, -0.075 * wide],
        [top - 0.178, top - 0.221 - 0.5 * arch, top - 0.23 - arch, top - 0.217 - 0.5 * arch, top - 0.188 + 0.5 * arch],
        [-0.035, 0.02, 0.03, 0.03, 0.025],
    )


def _nose(s: Scene) -> Points:
    """Return bridge and nostrils [9, 3]."""
    wide, tip = s["nose_width"], 0.106 + s["nose_length"]
    bridge = np.stack([np.zeros(4), np.linspace(-0.112, tip, 4), [0.03, 0.07, 0.11, 0.16]], axis=1)
    x = [-0.08 * wide, -0.041 * wide, 0.0, 0.041 * wide, 0.08 * wide]
    y = [tip + 0.046, tip + 0.06, tip + 0.071, tip + 0.06, tip + 0.046]
    return np.concatenate([bridge, points(x, y, [0.04, 0.08, 0.1, 0.08, 0.04])])


def _mouth(s: Scene) -> tuple[Points, Points]:
    """Return the outer mouth [12, 3] and the inner mouth with its corners [8, 3]."""
    half = 0.165 * s["mouth_width"] * (1 + 0.17 * s["smile"] - 0.1 * s["mouth_open"])
    rise, fall = 0.028 * s["mouth_open"], 0.085 * s["mouth_open"]
    x = np.array([-1, -0.63, -0.26, 0, 0.26, 0.63, 1, 0.65, 0.29, 0, -0.29, -0.65])
    side = np.array([0, -0.66, -1, -0.78, -1, -0.66, 0, 0.92, 1.42, 1.5, 1.42, 0.92])
    inner_x = np.array([-0.9, -0.28, 0, 0.28, 0.9, 0.28, 0, -0.28])
    inner_side = np.array([0, -1, -1, -1, 0, 1, 1, 1])

    def place(x: np.ndarray, offset: np.ndarray, side: np.ndarray) -> Points:
        gap = np.where(side < 0, -rise, fall) * np.sqrt(np.maximum(1 - x**2, 0))
        gap = np.where(side == 0, 0.5 * (fall - rise), gap)
        y = 0.288 + s["mouth_height"] + 0.008 * s["smile"] + offset + gap - 0.042 * s["smile"] * x**2
        return np.stack([half * x, y, 0.07 - 0.09 * x**2], axis=1)

    # A stretched lip is thinner.
    thickness = 0.036 * s["lip_fullness"] * (1 - 0.15 * s["smile"])
    return place(x, thickness * side, side), place(inner_x, np.zeros(8), inner_side)


def _face(s: Scene) -> Points:
    """Return the outline of the face from the crown over the image-right side."""
    wide, jaw = s["face_width"], s["face_width"] * s["jaw_width"]
    chin = s["chin"] + 0.05 * s["mouth_open"]
    right = points(
        [0.3 * wide, 0.385 * wide, 0.41 * wide, 0.405 * wide, 0.375 * wide, 0.295 * jaw, 0.185 * jaw, 0.09 * jaw],
        [-0.6, -0.37, -0.1, 0.03, 0.17, 0.335 + 0.4 * chin, 0.465 + chin, 0.508 + chin],
        [-0.12, -0.16, -0.19, -0.19, -0.16, -0.12, -0.03, 0.02],
    )
    return np.concatenate([[[0, -0.72, -0.1]], right, [[0, 0.517 + chin, 0.03]], mirror(right)[::-1]])


def make_shape(s: Scene) -> Shape:
    """Return the curves of a face."""
    eye, brow = _eye(s), _brow(s)
    lips, inner = _mouth(s)
    eyes, brows = [eye, mirror(eye)[[3, 2, 1, 0, 5, 4]]], [brow, mirror(brow)]
    return Shape(eyes, brows, _nose(s), lips, inner, _face(s))

"""The shape that a visible iris has: what the pupil and two curved lids leave of an ellipse.

A network's soft mask has dents where a rim is faint, and frays. The shape that is nearest to it (by the least mean
absolute difference, as eq. 4 has it, and by BFGS) has neither: where a rim is, most of it decides, and not each pixel.
"""

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage

from began_jax.configs import InvertConfig
from began_jax.inversion import invert

SIDE, MARGIN, STEPS = 96, 1.3, 50  # pixels that the iris is seen with, their reach over its own, steps of BFGS
_SOFT = 0.45  # pixels over which an edge goes from 0.5 to 0.73
_FINE = 0.1  # of the radius, which a parameter of 1 moves an edge by
_BEND = 0.1  # of a lid, to start from
_LEAST_HOLE = 20  # pixels, of a hole that is taken for the pupil
_PUPIL = 0.35  # of the radius, where there is no hole
_PARAMETERS = 15

Soft = Float[np.ndarray, "height width"]
Plane = Float[Array | np.ndarray, "rows columns"]
# Centre x, y and radius of the iris and of the pupil, y of the upper and of the lower lid.
Rough = Float[Array | np.ndarray, "8"]


def nearest(soft: Soft) -> Bool[np.ndarray, "height width"]:
    """Return the shape nearest to a soft mask, inside of which there must be something (0.5 or more)."""
    y, x = np.nonzero(largest(soft >= 0.5))
    step = MARGIN * max(np.ptp(x) + 1, np.ptp(y) + 1) / SIDE  # of the picture's pixels in one that is seen
    corner = np.array([(y.min() + y.max()) / 2, (x.min() + x.max()) / 2]) - step * (SIDE - 1) / 2
    places = corner[:, None, None] + step * np.mgrid[:SIDE, :SIDE]
    seen = ndimage.map_coordinates(soft, places, order=1, mode="nearest")
    limits = np.array(soft.shape)[:, None, None] - 0.5
    weights = ((places >= -0.5) & (places <= limits)).all(0)  # what lies outside the picture is not known
    if not (weights & (seen >= 0.5)).any():  # specks that are smaller than what is seen
        return soft >= 0.5
    rough = _rough(np.where(weights, seen, 0))
    found = _fitted(rough, seen.astype(np.float32), weights.astype(np.float32))
    y, x = (np.mgrid[: soft.shape[0], : soft.shape[1]] - corner[:, None, None]) / step
    edges = _within(np, rough, np.asarray(found), x, y)
    return np.all([distance >= 0 for distance in edges], axis=0)


def largest(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Return the largest connected part of a mask; of an empty one nothing."""
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=parts)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]) if mask.any() else mask


def _rough(seen: np.ndarray) -> np.ndarray:
    """Return a first guess, from the largest part of the mask and the hole in it."""
    mask = largest(seen >= 0.5)
    y, x = np.nonzero(mask)
    radius = (np.ptp(x) + 1) / 2
    pupil = ((x.min() + x.max()) / 2, (y.min() + y.max()) / 2, _PUPIL * radius)
    hole = ndimage.binary_fill_holes(mask) & ~mask
    if hole.sum() >= _LEAST_HOLE:
        rows, columns = np.nonzero(hole)
        pupil = (columns.mean(), rows.mean(), np.sqrt(hole.sum() / np.pi))
    return np.array([(x.min() + x.max()) / 2, pupil[1], radius, *pupil, y.min(), y.max()], np.float32)


def _within(
    numbers: ModuleType, rough: Rough, parameters: Float[Array | np.ndarray, "15"], x: Plane, y: Plane
) -> tuple[Plane, ...]:
    """Return how far places x, y lie on the inner side of a shape's four edges, in pixels.

    The shape is a guess whose edges have moved by tenths of the radius. `numbers` is numpy, for pictures of any size
    without a compilation for each, or jax.numpy.
    """
    centre_x, centre_y, radius, pupil_x, pupil_y, pupil, top, bottom = rough
    p = _FINE * parameters

    def within(centre: tuple[Any, Any], radii: tuple[Any, Any]) -> Plane:
        u, v = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
        squares = u * u + v * v + 2 * numbers.tanh(p[4]) * u * v  # turned, and both in the same way
        return 1 - numbers.sqrt(squares + 1e-6)  # the root's slope is finite everywhere

    iris = (centre_x + p[0] * radius, centre_y + p[1] * radius)
    limbus = radius * within(iris, (radius * numbers.exp(p[2]), radius * numbers.exp(p[3])))
    dark = (pupil_x + p[5] * radius, pupil_y + p[6] * radius)
    open_by = pupil * within(dark, (pupil * numbers.exp(2 * p[7]), pupil * numbers.exp(2 * p[8])))
    u = (x - iris[0]) / radius
    upper = y - top - radius * (p[9] + p[10] * u + (_BEND + p[11]) * u * u)
    lower = bottom + radius * (p[12] + p[13] * u - (_BEND + p[14]) * u * u) - y
    return limbus, -open_by, upper, lower


@jax.jit
def _fitted(rough: Rough, seen: Plane, weights: Plane) -> Float[Array, "15"]:
    """Return the parameters of the shape nearest to a soft mask, where the weights are not 0."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)

    def draw(parameters: Float[Array, "15"]) -> Float[Array, "rows columns"]:
        edges = _within(jnp, rough, parameters, x, y)
        return functools.reduce(jnp.multiply, (jax.nn.sigmoid(distance / _SOFT) for distance in edges))

    config = InvertConfig(optimizer="bfgs", steps=STEPS, start="zero")
    return invert(config, jax.vmap(draw), seen[None], jnp.zeros((1, _PARAMETERS)), weights=weights[None])["z"][0]

"""A kind of annotation of one's own: a box in a picture, (left, top, right, bottom) as fractions.

Pictures are annotated by a table, or by the T of this file (what is dark):

    python prepare.py --images DIR --annotations boxes.csv --kind examples/kinds/boxes.py:BOXES --out data/boxed
    python prepare.py faces --detector whole --images DIR --annotator examples/kinds/boxes.py:box --out data/boxed
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from began_jax import Kind
from began_jax.images import fit_landmarks


def box(picture):
    """T: a picture, uint8 [H, W, C], -> its box [4]. Yours is a detector."""
    grey = picture.mean(-1)
    dark = np.argwhere(grey <= np.quantile(grey, 0.1))[:, ::-1]
    return np.float32(np.stack([dark.min(0), dark.max(0) + 1]) / grey.shape[::-1]).ravel()


box.kind = "box"


def read(path):
    """Return the function from a name to its box of a table with columns file_name, left, top, right, bottom."""
    head, *rows = np.atleast_2d(np.genfromtxt(path, str, delimiter=",", comments=None)).tolist()
    if head != ["file_name", "left", "top", "right", "bottom"]:
        raise ValueError(f"the header is {head}, and not file_name, left, top, right, bottom")
    boxes = {name: np.array(box, float) for name, *box in rows}
    for name, (left, top, right, bottom) in boxes.items():
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"the box of {name} is no part of its picture; give fractions, 0 to 1")
    return boxes.get


class Corners(nn.Module):
    """Latents [N, latent] -> boxes [N, 4], whose corners keep their order."""

    @nn.compact
    def __call__(self, z):
        centre, size = jnp.split(nn.sigmoid(nn.Dense(4)(nn.relu(nn.Dense(64)(z)))), 2, -1)
        return jnp.concatenate([centre - size / 2, centre + size / 2], -1)


def overlap(predicted, truth, data):
    """Return the area that two boxes share over the area that they cover together, for each image."""
    area = lambda boxes: np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), 1)  # noqa: E731
    shared = area(np.hstack([np.maximum(predicted, truth)[:, :2], np.minimum(predicted, truth)[:, 2:]]))
    return shared / np.maximum(area(predicted) + area(truth) - shared, 1e-9)


BOXES = Kind(
    name="box",
    plural="boxes",
    metric="box_iou",
    mean_metric="mean_box_iou",
    shown="IoU {:.3f}",
    network=lambda config, data: Corners(),
    score=overlap,
    marks=lambda boxes, data: {"landmarks": boxes.reshape(-1, 2, 2)},  # two of its corners
    read=read,
    fit=lambda box, stored, wanted: fit_landmarks(box.reshape(2, 2), stored, wanted).ravel(),  # as its picture
)

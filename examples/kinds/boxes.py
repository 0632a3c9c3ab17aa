"""A kind of annotation of one's own: a box around what is dark in a picture, (left, top, right, bottom) as fractions.

Pictures are annotated by the T of this file, and the run is told of the kind:

    python prepare.py faces --detector whole --images DIR --height 32 --width 32 --out data/boxed \\
        --annotator examples/kinds/boxes.py:box
    python train.py demo --height 32 --width 32 --run runs/boxed --data data/boxed --kind examples/kinds/boxes.py:BOXES
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from began_jax import Kind, Unsure


def box(picture):
    """T: a picture, uint8 [H, W, C], -> its box [4]. Yours is a detector, or looks into a file of answers."""
    grey = picture.mean(-1)
    rows, columns = np.nonzero(grey <= np.quantile(grey, 0.1))
    height, width = grey.shape
    if np.ptp(rows) < 2 or np.ptp(columns) < 2:
        raise Unsure("nothing is dark")
    low, high = (columns.min() / width, rows.min() / height), ((columns.max() + 1) / width, (rows.max() + 1) / height)
    return np.array([*low, *high], np.float32)


box.kind = "box"


class Corners(nn.Module):
    """Latents [N, latent] -> boxes [N, 4], whose corners keep their order."""

    @nn.compact
    def __call__(self, z):
        x = nn.relu(nn.Dense(64)(nn.relu(nn.Dense(64)(z))))
        centre, size = nn.sigmoid(nn.Dense(2)(x)), nn.sigmoid(nn.Dense(2)(x))
        return jnp.concatenate([centre - size / 2, centre + size / 2], -1)


def overlap(predicted, truth, data):
    """Return the area that two boxes share over the area that they cover together, for each image."""
    low, high = np.maximum(predicted[:, :2], truth[:, :2]), np.minimum(predicted[:, 2:], truth[:, 2:])
    area = lambda low, high: np.prod(np.maximum(high - low, 0), 1)  # noqa: E731
    shared = area(low, high)
    return shared / np.maximum(area(*np.split(predicted, 2, 1)) + area(*np.split(truth, 2, 1)) - shared, 1e-9)


BOXES = Kind(
    name="box",
    plural="boxes",
    metric="box_iou",
    mean_metric="mean_box_iou",
    shown="IoU {:.3f}",
    network=lambda config, data: Corners(),
    score=overlap,
    marks=lambda boxes, data: {"landmarks": boxes.reshape(-1, 2, 2)},  # two of its corners
)

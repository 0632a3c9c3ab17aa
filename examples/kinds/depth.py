"""A kind of annotation of one's own: a number a pixel, such as its depth; here how bright its surroundings are.

Pictures are annotated by a folder of arrays, NAME.npy of each NAME.jpg, or by the T of this file:

    python prepare.py --images DIR --annotations depths --kind examples/kinds/depth.py:DEPTH --out data/deep
    python prepare.py faces --detector whole --images DIR --annotator examples/kinds/depth.py:depth --out data/deep
    python train.py faces-sharp --run runs/deep --data data/deep --kind examples/kinds/depth.py:DEPTH
"""

import numpy as np
from PIL import Image

from began_jax import Decoder, Kind, moving
from began_jax.images import centre_crop
from began_jax.models.heads import ToMask, factor

SIZE = 16  # rows and columns of a map, which need not be the picture's


def depth(picture):
    """T: a picture, uint8 [H, W, C], -> depths [16, 16, 1]. Yours is a depth network."""
    small = Image.fromarray(picture.mean(-1).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)[..., None] / 255


depth.kind = "depth"


def small(depths, stored, wanted):
    """Cut from depths of a whole picture, however many there are, what it keeps, and average that to [16, 16, 1]."""
    assert depths.ndim == 3 or depths.shape == stored, f"depths are {depths.shape}, and the picture {stored}"
    rows, columns = depths.shape[:2]
    top, left, height, width = np.array(centre_crop(stored, wanted)) * np.tile([rows, columns], 2) / np.tile(stored, 2)
    whole = Image.fromarray(depths.reshape(rows, columns).astype(np.float32))
    kept = whole.resize((SIZE, SIZE), Image.Resampling.BOX, (left, top, left + width, top + height))
    return np.asarray(kept)[..., None]


DEPTH = Kind(
    name="depth",
    plural="depth maps",
    metric="depth_rmse",
    mean_metric="mean_depth_rmse",
    shown="RMSE {:.3f}",
    network=lambda config, data: Decoder(*data.shape, filters=config.filters, poolings=2),
    score=lambda predicted, truth, data: np.sqrt(((predicted - truth) ** 2).mean((1, 2, 3))),
    marks=lambda maps, data: {"captions": [[f"mean {m.mean():.2f}"] for m in maps]},
    head=lambda data: ToMask(factor(data.height, data.width)) if data.shape[0] == data.height else None,
    moves=moving.with_masks,  # maps move with their pictures
    read=lambda path: lambda name: np.load(file) if (file := (path / name).with_suffix(".npy")).exists() else None,
    fit=small,
)

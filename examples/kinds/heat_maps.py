"""A kind of annotation of one's own: a heat map a point, here of the darkest and of the brightest place.

Pictures are annotated by the T of this file, and the run is told of the kind:

    python prepare.py faces --detector whole --images DIR --height 32 --width 32 --out data/heat \\
        --annotator examples/kinds/heat_maps.py:heat
    python train.py demo --height 32 --width 32 --run runs/heat --data data/heat --kind examples/kinds/heat_maps.py:HEAT
"""

import numpy as np
from PIL import Image

from began_jax import Decoder, Kind

SIZE, WIDE = 16, 1.5  # rows and columns of a map; standard deviation of a blob, in its pixels


def heat(picture):
    """T: a picture, uint8 [H, W, C], -> heat maps [16, 16, 2]."""
    small = Image.fromarray(picture.mean(-1).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    places = [np.unravel_index(at, grey.shape) for at in (grey.argmin(), grey.argmax())]
    y, x = np.mgrid[:SIZE, :SIZE]
    maps = [np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * WIDE**2)) for row, column in places]
    return np.stack(maps, -1).astype(np.float32)


heat.kind = "heat"


def peaks(maps):
    """Return the places of the highest values, (x, y) as fractions, [N, points, 2]."""
    at = maps.reshape(len(maps), SIZE * SIZE, -1).argmax(1)
    return (np.stack([at % SIZE, at // SIZE], -1) + 0.5) / SIZE


HEAT = Kind(
    name="heat",
    plural="heat maps",
    metric="peak_error_percent",
    mean_metric="mean_peak_error_percent",
    shown="{:.1f} % of the picture's side",
    network=lambda config, data: Decoder(*data.shape, filters=config.filters, poolings=2),
    score=lambda predicted, truth, data: 100 * np.linalg.norm(peaks(predicted) - peaks(truth), axis=-1).mean(1),
    marks=lambda maps, data: {"landmarks": peaks(maps)},
)

"""A kind of annotation of one's own: a class a pixel, learnt by cross-entropy; here dark, middle and bright.

Pictures are annotated by the T of this file, and the run is told of the kind:

    python prepare.py faces --detector whole --images DIR --height 32 --width 32 --out data/class \\
        --annotator examples/kinds/classes.py:classes
    python train.py demo --height 32 --width 32 --run runs/class --data data/class \\
        --kind examples/kinds/classes.py:CLASSES
"""

import flax.linen as nn
import numpy as np
from PIL import Image

from began_jax import Decoder, Kind, aspects

SIZE, COUNT = 16, 3  # rows and columns of a map; classes


def classes(picture):
    """T: a picture, uint8 [H, W, C], -> one-hot classes [16, 16, 3]. Yours is a person, or a network."""
    small = Image.fromarray(picture.mean(-1).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BOX)
    which = np.digitize(np.asarray(small), [85, 170])
    return np.eye(COUNT, dtype=np.float32)[which]


classes.kind = "classes"


class Probabilities(nn.Module):
    """Latents [N, latent] -> probabilities [N, 16, 16, classes]: the generator's decoder with a softmax."""

    filters: int

    @nn.compact
    def __call__(self, z):
        return nn.softmax(Decoder(SIZE, SIZE, COUNT, filters=self.filters, poolings=2)(z))


def mean_iou(predicted, truth, data):
    """Return the mean over an image's classes of the area shared over the area covered together."""
    p, t = (np.eye(COUNT, dtype=bool)[values.argmax(-1)] for values in (predicted, truth))
    shared, together = (p & t).sum((1, 2)), (p | t).sum((1, 2))
    return np.nanmean(np.where(together > 0, shared / np.maximum(together, 1), np.nan), 1)


CLASSES = Kind(
    name="classes",
    plural="class maps",
    metric="class_iou",
    mean_metric="mean_class_iou",
    shown="IoU {:.3f}",
    network=lambda config, data: Probabilities(config.filters),
    score=mean_iou,
    marks=lambda maps, data: {"captions": [[f"{100 * (m.argmax(-1) == 2).mean():.0f} % bright"] for m in maps]},
    loss=aspects.log_loss,
)

"""BEGAN, inversion of any generator over a data set, and networks from latents to annotations, in JAX.

Pure functions; the caller jits. (`Inverter` and `aspects.Trainer` jit: they put a loop where it runs fastest.) Images
are float32 NHWC in [-1, 1], landmarks (x, y) fractions of width and height [N, K, 2], masks float32 [N, H, W, 1] in
{0, 1}, latents float32 [N, latent].

Nothing here loads TensorFlow Datasets, grain or Orbax; `open_data`, `pretrained`, `Kind` and `KINDS` do when they are
first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from began_jax import aspects, began, inversion, landmarks
from began_jax.annotators.annotator import Unsure
from began_jax.aspects import AspectState
from began_jax.began import BeganState, autoencoder_loss, convergence_measure, next_k
from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
from began_jax.data import augment
from began_jax.data.augment import AugmentConfig, low_quality
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.inversion import Inverter, invert
from began_jax.metrics import Ridge, accuracy_percent, balanced_accuracy_percent, iou, nme_percent
from began_jax.models import AttributeNetwork, Decoder, Discriminator, Encoder, LandmarkNetwork
from began_jax.presets import ASPECT_RECIPES, INVERT_PRESETS, TRAIN_PRESETS
from began_jax.sampling import bootstrap_latents, interpolate, interpolated_latents, uniform_latents

if TYPE_CHECKING:
    from began_jax.data.datasets import open_data
    from began_jax.kinds import KINDS, Kind
    from began_jax.run.weights import pretrained

__version__ = "0.2.0"

__all__ = [
    "ASPECT_RECIPES",
    "INVERT_PRESETS",
    "KINDS",
    "TRAIN_PRESETS",
    "AspectConfig",
    "AspectState",
    "AttributeNetwork",
    "AugmentConfig",
    "BeganState",
    "Decoder",
    "Discriminator",
    "Encoder",
    "InputError",
    "InvertConfig",
    "Inverter",
    "Kind",
    "LandmarkNetwork",
    "Ridge",
    "TrainConfig",
    "Unsure",
    "accuracy_percent",
    "aspects",
    "augment",
    "autoencoder_loss",
    "balanced_accuracy_percent",
    "began",
    "bootstrap_latents",
    "convergence_measure",
    "interpolate",
    "interpolated_latents",
    "inversion",
    "invert",
    "iou",
    "landmarks",
    "low_quality",
    "next_k",
    "nme_percent",
    "open_data",
    "pretrained",
    "to_float",
    "to_uint8",
    "uniform_latents",
]

_LAZY = {
    "open_data": "began_jax.data.datasets",
    "KINDS": "began_jax.kinds",
    "Kind": "began_jax.kinds",
    "pretrained": "began_jax.run.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

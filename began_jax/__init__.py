"""BEGAN, inversion of any generator over a data set, and networks from latents to annotations, in JAX.

Pure functions; the caller jits. (`Inverter` and `aspects.Trainer` jit: they put a loop where it runs fastest.) Images
are float32 NHWC in [-1, 1], landmarks (x, y) fractions of width and height [N, K, 2], masks float32 [N, H, W, 1] in
{0, 1}, latents float32 [N, latent].

Each name is loaded when it is first used, so that `import began_jax` costs nothing; only `open_data`, `pretrained`,
`Kind` and `KINDS` load TensorFlow Datasets, grain or Orbax.

    began.fit       images -> a generator, and an encoder beside it
    invert_all      images -> the latents that any generator makes them from
    fit_aspect      latents -> any annotation
"""

import importlib
from typing import TYPE_CHECKING, Any

from began_jax.logs import root_kept

if TYPE_CHECKING:
    from began_jax import aspects, began, inversion, landmarks
    from began_jax.annotators.annotator import Unsure
    from began_jax.aspects import Aspect, AspectState, fit_aspect
    from began_jax.began import BeganState, Trained, autoencoder_loss, convergence_measure, next_k
    from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
    from began_jax.data import augment
    from began_jax.data.augment import AugmentConfig, low_quality
    from began_jax.data.datasets import open_data
    from began_jax.errors import DivergedError, InputError
    from began_jax.images import to_float, to_uint8
    from began_jax.inversion import Inversion, Inverter, Objective, invert, invert_all
    from began_jax.kinds import KINDS, Kind
    from began_jax.metrics import Ridge, accuracy_percent, balanced_accuracy_percent, iou, nme_percent
    from began_jax.models import AttributeNetwork, Decoder, Discriminator, Encoder, LandmarkNetwork, MultilayerNetwork
    from began_jax.presets import ASPECT_RECIPES, INVERT_PRESETS, TRAIN_PRESETS
    from began_jax.run.generator import Generator
    from began_jax.run.weights import pretrained
    from began_jax.sampling import bootstrap_latents, interpolate, interpolated_latents, uniform_latents

__version__ = "0.3.0.dev0"

__all__ = [
    "ASPECT_RECIPES",
    "INVERT_PRESETS",
    "KINDS",
    "TRAIN_PRESETS",
    "Aspect",
    "AspectConfig",
    "AspectState",
    "AttributeNetwork",
    "AugmentConfig",
    "BeganState",
    "Decoder",
    "Discriminator",
    "DivergedError",
    "Encoder",
    "Generator",
    "InputError",
    "Inversion",
    "InvertConfig",
    "Inverter",
    "Kind",
    "LandmarkNetwork",
    "MultilayerNetwork",
    "Objective",
    "Ridge",
    "TrainConfig",
    "Trained",
    "Unsure",
    "accuracy_percent",
    "aspects",
    "augment",
    "autoencoder_loss",
    "balanced_accuracy_percent",
    "began",
    "bootstrap_latents",
    "convergence_measure",
    "fit_aspect",
    "interpolate",
    "interpolated_latents",
    "inversion",
    "invert",
    "invert_all",
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

_MODULES = {name: f"began_jax.{name}" for name in ("aspects", "began", "inversion", "landmarks")}
_MODULES["augment"] = "began_jax.data.augment"
_NAMES = {
    "began_jax.annotators.annotator": "Unsure",
    "began_jax.aspects": "Aspect AspectState fit_aspect",
    "began_jax.began": "BeganState Trained autoencoder_loss convergence_measure next_k",
    "began_jax.configs": "AspectConfig InvertConfig TrainConfig",
    "began_jax.data.augment": "AugmentConfig low_quality",
    "began_jax.data.datasets": "open_data",
    "began_jax.errors": "InputError DivergedError",
    "began_jax.images": "to_float to_uint8",
    "began_jax.inversion": "Inversion Inverter Objective invert invert_all",
    "began_jax.kinds": "KINDS Kind",
    "began_jax.metrics": "Ridge accuracy_percent balanced_accuracy_percent iou nme_percent",
    "began_jax.models": "AttributeNetwork Decoder Discriminator Encoder LandmarkNetwork MultilayerNetwork",
    "began_jax.presets": "ASPECT_RECIPES INVERT_PRESETS TRAIN_PRESETS",
    "began_jax.run.generator": "Generator",
    "began_jax.run.weights": "pretrained",
    "began_jax.sampling": "bootstrap_latents interpolate interpolated_latents uniform_latents",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with root_kept():
        module = importlib.import_module(_MODULE_OF[name])
    globals()[name] = found = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

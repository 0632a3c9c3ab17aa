"""BEGAN, inversion of any generator over a data set, and networks from latents to annotations, in JAX.

Pure functions; the caller jits. (`Inverter` and `aspects.Trainer` jit: they put a loop where it runs fastest.) Images
are float32 NHWC in [-1, 1], landmarks (x, y) fractions of width and height [N, K, 2], masks float32 [N, H, W, 1] in
{0, 1}, latents float32 [N, latent].
"""

from began_jax import aspects as aspects
from began_jax import augment as augment
from began_jax import began as began
from began_jax import inversion as inversion
from began_jax import landmarks as landmarks
from began_jax.annotators.annotator import Unsure as Unsure
from began_jax.aspects import AspectState as AspectState
from began_jax.augment import AugmentConfig as AugmentConfig
from began_jax.augment import low_quality as low_quality
from began_jax.began import BeganState as BeganState
from began_jax.began import autoencoder_loss as autoencoder_loss
from began_jax.began import convergence_measure as convergence_measure
from began_jax.began import next_k as next_k
from began_jax.configs import ASPECT_RECIPES as ASPECT_RECIPES
from began_jax.configs import INVERT_PRESETS as INVERT_PRESETS
from began_jax.configs import TRAIN_PRESETS as TRAIN_PRESETS
from began_jax.configs import AspectConfig as AspectConfig
from began_jax.configs import InvertConfig as InvertConfig
from began_jax.configs import TrainConfig as TrainConfig
from began_jax.data.datasets import open_data as open_data
from began_jax.errors import InputError as InputError
from began_jax.images import to_float as to_float
from began_jax.images import to_uint8 as to_uint8
from began_jax.inversion import invert as invert
from began_jax.inverter import Inverter as Inverter
from began_jax.kinds import KINDS as KINDS
from began_jax.kinds import Kind as Kind
from began_jax.metrics import Ridge as Ridge
from began_jax.metrics import accuracy_percent as accuracy_percent
from began_jax.metrics import balanced_accuracy_percent as balanced_accuracy_percent
from began_jax.metrics import iou as iou
from began_jax.metrics import nme_percent as nme_percent
from began_jax.models import AttributeNetwork as AttributeNetwork
from began_jax.models import Decoder as Decoder
from began_jax.models import Discriminator as Discriminator
from began_jax.models import Encoder as Encoder
from began_jax.models import LandmarkNetwork as LandmarkNetwork
from began_jax.sampling import bootstrap_latents as bootstrap_latents
from began_jax.sampling import interpolate as interpolate
from began_jax.sampling import interpolated_latents as interpolated_latents
from began_jax.sampling import uniform_latents as uniform_latents

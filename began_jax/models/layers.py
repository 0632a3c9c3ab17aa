"""Layers of appendix A, written so that they cost less than their plain definitions and equal them exactly."""

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from began_jax.sharding import freed


@runtime_checkable
class Network(Protocol):
    """What a network must have: a flax linen module has it, and whatever gives and takes its parameters likewise."""

    def init(self, *args: Any, **options: Any) -> Any:
        """Return {"params": parameters} of a key and of inputs that are like those to come."""
        ...

    def apply(self, *args: Any, **options: Any) -> Any:
        """Return the outputs [batch, ...] of {"params": parameters} and inputs [batch, ...]."""
        ...


def apply(network: Network, parameters: Any, inputs: Any) -> Any:
    """Return the outputs [batch, ...] of a network for inputs [batch, ...], which may be split over Explicit axes."""
    return freed(lambda p, x: network.apply({"params": p}, x), parameters, inputs, like=inputs)


@jax.custom_jvp
def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return x where positive, e^x - 1 elsewhere: `jax.nn.elu` to one rounding of 1, and so is its derivative."""
    # expm1 is exact near 0, where ELU does not need it, and several times slower than exp on a CPU. In bfloat16 the
    # difference would lose what is below 0.004, so it is taken in float32.
    low = jnp.minimum(x, 0).astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.where(x > 0, x, (jnp.exp(low) - 1).astype(x.dtype))


@elu.defjvp
def _elu_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    y = elu(x)
    # From y alone, which the next layer keeps anyway: neither x nor e^x has to be kept for the backward pass. In
    # bfloat16 y is rounded, by at most 1/512, and so is the slope.
    slope = jnp.minimum(y, 0).astype(jnp.promote_types(y.dtype, jnp.float32)) + 1
    return y, slope.astype(y.dtype) * tangent


def nearest_upsample(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height2 width2 channels"]:
    """Repeat every pixel 2x2 times (nearest neighbour)."""
    # jnp.repeat twice: the gradient of jax.image.resize(..., "nearest") is several times slower on CPU.
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def average_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height2 width2 channels"]:
    """Return the mean of each 2x2 block; height and width must be even."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def patches(x: Float[Array, "batch height width channels"], size: int) -> Float[Array, "batch height2 width2 features"]:
    """Return each block of size x size pixels as one pixel of size^2 times the channels (space to depth)."""
    if size == 1:
        return x
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // size, width // size, size * size * channels)


def conv(x: Array, kernel: Array, padding: str = "SAME") -> Array:
    """Return the NHWC convolution with an HWIO kernel and stride 1."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def upsample_conv(
    x: Float[Array, "batch height width channels"], kernel: Float[Array, "3 3 channels features"]
) -> Float[Array, "batch height2 width2 features"]:
    """Return `conv(nearest_upsample(x), kernel)` computed at the low resolution: 16/36 of the multiplications.

    After nearest up-sampling several taps of the 3x3 kernel fall on one source pixel. Summed, they make a 2x2
    kernel for each of the four output phases; one 2x2 convolution with 4 x features outputs serves all four.
    """
    batch, height, width, _ = x.shape
    features = kernel.shape[-1]

    def phases(taps):  # [3, ...] -> [2 phases, 2 taps, ...]
        return jnp.stack([jnp.stack([taps[0], taps[1] + taps[2]]), jnp.stack([taps[0] + taps[1], taps[2]])])

    by_row = phases(kernel)  # [phase row, tap row, 3, in, out]
    both = phases(jnp.moveaxis(by_row, 2, 0))  # [phase column, tap column, phase row, tap row, in, out]
    low = jnp.transpose(both, (3, 1, 4, 2, 0, 5)).reshape(2, 2, kernel.shape[2], 4 * features)
    y = conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), low.astype(x.dtype), "VALID")
    y = y.reshape(batch, height + 1, width + 1, 2, 2, features)
    rows = [
        jnp.stack([y[:, r : r + height, c : c + width, r, c] for c in (0, 1)], axis=3) for r in (0, 1)
    ]  # [batch, height, width, 2, features] each
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, features)


class UpsampleConv(nn.Module):
    """Nearest x2 up-sampling, then a 3x3 convolution with bias, computed in `dtype` (None: that of the input)."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width features"]) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = upsample_conv(x.astype(self.dtype or x.dtype), kernel)
        return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


class PoolProject(nn.Module):
    """The red layers of fig. A.1: a linear 1x1 convolution and 2x2 average pooling.

    The two commute, so pooling comes first and the convolution has a quarter of the pixels.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width features"]) -> Array:
        return nn.Conv(self.features, (1, 1), dtype=self.dtype, name="conv1x1")(average_pool(x))

"""Layers of appendix A, written so that they cost less than their plain definitions and equal them exactly."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x where positive, e^x - 1 elsewhere; equals `jax.nn.elu` to one rounding of 1."""
    # expm1 is exact near 0, where ELU does not need it, and several times slower than exp on a CPU. In bfloat16 the
    # difference would lose what is below 0.004, so it is taken in float32.
    low = jnp.minimum(x, 0).astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.where(x > 0, x, (jnp.exp(low) - 1).astype(x.dtype))


def nearest_upsample(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height2 width2 channels"]:
    """Repeat every pixel 2x2 times (nearest neighbour)."""
    # jnp.repeat twice: the gradient of jax.image.resize(..., "nearest") is several times slower on CPU.
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def average_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height2 width2 channels"]:
    """Mean of each 2x2 block; height and width must be even."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def conv(x: Array, kernel: Array, padding: str = "SAME") -> Array:
    """NHWC convolution with an HWIO kernel and stride 1."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def trained_conv(x: Array, kernel: Array, padding: str = "SAME") -> Array:
    """`conv` whose kernel's gradient takes about half the time on a CPU; it has no forward-mode derivative."""
    return conv(x, kernel, padding)


def _trained_conv_forward(x, kernel, padding):
    return conv(x, kernel, padding), (x, kernel)


def _trained_conv_backward(padding, kept, g):
    x, kernel = kept
    (of_x,) = jax.linear_transpose(lambda x: conv(x, kernel, padding), x)(g)

    def usual(x, g):
        return jax.linear_transpose(lambda kernel: conv(x, kernel, padding), kernel)(g)[0]

    def by_rows(x, g):
        pads = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (1, 1), padding)
        return kernel_gradient(jnp.pad(x, ((0, 0), *pads, (0, 0))), g)

    return of_x, jax.lax.platform_dependent(x, g, cpu=by_rows, default=usual)


trained_conv.defvjp(_trained_conv_forward, _trained_conv_backward)


def kernel_gradient(
    x: Float[Array, "batch height width channels"], g: Float[Array, "batch height2 width2 features"]
) -> Float[Array, "rows columns channels features"]:
    """Gradient of an unpadded convolution's kernel, from its input and the cotangent of its output.

    XLA's own convolves over images as channels, whose few values in a row leave a CPU's vector units idle. Here a
    row's pixels of all images are the channels of a convolution along the height; the kernel's columns are copies of
    one side, shifted along the width. That side is the one with fewer channels.
    """
    if x.shape[3] <= g.shape[3]:
        return _correlate_rows(x, g)
    rows, columns = (a - b for a, b in zip(x.shape[1:3], g.shape[1:3], strict=True))
    around = jnp.pad(g, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    return jnp.swapaxes(_correlate_rows(around, x), 2, 3)[::-1, ::-1]


def _correlate_rows(wide: Array, narrow: Array) -> Array:
    """sum over b, h, w of wide[b, h + i, w + j, c] narrow[b, h, w, d] at [i, j, c, d]."""
    batch, height, width, features = narrow.shape
    columns = wide.shape[2] - width + 1
    shifted = jnp.stack([wide[:, :, j : j + width] for j in range(columns)])  # [columns, batch, rows, width, channels]
    rows = jnp.transpose(shifted, (0, 4, 2, 1, 3)).reshape(columns * wide.shape[3], wide.shape[1], batch * width)
    window = jnp.transpose(narrow, (1, 0, 2, 3)).reshape(height, batch * width, features)
    found = jax.lax.conv_general_dilated(rows, window, (1,), "VALID", dimension_numbers=("NHC", "HIO", "NHC"))
    return jnp.transpose(found.reshape(columns, wide.shape[3], -1, features), (2, 0, 1, 3))


def upsample_conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 channels features"],
    convolve: Callable = conv,
) -> Float[Array, "batch height2 width2 features"]:
    """`conv(nearest_upsample(x), kernel)` computed at the low resolution: 16/36 of the multiplications.

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
    y = convolve(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), low.astype(x.dtype), "VALID")
    y = y.reshape(batch, height + 1, width + 1, 2, 2, features)
    rows = [
        jnp.stack([y[:, r : r + height, c : c + width, r, c] for c in (0, 1)], axis=3) for r in (0, 1)
    ]  # [batch, height, width, 2, features] each
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, features)


class Conv(nn.Module):
    """A convolution with bias and stride 1 that keeps the size, computed in `dtype` (None: that of the input or more).

    Args:
      features: channels of the output.
      size: of the kernel, a side.
      dtype: of the computation.
      trained: the kernel's gradient will be asked for (`trained_conv`).
    """

    features: int
    size: int = 3
    dtype: Any = None
    trained: bool = False

    @nn.compact
    def __call__(self, x):
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return (trained_conv if self.trained else conv)(x, kernel, "SAME") + bias.reshape(1, 1, 1, -1)


class UpsampleConv(nn.Module):
    """Nearest x2 up-sampling, then a 3x3 convolution as `Conv`'s."""

    features: int
    dtype: Any = None
    trained: bool = False

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = upsample_conv(x.astype(self.dtype or x.dtype), kernel, trained_conv if self.trained else conv)
        return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


class PoolProject(nn.Module):
    """The red layers of fig. A.1: a linear 1x1 convolution and 2x2 average pooling.

    The two commute, so pooling comes first and the convolution has a quarter of the pixels.
    """

    features: int
    dtype: Any = None
    trained: bool = False

    @nn.compact
    def __call__(self, x):
        return Conv(self.features, 1, self.dtype, self.trained, name="conv1x1")(average_pool(x))

"""Networks from images, or maps such as a generator's inner layers, to annotations.

Landmarks are read out as heat maps: each point is the mean place under a softmax over the pixels (soft-argmax; Luvizon
et al., 2019; Nibali et al., 2018). A network that does so learns from a few dozen images what a dense layer does not
learn from thousands, since a heat map moves with the picture.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from began_jax.models.layers import PoolProject, UpsampleConv, elu, nearest_upsample, patches

WIDTHS = (32, 64, 96)  # channels of the scales
GROUPS = 8  # of a layer's channels, each normalised as one (Wu and He, 2018)
BEYOND = 1.2  # heat maps reach this much of the picture, so that a mean place can lie at its edge

Maps = Float[Array, "batch height width features"]
Smaller = Float[Array, "batch height2 width2 features2"]


class UNet(nn.Module):
    """Maps [batch, height, width, features] -> maps of `widths[scale]` channels at a scale (Ronneberger et al., 2015).

    Args:
        widths: channels of the scales, which are fewer where height and width cannot be halved so often.
        scale: of the result: 0 for the input's height and width, 1 for half of them.
        dtype: of the computation; None: float32.
    """

    widths: tuple[int, ...] = WIDTHS
    scale: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Maps) -> Smaller:
        x = nn.Dense(self.widths[0], dtype=self.dtype)(x)
        found = []
        for scale, width in enumerate(self.widths[: _scales(x.shape[1], x.shape[2], len(self.widths))]):
            x = PoolProject(width, self.dtype)(x) if scale else x
            x = self._block(x, width)
            found.append(x)
        x = self._block(x, x.shape[-1])
        while len(found) > 1 and len(found) - 1 > self.scale:
            found.pop()
            across = found[-1]
            width = across.shape[-1]
            x = self._block(jnp.concatenate([UpsampleConv(width, self.dtype)(x), across], -1), width)
        return x

    def _block(self, x: Maps, width: int) -> Float[Array, "batch height width out"]:
        groups = next(n for n in range(min(GROUPS, width), 0, -1) if width % n == 0)
        return elu(nn.GroupNorm(groups, dtype=self.dtype)(nn.Conv(width, (3, 3), dtype=self.dtype)(x)))


class ToLandmarks(nn.Module):
    """Maps [batch, height, width, features] -> landmarks [batch, points, 2], fractions of width and height."""

    points: int
    widths: tuple[int, ...] = WIDTHS
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Maps) -> Float[Array, "batch points 2"]:
        x = UNet(self.widths, 1, self.dtype)(x)
        heat = nn.Dense(self.points)(x.astype(jnp.float32))
        batch, height, width, _ = heat.shape
        shares = jax.nn.softmax(heat.reshape(batch, -1, self.points), axis=1)
        y, x = jnp.meshgrid((jnp.arange(height) + 0.5) / height, (jnp.arange(width) + 0.5) / width, indexing="ij")
        places = 0.5 + BEYOND * (jnp.stack([x, y], -1).reshape(-1, 2) - 0.5)
        return jnp.einsum("nkp,kc->npc", shares, places, precision=jax.lax.Precision.HIGHEST)


class ToMask(nn.Module):
    """Maps [batch, height, width, features] -> masks [batch, factor height, factor width, 1], linear output."""

    factor: int = 2
    widths: tuple[int, ...] = WIDTHS
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Maps) -> Float[Array, "batch height2 width2 1"]:
        x = UNet(self.widths, 0, self.dtype)(x)
        return from_patches(nn.Conv(self.factor**2, (3, 3))(x.astype(jnp.float32)), self.factor)


class OnImages(nn.Module):
    """Images [batch, height, width, channels] -> what a head makes of them, factor x factor pixels as one."""

    head: nn.Module
    factor: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch ..."]:
        return self.head(patches(x, self.factor))


def factor(height: int, width: int) -> int:
    """Return by how much maps that are looked at are smaller than images of a size: 2 where both are even, else 1."""
    return 1 if height % 2 or width % 2 else 2


def from_patches(x: Float[Array, "batch height width features"], size: int) -> Float[Array, "batch height2 width2 1"]:
    """Return size^2 channels as size x size pixels: the inverse of `patches`."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, size, size).transpose(0, 1, 3, 2, 4)
    return x.reshape(batch, size * height, size * width, 1)


def together(maps: list[Array], height: int) -> Maps:
    """Return maps of several sizes as one of a height: coarser ones repeated, patches of finer ones as channels."""

    def resized(x: Array) -> Array:
        while x.shape[1] < height:
            x = nearest_upsample(x)
        return patches(x, x.shape[1] // height)

    return jnp.concatenate([resized(x) for x in maps], -1)


class ImageToVector(nn.Module):
    """Images [batch, height, width, channels] -> annotations [batch, *shape]: a convolution a scale, two dense layers.

    A quarter of the work of the encoder of fig. A.1, and as good a T.
    """

    widths: tuple[int, ...]
    shape: tuple[int, ...]
    patch: int = 1  # pixels a side of what it sees in the pixels' place, as E
    dtype: Any = None  # of all layers but the last; None: float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch ..."]:
        x = patches(x, self.patch)
        for scale, width in enumerate(self.widths):
            x = PoolProject(width, self.dtype)(x) if scale else x
            x = elu(nn.Conv(width, (3, 3), dtype=self.dtype)(x))
        x = elu(nn.Dense(128, dtype=self.dtype)(x.reshape(len(x), -1)))
        return nn.Dense(int(np.prod(self.shape)))(x.astype(jnp.float32)).reshape(-1, *self.shape)


class ImageToMask(nn.Module):
    """Images [batch, height, width, channels] -> masks [batch, height, width, 1], a U-Net of the paper's layers."""

    widths: tuple[int, ...]
    dtype: Any = None  # of all layers but the last; None: float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width 1"]:
        skipped = []
        for scale, width in enumerate(self.widths):
            x = PoolProject(width, self.dtype)(x) if scale else x
            x = elu(nn.Conv(width, (3, 3), dtype=self.dtype)(x))
            skipped.append(x)
        for width, across in zip(self.widths[-2::-1], skipped[-2::-1], strict=True):
            x = jnp.concatenate([UpsampleConv(width, self.dtype)(x), across], -1)
            x = elu(nn.Conv(width, (3, 3), dtype=self.dtype)(x))
        return nn.Conv(1, (3, 3))(x.astype(jnp.float32))


def _scales(height: int, width: int, most: int) -> int:
    """Return how many scales there are, each half of the one before, at most so many."""
    count = 1
    while count < most and height % 2 == 0 and width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return count

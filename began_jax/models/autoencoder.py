"""Encoder, decoder and autoencoding discriminator of BEGAN (figs. A.1 and A.2); the decoder is the generator.

With `dtype` bfloat16 all layers but the last compute in it. Parameters and outputs are float32 whatever it is.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from began_jax.errors import InputError
from began_jax.models.layers import PoolProject, UpsampleConv, elu, patches


class Decoder(nn.Module):
    """Latents [batch, latent] -> images [batch, height, width, channels], linear output (fig. A.2).

    Args:
        height, width: of the images; each divisible by 2**poolings.
        channels: 1 (grey) or 3 (RGB).
        filters: channels of every hidden convolution (64 in the paper).
        poolings: number of up-samplings (3 in the paper: 128x128 starts at 16x16).
        dtype: of the computation; None: float32.
        remat: keep only what each scale starts from for the gradient, and compute the rest again, scale by scale.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import Decoder
        >>> decoder = Decoder(height=16, width=24, channels=3, filters=4, poolings=2)
        >>> variables = decoder.init(jax.random.key(0), jnp.zeros((1, 8)))
        >>> decoder.apply(variables, jnp.ones((5, 8))).shape
        (5, 16, 24, 3)
    """

    height: int
    width: int
    channels: int
    filters: int = 64
    poolings: int = 3
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"], with_features: bool = False) -> Any:
        """Return images, and where asked the list of what each scale ends with [batch, h, w, filters]."""
        check_size(self.height, self.width, self.poolings)
        h, w = self.height >> self.poolings, self.width >> self.poolings
        x = nn.Dense(h * w * self.filters, dtype=self.dtype, name="dense")(z).reshape(-1, h, w, self.filters)
        features = _through_scales(self, x, self.poolings + 1)
        images = nn.Conv(self.channels, (3, 3), name="output")(features[-1])
        return (images, features) if with_features else images

    def _scale(self, x: Array, scale: int) -> Array:
        if scale == 0:
            x = elu(nn.Conv(self.filters, (3, 3), dtype=self.dtype, name="conv0a")(x))
        else:
            x = elu(UpsampleConv(self.filters, self.dtype, name=f"upconv{scale}a")(x))
        return elu(nn.Conv(self.filters, (3, 3), dtype=self.dtype, name=f"conv{scale}b")(x))


class Encoder(nn.Module):
    """Images [batch, height, width, channels] -> codes [batch, latent], linear output (fig. A.1).

    Args:
        widths: channels at each scale; one pooling between neighbours ((64, 128, 192, 256) in the paper).
        latent_size: length of the code.
        dtype, remat: see `Decoder`.
        patch: pixels a side of the patches that take the pixels' place at the first scale, which then has one layer
            fewer; 1: none, as in the paper. With 2 an encoder costs half on a CPU.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import Encoder
        >>> encoder = Encoder(widths=(4, 6), latent_size=8)
        >>> variables = encoder.init(jax.random.key(0), jnp.zeros((1, 16, 24, 3)))
        >>> encoder.apply(variables, jnp.ones((5, 16, 24, 3))).shape
        (5, 8)
    """

    widths: tuple[int, ...] = (64, 128, 192, 256)
    latent_size: int = 64
    dtype: Any = None
    remat: bool = False
    patch: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], with_features: bool = False) -> Any:
        """Return codes [batch, latent], and where asked the list of what each scale ends with [batch, h, w, width]."""
        poolings = len(self.widths) - 1
        check_size(x.shape[1], x.shape[2], poolings, self.patch)
        features = _through_scales(self, patches(x, self.patch), poolings + 1)
        code = nn.Dense(self.latent_size, name="dense")(features[-1].reshape(x.shape[0], -1))
        return (code, features) if with_features else code

    def _scale(self, x: Array, scale: int) -> Array:
        width = self.widths[scale]
        if scale == 0:
            x = elu(nn.Conv(width, (3, 3), dtype=self.dtype, name="input")(x))
        else:
            x = PoolProject(width, dtype=self.dtype, name=f"pool{scale}")(x)
        if scale or self.patch == 1:
            x = elu(nn.Conv(width, (3, 3), dtype=self.dtype, name=f"conv{scale}a")(x))
        return elu(nn.Conv(width, (3, 3), dtype=self.dtype, name=f"conv{scale}b")(x))


def _through_scales(network: Encoder | Decoder, x: Array, count: int) -> list[Array]:
    """Return what each scale ends with."""
    scale: Any = type(network)._scale
    if network.remat:
        scale = nn.remat(scale, static_argnums=2)
    ends = []
    for i in range(count):
        x = scale(network, x, i)
        ends.append(x)
    return ends


class LatentEncoder(nn.Module):
    """Images [batch, height, width, channels] -> latents [batch, latent] in the cube (-1, 1)^latent.

    The encoder of fig. A.1 with a tanh: an approximate inverse of the generator, beyond the paper.
    """

    widths: tuple[int, ...] = (64, 128, 192, 256)
    latent_size: int = 64
    dtype: Any = None
    remat: bool = False
    patch: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch latent"]:
        return jnp.tanh(self._network(name="encoder")(x))

    def features(self, parameters: Any, x: Float[Array, "batch height width channels"]) -> list[Array]:
        """Return what each scale ends with, [batch, h, w, width]."""
        network = self._network(parent=None)
        found: Any = network.apply({"params": parameters["encoder"]}, x, with_features=True)
        return found[1]

    def _network(self, **place: Any) -> Encoder:
        return Encoder(self.widths, self.latent_size, self.dtype, self.remat, self.patch, **place)


class Discriminator(nn.Module):
    """The autoencoder D of A.1: images -> reconstructed images of the same shape."""

    height: int
    width: int
    channels: int
    filters: int = 64
    widths: tuple[int, ...] = (64, 128, 192, 256)
    latent_size: int = 64
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
        code = Encoder(self.widths, self.latent_size, self.dtype, self.remat, name="encoder")(x)
        shape = (self.height, self.width, self.channels)
        poolings = len(self.widths) - 1
        return Decoder(*shape, self.filters, poolings, self.dtype, self.remat, name="decoder")(code)


def check_size(height: int, width: int, poolings: int, patch: int = 1, what: str = "poolings") -> None:
    """Raise InputError unless height and width are divisible by the down-sampling factor, patch * 2**poolings."""
    factor = patch * 2**poolings
    if height % factor or width % factor or min(height, width) < factor:
        near = [max(factor, round(n / factor) * factor) for n in (height, width)]
        of = f"{poolings} {what}" + (f" of {patch}x{patch} patches" if patch > 1 else "")
        raise InputError(
            f"image size {height}x{width} (height x width) is not divisible by {factor} ({of}); "
            f"the nearest that is: {near[0]}x{near[1]}"
        )

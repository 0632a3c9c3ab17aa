"""How the encoder E and the generator G learn to reconstruct, beyond the paper (--encoder-weight).

    w (R(x, G(E(x))) + |E(G(z)) - z|^2 + moment mismatch of E(x))

The first part makes G able to draw every image of the data set, the second teaches E to invert G, the third makes the
latents of the data set fill the cube that z is drawn from. G learns from the first part alone. R is the mean absolute
difference of the pixels, or of the levels of a Laplacian pyramid, and may have that of the discriminator's features
beside it: pixels alone are drawn best as the mean of all that could be there, which is a face without a mouth.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from began_jax.configs import TrainConfig
from began_jax.models import apply
from began_jax.models.configured import discriminator_encoder, encoder_network, networks
from began_jax.models.layers import average_pool, nearest_upsample

Images = Float[Array | np.ndarray, "batch height width channels"]

DETAIL = 2.0  # weight of each level of the pyramid's differences, beside 1 of what is left below them
END = 0.999  # of the tanh: codes beyond it count as -1 or 1


def pixel_difference(x: Images, y: Images) -> Float[Array, ""]:
    """Return the mean absolute difference of two batches."""
    return jnp.abs(x - y).mean((1, 2, 3)).mean()


def pyramid_difference(x: Images, y: Images, levels: int) -> Float[Array, ""]:
    """Return the mean absolute difference over a Laplacian pyramid (Burt and Adelson, 1983; for generators, GLO).

    A level is what is lost by halving the picture. Each counts `DETAIL` times, and what is left below them once: so
    an edge of two pixels weighs as much as a shade over half of the picture.

    Args:
        x, y: images; height and width divisible by 2^levels.
        levels: of differences.
    """
    rest, total = jnp.asarray(x - y), jnp.zeros(())
    for _ in range(levels):
        half = average_pool(rest)
        total += DETAIL * jnp.abs(rest - nearest_upsample(half)).mean()
        rest = half
    return total + jnp.abs(rest).mean()


def feature_difference(wanted: Sequence[Array | np.ndarray], found: Sequence[Array | np.ndarray]) -> Float[Array, ""]:
    """Return the mean absolute difference of features, each scale in units of its own mean absolute deviation.

    Args:
        wanted: those of the data's images, [batch, h, w, features] a scale; they are what is aimed at, and constant.
        found: those of the reconstructions.
    """
    total = jnp.zeros(())
    for a, b in zip(wanted, found, strict=True):
        a, b = (jnp.asarray(v, jnp.float32) for v in (jax.lax.stop_gradient(a), b))
        deviation = jnp.abs(a - a.mean((0, 1, 2), keepdims=True)).mean()
        total += jnp.abs(a - b).mean() / (deviation + 1e-6)
    return total


def moment_mismatch(codes: Float[Array, "batch latent"]) -> Float[Array, ""]:
    """Return how far the first two moments of the codes' distribution are from those of the uniform cube, 0 and I/3.

    An unbiased estimate of (|mean|^2 + |C - I/3|^2) / latent from pairs of different codes, C the second moment
    (a polynomial kernel's MMD), so it may be slightly negative. A batch's own covariance would be biased: 16 codes
    have rank 16.
    """
    batch, size = codes.shape
    products = codes @ codes.T
    off_diagonal = (products + products**2) * (1 - jnp.eye(batch))
    return (off_diagonal.sum() / (batch * (batch - 1)) - 2 / 3 * (codes**2).sum(1).mean() + size / 9) / size


def encoder_loss(
    config: TrainConfig,
    encoder: Any,
    generator: Any,
    discriminator: Any,
    x: Images,
    generated: Images,
    z: Float[Array, "batch latent"],
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Float[Array, ""]]]:
    """Return the whole loss, R of the pixels or of the pyramid, and the share of codes at an end of E's tanh."""
    network = encoder_network(config)
    code = apply(network, encoder, x)
    y = apply(networks(config)[0], generator, code)
    levels = config.pyramid_levels
    reconstruction = pyramid_difference(x, y, levels) if levels else pixel_difference(x, y)
    total = reconstruction
    if config.feature_weight:
        total += config.feature_weight * feature_difference(
            *(_features(config, jax.lax.stop_gradient(discriminator), v) for v in (x, y))
        )
    consistency = ((apply(network, encoder, generated) - z) ** 2).mean()
    saturated = (jnp.abs(code) > END).mean()
    return config.encoder_weight * (total + consistency + moment_mismatch(code)), (reconstruction, saturated)


def _features(config: TrainConfig, discriminator: Any, images: Images) -> list[Array]:
    """Return what each scale of the discriminator's encoder ends with."""
    parameters = discriminator if config.objective == "relativistic" else discriminator["encoder"]
    found: Any = discriminator_encoder(config).apply({"params": parameters}, images, with_features=True)
    return found[1]


def gradients(
    config: TrainConfig, state: Any, x: Images, generated: Images, z: Float[Array, "batch latent"]
) -> tuple[Any, Any, dict[str, Array]]:
    """Return the gradients of the loss with respect to E and to G, and `reconstruction` R and `saturated`."""

    def loss(encoder, generator):
        return encoder_loss(config, encoder, generator, state.discriminator, x, generated, z)

    (_, (reconstruction, saturated)), found = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        state.encoder, state.generator
    )
    return *found, {"reconstruction": reconstruction, "saturated": saturated}

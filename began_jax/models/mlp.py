"""Aspect networks G_a: latent -> annotation, those of table 2 (a mask's is the generator's decoder)."""

import math

import flax.linen as nn
from jaxtyping import Array, Float


def _multilayer(
    z: Float[Array, "batch latent"], hidden: tuple[int, ...], outputs: int
) -> Float[Array, "batch outputs"]:
    """Apply the layers of table 2, ReLU and at the end a sigmoid; they belong to the module that calls this."""
    return nn.sigmoid(nn.Dense(outputs, name="output")(_hidden(z, hidden)))


def _hidden(x: Float[Array, "batch features"], widths: tuple[int, ...]) -> Float[Array, "batch width"]:
    for i, width in enumerate(widths):
        x = nn.relu(nn.Dense(width, name=f"hidden{i}")(x))
    return x


class LandmarkNetwork(nn.Module):
    """Latents [batch, latent] -> landmarks [batch, points, 2] in (0, 1), the network of table 2.

    Args:
        points: number of landmarks (49 in the paper: 98 outputs).
        hidden: widths of the ReLU layers.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import LandmarkNetwork
        >>> network = LandmarkNetwork(points=49)
        >>> variables = network.init(jax.random.key(0), jnp.zeros((1, 64)))
        >>> network.apply(variables, jnp.ones((3, 64))).shape
        (3, 49, 2)
    """

    points: int = 49
    hidden: tuple[int, ...] = (128, 128, 128)

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch points 2"]:
        return _multilayer(z, self.hidden, 2 * self.points).reshape(-1, self.points, 2)


class AttributeNetwork(nn.Module):
    """Latents [batch, latent] -> attributes [batch, attributes] in (0, 1), the network of table 2 with other outputs.

    Args:
        attributes: number of them.
        hidden: widths of the ReLU layers.
    """

    attributes: int
    hidden: tuple[int, ...] = (128, 128, 128)

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch attributes"]:
        return _multilayer(z, self.hidden, self.attributes)


class MultilayerNetwork(nn.Module):
    """Latents [batch, ...] -> any numbers [batch, *shape]: the hidden layers of table 2, and a linear one.

    Args:
        shape: of what it gives for a latent.
        hidden: widths of the ReLU layers.
    """

    shape: tuple[int, ...]
    hidden: tuple[int, ...] = (128, 128, 128)

    @nn.compact
    def __call__(self, z: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        x = _hidden(z.reshape(len(z), -1), self.hidden)
        return nn.Dense(math.prod(self.shape), name="output")(x).reshape(-1, *self.shape)

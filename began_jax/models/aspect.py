"""Aspect networks G_a: latent -> annotation (table 2 for landmarks; the generator's decoder for masks)."""

import flax.linen as nn
from jaxtyping import Array, Float


class LandmarkNetwork(nn.Module):
    """Latents [batch, latent] -> landmarks [batch, points, 2] in (0, 1), the network of table 2.

    Args:
      points: number of landmarks (49 in the paper: 98 outputs).
      hidden: widths of the ReLU layers.
    """

    points: int = 49
    hidden: tuple[int, ...] = (128, 128, 128)

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch points 2"]:
        x = z
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, name=f"hidden{i}")(x))
        return nn.sigmoid(nn.Dense(2 * self.points, name="output")(x)).reshape(-1, self.points, 2)

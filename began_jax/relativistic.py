"""The relativistic objective (--objective relativistic), in place of BEGAN's: the loss of R3GAN (Huang et al., 2024).

    L_D = mean softplus(-(D(x) - D(G(z)))) + gamma/2 (R1 + R2)
    L_G = mean softplus(-(D(G(z)) - D(x)))
    R1 = mean |grad D(x)|^2,   R2 = mean |grad D(G(z))|^2

D has one output, and judges a generated image beside a real one. It always opposes G, where BEGAN's balance may come to
rest with k = 0, in which nobody does. With it G learns to draw what pixels alone leave out. The two gradient penalties
make it stable without further tricks.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from began_jax.configs import TrainConfig
from began_jax.models import apply
from began_jax.models.configured import networks

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, " batch"]

_LARGEST_GAP = 60.0  # e to it is a float32; at such a gap L_D's slope, which it multiplies, is nearly 0


def discriminator_loss(real: Logits, generated: Logits) -> Float[Array, ""]:
    """Return mean softplus(-(D(x) - D(G(z)))); the generator's is the same with the two exchanged."""
    return jax.nn.softplus(generated - real).mean()


def gradient_penalty(config: TrainConfig, discriminator: Any, x: Images, generated: Images) -> Float[Array, ""]:
    """Return R1 + R2 of batches of one size."""
    _, network = networks(config)
    images = jnp.concatenate([x, generated])
    slopes = jax.grad(lambda v: apply(network, discriminator, v).sum())(images)
    return 2 * (slopes**2).sum((1, 2, 3)).mean()


def gradients(
    config: TrainConfig, discriminator: Any, x: Images, generated: Images
) -> tuple[Any, Images, dict[str, Array]]:
    """Return the gradients of L_D with respect to D and of L_G with respect to the generated images, and the losses.

    One backward pass serves both players: of each image the slope of L_G is that of L_D times -e^(D(x) - D(G(z))).
    The penalties are estimated from the first images of the batch, a share of `penalty_share`.

    Returns:
        The two gradients, and `loss_discriminator`, `loss_generator`, `gap` (the mean of D(x) - D(G(z))) and `penalty`
        (R1 + R2).
    """
    _, network = networks(config)
    some = max(1, round(config.penalty_share * len(x)))

    def judged(params, generated):
        real, fake = apply(network, params, x)[:, 0], apply(network, params, generated)[:, 0]
        return discriminator_loss(real, fake), real - fake

    def penalty(params):
        value = gradient_penalty(config, params, x[:some], generated[:some])
        return config.gradient_penalty / 2 * value, value

    (loss, gap), (grads, slopes) = jax.value_and_grad(judged, argnums=(0, 1), has_aux=True)(discriminator, generated)
    (_, penalised), penalty_grads = jax.value_and_grad(penalty, has_aux=True)(discriminator)
    losses = {
        "loss_discriminator": loss,
        "loss_generator": discriminator_loss(-gap, jnp.zeros_like(gap)),
        "gap": gap.mean(),
        "penalty": penalised,
    }
    return (
        jax.tree.map(jnp.add, grads, penalty_grads),
        -jnp.exp(jnp.minimum(gap, _LARGEST_GAP))[:, None, None, None] * slopes,
        losses,
    )

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
from jaxtyping import Array, Float, Key

from began_jax.configs import TrainConfig
from began_jax.diffaugment import augment
from began_jax.models import apply
from began_jax.models.configured import networks

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, " batch"]

_LEAST_SLOPE = 1e-8  # of L_D, by which G's slopes are divided again; what D learns from less is nothing


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
    config: TrainConfig, discriminator: Any, x: Images, generated: Images, key: Key[Array, ""] | None = None
) -> tuple[Any, Images, dict[str, Array]]:
    """Return the gradients of L_D with respect to D and of L_G with respect to the generated images, and the losses.

    One backward pass through D serves both players: the slopes of an image's two losses differ by a factor only. The
    penalties are estimated from the first images of the batch, a share of `penalty_share`. `key` is of the changes that
    `augment` makes to what D sees; G learns through them.

    Returns:
        The two gradients, and `loss_discriminator`, `loss_generator`, `gap` (the mean of D(x) - D(G(z))) and `penalty`
        (R1 + R2).
    """
    _, network = networks(config)
    some = max(1, round(config.penalty_share * len(x)))

    def judge(params, images):
        return apply(network, params, images)[:, 0]

    def penalty(params):
        value = gradient_penalty(config, params, x[:some], generated[:some])
        return config.gradient_penalty / 2 * value, value

    back_to_image = None
    if config.augment:
        assert key is not None
        key_x, key_generated = jax.random.split(key)
        x = augment(key_x, x, config.augment)
        generated, back_to_image = jax.vjp(lambda v: augment(key_generated, v, config.augment), generated)
    real, back_from_real = jax.vjp(lambda params: judge(params, x), discriminator)
    fake, back_from_fake = jax.vjp(judge, discriminator, generated)
    gap = real - fake
    slope_d, slope_g = jax.nn.sigmoid(-gap) / len(x), -jax.nn.sigmoid(gap) / len(x)  # of D(G(z)) in L_D and in L_G
    carried = jnp.maximum(slope_d, _LEAST_SLOPE / len(x))
    fake_grads, slopes = back_from_fake(carried)
    (real_grads,) = back_from_real(-slope_d)
    (_, penalised), penalty_grads = jax.value_and_grad(penalty, has_aux=True)(discriminator)
    losses = {
        "loss_discriminator": discriminator_loss(real, fake),
        "loss_generator": discriminator_loss(fake, real),
        "gap": gap.mean(),
        "penalty": penalised,
    }
    grads = jax.tree.map(lambda *parts: sum(parts), real_grads, fake_grads, penalty_grads)
    slopes = (slope_g / carried)[:, None, None, None] * slopes
    if back_to_image:
        (slopes,) = back_to_image(slopes)
    return grads, slopes, losses

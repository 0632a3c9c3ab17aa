"""The equations of BEGAN (A.1 and A.2 of the paper): L, k and M."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from began_jax.configs import TrainConfig
from began_jax.errors import InputError

Images = Float[Array, "batch height width channels"]


def autoencoder_loss(
    v: Float[Array, "batch height width channels"],
    reconstruction: Float[Array, "..."],
    power: int,
) -> Float[Array, " batch"]:
    """Return |v - D(v)|^power per image, mean over pixels and channels (A.1 prints power 2).

    Raises:
        InputError: images and reconstructions are not of one shape, or no floats; or the power is less than 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import autoencoder_loss
        >>> autoencoder_loss(jnp.zeros((2, 4, 4, 3)), jnp.full((2, 4, 4, 3), 0.5), power=2).tolist()
        [0.25, 0.25]
    """
    if v.shape != reconstruction.shape:
        raise InputError(f"images are {v.shape}, reconstructions {reconstruction.shape}; both must be alike")
    if {v.dtype.kind, reconstruction.dtype.kind} & set("biu"):
        raise InputError(
            f"images are {v.dtype}, reconstructions {reconstruction.dtype}; both must be floats in [-1, 1]"
        )
    if power < 1:
        raise InputError(f"power is {power}; it must be at least 1")
    error = jnp.abs(v - reconstruction)
    return (error if power == 1 else error**power).mean((1, 2, 3))


def next_k(k: Array, loss_real: Array, loss_generated: Array, gamma: float, lambda_k: float) -> Array:
    """Return k_{t+1} of A.2, kept in [0, 1]; a NaN stays a NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import next_k
        >>> float(next_k(jnp.array(0.0), jnp.array(1.0), jnp.array(0.25), gamma=0.5, lambda_k=1.0))
        0.25
    """
    return jnp.clip(k + lambda_k * (gamma * loss_real - loss_generated), 0.0, 1.0)


def convergence_measure(loss_real: Array, loss_generated: Array, gamma: float) -> Array:
    """Return M = L(x) + |gamma L(x) - L(G(z))|.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import convergence_measure
        >>> float(convergence_measure(jnp.array(1.0), jnp.array(0.25), gamma=0.5))
        1.25
    """
    return loss_real + jnp.abs(gamma * loss_real - loss_generated)


def convergence(config: TrainConfig, losses: dict[str, Array]) -> Array:
    """Return what falls while a training gets better: M of BEGAN, or the encoder's reconstruction."""
    if config.objective == "began":
        return convergence_measure(losses["loss_real"], losses["loss_generated"], config.gamma)
    return losses["reconstruction"]

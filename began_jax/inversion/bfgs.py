"""BFGS of one image's latent with backtracking, one evaluation a step; `jax.vmap` makes it that of a batch.

A latent's few unknowns allow the whole inverse Hessian: 16 KB an image for 64.
"""

import typing
from functools import partial

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

ARMIJO = 1e-4  # a trial counts where the error falls by this share of what the slope promises (the usual value)
LONGEST = 0.12  # a BFGS step, root mean square over the coordinates: 0.25 needs more trials
OPTIMISM = 16  # directions not tried yet are taken to be this much flatter than the first: 1 needs twice the steps
TRIALS = 5  # rejected ones in a row, after which the curvature is forgotten


@typing.no_type_check
@flax.struct.dataclass
class Curvature:
    """What BFGS knows of one image: the lowest point so far and the inverse Hessian there."""

    z: Float[Array, " latent"]
    error: Float[Array, ""]
    gradient: Float[Array, " latent"]
    inverse_hessian: Float[Array, "latent latent"]
    pairs: Int[Array, ""]  # (step, change of gradient) that went into it
    rejected: Int[Array, ""]  # trials since the last accepted one


def init(z: Float[Array, " latent"]) -> Curvature:
    """Return what BFGS knows before the error of the first latent, z."""
    zero = jnp.zeros((), jnp.int32)
    return Curvature(z, jnp.full((), jnp.inf, z.dtype), jnp.zeros_like(z), jnp.eye(len(z), dtype=z.dtype), zero, zero)


def step(
    first: float, z: Float[Array, " latent"], error: Float[Array, ""], gradient: Float[Array, " latent"], old: Curvature
) -> tuple[Float[Array, " latent"], Curvature]:
    """Return the next trial of one image's BFGS with backtracking, from error and gradient of the last trial, z.

    One evaluation a trial, whether it is accepted or not. `first` is the length of a step while no curvature is known,
    as root mean square over the coordinates.
    """
    length, dot = jnp.linalg.norm, partial(jnp.matmul, precision="highest")  # a TPU would round to bfloat16
    s, y = z - old.z, gradient - old.gradient
    slope = dot(s, old.gradient)
    accepted = error <= old.error + ARMIJO * slope
    # Below this the pair says more about rounding, or a kink of |.|, than about curvature.
    curved = accepted & (dot(s, y) > 1e-3 * length(s) * length(y))
    sy = jnp.where(curved, dot(s, y), 1.0)
    scale = OPTIMISM * dot(s, s) / sy
    h = jnp.where(old.pairs == 0, scale * jnp.eye(len(z), dtype=z.dtype), old.inverse_hessian)
    hy = dot(h, y)
    updated = h + ((1 + dot(y, hy) / sy) / sy) * jnp.outer(s, s) - (jnp.outer(hy, s) + jnp.outer(s, hy)) / sy
    lost = ~accepted & (old.rejected + 1 >= TRIALS)
    new = Curvature(
        z=jnp.where(accepted, z, old.z),
        error=jnp.where(accepted, error, old.error),
        gradient=jnp.where(accepted, gradient, old.gradient),
        inverse_hessian=jnp.where(curved, updated, old.inverse_hessian),
        pairs=jnp.where(lost, 0, old.pairs + curved),
        rejected=jnp.where(accepted | lost, 0, old.rejected + 1),
    )
    unit = len(z) ** 0.5
    direction = -dot(new.inverse_hessian, new.gradient)
    newton = direction * jnp.minimum(1, LONGEST * unit / jnp.maximum(length(direction), 1e-20))
    steepest = -first * unit * new.gradient / jnp.maximum(length(new.gradient), 1e-20)
    # The lowest point of the parabola through both errors and the slope.
    shorter = s * jnp.clip(-slope / (2 * jnp.maximum(error - old.error - slope, 1e-20)), 0.1, 0.5)
    onward = jnp.where(new.pairs == 0, steepest, newton)
    return new.z + jnp.where(accepted | lost, onward, shorter), new

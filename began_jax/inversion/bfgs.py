"""BFGS of one image's latent with backtracking, one evaluation a step; `jax.vmap` makes it that of a batch.

A short latent's few unknowns allow the whole inverse Hessian (16 KB an image for 64). A long one keeps the last pairs
of steps and changes of gradient instead (limited memory: Nocedal, 1980).
"""

import typing
from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ARMIJO = 1e-4  # a trial counts where the error falls by this share of what the slope promises (the usual value)
LONGEST = 0.12  # a BFGS step, root mean square over the coordinates: 0.25 needs more trials
OPTIMISM = 16  # directions not tried yet are taken to be this much flatter than the first: 1 needs twice the steps
TRIALS = 5  # rejected ones in a row, after which the curvature is forgotten
WHOLE = 512  # coordinates at most, whose inverse Hessian is kept: 1 MB an image
NARROW = 1e-18  # least parabola: its square, which the derivative is divided by, must not be 0 in float32
PAIRS = 32  # that are kept of a longer latent; with 20, 80 steps reach 7 % less far, and with 10 a fifth

dot: Callable[[Array, Array], Array] = partial(jnp.matmul, precision="highest")  # a TPU would round to bfloat16


@typing.no_type_check
@flax.struct.dataclass
class Matrix:
    """The inverse Hessian."""

    h: Float[Array, "latent latent"]

    def times(self, vector: Float[Array, " latent"]) -> Array:
        """Return its product with a vector [latent]."""
        return dot(self.h, vector)

    def learnt(self, s: Array, y: Array, sy: Array, first: Array) -> "Matrix":
        """Return it after a step s and the change of gradient y over it, sy = <s, y>; the `first` one scales it."""
        h = jnp.where(first, OPTIMISM * dot(s, s) / sy * jnp.eye(len(s), dtype=s.dtype), self.h)
        hy = dot(h, y)
        return Matrix(h + ((1 + dot(y, hy) / sy) / sy) * jnp.outer(s, s) - (jnp.outer(hy, s) + jnp.outer(s, hy)) / sy)


@typing.no_type_check
@flax.struct.dataclass
class Pairs:
    """What the inverse Hessian is made of where it is not kept: the last pairs, the newest last, and a first scale."""

    s: Float[Array, "pairs latent"]
    y: Float[Array, "pairs latent"]
    over: Float[Array, " pairs"]  # 1 / <s, y>; 0 where there is no pair yet
    scale: Float[Array, ""]

    def times(self, vector: Float[Array, " latent"]) -> Array:
        """Return the inverse Hessian's product with a vector [latent], by the recursion in two loops."""

        def back(q, pair):
            s, y, over = pair
            share = over * dot(s, q)
            return q - share * y, share

        def forth(r, pair):
            s, y, over, share = pair
            return r + (share - over * dot(y, r)) * s, None

        q, shares = jax.lax.scan(back, vector, (self.s, self.y, self.over), reverse=True)
        return jax.lax.scan(forth, self.scale * q, (self.s, self.y, self.over, shares))[0]

    def learnt(self, s: Array, y: Array, sy: Array, first: Array) -> "Pairs":
        """Return it after a step s and the change of gradient y over it, sy = <s, y>; the `first` one scales it."""
        old = jnp.where(first, 0, self.over)
        newest = lambda row, rows: jnp.concatenate([rows[1:], row[None]])  # noqa: E731
        scale = jnp.where(first, OPTIMISM * dot(s, s) / sy, self.scale)
        return Pairs(newest(s, self.s), newest(y, self.y), newest(1 / sy, old), scale)


@typing.no_type_check
@flax.struct.dataclass
class Curvature:
    """What BFGS knows of one image: the lowest point so far and the curvature there."""

    z: Float[Array, " latent"]
    error: Float[Array, ""]
    gradient: Float[Array, " latent"]
    inverse: Matrix | Pairs
    pairs: Int[Array, ""]  # (step, change of gradient) that went into it
    rejected: Int[Array, ""]  # trials since the last accepted one


def init(z: Float[Array, " latent"], whole: int = WHOLE) -> Curvature:
    """Return what BFGS knows before the error of the first latent, z; more than `whole` coordinates: limited memory."""
    # All of it derived from z, so that it is split over devices as z is.
    zeros, none = jnp.zeros_like(z), jnp.zeros_like(z[0])
    if len(z) <= whole:
        inverse = Matrix(zeros[:, None] + jnp.eye(len(z), dtype=z.dtype))
    else:
        empty = zeros[None] + jnp.zeros((PAIRS, 1), z.dtype)
        inverse = Pairs(empty, jnp.copy(empty), none + jnp.zeros(PAIRS, z.dtype), none + 1)
    count = none.astype(jnp.int32)
    return Curvature(z, none + jnp.inf, zeros, inverse, count, jnp.copy(count))


def step(
    first: float, z: Float[Array, " latent"], error: Float[Array, ""], gradient: Float[Array, " latent"], old: Curvature
) -> tuple[Float[Array, " latent"], Curvature]:
    """Return the next trial of one image's BFGS with backtracking, from error and gradient of the last trial, z.

    One evaluation a trial, whether it is accepted or not. `first` is the length of a step while no curvature is known,
    as root mean square over the coordinates.
    """
    length, there = jnp.linalg.norm, ~jnp.isnan(error)
    error = jnp.where(there, error, jnp.inf)  # so that the next trial is nearer, and not NaN too
    s, y = z - old.z, gradient - old.gradient
    slope = dot(s, old.gradient)
    accepted = there & (error <= old.error + ARMIJO * slope)
    # Below this the pair says more about rounding, or a kink of |.|, than about curvature.
    curved = accepted & (dot(s, y) > 1e-3 * length(s) * length(y))
    learnt = old.inverse.learnt(s, y, jnp.where(curved, dot(s, y), 1.0), old.pairs == 0)
    lost = ~accepted & (old.rejected + 1 >= TRIALS)
    new = Curvature(
        z=jnp.where(accepted, z, old.z),
        error=jnp.where(accepted, error, old.error),
        gradient=jnp.where(accepted, gradient, old.gradient),
        inverse=_chosen(curved, learnt, old.inverse),
        pairs=jnp.where(lost, 0, old.pairs + curved),
        rejected=jnp.where(accepted | lost, 0, old.rejected + 1),
    )
    unit = len(z) ** 0.5
    direction = -new.inverse.times(new.gradient)
    newton = direction * jnp.minimum(1, LONGEST * unit / jnp.maximum(length(direction), 1e-20))
    steepest = -first * unit * new.gradient / jnp.maximum(length(new.gradient), 1e-20)
    # The lowest point of the parabola through both errors and the slope.
    shorter = s * jnp.clip(-slope / (2 * jnp.maximum(error - old.error - slope, NARROW)), 0.1, 0.5)
    onward = jnp.where(new.pairs == 0, steepest, newton)
    return new.z + jnp.where(accepted | lost, onward, shorter), new


def _chosen(new_counts: Bool[Array, ""], new: Matrix | Pairs, old: Matrix | Pairs) -> Matrix | Pairs:
    return jax.tree.map(lambda a, b: jnp.where(new_counts, a, b), new, old)

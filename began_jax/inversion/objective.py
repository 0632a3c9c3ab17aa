"""What an inversion makes small: the loss of G(z) beside x, of all values or of those that are seen, and a prior of z.

L(z) = loss(G(z), x) + prior(z)                     (eq. 4: loss = |.|, no prior)
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from began_jax.configs import InvertConfig
from began_jax.errors import InputError

Loss = Literal["l1", "l2"] | Callable[..., Float[Array, " batch"]]
Prior = Callable[[Any], Float[Array, " batch"]]
Images = Float[Array | np.ndarray, "batch ..."]
Weights = Images


class Objective(NamedTuple):
    """The function that is made small, of each image on its own.

    Args:
        loss: "l1" (eq. 4) or "l2", the mean of absolute or squared differences; or a function (generated, images) ->
            [batch], which is given the weights as its third argument where there are any.
        prior: latents -> [batch], which is added to the loss; None: nothing is.
    """

    loss: Loss = "l1"
    prior: Prior | None = None

    @property
    def plain(self) -> bool:
        """Whether it is that of eq. 4."""
        return self.loss == "l1" and self.prior is None

    def check(self) -> None:
        """Raise InputError for a loss or a prior that is none."""
        if self.loss not in ("l1", "l2") and not callable(self.loss):
            raise InputError(f"loss is {self.loss!r}; it must be l1, l2 or a function (generated, images) -> [batch]")
        if self.prior is not None and not callable(self.prior):
            raise InputError(f"prior is {self.prior!r}; it must be a function latents -> [batch]")

    def __call__(self, generated: Images, images: Images, z: Any, weights: Weights | None = None) -> Array:
        """Return the objective of each image, [batch].

        Raises:
            InputError: shapes or types do not fit together, or see `check`.
        """
        self.check()
        check_alike(generated, images, weights)
        if callable(self.loss):
            value = self.loss(generated, images) if weights is None else self.loss(generated, images, weights)
            _check_vector("loss", value, len(images))
        else:
            value = {"l1": l1, "l2": l2}[self.loss](generated, images, weights)
        if self.prior is not None:
            value = value + _check_vector("prior", self.prior(z), len(images))
        return value


PIXELS = Objective()  # eq. 4


def of(config: InvertConfig, loss: Loss | None = None, prior: Prior | None = None) -> Objective:
    """Return the objective that is given, or else what the configuration says.

    Raises:
        InputError: there is no such loss or prior, or the configuration asks for one that takes a run.
    """
    if loss is None and config.loss == "features":
        raise InputError("loss is features, which takes a run's encoder: give loss=, (generated, images) -> [batch]")
    if prior is None and config.prior == "density":
        raise InputError("prior is density, which takes a data set's latents: give prior=, latents -> [batch]")
    if prior is None and config.prior == "cube":
        prior = partial(outside_cube, weight=config.prior_weight)
    found = Objective(config.loss if loss is None else loss, prior)  # pyright: ignore[reportArgumentType]
    found.check()
    return found


def outside_cube(z: Any, weight: float = 1.0) -> Float[Array, " batch"]:
    """Return the mean square over a latent's coordinates of how far they are outside of [-1, 1], times a weight."""
    squares = [jnp.maximum(jnp.abs(leaf) - 1, 0).reshape(len(leaf), -1) ** 2 for leaf in jax.tree.leaves(z)]
    return weight * jnp.concatenate(squares, 1).mean(1)


def l1(x: Images, y: Images, weights: Weights | None = None) -> Array:
    """Return |x - y| of eq. 4 per image [batch], mean over pixels and channels, weighted where weights are given."""
    check_alike(x, y, weights)
    return weighted_mean(jnp.abs(x - y), weights)


def l2(x: Images, y: Images, weights: Weights | None = None) -> Array:
    """Return (x - y)^2 per image [batch], mean over pixels and channels, weighted where weights are given."""
    check_alike(x, y, weights)
    return weighted_mean((x - y) ** 2, weights)


def psnr_db(generated: Images, images: Images, weights: Weights | None = None) -> Array:
    """Return the peak signal-to-noise ratio per image [batch] on the [0, 1] scale, clipped, at most 100 dB."""
    # The [-1, 1] scale is twice as wide as [0, 1].
    check_alike(generated, images, weights)
    wide = jnp.promote_types(images.dtype, jnp.float32)  # 100 dB are below what 16 bits can tell from 0
    mse = weighted_mean(((generated.astype(wide).clip(-1, 1) - images) / 2) ** 2, weights)
    return -10 * jnp.log10(jnp.maximum(mse, 1e-10))


def weighted_mean(values: Images, weights: Weights | None = None) -> Array:
    """Return the mean of each row's values, [batch]; rows whose weights are all 0 have the mean 0."""
    axes = tuple(range(1, values.ndim))
    if weights is None:
        return values.mean(axes)
    weights, wide = jnp.broadcast_to(weights, values.shape), jnp.promote_types(values.dtype, jnp.float32)
    total = weights.sum(axes, dtype=wide)  # which 16 bits may not hold
    return ((weights * values).sum(axes, dtype=wide) / jnp.maximum(total, jnp.finfo(wide).tiny)).astype(values.dtype)


def check_alike(generated: Any, images: Any, weights: Weights | None = None) -> None:
    """Raise InputError where images are no floats, or generated ones or weights are not of their shape."""
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}; they must be floats in [-1, 1], as to_float makes of uint8")
    if not jnp.issubdtype(generated.dtype, jnp.floating):
        raise InputError(f"the generator makes {generated.dtype}; it must make floats, which have a gradient")
    if generated.shape != images.shape:
        raise InputError(
            f"the generator makes {generated.shape}, and the images are {images.shape}; both must be alike"
        )
    if weights is None:
        return
    fitting = weights.ndim == images.ndim and all(
        a in (1, b) for a, b in zip(weights.shape[1:], images.shape[1:], strict=True)
    )
    if not fitting or len(weights) != len(images):
        raise InputError(f"weights are {weights.shape}; they must be {images.shape}, or 1 along axes but the first")


def check_weights(weights: Any) -> None:
    """Raise InputError where a weight is negative or not finite. Those that are traced cannot be looked at."""
    if weights is None or isinstance(weights, Tracer):
        return
    if not np.isfinite(values := np.asarray(weights)).all() or values.min(initial=0) < 0:
        raise InputError("weights must be finite and at least 0")


def _check_vector(name: str, value: Any, batch: int) -> Array:
    if jnp.shape(value) != (batch,):
        raise InputError(f"{name} gives {jnp.shape(value)}; it must give one value an image, ({batch},)")
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise InputError(f"{name} gives {jnp.result_type(value)}; it must give floats, which have a gradient")
    return value

"""What an inversion makes small where that takes the run: features of its encoder, a density of its latents."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from began_jax import density
from began_jax.configs import InvertConfig
from began_jax.data.datasets import images_of
from began_jax.errors import InputError
from began_jax.inversion.objective import Objective, l1, of, outside_cube
from began_jax.run.folder import Run
from began_jax.run.generator import Generator
from began_jax.sampling import evenly

FEATURES = 0.1  # weight of the features' differences beside 1 of the pixels'
CODES = 4096  # training images at most, evenly spaced, whose latents a density is fitted to


def loss(config: InvertConfig, generator: Generator) -> Callable[[Array, Array], Array] | None:
    """Return the loss that compares features, or None where the configuration asks for another.

    Raises:
        InputError: the generator has no encoder.
    """
    if config.loss != "features":
        return None
    look, parameters = generator.features, generator.encoder_parameters
    if look is None:
        lacks = "the encoder of this one shows no `features`" if generator.encode else "this one has no encoder"
        raise InputError(f"--loss features needs a run that was trained with --encoder-weight; {lacks}")

    def differences(generated: Array, images: Array) -> Float[Array, " batch"]:
        of_scales = zip(look(parameters, generated), look(parameters, images), strict=True)
        return l1(generated, images) + FEATURES * sum(_difference(a, b) for a, b in of_scales)

    return differences


def _difference(found: Array, wanted: Array) -> Float[Array, " batch"]:
    """Return the mean absolute difference of maps [batch, h, w, features] in units of each wanted one's deviation."""
    found, wanted = (jnp.asarray(maps, jnp.float32) for maps in (found, jax.lax.stop_gradient(wanted)))
    axes = (1, 2, 3)
    deviation = jnp.abs(wanted - wanted.mean((1, 2), keepdims=True)).mean(axes)
    return jnp.abs(found - wanted).mean(axes) / (deviation + 1e-6)


def prior(config: InvertConfig, codes: Callable[[], np.ndarray] | None) -> Callable[[Any], Array] | None:
    """Return the prior that is a density of latents, or None where the configuration asks for another."""
    if config.prior != "density":
        return None
    if codes is None:
        raise InputError("--prior density needs a data set that its latents are of")
    mixture = density.fit(codes())

    def surprise(z: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
        return -config.prior_weight * density.log_likelihood(mixture, z) / z.shape[1]

    return surprise


def of_the_size(config: InvertConfig, generator: Generator) -> Objective:
    """Return an objective that takes the memory of the run's: the density is not fitted for it."""
    return of(config, loss(config, generator), outside_cube if config.prior == "density" else None)


def codes_of(run: Run, generator: Generator) -> np.ndarray:
    """Return E(x) of training images, `CODES` of them at most, or as many latents as the generator itself draws.

    Raises:
        InputError: it has no encoder, and draws from the cube.
    """
    if generator.encode is None and generator.draw is not None:
        return np.asarray(generator.latents(jax.random.key(0), CODES))
    if generator.encode is None:
        raise InputError("--prior density needs a run that was trained with --encoder-weight; this one has no encoder")
    source = run.data.source("train")
    rows = evenly(np.arange(len(source)), CODES)
    return generator.read(images_of(source, rows))

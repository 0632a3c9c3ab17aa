"""The networks that a training's configuration describes."""

from typing import Any

import jax.numpy as jnp

from began_jax.configs import TrainConfig
from began_jax.errors import InputError
from began_jax.models.autoencoder import Decoder, Discriminator, Encoder, LatentEncoder, check_size


def networks(config: TrainConfig) -> tuple[Decoder, Discriminator | Encoder]:
    """Return the generator, and the discriminator: BEGAN's autoencoder, or an encoder with one output."""
    poolings = len(config.encoder_filters) - 1
    size, how = (config.height, config.width, config.channels), (computation_dtype(config), config.remat)
    generator = Decoder(*size, config.filters, poolings, *how)
    if config.objective == "relativistic":
        return generator, Encoder(config.encoder_filters, 1, *how, config.patch)
    return generator, Discriminator(*size, config.filters, config.encoder_filters, config.latent_size, *how)


def encoder_network(config: TrainConfig) -> LatentEncoder:
    """Return the encoder E that is trained beside the two players where `encoder_weight` is not 0."""
    how = (computation_dtype(config), config.remat)
    return LatentEncoder(config.encoder_filters, config.latent_size, *how, config.patch)


def discriminator_encoder(config: TrainConfig) -> Encoder:
    """Return the part of the discriminator whose features `feature_weight` compares; see `networks`."""
    _, discriminator = networks(config)
    if isinstance(discriminator, Encoder):
        return discriminator
    return Encoder(config.encoder_filters, config.latent_size, computation_dtype(config), config.remat)


def computation_dtype(config: TrainConfig) -> Any:
    """Return what the networks compute in; None leaves it to their float32 parameters."""
    return {"float32": None, "bfloat16": jnp.bfloat16}[config.precision]


def check_networks(config: TrainConfig) -> None:
    """Raise InputError where no networks of such a size can be made, or an option lacks what it acts on."""
    check_size(config.height, config.width, len(config.encoder_filters) - 1, config.patch)
    check_size(config.height, config.width, config.pyramid_levels, what="levels")
    if config.encoder_weight:
        return
    if config.pyramid_levels or config.feature_weight:
        raise InputError("--pyramid-levels and --feature-weight need --encoder-weight: they concern its reconstruction")
    if config.objective == "relativistic":
        raise InputError("--objective relativistic needs --encoder-weight: its reconstruction tells how training goes")
    if config.patch > 1:
        raise InputError("--patch needs --encoder-weight: BEGAN's D sees pixels")

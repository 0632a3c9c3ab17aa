"""The table of layers that `train.py PRESET --layers` prints."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from began_jax.configs import TrainConfig
from began_jax.models.aspect import LandmarkNetwork
from began_jax.models.autoencoder import Decoder, Discriminator


def layer_table(config: TrainConfig, landmarks: int = 49) -> str:
    """Names, shapes and parameters of all layers of a preset's networks, for a batch of one."""
    poolings = len(config.encoder_filters) - 1
    size = (config.height, config.width)
    z = jnp.zeros((1, config.latent_size))
    x = jnp.zeros((1, *size, config.channels))
    rows = {
        "Generator (fig. A.2)": (Decoder(*size, config.channels, config.filters, poolings), z),
        "Discriminator (figs. A.1, A.2)": (
            Discriminator(*size, config.channels, config.filters, config.encoder_filters, config.latent_size),
            x,
        ),
        "Aspect network, landmarks (table 2)": (LandmarkNetwork(landmarks), z),
        "Aspect network, mask (section 3.2.2)": (Decoder(*size, 1, config.filters, poolings), z),
    }
    return "\n".join(
        title + nn.tabulate(network, jax.random.key(0), column_kwargs={"width": None}, console_kwargs={"width": 150})(example)
        for title, (network, example) in rows.items()
    )

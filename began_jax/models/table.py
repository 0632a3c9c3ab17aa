"""The table of layers that `train.py PRESET --layers` prints."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from began_jax.configs import TrainConfig
from began_jax.models.autoencoder import Decoder, Encoder
from began_jax.models.configured import encoder_network, networks
from began_jax.models.mlp import LandmarkNetwork


def layer_table(config: TrainConfig, landmarks: int = 49) -> str:
    """Return names, shapes and parameters of all layers of a preset's networks, in the order of their use."""
    size, poolings = (config.height, config.width), len(config.encoder_filters) - 1
    z = jax.ShapeDtypeStruct((1, config.latent_size), jnp.float32)
    x = jax.ShapeDtypeStruct((1, *size, config.channels), jnp.float32)
    generator, discriminator = networks(config)
    figure = "relativistic" if isinstance(discriminator, Encoder) else "figs. A.1, A.2"
    tables = {
        "Generator (fig. A.2)": (generator, z),
        f"Discriminator ({figure})": (discriminator, x),
        "Encoder of images (--encoder-weight)": (encoder_network(config), x),
        "Aspect network, landmarks (table 2)": (LandmarkNetwork(landmarks), z),
        "Aspect network, mask (section 3.2.2)": (Decoder(*size, 1, config.filters, poolings), z),
    }
    if not config.encoder_weight:
        del tables["Encoder of images (--encoder-weight)"]
    return "\n\n".join(_table(title, network, example) for title, (network, example) in tables.items())


def _table(title: str, network: nn.Module, example: jax.ShapeDtypeStruct) -> str:
    calls: list[tuple[tuple[str, ...], str, tuple, tuple]] = []

    def record(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            kind = type(context.module).__name__
            calls.append((context.module.path, kind, args[0].shape[1:], output.shape[1:]))
        return output

    with nn.intercept_methods(record):  # nothing is computed: shapes only
        params = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    rows: list[tuple[str, ...]] = [("layer", "kind", "input", "output", "kernel", "parameters")]
    for path, kind, inputs, outputs in calls:
        own = _at(params, path)
        if "kernel" in own:
            shapes = map(_shape, (inputs, outputs, own["kernel"].shape))
            rows.append(("/".join(path), kind, *shapes, f"{_count(own):,}"))
    rows.append(("total", "", "", "", "", f"{_count(params):,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row[:-1], widths, strict=False)) for row in rows]
    lines = [f"{line}  {row[-1].rjust(widths[-1])}" for line, row in zip(lines, rows, strict=True)]
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])


def _at(params: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        params = params[name]
    return params


def _count(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))

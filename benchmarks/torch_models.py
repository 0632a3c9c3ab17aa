"""The networks of appendix A and table 2 as PyTorch users write them, and their weights from ours.

Nearest up-sampling before a 3x3 convolution, a 1x1 convolution before average pooling, ELU; images NCHW in [-1, 1].
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plan import Size


class Decoder(nn.Module):
    """Latents [batch, latent] -> images [batch, channels, height, width] (fig. A.2)."""

    def __init__(self, size: Size):
        super().__init__()
        n = size.filters
        self.shape = (n, *size.bottom)
        self.dense = nn.Linear(size.latent, n * size.bottom[0] * size.bottom[1])
        self.convs = nn.ModuleList(nn.Conv2d(n, n, 3, padding=1) for _ in range(2 * size.scales))
        self.output = nn.Conv2d(n, size.channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the linear output."""
        x = self.dense(z).view(-1, *self.shape)
        for i, conv in enumerate(self.convs):
            if i > 0 and i % 2 == 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.elu(conv(x))
        return self.output(x)


class Encoder(nn.Module):
    """Images [batch, channels, height, width] -> codes [batch, latent] (fig. A.1)."""

    def __init__(self, size: Size):
        super().__init__()
        widths = size.widths
        self.input = nn.Conv2d(size.channels, widths[0], 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths for _ in range(2))
        self.projections = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(widths))
        self.dense = nn.Linear(widths[-1] * size.bottom[0] * size.bottom[1], size.latent)

    def forward(self, x: Tensor) -> Tensor:
        """Return the linear output."""
        x = F.elu(self.input(x))
        for i, conv in enumerate(self.convs):
            if i > 0 and i % 2 == 0:
                x = F.avg_pool2d(self.projections[i // 2 - 1](x), 2)
            x = F.elu(conv(x))
        return self.dense(x.flatten(1))


class Discriminator(nn.Sequential):
    """The autoencoder of A.1, images -> images."""

    def __init__(self, size: Size):
        super().__init__(Encoder(size), Decoder(size))


class LandmarkNetwork(nn.Sequential):
    """Latents [batch, latent] -> landmarks [batch, points, 2] (table 2)."""

    def __init__(self, latent: int = 64, hidden: tuple[int, ...] = (128, 128, 128), points: int = 49):
        widths = (latent, *hidden)
        layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        super().__init__(*layers, nn.Linear(widths[-1], 2 * points), nn.Sigmoid(), nn.Unflatten(1, (points, 2)))


def load_decoder(module: Decoder, ours: Mapping[str, Any]) -> None:
    """Give a decoder the parameters of `began_jax.models.Decoder`."""
    channels, h, w = module.shape
    kernel = np.asarray(ours["dense"]["kernel"])
    kernel = kernel.reshape(-1, h, w, channels).transpose(0, 3, 1, 2).reshape(len(kernel), -1)
    bias = np.asarray(ours["dense"]["bias"]).reshape(h, w, channels).transpose(2, 0, 1).reshape(-1)
    _set(module.dense, kernel.T, bias)
    for i, conv in enumerate(module.convs):
        scale, letter = divmod(i, 2)
        _load_conv(conv, ours[f"{'up' if scale > 0 and letter == 0 else ''}conv{scale}{'ab'[letter]}"])
    _load_conv(module.output, ours["output"])


def load_discriminator(module: Discriminator, ours: Mapping[str, Any]) -> None:
    """Give a discriminator the parameters of `began_jax.models.Discriminator`."""
    encoder, decoder = module
    load_decoder(decoder, ours["decoder"])
    ours = ours["encoder"]
    _load_conv(encoder.input, ours["input"])
    for i, conv in enumerate(encoder.convs):
        _load_conv(conv, ours[f"conv{i // 2}{'ab'[i % 2]}"])
    for i, conv in enumerate(encoder.projections):
        _load_conv(conv, ours[f"pool{i + 1}"]["conv1x1"])
    kernel = np.asarray(ours["dense"]["kernel"])
    outputs = kernel.shape[1]
    kernel = kernel.reshape(*decoder.shape[1:], -1, outputs).transpose(3, 2, 0, 1).reshape(outputs, -1)
    _set(encoder.dense, kernel, ours["dense"]["bias"])


def load_landmark_network(module: LandmarkNetwork, ours: Mapping[str, Any]) -> None:
    """Give a landmark network the parameters of `began_jax.models.LandmarkNetwork`."""
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    names = [*(f"hidden{i}" for i in range(len(linear) - 1)), "output"]
    for layer, name in zip(linear, names, strict=True):
        _set(layer, np.asarray(ours[name]["kernel"]).T, ours[name]["bias"])


def _load_conv(module: nn.Conv2d, ours: Mapping[str, Any]) -> None:
    _set(module, np.asarray(ours["kernel"]).transpose(3, 2, 0, 1), ours["bias"])


def _set(module: nn.Linear | nn.Conv2d, weight: Any, bias: Any) -> None:
    with torch.no_grad():
        module.weight.copy_(torch.tensor(np.array(weight)))
        module.bias.copy_(torch.tensor(np.array(bias)))

"""A feature space for images that needs no trained network: scattering coefficients of the first order, and colours.

Scattering (Bruna and Mallat, 2013) is how much a picture oscillates, by place, scale and direction: the modulus of its
convolution with wavelets, averaged over cells. So two hairs of the same texture lie near each other though their pixels
differ, and a blurred picture lies far from a sharp one. What stands where is in the averages of the colours.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from began_jax.images import to_float

SCALES, DIRECTIONS = 3, 6  # wavelets: octaves from the finest, and directions of each
CELLS, COLOUR_CELLS = 4, 8  # averages a side: of the moduli, and of the colours
NAME = (
    f"scattering ({SCALES} scales, {DIRECTIONS} directions, {CELLS}x{CELLS}), colours ({COLOUR_CELLS}x{COLOUR_CELLS})"
)
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (Rec. 601)

_FLOOR = 0.01  # of a modulus before its logarithm: about one of the 256 levels, on the scale [-1, 1]
_CENTRE, _OCTAVES, _SPREAD = 0.36, 0.68, 0.8  # a wavelet's frequency (cycles a pixel), its bandwidths in log and angle

Images = UInt8[Array | np.ndarray, "count height width channels"]


def luminance(images: Any) -> Any:
    """Return the luminance (Rec. 601) [N, H, W] of images [N, H, W, C]; numpy stays numpy and JAX stays JAX."""
    if images.shape[-1] == 1:
        return images[..., 0]
    return images @ np.array(LUMINANCE, np.float32)


def wavelets(height: int, width: int) -> Float[np.ndarray, "wavelets height width"]:
    """Return the wavelets' Fourier transforms: log-Gabor filters of `SCALES` octaves and `DIRECTIONS` directions."""
    fy, fx = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    frequency, angle = np.maximum(np.hypot(fy, fx), 1e-9), np.arctan2(fy, fx)
    bank = []
    for scale in range(SCALES):
        octaves = np.log2(frequency * 2**scale / _CENTRE) / _OCTAVES
        for direction in np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
            off = np.angle(np.exp(1j * (angle - direction))) / (_SPREAD * np.pi / DIRECTIONS)
            bank.append(2 * np.exp(-(octaves**2 + off**2) / 2) * (np.hypot(fy, fx) > 0))
    return np.stack(bank).astype(np.float32)


def scattering(images: Images) -> Float[Array, "count features"]:
    """Return the features of images: the logarithms of the scattering coefficients, then the colours' averages.

    Luminance is scattered, so a grey image and its copy in colour have the same coefficients.

    Args:
        images: uint8, of at least 8x8 pixels.

    Returns:
        `SCALES * DIRECTIONS * CELLS^2 + COLOUR_CELLS^2 * channels` features an image.
    """
    x = to_float(jnp.asarray(images))
    count, height, width, _ = x.shape
    bank = jnp.asarray(wavelets(height, width))[None]
    moduli = jnp.abs(jnp.fft.ifft2(jnp.fft.fft2(luminance(x))[:, None] * bank))
    coefficients = jnp.log(_averages(jnp.moveaxis(moduli, 1, -1), CELLS) + _FLOOR)
    return jnp.concatenate([coefficients.reshape(count, -1), _averages(x, COLOUR_CELLS).reshape(count, -1)], axis=1)


def _averages(x: Float[Array, "count height width channels"], cells: int) -> Float[Array, "count cells cells channels"]:
    rows, columns = _cells(x.shape[1], cells), _cells(x.shape[2], cells)
    return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns)


def _cells(pixels: int, cells: int) -> np.ndarray:
    """Return the share of each pixel in each cell's average [cells, pixels]; cells may cut through pixels."""
    edges = np.linspace(0, pixels, cells + 1)
    starts = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (overlap.clip(0) * cells / pixels).astype(np.float32)

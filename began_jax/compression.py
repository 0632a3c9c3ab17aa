"""A data set as latents of few bits each (section 4 of the paper), and beside it JPEG and WebP of the same size."""

import io
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.inversion import objective

Images = UInt8[np.ndarray, "count height width channels"]

# With Pillow's options of each.
FORMATS: dict[str, dict[str, Any]] = {"jpeg": {"optimize": True}, "webp": {"method": 4}}
_LOWEST, _HIGHEST = 1, 95  # quality
_PIXELS = 64_000_000  # of a sheet: Pillow warns of pictures with more
_BLOCK = 16  # pixels a side, which the codecs code together
_WIDEST = 16_000  # pixels of a sheet: WebP takes 16,383


class Packed(NamedTuple):
    """Latents [count, latent] in `bits` bits a number: arrays alone, as a file keeps them.

    16 bits are float16, and fewer are steps between the least and the largest value of a coordinate.
    """

    codes: np.ndarray  # float16 [count, latent], or uint8: the bits of all numbers one after the other
    low: Float[np.ndarray, " latent"]
    step: Float[np.ndarray, " latent"]
    shape: np.ndarray  # (count, latent, bits)

    @property
    def size(self) -> int:
        """Bytes of it."""
        return sum(values.nbytes for values in self)


def pack(z: Float[np.ndarray, "count latent"], bits: int = 8) -> Packed:
    """Round latents to `bits` bits a number, 1 to 8, or 16.

    Raises:
        InputError: another number of bits; or latents are not [count, latent], not finite, or too large for 16 bits.
    """
    if bits not in (*range(1, 9), 16):
        raise InputError(f"bits are {bits}; they must be from 1 to 8, or 16")
    z = np.asarray(z, np.float32)
    if not len(z) or not np.isfinite(z).all():
        raise InputError(f"{len(z)} latents cannot be packed: they must be at least one, and finite")
    if z.ndim != 2:
        raise InputError(f"latents are {list(z.shape)}; they must be [count, latent]")
    shape = np.array([*z.shape, bits])
    if bits == 16:
        if (largest := np.abs(z).max()) > np.finfo(np.float16).max:
            raise InputError(f"a latent is {largest:g}, which 16 bits cannot hold; use fewer, which are steps")
        return Packed(z.astype(np.float16), np.zeros(0, np.float32), np.zeros(0, np.float32), shape)
    low = z.min(0)
    step = (z.max(0) - low) / np.float32(2**bits - 1)
    codes = np.rint((z - low) / np.where(step > 0, step, 1)).astype(np.uint8)
    of_each = (codes[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    return Packed(np.packbits(of_each), low, step, shape)


def unpack(packed: Packed) -> Float[np.ndarray, "count latent"]:
    """Return latents, each at most half a step from what was packed."""
    count, latent, bits = (int(n) for n in packed.shape)
    if bits == 16:
        return packed.codes.astype(np.float32)
    of_each = np.unpackbits(packed.codes, count=count * latent * bits).reshape(count, latent, bits)
    codes = (of_each.astype(np.uint16) << np.arange(bits, dtype=np.uint16)).sum(2)
    return packed.low + codes.astype(np.float32) * packed.step


def _filled(side: int) -> int:
    return -(-side // _BLOCK) * _BLOCK


def most(height: int, width: int, count: int) -> int:
    """Return how many images of a size go on one sheet of `of_size`, at most `count`."""
    tall, wide = _filled(height), _filled(width)
    return max(1, min(count, (_WIDEST // tall) * (_WIDEST // wide), _PIXELS // (tall * wide)))


class Coded(NamedTuple):
    """Images after a codec, the bytes that it took for all of them, and its quality."""

    images: Images
    size: int
    quality: int


def of_size(images: Images, form: str, size: int) -> Coded:
    """Return images by JPEG or WebP in at most `size` bytes, at the best quality; the lowest one may take more.

    They are coded as one sheet, side by side, so that they share its headers. The sides of each are filled up to
    multiples of 16, the codecs' blocks, with the edge's pixels, so that neighbours do not mix.

    Args:
        images: to code.
        form: one of `FORMATS`.
        size: bytes of all of them together.
    """
    _, height, width, channels = images.shape
    tall, wide = _filled(height), _filled(width)
    columns = max(1, min(_WIDEST // wide, int(np.ceil(np.sqrt(len(images))))))
    rows = -(-len(images) // columns)
    if rows * tall > _WIDEST:
        raise InputError(f"{len(images)} images of {height}x{width} are too many for one sheet; see `most`")
    padded = np.pad(images, ((0, 0), (0, tall - height), (0, wide - width), (0, 0)), "edge")
    padded = np.concatenate([padded, np.repeat(padded[-1:], rows * columns - len(images), 0)])
    sheet = padded.reshape(rows, columns, tall, wide, channels).swapaxes(1, 2).reshape(rows * tall, columns * wide, -1)
    picture = Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)

    def coded(quality: int) -> bytes:
        file = io.BytesIO()
        picture.save(file, form.upper(), quality=quality, **FORMATS[form])
        return file.getvalue()

    low, high = _LOWEST, _HIGHEST
    while low < high:  # the highest that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(coded(middle)) <= size else (low, middle - 1)
    data = coded(low)
    again = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"))
    tiles = again.reshape(rows, tall, columns, wide, channels).swapaxes(1, 2).reshape(-1, tall, wide, channels)
    return Coded(tiles[: len(images), :height, :width], len(data), low)


def psnr_db(images: Images, again: Images) -> float:
    """Return the mean peak signal-to-noise ratio of images."""
    return float(objective.psnr_db(to_float(jnp.asarray(again)), to_float(jnp.asarray(images))).mean())

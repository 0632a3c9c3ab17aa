"""A mask file as one plane of numbers: its grey values, its colours, the numbers of its palette, or its alpha."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from began_jax.images import unreadable, white_is_0

FEW = 16  # distinct values at most that are looked at one by one: more come from soft edges, not from classes
TINT = 24  # of 255, by which JPEG tints what was grey at most, but for a thousandth of the pixels


class Plane(NamedTuple):
    """A mask's values [h, w], whether these are colours 0xRRGGBB, whether its alpha, and whether it is a JPEG.

    Where they are numbers of a palette, `palette` has the colours of those that are used.
    """

    values: np.ndarray
    of_colours: bool
    by_alpha: bool = False
    lossy: bool = False
    palette: dict[int, int] | None = None


def read(path: Path, asked: bool, alpha: bool, indices: bool) -> Plane:
    """Return what a mask holds; InputError where it cannot be read."""
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise ValueError("it holds several pictures")
            lossy = picture.format == "JPEG"
            inverted = white_is_0(picture)
            found = _values_of(ImageOps.exif_transpose(picture), asked, alpha, indices)._replace(lossy=lossy)
            found = found._replace(values=65535 - found.values) if inverted else found
        if not np.isfinite(found.values).all():
            raise ValueError("it holds values that are no numbers")
    except Exception as error:
        raise unreadable(path, error) from None
    return found


def _values_of(picture: Image.Image, asked: bool, by_alpha: bool, indices: bool) -> Plane:
    """Return the same, with colours where these are `asked` for or all that it has, see `Values` for alpha."""
    if picture.mode == "P" and not asked:
        palette = np.array(picture.getpalette("RGB"), np.int64).reshape(-1, 3)
        near = not np.ptp(palette, axis=1).any() and np.ptp(palette[:, 0]) < 32  # greys too near to be meant
        if indices or (near and not picture.has_transparency_data):
            plane = np.asarray(picture)
            used = {int(i): int(palette[i] @ (65536, 256, 1)) for i in np.unique(plane) if i < len(palette)}
            return Plane(plane, False, palette=used)
    if asked and picture.mode in ("1", "L"):  # as some programs store a picture that has no colour
        return Plane(np.asarray(picture.convert("L"), np.int64) * 0x010101, True)
    if asked and (picture.mode in ("I", "F") or picture.mode.startswith("I;16")):
        raise ValueError("it has numbers of more than 8 bits, where others have colours")
    if picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;16"):
        return Plane(np.asarray(picture).astype(np.uint8) if picture.mode == "1" else np.asarray(picture), False)
    alpha = None
    if picture.has_transparency_data:
        shown = picture.convert("RGBA")
        alpha = np.asarray(shown)[..., 3]
        picture = Image.alpha_composite(Image.new("RGBA", shown.size, "black"), shown)
    pixels = np.asarray(picture.convert("RGB"))
    flat = not np.ptp(pixels.reshape(-1, 3), axis=0).any()
    if alpha is not None and (by_alpha or np.ptp(alpha)) and flat:
        return Plane(alpha, False, True)  # what is cut out is as black as its ground
    if alpha is not None and np.ptp(alpha) and len(np.unique(pixels[alpha > 127].reshape(-1, 3), axis=0)) > FEW:
        return Plane(alpha, False)  # cut out of a photograph
    tint = np.ptp(pixels, axis=-1)
    of_some = pixels.max((0, 1)) == 0  # channels that hold nothing: class numbers in another are no tint
    if not asked and (not tint.any() or ((tint > TINT).mean() < 1e-3 and not of_some.any())):
        return Plane(np.round(pixels.mean(-1)).astype(np.uint8), False)
    return Plane((pixels.astype(np.int64) * (65536, 256, 1)).sum(-1), True)

"""The paper's figures as pictures: grids (fig. 2), reconstructions (3), landmarks (6, 7), masks (8, 11), captions.

Images are float [-1, 1] NHWC with 1 or 3 channels, landmarks (x, y) fractions of width and height
[N, K, 2], masks in [0, 1] [N, H, W, 1]; numpy and JAX arrays alike. What comes back is a PIL picture.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from began_jax.errors import InputError
from began_jax.files import replacing
from began_jax.images import to_uint8
from began_jax.landmarks import Scheme, scheme

Images = Float[Array | np.ndarray, "batch height width channels"]
Landmarks = Float[Array | np.ndarray, "batch points 2"]
Masks = Float[Array | np.ndarray, "batch height width 1"]
Captions = Sequence[Sequence[str]]  # lines of text for each image

_GAP = 4
_SUPERSAMPLING = 4
_HALO = (0, 0, 0, 150)  # a dark rim keeps bright marks visible on the lightest skin
_COLOURS = {
    "jaw": (215, 150, 255),
    "brows": (255, 205, 40),
    "nose": (70, 215, 255),
    "eyes": (110, 255, 120),
    "mouth": (255, 105, 180),
    "points": (255, 205, 40),
}
_MASK_COLOUR = (60, 230, 160)
_MASK_OPACITY = 0.3


def _scale(images: Images, tile: int) -> int:
    return max(1, round(tile / max(images.shape[1:3])))


def _tiles(images: Images, scale: int) -> list[Image.Image]:
    floats = np.asarray(images, np.float32)
    arrays = to_uint8(np.where(np.isnan(floats), -1, floats))  # a broken image is black
    tiles = [Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in arrays]
    return [t.resize((t.width * scale, t.height * scale), Image.Resampling.BICUBIC) for t in tiles]


def _arrange(tiles: Sequence[Image.Image], columns: int | None, band: int = 1) -> Image.Image:
    """Tile row by row on white; a wider gap parts the bands of `band` rows."""
    if not tiles:
        raise InputError("no images to draw")
    columns = min(columns or math.ceil(math.sqrt(len(tiles))), len(tiles))
    rows = math.ceil(len(tiles) / columns)
    w, h = tiles[0].size
    tops = [row * (h + _GAP) + (row // band) * (2 * _GAP if band > 1 else 0) for row in range(rows)]
    mode = tiles[0].mode
    size = (columns * (w + _GAP) - _GAP, tops[-1] + h)
    sheet = Image.new(mode, size, "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, ((i % columns) * (w + _GAP), tops[i // columns]))
    return sheet


def grid(images: Images, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Tile images row by row (fig. 2 and 9), about square, enlarged `scale` times (to some 160 pixels)."""
    return _arrange(_tiles(images, scale or _scale(images, 160)), columns)


def _draw_landmarks(tile: Image.Image, points: Float[np.ndarray, "points 2"], known: Scheme) -> Image.Image:
    """Draw skeleton and dots over a tile, smoothly: they are drawn larger and reduced."""
    s = _SUPERSAMPLING
    unit = max(max(tile.size) / 256, 0.75) * s  # one pixel of a 256-pixel tile
    layer = Image.new("RGBA", (tile.width * s, tile.height * s))
    draw = ImageDraw.Draw(layer)
    xy = points * (layer.width, layer.height) - 0.5
    colours = {i: _COLOURS[part] for part, members in known.parts.items() for i in members}

    def dot(centre: np.ndarray, radius: float, colour: tuple[int, ...]) -> None:
        draw.ellipse([*(centre - radius), *(centre + radius)], fill=colour)

    there = np.isfinite(points[:, 0])
    for halo in (True, False):
        for a, b in known.edges:
            if not there[[a, b]].all():
                continue
            line = [*xy[a], *xy[b]]
            if halo:
                draw.line(line, fill=_HALO, width=round(2.6 * unit))
            else:
                draw.line(line, fill=(*colours[b], 215), width=round(1.2 * unit))
    for i, centre in ((i, xy[i]) for i in np.flatnonzero(there).tolist()):
        dot(centre, 2.7 * unit, (20, 20, 20, 230))
        dot(centre, 1.9 * unit, (*colours[i], 255))
    layer = layer.resize(tile.size, Image.Resampling.BOX)
    return Image.alpha_composite(tile.convert("RGBA"), layer).convert("RGB")


def _draw_mask(tile: Image.Image, mask: Float[np.ndarray, "height width"]) -> Image.Image:
    """Tint the inside of a mask and draw its contour, smoothed by about a pixel of the mask."""
    scale = tile.width / mask.shape[1]
    soft = Image.fromarray(np.round(255 * mask.clip(0, 1)).astype(np.uint8))
    soft = soft.resize(tile.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.8 * scale))
    v = np.asarray(soft, np.float32) / 255 - 0.5
    # Value over slope is the distance to the contour, in pixels: it gives the line anti-aliased edges.
    down, across = np.gradient(v)
    distance = v / np.maximum(np.hypot(down, across), 1e-3)
    half_line = max(max(tile.size) / 256, 0.75) * 0.9
    line = np.clip(half_line + 0.5 - np.abs(distance), 0, 1)
    tint = np.clip(distance + 0.5, 0, 1) * _MASK_OPACITY
    alpha = np.maximum(line, tint)[..., None]
    picture = np.asarray(tile.convert("RGB"), np.float32)
    return Image.fromarray(np.round(picture * (1 - alpha) + alpha * np.array(_MASK_COLOUR)).astype(np.uint8))


def _caption(tile: Image.Image, lines: Sequence[str], room: int) -> Image.Image:
    """Set lines of text under a tile, on white with room for `room` lines."""
    unit = max(tile.size) / 256
    font, height, margin = ImageFont.load_default(max(9, round(14 * unit))), max(11, round(17 * unit)), round(6 * unit)
    captioned = Image.new(tile.mode, (tile.width, tile.height + room * height + margin), "white")
    captioned.paste(tile)
    draw = ImageDraw.Draw(captioned)
    for i, line in enumerate(lines):
        draw.text((margin, tile.height + (i + 0.7) * height), line, fill="black", font=font, anchor="lm")
    return captioned


def annotated_grid(
    images: Images,
    landmarks: Landmarks | None = None,
    masks: Masks | None = None,
    columns: int | None = None,
    scale: int | None = None,
    captions: Captions | None = None,
    points: Scheme | None = None,
) -> Image.Image:
    """Tile images with landmarks (fig. 6) or masks drawn over them, or captions under them, to some 224 pixels.

    What lines join the landmarks say `points`, by default the scheme of their number.
    """
    tiles = _tiles(images, scale or _scale(images, 224))
    if masks is not None:
        tiles = [_draw_mask(t, m[..., 0]) for t, m in zip(tiles, np.asarray(masks, np.float32), strict=True)]
    if landmarks is not None:
        known = points or scheme(np.shape(landmarks)[1])
        places = np.asarray(landmarks, np.float64)
        tiles = [_draw_landmarks(t, p, known) for t, p in zip(tiles, places, strict=True)]
    if captions is not None:
        room = max(map(len, captions), default=0)
        tiles = [_caption(t, lines, room) for t, lines in zip(tiles, captions, strict=True)]
    return _arrange(tiles, columns)


def reconstructions(
    originals: Images, reconstructed: Images, columns: int = 8, scale: int | None = None
) -> Image.Image:
    """Set rows of images above the rows of their reconstructions G(z) (fig. 3)."""
    scale = scale or _scale(originals, 160)
    pairs = list(zip(_tiles(originals, scale), _tiles(reconstructed, scale), strict=True))
    columns = min(columns, len(pairs))
    if pairs:  # white fills the last row, so that the tiles come in whole bands
        blank = Image.new(pairs[0][0].mode, pairs[0][0].size, "white")
        pairs += [(blank, blank)] * (-len(pairs) % columns)
    bands = [pairs[start : start + columns] for start in range(0, len(pairs), max(columns, 1))]
    return _arrange([tile for band in bands for row in zip(*band, strict=True) for tile in row], columns, band=2)


def strip(
    images: Images,
    landmarks: Landmarks | None = None,
    masks: Masks | None = None,
    scale: int | None = None,
    captions: Captions | None = None,
    points: Scheme | None = None,
) -> Image.Image:
    """Set images in one row, with their landmarks, masks or captions where given (fig. 7)."""
    return annotated_grid(images, landmarks, masks, len(images), scale, captions, points)


def save_image(path: str | os.PathLike[str], picture: Image.Image) -> None:
    """Write a picture in the format that the file's extension names, all of it or nothing."""
    Image.init()
    kind = Image.EXTENSION.get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f"{path}: cannot tell the picture format from the name; end it in .png or .jpg")
    with replacing(path) as temporary:
        picture.save(temporary, format=kind)


def _with_palette(frame: Image.Image) -> Image.Image:
    """Reduce a frame to 256 colours of its own, among them those of the marks, which few pixels have."""
    marks = [*_COLOURS.values(), _MASK_COLOUR]
    own = (frame.quantize(256 - len(marks)).getpalette() or [])[: 3 * (256 - len(marks))]
    palette = Image.new("P", (1, 1))
    palette.putpalette(own + [value for colour in marks for value in colour])
    return frame.quantize(palette=palette, dither=Image.Dither.NONE)


def save_gif(
    path: str | os.PathLike[str],
    frames: Sequence[Image.Image],
    seconds_per_frame: float = 0.08,
    ping_pong: bool = True,
) -> None:
    """Write an endless GIF, forth and back again where `ping_pong`; GIF counts time in steps of 0.01 s."""
    if not frames:
        raise InputError(f"{path}: no frames to write")
    frames = [f if f.mode == "L" else _with_palette(f.convert("RGB")) for f in frames]
    frames = [*frames, *frames[-2:0:-1]] if ping_pong else frames
    duration = max(10, round(seconds_per_frame * 100) * 10)
    with replacing(path) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0)

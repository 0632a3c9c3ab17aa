"""Makes good iris images poor, as section 3.2.1 does (fig. 8): less contrast inside and outside the iris, shadow, blur.

An effect is `effect(key, image, mask, strength) -> image`, of one image; `jax.vmap` with a key for each image makes it
one of a batch, and what an image becomes then depends on its own key alone. Images are float32 [H, W, C] in [-1, 1]
with any number of channels, masks float32 [H, W, 1] in {0, 1}. Others are refused by InputError, and so is a strength
that is none; what is traced is not looked at. Strength 0 gives the image back, bit for bit; at any other an image's own
strength is uniform between half of it and all of it, as is the length of the blur in reference 24 (Bazrafkan,
Thavalengal and Corcoran, 2018). What else that prescribes, and where this differs: docs/augmentation.md.

No effect moves anything, so the mask stays that of the sharp picture. Motion blur is symmetric about each pixel, which
leaves the iris's edge in the middle of its blurred one; a network should learn to find it there, as in reference 24.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key, UInt8

from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.options import Checked, described, option
from began_jax.sharding import freed

Image = Float[Array | np.ndarray, "height width channels"]
Mask = Float[Array | np.ndarray, "height width 1"]
Strength = float | Float[Array, ""]

_LONGEST_BLUR = 0.5


@described
@dataclass(frozen=True)
class AugmentConfig(Checked):
    """Strengths of the effects of `low_quality`, where 0 leaves one out; the numbers are ours unless said otherwise."""

    contrast_inside: float = option(0.7, "largest share of the iris's contrast that is taken away, 0 to 1")
    contrast_outside: float = option(0.35, "largest share of the contrast around the iris that is taken away, 0 to 1")
    shadow: float = option(0.7, "largest share of the light that a shadow takes away, 0 to 1")
    motion_blur: float = option(
        0.08, "longest motion, as a fraction of the width, 0 to 0.5 (reference 24: 5 to 10 pixels of 128)"
    )
    probability: float = option(
        0.75, "of each effect, drawn for each on its own, 0 to 1 (reference 24: 1, all effects on every copy)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, Tracer):
                continue
            highest = _LONGEST_BLUR if name == "motion_blur" else 1
            if not 0 <= value <= highest:
                raise InputError(f"{name} {value:g}: must be from 0 to {highest:g}")


def _draw(key: Key[Array, ""], *bounds: tuple[Strength, Strength]) -> list[Float[Array, ""]]:
    # All in one go: each call of the generator takes 0.1 to 0.3 s to compile on a CPU.
    draws = jax.random.uniform(key, (len(bounds),))
    return [low + (high - low) * u for (low, high), u in zip(bounds, draws, strict=True)]


def _soften(mask: Mask) -> Mask:
    """Blur a mask with (1, 2, 1)/4 both ways, which is exact: a pixel away from the seam it is still 0 or 1."""
    p = jnp.pad(mask, ((1, 1), (1, 1), (0, 0)), mode="edge")
    p = (p[:-2] + 2 * p[1:-1] + p[2:]) / 4
    return (p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]) / 4


def _flatten_region(image: Image, region: Mask, share: Float[Array, ""], shift: Float[Array, ""]) -> Image:
    """Pull a region towards its mean, plus a shift, by a share; the mean is per channel, which keeps the hue."""
    pixels = jnp.maximum(region.sum(), 1)  # a region without pixels has no mean, and needs none
    mean = (region * image).sum(axis=(0, 1), keepdims=True) / pixels
    level = jnp.clip(mean + shift, -1, 1)
    return jnp.clip(image + _soften(region) * share * (level - image), -1, 1)


def reduce_contrast_inside(key: Key[Array, ""], image: Image, mask: Mask, strength: Strength = 0.7) -> Image:
    """Take away up to `strength` (0 to 1) of the contrast inside the mask, and darken it."""
    _check(image, mask, strength)
    # Darker only: reference 24 maps the iris to the dark end of its tone curve.
    share, shift = _draw(key, (strength / 2, strength), (-0.5, 0.0))
    return _flatten_region(image, mask, share, shift)


def reduce_contrast_outside(key: Key[Array, ""], image: Image, mask: Mask, strength: Strength = 0.35) -> Image:
    """Take away up to `strength` (0 to 1) of the contrast outside the mask, and darken or lighten it.

    The pupil is outside: the stronger the effect, the nearer it comes to the iris's grey.
    """
    _check(image, mask, strength)
    share, shift = _draw(key, (strength / 2, strength), (-0.3, 0.3))
    return _flatten_region(image, 1 - mask, share, shift)


def shadow(key: Key[Array, ""], image: Image, mask: Mask, strength: Strength = 0.7) -> Image:
    """Take away up to `strength` (0 to 1) of the light beyond a soft edge of random direction, place and softness.

    Light is (image + 1) / 2. The mask is not used: all effects have one signature.
    """
    _check(image, mask, strength)
    # Lengths are in widths, from the centre. Places and profile are reference 24's, whose shadows lie to the left or
    # right only and have a slope of 2; the steeper ones, and those from above and below, are ours.
    depth, angle, place, slope = _draw(key, (strength / 2, strength), (0.0, 2 * math.pi), (-0.3, 0.3), (2.0, 5.0))
    height, width = image.shape[:2]
    y = ((jnp.arange(height) + 0.5 - height / 2) / width)[:, None]
    x = ((jnp.arange(width) + 0.5) / width - 0.5)[None, :]
    distance = jnp.sin(angle) * y + jnp.cos(angle) * x - place
    darkness = depth * (0.5 + 0.5 * jnp.tanh(slope * distance))
    return jnp.clip(image - (image + 1) * darkness[:, :, None], -1, 1)


def _average_along_line(image: Image, offsets: Float[Array, "samples 2"], reach: int) -> Image:
    """Average the image moved by each offset (dy, dx) of at most `reach` pixels; edges are replicated."""
    height, width, channels = image.shape
    padded = jnp.pad(image, ((reach, reach + 1), (reach, reach + 1), (0, 0)), mode="edge")
    whole = jnp.floor(offsets)
    starts, parts = whole.astype(jnp.int32) + reach, offsets - whole

    # A loop over bilinear samples takes less than a tenth of the time of a convolution whose kernel differs
    # between images, and grows with the length, not with its square.
    def add(i: Int[Array, ""], total: Image) -> Image:
        (top, left), (v, u) = starts[i], parts[i]
        window = jax.lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), (height + 1, width + 1, channels))
        rows = (1 - v) * window[:-1] + v * window[1:]
        return total + (1 - u) * rows[:, :-1] + u * rows[:, 1:]

    return jax.lax.fori_loop(0, len(offsets), add, jnp.zeros_like(padded[:height, :width])) / len(offsets)


def motion_blur(key: Key[Array, ""], image: Image, mask: Mask, length: float = 0.08) -> Image:
    """Average along a line of random direction and of up to `length` (0 to 0.5) widths, about each pixel.

    The length is a Python number, since the number of samples follows from it: one a pixel. The mask is not used.
    """
    if isinstance(length, Tracer):
        raise InputError("the length of a motion blur is traced; it must be a Python number")
    _check(image, mask, length, _LONGEST_BLUR)
    longest = length * image.shape[1]
    if longest == 0:
        return jnp.asarray(image)
    pixels, angle = _draw(key, (longest / 2, longest), (0.0, math.pi))
    along = jnp.linspace(-0.5, 0.5, math.ceil(longest) + 1) * pixels
    offsets = along[:, None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)])[None]
    return jnp.clip(_average_along_line(image, offsets, math.ceil(longest / 2)), -1, 1)


def low_quality(
    key: Key[Array, ""], image: Image, mask: Mask, config: AugmentConfig = AugmentConfig()
) -> tuple[Image, Mask]:
    """Apply each effect with the config's probability, in the order scene, light, camera; the mask is unchanged.

    Raises:
        InputError: the image is no float [height, width, channels] in [-1, 1], or the mask is not [height, width, 1] in
            {0, 1}. Values that are traced are not looked at.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from began_jax import low_quality
        >>> mask = jnp.zeros((24, 32, 1)).at[8:16, 12:20].set(1.0)
        >>> poor, same = low_quality(jax.random.key(0), jnp.zeros((24, 32, 1)), mask)
        >>> poor.shape, bool((same == mask).all())
        ((24, 32, 1), True)
    """
    _check(image, mask)
    effects: tuple[tuple[Callable[..., Image], float], ...] = (
        (reduce_contrast_inside, config.contrast_inside),
        (reduce_contrast_outside, config.contrast_outside),
        (shadow, config.shadow),
        (motion_blur, config.motion_blur),
    )
    chosen_key, *effect_keys = jax.random.split(key, 1 + len(effects))
    chosen = jax.random.bernoulli(chosen_key, jnp.asarray(config.probability, float), (len(effects),))
    for i, (effect, strength) in enumerate(effects):
        # At 0 it is not even computed; the other effects draw what they would have drawn.
        if isinstance(strength, Tracer) or strength:
            image = jnp.where(chosen[i], effect(effect_keys[i], image, mask, strength), image)
    return jnp.asarray(image), jnp.asarray(mask)


def _check(image: Image, mask: Mask, strength: Strength = 0.0, highest: float = 1.0) -> None:
    if image.ndim != 3 or mask.shape != (*image.shape[:2], 1) or not jnp.issubdtype(image.dtype, jnp.floating):
        found = f"{image.dtype} {list(image.shape)}, and the mask {list(mask.shape)}"
        raise InputError(f"the image is {found}; they must be floats [height, width, channels] and [height, width, 1]")
    _check_range("the image", image, -1.01)
    _check_range("the mask", mask, 0.0)
    if not isinstance(strength, Tracer) and not 0 <= strength <= highest:
        raise InputError(f"the strength of an effect is {strength:g}; it must be from 0 to {highest:g}")


def _check_range(name: str, values: Any, least: float) -> None:
    if isinstance(values, Tracer):
        return
    held = np.asarray(values)  # of jax.numpy the extremes would be traced within a function that is
    if not (held.min() >= least and held.max() <= 1.01):
        found = f"{name} has values from {held.min():g} to {held.max():g}"
        raise InputError(f"{found}; images are in [-1, 1], masks 0 or 1")


def low_quality_batch(
    key: Key[Array, ""],
    image: UInt8[Array, "batch height width channels"],
    mask: Float[Array, "batch height width 1"],
    config: AugmentConfig = AugmentConfig(),
) -> UInt8[Array, "batch height width channels"]:
    """Apply `low_quality` to a batch as it is stored, with fold_in(key, i) for image i, before a training step."""
    _check_range("the mask", mask, 0.0)

    def all_of(key, image, mask):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(image)))
        poor, _ = jax.vmap(lambda k, x, m: low_quality(k, x, m, config))(keys, to_float(image), mask)
        return to_uint8(poor)

    return freed(all_of, key, image, mask, like=image)

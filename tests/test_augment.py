import dataclasses
import functools
import inspect

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import augment
from began_jax.data.augment import AugmentConfig, low_quality
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8

KEY = jax.random.key(5)
HEIGHT, WIDTH = 24, 32
EFFECTS = {
    "contrast_inside": augment.reduce_contrast_inside,
    "contrast_outside": augment.reduce_contrast_outside,
    "shadow": augment.shadow,
    "motion_blur": augment.motion_blur,
}
NOTHING = AugmentConfig(**dict.fromkeys(EFFECTS, 0.0), probability=1.0)
EVERYTHING = AugmentConfig(1.0, 1.0, 1.0, 0.5, probability=1.0)
METHODS = {name: lambda k, x, m, f=f: f(k, x, m) for name, f in EFFECTS.items()}
METHODS["low_quality"] = lambda k, x, m: low_quality(k, x, m, AugmentConfig(probability=0.5))[0]


@pytest.fixture(scope="module")
def eyes():
    """Eight noisy discs with a hole, cut by a lid, and their masks; no image reaches an end of the range."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centres = rng.uniform((10, 12), (14, 20), (8, 2))
    radii = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])[..., None]
    masks = (radii > 3) & (radii < 10) & (y > 4)[None, :, :, None]
    grey = np.where(masks, -0.1, np.where(radii <= 3, -0.7, 0.5))
    images = grey + rng.uniform(-0.2, 0.2, grey.shape)
    return images.astype(np.float32), masks.astype(np.float32)


def keys(count):
    return jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(count))


@functools.cache
def jitted(name):
    return jax.jit(METHODS[name])


@functools.cache
def batched(name):
    return jax.jit(jax.vmap(METHODS[name]))


def widened(mask):
    """The mask and all neighbours of its pixels."""
    padded = np.pad(mask, ((1, 1), (1, 1), (0, 0)))
    h, w = mask.shape[:2]
    return np.max([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)


@functools.cache
def with_strength(name):
    return jax.jit(jax.vmap(EFFECTS[name], (0, 0, 0, None)))


@pytest.mark.parametrize("name", EFFECTS)
def test_zero_strength_is_the_identity(name, eyes):
    if name == "motion_blur":
        result = jax.vmap(lambda k, x, m: augment.motion_blur(k, x, m, 0.0))(keys(8), *eyes)
    else:
        result = with_strength(name)(keys(8), *eyes, 0.0)
    np.testing.assert_array_equal(result, eyes[0])


def test_zero_strengths_and_zero_probability_are_the_identity(eyes):
    images, masks = eyes
    for config in (NOTHING, AugmentConfig(probability=0.0)):
        image, mask = jax.jit(lambda k, x, m, config=config: low_quality(k, x, m, config))(KEY, images[0], masks[0])
        np.testing.assert_array_equal(image, images[0])
        np.testing.assert_array_equal(mask, masks[0])


_all_at_once = jax.jit(functools.partial(low_quality, config=EVERYTHING))


@hypothesis.settings(max_examples=30)
@hypothesis.given(data=st.data(), seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([1, 3]))
def test_range_is_kept_and_mask_unchanged(data, seed, channels):
    levels = st.sampled_from([-1.0, 1.0]) | st.floats(-1, 1, width=32)
    image = data.draw(hnp.arrays(np.float32, (6, 8, channels), elements=levels))
    mask = data.draw(hnp.arrays(np.float32, (6, 8, 1), elements=st.sampled_from([0.0, 1.0])))
    poor, same = _all_at_once(jax.random.key(seed), image, mask)
    assert poor.shape == image.shape and poor.dtype == jnp.float32
    assert np.all(np.abs(poor) <= 1)  # false for NaN too
    np.testing.assert_array_equal(same, mask)


@pytest.mark.parametrize("name", METHODS)
def test_batched_is_one_at_a_time_and_jitted_is_eager(name, eyes):
    images, masks = eyes
    whole = batched(name)(keys(8), images, masks)
    assert whole.shape == images.shape and whole.dtype == jnp.float32
    one_by_one = [jitted(name)(k, x, m) for k, x, m in zip(keys(8), images, masks, strict=True)]
    np.testing.assert_allclose(whole, one_by_one, atol=2e-6)
    np.testing.assert_allclose(whole[0], METHODS[name](keys(8)[0], images[0], masks[0]), atol=2e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_key_decides(name, eyes):
    images, masks = eyes
    same_image = np.repeat(images[:1], 8, axis=0), np.repeat(masks[:1], 8, axis=0)
    results = batched(name)(keys(8), *same_image)
    np.testing.assert_array_equal(results, batched(name)(keys(8), *same_image))
    different = len(np.unique(np.round(results, 4), axis=0))
    assert different == 8 if name in EFFECTS else different >= 6  # with probabilities two may stay as they were


def test_grey_in_three_channels_stays_grey(eyes):
    image, mask = eyes[0][0, 6:12, 10:18], eyes[1][0, 6:12, 10:18]  # a size that is compiled already
    grey, _ = _all_at_once(KEY, image, mask)
    colour, _ = _all_at_once(KEY, np.repeat(image, 3, axis=-1), mask)
    np.testing.assert_allclose(colour, np.repeat(grey, 3, axis=-1), atol=2e-6)


def test_turning_an_effect_off_leaves_the_others_as_they_were(eyes):
    image, mask = eyes[0][0], eyes[1][0]
    shadows_only = dataclasses.replace(NOTHING, shadow=0.5)
    both = dataclasses.replace(shadows_only, contrast_inside=0.5)
    with_both, _ = jax.jit(functools.partial(low_quality, config=both))(KEY, image, mask)
    shaded, _ = jax.jit(functools.partial(low_quality, config=shadows_only))(KEY, image, mask)
    outside = widened(mask) == 0
    np.testing.assert_allclose(np.asarray(with_both)[outside], np.asarray(shaded)[outside], atol=1e-6)


@pytest.mark.parametrize("name", ["contrast_inside", "contrast_outside"])
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_contrast_is_reduced_in_one_region_only(name, strength, eyes):
    images, masks = eyes
    for x, y, m in zip(images, with_strength(name)(keys(8), images, masks, strength), masks, strict=True):
        region, other = (m, 1 - m) if name == "contrast_inside" else (1 - m, m)
        untouched, core = widened(region) == 0, widened(other) == 0
        np.testing.assert_array_equal(np.asarray(y)[untouched], x[untouched])
        left = np.asarray(y)[core].std() / x[core].std()
        assert 1 - strength - 1e-5 <= left <= 1 - strength / 2 + 1e-5
        if name == "contrast_inside":
            assert np.asarray(y)[core].mean() < x[core].mean()


def test_contrast_seam_takes_three_pixels():
    image = np.full((HEIGHT, WIDTH, 1), 0.25, np.float32)
    mask = np.zeros_like(image)
    mask[:, : WIDTH // 2] = 1
    change = np.asarray(jitted("contrast_inside")(KEY, image, mask) - image)[0, :, 0]
    full = change[0]
    assert full < -0.01
    np.testing.assert_allclose(change[WIDTH // 2 - 2 : WIDTH // 2 + 2] / full, [1, 0.75, 0.25, 0], atol=1e-5)


def test_contrast_of_a_region_without_pixels(eyes):
    image, none = eyes[0][0], np.zeros_like(eyes[1][0])
    np.testing.assert_array_equal(jitted("contrast_inside")(KEY, image, none), image)
    np.testing.assert_array_equal(jitted("contrast_outside")(KEY, image, 1 - none), image)


def test_shadow_takes_light_away_smoothly(eyes):
    images, masks = eyes
    strength = 0.6
    shade = with_strength("shadow")
    light = (np.asarray(shade(keys(8), images, masks, strength)) + 1) / (images + 1)
    assert light.min() >= 1 - strength - 1e-5 and light.max() <= 1
    assert light.min() < 1 - strength / 3
    # The profile strength (1 + tanh(5 t)) / 2, t in widths, is nowhere steeper than 2.5 strength a width.
    steepest = 2.5 * strength / WIDTH
    assert np.abs(np.diff(light, axis=1)).max() <= steepest + 1e-4
    assert np.abs(np.diff(light, axis=2)).max() <= steepest + 1e-4
    # Whatever the image, the light is the same.
    white = np.asarray(shade(keys(8), np.ones_like(images), masks, strength))
    np.testing.assert_allclose((white + 1) / 2, light, atol=1e-5)


def test_shadows_fall_from_every_side():
    white = np.ones((32, 6, 8, 1), np.float32)
    dark = np.asarray(batched("shadow")(keys(32), white, white))[..., 0]
    corners = np.stack([dark[:, 0, 0], dark[:, 0, -1], dark[:, -1, 0], dark[:, -1, -1]], axis=1)
    assert set(corners.argmin(axis=1)) == {0, 1, 2, 3}


def test_motion_blur_keeps_constant_images():
    flat = np.broadcast_to(np.float32([-1, 0.3, 1])[:, None, None, None], (3, HEIGHT, WIDTH, 1))
    np.testing.assert_allclose(batched("motion_blur")(keys(3), flat, np.ones_like(flat)), flat, atol=1e-6)


def test_motion_blur_of_a_point_is_a_line():
    length = 0.25
    longest = length * WIDTH
    black = np.full((25, WIDTH + 1, 1), -1, np.float32)  # odd, so that the point is in the middle
    black[12, WIDTH // 2] = 1
    image = np.repeat(black[None], 8, axis=0)
    # Fractions of the width: of this image, a pixel wider.
    blurred = jax.jit(jax.vmap(lambda k, x: augment.motion_blur(k, x, jnp.ones_like(x), longest / (WIDTH + 1))))
    points = (np.asarray(blurred(keys(8), image), np.float64)[..., 0] + 1) / 2
    np.testing.assert_allclose(points.sum(axis=(1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(points, points[:, ::-1, ::-1], atol=1e-5)  # nothing moves
    y, x = np.mgrid[-12:13, -(WIDTH // 2) : WIDTH // 2 + 1]
    assert points[:, np.hypot(y, x) > longest / 2 + np.sqrt(2)].max() < 1e-6
    for point in points:
        spread = np.array([[(point * a * b).sum() for a in (y, x)] for b in (y, x)])
        across, along = np.linalg.eigvalsh(spread)
        # A line of length l has the variance l^2 / 12; interpolation adds less than 1/4 each way, and ends on samples.
        assert across < 0.3
        assert (longest / 2) ** 2 / 12 < along < longest**2 / 12 * 1.3 + 0.3


def test_average_along_a_horizontal_line_of_five_pixels():
    image = np.zeros((7, 15, 1), np.float32)
    image[3, 7] = 1
    offsets = jnp.stack([jnp.zeros(5), jnp.arange(-2.0, 3.0)], axis=1)
    expected = np.zeros_like(image)
    expected[3, 5:10] = 1 / 5
    np.testing.assert_allclose(augment._average_along_line(image, offsets, 2), expected, atol=1e-7)


@hypothesis.settings(max_examples=15)
@hypothesis.given(offsets=hnp.arrays(np.float32, (4, 2), elements=st.floats(-3, 3, width=32)))
def test_average_along_a_line_against_interpolation_in_numpy(offsets):
    image = np.random.default_rng(0).uniform(-1, 1, (6, 8, 2)).astype(np.float32)
    expected = np.zeros_like(image, np.float64)
    for dy, dx in offsets:
        y, x = np.clip(np.arange(6.0) + dy, 0, 5), np.clip(np.arange(8.0) + dx, 0, 7)
        for c in range(2):
            columns = np.stack([np.interp(y, np.arange(6), image[:, j, c]) for j in range(8)], axis=1)
            expected[..., c] += np.stack([np.interp(x, np.arange(8), row) for row in columns]) / len(offsets)
    result = jax.jit(augment._average_along_line, static_argnums=2)(image, jnp.asarray(offsets), 3)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("name", EFFECTS)
def test_low_quality_applies_each_effect_alone(name, eyes):
    images, masks = eyes
    config = dataclasses.replace(NOTHING, **{name: 0.4})
    results, _ = jax.jit(jax.vmap(lambda k, x, m: low_quality(k, x, m, config)))(keys(8), images, masks)
    changed = np.abs(np.asarray(results) - images).max(axis=(1, 2, 3))
    assert changed.min() > 0.01
    if name.startswith("contrast"):
        for x, y, m in zip(images, np.asarray(results), masks, strict=True):
            untouched = widened(m if name == "contrast_inside" else 1 - m) == 0
            np.testing.assert_array_equal(y[untouched], x[untouched])
    if name == "shadow":
        assert (np.asarray(results) <= images).all()


def test_low_quality_applies_effects_as_often_as_asked():
    config = dataclasses.replace(NOTHING, shadow=0.5, probability=0.25)
    white = np.ones((400, 6, 8, 1), np.float32)
    results, _ = jax.jit(jax.vmap(lambda k, x, m: low_quality(k, x, m, config)))(keys(400), white, white)
    share = (np.asarray(results) != 1).any(axis=(1, 2, 3)).mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)


@pytest.mark.parametrize("name", [*EFFECTS, "probability"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_config_refuses_values_out_of_range(name, value):
    highest = 0.5 if name == "motion_blur" else 1
    with pytest.raises(InputError, match=f"{name} {value:g}: must be from 0 to {highest:g}"):
        AugmentConfig(**{name: value})


def test_defaults_of_config_and_functions_agree():
    for name, effect in EFFECTS.items():
        *_, strength = inspect.signature(effect).parameters.values()
        assert strength.default == getattr(AugmentConfig(), name)


def test_a_stored_batch_equals_its_images_one_by_one(eyes):
    images, masks = (values[:3] for values in eyes)
    stored, key = to_uint8(images), jax.random.key(3)
    batch = jax.jit(augment.low_quality_batch)(key, stored, masks)
    assert batch.dtype == np.uint8
    for i in range(3):
        one, _ = low_quality(jax.random.fold_in(key, i), to_float(stored[i]), masks[i])
        assert np.abs(np.asarray(batch[i], int) - np.asarray(to_uint8(one), int)).max() <= 1  # rounding of a half

"""The network for eyes and the rendered eyes of many cameras that it learnt from."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from began_jax import metrics
from began_jax.annotators import annotator, eye_shape, eyes
from began_jax.annotators.annotator import Unsure
from began_jax.data.synthetic import cameras, irises
from began_jax.errors import InputError


@pytest.fixture(scope="module")
def segment():
    return annotator.load("eyes")


@pytest.fixture(scope="module")
def rendered():
    """Eyes of another camera's size, and the true masks."""
    images, masks = zip(*(irises.render(7, i, 180, 240) for i in range(12)), strict=True)
    return np.stack(images), np.stack(masks)


def test_eyes_of_many_cameras_are_functions_of_seed_and_index():
    image, mask = cameras.render(0, 3, 48, 64)
    again = cameras.render(0, 3, 48, 64)
    assert image.shape == mask.shape == (48, 64, 1) and set(np.unique(mask)) <= {0, 1}
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(mask, again[1])
    assert (cameras.render(0, 4, 48, 64)[0] != image).any() and (cameras.render(1, 3, 48, 64)[0] != image).any()


def test_framing_and_light_differ_widely_from_eye_to_eye():
    found = [cameras.render(0, i, 48, 64) for i in range(60)]
    shares = [mask.mean() for _, mask in found]
    greys = [image.mean() for image, _ in found]
    assert np.quantile(shares, 0.9) > 5 * np.quantile(shares, 0.1) and np.ptp(greys) > 100


def test_a_wider_rim_and_lines_inside_of_the_lids_move_the_mask_alone():
    s, fibres, lashes, places = irises._draw_scene(0, 0)
    given = (s, fibres, lashes, places, [], 48, 64)
    image, mask = irises.paint(*given)
    same, rimmed = irises.paint(*given, rim=1.0)
    _, lowered = irises.paint(*given, lids=(0.1, 0.1))
    np.testing.assert_array_equal(image, same)
    assert (rimmed >= mask).all() and rimmed.sum() > mask.sum()
    assert (lowered <= mask).all() and lowered.sum() < mask.sum()


def test_it_finds_the_iris_of_eyes_that_it_has_not_seen(segment, rendered):
    images, masks = rendered
    found = np.stack([segment(image) for image in images])
    assert metrics.iou(found.astype(np.float32), masks.astype(np.float32)).mean() > 0.85
    mean = np.broadcast_to(masks.mean(0), masks.shape)
    assert metrics.iou(mean.astype(np.float32), masks.astype(np.float32)).mean() < 0.75


def test_greys_and_colours_of_a_picture_do_not_matter(segment, rendered):
    image, mask = rendered[0][0], segment(rendered[0][0])
    np.testing.assert_array_equal(segment(np.repeat(image, 3, 2)), mask)
    darker = (image // 2 + 20).astype(np.uint8)
    assert metrics.iou(segment(darker)[None].astype(np.float32), mask[None].astype(np.float32))[0] > 0.97


def test_any_size_will_do_and_a_mirrored_eye_has_the_mirrored_mask(segment, rendered):
    image, mask = rendered[0][1], rendered[1][1].astype(np.float32)
    assert metrics.iou(segment(image[:, ::-1])[None, :, ::-1].astype(np.float32), segment(image)[None])[0] > 0.93
    for height, width in ((90, 120), (210, 240), (101, 97)):
        size, nearest = (width, height), Image.Resampling.NEAREST
        small = np.asarray(Image.fromarray(image[..., 0]).resize(size, Image.Resampling.BOX))[..., None]
        wanted = np.asarray(Image.fromarray(mask[..., 0]).resize(size, nearest))[..., None]
        found = segment(small)
        assert found.shape == (height, width, 1)
        if abs(height / width - 0.75) < 0.15:
            assert metrics.iou(found[None].astype(np.float32), wanted[None])[0] > 0.8


def test_a_small_iris_is_looked_at_from_near(segment, rendered):
    for image, mask in zip(*(of[3:6] for of in rendered), strict=True):
        whole = np.pad(image[..., 0], ((120, 120), (160, 160)), "edge").astype(np.float32)
        whole = ndimage.gaussian_filter(whole, 12) + np.random.default_rng(0).normal(0, 3, whole.shape)
        wide = whole.clip(0, 255).round().astype(np.uint8)
        wide[120:300, 160:400] = image[..., 0]
        truth = np.pad(mask[..., 0], ((120, 120), (160, 160)))
        found = segment(wide[..., None])
        assert metrics.iou(found[None].astype(np.float32), truth[None, ..., None].astype(np.float32))[0] > 0.85
        soft = segment._mean(wide, eyes.WIDTHS)
        assert segment._closer(wide, soft) is not soft


def test_a_cut_out_without_contrast_leaves_the_mask_of_the_whole(segment, monkeypatch):
    """Of a small iris in a haze that greys of the whole picture stretch."""
    y, x = np.mgrid[:240, :320]
    disc = (x - 160) ** 2 + (y - 120) ** 2 < 40**2
    picture = np.where(disc, 100, 105).astype(np.uint8)
    picture[:, :20], picture[:, -20:] = 0, 255

    def soft(grey, width):
        eyes.stretched(grey)
        return np.where(grey == 100, 1.0, 0.0)

    monkeypatch.setattr(segment, "_soft", soft)
    found = segment(picture[..., None])[..., 0] > 0
    assert (found & disc).sum() > 0.99 * (found | disc).sum()


def test_what_is_no_eye_has_no_answer(segment):
    with pytest.raises(Unsure, match="no contrast"):
        segment(np.full((60, 80, 1), 90, np.uint8))
    slope = np.repeat(np.linspace(0, 255, 80).astype(np.uint8)[None, :, None], 60, 0)
    for picture in (slope, np.random.default_rng(0).integers(0, 256, (120, 160, 1), np.uint8)):
        with pytest.raises(Unsure, match="no iris"):
            segment(picture)


def test_parameters_are_kept_as_half_floats_and_are_few(tmp_path):
    kept = eyes.load(eyes.WEIGHTS)
    eyes.save(kept, tmp_path / "again.npz")
    again = eyes.load(tmp_path / "again.npz")
    from jax import tree

    tree.map(np.testing.assert_array_equal, again, kept)
    assert eyes.WEIGHTS.stat().st_size < 600_000
    with pytest.raises(InputError, match="missing"):
        eyes.load(tmp_path / "none.npz")


def frayed(mask):
    """A soft mask of an eye whose left third of the rim, and whose upper lid, are missed here and there."""
    soft = mask[..., 0].astype(np.float32)
    y, x = np.nonzero(soft)
    left, top = x.min(), y.min()
    soft[len(soft) // 2 - 15 : len(soft) // 2 + 10, : left + 12] = 0
    soft[: top + 8, (left + x.max()) // 2 : (left + x.max()) // 2 + 12] = 0
    return soft


def test_the_shape_nearest_to_an_eyes_own_mask_is_that_mask_and_dents_are_mended(rendered):
    as_floats = lambda masks: np.stack(masks)[..., None].astype(np.float32)  # noqa: E731
    truth, dented = rendered[1][:4].astype(np.float32), [frayed(mask) for mask in rendered[1][:4]]
    same = as_floats([eye_shape.nearest(mask[..., 0]) for mask in truth])
    assert metrics.iou(same, truth).min() > 0.98
    mended = as_floats([eye_shape.nearest(soft) for soft in dented])
    before, after = metrics.iou(as_floats(dented), truth), metrics.iou(mended, truth)
    assert (after > before).all() and after.mean() > before.mean() + 0.008, (before, after)


def test_a_shape_goes_on_where_the_picture_ends_and_is_mirrored_with_it(rendered):
    soft = rendered[1][2][..., 0].astype(np.float32)
    right = np.nonzero(soft.any(0))[0].max()
    whole, cut = (eye_shape.nearest(part) for part in (soft, soft[:, : right - 12]))
    shared = (whole[:, : right - 12] & cut).sum() / (whole[:, : right - 12] | cut).sum()
    assert shared > 0.97
    mirrored = eye_shape.nearest(soft[:, ::-1])[:, ::-1]
    assert (mirrored & whole).sum() / (mirrored | whole).sum() > 0.97


def test_a_mask_that_is_not_an_irises_stays(segment, monkeypatch, rendered):
    image = rendered[0][0]
    shaped = segment(image)
    monkeypatch.setattr(eye_shape, "nearest", lambda soft: np.zeros(soft.shape, bool))  # hardly alike
    assert 0.9 < metrics.iou(segment(image)[None].astype(np.float32), shaped[None].astype(np.float32))[0] < 1

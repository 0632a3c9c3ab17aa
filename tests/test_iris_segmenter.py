"""The classical iris segmenter on rendered eyes, whose masks are exact, and on pictures of no eye."""

import pickle

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the iris segmenter needs opencv-python-headless")

from began_jax.annotators.annotator import Unsure  # noqa: E402
from began_jax.annotators.irises import IrisSegmenter, find_eye  # noqa: E402
from began_jax.data.synthetic.irises import render  # noqa: E402

SEED = 7
HEIGHT, WIDTH = 240, 320


@pytest.fixture(scope="module")
def eyes():
    """Pictures and masks of 24 rendered eyes."""
    return [render(SEED, index, HEIGHT, WIDTH) for index in range(24)]


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def segmented(images):
    """Returns the masks of the images, None where there is no answer."""
    masks = []
    for image in images:
        try:
            masks.append(IrisSegmenter()(image))
        except Unsure:
            masks.append(None)
    return masks


def test_rendered_eyes_are_answered_well(eyes):
    found = segmented([image for image, _ in eyes])
    ious = [0.0 if answer is None else iou(answer, mask) for answer, (_, mask) in zip(found, eyes, strict=True)]
    assert np.mean(ious) > 0.85
    assert np.mean(np.array(ious) > 0.6) > 0.9


def test_mask_has_the_pictures_size_and_only_0_and_1(eyes):
    for height, width in ((96, 128), (280, 320), (480, 640), (251, 333)):
        image, _ = render(SEED, 0, height, width)
        mask = IrisSegmenter()(image)
        assert mask.shape == (height, width, 1)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}


def test_small_pictures_are_answered_well():
    eyes = [render(SEED, index, 96, 128) for index in range(12)]
    found = segmented([image for image, _ in eyes])
    assert np.mean([0 if f is None else iou(f, mask) for f, (_, mask) in zip(found, eyes, strict=True)]) > 0.8


def test_size_does_not_matter(eyes):
    doubled = [np.repeat(np.repeat(image, 2, 0), 2, 1) for image, _ in eyes[:8]]
    pairs = zip(segmented([image for image, _ in eyes[:8]]), segmented(doubled), strict=True)
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert len(pairs) >= 6
    assert np.median([iou(np.repeat(np.repeat(a, 2, 0), 2, 1), b) for a, b in pairs]) > 0.95


def test_mirrored_eye_has_the_mirrored_mask(eyes):
    mirrored = segmented([np.ascontiguousarray(image[:, ::-1]) for image, _ in eyes[:8]])
    pairs = zip(segmented([image for image, _ in eyes[:8]]), mirrored, strict=True)
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert len(pairs) >= 6
    assert np.median([iou(a[:, ::-1], b) for a, b in pairs]) > 0.95


def test_exposure_does_not_matter(eyes):
    dim = segmented([(60 + 0.4 * image).astype(np.uint8) for image, _ in eyes[:8]])
    pairs = zip(segmented([image for image, _ in eyes[:8]]), dim, strict=True)
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert len(pairs) >= 6
    assert np.median([iou(a, b) for a, b in pairs]) > 0.95


def test_same_picture_same_mask_also_pickled_and_in_three_channels(eyes):
    image = eyes[0][0]
    segmenter = IrisSegmenter()
    mask = segmenter(image)
    np.testing.assert_array_equal(segmenter(image), mask)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(segmenter))(image), mask)
    np.testing.assert_array_equal(segmenter(np.repeat(image, 3, axis=2)), mask)


def test_pupil_and_limbus_of_a_plain_eye():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.full((HEIGHT, WIDTH), 200, np.float32)
    image[np.hypot(x - 165, y - 118) < 85] = 120
    image[np.hypot(x - 160, y - 120) < 35] = 30
    image = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.uint8)[..., None]
    pupil, limbus, _, _ = find_eye(image)
    np.testing.assert_allclose([pupil.x, pupil.y, pupil.radius()], [160, 120, 35], atol=1.5)
    # The bend's first harmonic moves the circle.
    circle = np.array([limbus.x, limbus.y, limbus.r]) + limbus.bend[[1, 2, 0]]
    np.testing.assert_allclose(circle, [165, 118, 85], atol=3)


@pytest.mark.parametrize("sigma", [0, 4, 8, 16])
def test_noise_is_no_eye(sigma):
    noise = np.random.default_rng(sigma).standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma) if sigma else noise
    noise = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    with pytest.raises(Unsure, match=r"no pupil|no limbus"):
        IrisSegmenter()(noise[..., None])


def test_a_blank_picture_is_no_eye():
    with pytest.raises(Unsure, match="no contrast"):
        IrisSegmenter()(np.full((HEIGHT, WIDTH, 1), 128, np.uint8))


def test_a_pupil_alone_is_no_eye():
    disk = cv2.circle(np.full((HEIGHT, WIDTH), 200, np.uint8), (160, 120), 30, 20, -1)
    with pytest.raises(Unsure, match="no limbus"):
        IrisSegmenter()(disk[..., None])


def test_half_an_eye_without_its_pupil_is_unsure(eyes):
    covered = np.where(np.arange(HEIGHT)[:, None, None] < 150, 190, eyes[1][0]).astype(np.uint8)
    with pytest.raises(Unsure):
        IrisSegmenter()(covered)

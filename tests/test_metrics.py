"""Measures and baselines against slow loops and closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from began_jax import metrics
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.landmarks import scheme

seeds = st.integers(0, 2**32 - 1)


def slow_nme(predicted, truth, height, width):
    errors = []
    for p, t in zip(predicted, truth, strict=True):
        pixels = [(x * width, y * height) for x, y in t]
        distances = [math.dist((x * width, y * height), point) for (x, y), point in zip(p, pixels, strict=True)]
        if len(pixels) == 49:
            scale = math.dist(pixels[19], pixels[28])
        else:
            low, high = map(min, zip(*pixels, strict=True)), map(max, zip(*pixels, strict=True))
            scale = math.dist(tuple(low), tuple(high))
        errors.append(100 * sum(distances) / len(distances) / scale)
    return errors


@given(seeds, st.sampled_from([2, 5, 49]), st.integers(1, 200), st.integers(1, 200))
def test_nme_equals_a_loop_over_points(seed, points, height, width):
    rng = np.random.default_rng(seed)
    predicted, truth = rng.random((2, 3, points, 2))
    found = metrics.nme_percent(predicted, truth, height, width)
    np.testing.assert_allclose(found, slow_nme(predicted, truth, height, width), rtol=1e-9)


@given(seeds, st.floats(0.1, 10))
def test_nme_does_not_depend_on_the_images_scale_and_is_0_for_the_truth(seed, factor):
    predicted, truth = np.random.default_rng(seed).random((2, 3, 49, 2))
    one, other = (metrics.nme_percent(predicted, truth, size, 2 * size) for size in (10, 40))
    np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_array_equal(metrics.nme_percent(truth, truth, 10, 20), 0)
    moved = metrics.nme_percent(truth + factor * (predicted - truth), truth, 10, 20)
    np.testing.assert_allclose(moved, factor * metrics.nme_percent(predicted, truth, 10, 20), rtol=1e-9)


def test_nme_of_a_shift_by_the_distance_of_the_outer_eyes_is_100_percent():
    truth = np.random.default_rng(0).random((1, 49, 2))
    truth[0, 19], truth[0, 28] = (0.25, 0.5), (0.75, 0.5)
    for shift, wanted in (((0.5, 0), 100), ((0, 0.5), 50)):  # the image is twice as wide as high
        found = metrics.nme_percent(truth + np.array([[shift]]), truth, 10, 20)
        np.testing.assert_allclose(found, wanted)


@given(seeds, st.integers(1, 7), st.integers(1, 7))
def test_iou_equals_a_count_over_pixels(seed, height, width):
    rng = np.random.default_rng(seed)
    predicted = rng.random((4, height, width, 1))
    truth = (rng.random((4, height, width, 1)) > rng.random((4, 1, 1, 1))).astype(np.float32)
    wanted = []
    for p, t in zip(predicted, truth, strict=True):
        inside = {tuple(place) for place in np.argwhere(p > 0.5)}
        true = {tuple(place) for place in np.argwhere(t == 1)}
        wanted.append(len(inside & true) / len(inside | true) if inside | true else 1)
    np.testing.assert_allclose(metrics.iou(predicted, truth), wanted)
    np.testing.assert_array_equal(metrics.iou(truth, truth), 1)


def test_iou_of_empty_masks_is_1_where_both_are_empty_and_0_where_one_is():
    empty, full = np.zeros((1, 2, 3, 1)), np.ones((1, 2, 3, 1))
    found = [metrics.iou(p, t)[0] for p, t in ((empty, empty), (empty, full), (full, empty), (full, full))]
    assert found == [1, 0, 0, 1]
    assert metrics.iou(0.4 * full, full, threshold=0.3) == 1


@given(seeds)
def test_e1_and_f1_equal_counts_over_pixels(seed):
    rng = np.random.default_rng(seed)
    predicted, truth = (rng.random((2, 4, 5, 6, 1)) > rng.random((2, 4, 1, 1, 1))).astype(np.float32)
    wrong, wanted = 0, []
    for p, t in zip(predicted.astype(bool), truth.astype(bool), strict=True):
        wrong += (p ^ t).sum()
        precision, recall = (p & t).sum() / max(p.sum(), 1), (p & t).sum() / max(t.sum(), 1)
        wanted.append(2 * precision * recall / (precision + recall) if precision + recall else float(not (p | t).any()))
    np.testing.assert_allclose(metrics.e1_percent(predicted, truth), 100 * wrong / truth.size)
    np.testing.assert_allclose(metrics.f1(predicted, truth), np.mean(wanted))
    assert metrics.e1_percent(truth, truth) == 0 and metrics.f1(truth, truth) == 1


@given(seeds)
def test_auc_is_the_area_under_the_shares_within_each_error(seed):
    nme = np.random.default_rng(seed).gamma(2, 3, 50)
    errors = np.linspace(0, 10, 20_001)
    within = (nme[None] <= errors[:, None]).mean(1)
    np.testing.assert_allclose(metrics.auc(nme), np.trapezoid(within, errors) / 10, atol=1e-3)
    np.testing.assert_allclose(metrics.failure_percent(nme), 100 * (1 - within[-1]))
    assert metrics.auc(np.zeros(3)) == 1 and metrics.auc(np.full(3, 11.0)) == 0


@pytest.mark.parametrize("shape", [(3, 2), (4, 5, 1)])
def test_ridge_equals_its_closed_form_at_the_strength_it_chose(shape):
    rng = np.random.default_rng(0)
    z, targets = rng.normal(1, 2, (40, 6)), rng.random((40, *shape))
    ridge = metrics.Ridge(z, targets)
    # Regression on [1, z] with no penalty on the 1, by the normal equations.
    design = np.c_[np.ones(40), z]
    penalty = ridge.strength * np.diag([0.0] + [1.0] * 6)
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets.reshape(40, -1))
    new = rng.normal(1, 2, (7, 6))
    wanted = (np.c_[np.ones(7), new] @ weights).reshape(7, *shape)
    np.testing.assert_allclose(ridge(new), wanted, rtol=1e-8)


@given(seeds)
def test_ridge_recovers_a_linear_map(seed):
    rng = np.random.default_rng(seed)
    matrix, offset = rng.normal(size=(5, 6)), rng.normal(size=6)
    z, new = rng.normal(3, 1, (200, 5)), rng.normal(3, 1, (20, 5))
    ridge = metrics.Ridge(z.astype(np.float32), (z @ matrix + offset).reshape(200, 3, 2).astype(np.float32))
    np.testing.assert_allclose(ridge(new), (new @ matrix + offset).reshape(20, 3, 2), atol=1e-3)


@given(seeds)
def test_ridge_on_noise_is_hardly_worse_than_the_mean(seed):
    rng = np.random.default_rng(seed)
    z, targets = rng.normal(size=(100, 20)), rng.normal(size=(100, 10, 2))
    new, truth = rng.normal(size=(200, 20)), rng.normal(size=(200, 10, 2))
    error = ((metrics.Ridge(z, targets)(new) - truth) ** 2).mean()
    mean = ((targets.mean(0)[None] - truth) ** 2).mean()
    assert error < 1.1 * mean


@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_ridge_works_on_few_examples(count):
    rng = np.random.default_rng(0)
    predicted = metrics.Ridge(rng.normal(size=(count, 8)), rng.random((count, 4, 2)))(rng.normal(size=(3, 8)))
    assert predicted.shape == (3, 4, 2)
    assert np.isfinite(predicted).all()


@given(seeds, st.integers(1, 6), st.integers(1, 5))
def test_accuracies_equal_a_count_over_attributes(seed, count, attributes):
    rng = np.random.default_rng(seed)
    predicted, truth = rng.random((count, attributes)), rng.integers(0, 2, (count, attributes)).astype(np.float32)
    right = [[(p > 0.5) == (t == 1) for p, t in zip(*rows, strict=True)] for rows in zip(predicted, truth, strict=True)]
    found = metrics.accuracy_percent(predicted, truth)
    np.testing.assert_allclose(found, [100 * sum(row) / attributes for row in right])
    balanced = []
    for k in range(attributes):
        answers = {t: [row[k] for row, true in zip(right, truth, strict=True) if true[k] == t] for t in (0, 1)}
        balanced.append(np.mean([np.mean(a) for a in answers.values() if a]))
    np.testing.assert_allclose(metrics.balanced_accuracy_percent(predicted, truth), 100 * np.mean(balanced))


def test_the_majority_is_as_accurate_as_an_attribute_is_rare_and_of_balanced_accuracy_50():
    truth = np.zeros((10, 2), np.float32)
    truth[0, 0], truth[2:, 1] = 1, 1
    mean = np.broadcast_to(truth.mean(0), truth.shape)
    np.testing.assert_allclose(metrics.accuracy_percent(mean, truth).mean(), 85)
    np.testing.assert_allclose(metrics.balanced_accuracy_percent(mean, truth), 50)
    assert metrics.balanced_accuracy_percent(truth, truth) == 100


def test_rms_error_is_the_root_of_the_mean_square_of_any_shape():
    rng = np.random.default_rng(0)
    for shape in ((5, 2), (6, 4, 1), (3,)):
        a, b = rng.normal(size=(2, 7, *shape)).astype(np.float32)
        pairs = [list(zip(a[i].flat, b[i].flat, strict=True)) for i in range(7)]
        expected = [np.sqrt(np.mean([(x - y) ** 2 for x, y in each])) for each in pairs]
        np.testing.assert_allclose(metrics.rms_error(a, b), expected, rtol=1e-5)
    mask = rng.integers(0, 2, (7, 4, 4, 1)).astype(np.uint8)  # where a difference of uint8 would wrap round
    np.testing.assert_allclose(metrics.rms_error(1.0 - mask.astype(np.float32), mask), 1)
    truth = np.array([[1, np.nan], [2, 3]], jnp.bfloat16)  # no kind of float to numpy, and its NaN is absent as any
    np.testing.assert_allclose(metrics.rms_error(np.zeros((2, 2), np.float32), truth), [1, np.sqrt(6.5)])


def test_rank_correlation_sees_the_order_alone():
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    assert metrics.rank_correlation(a, np.exp(3 * a)) == pytest.approx(1)
    assert metrics.rank_correlation(a, -(a**3)) == pytest.approx(-1)
    assert metrics.rank_correlation(a, np.ones(50)) == 0
    ranks = lambda values: np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])  # noqa: E731
    b = rng.integers(0, 5, 50).astype(np.float64)
    assert metrics.rank_correlation(a, b) == pytest.approx(np.corrcoef(ranks(a), ranks(b))[0, 1])


def test_the_kept_are_those_with_the_least_doubt():
    errors, doubt = np.arange(10.0), np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0.0])
    np.testing.assert_array_equal(metrics.kept(errors, doubt, 0.3), [9, 8, 7])
    assert len(metrics.kept(errors, doubt, 0.01)) == 1 and metrics.kept(errors, doubt, 1.0).mean() == errors.mean()


def test_what_does_not_belong_together_is_not_compared():
    with pytest.raises(InputError, match=r"\[3, 8, 8, 1\] and \[1, 8, 8, 1\]; they must have one shape, of 4 axes"):
        metrics._same_shape(np.zeros((3, 8, 8, 1)), np.zeros((1, 8, 8, 1)), 4)
    with pytest.raises(InputError, match="of 4 axes"):
        metrics._same_shape(np.zeros((3, 8, 8)), np.zeros((3, 8, 8)), 4)
    z, points = np.zeros((12, 4), np.float32), np.random.default_rng(0).random((2, 49, 2)).astype(np.float32)
    for compare, message in (
        (lambda: metrics.Ridge(z * np.nan, z), "a finite latent"),
        (lambda: metrics.Ridge(z, z)(z[:, :1]), r"must be \[count, 4\]"),
        (lambda: metrics.nme_percent(64 * points, 64 * points, 64, 64), "must be fractions of width and height"),
        (lambda: metrics.nme_percent(points, points, 0, 64), "of 0x64"),
        (lambda: metrics.nme_percent(points, points, 64, 64, scheme(68)), "49 points, and 68 in the scheme"),
        (lambda: metrics.nme_percent(0 * points, 0 * points, 64, 64), "are in one place"),
        (lambda: metrics.accuracy_percent(z * np.nan, z), "a prediction is NaN"),
        (lambda: metrics.balanced_accuracy_percent(z, z * np.nan), "a true value is NaN"),
        (lambda: metrics.iou(np.full((1, 4, 4, 1), np.nan), np.zeros((1, 4, 4, 1))), "a prediction is NaN"),
    ):
        with pytest.raises(InputError, match=message):
            compare()


def test_images_are_converted_from_the_other_form_alone():
    floats = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 2, 2, 3)
    with pytest.raises(InputError, match="float32; they must be uint8"):
        to_float(floats)
    with pytest.raises(InputError, match="uint8; they must be floats"):
        to_uint8(to_uint8(floats))

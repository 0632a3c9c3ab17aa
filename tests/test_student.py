"""The augmentation of a student's pairs: an annotation stays on what it annotates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import moving, student
from began_jax.models.heads import ImageToVector, ToLandmarks

HEIGHT, WIDTH, COUNT = 40, 56, 6


def spots(points):
    """Images [count, height, width, points], a spot in each channel about its point."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    to = (points * [WIDTH, HEIGHT])[:, None, None]
    distance = (x[None, ..., None] - to[..., 0]) ** 2 + (y[None, ..., None] - to[..., 1]) ** 2
    return np.exp(-distance / 8).astype(np.float32)


def centres(images):
    """Where the spots are, as fractions of width and height."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    total = images.sum((1, 2))
    mean = lambda place: (images * place[None, ..., None]).sum((1, 2)) / total  # noqa: E731
    return np.stack([mean(x) / WIDTH, mean(y) / HEIGHT], -1)


@pytest.fixture(scope="module")
def points():
    """Five points near the middle, so that none leaves the picture."""
    return np.random.default_rng(0).uniform(0.36, 0.64, (COUNT, 5, 2)).astype(np.float32)


def test_landmarks_move_with_the_picture(points):
    images, moved = map(np.array, jax.jit(moving.with_landmarks)(jax.random.key(1), spots(points), points))
    found = centres(images)
    unmirrored = np.abs(found - moved).max((1, 2)) < 0.004
    # A mirrored picture's left and right points have changed places, and with them their channels.
    mirrored = np.abs(found - moved[:, [1, 0, 2, 4, 3]]).max((1, 2)) < 0.004
    assert (unmirrored ^ mirrored).all() and unmirrored.any() and mirrored.any()
    assert (np.abs(moved - points).max((1, 2)) > 0.01).all()


def test_points_whose_pairs_are_not_known_are_not_mirrored(points):
    three = jnp.asarray(points[:, :3])
    x = jnp.asarray(spots(points[:, :3]))
    images, moved = map(np.array, moving.with_landmarks(jax.random.key(1), x, three))
    np.testing.assert_allclose(centres(images), moved, atol=0.004)


def test_training_goes_on_from_the_parameters_it_is_given():
    pairs = (np.full((4, 16, 16, 3), 99, np.uint8), np.full((4, 2), 0.7, np.float32))
    network, steps = ImageToVector((4, 4), (2,)), student.Recipe(steps=3, batch_size=4)
    before = student.fit(network, [pairs], steps)
    same = student.fit(network, [pairs], steps._replace(learning_rate=0.0), start=before)
    jax.tree.map(np.testing.assert_array_equal, same, before)  # which is not donated either
    after = student.fit(network, [pairs], steps, start=before)
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), after, before)))


def test_masks_move_with_the_picture(points):
    images = spots(points[:, :1])
    masks = (images > 0.5).astype(np.float32)
    moved, truth = map(np.array, jax.jit(moving.with_hard_masks)(jax.random.key(2), images, masks))
    assert set(np.unique(truth)) == {0, 1}
    expected = moved > 0.5
    assert ((truth == 1) & expected).sum() / ((truth == 1) | expected).sum() > 0.85
    assert (masks != truth).any((1, 2, 3)).all()


def test_masks_of_half_the_size_move_as_the_picture_does(points):
    images = jnp.asarray(spots(points[:, :1]))
    small = images.reshape(COUNT, HEIGHT // 2, 2, WIDTH // 2, 2, 1).mean((2, 4))
    _, whole = moving.with_hard_masks(jax.random.key(2), images, images)
    _, half = moving.with_hard_masks(jax.random.key(2), images, small)
    whole, half = np.asarray(whole)[:, ::2, ::2] > 0.5, np.asarray(half) > 0.5
    assert (whole & half).sum() / (whole | half).sum() > 0.7


def test_no_move_is_exact():
    images = jax.random.uniform(jax.random.key(0), (2, 5, 8, 3))
    still = jnp.broadcast_to(jnp.eye(2), (2, 2, 2)), jnp.zeros((2, 2))
    np.testing.assert_array_equal(moving.move(images, *still), images)


def test_a_shift_of_whole_pixels_repeats_the_edge():
    images = np.arange(5 * 8, dtype=np.float32).reshape(1, 5, 8, 1)
    moved = moving.move(jnp.asarray(images), jnp.eye(2)[None], jnp.array([[2 / 8, -1 / 5]]))
    expected = np.pad(images, ((0, 0), (0, 1), (2, 0), (0, 0)), mode="edge")[:, 1:, :8]
    np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_light_changes_images_alike_in_all_pixels_and_attributes_not_at_all():
    images = jax.random.uniform(jax.random.key(0), (4, 6, 6, 3), minval=-1)
    attributes = jnp.ones((4, 2))
    lit, same = student.augment(jax.random.key(1), images, attributes)
    np.testing.assert_array_equal(same, attributes)
    for before, after in zip(images, lit, strict=True):
        lines = [np.polyfit(before[..., c].ravel(), after[..., c].ravel(), 1) for c in range(3)]
        slope, offset = zip(*lines, strict=True)
        np.testing.assert_allclose(slope, slope[0], rtol=1e-4)
        fitted = np.asarray(before) * np.array(slope) + np.array(offset)
        np.testing.assert_allclose(after, fitted, atol=1e-5)
        assert 0.8 <= slope[0] <= 1.2 and abs(slope[0] - 1) > 1e-3


@pytest.mark.parametrize("name", student.NETWORKS)
@pytest.mark.parametrize("kind, shape", [("landmarks", (5, 2)), ("mask", (40, 56, 1)), ("attributes", (3,))])
def test_its_network_answers_in_the_kinds_shape_and_that_of_masks_is_small(kind, shape, name):
    head = ToLandmarks(5) if kind == "landmarks" else None
    network = student.network(kind, shape, HEIGHT, WIDTH, name, head)
    parameters = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, HEIGHT, WIDTH, 3))))
    x = jax.ShapeDtypeStruct((2, HEIGHT, WIDTH, 3), jnp.float32)
    assert jax.eval_shape(network.apply, parameters, x).shape == (2, *shape)
    if kind == "mask":
        assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) < 150_000


def test_a_student_learns_the_same_again_from_sets_that_share_its_batches(points):
    images = np.round(spots(points) * 255).astype(np.uint8)
    few, many = (images[:2], points[:2]), (images[2:], points[2:])
    network, recipe = ImageToVector((4, 6), (5, 2)), student.Recipe(steps=40, batch_size=6)
    done = []

    def error(sets, recipe=recipe, seed=0):
        parameters = student.fit(network, sets, recipe, seed, lambda: done.append(1))
        predicted = network.apply({"params": parameters}, jnp.asarray(images, jnp.float32) / 127.5 - 1)
        return float(np.abs(np.asarray(predicted) - points).mean())

    before = student._step.cache_info().misses
    trained = error([few, many])
    assert student._step.cache_info().misses == before + 1
    assert len(done) == 40 and trained == error([few, many]) != error([few, many], seed=1)
    assert student._step.cache_info().misses == before + 1  # another seed is an argument
    assert trained < 0.3 * error([few, many], recipe._replace(steps=1))
    assert trained < error([many]) or trained < error([few])  # who has seen all knows more than who has not

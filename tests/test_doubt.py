"""Doubt of annotations: its two terms, and which pairs a share of them keeps."""

from types import SimpleNamespace
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from began_jax.kinds import LANDMARKS, MASK
from began_jax.run import doubt, pairs
from began_jax.run.answers import Pure, TrainedAspect
from began_jax.run.folder import Run
from began_jax.run.generator import Generator

LATENT = 3


def run(encoder=True):
    """A run whose images show their latents, and whose encoder is wrong where the first of them is positive."""

    def apply(parameters, z):
        return jnp.tile(z[:, None, None, :], (1, 2, 2, 1))

    def encode(parameters, images):
        z = images[:, 0, 0]
        return jnp.where(z[:, :1] > 0, z + parameters, z)

    given = {"encode": encode, "encoder_parameters": jnp.asarray(0.5)} if encoder else {}
    found = mock.create_autospec(Run, instance=True)
    found.inverted = Generator(apply, jnp.zeros(()), LATENT, (2, 2, LATENT), **given)
    found.kind = LANDMARKS
    found.config = SimpleNamespace(latent_size=LATENT)
    found.latents.return_value = {"z": np.zeros((4, LATENT), np.float32)}
    return found


ASPECT = TrainedAspect(lambda z: 2 * z[:, :2], 1)
UNSURE = ASPECT._replace(expected_error=lambda z: np.abs(z[:, 2]))


def answer(parameters, z):
    return 2 * z[:, :2]


PURE = Pure({}, answer, answer, lambda p, z, x: answer(p, z), lambda p, z: jnp.abs(z[:, 2]))


def test_what_an_image_network_reads_differently_is_doubtful_too():
    z = np.random.default_rng(0).uniform(-0.4, 0.4, (300, LATENT)).astype(np.float32)
    apart = np.where(np.arange(300) % 2, 0.3, 0.0).astype(np.float32)[:, None]
    looking = ASPECT._replace(look=lambda images: 2 * z[:, :2] + apart, look_share=0.5)
    blind, images = run(encoder=False), run().inverted.pictures(z)
    np.testing.assert_allclose(doubt.of(blind, looking)(z, images, False), apart[:, 0], atol=1e-6)
    both = doubt.of(blind, looking._replace(expected_error=UNSURE.expected_error))(z, images, False)
    np.testing.assert_allclose(both, np.hypot(apart[:, 0], z[:, 2]), rtol=1e-5)
    with_encoder = doubt.of(run(), looking)(z, images, False)
    np.testing.assert_allclose(with_encoder, np.hypot(apart[:, 0], z[:, 0] > 0), atol=0.02)  # pixels are rounded
    # Of masks the mean of both is unsure where the two differ.
    zeros, ones = np.zeros((4, 2, 2, 1), np.float32), np.ones((4, 2, 2, 1), np.float32)
    masks = TrainedAspect(lambda z: zeros, 1, look=lambda images: ones, look_share=0.5)
    blind.kind = MASK
    np.testing.assert_allclose(doubt.of(blind, masks)(z[:4], images[:4], False), 0.25 / 0.5)


def test_doubt_of_a_mask_is_the_share_of_wrong_pixels_to_be_expected_over_its_area():
    rng = np.random.default_rng(0)
    z = rng.uniform(-0.3, 0.4, (50, LATENT)).astype(np.float32)  # more than one pixel of six is inside
    masks = lambda z: np.tile(z[:, :1, None, None] + 0.5, (1, 2, 3, 1))  # noqa: E731
    aspect = TrainedAspect(masks, 1, expected_error=lambda z: np.abs(z[:, 2]))
    of_masks = run()
    of_masks.kind = MASK
    p, changed = z[:, 0] + 0.5, np.where(z[:, 0] > 0, 0.5, 0.0)
    wanted = (z[:, 2] ** 2 + changed**2 + p * (1 - p)) / p
    found = doubt.of(of_masks, aspect)(z, of_masks.inverted.pictures(z), False)
    np.testing.assert_allclose(found, wanted, atol=0.03)
    # The error that it is to rank is that of the masks as they are used, of two values.
    truth = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)[..., None, None]
    answers = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], np.float32)[..., None, None]
    np.testing.assert_allclose(doubt.true_error(of_masks, answers, truth), [1 / 3, 1 / 2, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("aspect", [ASPECT, UNSURE])
def test_doubt_is_the_expected_error_and_the_change_when_the_image_is_looked_at(aspect):
    rng = np.random.default_rng(0)
    z = rng.uniform(-0.4, 0.4, (300, LATENT)).astype(np.float32)
    images = run().inverted.pictures(z)
    expected = np.where(z[:, 0] > 0, 1.0, 0.0) ** 2  # both values change by 2 * 0.5
    expected = expected + (z[:, 2] ** 2 if aspect.expected_error else 0)
    found = doubt.of(run(), aspect)(z, images, False)
    np.testing.assert_allclose(found, np.sqrt(expected), atol=0.02)  # pixels are rounded
    blind = doubt.of(run(encoder=False), aspect)
    if aspect.expected_error is None:
        assert blind is None
    else:
        np.testing.assert_allclose(blind(z, images, False), np.abs(z[:, 2]), rtol=1e-6)


def test_a_share_of_the_pairs_is_that_with_the_least_doubt_in_the_same_order():
    def drawn(count, keep):
        found = list(pairs.drawn(run(), UNSURE._replace(pure=PURE), count, pairs.Draw(keep=keep), 3))
        return [np.concatenate([getattr(part, name) for part in found]) for name in pairs.Pairs._fields]

    z, images, annotations, doubts, numbers = drawn(1000, 1.0)
    kept = drawn(600, 0.5)
    assert all(len(values) == 600 for values in kept)
    most = kept[3].max()
    assert abs((doubts <= most).mean() - 0.5) < 0.06
    rows = np.flatnonzero(doubts <= most)
    rows = rows[: min(len(rows), 600)]
    for every, some in zip((z, images, annotations, doubts, numbers), kept, strict=True):
        np.testing.assert_array_equal(every[rows], some[: len(rows)])
    np.testing.assert_array_equal(drawn(10, 0.5)[0], kept[0][:10])

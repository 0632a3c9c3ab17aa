"""Networks that see a generator's inner layers in a latent's place, and the heads that read maps out."""

import dataclasses
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import aspects, kinds, moving
from began_jax.configs import AspectConfig, TrainConfig
from began_jax.errors import InputError
from began_jax.models import Decoder, apply
from began_jax.models.heads import OnImages, ToLandmarks, ToMask, from_patches, together
from began_jax.models.layers import patches
from began_jax.presets import TRAIN_PRESETS
from began_jax.run import networks
from began_jax.run.folder import Run
from began_jax.run.generator import Generator

HEIGHT, WIDTH, LATENT = 16, 24, 6
WIDTHS = (8, 8)


@pytest.fixture(scope="module")
def generator():
    """An untrained decoder that shows its layers."""
    decoder = Decoder(HEIGHT, WIDTH, 3, filters=4, poolings=2)
    parameters = decoder.init(jax.random.key(0), jnp.zeros((1, LATENT)))["params"]

    def layers(parameters, z):
        images, maps = decoder.apply({"params": parameters}, z, with_features=True)
        return [*maps, images]

    draw = lambda parameters, z: apply(decoder, parameters, z)  # noqa: E731
    return Generator(draw, parameters, LATENT, (HEIGHT, WIDTH, 3), layers=layers)


@pytest.fixture(scope="module")
def latents():
    return jax.random.uniform(jax.random.key(1), (12, LATENT), minval=-1.0)


def data(shape, height=HEIGHT, width=WIDTH):
    return types.SimpleNamespace(shape=shape, height=height, width=width, names=())


def made(generator, name="landmarks", shape=(5, 2), **changes):
    """What is trained, with small heads."""
    kind = kinds.KINDS[name]
    head = ToLandmarks(shape[0], WIDTHS) if name == "landmarks" else ToMask(2, WIDTHS)
    kind = dataclasses.replace(kind, head=kind.head and (lambda _: head))
    return networks.untrained(AspectConfig(features=True, **changes), kind, data(shape), TrainConfig(), generator)


def test_layers_end_with_the_images_and_do_not_change_them(generator, latents):
    *maps, images = generator.layers(generator.parameters, latents)
    np.testing.assert_array_equal(images, generator.apply(generator.parameters, latents))
    assert [m.shape[1:] for m in maps] == [(4, 6, 4), (8, 12, 4), (16, 24, 4)]


def test_maps_together_keep_every_value_at_its_place(generator, latents):
    maps = generator.layers(generator.parameters, latents)
    whole = np.asarray(together(maps, 8))
    assert whole.shape == (12, 8, 12, 4 + 4 + 16 + 12)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        parts = [maps[0][:, row // 2, column // 2], maps[1][:, row, column]]
        parts += [m[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(12, -1) for m in maps[2:]]
        np.testing.assert_array_equal(whole[:, row, column], np.concatenate(parts, -1))


def test_from_patches_undoes_patches():
    x = jax.random.normal(jax.random.key(0), (2, 6, 4, 1))
    np.testing.assert_array_equal(from_patches(patches(x, 2), 2), x)


def test_landmarks_follow_a_picture_that_is_shifted():
    """By as many pixels as the coarsest scale can tell, where the surroundings are the same."""
    network = OnImages(ToLandmarks(3, WIDTHS))
    picture = np.zeros((1, 48, 48, 1), np.float32)
    picture[:, 20:28, 18:24] = np.random.default_rng(0).normal(0, 3, (1, 8, 6, 1))
    parameters = jax.tree.map(lambda x: 3 * x, network.init(jax.random.key(0), jnp.asarray(picture))["params"])
    before, after = (
        np.asarray(apply(network, parameters, jnp.roll(jnp.asarray(picture), by, (1, 2)))) for by in ((0, 0), (4, 8))
    )
    assert before.min() > -0.1 and before.max() < 1.1
    moved = after - before
    assert (moved[..., 0] > moved[..., 1]).all() and (moved > 0).all()
    assert (moved[..., 0] < 1.3 * 8 / 48).all()


@pytest.mark.parametrize("name, shape", [("landmarks", (5, 2)), ("mask", (HEIGHT, WIDTH, 1))])
def test_a_network_learns_from_layers_and_leaves_the_generator_as_it_is(generator, latents, name, shape):
    found = made(generator, name, shape)
    config = AspectConfig(
        features=True, epochs=60, batch_size=4, learning_rate=3e-3, schedule="cosine", validation=0.25
    )
    # What G draws, and so what its layers tell: where its images are the brightest.
    images = np.asarray(generator.images(np.asarray(latents))).mean(-1, keepdims=True)
    if name == "mask":
        targets = (images > np.median(images)).astype(np.uint8)
    else:
        y, x = np.meshgrid(np.arange(HEIGHT) / HEIGHT, np.arange(WIDTH) / WIDTH, indexing="ij")
        weight = np.exp(8 * images[..., 0])
        place = [(weight * axis[None]).sum((1, 2)) / weight.sum((1, 2)) for axis in (x, y)]
        targets = np.repeat(np.stack(place, -1)[:, None], 5, 1).astype(np.float32)
    restored = jax.device_put(found.sight.parameters, jax.devices()[0])  # as a checkpoint gives them, with their place
    sight = found.sight._replace(change=None, parameters=restored)
    trainer = aspects.Trainer(config, found.network, latents, jnp.asarray(targets), sight=sight)
    state = found.init(config)
    held = jax.tree.map(np.asarray, generator.parameters)
    losses = []
    for _ in range(config.epochs):
        state, metrics = trainer.epoch(state)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.4 * losses[0]
    assert [stage._cache_size() for stage in (trainer._rows, trainer._step, trainer._end)] == [1, 1, 1]
    jax.tree.map(np.testing.assert_array_equal, held, jax.tree.map(np.asarray, generator.parameters))


def test_a_batch_is_changed_after_it_was_looked_at(generator, latents):
    """As if what the network is given had been moved beforehand together with the landmarks."""
    found = made(generator)
    config = AspectConfig(features=True, batch_size=4, learning_rate=1e-3)
    targets, rows = jax.random.uniform(jax.random.key(2), (12, 5, 2)), jnp.arange(4)
    state = found.init(config)

    def step(z, y, sight):
        return jax.jit(lambda z, y: aspects.step(config, found.network, state, z, y, rows, sight=sight))(z, y)

    one, loss = step(latents, targets, found.sight)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, 0), 1), 1)
    inputs, moved = moving.with_landmarks(key, found.sight(latents[rows]), targets[rows])
    other, expected = step(inputs, moved, None)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    gradients = [each.optimizer[0].mu for each in (one, other)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *gradients)
    still = step(latents, targets, found.sight._replace(change=None))
    assert abs(float(loss - still[1])) > 1e-6


def test_the_rate_falls_to_nothing_over_the_epochs_of_a_cosine(latents):
    config = AspectConfig(epochs=10, batch_size=4, schedule="cosine", learning_rate=1e-2)
    network = OnImages(ToLandmarks(5, WIDTHS))
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    targets = jax.random.uniform(jax.random.key(1), (4, 5, 2))
    state = aspects.init(config, network, images.shape[1:])

    def change(done, config=config):
        """How far a step goes after so many, one an epoch."""
        adam, *rest = state.optimizer
        at = dataclasses.replace(state, optimizer=(adam._replace(count=jnp.asarray(done)), *rest))
        step = jax.jit(lambda state: aspects.step(config, network, state, images, targets, jnp.arange(4)))
        after, _ = step(at)
        apart = jax.tree.map(lambda a, b: jnp.abs(a - b).sum(), after.parameters, state.parameters)
        return float(sum(jax.tree.leaves(apart)))

    constant = dataclasses.replace(config, schedule="constant")
    shares = [change(done) / change(done, constant) for done in (0, 5, 10)]
    np.testing.assert_allclose(shares, [1, 0.5, 0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("count, epochs", [(40, 50), (4, 500), (5, 500), (400, 5), (1000, 2)])
def test_so_many_steps_take_so_many_epochs(count, epochs):
    config = aspects.with_epochs(AspectConfig(steps=500, batch_size=4), count)
    assert config.epochs == epochs and config.epochs * (count // 4) >= 500
    assert aspects.with_epochs(AspectConfig(epochs=7), count).epochs == 7


def test_a_generator_that_shows_no_layers_and_a_kind_without_a_head_are_refused(generator):
    with pytest.raises(InputError, match="shows no layers"):
        made(dataclasses.replace(generator, layers=None))
    with pytest.raises(InputError, match="attributes have no head"):
        made(generator, "attributes", (5,))


@pytest.mark.parametrize("size", [(15, 24), (16, 21), (6, 10), (4, 4)])
@pytest.mark.parametrize("name", ["landmarks", "mask"])
def test_heads_fit_images_of_any_size(name, size):
    shape = (5, 2) if name == "landmarks" else (*size, 1)
    head = kinds.KINDS[name].head(data(shape, *size))
    step = 1 if size[0] % 2 or size[1] % 2 else 2
    x = jnp.zeros((2, size[0] // step, size[1] // step, 7))
    parameters = jax.eval_shape(lambda: head.init(jax.random.key(0), x))
    assert jax.eval_shape(lambda p: head.apply(p, x), parameters).shape == (2, *shape)


@pytest.mark.parametrize(
    "preset, name, labels, wanted",
    [
        ("faces", "landmarks", 50, "paper"),
        ("irises", "mask", 50, "paper"),
        ("demo", "landmarks", 50, "combined"),
        ("demo-irises", "mask", 50, "combined-mask"),
        ("faces-sharp", "landmarks", 50, "features"),
        ("faces-sharp", "landmarks", 5000, "combined-images"),
        ("faces-sharp", "attributes", 50, "combined"),
        ("faces-sharp", "mask", 50, "features-mask"),
        ("irises-sharp", "mask", 5000, "features-mask"),
    ],
)
def test_the_recipe_of_a_run_is_that_of_its_preset_kind_and_labels(preset, name, labels, wanted):
    run = mock.create_autospec(Run, instance=True)
    run.kind, run.config, run.own = kinds.KINDS[name], TRAIN_PRESETS[preset], None
    run.data = mock.Mock(shape=(49, 2), height=48, width=48)
    run.annotated, run.latents = lambda split, count: np.arange(min(labels, count)), lambda split: {"z": np.zeros(9000)}
    assert networks.default_recipe(run) == wanted
    run.annotated = lambda split, count: np.arange(count)
    assert networks.default_recipe(run, labels) == wanted

"""The encoder beside the two players, an option beyond the paper."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import began, density, reconstruction, sharding
from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.run import inverter, objective
from began_jax.run.generator import of_training


def image_shape(config):
    return config.height, config.width, config.channels


def codes_of(rng, mean, mixing, batch):
    return (mean + rng.uniform(-1, 1, (batch, len(mean))) @ mixing).astype(np.float32)


@pytest.mark.parametrize(("mean", "mixing"), [(0.0, np.eye(3)), (0.4, np.eye(3)), (0.0, np.ones((3, 3)) / 2)])
def test_moment_mismatch_is_an_unbiased_estimate_of_the_distance_of_the_moments(mean, mixing):
    rng = np.random.default_rng(0)
    mean = np.full(3, mean)
    estimate = jax.jit(jax.vmap(reconstruction.moment_mismatch))(
        np.stack([codes_of(rng, mean, mixing, 4) for _ in range(5_000)])
    )
    moment = mixing.T @ mixing / 3 + np.outer(mean, mean)
    truth = (mean @ mean + ((moment - np.eye(3) / 3) ** 2).sum()) / 3
    assert abs(float(estimate.mean()) - truth) < 4 * float(estimate.std()) / np.sqrt(len(estimate)) + 1e-4


def test_moment_mismatch_equals_a_loop_over_pairs():
    codes = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    pairs = [(a @ b) + (a @ b) ** 2 for i, a in enumerate(codes) for j, b in enumerate(codes) if i != j]
    expected = (np.mean(pairs) - 2 / 3 * np.mean([a @ a for a in codes]) + 3 / 9) / 3
    np.testing.assert_allclose(reconstruction.moment_mismatch(jnp.asarray(codes)), expected, rtol=1e-5)


def test_a_batch_unlike_all_others_moves_the_encoder_by_two_steps_and_not_by_ten(tiny_config):
    config = tiny_config(encoder_weight=1.0, beta1=0.0)
    advance = jax.jit(lambda state, x: began.step(config, state, x)[0])
    x = np.random.default_rng(0).integers(0, 256, (config.batch_size, *image_shape(config)), np.uint8)
    state = advance(began.init(config), x)
    tiny = jax.tree.map(lambda moment: moment * 1e-8, state.encoder_optimizer.nu)  # as if all before had been alike
    memory = state.encoder_optimizer._replace(nu=tiny, count=jnp.asarray(1000, jnp.int32))
    spiked = dataclasses.replace(state, encoder_optimizer=memory)
    for before, most in ((state, 1.5), (spiked, 2.0)):
        moved = jax.tree.map(lambda a, b: (a - b) / config.learning_rate, advance(before, x).encoder, before.encoder)
        steps = [float(np.sqrt((leaf**2).mean())) for leaf in jax.tree.leaves(moved)]
        assert max(steps) < most * 1.01
    assert max(steps) == pytest.approx(2, rel=1e-2)


def test_an_encoder_that_has_died_is_told_by_its_codes(tiny_config):
    config = tiny_config(encoder_weight=1.0)
    advance = jax.jit(lambda state, x: began.step(config, state, x)[1])
    x = np.random.default_rng(0).integers(0, 256, (config.batch_size, *image_shape(config)), np.uint8)
    state = began.init(config)
    assert float(advance(state, x)["saturated"]) == 0
    far = jax.tree.map_with_path(lambda path, leaf: leaf + 1e3 * ("bias" in str(path)), state.encoder)
    assert float(advance(dataclasses.replace(state, encoder=far), x)["saturated"]) == 1


def test_no_encoder_has_no_parameters(tiny_config):
    assert jax.tree.leaves(jax.eval_shape(lambda: began.init(tiny_config())).encoder) == []


def test_generator_learns_from_the_reconstruction_alone_and_the_discriminator_not_at_all(tiny_config):
    plain, config = tiny_config(), tiny_config(encoder_weight=0.5)
    state = began.init(config)
    key = jax.random.key(3)
    x = jax.random.uniform(jax.random.key(4), (config.batch_size, config.height, config.width, config.channels))

    def reconstruction(encoder, generator):
        code = began.encoder_network(config).apply({"params": encoder}, x)
        y = began.networks(config)[0].apply({"params": generator}, code)
        return 0.5 * jnp.abs(x - y).mean()

    g_plain, d_plain, e_plain, _ = jax.jit(lambda: began.gradients(plain, state, x, key))()
    g, d, e, losses = jax.jit(lambda: began.gradients(config, state, x, key))()
    extra = jax.jit(jax.grad(reconstruction, argnums=1))(state.encoder, state.generator)
    assert e_plain == {} and jax.tree.structure(e) == jax.tree.structure(state.encoder)
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, b + c, atol=1e-5), g, g_plain, extra)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), d, d_plain)
    np.testing.assert_allclose(losses["reconstruction"], 2 * reconstruction(state.encoder, state.generator), rtol=1e-5)


def test_encoder_learns_to_invert_the_generator(tiny_config):
    config = tiny_config(encoder_weight=1.0, learning_rate=3e-3)
    colours = np.random.default_rng(0).integers(0, 255, (4, 1, 1, 3), dtype=np.uint8)
    images = jnp.asarray(np.broadcast_to(colours, (4, 16, 24, 3)))
    step = jax.jit(lambda state: began.step(config, state, images))
    state, first = step(began.init(config))
    for _ in range(40):
        state, last = step(state)
    assert last["reconstruction"] < 0.9 * first["reconstruction"]


def test_encoder_start_needs_an_encoder(tiny_config):
    config = tiny_config()
    with pytest.raises(InputError, match="--encoder-weight"):
        inverter.of_shards(
            InvertConfig(start="encoder"), of_training(config, began.init(config)), sharding.data_mesh(4)
        )


def test_features_and_a_density_count_in_the_inversion_of_a_run(tiny_config):
    config = tiny_config(encoder_weight=1.0)
    generator, mesh = of_training(config, began.init(config)), sharding.data_mesh(4)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, *generator.image_shape)).astype(np.float32)
    codes = rng.normal(0, 0.3, (40, config.latent_size)).astype(np.float32)

    def inverted(**options):
        inverse = inverter.of_shards(InvertConfig(steps=3, **options), generator, mesh, codes=lambda: codes)
        return dict(inverse([("a", images, np.arange(4))], 4))["a"]

    found = inverted(loss="features")
    generated = np.asarray(generator.apply(generator.parameters, jnp.asarray(found["z"])))
    wanted = np.abs(generated - images).mean((1, 2, 3))
    np.testing.assert_allclose(found["l1"], wanted, rtol=1e-4)
    for a, b in zip(
        *(generator.features(generator.encoder_parameters, x) for x in map(jnp.asarray, (generated, images))),
        strict=True,
    ):
        a, b = np.asarray(a), np.asarray(b)
        deviation = np.abs(b - b.mean((1, 2), keepdims=True)).mean((1, 2, 3))
        wanted = wanted + 0.1 * np.abs(a - b).mean((1, 2, 3)) / (deviation + 1e-6)
    np.testing.assert_allclose(found["loss"], wanted, rtol=1e-3)

    found = inverted(prior="density", prior_weight=0.5)
    likely = np.asarray(density.log_likelihood(density.fit(codes), jnp.asarray(found["z"])))
    np.testing.assert_allclose(found["loss"], found["l1"] - 0.5 * likely / config.latent_size, rtol=1e-3)
    assert "loss" not in inverted()
    for options in ({"loss": "features"}, {"prior": "density"}):
        counted = objective.of_the_size(InvertConfig(**options), generator)
        z = jnp.asarray(found["z"])
        assert counted(generator.apply(generator.parameters, z), jnp.asarray(images), z).shape == (4,)


def test_features_and_a_density_need_an_encoder(tiny_config):
    config = tiny_config()
    generator = of_training(config, began.init(config))
    with pytest.raises(InputError, match="--loss features needs a run that was trained with --encoder-weight"):
        inverter.of_shards(InvertConfig(loss="features"), generator, sharding.data_mesh(4))
    with pytest.raises(InputError, match="--prior density needs a data set"):
        inverter.of_shards(InvertConfig(prior="density"), generator, sharding.data_mesh(4))

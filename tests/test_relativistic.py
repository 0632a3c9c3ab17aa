"""The relativistic objective, the reconstruction of more than pixels, and the running mean of the weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from began_jax import began, diffaugment, reconstruction, relativistic, sharding
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.models import check_networks
from began_jax.models.configured import discriminator_encoder

SHARP = dict(
    objective="relativistic", encoder_weight=2.0, pyramid_levels=2, feature_weight=0.3, patch=2, average=0.9,
    gradient_penalty=0.3, penalty_share=0.5, beta1=0.0, beta2=0.99,
)  # fmt: skip


@pytest.fixture(scope="module")
def sharp(tiny_config):
    """The tiny configuration with all that is beyond the paper, and its state at step 0."""
    config = tiny_config(**SHARP)
    return config, jax.jit(lambda: began.init(config))()


def pictures(seed=0, count=4):
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 24, 3), np.uint8)


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_one_backward_pass_gives_the_gradients_of_both_losses(sharp):
    config, state = sharp
    _, network = began.networks(config)
    x, fake = to_float(jnp.asarray(pictures(0))), to_float(jnp.asarray(pictures(1)))

    def judge(params, v):
        return network.apply({"params": params}, v)[:, 0]

    def loss_d(params):
        slopes = jax.vmap(jax.grad(lambda v: judge(params, v[None])[0]))
        penalty = sum((slopes(v[:2]) ** 2).sum((1, 2, 3)).mean() for v in (x, fake))
        return jnp.log1p(jnp.exp(-(judge(params, x) - judge(params, fake)))).mean() + 0.3 / 2 * penalty, penalty

    def loss_g(fake):
        return jnp.log1p(jnp.exp(-(judge(state.discriminator, fake) - judge(state.discriminator, x)))).mean()

    grads, slopes, losses = jax.jit(lambda: relativistic.gradients(config, state.discriminator, x, fake))()
    (_, penalty), wanted = jax.jit(jax.value_and_grad(loss_d, has_aux=True))(state.discriminator)
    value, wanted_slopes = jax.value_and_grad(loss_g)(fake)
    close(grads, wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(losses["loss_generator"], value, rtol=1e-5)
    np.testing.assert_allclose(losses["penalty"], penalty, rtol=1e-4)
    gap = judge(state.discriminator, x) - judge(state.discriminator, fake)
    np.testing.assert_allclose(losses["gap"], gap.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gap", [0.0, 30.0, 200.0])
def test_generator_learns_however_far_the_discriminator_is_ahead(sharp, gap):
    config, state = sharp
    x, fake = to_float(jnp.asarray(pictures(0))), to_float(jnp.asarray(pictures(1)))
    _, network = began.networks(config)
    judge = lambda params, v: network.apply({"params": params}, v)[:, 0]  # noqa: E731
    between = float((judge(state.discriminator, x) - judge(state.discriminator, fake))[0])
    # the last layer alone tells the gap: it is stretched until the first pair has it
    params = jax.tree.map(lambda p: p, state.discriminator)
    params["dense"] = jax.tree.map(lambda p: p * (gap / between if gap else 1.0), params["dense"])
    _, slopes, _ = jax.jit(lambda: relativistic.gradients(config, params, x, fake))()
    loss = lambda v: jax.nn.softplus(judge(params, x) - judge(params, v)).mean()  # noqa: E731
    np.testing.assert_allclose(slopes, jax.grad(loss)(fake), rtol=2e-3, atol=1e-6 * max(gap, 1))
    assert float(jnp.abs(slopes[0]).max()) > 0


def test_players_learn_against_each_other(sharp):
    config, state = sharp
    alone = jax.jit(functools.partial(began.step, config))
    after, metrics = alone(state, pictures())
    x, z = to_float(jnp.asarray(pictures())), jax.random.uniform(jax.random.key(1), (4, 8), minval=-1.0)
    generator, discriminator = began.networks(config)

    def gap(g, d):
        fake = generator.apply({"params": g}, z)
        return float((discriminator.apply({"params": d}, x) - discriminator.apply({"params": d}, fake)).mean())

    assert gap(state.generator, after.discriminator) > gap(state.generator, state.discriminator)
    assert gap(after.generator, after.discriminator) < gap(state.generator, after.discriminator)
    assert {"gap", "penalty", "reconstruction", "diversity", "loss_generator"} <= metrics.keys()
    assert float(metrics["convergence"]) == float(metrics["reconstruction"])
    assert float(after.k) == float(state.k)


@pytest.mark.slow
def test_step_split_over_devices_equals_the_unsharded_step(sharp):
    config, state = sharp
    alone, metrics = jax.jit(functools.partial(began.step, config))(state, pictures())
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    step = jax.jit(functools.partial(began.step, config, sharding=split), out_shardings=everywhere)
    both, split_metrics = step(jax.device_put(state, everywhere), jax.device_put(pictures(), split))
    close(split_metrics, metrics, rtol=1e-3, atol=1e-5)
    for name in ("generator_optimizer", "discriminator_optimizer", "encoder_optimizer"):
        close(getattr(both, name).nu, getattr(alone, name).nu, rtol=1e-2, atol=1e-7)


def test_pyramid_difference_equals_numpy_and_weighs_detail():
    x, y = (np.random.default_rng(i).normal(size=(2, 8, 12, 3)).astype(np.float32) for i in (0, 1))
    rest, total = x - y, 0.0
    for _ in range(2):
        half = rest.reshape(2, rest.shape[1] // 2, 2, rest.shape[2] // 2, 2, 3).mean((2, 4))
        total += 2 * np.abs(rest - half.repeat(2, 1).repeat(2, 2)).mean()
        rest = half
    total += np.abs(rest).mean()
    np.testing.assert_allclose(reconstruction.pyramid_difference(x, y, 2), total, rtol=1e-5)
    np.testing.assert_allclose(reconstruction.pyramid_difference(x, y, 0), np.abs(x - y).mean(), rtol=1e-5)
    shade = x + 0.1
    np.testing.assert_allclose(reconstruction.pyramid_difference(x, shade, 2), 0.1, rtol=1e-4)


def test_feature_difference_is_in_units_of_each_scales_deviation_and_leaves_the_target_alone():
    a, b = (np.random.default_rng(i).normal(size=(4, 3, 3, 5)).astype(np.float32) for i in (0, 1))
    unit = np.abs(a - a.mean((0, 1, 2))).mean()
    found = reconstruction.feature_difference([a, 10 * a], [b, 10 * b])
    np.testing.assert_allclose(found, 2 * np.abs(a - b).mean() / unit, rtol=1e-4)
    to_target = jax.grad(lambda a: reconstruction.feature_difference([a], [jnp.asarray(b)]))(jnp.asarray(a))
    assert not np.any(to_target)


@pytest.mark.parametrize("objective", ["began", "relativistic"])
def test_features_teach_the_generator_and_not_the_discriminator(objective, tiny_config):
    config = tiny_config(objective=objective, encoder_weight=1.0, feature_weight=0.5)
    plain = tiny_config(objective=objective, encoder_weight=1.0)
    state = jax.jit(lambda: began.init(config))()
    x, key = to_float(jnp.asarray(pictures())), jax.random.key(3)
    g, d, e, _ = jax.jit(lambda: began.gradients(config, state, x, key))()
    g_plain, d_plain, e_plain, _ = jax.jit(lambda: began.gradients(plain, state, x, key))()
    close(d, d_plain, rtol=1e-4, atol=1e-6)
    part = state.discriminator if objective == "relativistic" else state.discriminator["encoder"]

    def features(v):
        return discriminator_encoder(config).apply({"params": part}, v, with_features=True)[1]

    def difference(encoder, generator):
        code = began.encoder_network(config).apply({"params": encoder}, x)
        y = began.networks(config)[0].apply({"params": generator}, code)
        return 0.5 * reconstruction.feature_difference(features(x), features(y))

    extra_e, extra_g = jax.jit(jax.grad(difference, argnums=(0, 1)))(state.encoder, state.generator)
    close(g, jax.tree.map(jnp.add, g_plain, extra_g), rtol=1e-3, atol=1e-5)
    close(e, jax.tree.map(jnp.add, e_plain, extra_e), rtol=1e-3, atol=1e-5)


def test_running_means_follow_their_recursion_and_are_what_is_drawn_and_encoded(sharp):
    config, state = sharp
    step = jax.jit(functools.partial(began.step, config))
    close(state.average["generator"], state.generator)
    mean = jax.device_get(state.average)
    for t in range(3):
        state, _ = step(state, pictures(t))
        decay = min(0.9, (1 + t) / (10 + t))
        new = {"generator": state.generator, "encoder": state.encoder}
        mean = jax.tree.map(lambda m, n, d=decay: d * m + (1 - d) * np.asarray(n), mean, jax.device_get(new))
    close(state.average, mean, rtol=1e-4, atol=1e-6)
    generator, _ = began.networks(config)
    z = began.uniform(jax.random.fold_in(state.key, began.SAMPLE_FOLD), 2, 8)
    drawn = generator.apply({"params": state.average["generator"]}, z)
    np.testing.assert_allclose(began.samples(config, state, 2), drawn, atol=1e-5)


def test_without_a_running_mean_the_weights_themselves_are_used(tiny_config):
    state = jax.eval_shape(lambda: began.init(tiny_config(encoder_weight=1.0)))
    assert state.average is None
    assert state.averaged == {"generator": state.generator, "encoder": state.encoder}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pyramid_levels": 2}, "need --encoder-weight"),
        ({"feature_weight": 0.1}, "need --encoder-weight"),
        ({"patch": 2}, "--patch needs"),
        ({"objective": "relativistic"}, "--objective relativistic needs --encoder-weight"),
        ({"encoder_weight": 1.0, "pyramid_levels": 4}, "not divisible by 16 .4 levels"),
        ({"encoder_weight": 1.0, "patch": 5}, "not divisible by 10 .1 poolings of 5x5 patches"),
    ],
)
def test_options_with_nothing_to_act_on_and_sizes_that_do_not_divide_are_refused(changes, message, tiny_config):
    with pytest.raises(InputError, match=message):
        check_networks(tiny_config(**changes))


def test_augmentations_equal_numpy():
    images = np.random.default_rng(0).uniform(-1, 1, (6, 16, 24, 3)).astype(np.float32)
    shifted, holed, coloured = (
        np.asarray(diffaugment.augment(jax.random.key(3), jnp.asarray(images), (name,)))
        for name in ("translation", "cutout", "colour")
    )
    shifts, padded = set(), np.pad(images, ((0, 0), (2, 2), (3, 3), (0, 0)))
    for i, image in enumerate(shifted):
        found = [
            (2 - r, 3 - c)
            for r in range(5)
            for c in range(7)
            if np.array_equal(padded[i, r : r + 16, c : c + 24], image)
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 3  # each image has its own
    empty = (holed == 0).all(-1)
    for i in range(6):
        rows, columns = np.nonzero(empty[i])
        assert empty[i].sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # one rectangle
        assert np.ptp(rows) + 1 <= 8 and np.ptp(columns) + 1 <= 12 and empty[i].sum() >= 24
        np.testing.assert_array_equal(holed[i][~empty[i]], images[i][~empty[i]])
    for old, new in zip(images, coloured, strict=True):
        # an affine map of colour: grey has slope `contrast`, what is beside grey `contrast * saturation`
        contrast = np.polyfit(old.mean(-1).ravel(), new.mean(-1).ravel(), 1)[0]
        aside = np.polyfit((old - old.mean(-1, keepdims=True)).ravel(), (new - new.mean(-1, keepdims=True)).ravel(), 1)
        assert 0.5 <= contrast <= 1.5 and 0 <= aside[0] / contrast <= 2
        assert abs(new.mean() - old.mean()) <= 0.5


def test_generator_learns_through_the_augmentation(sharp):
    config, state = sharp
    config = dataclasses.replace(config, augment=("colour", "translation", "cutout"), gradient_penalty=0.0)
    _, network = began.networks(config)
    x, fake = to_float(jnp.asarray(pictures(0))), to_float(jnp.asarray(pictures(1)))
    key = jax.random.key(5)
    seen = lambda k, v: diffaugment.augment(k, v, config.augment)  # noqa: E731
    judge = lambda d, v: network.apply({"params": d}, v)[:, 0]  # noqa: E731
    own = jax.random.split(key)

    def loss(fake, d, sign):
        return jax.nn.softplus(sign * (judge(d, seen(own[0], x)) - judge(d, seen(own[1], fake)))).mean()

    grads, slopes, _ = jax.jit(lambda: relativistic.gradients(config, state.discriminator, x, fake, key))()
    np.testing.assert_allclose(slopes, jax.grad(loss)(fake, state.discriminator, 1.0), rtol=1e-3, atol=1e-7)
    close(grads, jax.grad(loss, argnums=1)(fake, state.discriminator, -1.0), rtol=1e-3, atol=1e-6)

"""bfloat16 beside float32, recomputation beside keeping, and the batch that fits a device's memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import began, inversion, sharding
from began_jax.configs import InvertConfig
from began_jax.kinds import KINDS
from began_jax.models.heads import ImageToMask, ImageToVector
from began_jax.models.layers import elu


def images(count=4, height=16, width=24):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


@functools.cache
def step(config):
    return jax.jit(lambda state, batch: began.step(config, state, batch))


@pytest.fixture
def start(tiny_config):
    return jax.jit(lambda: began.init(tiny_config(k_0=0.3)))()


@pytest.mark.parametrize("objective", ["began", "relativistic"])
def test_bfloat16_keeps_float32_parameters_moments_images_and_losses(tiny_config, objective):
    sharp = {"objective": objective, "pyramid_levels": 2, "feature_weight": 0.3, "average": 0.9}
    config = tiny_config(precision="bfloat16", encoder_weight=1.0, **sharp)
    state = jax.eval_shape(lambda: began.init(config))
    plain = jax.eval_shape(lambda: began.init(dataclasses.replace(config, precision="float32")))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), state) == jax.tree.map(lambda a: (a.shape, a.dtype), plain)
    after, metrics = jax.eval_shape(lambda state: began.step(config, state, images()), state)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert {metric.dtype for metric in metrics.values()} == {jnp.dtype("float32")}
    assert jax.eval_shape(lambda state: began.samples(config, state, 2), state).dtype == jnp.float32


def test_bfloat16_computes_all_convolutions_but_the_last_of_each_network_in_it(tiny_config):
    config = tiny_config(precision="bfloat16")
    generator, _ = began.networks(config)
    parameters = jax.eval_shape(lambda: began.init(config)).generator
    jaxpr = jax.make_jaxpr(lambda p, z: generator.apply({"params": p}, z))(parameters, jnp.zeros((2, 8)))
    types = [e.outvars[0].aval.dtype.name for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    assert types == ["bfloat16"] * (len(types) - 1) + ["float32"]
    assert len(types) == 5


def test_a_bfloat16_step_is_near_that_of_float32_and_not_equal(tiny_config, start):
    config = tiny_config(k_0=0.3)
    _, plain = step(config)(start, images())
    after, half = step(dataclasses.replace(config, precision="bfloat16"))(start, images())
    assert plain.keys() == half.keys()
    assert float(plain["loss_real"]) != float(half["loss_real"])
    for name in ("loss_real", "loss_generated", "convergence", "k"):
        np.testing.assert_allclose(half[name], plain[name], rtol=0.02)
    assert after.generator["conv0b"]["kernel"].dtype == jnp.float32


def test_losses_of_bfloat16_over_80_steps_stay_with_those_of_float32(tiny_config):
    last = {}
    for precision in ("float32", "bfloat16"):
        config = tiny_config(height=8, width=8, loss_power=1, learning_rate=5e-3, precision=precision)
        state, losses = jax.jit(lambda config=config: began.init(config))(), []
        for _ in range(80):
            state, metrics = step(config)(state, images(height=8, width=8))
            losses.append([float(metrics[name]) for name in ("loss_real", "convergence")])
        assert np.isfinite(losses).all()
        last[precision] = np.mean(losses[-20:], 0)
        assert last[precision][0] < 0.9 * losses[0][0]
    np.testing.assert_allclose(last["bfloat16"], last["float32"], rtol=0.1)


def test_elu_in_bfloat16_is_that_of_float32_rounded_near_0_too():
    x = jnp.asarray(np.concatenate([-np.logspace(-6, 1, 50), np.logspace(-6, 1, 50)]), jnp.bfloat16)
    wanted = np.where(x > 0, x.astype(np.float32), np.expm1(np.minimum(x.astype(np.float32), 0)))
    found = elu(x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=2**-8, atol=1e-7)
    slope = jax.vmap(jax.grad(elu))(x).astype(np.float32)
    np.testing.assert_allclose(slope, np.exp(np.minimum(x.astype(np.float32), 0)), rtol=2**-8, atol=2**-8)


def test_recomputing_gives_the_same_step_and_keeps_the_parameters_names(tiny_config, start):
    config = tiny_config(k_0=0.3)
    remat = dataclasses.replace(config, remat=True)
    plain_state, plain = step(config)(start, images())
    state, metrics = step(remat)(start, images())
    assert jax.tree.structure(state) == jax.tree.structure(plain_state)
    for name in plain:
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-5, atol=1e-6)
    for moments, wanted in zip(
        jax.tree.leaves((state.generator_optimizer, state.discriminator_optimizer)),
        jax.tree.leaves((plain_state.generator_optimizer, plain_state.discriminator_optimizer)),
        strict=True,
    ):
        np.testing.assert_allclose(moments, wanted, rtol=1e-4, atol=1e-6)


def compiled_inversion(config, count):
    generator, _ = began.networks(config)
    parameters = jax.eval_shape(lambda: began.init(config)).generator
    z = jax.ShapeDtypeStruct((count, config.latent_size), jnp.float32)
    x = jax.ShapeDtypeStruct((count, config.height, config.width, config.channels), jnp.float32)
    state = jax.eval_shape(lambda z: inversion.init(InvertConfig(), z), z)

    def run(p, state, x):
        return inversion.step(InvertConfig(), lambda z: generator.apply({"params": p}, z), state, x)

    return jax.jit(run).lower(parameters, state, x).compile()


@pytest.mark.parametrize("which", ["generator", "discriminator", "encoder"])
def test_recomputing_keeps_less_for_the_gradient(tiny_config, which):
    def kept(remat):
        config = tiny_config(height=32, width=32, filters=16, encoder_filters=(16, 32), remat=remat)
        generator, discriminator = began.networks(config)
        all_of_them = {
            "generator": (generator, (8,)),
            "discriminator": (discriminator, (32, 32, 3)),
            "encoder": (began.encoder_network(config), (32, 32, 3)),
        }
        network, shape = all_of_them[which]
        inputs = jax.ShapeDtypeStruct((32, *shape), jnp.float32)
        parameters = jax.eval_shape(network.init, jax.random.key(0), inputs)
        backward = jax.eval_shape(lambda p, x: jax.vjp(network.apply, p, x)[1], parameters, inputs)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))

    assert kept(True) < 0.4 * kept(False)


def test_the_largest_batch_fits_by_the_memory_that_its_own_compilation_states(tiny_config):
    config = tiny_config()
    devices = len(jax.local_devices())
    limit = sharding.memory(compiled_inversion(config, 64)) + 1000
    count = sharding.largest_batch(functools.partial(compiled_inversion, config), free=limit)
    assert count == 64 * devices
    assert sharding.memory(compiled_inversion(config, 128)) > limit
    assert sharding.largest_batch(functools.partial(compiled_inversion, config), free=2**50) == 512 * devices
    assert sharding.largest_batch(functools.partial(compiled_inversion, config), free=1) == devices


def test_a_cpu_has_no_memory_to_fill():
    assert sharding.largest_batch(lambda count: pytest.fail("compiled")) == sharding.CPU_BATCH


def test_the_paper_s_step_is_float32_and_keeps_its_activations(tiny_config):
    config = tiny_config()
    assert (config.precision, config.remat) == ("float32", False)
    assert began.computation_dtype(config) is None


@pytest.mark.parametrize("network", [ImageToVector((4, 6), (5, 2), 2, jnp.bfloat16), ImageToMask((4, 6), jnp.bfloat16)])
def test_networks_of_t_compute_in_bfloat16_and_answer_in_float32(network):
    x = jnp.zeros((2, 16, 16, 3))
    parameters = jax.eval_shape(network.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(parameters)} == {jnp.dtype("float32")}
    jaxpr = jax.make_jaxpr(network.apply)(parameters, x)
    layers = [e for e in jaxpr.eqns if e.primitive.name in ("conv_general_dilated", "dot_general")]
    types = [e.outvars[0].aval.dtype.name for e in layers]
    assert types == ["bfloat16"] * (len(types) - 1) + ["float32"]
    assert jaxpr.out_avals[0].dtype == jnp.float32


def test_the_mask_network_has_the_precision_of_its_run(tiny_config):
    config = tiny_config(precision="bfloat16")
    assert KINDS["mask"].network(config, None).dtype == jnp.bfloat16
    assert KINDS["mask"].network(dataclasses.replace(config, precision="float32"), None).dtype is None

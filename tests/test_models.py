"""Layers against their plain definitions, networks against figures A.1 and A.2 and table 2."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from began_jax import began
from began_jax.errors import InputError
from began_jax.models import Decoder, Discriminator, Encoder, LandmarkNetwork, check_size, layer_table
from began_jax.models.layers import PoolProject, average_pool, conv, elu, nearest_upsample, upsample_conv
from began_jax.presets import TRAIN_PRESETS

SIZES = [(16, 16, 3), (24, 32, 1), (8, 24, 3)]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def shapes_only(network, *shape):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape))["params"]


@settings(max_examples=12)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    channels=st.integers(1, 3),
    features=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_upsample_conv_and_its_gradients_equal_upsampling_then_convolving(height, width, channels, features, seed):
    x, kernel = normal(seed, 2, height, width, channels), normal(seed + 1, 3, 3, channels, features)
    cotangent = normal(seed + 2, 2, 2 * height, 2 * width, features)

    def plain(x, kernel):
        return conv(nearest_upsample(x), kernel)

    @jax.jit
    def both(x, kernel):
        results = []
        for f in (upsample_conv, plain):
            y, pullback = jax.vjp(f, x, kernel)
            results.append((y, *pullback(cotangent)))
        return results

    fast, slow = both(x, kernel)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_elu_and_its_gradient_equal_their_definition():
    x = np.concatenate([np.linspace(-200, 200, 401, dtype=np.float32), np.float32([-1e-6, 1e-6])])
    low = np.minimum(x.astype(np.float64), 0)
    np.testing.assert_allclose(elu(jnp.asarray(x)), np.where(x > 0, x, np.expm1(low)), rtol=1e-6, atol=2e-7)
    slope = jax.vmap(jax.grad(elu))(jnp.asarray(x[x != 0]))
    np.testing.assert_allclose(slope, np.where(x > 0, 1, np.exp(low))[x != 0], rtol=1e-5, atol=1e-7)


def test_average_pool_and_nearest_upsample_equal_numpy():
    x = np.asarray(normal(0, 2, 4, 6, 3))
    corners = x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]
    np.testing.assert_allclose(average_pool(jnp.asarray(x)), corners / 4, atol=1e-6)
    up = nearest_upsample(jnp.asarray(x))
    np.testing.assert_array_equal(up, np.kron(x, np.ones((1, 2, 2, 1), np.float32)))
    np.testing.assert_allclose(average_pool(up), x, atol=1e-6)


def test_pool_project_equals_pooling_after_the_1x1_convolution():
    x = normal(1, 2, 4, 6, 3)
    layer = PoolProject(5)
    params = layer.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: normal(p.size, *p.shape), params)  # a bias that is not zero
    project = params["conv1x1"]
    after = average_pool(conv(x, project["kernel"]) + project["bias"].reshape(1, 1, 1, -1))
    np.testing.assert_allclose(layer.apply({"params": params}, x), after, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "channels"), SIZES)
def test_shapes_of_images_and_codes(height, width, channels):
    widths, key = (4, 6, 8), jax.random.key(0)
    z, x = jnp.zeros((2, 8)), jnp.zeros((2, height, width, channels))

    def output(network, example):
        return jax.eval_shape(lambda: network.init_with_output(key, example)[0])

    assert output(Decoder(height, width, channels, 4, 2), z).shape == x.shape
    assert output(Encoder(widths, 8), x).shape == z.shape
    reconstruction = output(Discriminator(height, width, channels, 4, widths, 8), x)
    assert (reconstruction.shape, reconstruction.dtype) == (x.shape, jnp.float32)


def decoder_parameters(start, channels, n=64, latent=64, scales=4):
    """Fig. A.2: a dense layer to start x n, two 3x3 convolutions at each scale, a 3x3 output convolution."""
    dense = (latent + 1) * math.prod(start) * n
    return dense + 2 * scales * (9 * n + 1) * n + (9 * n + 1) * channels


def encoder_parameters(end, channels, widths=(64, 128, 192, 256), latent=64):
    """Fig. A.1: a 3x3 input convolution, two 3x3 a scale, 1x1 between scales, a dense layer to the code."""
    total = (9 * channels + 1) * widths[0] + sum(2 * (9 * w + 1) * w for w in widths)
    total += sum((a + 1) * b for a, b in itertools.pairwise(widths))
    return total + (math.prod(end) * widths[-1] + 1) * latent


@pytest.mark.parametrize(
    ("preset", "start", "generator", "discriminator"),
    [("faces", (16, 16), 1_362_115, 7_853_891), ("irises", (12, 16), 1_094_721, 6_536_769)],
)
def test_parameter_counts_of_the_papers_presets(preset, start, generator, discriminator):
    config = TRAIN_PRESETS[preset]
    g, d = began.networks(config)
    n_g = count(shapes_only(g, 1, 64))
    n_d = count(shapes_only(d, 1, config.height, config.width, config.channels))
    decoder = decoder_parameters(start, config.channels)
    assert (n_g, n_d) == (decoder, encoder_parameters(start, config.channels) + decoder)
    assert (n_g, n_d) == (generator, discriminator)


def test_the_generator_has_the_layers_of_the_discriminators_decoder(tiny_config):
    g, d = began.networks(tiny_config())
    decoder = shapes_only(d, 1, 16, 24, 3)["decoder"]
    assert shapes_only(g, 1, 8) == decoder


def test_landmark_network_equals_table_2_in_numpy():
    z = normal(3, 5, 64)
    network = LandmarkNetwork()
    params = network.init(jax.random.key(1), z)["params"]
    params = jax.tree.map(lambda p: p + 0.1 * normal(p.size, *p.shape), params)
    x = np.asarray(z)
    for name in ("hidden0", "hidden1", "hidden2"):
        assert params[name]["kernel"].shape[1] == 128
        x = np.maximum(x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    x = 1 / (1 + np.exp(-(x @ np.asarray(params["output"]["kernel"]) + np.asarray(params["output"]["bias"]))))
    assert x.shape == (5, 98)
    np.testing.assert_allclose(network.apply({"params": params}, z), x.reshape(5, 49, 2), atol=1e-4)


@pytest.mark.parametrize(("height", "width", "near"), [(100, 128, "96x128"), (128, 100, "128x96"), (4, 8, "8x8")])
def test_a_size_that_pooling_does_not_divide_is_refused_with_the_nearest_that_works(height, width, near):
    with pytest.raises(InputError, match=rf"{height}x{width} .*divisible by 8 \(3 poolings\).*{near}"):
        check_size(height, width, 3)
    with pytest.raises(InputError, match=f"{height}x{width}"):
        shapes_only(Decoder(height, width, 3), 1, 64)
    with pytest.raises(InputError, match=f"{height}x{width}"):
        shapes_only(Encoder(), 1, height, width, 3)


@pytest.mark.parametrize("preset", TRAIN_PRESETS)
def test_layer_table_lists_every_layer_and_the_totals(preset):
    config = TRAIN_PRESETS[preset]
    g, d = began.networks(config)
    size = config.height, config.width, config.channels
    networks = [
        shapes_only(g, 1, 64),
        shapes_only(d, 1, *size),
        *([shapes_only(began.encoder_network(config), 1, *size)] if config.encoder_weight else []),
        shapes_only(LandmarkNetwork(), 1, 64),
        shapes_only(began.networks(dataclasses.replace(config, channels=1))[0], 1, 64),
    ]
    table = layer_table(config)
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) <= 110
    sections = table.split("\n\n")
    for section, params in zip(sections, networks, strict=True):
        rows = {line.split()[0]: line.split() for line in section.splitlines()[3:]}
        layers = jax.tree.leaves_with_path(params, is_leaf=lambda node: "kernel" in node)
        names = {"/".join(part.key for part in path): leaf for path, leaf in layers}
        assert rows.keys() == names.keys() | {"total"}
        for name, leaf in names.items():
            assert rows[name][-1] == f"{count(leaf):,}"
            assert rows[name][-2] == "x".join(map(str, leaf["kernel"].shape))
        assert rows["total"][-1] == f"{count(params):,}"

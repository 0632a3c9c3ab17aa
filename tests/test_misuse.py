"""Public functions given what they do not mean: refused in a line; and numbers that must not be lost on the way."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import (
    AspectConfig,
    InputError,
    InvertConfig,
    Inverter,
    aspects,
    augment,
    compression,
    density,
    figures,
    fit_aspect,
    gaussian_process,
    invert,
    invert_all,
    low_quality,
    plugins,
    quality,
    student,
    to_uint8,
    uniform_latents,
)
from began_jax.data.augment import low_quality_batch
from began_jax.errors import DivergedError
from began_jax.export.functions import largest_difference
from began_jax.inversion.objective import psnr_db
from began_jax.metrics import failure_percent, nme_percent
from began_jax.sampling import sampler

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(60, 4)).astype("f4")
Y = Z[:, :2].copy()
SMALL = AspectConfig(epochs=4, batch_size=4)
IMAGES = RNG.uniform(-1, 1, (4, 8, 8, 3)).astype("f4")
MASKS = np.ones((4, 8, 8, 1), "f4")
EYE = jnp.zeros((24, 32, 1))
PICTURES = np.zeros((8, 8, 8, 1), np.uint8)
RECIPE = student.Recipe(steps=2, batch_size=2)


def generate(z):
    return jnp.tile(jnp.tanh(z @ jnp.ones((4, 3)))[:, None, None], (1, 2, 2, 1))


def learn(*sets, recipe=RECIPE):
    return student.fit(nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(2)]), sets, recipe)


MISUSED = {
    "counts of a set": (lambda: learn((PICTURES, Y[:3])), "each have an annotation"),
    "absent all": (lambda: learn((PICTURES, Y[:8] * np.nan)), "all annotations of a set are NaN"),
    "density of nothing": (lambda: sampler("density", KEY, 4), "sampler density needs z_data"),
    "labels of a run": (
        lambda: fit_aspect(Z, Y, config=dataclasses.replace(SMALL, label_sampler="data")),
        "label_sampler",
    ),
    "no set": (lambda: learn(), "0 sets, and a batch has 2 places"),
    "no place": (lambda: learn(*[(PICTURES, Y[:8])] * 3), "3 sets, and a batch has 2 places"),
    "other sizes": (lambda: learn((PICTURES, Y[:8]), (PICTURES[:, :4], Y[:8])), "and the first one of"),
    "no steps": (lambda: learn((PICTURES, Y[:8]), recipe=RECIPE._replace(steps=0)), "must be at least 1"),
    "no network": (lambda: student.network("landmarks", (2, 2), 8, 8, "heatmap"), "it must be regression or heatmaps"),
    "components": (lambda: density.fit(Z, 0), "and 0 components"),
    "rows": (lambda: gaussian_process.fit(Z, Y, rows=np.array([-1])), "from -1 to -1; they must count 60 from 0"),
    "known": (lambda: gaussian_process.suggest(Z, np.array([60]), 1, 8.0, 0.1), "they must count 60 from 0"),
    "infinite": (lambda: gaussian_process.fit(Z, Y * np.inf), "targets numbers, or NaN where absent"),
    "count": (lambda: uniform_latents(KEY, -3), "indices are -3"),
    "mask to 255": (lambda: low_quality(KEY, EYE, EYE + 255), "the mask has values from 255 to 255"),
    "image to 255": (lambda: low_quality(KEY, EYE + 255, EYE), "the image has values from 255 to 255"),
    "few targets": (
        lambda: fit_aspect(Z, np.where(np.arange(60)[:, None] < 2, Y, np.nan), config=SMALL),
        "larger than the 2 latents to train on",
    ),
    "whole loss": (
        lambda: invert_all(generate, generate(Z[:2]), latent=4, loss=lambda y, x: jnp.zeros(len(x), int)),
        "loss gives int32; it must give floats",
    ),
    "batch's mask to 255": (
        lambda: low_quality_batch(KEY, jnp.zeros((2, 24, 32, 1), jnp.uint8), jnp.full((2, 24, 32, 1), 255.0)),
        "the mask has values from 255 to 255",
    ),
    "features of nan": (lambda: quality.manifolds(Z, Z * np.nan), "a feature is not finite"),
    "no neighbour": (lambda: quality.manifolds(Z, Z, 0), "k is 0; it must be at least 1"),
    "half's range": (lambda: compression.pack(1e5 * np.ones((2, 2), "f4"), 16), "which 16 bits cannot hold"),
    "nan to suggest": (lambda: gaussian_process.suggest(Z * np.nan, np.arange(2), 1, 8.0, 0.1), "is not finite"),
    "no length": (lambda: gaussian_process.suggest(Z, np.arange(2), 1, 0.0, 0.1), "both must be positive"),
    "no sampler": (lambda: sampler("unifrom", KEY, 4), "sampler is 'unifrom'; it must be one of uniform, data"),
    "no latents": (lambda: sampler("data", KEY, 4), "sampler data needs z_data"),
    "class below 0": (lambda: aspects.cross_entropy(jnp.zeros((2, 3)), jnp.array([-1, 1])), "classes are from -1 to 1"),
    "class without logit": (lambda: aspects.cross_entropy(jnp.zeros((2, 3)), jnp.array([1, 7])), "logits for 0 to 2"),
    "64 bits": (lambda: fit_aspect(Z, np.full((60, 2), 2**40), config=SMALL), "of more than 32 bits; give floats"),
    "strong effect": (
        lambda: augment.reduce_contrast_outside(KEY, IMAGES[0], MASKS[0], 5.0),
        "strength of an effect is 5",
    ),
    "long motion": (lambda: augment.motion_blur(KEY, IMAGES[0], MASKS[0], 2.0), "is 2; it must be from 0 to 0.5"),
    "distance of one": (lambda: quality.frechet_distance(Z[:1], Z), r"features are \[1, 4\] and \[60, 4\]"),
    "NaN pixel": (lambda: to_uint8(IMAGES * np.nan), "a pixel is NaN"),
    "start by name": (
        lambda: invert_all(generate, IMAGES, latent=4, start="uniform"),
        "start is 'uniform'; it must be",
    ),
    "probabilities": (
        lambda: fit_aspect(Z, np.eye(3, dtype="f4")[[0] * 60], loss=aspects.log_loss, config=SMALL),
        "loss is log_loss, of probabilities; give a network",
    ),
    "sums": (lambda: fit_aspect(Z, np.ones((60, 3), "f4"), loss="cross_entropy", config=SMALL), "add up to 3"),
}


@pytest.mark.parametrize("name", MISUSED)
def test_misuse_is_refused(name):
    call, message = MISUSED[name]
    with pytest.raises(InputError, match=message):
        call()


def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "unfinished.py").write_text("undefined\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="--kind: unfinished cannot be imported \\(NameError"):
        plugins.find("unfinished:KIND", "--kind")


def test_a_loss_of_yours_is_wrapped_once():
    largest = lambda predicted, target: jnp.abs(predicted - target).max(1)  # noqa: E731
    assert aspects.losses.of(largest) is aspects.losses.of(largest)


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_an_inversion_without_a_gradient_is_no_success(tolerance):
    config = InvertConfig(steps=20, tolerance=tolerance)
    apart = lambda z: 0.01 * jnp.linalg.norm(z, axis=1)  # noqa: E731  (whose slope at 0, the start, is NaN)
    with pytest.raises(DivergedError, match="no image has a finite gradient"):
        invert_all(generate, generate(Z[:2]), latent=4, config=config, prior=apart)


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_an_inversion_that_ends_without_a_gradient_is_what_it_met(tolerance):
    config = InvertConfig(steps=20, learning_rate=0.1, tolerance=tolerance, window=5)
    until_a_half = lambda z: 1e-3 * jnp.sqrt(0.5 - z[:, 0])  # noqa: E731
    found = invert_all(generate, generate(jnp.ones((2, 4))), latent=4, config=config, prior=until_a_half)
    assert (found.z[:, 0] > 0.3).all() and (found.z[:, 0] <= 0.5).all()


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_what_has_no_gradient_is_given_up_soon(tolerance):
    config, tried = InvertConfig(steps=1, tolerance=tolerance, window=1), []
    apart = lambda x, y: jnp.linalg.norm((x - y).reshape(len(x), -1), axis=1)  # noqa: E731  (0, with the slope NaN)
    images, count = np.asarray(generate(jnp.zeros((400, 4)))), tried.append
    with pytest.raises(DivergedError):
        invert_all(generate, images, latent=4, config=config, loss=apart, batch_size=8, progress=count)
    assert sum(tried) < 100


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_an_image_without_a_gradient_fails_alone_whatever_its_batch(tolerance):
    config = InvertConfig(steps=20, tolerance=tolerance, window=5)
    apart = lambda x, y: jnp.linalg.norm((x - y).reshape(len(x), -1), axis=1)  # noqa: E731
    images = generate(jnp.stack([jnp.ones(4), jnp.full(4, 0.5), jnp.zeros(4)]))  # the last one is met at its start
    together, apart = (
        invert_all(generate, images, latent=4, config=config, loss=apart, batch_size=size) for size in (3, 1)
    )
    assert together.loss[2] == apart.loss[2] == 0 and (together.z[:2] != 0).all()
    np.testing.assert_allclose(apart.z, together.z, atol=1e-5)


def test_a_step_into_values_that_are_no_numbers_is_made_shorter():
    wanted = jax.random.uniform(jax.random.key(0), (16, 4), minval=-0.9, maxval=0.9)
    circle = lambda z: 2 * jnp.sqrt(1 - z**2) - 1 + 0.5 * z  # noqa: E731  (NaN outside the cube)
    config = InvertConfig(steps=80, optimizer="bfgs", learning_rate=0.3)
    found = invert_all(circle, circle(wanted), latent=4, config=config)
    assert np.median(found.l1) < 1e-3


@pytest.mark.parametrize("start", [np.nan, 3.0, 0.1])
def test_no_result_comes_of_starts_that_no_image_left(start):
    config = InvertConfig(steps=20, tolerance=1e-6, window=5, clip=True)
    apart = lambda z: 0.01 * jnp.linalg.norm(z - z, axis=1)  # noqa: E731  (whose slope is NaN)
    starts, images = np.full((2, 4), start), np.asarray(generate(Z[:2]))  # float64, and 3 is outside the cube
    found = Inverter(config, lambda p, z: generate(z), (), prior=apart).refilled([(0, images, starts)] * 2, slots=2)
    with pytest.raises(DivergedError, match="no image has a finite gradient"):
        next(found)
    plain = InvertConfig(steps=20, clip=True)
    with pytest.raises(DivergedError, match="no image has a finite gradient"):
        Inverter(plain, lambda p, z: generate(z), (), prior=apart)(images, starts.astype("f4"))


def test_weights_are_refused_before_the_first_batch_is_inverted():
    images, weights, done = np.zeros((130, 2, 2, 1), "f4"), np.ones((130, 1, 1, 1), "f4"), []
    weights[-1] = -1
    with pytest.raises(InputError, match="weights"):
        invert_all(generate, images, latent=4, config=InvertConfig(steps=1), weights=weights, progress=done.append)
    assert not done


def test_a_broken_image_is_drawn_black():
    pair = np.stack([np.full((8, 8, 3), np.nan, "f4"), np.ones((8, 8, 3), "f4")])
    drawn = np.asarray(figures.strip(pair))
    assert (drawn == 0).all(-1).any() and (drawn == 255).all(-1).any()


def test_images_without_a_gradient_do_not_stop_others():
    config = InvertConfig(steps=20, learning_rate=0.1, tolerance=1e-6, window=5)
    inverse = Inverter(config, lambda p, z: jnp.sqrt(z), parameters=())
    starts = np.array([[-1.0], [-1.0], [0.2]], "f4")
    found = dict(inverse.refilled([(i, np.full((1, 1), 0.8, "f4"), starts[i : i + 1]) for i in range(3)], slots=1))
    assert found[0]["z"] == -1 and found[2]["z"] == pytest.approx(0.64, abs=0.1)


def test_split_over_explicit_axes_all_is_as_on_one_device():
    mesh = jax.make_mesh((4,), ("data",))
    split = lambda x: jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))  # noqa: E731
    bytes_of = to_uint8(IMAGES)
    poor = low_quality_batch(KEY, split(bytes_of), split(MASKS))
    np.testing.assert_array_equal(poor, low_quality_batch(KEY, jnp.asarray(bytes_of), jnp.asarray(MASKS)))
    mixture = density.fit(Z, 2)
    found = density.log_likelihood(mixture, split(Z))
    np.testing.assert_allclose(found, density.log_likelihood(mixture, jnp.asarray(Z)), rtol=1e-5)
    left_out = gaussian_process.fit(split(Z), split(Y)).left_out
    np.testing.assert_array_equal(left_out, gaussian_process.fit(Z, Y).left_out)


def test_a_nan_is_no_small_difference():
    one = np.ones(2, "f4")
    assert np.isnan(largest_difference([one, one * np.nan], [one, one]))


def test_sums_of_halves_are_not_lost():
    def of_z(z):
        return jnp.zeros((1, 160, 160, 3), "f2") + z[:, :1, None, None]

    images, weights = jnp.full((1, 160, 160, 3), 0.5, "f2"), jnp.ones((1, 160, 160, 1), "f2")
    found = invert(InvertConfig(steps=0), of_z, images, jnp.zeros((1, 2), "f2"), weights=weights)
    np.testing.assert_allclose([found["l1"][0], found["psnr_db"][0]], [0.5, 12.04], rtol=1e-3)
    assert psnr_db(images, images)[0] == pytest.approx(100)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_gradients_through_bfgs_are_those_of_differences(loss):
    config, images = InvertConfig(steps=3, optimizer="bfgs"), jnp.full((2, 2, 2, 3), 0.3)

    def total(x):
        return invert(config, generate, x, jnp.zeros((2, 4)), loss=loss)["z"].sum()

    along = jnp.asarray(RNG.normal(size=images.shape), "f4")
    _, forward = jax.jvp(total, (images,), (along,))
    np.testing.assert_allclose((jax.grad(total)(images) * along).sum(), forward, rtol=1e-3)
    assert np.isfinite(forward) and forward != 0


def test_a_latent_that_starts_outside_is_clipped_too():
    found = invert(InvertConfig(steps=0, clip=True), generate, jnp.ones((1, 2, 2, 3)), jnp.full((1, 4), 3.0))
    assert (found["z"] == 1).all()


def test_examples_without_a_target_teach_and_measure_nothing():
    config = AspectConfig(epochs=4, batch_size=4, validation=0.25)
    none = Y.copy()
    none[np.asarray(aspects.validation_split(config, 60)[1])] = np.nan
    assert (fit_aspect(Z, none, config=config).history["validation_loss"] > 0).all()  # of others
    network = nn.Dense(2)
    trainer = aspects.Trainer(config, network, jnp.asarray(Z), jnp.asarray(none))
    assert list(trainer.epoch(aspects.init(config, network, 4))[1]) == ["loss"]
    some = np.where(np.arange(60)[:, None] % 3 == 0, np.nan, Y)
    aspect = fit_aspect(Z, some, config=AspectConfig(epochs=1, batch_size=4, learning_rate=1e-9))
    steps = AspectConfig(steps=30, batch_size=4)
    assert len(fit_aspect(Z, some, config=steps).history["loss"]) == 3  # of 40 examples, ten batches each
    assert aspect.history["loss"][0] == pytest.approx(np.nanmean((aspect(Z) - some) ** 2), rel=1e-3)


def test_the_rate_stays_down_after_a_cosine():
    config = AspectConfig(epochs=2, batch_size=20, schedule="cosine", learning_rate=0.01)
    network = nn.Dense(2)
    trainer = aspects.Trainer(config, network, jnp.asarray(Z), jnp.asarray(Y))
    state, kernels = aspects.init(config, network, 4), []
    for _ in range(4):
        state, _ = trainer.epoch(state)
        kernels.append(np.asarray(state.parameters["kernel"]))
    assert not np.array_equal(kernels[0], kernels[1])
    np.testing.assert_array_equal(kernels[1], kernels[3])


def test_an_aspect_takes_latents_like_those_that_it_was_learnt_from():
    tree = {"shape": Z[:, :3], "age": Z[:, 3:]}
    aspect = fit_aspect(tree, Y, config=SMALL)
    np.testing.assert_allclose(jax.jit(aspect)(tree), aspect(tree), atol=1e-6)
    pair = fit_aspect([Z[:, :3], Z[:, 3:]], Y, config=SMALL)
    assert pair((Z[:, :3], Z[:, 3:])).shape == (60, 2)
    for other in (Z, {"shape": Z[:, :1], "age": Z[:, 1:]}, {"a": Z[:, :3], "b": Z[:, 3:]}):
        with pytest.raises(InputError, match="the aspect was learnt from"):
            aspect(other)


def test_functions_do_with_64_bits():
    with jax.enable_x64(True):
        assert np.isfinite(density.fit(Z, 2).weights).all()
        assert low_quality(KEY, jnp.zeros((24, 32, 1)), jnp.zeros((24, 32, 1)))[0].shape == (24, 32, 1)


def test_errors_that_are_no_numbers_are_no_success():
    truth = RNG.random((3, 49, 2))
    assert np.isnan(failure_percent(nme_percent(truth * np.nan, truth, 8, 8)))
    half, whole = truth.copy(), truth.copy()
    half[0, 3, 1] = whole[0, 3] = np.nan  # a point without y is absent, as one without both
    np.testing.assert_array_equal(nme_percent(truth + 0.1, half, 8, 8), nme_percent(truth + 0.1, whole, 8, 8))

"""What an inversion makes small: losses, weights and priors beside numpy; latents of any shape; what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import InputError, InvertConfig, Inverter, inversion, invert, invert_all, sharding
from began_jax.inversion import bfgs
from began_jax.inversion.objective import Objective, check_alike, outside_cube, psnr_db

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(6, 12)).astype("f4")
BFGS = dict(optimizer="bfgs", learning_rate=0.05)
OPTIMIZERS = {"adam": InvertConfig(steps=40), "bfgs": InvertConfig(steps=40, **BFGS)}


def generate(z):
    return jnp.tanh(z @ WEIGHT).reshape(-1, 2, 3, 2)


def images_of(count, seed=1):
    return np.asarray(generate(np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 6)).astype("f4")))


def test_losses_weights_and_quality_are_those_of_numpy():
    x, y = RNG.uniform(-1, 1, (2, 5, 2, 3, 2)).astype("f4")
    w = RNG.uniform(0, 1, (5, 2, 3, 1)).astype("f4")
    full = np.broadcast_to(w, x.shape)
    for loss, differences in (("l1", np.abs(x - y)), ("l2", (x - y) ** 2)):
        found = Objective(loss)(jnp.asarray(x), jnp.asarray(y), None, jnp.asarray(w))
        wanted = [np.average(d, weights=part) for d, part in zip(differences, full, strict=True)]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        np.testing.assert_allclose(Objective(loss)(jnp.asarray(x), jnp.asarray(y), None), differences.mean((1, 2, 3)))
    mse = [np.average((x - y)[i] ** 2 / 4, weights=full[i]) for i in range(5)]
    np.testing.assert_allclose(psnr_db(x, y, w), -10 * np.log10(mse), rtol=1e-5)
    z = np.array([[0.5, -1.5, 1.0], [2.0, 0.0, -3.0]], "f4")
    np.testing.assert_allclose(outside_cube({"a": z[:, :1], "b": z[:, 1:]}, 3.0), [3 * 0.25 / 3, 3 * 5 / 3])


@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_pixels_without_weight_are_not_looked_at(config):
    images, weights = images_of(4), np.ones((2, 3, 1), "f4")
    weights[0, :2] = 0
    spoilt = images.copy()
    spoilt[:, 0, :2] = RNG.uniform(-1, 1, spoilt[:, 0, :2].shape)
    found = invert_all(generate, spoilt, latent=6, config=config, weights=weights)
    same = invert_all(generate, images, latent=6, config=config, weights=np.broadcast_to(weights, images.shape))
    np.testing.assert_array_equal(found.z, same.z)
    np.testing.assert_array_equal(found.l1, same.l1)
    unweighted = invert_all(generate, spoilt, latent=6, config=config)
    assert found.l1.max() < 0.05 < unweighted.l1.mean()


@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_loss_of_ones_own_equals_the_named_one_and_is_given_weights(config):
    images, weights = images_of(3), np.ones((3, 2, 3, 1), "f4")
    own = invert_all(generate, images, latent=6, config=config, loss=lambda y, x: ((y - x) ** 2).mean((1, 2, 3)))
    named = invert_all(generate, images, latent=6, config=config, loss="l2")
    np.testing.assert_allclose(own.z, named.z, atol=1e-5)
    np.testing.assert_array_equal(named.z, invert_all(generate, images, latent=6, config=config_of(config, "l2")).z)
    assert own.loss.max() < own.l1.max()  # of squares, which are smaller
    weighted = lambda y, x, w: (w * (y - x) ** 2).mean((1, 2, 3))  # noqa: E731
    given = invert_all(generate, images, latent=6, config=config, loss=weighted, weights=weights)
    np.testing.assert_allclose(given.z, own.z, atol=1e-5)


def config_of(config, loss):
    return InvertConfig(**{**vars(config), "loss": loss})


@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_prior_draws_latents_to_where_it_is_low_and_is_part_of_the_loss(config):
    images = images_of(3)
    near = lambda z: 1.0 * (z**2).mean(1)  # noqa: E731
    free, held = (invert_all(generate, images, latent=6, config=config, prior=prior) for prior in (None, near))
    assert (held.z**2).mean() < 0.95 * (free.z**2).mean() and held.l1.mean() > free.l1.mean()
    np.testing.assert_allclose(held.loss, held.l1 + near(held.z), rtol=1e-5)
    np.testing.assert_array_equal(free.loss, free.l1)
    far = np.asarray(generate(np.full((2, 6), 1.5, "f4")))
    cube = {
        prior: InvertConfig(steps=60, learning_rate=0.05, prior=prior, prior_weight=5.0) for prior in ("none", "cube")
    }
    out = {prior: np.abs(invert_all(generate, far, latent=6, config=c).z).max() for prior, c in cube.items()}
    assert out["cube"] < out["none"]


LATENTS = {
    "maps": ((2, 3), lambda z: generate(z.reshape(-1, 6))),
    "tree": ({"a": 4, "b": (1, 2)}, lambda z: generate(jnp.concatenate([z["a"], z["b"].reshape(-1, 2)], 1))),
}


@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("name", LATENTS)
def test_a_latent_of_any_shape_is_found_as_the_vector_of_its_coordinates_is(name, config):
    latent, shaped = LATENTS[name]
    images = images_of(3)
    found = invert_all(shaped, images, latent=latent, config=config, batch_size=2)
    wanted = invert_all(generate, images, latent=6, config=config)
    flat = np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(found.z)], 1)
    np.testing.assert_allclose(flat, wanted.z, atol=1e-4)
    early = InvertConfig(**{**vars(config), "tolerance": 0.05, "starts": 2})
    again = invert_all(shaped, images, latent=latent, config=early, batch_size=2)
    assert jax.tree.map(np.shape, again.z) == jax.tree.map(np.shape, found.z)
    assert again.steps.max() <= 80 and again.l1.max() < 0.1


def test_limited_memory_equals_the_whole_matrix_while_its_pairs_last():
    z = jnp.linspace(-1, 1, 9)
    hessian = jnp.diag(jnp.arange(1.0, 10.0))
    value = jax.jit(jax.value_and_grad(lambda z: (z @ hessian @ z) / 2))
    advance = jax.jit(lambda *a: bfgs.step(0.05, *a))

    def run(whole, steps):
        trial, memory = z, bfgs.init(z, whole)
        for _ in range(steps):
            trial, memory = advance(trial, *value(trial), memory)
        return trial, memory

    (whole, matrix), (limited, pairs) = run(9, 12), run(8, 12)
    assert type(matrix.inverse).__name__ == "Matrix" and type(pairs.inverse).__name__ == "Pairs"
    np.testing.assert_allclose(limited, whole, atol=1e-4)
    vector = jnp.linspace(0, 1, 9)
    np.testing.assert_allclose(pairs.inverse.times(vector), matrix.inverse.times(vector), rtol=1e-2, atol=1e-3)
    _, long = run(8, 3 * bfgs.PAIRS)
    assert float(long.error) < 1e-3


def test_a_long_latent_is_inverted_with_limited_memory():
    wide = np.random.default_rng(2).normal(size=(600, 6)).astype("f4") / 600**0.5
    found = invert_all(
        lambda z: generate(z.reshape(-1, 600) @ wide), images_of(2), latent=(20, 30), config=OPTIMIZERS["bfgs"]
    )
    assert found.z.shape == (2, 20, 30) and found.l1.max() < 0.02


def test_one_call_equals_the_pure_function_and_its_results_depend_on_no_neighbour():
    images, config = images_of(7), InvertConfig(steps=20, start="uniform", starts=3)
    found = invert_all(generate, images, latent=6, config=config, batch_size=3)
    one = InvertConfig(steps=20, start="uniform")
    starts = [inversion.start(one, np.arange(7), 6, number) for number in range(3)]
    wanted = inversion.best_of([jax.device_get(invert(one, generate, jnp.asarray(images), z)) for z in starts])
    np.testing.assert_allclose(found.z, wanted["z"], atol=1e-5)
    np.testing.assert_allclose(found.l1, wanted["l1"], atol=1e-6)
    assert (found.steps == 60).all() and not found.converged.any()
    given = invert_all(
        lambda p, z: generate(p * z),
        images,
        parameters=jnp.ones(()),
        start=lambda x: starts[0][: len(x)],
        config=one,
        batch_size=7,
    )
    np.testing.assert_allclose(
        given.z, jax.device_get(invert(one, generate, jnp.asarray(images), starts[0]))["z"], atol=1e-5
    )


def test_an_encoder_that_starts_is_asked_once_a_batch_in_one_shape():
    images, config = images_of(7), InvertConfig(steps=2, starts=3, start="uniform")
    shapes, calls = [], []

    def encode(x):
        shapes.append(x.shape)
        jax.debug.callback(lambda: calls.append(1))
        return x.reshape(len(x), -1)[:, :6]

    found = invert_all(generate, images, start=encode, config=config, batch_size=3)
    jax.effects_barrier()
    assert [shape[0] for shape in shapes] == [3] and len(calls) == 3  # batches of 3, 3 and 1 images
    own = invert_all(generate, images, start=images.reshape(7, -1)[:, :6], config=config, batch_size=7)
    np.testing.assert_allclose(found.z, own.z, atol=1e-5)
    with pytest.raises(InputError, match="start gives 6 latents for 3 images"):
        invert_all(generate, images, start=lambda x: jnp.zeros((2 * len(x), 6)), config=config, batch_size=3)


def test_uint8_images_are_scaled_and_progress_counts_every_step():
    images, told = images_of(5), []
    stored = np.round((images + 1) * 127.5).astype(np.uint8)
    config = InvertConfig(steps=10, starts=2)
    found = invert_all(generate, stored, latent=6, config=config, batch_size=2, progress=told.append)
    same = invert_all(generate, stored.astype("f4") / 127.5 - 1, latent=6, config=config)
    np.testing.assert_allclose(found.z, same.z, atol=1e-4)
    assert sum(told) == 5 * 10 * 2
    told.clear()
    early = invert_all(
        generate,
        images,
        latent=6,
        config=InvertConfig(steps=60, tolerance=0.2, window=5, **BFGS),
        batch_size=2,
        progress=told.append,
    )
    assert early.converged.any() and (early.steps[early.converged] < 60).all() and sum(told) == 5 * 60


@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_meshes_with_explicit_axes_and_shard_map_give_the_same(config):
    mesh = jax.make_mesh((4,), ("x",))  # explicit axes, JAX's default
    assert mesh.axis_types[0] == jax.sharding.AxisType.Explicit
    split = jax.sharding.NamedSharding(mesh, jax.P("x"))
    images = images_of(8)
    z = np.zeros((8, 6), "f4")
    find = jax.jit(lambda x, z: invert(config, generate, x, z))
    wanted = find(images, z)
    x, first = jax.device_put((images, z), split)
    mapped = jax.jit(jax.shard_map(find, mesh=mesh, in_specs=(jax.P("x"), jax.P("x")), out_specs=jax.P("x")))
    loop = Inverter(config, lambda _, z: generate(z), {}, split)
    committed = jax.device_put(jnp.ones(()), jax.devices()[0])
    scaled = lambda p, z: generate(p * z)  # noqa: E731
    one_call = invert_all(scaled, images[:6], latent=6, config=config, parameters=committed, sharding=split)
    with jax.set_mesh(mesh):
        around = loop(images, z)
    for found in (find(x, first), mapped(x, first), loop(images, z), around):
        np.testing.assert_allclose(found["l1"], wanted["l1"], atol=1e-5)
    np.testing.assert_allclose(one_call.l1, wanted["l1"][:6], atol=1e-5)
    with pytest.raises(InputError, match="6 cannot be split over 4 devices; use a multiple of 4"):
        loop(images[:6], z[:6])
    assert sharding.parts_of(split) == 4 and sharding.parts_of(jax.NamedSharding(mesh, jax.P())) == 1


def test_images_of_float64_do_with_latents_of_float32():
    with jax.enable_x64(True):
        found = invert(
            OPTIMIZERS["adam"], generate, jnp.asarray(images_of(2), jnp.float64), jnp.zeros((2, 6), jnp.float32)
        )
        assert found["z"].dtype == jnp.float32


def test_a_pixel_that_is_not_looked_at_may_be_anything():
    images, weights = np.array(images_of(2)), np.ones((2, 2, 3, 2), "f4")
    weights[:, 0, 0] = 0
    missing = np.where(weights > 0, images, np.nan)
    wanted, found = (
        invert_all(generate, x, latent=6, weights=weights, config=OPTIMIZERS["adam"]) for x in (images, missing)
    )
    np.testing.assert_allclose(found.z, wanted.z, atol=1e-5)


X = images_of(2)
REFUSED = {
    "shape": (dict(images=X[..., :1]), r"the generator makes \(2, 2, 3, 2\), and the images are \(2, 2, 3, 1\)"),
    "type": (dict(images=X.astype(int)), "images are int64; they must be uint8, or float"),
    "nan": (dict(images=X * np.nan), "not finite: leave pixels that are missing out by weights of 0"),
    "none": (dict(images=X[:0]), "no images"),
    "latent": (dict(latent=None), "latent is missing"),
    "size": (dict(latent=0), "latent is 0"),
    "tree": (dict(latent={"a": "b"}), "latent is 'b'"),
    "start": (dict(start=np.zeros((3, 6), "f4")), "start has 3 latents for 2 images"),
    "start's shape": (dict(start=np.zeros((2, 5), "f4")), "start gives latents of"),
    "start of nan": (dict(start=np.full((2, 6), np.nan, "f4")), "not finite"),
    "start's type": (dict(start=np.zeros((2, 6), int)), "latents are int"),
    "encoder": (dict(config=InvertConfig(start="encoder")), "give start=encode"),
    "loss's shape": (
        dict(loss=lambda y, x: jnp.abs(y - x).mean()),
        r"loss gives \(\); it must give one value an image",
    ),
    "features": (dict(config=InvertConfig(loss="features")), "takes a run's encoder"),
    "density": (dict(config=InvertConfig(prior="density")), "takes a data set's latents"),
    "weights": (dict(weights=np.ones((3, 3))), r"weights are \(1, 1, 3, 3\); they must broadcast"),
    "weights' signs": (dict(weights=-np.ones((2, 3, 1))), "at least 0"),
    "no weight": (dict(weights=np.array([1.0, 0.0]).reshape(2, 1, 1, 1)), "weights of image 1 are all 0"),
    "batch": (dict(batch_size=0), "batch_size is 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_together_is_refused(name):
    changes, message = REFUSED[name]
    given = dict(images=X, latent=6, config=InvertConfig(steps=1)) | changes
    with pytest.raises(InputError, match=message):
        invert_all(generate, **given)


def test_a_loss_and_a_prior_that_are_none_are_refused():
    for objective, message in ((Objective("l3"), "loss is 'l3'"), (Objective("l1", 3), "prior is 3")):
        with pytest.raises(InputError, match=message):
            objective.check()


def test_the_pure_function_refuses_what_it_does_not_do():
    z = jnp.zeros((2, 6))
    for name, value in (("starts", 2), ("tolerance", 0.1)):
        with pytest.raises(InputError, match=f"{name} is {value}, which invert does not serve; invert_all does"):
            invert(InvertConfig(**{name: value}), generate, X, z)
    with pytest.raises(InputError, match="which Inverter does not serve"):
        Inverter(InvertConfig(starts=2), lambda _, z: generate(z), {})
    with pytest.raises(InputError, match=r"Inverter\.refilled serves it"):
        Inverter(InvertConfig(tolerance=0.1), lambda _, z: generate(z), {})(X, z)
    for of_it in (0 * X - 1, X * np.nan):
        with pytest.raises(InputError, match="weights must be finite and at least 0"):
            invert(InvertConfig(steps=1), generate, X, z, weights=of_it)
        with pytest.raises(InputError, match="weights must be finite and at least 0"):
            Inverter(InvertConfig(steps=1), lambda _, z: generate(z), {})(X, z, weights=of_it)
    with pytest.raises(InputError, match="start is encoder"):
        inversion.start(InvertConfig(start="encoder"), np.arange(2), 6)
    for images in (np.zeros((2, 2, 3, 2), np.uint8), X[:1]):
        with pytest.raises(InputError, match="images are"):
            check_alike(X, images)

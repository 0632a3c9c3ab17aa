"""One call on arrays in memory: what it learns, with networks of any library, and what it refuses; configurations."""

import dataclasses
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from began_jax import AspectConfig, InputError, InvertConfig, MultilayerNetwork, TrainConfig, aspects, began, fit_aspect
from began_jax.aspects import cross_entropy
from began_jax.errors import DivergedError
from began_jax.options import choices_of

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(64, 4)).astype("f4")
SIGNS = (Z[:, :3] > 0).astype("f4")
CLASSES = (Z[:, 0] > 0).astype(int) + (Z[:, 1] > 0)
QUICK = AspectConfig(epochs=30, learning_rate=1e-2, validation=0.25)


def equinox_network():
    equinox = pytest.importorskip("equinox")
    return equinox.nn.MLP(4, 3, 16, 1, key=jax.random.key(0))


NETWORKS = {
    "none": lambda: (None, None),
    "linen": lambda: (nn.Dense(3), None),
    "nnx": lambda: (nnx.Linear(4, 3, rngs=nnx.Rngs(0)), None),
    "equinox": lambda: (equinox_network(), None),
    "function": lambda: ({"w": np.zeros((4, 3), "f4")}, lambda p, z: z @ p["w"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_any_library_learn(name):
    network, apply = NETWORKS[name]()
    aspect = fit_aspect(Z, SIGNS, network, config=QUICK, apply=apply)
    assert aspect(Z).shape == SIGNS.shape and aspect.each(Z).shape == (1, *SIGNS.shape)
    assert not np.asarray(aspect.std(Z)).any()
    assert set(aspect.history) == {"loss", "validation_loss"} and len(aspect.history["loss"]) == QUICK.epochs
    assert aspect.history["loss"][-1] < 0.8 * aspect.history["loss"][0]
    np.testing.assert_allclose(jax.jit(aspect)(Z), aspect(Z), atol=1e-6)
    if network is not None:  # training took none of its buffers
        again = fit_aspect(Z, SIGNS, network, config=QUICK, apply=apply)
        np.testing.assert_array_equal(again(Z), aspect(Z))


def test_a_number_of_steps_ends_where_a_cosine_does():
    config = AspectConfig(steps=40, schedule="cosine", learning_rate=1e-2)
    counted = fit_aspect(Z, SIGNS, config=config)
    epochs = fit_aspect(Z, SIGNS, config=dataclasses.replace(config, steps=0, epochs=10))
    jax.tree.map(np.testing.assert_array_equal, counted.parameters, epochs.parameters)


def test_one_call_equals_the_trainer_and_the_best_epoch_is_kept():
    network, told = MultilayerNetwork((3,)), []
    aspect = fit_aspect(Z, SIGNS, network, config=QUICK, progress=lambda epoch, metrics: told.append(epoch))
    state = aspects.init(QUICK, network, 4)
    trainer, errors = aspects.Trainer(QUICK, network, jnp.asarray(Z), jnp.asarray(SIGNS)), []
    for _ in range(QUICK.epochs):
        state, metrics = trainer.epoch(state)
        errors.append(float(metrics["validation_loss"]))
    jax.tree.map(np.testing.assert_array_equal, aspect.parameters, jax.device_get(state.best_parameters))
    np.testing.assert_array_equal(aspect.history["validation_loss"], np.array(errors, "f4"))
    assert told == list(range(1, QUICK.epochs + 1))


def test_an_ensemble_answers_with_its_mean_and_tells_how_far_it_disagrees():
    config = dataclasses.replace(QUICK, members=3, validation=0.0)
    aspect = fit_aspect(Z, SIGNS, config=config)
    each = aspect.each(Z)
    assert each.shape == (3, *SIGNS.shape)
    np.testing.assert_allclose(aspect(Z), each.mean(0), atol=1e-6)
    np.testing.assert_allclose(aspect.std(Z), each.std(0), atol=1e-6)
    alone = fit_aspect(Z, SIGNS, config=dataclasses.replace(config, members=1, seed=1))
    np.testing.assert_allclose(each[1], alone(Z), atol=1e-3)
    with pytest.raises(InputError, match="not those of 2 members"):
        aspects.predict(aspect.network, aspect.parameters, jnp.asarray(Z), members=2)


def test_a_tree_of_latents_is_learnt_from_as_one_vector():
    tree = {"a": Z[:, :1], "b": Z[:, 1:].reshape(64, 3, 1)}
    as_tree, as_array = (fit_aspect(z, SIGNS, config=QUICK) for z in (tree, Z))
    np.testing.assert_array_equal(as_tree(tree), as_array(Z))


@pytest.mark.parametrize("absent", [False, True])
def test_cross_entropy_is_that_of_numpy(absent):
    logits = RNG.normal(size=(5, 2, 4)).astype("f4")
    classes = RNG.integers(0, 4, (5, 2)).astype("f4")
    one_hot = np.eye(4, dtype="f4")[classes.astype(int)]
    each = -(one_hot * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)
    if absent:
        classes[0, 1] = one_hot[0, 1, 2] = each[0, 1] = np.nan
    wanted = np.nanmean(each, 1)
    given = jnp.asarray(logits)
    np.testing.assert_allclose(cross_entropy(given, jnp.asarray(classes), absent), wanted, rtol=1e-5)
    np.testing.assert_allclose(cross_entropy(given, jnp.asarray(one_hot), absent), wanted, rtol=1e-5)
    if not absent:
        np.testing.assert_allclose(cross_entropy(given, jnp.asarray(classes.astype(int))), wanted, rtol=1e-5)
    with pytest.raises(InputError, match="they must be classes"):
        cross_entropy(given, given[..., :2])


def test_classes_are_learnt_by_their_logits():
    for targets in (CLASSES, np.eye(3, dtype="f4")[CLASSES], np.eye(3, dtype=int)[CLASSES]):
        aspect = fit_aspect(Z, targets, loss="cross_entropy", config=QUICK)
        assert (np.asarray(aspect(Z)).argmax(-1) == CLASSES).mean() > 0.9
    own = fit_aspect(Z, SIGNS, loss=lambda predicted, target: jnp.abs(predicted - target).mean(1), config=QUICK)
    assert np.abs(own(Z) - SIGNS).mean() < 0.3


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.BatchNorm(use_running_average=True)(nn.Dense(3)(z))


class Dropping(nn.Module):
    deterministic: bool

    @nn.compact
    def __call__(self, z):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=self.deterministic)(z))


def test_dropout_may_be_there_where_it_drops_nothing():
    assert fit_aspect(Z, SIGNS, Dropping(True), config=QUICK).history["loss"][-1] < 1


REFUSED = {
    "dropout": (dict(network=Dropping(False)), r"fails on latents \(1, 4\): InvalidRngError: .* deterministic mode"),
    "its own error": (dict(network=3, apply=lambda p, z: z @ z), r"fails on latents \(1, 4\): TypeError: "),
    "collections": (dict(network=Normalised()), "has batch_stats beside its parameters"),
    "nnx state": (dict(network=nnx.BatchNorm(4, rngs=nnx.Rngs(0))), "has a state beside its parameters"),
    "no network": (dict(network=3), "network is a int"),
    "shape": (dict(targets=Z[:, 0], network=nn.Dense(1)), r"the network predicts \(16, 1\), targets are \(16,\)"),
    "counts": (dict(targets=SIGNS[:5]), "64 latents and 5 targets"),
    "few": (dict(latents=Z[:9], targets=SIGNS[:9]), "a batch of 16 is larger than the 9 latents"),
    "types": (dict(latents=Z.astype(int)), "latents are int32"),
    "nan": (dict(latents=Z * np.nan), "a latent is not finite"),
    "infinite": (dict(targets=np.full_like(SIGNS, np.inf)), "a target is infinite"),
    "classes": (dict(targets=-CLASSES, loss="cross_entropy"), "a target is -2"),
    "float classes": (dict(targets=CLASSES.astype("f4"), loss="cross_entropy"), "classes must be integers"),
    "loss's shape": (dict(loss=lambda predicted, target: jnp.zeros(())), r"loss gives \(\)"),
    "of a run": (dict(config=AspectConfig(read=True)), "read is True, which fit_aspect does not serve"),
    "of a run too": (dict(config=AspectConfig(image_steps=5)), "image_steps is 5, which fit_aspect does not serve"),
    "of a choice": (dict(config=AspectConfig(label_seed=5)), "label_seed is 5, which fit_aspect does not serve"),
    "apply alone": (dict(apply=lambda p, z: z), "apply is given, and network is not the parameters"),
    "apply beside a module": (dict(network=nn.Dense(3), apply=lambda p, z: z), "apply is given"),
    "nothing": (dict(targets=SIGNS[:, :0]), "there are none"),
    "never seen": (dict(targets=np.full_like(SIGNS, np.nan)), "all targets are NaN"),
    "no logits": (
        dict(targets=CLASSES, network=lambda: 0, apply=lambda p, z: z[:, 0] * p["a"], loss="cross_entropy")
        | dict(network={"a": jnp.ones(())}),
        "the logits of the classes must be its last axis",
    ),
    "masks of 255": (dict(targets=np.full((64, 4, 4, 1), 255, np.uint8)), "uint8 up to 255; masks must be 0 and 1"),
    "parts of classes": (
        dict(targets=CLASSES + 0.5, network=nn.Dense(3), loss="cross_entropy"),
        "classes must be whole numbers",
    ),
    "other classes": (
        dict(targets=CLASSES + 1, network=nn.Dense(3), loss="cross_entropy"),
        "a target is class 3; the network has logits for 0 to 2",
    ),
    "probabilities": (
        dict(targets=7 * np.eye(3, dtype="f4")[CLASSES], loss="cross_entropy"),
        "of an example add up to 7; probabilities, of the logits' shape, to 1",
    ),
    "members": (
        dict(network=nnx.Linear(4, 3, rngs=nnx.Rngs(0)), config=AspectConfig(members=2)),
        "members is 2, which needs a linen module",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learnt_from_is_refused(name):
    changes, message = REFUSED[name]
    given = dict(latents=Z, targets=SIGNS, config=AspectConfig(epochs=1)) | changes
    with pytest.raises(InputError, match=message):
        fit_aspect(**given)


SMALL = TrainConfig(
    height=8, width=8, channels=1, latent_size=4, filters=4, encoder_filters=(4, 6), batch_size=4, steps=9
)
IMAGES = RNG.integers(0, 256, (10, 8, 8, 1), np.uint8)


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.long), 2])
def test_training_in_memory_equals_its_steps_on_passes_over_the_images(devices):
    config, told = dataclasses.replace(SMALL, encoder_weight=1.0), []
    mesh = jax.make_mesh((devices,), ("x",), devices=jax.devices()[:devices])
    split = jax.sharding.NamedSharding(mesh, jax.P("x"))
    with jax.set_mesh(mesh):  # whose axes are explicit
        trained = began.fit(IMAGES, config, callback=lambda step, metrics: told.append(step), sharding=split)
    state, step = jax.jit(lambda: began.init(config))(), jax.jit(lambda s, x: began.step(config, s, x))
    for number in range(9):
        order = np.random.default_rng((0, 2 * (number // 2))).permutation(10)
        state, metrics = step(state, IMAGES[order[4 * (number % 2) :][:4]])
        np.testing.assert_allclose(trained.history["convergence"][number], metrics["convergence"], rtol=2e-3)
    assert told == list(range(1, 10)) and trained.state.done == 9
    z = np.zeros((3, 4), "f4")
    images = trained.generate(z)
    assert images.shape == (3, 8, 8, 1) and trained.encode(images).shape == (3, 4)
    if devices == 2:  # of explicit axes, which refuse the reshapes of a decoder
        for function, value in ((trained.generate, RNG.uniform(-1, 1, (4, 4))), (trained.encode, IMAGES[:4] / 255)):
            value = value.astype("f4")
            found = jax.jit(function)(jax.device_put(value, split))
            assert found.sharding.spec[0] == "x"
            np.testing.assert_allclose(found, function(value), atol=1e-5)
        assert int(step(state, jax.device_put(IMAGES[:4], split))[0].done) == 10


def test_an_annotation_is_learnt_from_latents_split_over_explicit_axes_as_from_others():
    split = jax.NamedSharding(jax.make_mesh((2,), ("x",), devices=jax.devices()[:2]), jax.P("x"))
    z, signs = jax.device_put((Z, SIGNS), split)
    config = dataclasses.replace(QUICK, members=2)
    wanted = fit_aspect(Z, SIGNS, config=config)
    with jax.set_mesh(split.mesh):
        found = fit_aspect(z, signs, config=config)
        for function in (found, found.std, jax.jit(found)):
            np.testing.assert_allclose(function(z), function(Z), atol=1e-5)
    np.testing.assert_allclose(found(Z), wanted(Z), atol=1e-6)


def test_training_in_memory_refuses_what_it_cannot_train_on():
    cases = [
        (IMAGES / 255, SMALL, "images are float64"),
        (IMAGES[:, :6], SMALL, "the configuration needs uint8"),
        (IMAGES[:3], SMALL, "there are 3 images, and a batch has 4"),
        (IMAGES, dataclasses.replace(SMALL, low_quality=True), "low_quality is not a step's"),
        (IMAGES, dataclasses.replace(SMALL, patch=2), "--patch needs --encoder-weight"),
        (IMAGES, dataclasses.replace(SMALL, augment=("colour",)), "augment is colour, which needs --objective"),
    ]
    for images, config, message in cases:
        with pytest.raises(InputError, match=message):
            began.fit(images, config)
    state = began.init(SMALL)
    with pytest.raises(InputError, match=r"images are \(8, 6, 1\); they must be \(8, 8, 1\)"):
        began.step(SMALL, state, jnp.asarray(IMAGES[:4, :, :6]))
    with pytest.raises(InputError, match="there is no encoder"):
        began.Trained(SMALL, state, {}).encode(np.zeros((1, 8, 8, 1), "f4"))
    with pytest.raises(DivergedError):
        began.fit(IMAGES, dataclasses.replace(SMALL, learning_rate=1e30))
    x = jnp.zeros((2, 8, 8, 1))
    for other, power, message in ((x[:1], 1, "reconstructions"), (x, 0, "power is 0")):
        with pytest.raises(InputError, match=message):
            began.autoencoder_loss(x, other, power)


WRONG = [
    (InvertConfig, dict(optimizer="lbfgs"), "InvertConfig: optimizer is lbfgs; it must be one of adam, bfgs"),
    (InvertConfig, dict(schedule="linear"), "schedule is linear; it must be one of constant, cosine"),
    (InvertConfig, dict(optimizer="bfgs", beta1=0.5), "beta1 is 0.5, which is for adam"),
    (InvertConfig, dict(steps=-1), "steps is -1; it must be at least 0"),
    (InvertConfig, dict(steps=2.5), "steps is 2.5; it must be a whole number"),
    (InvertConfig, dict(learning_rate=0), "learning_rate is 0; it must be positive"),
    (InvertConfig, dict(learning_rate="fast"), "learning_rate is fast; it must be a finite number"),
    (InvertConfig, dict(clip=1), "clip is 1; it must be True or False"),
    (TrainConfig, dict(gamma=-1), "gamma is -1"),
    (TrainConfig, dict(precision="fp16"), "precision is fp16; it must be one of float32, bfloat16"),
    (TrainConfig, dict(channels=2), "channels is 2; it must be one of 1, 3"),
    (TrainConfig, dict(encoder_filters=[4, 6]), "it must be a tuple of whole numbers"),
    (TrainConfig, dict(encoder_filters=()), "it must be one positive number a scale"),
    (TrainConfig, dict(learning_rate=float("inf")), "learning_rate is inf; it must be a finite number"),
    (TrainConfig, dict(augment=("blur",)), "augment is blur; it must be some of"),
    (TrainConfig, dict(data=3), "data is 3; it must be a text"),
    (AspectConfig, dict(target="mine"), "target is mine; it must be one of dataset, generated, both"),
]


REFUSED_UNTYPED = {
    "began.autoencoder_loss(x, x.astype('uint8'), 1)": "reconstructions uint8; both must be floats",
    "began.step(SMALL, began.init(SMALL), x)": "images are float32; they must be uint8",
    "began_jax.Ridge(z, z[:2])": "latents are [4, 3], targets [2, 3]; there must be a finite latent",
    "gaussian_process.fit(z, z[:3])": "there are 4 latents for 3 targets",
    "began_jax.bootstrap_latents(key, 2, z[0])": "latents are float32 [3]; Z_data must be floats [data, latent]",
    "began_jax.interpolated_latents(key, 2, z.astype(int))": "latents are int64 [4, 3]; Z_data must be floats",
    "began_jax.nme_percent(z[None], z[None], 8, 8)": "landmarks are [1, 4, 3] of 8x8; they must be",
    "student.fit(None, [(np.asarray(x), z[:2])], student.Recipe())": "images must be uint8",
    "began_jax.invert_all(None, np.asarray(x), latent=4, sharding=jax.P())": "sharding is a P; it must be a",
    "began_jax.invert_all(None, np.asarray(x), latent=4, config={'steps': 3})": "config is a dict; it must be a began_",
    "began_jax.fit_aspect(z, z, config=None)": "config is a NoneType; it must be a began_jax.AspectConfig",
    "began.fit(np.zeros((2, 8, 8, 1), np.uint8), None)": "config is a NoneType; it must be a began_jax.TrainConfig",
    "objective.l1(x.astype('uint8'), x.astype('uint8'))": "images are uint8",
    "objective.psnr_db(x, x[:1])": "both must be alike",
    "objective.check_alike(x.astype('uint8'), x)": "the generator makes uint8; it must make floats",
    "began_jax.invert({'steps': 3}, None, x, z[:2])": "config is a dict; it must be a began_jax.InvertConfig",
    "began_jax.landmarks.mirror(np.ones((1, 49, 3)))": "landmarks are [1, 49, 3]; they must be [..., points, 2]",
    "compression.pack(np.ones((2, 2, 2)))": "latents are [2, 2, 2]; they must be [count, latent]",
    "density.fit(z[0])": "latents are [3]",
    "gaussian_process.fit(z[:, 0], z)": "latents must be finite [count, latent]",
    "began_jax.uniform_latents(key, 5.5)": "they must be whole numbers",
    "began_jax.low_quality(key, x[0].astype('uint8'), x[0])": "the image is uint8",
    "began_jax.low_quality(key, x, x)": "the image is float32 [2, 8, 8, 1]",
    "augment.shadow(key, x[0, ..., 0], x[0])": "the image is float32 [8, 8]",
    "augment.shadow(key, x[0].astype('uint8'), x[0])": "the image is uint8",
    "augment.reduce_contrast_inside(key, x[0], x[0, :4])": "the mask [4, 8, 1]",
    "jax.jit(lambda s: augment.motion_blur(key, x[0], x[0], s))(0.1)": "the length of a motion blur is traced",
    "student.light(key, x.astype('uint8'))": "images are uint8; they must be floats",
    "quality.octave_energies(x[0])": "images are [8, 8, 1]; they must be [count, height, width, channels]",
    "metrics.kept(z[0], z[0, :2], 0.9)": "3 errors, 2 doubts",
    "began_jax.AugmentConfig('a')": "contrast_inside is a",
    "bool((began_jax.low_quality(key, x[0], x[0], began_jax.AugmentConfig(probability=1))[1] == x[0]).all())": "True",
}
TRY = """
import sys, jax, jax.numpy as jnp, numpy as np, began_jax
from began_jax import augment, began, compression, density, gaussian_process, metrics, quality, student
from began_jax.inversion import objective
sizes = dict(height=8, width=8, channels=1, latent_size=4, filters=4, encoder_filters=(4, 6))
SMALL, key = began_jax.TrainConfig(**sizes), jax.random.key(0)
x, z = jnp.zeros((2, 8, 8, 1)), np.arange(12, dtype=np.float32).reshape(4, 3)
for call in eval(sys.argv[1]):
    try:
        print(eval(call))
    except began_jax.InputError as error:
        print(error)
"""


def test_functions_refuse_what_they_cannot_mean():
    # In a process of its own, where no hook of the tests looks at types first.
    given = repr(list(REFUSED_UNTYPED))
    done = subprocess.run([sys.executable, "-c", TRY, given], text=True, capture_output=True, check=True)
    for said, message in zip(done.stdout.splitlines(), REFUSED_UNTYPED.values(), strict=True):
        assert message in said


SAID = """
from began_jax import AspectConfig, InputError, InvertConfig, TrainConfig
import dataclasses, sys
for name, values in eval(sys.argv[1], {"inf": float("inf")}):
    for make in (globals()[name], lambda **values: dataclasses.replace(globals()[name](), **values)):
        try:
            print(make(**values))
        except InputError as error:
            print(error)
"""


def test_a_configuration_refuses_what_it_cannot_mean():
    # In a process of its own, where no hook of the tests looks at types first.
    given = repr([(kind.__name__, values) for kind, values, _ in WRONG])
    done = subprocess.run([sys.executable, "-c", SAID, given], text=True, capture_output=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 2 * len(WRONG)
    for i, (_, _, message) in enumerate(WRONG):
        assert message in said[2 * i] and message in said[2 * i + 1]


TAKEN = """
import jax, jax.numpy as jnp, numpy as np
from began_jax import InvertConfig
assert InvertConfig(steps=np.int64(3)).steps == 3 and InvertConfig(learning_rate=np.float32(0.5)).learning_rate == 0.5
rates = jax.vmap(lambda rate: InvertConfig(learning_rate=rate).learning_rate)(jnp.arange(3.0))
assert rates.tolist() == [0, 1, 2]
"""


def test_a_configuration_takes_numpy_numbers_and_traced_ones():
    done = subprocess.run([sys.executable, "-c", TAKEN], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [TrainConfig, InvertConfig, AspectConfig])
def test_help_says_what_each_option_is(kind):
    for field in dataclasses.fields(kind):
        if text := field.metadata.get("help"):
            assert f"    {field.name}: " in kind.__doc__ and text in kind.__doc__
            assert all(str(choice) in kind.__doc__ for choice in choices_of(field) or ())

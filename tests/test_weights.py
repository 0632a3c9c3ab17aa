"""Weights that come along: what is packed from a run is what the run gives, and what the package has is whole."""

import dataclasses
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ways import call, done

import began_jax
from began_jax.data.synthetic import dataset as synthetic
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.images import to_float
from began_jax.run import networks, weights
from began_jax.run.folder import Run

SHAPE = ["--height", 16, "--width", 16]
SIZE = ["--filters", "4", "--encoder-filters", "4,6", "--latent-size", "8", "--batch-size", "4", "--steps", "2"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """100 training faces and 50 held-out ones, 16x16: enough to measure a generator with."""
    out = tmp_path_factory.mktemp("faces") / "data"
    synthetic.write_synthetic("synthetic-faces", out, 150, 1 / 3, 16, 16, 0)
    return out


@pytest.fixture(scope="module")
def packed(tmp_path_factory, faces):
    """A tiny run through all stages, and a folder of weights with its own."""
    folder = tmp_path_factory.mktemp("weights")
    run = folder / "run"
    done("train.py", run, "faces-sharp", "--data", faces, "--measure-every", 1, *SHAPE, *SIZE)
    done("invert.py", run, "--steps", 2, "--shard-size", 52)
    done("aspect.py", run, "--recipe", "combined", "--closed-form", "none", "--epochs", 2, "--batch-size", 50)
    done("evaluate.py", run, "--consistency", 0)
    run = Run.open(run)
    weights.pack(run, folder / "here" / "faces-sharp", networks.newest(run))
    return run, folder / "here"


@pytest.fixture
def here(packed, monkeypatch):
    run, folder = packed
    monkeypatch.setattr(weights, "FOLDER", folder)
    return run


def test_stages_measure_the_generator_beside_held_out_images(packed):
    run, _ = packed
    found = read_json(run.folder / "metrics.json")
    for name in ("precision", "recall", "density", "coverage", "frechet"):
        assert {f"evaluate/generator_{name}{end}" for end in ("", "_interval", "_floor")} <= found.keys()
    assert all(f"evaluate/generator_energy_octave_{i}" in found for i in range(1, 4))
    assert found["evaluate/generator_images"] == 50 and found["evaluate/generator_training_images"] == 100
    assert found["evaluate/generator_coverage"] < found["evaluate/generator_coverage_floor"]  # two steps draw nothing
    assert (run.folder / "figures" / "neighbours.png").exists()
    (events,) = (run.folder / "events" / "train").iterdir()
    assert b"train/generator/coverage" in events.read_bytes()


def test_a_function_of_the_users_is_the_feature_space(packed, tmp_path):
    run, _ = packed
    (tmp_path / "mine.py").write_text("def means(images):\n    return images.mean((1, 2))\n")
    folder = shutil.copytree(run.folder, tmp_path / "run")
    out = done("evaluate.py", folder, "--consistency", 0, "--features", f"{tmp_path}/mine.py:means")
    assert "50 generated images: precision" in out
    assert read_json(folder / "metrics.json")["evaluate/generator_features"] == f"{tmp_path}/mine.py:means"
    status, _, error = call("evaluate.py", folder, "--features", f"{tmp_path}/mine.py:medians")
    assert status == 2 and "--features" in error and "no callable medians" in error


def test_packed_weights_give_what_the_run_gives(here):
    found = began_jax.pretrained("faces-sharp")
    z = np.random.default_rng(0).uniform(-1, 1, (3, 8)).astype(np.float32)
    x = to_float(here.data.source("test").image(0))[None]
    generator = here.inverted
    np.testing.assert_allclose(jax.jit(found.generate)(z), generator.images(z), atol=1e-5)
    np.testing.assert_allclose(
        found.encode(x), generator.encode(generator.encoder_parameters, jnp.asarray(x)), atol=1e-5
    )
    own = networks.load(here, networks.newest(here)).annotate
    np.testing.assert_allclose(found.annotate(z), own(z), atol=1e-5)
    for function, wrong, message in (
        (found.generate, z[0], "they must be (count, 8)"),
        (found.annotate, z[:, :3], "they must be (count, 8)"),
        (found.encode, here.data.source("test").image(0)[None], "images are uint8"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            function(wrong)
    assert found.card["data"]["images"] == {"train": 100, "test": 50}
    assert found.card["figures"]["train/steps"] == 2 and found.config.steps == 2


@pytest.fixture
def begin(here, monkeypatch):
    """Calls train.py --pretrained with the preset that was packed, whose built-in set is as small as the tests'."""
    monkeypatch.setattr(synthetic, "DEFAULT_COUNT", 150)
    monkeypatch.setattr(synthetic, "DEFAULT_HOLDOUT", 1 / 3)
    command = ["faces-sharp", "--data", "synthetic-faces", *SHAPE, *SIZE]
    return lambda run, *options: call("train.py", run, *command, *options)


def test_a_run_begins_with_them_and_has_nothing_left_to_train(here, begin, tmp_path):
    run = tmp_path / "run"
    status, out, error = begin(run, "--pretrained")
    assert (status, error) == (0, "") and "2 steps" in out
    again, first = Run.open(run).training(), here.training()
    jax.tree.map(np.testing.assert_array_equal, again.averaged, first.averaged)
    assert float(again.convergence) == pytest.approx(float(first.convergence))
    assert read_json(run / "metrics.json")["train/steps"] == 2
    assert begin(run, "--pretrained")[:2] == (0, out)
    status, _, error = begin(run, "--steps", 3)
    assert status == 2 and "without a D to train with" in error
    done("invert.py", run, "--steps", 1, "--images", 8, "--shard-size", 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", 1], "have seed 0, not 1"),
        (["--steps", 9], "have steps 2, not 9"),
        (["--data", "elsewhere"], "have data synthetic-faces, not elsewhere"),
    ],
)
def test_another_configuration_or_data_set_is_refused_and_nothing_written(begin, tmp_path, options, message):
    status, _, error = begin(tmp_path / "run", "--pretrained", *options)
    assert status == 2 and message in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_a_training_of_its_own_keeps_it(begin, tmp_path):
    assert begin(tmp_path / "run")[0] == 0
    before = Run.open(tmp_path / "run").training()
    status, _, error = begin(tmp_path / "run", "--pretrained")
    assert status == 2 and "holds another training" in error
    jax.tree.map(np.testing.assert_array_equal, Run.open(tmp_path / "run").training().generator, before.generator)


def test_a_preset_without_weights_is_refused_by_name(here, tmp_path):
    status, _, error = call("train.py", tmp_path / "run", "irises-sharp", "--data", "x", "--pretrained")
    assert status == 2 and "there are faces-sharp" in error
    with pytest.raises(InputError, match="no weights come along for 'cats'"):
        began_jax.pretrained("cats")


def test_only_rendered_sets_are_given_away(packed, tmp_path):
    run, _ = packed
    photographs = dataclasses.replace(run.data, metadata=run.data.metadata | {"source": "photographs"})
    with pytest.raises(InputError, match="only a rendered set"):
        weights.pack(dataclasses.replace(run, data=photographs), tmp_path / "out", networks.newest(run))
    assert not (tmp_path / "out").exists()


def test_damaged_weights_are_refused(packed, tmp_path, monkeypatch):
    _, folder = packed
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "copy")
    part = max((tmp_path / "copy").rglob("*/d/*"), key=lambda path: path.stat().st_size)
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        began_jax.pretrained("faces-sharp")


def test_what_comes_along_is_whole_and_small():
    assert weights.names() == ["synthetic-faces", "synthetic-irises"]
    assert sum(path.stat().st_size for path in weights.FOLDER.rglob("*") if path.is_file()) <= 6e6
    for name in weights.names():
        found = began_jax.pretrained(name)
        config = dataclasses.replace(began_jax.TRAIN_PRESETS[name], steps=found.config.steps)
        assert found.config == config
        z = began_jax.uniform_latents(jax.random.key(0), 4)
        images, annotations = jax.jit(found.generate)(z), jax.jit(found.annotate)(z)
        assert images.shape == (4, config.height, config.width, config.channels)
        assert annotations.shape[1:] == tuple(found.card["shape"])
        assert found.encode(images).shape == (4, 64) and float(np.abs(images).max()) < 2
        assert float(images.std(0).mean()) > 0.1  # they are not all alike


def test_weights_go_where_the_latents_are(here):
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    z = np.random.default_rng(0).uniform(-1, 1, (4, 8)).astype(np.float32)
    wanted = began_jax.pretrained("faces-sharp").generate(z)
    with jax.set_mesh(mesh):
        found = began_jax.pretrained("faces-sharp").generate(jax.device_put(z, jax.P("x")))
    assert found.sharding.spec[0] == "x"
    np.testing.assert_allclose(found, wanted, atol=1e-5)

"""A generator of the user's goes through all stages after training: it is drawn from, inverted, annotated, exported."""

import json
import sys

import jax
import numpy as np
import pytest
from ways import assert_refused, call, contents, done, figures, latents, train_options

from began_jax.errors import InputError
from began_jax.images import to_uint8
from began_jax.run import networks, own_generator
from began_jax.run.folder import Run
from began_jax.run.generator import Generator

# A latent of two styles and a map, as of a style generator: each style makes the features of one scale.
FILE = """
from pathlib import Path
import jax
import jax.numpy as jnp
import numpy as np
from began_jax import Generator

LATENT = {"styles": (2, 3), "map": (4, 4, 1)}
rng = np.random.default_rng(SEED)
parameters = {name: rng.normal(0, 0.4, shape).astype("f4") for name, shape in
              {"first": (3, 4 * 4 * 6), "second": (3, 6), "mixed": (6, 6), "out": (6, 3)}.items()}

def apply(p, z):
    x = (z["styles"][:, 0] @ p["first"]).reshape(-1, 4, 4, 6) + 0.3 * z["map"]
    x = jnp.tanh(x @ p["mixed"]).repeat(4, 1).repeat(4, 2)
    x = x * (1 + z["styles"][:, 1] @ p["second"])[:, None, None]
    return jnp.tanh(x @ p["out"]) * SCALE

def draw(key):
    styles, noise = jax.random.split(key)
    return {"styles": 2 * jax.random.normal(styles, (2, 3)), "map": jax.random.normal(noise, (4, 4, 1))}

def layers(p, z):
    x = (z["styles"][:, 0] @ p["first"]).reshape(-1, 4, 4, 6) + 0.3 * z["map"]
    return [x, apply(p, z)]

say = lambda image: np.stack(2 * [np.arange(49) % 16 + 0.5], 1) / 16
PLAIN = Generator(apply, parameters, LATENT, (16, 16, 3), draw=draw)
SHOWING = lambda: Generator(apply, parameters, LATENT, (16, 16, 3), draw=draw, layers=layers)
LARGER = Generator(apply, parameters, LATENT, (16, 24, 3), draw=draw)
ELSEWHERE = Generator(apply, parameters, LATENT, (16, 16, 3), draw=lambda key: jnp.zeros(5))
BROKEN = lambda: 1 / 0
SWAPPED = Generator(apply, parameters, LATENT, (16, 16, 3), encode=lambda p, x: jnp.zeros((len(x), 22)))
IMAGELESS = Generator(apply, parameters, LATENT, (16, 16, 3), layers=lambda p, z: layers(p, z)[:1])
NUMBER = 3
"""
FLAT = 2 * 3 + 4 * 4


def write(path, seed=0, scale=1):
    path.write_text(FILE.replace("SEED", str(seed)).replace("SCALE", str(scale)))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write(tmp_path_factory.mktemp("own") / "style.py")


@pytest.fixture(scope="module")
def run(place, tiny_faces, tmp_path_factory):
    """A run of a style generator, inverted and with an aspect network."""
    folder = tmp_path_factory.mktemp("own_run") / "run"
    options = ["--data", tiny_faces, "--steps", 12, "--shard-size", 8, "--starts", 2]
    done("invert.py", folder, "--generator", f"{place}:SHOWING", *options)
    done("aspect.py", folder, "--recipe", "combined", "--epochs", 2, "--batch-size", 4)
    return folder


def test_latents_of_any_shape_are_inverted_as_one_row_each(run):
    own = Run.open(run).inverted
    assert own.latent_size == FLAT and not {"step", "fraction_outside_cube"} & figures(run).keys()
    for split, count in (("train", 20), ("test", 4)):
        found = latents(run, split)
        assert found["z"].shape == (count, FLAT)
        images = np.stack([Run.open(run).data.source(split).image(i) for i in range(count)]) / 127.5 - 1
        np.testing.assert_allclose(found["l1"], np.abs(images - own.images(found["z"])).mean((1, 2, 3)), rtol=1e-4)
    assert figures(run)["invert/l1"] < np.abs(images - own.images(np.zeros((4, FLAT), "f4"))).mean()


def test_a_flat_generator_is_the_same_one(place):
    own = own_generator.plugins.find(f"{place}:PLAIN", "--generator")
    flat, key = own.flat(), jax.random.key(3)
    z = own.draw(key)
    row = np.concatenate([np.ravel(z["map"]), np.ravel(z["styles"])])  # a dictionary's keys in their order
    np.testing.assert_array_equal(flat.draw(key), row)
    one = jax.tree.map(lambda leaf: leaf[None], z)
    np.testing.assert_array_equal(flat.apply(flat.parameters, row[None]), own.apply(own.parameters, one))
    assert Generator(own.apply, None, (18, 512), (16, 16, 3)).latent_size == 18 * 512


def test_new_images_are_drawn_as_the_generator_draws(run, tmp_path):
    done("generate.py", run, "--count", 10, "--out", tmp_path / "out")
    own = Run.open(run).inverted
    z = np.stack([own.draw(jax.random.fold_in(jax.random.key(0), i)) for i in range(10)])
    np.testing.assert_allclose(np.load(tmp_path / "out" / "latents.npy"), z, rtol=1e-6)
    assert np.abs(z).max() > 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert "as the generator draws them" in card and "style.py:SHOWING" in card and str(run) not in card


def test_it_is_measured_and_its_layers_are_learnt_from(run, place):
    assert networks.default_recipe(Run.open(run)) == "features"
    done("aspect.py", run, "--steps", 2, "--image-steps", 2, "--batch-size", 4, "--validation", 0.2)
    printed = done("evaluate.py", run, "--consistency", 8, "--generator-images", 0, "--annotator", f"{place}:say")
    assert "for its own and data z" in printed
    found = figures(run)
    assert {"evaluate/heldout_nme_percent_features", "evaluate/consistency_nme_percent_uniform"} <= found.keys()
    assert (run / "report.html").is_file()


def test_it_leaves_as_files_with_latents_to_draw_from(run, tmp_path):
    done("export.py", run, "--out", tmp_path / "out", "--format", "stablehlo,safetensors", "--aspect", "combined")
    own, z = Run.open(run).inverted, np.load(tmp_path / "out" / "latents.npy")
    assert z.shape == (10_000, FLAT)
    told = json.loads((tmp_path / "out" / "networks.json").read_text())["networks"]
    assert told["generator"]["input"] == ["batch", FLAT] and "encoder" not in told
    assert np.abs(to_uint8(own.images(z[:3])).astype(int) - own.pictures(z[:3])).max() <= 1


def test_the_same_command_goes_on_and_says_whose_code_runs(run, place):
    before = contents(run)
    _, out, err = call("invert.py", run)
    assert out.startswith("invert: 24 images, 12 steps") and f"the generator is {place}:SHOWING, whose code" in err
    done("invert.py", run, "--generator", f"{place}:SHOWING")
    changed = {path for path, content in contents(run).items() if before.get(path) != content}
    assert not {path for path in changed if path.suffix != ".json" or path.name == "generator.json"}


def test_another_generator_is_refused(run, place):
    for changes, what in (
        (dict(seed=1), "other parameters, images of some latents"),
        (dict(scale=0.5), "other images"),
        ({}, ""),
    ):
        write(place, **changes)
        for name in [name for name in sys.modules if name.startswith("began_jax_plugin_style")]:
            del sys.modules[name]  # as in a process of its own
        status, _, err = call("generate.py", run, "--count", 1, "--out", run.parent / "out")
        assert ((status, what in err) == (2, True) and "another one than" in err) if what else status == 0, err
        assert (run.parent / "out").exists() == (not what)


def test_what_is_no_generator_is_refused(place, tiny_faces):
    for name, what in (
        ("NUMBER", "is a int; it must be a began_jax.Generator"),
        ("NONE", "is nothing"),
        ("BROKEN", "ZeroDivisionError"),
        ("LARGER", r"apply gives \[4, 16, 16, 3\], and floats of shape \[4, 16, 24, 3\] are wanted"),
        ("ELSEWHERE", r"draw gives \[5\], and floats of shape .*'map': \[4, 4, 1\], 'styles': \[2, 3\]"),
        ("SWAPPED", r"encode gives \[4, 22\], and floats of shape .*'styles': \[4, 2, 3\]"),
        ("IMAGELESS", r"layers gives \[\[4, 4, 4, 6\]\]; it must be a list of maps"),
    ):
        with pytest.raises(InputError, match=what):
            own_generator.load(f"{place}:{name}")


@pytest.mark.parametrize(("scale", "what"), [("128", "must be in [-1, 1]"), ("float('nan')", "must be in [-1, 1]")])
def test_images_of_another_range_are_refused(tmp_path, tiny_faces, scale, what):
    file = write(tmp_path / f"range{len(scale)}.py", scale=scale)
    options = ["--generator", f"{file}:PLAIN", "--data", tiny_faces, "--steps", 2]
    status, _, err = call("invert.py", tmp_path / "run", *options)
    assert status == 2 and what in err, err
    assert not (tmp_path / "run" / "latents").exists()


def test_a_run_is_bound_when_something_was_made_with_it_and_its_file_may_move(run, place, tiny_faces, tmp_path):
    options = ["--data", tiny_faces, "--steps", 2, "--shard-size", 8]
    first, other = write(tmp_path / "first.py"), write(tmp_path / "other.py", seed=5)
    planned = tmp_path / "planned"
    assert "nothing is started" in done("invert.py", planned, "--generator", f"{first}:PLAIN", *options, "--plan")
    status, _, err = call("invert.py", planned, "--generator", f"{first}:PLAIN", *options, "--clip")
    assert status == 2 and "--clip" in err and not (planned / "generator.json").exists()
    done("invert.py", planned, "--generator", f"{other}:PLAIN", *options)
    status, _, err = call("invert.py", planned, "--generator", f"{first}:PLAIN")
    assert status == 2 and "another one than" in err
    moved = other.rename(tmp_path / "moved.py")
    done("invert.py", planned, "--generator", f"{moved}:PLAIN")
    assert json.loads((planned / "generator.json").read_text())["generator"] == f"{moved}:PLAIN"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--clip"], "--clip: the run's generator draws its latents itself"),
        (["--prior", "cube"], "--prior cube: the run's generator draws"),
        (["--start", "encoder"], "one has no encoder"),
        (["--loss", "features"], "no encoder"),
        (["--checkpoint", "best"], "there is one state"),
    ],
)
def test_what_it_cannot_do_is_refused(run, place, tiny_faces, tmp_path, options, what):
    given = ["--generator", f"{place}:PLAIN", "--data", tiny_faces, "--steps", 2, *options]
    status, _, err = call("invert.py", tmp_path / "run", *given)
    assert status == 2 and what in err, err
    assert not (tmp_path / "run" / "latents").exists()


def test_runs_of_two_kinds_are_not_mixed_up(run, place, tiny_faces, tmp_path):
    new, file = tmp_path / "new", f"{place}:PLAIN"
    assert_refused(tmp_path, "invert.py", new, "--generator", file, wanted=["--data is needed"])
    assert_refused(run, "invert.py", run, "--data", tiny_faces, wanted=["goes with --generator"])
    assert_refused(run, "train.py", run, *train_options(tiny_faces), wanted=["yours, which is not trained"])
    for options, what in ((["--read"], "needs an encoder"), (["--closed-form", "none", "--seed", -1], "--seed")):
        status, _, err = call("aspect.py", run, *options)
        assert status == 2 and what in err, err

"""Networks as files: equal to the originals at any batch, and pairs drawn from them without JAX and this package."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from ways import call, done, train_options

from began_jax.errors import InputError
from began_jax.export import functions
from began_jax.images import to_uint8
from began_jax.run import networks, pairs
from began_jax.run.folder import Run

ALONE = """
import runpy, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "jaxlib", "flax", "began_jax", "onnx", "jax2onnx"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def run(tiny_faces, tmp_path_factory):
    """A run with an encoder, and a network that reads images beside a process and an image network."""
    folder = tmp_path_factory.mktemp("export") / "run"
    done("train.py", folder, *train_options(tiny_faces), "--steps", 4, "--encoder-weight", 1)
    done("invert.py", folder, "--start", "encoder", "--steps", 2, "--shard-size", 8)
    given = ["--recipe", "combined", "--epochs", 2, "--batch-size", 4, "--image-steps", 2, "--validation", 0.2]
    done("aspect.py", folder, *given)
    return folder


def test_files_give_what_the_run_gives_and_a_script_draws_from_them_alone(run, tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra [onnx] is for Python 3.11 here")
    out = tmp_path / "out"
    printed = done("export.py", run, "--out", out)
    assert printed.startswith(
        "export: generator, aspect, pairs, encoder, reader as onnx, stablehlo, safetensors, at most"
    )
    opened = Run.open(run)
    aspect = networks.load(opened, "combined")
    z = np.random.default_rng(0).uniform(-1, 1, (5, 8)).astype(np.float32)
    images, annotations = opened.generate(z), aspect.annotate(z)
    seen = opened.inverted.read(to_uint8(images))
    expected = {
        "generator": (z, [images]),
        "aspect": (z, [annotations]),
        "pairs": (z, [images.clip(-1, 1), annotations, pairs.annotated(opened, aspect)(z)[2]]),
        "encoder": (np.asarray(to_uint8(images) / 127.5 - 1, np.float32), [seen]),
        "reader": (np.asarray(to_uint8(images) / 127.5 - 1, np.float32), [aspect.of_images(seen, to_uint8(images))]),
    }
    for name, (given, wanted) in expected.items():
        for count in (1, 5):
            few = [values[:count] for values in wanted]
            assert functions.largest_difference(functions.of_onnx(out / f"{name}.onnx")(given[:count]), few) < 1e-4
            assert (
                functions.largest_difference(functions.of_stablehlo(out / f"{name}.stablehlo")(given[:count]), few)
                < 1e-4
            )
    told = json.loads((out / "networks.json").read_text())
    assert (
        told["networks"]["pairs"]["outputs"] == ["images", "annotations", "doubt"] and told["annotation"] == "landmarks"
    )

    drawn = tmp_path / "drawn"
    subprocess.run([sys.executable, "-c", ALONE, out / "draw_pairs.py", "3", drawn, "7"], check=True)
    z = np.random.default_rng(7).uniform(-1, 1, (3, 8)).astype(np.float32)
    np.testing.assert_allclose(np.load(drawn / "annotations.npy"), aspect.annotate(z), atol=1e-4)
    np.testing.assert_allclose(np.load(drawn / "doubt.npy"), pairs.annotated(opened, aspect)(z)[2], atol=1e-4)
    for i, image in enumerate(to_uint8(opened.generate(z))):
        picture = np.asarray(Image.open(drawn / "images" / f"{i:06d}.png"), int)
        assert np.abs(picture - image).max() <= 1

    from safetensors.numpy import load_file

    stored = load_file(out / "parameters.safetensors")
    generator = jax.tree_util.tree_leaves_with_path(opened.inverted.parameters)
    assert {name.partition("/")[0] for name in stored} == {
        "generator",
        "aspect",
        "process",
        "errors",
        "encoder",
        "images",
    }
    for place, value in generator:
        np.testing.assert_array_equal(stored["/".join(["generator", *(key.key for key in place)])], value)


def test_formats_that_there_are_not_and_a_taken_folder_are_refused(run, tmp_path):
    for options, message in (
        (("--format", "onnx,torch", "--out", tmp_path / "a"), "must be some of onnx, stablehlo, safetensors"),
        (("--out", run), "exists and is not empty"),
        (("--aspect", "other", "--format", "safetensors", "--out", tmp_path / "a"), "holds no aspect network"),
    ):
        status, _, error = call("export.py", run, *options)
        assert status == 2 and message in error and error.count("\n") == 1


@pytest.mark.parametrize("missing", ["jax2onnx", "flatbuffers", "safetensors.numpy"])
def test_what_is_not_installed_is_said_before_anything_is_written(run, tmp_path, monkeypatch, missing):
    pytest.importorskip("jax2onnx", reason="the extra [onnx] is for Python 3.11 here")
    monkeypatch.setitem(sys.modules, missing, None)
    status, _, error = call("export.py", run, "--out", tmp_path / "out")
    assert status == 2 and error.count("\n") == 1 and "began_jax[onnx]" in error and not list(tmp_path.iterdir())


def test_outputs_of_other_shapes_are_no_equal():
    with pytest.raises(InputError, match="gives"):
        functions.largest_difference(np.zeros((2, 3)), [np.zeros((2, 4))])


def test_stablehlo_holds_for_any_batch(tmp_path):
    functions.to_stablehlo(lambda x: (jnp.sin(x), x.sum(1)), (3,), tmp_path / "f.stablehlo")
    again = functions.of_stablehlo(tmp_path / "f.stablehlo")
    for count in (1, 4):
        x = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
        assert functions.largest_difference(again(x), [np.sin(x), x.sum(1)]) < 1e-6

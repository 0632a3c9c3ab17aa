"""Kinds of annotation: what each promises, attributes and a user's kind through the entry points."""

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from ways import call, done

from began_jax import figures, kinds, plugins
from began_jax.aspects import log_loss
from began_jax.data.builder import write_features
from began_jax.data.datasets import open_data, ordered
from began_jax.errors import InputError
from began_jax.images import to_uint8
from began_jax.kinds import KINDS, Kind
from began_jax.run import networks
from began_jax.run.folder import Run
from began_jax.run.latents import Latents
from began_jax.stages import prepare

NAMES = ("Bright", "Lit_From_The_Left", "Reddish")
TRAIN = ["--height", 16, "--width", 16, "--steps", 4, "--filters", 4, "--encoder-filters", 4, "--latent-size", 8]
TRAIN += ["--batch-size", 4, "--sample-every", 100]


class Distance(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.softplus(nn.Dense(1)(z))


EXAMPLES = Path(__file__).parents[1] / "examples" / "kinds"


def of_file(file, annotator, kind, shape):
    """The T, the place of the kind, and the shape of the annotations of a file of examples/kinds/."""
    return plugins.load(f"{EXAMPLES / file}:{annotator}", "T"), f"{EXAMPLES / file}:{kind}", shape


FILES = {
    "box": of_file("boxes.py", "box", "BOXES", (4,)),
    "depth": of_file("depth.py", "depth", "DEPTH", (16, 16, 1)),
    "classes": of_file("classes.py", "classes", "CLASSES", (16, 16, 3)),
    "heat": of_file("heat_maps.py", "heat", "HEAT", (16, 16, 2)),
}
DISTANCE = Kind(
    name="distance",
    plural="distances",
    metric="error_metres",
    mean_metric="mean_distance_error_metres",
    shown="error {:.2f} m",
    network=lambda config, data: Distance(),
    score=lambda predicted, truth, data: np.abs(predicted - truth).mean(1),
    marks=lambda distances, data: {"captions": [[f"{metres:.1f} m"] for (metres,) in distances]},
)


@pytest.fixture(scope="module")
def folder(tiny_faces, tmp_path_factory):
    """The tiny faces with attributes and a distance, all seen from their pixels."""
    faces = open_data(tiny_faces)

    def example(source, i):
        image = source.image(i)
        light, left, right = image.mean(), image[:, :8].mean(), image[:, 8:].mean()
        attributes = np.float32([light > 110, left > right, image[..., 0].mean() > 1.2 * image[..., 2].mean()])
        picture = io.BytesIO()
        Image.fromarray(image).save(picture, "png")
        distance = np.float32([light / 50])
        known = {name: t(image) for name, (t, _, _) in FILES.items()}
        return {"image": picture.getvalue(), "id": str(i), "attributes": attributes, "distance": distance} | known

    features = {
        "image": tfds.features.Image(shape=(16, 16, 3)),
        "id": tfds.features.Text(),
        "attributes": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        "distance": tfds.features.Tensor(shape=(1,), dtype=np.float32),
    }
    features |= {name: tfds.features.Tensor(shape=shape, dtype=np.float32) for name, (_, _, shape) in FILES.items()}
    splits = {
        name: [example(source, i) for i in range(len(source))]
        for name, source in ((name, faces.source(name)) for name in ("train", "test"))
    }
    out = tmp_path_factory.mktemp("k") / "data"
    write_features(out, splits, features, "Faces.", {"attribute_names": NAMES})
    return out


@pytest.fixture(scope="module")
def inverted(folder, tmp_path_factory):
    """A run on the attributes, as far as the latents."""
    run = tmp_path_factory.mktemp("attributes") / "run"
    done("train.py", run, "faces", "--data", f"{folder}#attributes", *TRAIN)
    done("invert.py", run, "--steps", 5, "--shard-size", 12)
    return run


def finish(run):
    """The rest of the way: what each stage printed, the figures, Z of both splits, and G_a as a function."""
    printed = [done("aspect.py", run, "--recipe", "paper", "--epochs", 5, "--batch-size", 10)]
    printed.append(done("generate.py", run, "--count", 7, "--out", run / "generated"))
    printed.append(done("evaluate.py", run, "--consistency", 0))
    z = {split: Latents(run / "latents" / split, read_only=True).load()["z"] for split in ("train", "test")}
    annotate = networks.load(Run.open(run), "paper").annotate
    for name in ("samples", "interpolation", "reconstructions", "heldout_annotations"):
        with Image.open(run / "figures" / f"{name}.png") as picture:
            picture.load()
    return printed, json.loads((run / "metrics.json").read_text()), z, annotate


def test_attributes_go_the_whole_way(folder, inverted):
    printed, found, z, annotate = finish(inverted)
    data = open_data(f"{folder}#attributes")
    train, truth = (ordered(data.source(s), 0, n)["attributes"] for s, n in (("train", 20), ("test", 4)))
    assert json.loads((inverted / "config.json").read_text())["data"] == f"{folder.resolve()}#attributes"
    assert [line.count("\n") for line in printed] == [1, 1, 1]
    assert "7 images with attributes (uniform latents)" in printed[1]

    predicted = annotate(z["test"])
    assert predicted.shape == (4, 3) and (predicted > 0).all() and (predicted < 1).all()
    accuracy = 100 * np.mean((predicted > 0.5) == truth)
    majority = 100 * np.mean((train.mean(0) > 0.5) == truth)
    np.testing.assert_allclose(found["evaluate/heldout_accuracy_percent"], accuracy)
    np.testing.assert_allclose(found["evaluate/heldout_accuracy_percent_paper"], accuracy)
    np.testing.assert_allclose(found["evaluate/mean_attributes_accuracy_percent"], majority)
    assert 0 <= found["evaluate/heldout_balanced_accuracy_percent"] <= 100
    assert 0 <= found["evaluate/ridge_accuracy_percent"] <= 100
    assert f"accuracy {accuracy:.2f} % (mean attributes {majority:.3g}, ridge " in printed[2]

    with (inverted / "generated" / "attributes.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["file_name", *NAMES]
    answers = annotate(np.load(inverted / "generated" / "latents.npy")) >= 0.5
    assert rows == [[f"{i:06d}.png", *map(str, map(int, row))] for i, row in enumerate(answers)]


def test_a_users_kind_goes_the_whole_way_on_the_same_generator(folder, inverted, tmp_path, monkeypatch):
    run = of_kind("distance", folder, inverted, tmp_path / "run")
    status, _, told = call("aspect.py", run)
    assert status == 2
    assert "annotated with distance, and the kinds known are landmarks, mask, attributes: give --kind" in told

    monkeypatch.setitem(KINDS, "distance", DISTANCE)
    printed, found, z, annotate = finish(run)
    truth = ordered(open_data(f"{folder}#distance").source("test"), 0, 4)["distance"]
    error = np.abs(annotate(z["test"]) - truth).mean()
    np.testing.assert_allclose(found["evaluate/heldout_error_metres"], error, rtol=1e-5)
    assert {"evaluate/mean_distance_error_metres", "evaluate/ridge_error_metres"} <= found.keys()
    assert "7 images with distances" in printed[1] and f"error {error:.2f} m (mean distance " in printed[2]
    out = run / "generated"
    np.testing.assert_allclose(np.load(out / "annotations.npy"), annotate(np.load(out / "latents.npy")), rtol=1e-5)


def of_kind(name, folder, inverted, run):
    """A run on another annotation of the same pictures, with the generator and the latents of the first."""
    for part in ("generator", "latents"):
        shutil.copytree(inverted / part, run / part)
    Run.of(run, dataclasses.replace(Run.open(inverted).config, data=f"{folder}#{name}")).begin()
    return run


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n == "depth" else n for n in FILES])
def test_a_kind_of_a_file_goes_the_whole_way(name, folder, inverted, tmp_path):
    run, (_, place, shape) = of_kind(name, folder, inverted, tmp_path / "run"), FILES[name]
    status, _, told = call("aspect.py", run, "--kind", FILES["depth" if name == "box" else "box"][1])
    assert status == 2 and f"and the data set is annotated with {name}" in told
    status, _, told = call("aspect.py", run, "--kind", f"{EXAMPLES / 'boxes.py'}:np")
    assert status == 2 and "is a module; it must be a began_jax.kinds.Kind" in told
    status, _, told = call("aspect.py", run, "--kind", place, "--save-every", 0)
    assert status == 2 and "--save-every" in told and not (run / "kind.json").exists()
    done("aspect.py", run, "--kind", place, "--recipe", "paper", "--epochs", 1, "--batch-size", 10, "--name", "first")
    printed, found, z, annotate = finish(run)  # which is told of no kind any more
    kind, data = Run.open(run).kind, Run.open(run).data
    answers = np.asarray(annotate(z["test"]))
    truth = ordered(data.source("test"), 0, 4)[name]
    assert answers.shape == truth.shape == (4, *shape) and f"7 images with {kind.plural}" in printed[1]
    np.testing.assert_allclose(
        found[f"evaluate/heldout_{kind.metric}"], kind.score(answers, truth, data).mean(), rtol=1e-4
    )
    assert {f"evaluate/{kind.mean_metric}", f"evaluate/ridge_{kind.metric}"} <= found.keys()
    if name == "classes":
        np.testing.assert_allclose(answers.sum(-1), 1, rtol=1e-5)
        loss = np.mean([-(t * np.log(a)).sum(-1).mean() for t, a in zip(truth, answers, strict=True)])
        np.testing.assert_allclose(log_loss(jnp.asarray(answers), jnp.asarray(truth)).mean(), loss, rtol=1e-5)


def test_pictures_are_annotated_by_the_t_of_a_kind(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        pixels = np.full((32, 32, 3), 200, np.uint8)
        pixels[4 + i : 12 + i, 8:20] = 10
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    box, out = f"{EXAMPLES / 'boxes.py'}:box", tmp_path / "data"
    prepare.main(
        [
            "faces",
            "--detector",
            "whole",
            "--images",
            str(pictures),
            "--annotator",
            box,
            "--out",
            str(out),
            "--height",
            "32",
            "--width",
            "32",
        ]
    )
    boxes = ordered(open_data(out).source("train"), 0, 3)["box"]
    np.testing.assert_allclose(boxes, [[8 / 32, (4 + i) / 32, 20 / 32, (12 + i) / 32] for i in range(3)], atol=0.02)


@pytest.fixture
def boxed(tmp_path):
    """Six pictures of 20x30, each with a box in a table: its place in the picture, and where it is cut to 10x10."""
    rng, rows, expected = np.random.default_rng(0), ["file_name,left,top,right,bottom"], []
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        left, top = rng.uniform(0.2, 0.4, 2).round(3)
        rows.append(f"{i}.png,{left},{top},{left + 0.3:.3f},{top + 0.2:.3f}")
        expected.append([(left * 30 - 5) / 20, top, ((left + 0.3) * 30 - 5) / 20, top + 0.2])
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    return tmp_path, np.float32(expected)


def read_by(folder, kind, annotations, out, *options):
    place = kind if ":" in kind else FILES[kind][1]
    command = ["--images", str(folder / "images"), "--annotations", str(folder / annotations), "--kind", place]
    prepare.main([*command, "--height", "10", "--width", "10", "--out", str(folder / out), *options])
    return open_data(folder / out)


def test_a_kind_reads_its_annotations_and_moves_them_with_their_pictures(boxed, capsys):
    folder, expected = boxed
    data = read_by(folder, "box", "boxes.csv", "out")
    assert "6 train images, 10x10x3 with box" in capsys.readouterr().out
    assert kinds.of(data, FILES["box"][1]).name == "box"
    np.testing.assert_allclose(ordered(data.source("train"), 0, 6)["box"], expected, atol=1e-5)
    read_by(folder, "box", "boxes.csv", "out")  # is done already
    (folder / "boxes.csv").write_text((folder / "boxes.csv").read_text() + "6.png,0,0,1,1\n")
    with pytest.raises(InputError, match="exists, prepared with annotations"):
        read_by(folder, "box", "boxes.csv", "out")

    (folder / "boxes.csv").write_text((folder / "boxes.csv").read_text().replace("0.3", "0.4"))  # of the same length
    with pytest.raises(InputError, match="exists, prepared with annotations"):
        read_by(folder, "box", "boxes.csv", "out")

    # a map of the pictures' pixels is cut with them: of a ramp from left to right a ramp of the middle is left
    (folder / "depths").mkdir()
    for i in range(6):
        np.save(folder / "depths" / f"{i}.npy", np.tile(np.arange(32.0), (32, 1)))
        Image.new("L", (32, 32)).save(folder / "images" / f"{i}.png")
    maps = ordered(read_by(folder, "depth", "depths", "deep", "--width", "5").source("train"), 0, 6)["depth"]
    np.testing.assert_allclose(maps, np.tile(8 + np.arange(16.0), (6, 16, 1))[..., None])
    capsys.readouterr()


def test_annotations_of_a_kind_follow_their_pictures_to_the_size_of_a_run(boxed, tiny_config):
    folder, _ = boxed
    square = ("--height", "16", "--width", "16")
    boxes = read_by(folder, "box", "boxes.csv", "square", *square)
    stored = ordered(boxes.source("train"), 0, 6)["box"].reshape(-1, 2, 2)
    config = tiny_config(height=16, width=8, data=str(folder / "square"))  # the middle half of the pictures
    run = Run.of(folder / "run", config).with_kind(FILES["box"][1])
    expected = (stored - [0.25, 0]) / [0.5, 1]
    np.testing.assert_allclose(ordered(run.data.source("train"), 0, 6)["box"].reshape(-1, 2, 2), expected, atol=1e-5)
    with pytest.raises(InputError, match="annotated with box, and the kinds known are landmarks, mask, attributes"):
        Run.of(folder / "run", config).data.source("train").annotation(0)
    run.begin()
    run.keep_kind()
    np.testing.assert_array_equal(Run.open(folder / "run").data.source("train")[2]["box"], expected[2].ravel())

    (folder / "depths").mkdir()
    for i in range(6):
        np.save(folder / "depths" / f"{i}.npy", np.tile(np.arange(32.0), (32, 1)))
        Image.new("L", (32, 32)).save(folder / "images" / f"{i}.png")
    read_by(folder, "depth", "depths", "deep", "--height", "32", "--width", "32")
    config = tiny_config(height=32, width=16, channels=1, data=str(folder / "deep"))
    data = Run.of(folder / "deep_run", config).with_kind(FILES["depth"][1]).data
    middle = np.repeat(8.5 + 2 * np.arange(8), 2)
    np.testing.assert_allclose(data.source("train").annotation(0)[..., 0], np.tile(middle, (16, 1)))

    read_by(folder, "depth", "depths", "small", *square)  # maps of the pictures' size
    config = tiny_config(height=16, width=8, channels=1, data=str(folder / "small"))
    with pytest.raises(InputError, match="annotated with depth, and the kinds known"):
        Run.of(folder / "small_run", config).begin()
    data = open_data(folder / "small", 16, 8, lambda depths, *sizes: depths[:, 4:12])
    assert data.shape == ordered(data.source("train"), 0, 6)["depth"].shape[1:] == (16, 8, 1)
    calls = iter(range(3))
    for fit, what in (
        (None, "of the images' size, which its kind has no `fit` to change; prepare it at 16x8"),
        (lambda *_: 1 / 0, "`fit` of the kind: ZeroDivisionError"),
        (lambda depths, *sizes: depths * np.nan, "has a number that is not finite"),
        (lambda depths, *sizes: depths[: 2 + int(next(calls))], r"depth is \[2, 16, 1\], and \[3, 16, 1\] before"),
    ):
        with pytest.raises(InputError, match=what):
            open_data(folder / "small", 16, 8, fit).source("train").annotation(0)


def test_annotations_of_a_kind_may_be_of_some_pictures(boxed, capsys):
    folder, expected = boxed
    head, *rows = (folder / "boxes.csv").read_text().splitlines()
    (folder / "few.csv").write_text("\n".join([head, *rows[::2]]))
    with pytest.raises(InputError, match=r"few.csv: nothing of 1.png; --partial"):
        read_by(folder, "box", "few.csv", "out")
    data = read_by(folder, "box", "few.csv", "out", "--partial")
    np.testing.assert_array_equal(data.annotated("train"), [0, 2, 4])
    boxes = ordered(data.source("train"), 0, 6)["box"]
    np.testing.assert_allclose(boxes[::2], expected[::2], atol=1e-5)
    assert np.isnan(boxes[1::2]).all()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("read=lambda path: {}[1]", "annotations .*boxes.csv: KeyError: 1"),
        ("read=lambda path: lambda name: int(name)", "1.png: ValueError|0.png: ValueError"),
        ("read=lambda path: lambda name: 'a box'", r"0.png: box is <U5 \[1\]; it must be numbers"),
        ("read=lambda path: lambda name: np.full(4, np.nan)", "0.png: box has a number that is not finite"),
        ("read=lambda path: lambda name: [1e300]", "0.png: box has a number that is not finite, as float32"),
        ("read=lambda path: lambda name: [[1, 2], [3]]", "0.png: box has rows of several lengths"),
        ("read=lambda path: {}", "`read` of the kind gives a dict; it must give a function"),
        ("read=lambda path: lambda name: np.ones(4), fit=lambda *a: 'b'", "0.png: `fit` of the kind: box is <U1"),
        ("read=lambda path: 1 / len(kinds.annotations('a:b', path))", "boxes.csv: --kind a:b: No module named 'a'"),
        ("read=lambda path: lambda name: np.ones(4 + int(name[0]))", r"1.png: box is \[5\], and \[4\] before"),
        (
            "read=lambda path: lambda name: np.ones((20, 30))",
            "each pixel of its picture; give the kind a `fit`",
        ),
        ("read=lambda path: lambda name: np.ones(4), fit=lambda *a: 1 / 0", "`fit` of the kind: ZeroDivisionError"),
        ("read=lambda path: lambda name: np.ones(4), name='mask'", "of mask, which --masks reads"),
        ("read=lambda path: lambda name: np.ones(4), name='image'", "its kind is 'image'; it must be a name"),
        ("read=None", "has no `read`"),
    ],
)
def test_annotations_that_a_kind_cannot_read_are_refused_in_one_line(boxed, lines, message):
    folder, _ = boxed
    text = "import dataclasses\nimport numpy as np\nfrom began_jax import kinds\nK = dataclasses.replace("
    name = "" if "name=" in lines else "name='box', "
    (folder / "mine.py").write_text(f"{text}kinds.ATTRIBUTES, {name}{lines})\n")
    with pytest.raises(InputError, match=message) as caught:
        read_by(folder, f"{folder / 'mine.py'}:K", "boxes.csv", "out")
    assert "\n" not in str(caught.value) and not (folder / "out").exists()


def test_annotations_below_the_pictures_are_no_pictures(boxed, capsys):
    folder, _ = boxed
    (folder / "images" / "ages").mkdir()
    for i in range(6):
        Image.new("L", (4, 4), i).save(folder / "images" / "ages" / f"{i}.png")
    (folder / "mine.py").write_text(
        "import dataclasses\nimport numpy as np\nfrom PIL import Image\nfrom began_jax import kinds\n"
        "read = lambda path: lambda name: np.asarray(Image.open(path / name)).max()\n"
        "K = dataclasses.replace(kinds.ATTRIBUTES, name='age', read=read)\n"
    )
    data = read_by(folder, f"{folder / 'mine.py'}:K", "images/ages", "out")
    assert data.splits == {"train": 6} and data.channels == 3 and data.shape == (1,)  # one number is an array of one
    np.testing.assert_array_equal(ordered(data.source("train"), 0, 6)["age"][:, 0], np.arange(6))
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(text.replace(".max()", ".max() + 1"))
    with pytest.raises(InputError, match="exists, prepared with kind_file"):
        read_by(folder, f"{folder / 'mine.py'}:K", "images/ages", "out")
    capsys.readouterr()


def test_annotations_and_their_kind_go_together(boxed):
    folder, _ = boxed
    for options, message in (
        (["--annotations", str(folder / "boxes.csv")], "--annotations: needs --kind"),
        (["--kind", FILES["box"][1]], "--kind: needs --annotations"),
        (["--annotations", str(folder / "none"), "--kind", FILES["box"][1]], "none: no such file or folder"),
        (
            ["--annotations", str(folder / "boxes.csv"), "--kind", FILES["box"][1], "--landmarks", "points.csv"],
            "--landmarks and --annotations: a data set has one annotation",
        ),
    ):
        with pytest.raises(InputError, match=message):
            prepare.main(["--images", str(folder / "images"), "--out", str(folder / "out"), *options])


@pytest.fixture(params=["landmarks", "mask", "attributes", "distance"])
def kind_and_data(request, folder, tiny_faces, tiny_irises, monkeypatch):
    monkeypatch.setitem(KINDS, "distance", DISTANCE)
    places = {"landmarks": tiny_faces, "mask": tiny_irises}
    return KINDS[request.param], open_data(places.get(request.param, f"{folder}#{request.param}"))


def test_every_kind_keeps_its_promises(kind_and_data, tiny_config, tmp_path):
    kind, data = kind_and_data
    assert dataclasses.replace(kinds.of(data), moves=kind.moves) == kind  # landmarks move as their scheme says
    config = tiny_config(height=data.height, width=data.width)
    network = kind.network(config, data)
    z = jnp.zeros((3, config.latent_size))
    assert jax.eval_shape(network.init_with_output, jax.random.key(0), z)[0].shape == (3, *data.shape)

    examples = ordered(data.source("train"), 0, 5)
    truth, images = examples[kind.name], examples["image"] / np.float32(127.5) - 1
    perfect, other = (kind.score(predicted, truth, data) for predicted in (truth, 1 - truth))
    assert perfect.shape == other.shape == (5,)
    assert (perfect > other if kind.name in ("mask", "attributes") else perfect < other).all()

    plain, drawn = (figures.annotated_grid(images, **marks).convert("RGB") for marks in ({}, kind.marks(truth, data)))
    assert drawn.tobytes() != plain.tobytes()
    with kind.writer(tmp_path / "out", {}, data) as write:
        write(np.zeros((5, 8), np.float32), images, truth)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["count"] == 5
    with Image.open(tmp_path / "out" / "images" / "000004.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture).reshape(images[4].shape), to_uint8(images[4]))


def test_a_kind_of_an_installed_package_is_found_by_its_name(folder, tmp_path, monkeypatch):
    package = tmp_path / "somebodys_kinds-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-kinds\nVersion: 1.0\n")
    points = {"distance": "HERE", "speed": "GONE", "weight": "WRONG"}
    lines = [f"{name} = somebodys_kinds:{value}\n" for name, value in points.items()]
    (package / "entry_points.txt").write_text("".join(["[began_jax.kinds]\n", *lines]))
    source = "import dataclasses\nfrom began_jax import kinds\nWRONG = 1\n"
    source += "HERE = dataclasses.replace(kinds.ATTRIBUTES, name='distance', plural='kilometres')\n"
    (tmp_path / "somebodys_kinds.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    data = open_data(f"{folder}#distance")
    assert kinds.of(data).plural == "kilometres"
    with pytest.raises(InputError, match=r"speed cannot be loaded from somebodys_kinds:GONE: AttributeError: .*GONE"):
        kinds.of(dataclasses.replace(data, annotation="speed"))
    with pytest.raises(InputError, match=r"somebodys_kinds:WRONG is a int; it must be a .*Kind"):
        kinds.of(dataclasses.replace(data, annotation="weight"))
    with pytest.raises(
        InputError, match=r"annotated with depth.*landmarks, mask, attributes: give --kind FILE.py:NAME, as .*kinds.py"
    ):
        kinds.of(dataclasses.replace(data, annotation="depth"))
    with pytest.raises(InputError, match="no annotation, so there is no aspect to learn"):
        kinds.of(dataclasses.replace(data, annotation=None))


def test_captions_name_the_surest_attributes_under_the_tile(folder):
    data = dataclasses.replace(open_data(f"{folder}#attributes"), names=("A_b", "C", "D", "E", "F", "G"))
    values = np.float32([[0.6, 0.9, 0.4, 0.7, 0.8, 1.0], [0.1, 0.49, 0, 0, 0.5, 0], [0, 0, 0, 0, 0, 0]])
    captions = KINDS["attributes"].marks(values, data)["captions"]
    assert captions == [["G", "C", "F", "E"], ["F", "", "", ""], [""] * 4]
    assert KINDS["attributes"].marks(values[:1, :1], data)["captions"] == [["A b"]]
    for channels in (1, 3):
        images = np.zeros((3, 56, 56, channels), np.float32)
        sheet = figures.strip(images, captions=captions)
        assert sheet.size == figures.strip(images, captions=[["a", "b", "c", "d"], [], []]).size
        sheet = np.asarray(sheet.convert("L"))
        np.testing.assert_array_equal(sheet[:224], figures.strip(images).convert("L"))
        rows = [np.flatnonzero((sheet[224:, left : left + 224] < 128).any(1)) for left in (0, 228, 456)]
        assert [len(np.flatnonzero(np.diff(r) > 1)) + (len(r) > 0) for r in rows] == [4, 1, 0]  # lines with ink

"""The stages after training end to end: what they leave, what a kill costs, what they refuse.

Runs that are killed, and those they are compared with, are processes of their own; the others run in this one.
"""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from ways import (
    ASPECT,
    INVERT,
    STAGES,
    TRAIN,
    Way,
    annotations,
    aspect_state,
    assert_refused,
    assert_same_latents,
    call,
    contents,
    done,
    figures,
    finish,
    generated,
    kill_when,
    latents,
    train_options,
)

from began_jax import aspects, began, density, gaussian_process, metrics, sampling
from began_jax.data.datasets import ordered
from began_jax.data.landmark_files import match_landmarks
from began_jax.errors import InputError
from began_jax.export import dataset
from began_jax.files import write_json
from began_jax.images import to_float, to_uint8
from began_jax.run import checkpoints, closed_form, networks, pairs, photographs
from began_jax.run.folder import Run


@pytest.fixture(scope="module")
def start(scripts):
    """Starts an entry point on two virtual devices."""
    return lambda script, run, *options: scripts.start(script, *options, "--run", run, JAX_NUM_CPU_DEVICES="2")


@pytest.fixture(scope="module")
def faces(start, tiny_faces, tmp_path_factory):
    """The whole way on faces with landmarks; the stages that will be compared with killed ones as processes."""
    way = Way(tmp_path_factory.mktemp("faces") / "run")
    way.keep("train", finish(start("train.py", way.run, *train_options(tiny_faces))))
    way.keep("invert", finish(start("invert.py", way.run, *INVERT)))
    way.keep("aspect", finish(start("aspect.py", way.run, *ASPECT)))
    way.keep("generate", done("generate.py", way.run, "--count", 20, "--out", way.run / "generated"))
    way.keep("evaluate", done("evaluate.py", way.run))
    return way


@pytest.fixture(scope="module")
def irises(tiny_irises, tmp_path_factory):
    """The whole way on irises with masks."""
    way = Way(tmp_path_factory.mktemp("irises") / "run")
    options = ["irises", "--data", tiny_irises, "--height", 16, "--width", 24, "--steps", 4, *TRAIN]
    options += ["--encoder-filters", 4]  # one scale, for less to compile
    way.keep("train", done("train.py", way.run, *options))
    way.keep("invert", done("invert.py", way.run, "--steps", 5, "--shard-size", 12))
    way.keep("aspect", done("aspect.py", way.run, "--epochs", 2, "--batch-size", 10))
    way.keep("generate", done("generate.py", way.run, "--count", 5, "--out", way.run / "generated"))
    way.keep("evaluate", done("evaluate.py", way.run))
    return way


@pytest.fixture(params=["faces", "irises"])
def way(request):
    return request.getfixturevalue(request.param)


def test_every_stage_leaves_its_files_its_figures_and_one_closing_line(way):
    kind = "nme_percent" if way.run.parent.name.startswith("faces") else "iou"
    baseline = "mean_shape_nme_percent" if kind == "nme_percent" else "mean_mask_iou"
    keys = {
        "train": ("steps", "images_per_second", "k", "convergence"),
        "invert": (
            "images", "steps", "l1", "psnr_db", "images_per_second", "fraction_outside_cube", "failed",
        ),
        "aspect": ("steps_per_second", "loss"),
        "generate": ("images", "images_per_second"),
        "evaluate": (f"heldout_{kind}", baseline, f"ridge_{kind}"),
    }  # fmt: skip
    found = figures(way.run)
    for stage in STAGES:
        assert {f"{stage}/{name}" for name in keys[stage]} <= found.keys()
        assert way.printed[stage].startswith(f"{stage}: ")
        assert way.printed[stage].count("\n") == 1
        assert str(way.run) in way.printed[stage]
    assert all(np.isfinite(value) for value in found.values())
    assert found["invert/images"] == 24
    for name in ("samples", "interpolation", "reconstructions", "heldout_annotations"):
        with Image.open(way.run / "figures" / f"{name}.png") as picture:
            picture.load()
    with Image.open(way.run / "figures" / "interpolation.gif") as film:
        assert film.n_frames == 16 + 14  # there and back


def test_latents_are_in_data_set_order_and_their_errors_those_of_the_generators_images(way):
    run = Run.open(way.run)
    config, data = run.config, run.data
    everything = []
    for split, count in (("train", 20), ("test", 4)):
        found, examples = latents(way.run, split), ordered(data.source(split), 0, count)
        assert found["id"] == examples["id"]
        assert found["z"].shape == (count, config.latent_size)
        assert found["z"].dtype == found["l1"].dtype == np.float32
        images, reconstructed = to_float(examples["image"]), generated(way.run, found["z"])
        np.testing.assert_allclose(found["l1"], np.abs(images - reconstructed).mean((1, 2, 3)), rtol=1e-4)
        mse = ((images - reconstructed.clip(-1, 1)) ** 2).mean((1, 2, 3)) / 4
        np.testing.assert_allclose(found["psnr_db"], 10 * np.log10(1 / mse), rtol=1e-4)
        everything.append(found)
    z, l1, psnr = (np.concatenate([part[name] for part in everything]) for name in ("z", "l1", "psnr_db"))
    stored = figures(way.run)
    np.testing.assert_allclose(stored["invert/l1"], l1.mean(), rtol=1e-5)
    np.testing.assert_allclose(stored["invert/psnr_db"], psnr.mean(), rtol=1e-5)
    np.testing.assert_allclose(stored["invert/fraction_outside_cube"], (np.abs(z) > 1).mean(), rtol=1e-6)
    assert stored["invert/failed"] == (l1 > 0.3).sum()


def test_photographs_are_framed_inverted_and_annotated_in_their_own_pixels(way, tmp_path):
    """Pictures of the data set, three times as large and with margins that are cut off, give what they give there."""
    run = Run.open(way.run)
    source, kind = run.data.source("train"), run.kind.name
    for i in range(3):
        large = np.pad(source.image(i).repeat(3, 0).repeat(3, 1), ((0, 0), (6, 6), (0, 0)), constant_values=9)
        (tmp_path / "own" / "sub").mkdir(parents=True, exist_ok=True)
        Image.fromarray(large.squeeze()).save(tmp_path / "own" / "sub" / f"{i}.png")
    (tmp_path / "own" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "found"
    printed = done("invert.py", way.run, "--images", tmp_path / "own", "--out", out)
    assert printed.startswith("invert: 3 photographs, L1 ") and printed.endswith(f", 1 left out -> {out}\n")
    known = latents(way.run)
    z = np.load(out / "latents.npy")
    np.testing.assert_allclose(z, known["z"][:3], atol=1e-2)  # batches of another size round otherwise
    rows = list(csv.DictReader((out / "photographs.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [f"sub/{i}.png" for i in range(3)]
    np.testing.assert_allclose([float(row["l1"]) for row in rows], known["l1"][:3], rtol=1e-3)
    height, width = run.data.height, run.data.width
    assert {(row["top"], row["left"], row["height"], row["width"]) for row in rows} == {
        ("0", "6", str(3 * height), str(3 * width))
    }
    said = networks.load(run, networks.newest(run)).known(run, "train", np.arange(3), z)
    if kind == "landmarks":
        points = match_landmarks(out / "landmarks.csv", [row["name"] for row in rows], out).points
        np.testing.assert_allclose((points + 0.5 - (6, 0)) / (3 * width, 3 * height), said, atol=1e-4)
    else:
        for i in range(3):
            mask = np.asarray(Image.open(out / "masks" / "sub" / f"{i}.png"))
            assert mask.shape == (3 * height, 3 * width + 12) and not mask[:, :6].any()
            np.testing.assert_array_equal(mask[1::3, 7:-6:3] == 255, said[i, ..., 0] >= 0.5)  # centres of its pixels
    for name in ("reconstructions", "annotated"):
        with Image.open(out / f"{name}.png") as picture:
            picture.load()
    assert "broken.jpg,cannot be decoded" in (out / "left_out.csv").read_text()


def test_photographs_have_no_landmarks_to_be_cropped_around(faces, tmp_path):
    run = Run.open(faces.run)
    Image.fromarray(run.data.source("train").image(0)).save(tmp_path / "own.png")
    data = dataclasses.replace(run.data, metadata=run.data.metadata | {"detector": "landmarks", "several": "each"})
    run = dataclasses.replace(run, data=data)
    with pytest.raises(InputError, match=r"cropped around landmarks.*give --detector haar"):
        photographs.project(run, run.inversion[0], tmp_path, tmp_path / "out")
    photographs.project(run, run.inversion[0], tmp_path, tmp_path / "out", detector="whole")
    assert len(np.load(tmp_path / "out" / "latents.npy")) == 1


def test_generated_faces_are_a_coco_data_set_of_what_the_networks_make_of_its_latents(faces):
    out = faces.run / "generated"
    assert not (out / "doubt.npy").exists()  # neither a process nor an encoder knows it
    card = (out / "README.md").read_text()
    assert "# 20 generated images with landmarks" in card and "16x16, 3 channels" in card and "synthetic-faces" in card
    coco, z = COCO(out / "annotations.json"), np.load(out / "latents.npy")
    assert z.shape == (20, 8)
    assert coco.getImgIds() == list(range(20))
    landmarks, images = annotations(faces.run, z), generated(faces.run, z)
    for index in range(20):
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=index))
        points = np.reshape(annotation["keypoints"], (49, 3))
        np.testing.assert_allclose((points[:, :2] + 0.5) / 16, landmarks[index], atol=1e-3)
        picture = np.asarray(Image.open(out / "images" / coco.loadImgs(index)[0]["file_name"]), int)
        assert np.abs(picture - to_uint8(images[index])).max() <= 1


def test_generated_irises_have_the_masks_that_the_network_makes_of_their_latents(irises):
    out = irises.run / "generated"
    z = np.load(out / "latents.npy")
    masks, images = annotations(irises.run, z), generated(irises.run, z)
    for index in range(5):
        mask = np.asarray(Image.open(out / "masks" / f"{index:06d}.png"))
        assert mask.shape == (16, 24)
        clear = np.abs(masks[index, ..., 0] - 0.5) > 1e-4
        np.testing.assert_array_equal(mask[clear], 255 * (masks[index, ..., 0] >= 0.5)[clear])
        picture = np.asarray(Image.open(out / "images" / f"{index:06d}.png"), int)
        assert np.abs(picture - to_uint8(images[index])[..., 0]).max() <= 1


def test_evaluations_figures_equal_a_direct_computation(way):
    run = Run.open(way.run)
    config, data = run.config, run.data
    kind = data.annotation
    train, test = (latents(way.run, split)["z"] for split in ("train", "test"))
    truth_train, truth = (ordered(data.source(s), 0, n)[kind] for s, n in (("train", 20), ("test", 4)))

    def error(predicted):
        if kind == "mask":
            inside, true = predicted > 0.5, truth > 0.5
            unions = [max((p | t).sum(), 1) for p, t in zip(inside, true, strict=True)]
            overlaps = [(p & t).sum() for p, t in zip(inside, true, strict=True)]
            return np.mean(np.array(overlaps) / unions)
        pixels = (predicted - truth) * [config.width, config.height]
        eyes = (truth[:, 28] - truth[:, 19]) * [config.width, config.height]
        distances = np.sqrt((pixels**2).sum(-1)).mean(1)
        return 100 * np.mean(distances / np.sqrt((eyes**2).sum(-1)))

    mean = np.broadcast_to(truth_train.mean(0), truth.shape)
    measure, baseline = ("iou", "mean_mask_iou") if kind == "mask" else ("nme_percent", "mean_shape_nme_percent")
    stored = figures(way.run)
    np.testing.assert_allclose(stored[f"evaluate/heldout_{measure}"], error(annotations(way.run, test)), rtol=1e-4)
    np.testing.assert_allclose(stored[f"evaluate/{baseline}"], error(mean), rtol=1e-6)
    ridge = metrics.Ridge(train, truth_train)(test)
    np.testing.assert_allclose(stored[f"evaluate/ridge_{measure}"], error(ridge), rtol=1e-6)
    assert stored["evaluate/heldout_images"] == 4


def test_an_inversion_killed_midway_and_started_again_makes_the_missing_shards_only_and_equal_latents(
    start, faces, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(faces.after["train"], run)
    kill_when((run / "latents" / "train" / "0").exists, start("invert.py", run, *INVERT))
    complete = [path for path in (run / "latents").glob("*/*") if path.name.isdigit()]
    assert 1 <= len(complete) < 4
    times = {path: path.stat().st_mtime_ns for shard in complete for path in shard.rglob("*")}
    # The run knows the options that its inversion began with.
    assert finish(start("invert.py", run)) == faces.printed["invert"].replace(str(faces.run), str(run))
    assert times == {path: path.stat().st_mtime_ns for shard in complete for path in shard.rglob("*")}
    assert_same_latents(run, faces.after["invert"])


def test_an_aspect_training_killed_midway_and_started_again_ends_in_the_same_state(start, faces, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(faces.after["invert"], run)
    folder = run / "aspect" / "regularised"
    kill_when(lambda: any((folder / str(epoch)).exists() for epoch in range(4, 40)), start("aspect.py", run, *ASPECT))
    assert not (folder / "40").exists()
    assert finish(start("aspect.py", run, *ASPECT)) == faces.printed["aspect"].replace(str(faces.run), str(run))
    (epoch, state, _), (wanted_epoch, wanted, _) = (
        aspect_state(r, "regularised") for r in (run, faces.after["aspect"])
    )
    assert epoch == wanted_epoch == state.epoch == 40
    for (path, x), y in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(wanted), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def test_a_network_answers_beside_a_gaussian_process_with_its_share(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(density, "COMPONENTS", (1,))
    run = shutil.copytree(faces.after["invert"], tmp_path / "run")
    options = ["--recipe", "combined", "--epochs", 20, "--batch-size", 4, "--validation", 0.3]
    assert_refused(run, "aspect.py", run, *options[:2], "--validation", 0, wanted=["process needs --validation"])
    assert_refused(run, "aspect.py", run, *options[:2], "--read", wanted=["--read needs an encoder"])
    printed = done("aspect.py", run, *options)
    share, opened = figures(run)["aspect/network_share"], Run.open(run)
    assert f"with the share {share:.2f} beside a Gaussian process" in printed
    annotate = networks.load(opened, "combined").annotate
    z, (_, state, network) = jax.numpy.asarray(latents(run, "test")["z"]), aspect_state(run, "combined")
    alone, beside = aspects.predict(network, state.best_parameters, z), closed_form.load(run / "aspect" / "combined")
    process = gaussian_process.predict(beside.process, z, (49, 2))
    np.testing.assert_allclose(annotate(np.asarray(z)), share * alone + (1 - share) * process, atol=1e-6)
    z = latents(run, "train")["z"]
    expected = gaussian_process.fit(z, opened.annotations("train", len(z))).process
    for a, b in zip(beside.process, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert done("aspect.py", run, *options) == printed  # the process is not taken for a checkpoint
    for keep in (1, 0.5):
        done("generate.py", run, "--count", 30, "--keep", keep, "--out", tmp_path / f"g{keep}")
    kept, every = (np.load(tmp_path / name / "doubt.npy") for name in ("g0.5", "g1"))
    assert len(kept) == len(every) == 30 and kept.mean() < every.mean()
    drawn = jax.numpy.asarray(np.load(tmp_path / "g1" / "latents.npy"))
    np.testing.assert_allclose(every, closed_form.expected_error(beside.errors, drawn), rtol=1e-4)
    of_density = ["--sampler", "density", "--truncation", 0.9, "--out", tmp_path / "density"]
    done("generate.py", run, "--count", 30, *of_density)
    drawn = np.load(tmp_path / "density" / "latents.npy")
    sample = sampling.sampler("density", jax.random.key(0), 8, z, truncation=0.9)
    np.testing.assert_allclose(drawn, jax.jit(sample)(jax.numpy.arange(30)), atol=1e-5)
    done("evaluate.py", run, "--consistency", 0)
    found, test = figures(run), latents(run, "test")["z"]
    error = metrics.rms_error(annotate(test), ordered(opened.data.source("test"), 0, 4)["landmarks"])
    expected = np.asarray(closed_form.expected_error(beside.errors, jax.numpy.asarray(test)))
    assert found["evaluate/doubt_rank_correlation"] == pytest.approx(metrics.rank_correlation(expected, error))
    assert found["evaluate/kept_90_nme_percent"] == pytest.approx(found["evaluate/heldout_nme_percent"])  # all four
    options = ["--aspect", "regularised", "--keep", 0.5, "--out", tmp_path / "other"]
    shutil.copytree(faces.after["aspect"] / "aspect" / "regularised", run / "aspect" / "regularised")
    assert_refused(run, "generate.py", run, *options, wanted=["--keep 0.5", "regularised has no doubt"])
    shutil.rmtree(run / "aspect" / "combined" / "process")
    assert_refused(run, "generate.py", run, "--count", 2, "--out", tmp_path / "g", wanted=["process is missing"])


def test_few_labels_are_drawn_by_their_seed(faces, tmp_path):
    run = shutil.copytree(faces.after["invert"], tmp_path / "run")
    for seed, name in ((0, "combined-8"), (1, "combined-8-seed1")):
        printed = done("aspect.py", run, "--recipe", "combined", "--epochs", 2, "--labelled", 8, "--label-seed", seed)
        assert "of 8 latents" in printed and printed.endswith(f"{name}\n")
    first, second = (closed_form.load(run / "aspect" / n).process.inputs for n in ("combined-8", "combined-8-seed1"))
    assert len(first) == 8 and not np.array_equal(first, second)
    for options, wanted in (
        (["--labelled", 21], ["--labelled is 21", "20 annotated images"]),
        (["--labelled", 8, "--target", "generated"], ["--labelled does nothing"]),
        (["--label-seed", 1], ["--label-seed needs --labelled"]),
        (["--labels", 100], ["--labels does nothing with --target dataset"]),
        (["--annotator", "network"], ["--annotator does nothing with --target dataset"]),
    ):
        assert_refused(run, "aspect.py", run, *options, wanted=wanted)
    for script, options, wanted in (
        ("evaluate.py", ["--keep", 0.5], "--keep does nothing without --downstream"),
        ("evaluate.py", ["--consistency", 0, "--annotator", "dlib"], "--annotator does nothing with --consistency 0"),
        ("evaluate.py", ["--downstream", "8,21"], "--downstream 21: only 20"),
        ("generate.py", ["--out", tmp_path / "g", "--jitter", 1], "--jitter 1.0 does nothing with --sampler uniform"),
    ):
        assert_refused(run, script, run, *options, wanted=[wanted])


def test_after_a_diverged_aspect_training_another_learning_rate_may_take_its_name(faces, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(faces.after["aspect"], run)
    options = [*ASPECT, "--epochs", 1, "--name", "other", "--learning-rate"]
    status, out, err = call("aspect.py", run, *options, 1e30)
    assert (status, out) == (1, "") and "lower --learning-rate" in err
    assert networks.newest(Run.open(run)) == "regularised"
    assert call("evaluate.py", run, "--consistency", 0)[0] == 0  # a folder without a network is none
    assert call("aspect.py", run, *options, 1e-3)[0] == 0
    assert networks.newest(Run.open(run)) == "other"


@pytest.mark.parametrize("stage", ["invert", "aspect"])
def test_a_finished_stage_is_left_as_it_is_with_the_same_closing_line(faces, tmp_path, stage):
    run = tmp_path / "run"
    shutil.copytree(faces.after["aspect"], run)
    before, figures_before = contents(run), figures(run)
    options = {"invert": INVERT, "aspect": ASPECT}[stage]
    assert done(f"{stage}.py", run, *options) == faces.printed[stage].replace(str(faces.run), str(run))
    after, name = contents(run), Path("metrics.json")  # whose order changes
    assert {**after, name: None} == {**before, name: None}
    assert figures(run) == figures_before


@pytest.mark.parametrize("stage", ["invert", "aspect", "generate", "evaluate"])
def test_a_folder_that_is_no_run_is_refused(stage, tmp_path):
    run = tmp_path / "none"
    options = ["--out", tmp_path / "out"] if stage == "generate" else []
    wanted = [run, "no run folder", "train.py PRESET"]
    assert_refused(tmp_path, f"{stage}.py", run, *options, wanted=wanted)


@pytest.mark.parametrize(
    ("stage", "after", "wanted"),
    [
        ("invert", None, "run train.py faces"),
        ("aspect", "train", "run invert.py"),
        ("generate", "train", "run aspect.py"),
        ("generate", "invert", "run aspect.py"),
        ("evaluate", "train", "run aspect.py"),
        ("evaluate", "invert", "run aspect.py"),
    ],
)
def test_a_stage_before_the_one_it_needs_is_refused_and_told_which(faces, tmp_path, stage, after, wanted):
    run = tmp_path / "run"
    if after is None:
        run.mkdir()
        shutil.copy(faces.after["train"] / "config.json", run)
    else:
        shutil.copytree(faces.after[after], run)
    options = ["--out", tmp_path / "out"] if stage == "generate" else []
    assert_refused(tmp_path, f"{stage}.py", run, *options, wanted=[run, wanted])


def test_a_plan_says_what_a_stage_needs_and_leaves_the_run_as_it_is(faces, tmp_path):
    run = faces.after["evaluate"]
    before, config = contents(run), Run.open(run).config
    state = jax.eval_shape(lambda: began.init(config))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state) if leaf.dtype != state.key.dtype) + 8
    train = done("train.py", None, *train_options(Run.open(run).data.path), "--plan")
    assert f"a checkpoint {size / 1e3:.3g} kB; " in " ".join(train.split())
    plans = {
        "invert": (["--images", 3], "12 images in 2 shards of 60 steps"),  # a shard of 8, and 4 held out
        "aspect": (ASPECT, "40 epochs of 4 steps"),
        "generate": (["--count", 5, "--out", tmp_path / "out"], "5 images"),
    }
    for stage, (options, wanted) in plans.items():
        out = done(f"{stage}.py", run, *options, "--plan")
        assert out.startswith(f"{stage}: nothing is started") and "of memory" in out and "FLOP" in out, out
        assert wanted in " ".join(out.split()), out
    assert contents(run) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--steps", 61], ["steps 60, and now 61"]),
        (["--shard-size", 4], ["shard_size 8, and now 4"]),
        (["--clip"], ["clip False, and now True"]),
        (["--start", "uniform"], ["start zero, and now uniform"]),
        (["--steps", -1], ["--steps is -1; it must be at least 0"]),
        (["--images", -1], ["--images is -1"]),
        (["--out", "found"], ["--out: goes with --images DIR"]),
        (["--images", "nowhere"], ["--images nowhere: needs --out DIR"]),
        (["--images", "nowhere", "--out", "found"], ["--images nowhere: no such folder"]),
        (["--steps-per-call", 0], ["--steps-per-call is 0"]),
    ],
)
def test_other_options_than_those_the_latents_were_made_with_are_refused_with_both_values(faces, options, wanted):
    assert_refused(faces.after["invert"], "invert.py", faces.after["invert"], *INVERT, *options, wanted=wanted)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--jitter", 0.2], ["jitter 0.1, and now 0.2"]),
        (["--batch-size", 19], ["a batch of 19", "18 latents"]),
        (["--save-every", 0], ["--save-every is 0"]),
        (["--name", ".."], ["--name is ..", "one folder"]),
        (["--name", "a/b"], ["--name is a/b", "one folder"]),
    ],
)
def test_other_options_than_those_a_network_was_trained_with_are_refused_with_both_values(faces, options, wanted):
    assert_refused(faces.after["aspect"], "aspect.py", faces.after["aspect"], *ASPECT, *options, wanted=wanted)


@pytest.mark.parametrize(
    ("script", "after", "checkpoint", "options"),
    [
        ("invert.py", "train", "generator/40", INVERT),
        ("aspect.py", "invert", "latents/train/1", ASPECT),
        ("evaluate.py", "aspect", "aspect/regularised/40", []),
    ],
)
def test_a_checkpoint_with_any_file_missing_is_refused_by_name(faces, tmp_path, script, after, checkpoint, options):
    run = tmp_path / "run"
    shutil.copytree(faces.after[after], run)
    files = sorted(path for path in (run / checkpoint).glob("*/**/*") if path.is_file())
    assert files
    for path in (files[0], files[-1], max(files, key=lambda file: file.stat().st_size)):
        content = path.read_bytes()
        path.unlink()
        assert_refused(run, script, run, *options, wanted=[run / checkpoint])
        path.write_bytes(content)


def test_a_network_of_other_latents_than_the_runs_is_refused(faces, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(faces.after["aspect"], run)
    config = run / "latents" / "config.json"
    stored = json.loads(config.read_text())
    config.write_text(json.dumps(stored | {"optimizer": "bfgs"}))
    assert_refused(run, "aspect.py", run, *ASPECT, wanted=["inversion_optimizer adam, and now bfgs", "--name"])
    config.write_text(json.dumps(stored | {"generator_step": 41}))
    assert_refused(run, "aspect.py", run, *ASPECT, wanted=["generator_step 40, and now 41"])
    for script, options in (("evaluate.py", []), ("generate.py", ["--out", tmp_path / "out"])):
        assert_refused(run, script, run, *options, wanted=["step 40", "step 41", "delete it", "aspect.py"])


@pytest.mark.parametrize("stage", ["train", "aspect"])
def test_the_figures_are_there_before_the_last_checkpoint(faces, tiny_faces, tmp_path, monkeypatch, stage):
    run, seen = tmp_path / "run", []
    shutil.copytree(faces.after[stage], run)

    def stop(manager, step, *args, **kwargs):
        seen.append(figures(run))
        raise SystemExit(9)

    monkeypatch.setattr(checkpoints.Manager, "save", stop)
    options = [*ASPECT, "--epochs", 41] if stage == "aspect" else [*train_options(tiny_faces), "--steps", 41]
    assert call(f"{stage}.py", run, *options)[0] == 9
    name = {"train": "train/steps", "aspect": "aspect/epochs"}[stage]
    assert [found[name] for found in seen] == [41]


def test_generation_goes_on_after_a_stop_and_writes_the_same_bytes(faces, tmp_path, monkeypatch):
    run = shutil.copytree(faces.after["invert"], tmp_path / "run")
    done("aspect.py", run, *ASPECT, "--closed-form", "process", "--epochs", 1)
    options = ("--count", 700, "--format", "csv", "--keep", 0.7)
    done("generate.py", run, *options, "--out", tmp_path / "whole")
    monkeypatch.setattr(dataset, "PART", 200)
    note, counts = dataset.Dataset.batch_done, []

    def stopped(written):
        note(written)
        counts.append(written.count)
        if len(counts) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(dataset.Dataset, "batch_done", stopped)
    assert call("generate.py", run, *options, "--out", tmp_path / "out")[0] == 130
    assert not (tmp_path / "out").exists()
    done("generate.py", run, *options, "--out", tmp_path / "out")
    assert counts[2] > counts[1]  # went on
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_parts_of_a_generation_are_the_whole(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "BATCH", 4)
    done("generate.py", faces.run, "--count", 16, "--out", tmp_path / "whole")
    whole = np.load(tmp_path / "whole" / "latents.npy")
    for part, wanted in (("0/2", [0, 1, 2, 3, 8, 9]), ("1/2", [4, 5, 6, 7, 12, 13])):
        out = tmp_path / part.replace("/", "of")
        done("generate.py", faces.run, "--count", 6, "--part", part, "--out", out)
        assert np.load(out / "numbers.npy").tolist() == wanted
        np.testing.assert_array_equal(np.load(out / "latents.npy"), whole[wanted])
    for part in ("2/2", "1", "a/b", "0/0"):
        wanted = [f"--part is {part}; it must be I/N"]
        assert_refused(tmp_path, "generate.py", faces.run, "--part", part, "--out", tmp_path / "x", wanted=wanted)


def test_a_folder_with_something_in_it_is_no_place_for_a_generated_data_set(faces, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    run = faces.after["aspect"]
    before = contents(run)
    options = ["--count", 5, "--out", out]
    assert_refused(tmp_path, "generate.py", run, *options, wanted=[out, "not empty"])
    assert contents(run) == before


def test_a_generated_set_of_another_network_of_the_same_name_is_not_there_already(faces, tmp_path):
    run, options = shutil.copytree(faces.after["aspect"], tmp_path / "run"), ["--count", 5, "--out", tmp_path / "out"]
    done("generate.py", run, *options)
    assert "are there already" in done("generate.py", run, *options)
    shutil.rmtree(run / "aspect")
    done("aspect.py", run, *ASPECT, "--learning-rate", 0.01)
    assert_refused(tmp_path, "generate.py", run, *options, wanted=[tmp_path / "out", "not empty"])
    told = json.loads((tmp_path / "out" / "dataset.json").read_text())
    older = {name: value for name, value in told.items() if name not in ("latents", "network")}
    write_json(tmp_path / "out" / "dataset.json", older)  # as it was written before these were told
    assert "are there already" in done("generate.py", run, *options)


def test_a_network_that_the_run_does_not_have_is_refused(faces, tmp_path):
    run = faces.after["aspect"]
    assert_refused(run, "evaluate.py", run, "--aspect", "other", wanted=["other", "regularised"])
    options = ["--aspect", "other", "--out", tmp_path / "out"]
    assert_refused(run, "generate.py", run, *options, wanted=["other", "aspect.py"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_training_on_poor_images_goes_on_as_if_it_had_not_stopped(tmp_path, tiny_irises):
    options = ["irises", "--data", tiny_irises, "--height", 16, "--width", 24, *TRAIN]
    options += ["--encoder-filters", 4, "--low-quality"]  # one scale, for less to compile
    done("train.py", tmp_path / "once", *options, "--steps", 3)
    done("train.py", tmp_path / "twice", *options, "--steps", 2)
    done("train.py", tmp_path / "twice", *options, "--steps", 3)
    done("train.py", tmp_path / "as stored", *options[:-1], "--steps", 3)
    once, twice, stored = (
        jax.tree.leaves(Run.open(tmp_path / name).training().generator) for name in ("once", "twice", "as stored")
    )
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(once, stored, strict=True))


T = """
import numpy as np

def row(image):
    return np.stack([np.linspace(0.2, 0.8, 49), np.full(49, image.mean() / 255)], axis=1)
"""


def test_a_network_learns_from_t_on_generated_images(faces, tmp_path):
    run = shutil.copytree(faces.after["aspect"], tmp_path / "run")
    (tmp_path / "t.py").write_text(T)
    options = ["--annotator", f"{tmp_path / 't.py'}:row", "--workers", 0]
    recipe = ["--recipe", "regularised", "--epochs", 60, "--labels", 500, "--jitter", 0, "--weight-decay", 0]
    recipe += ["--learning-rate", 3e-3]
    for target, count in (("generated", 500), ("both", 520)):
        printed = done("aspect.py", run, "--target", target, *recipe, *options)
        assert f"of {count} latents" in printed and f"regularised-{target}" in printed
    printed = done("evaluate.py", run, "--consistency", 100, "--aspect", "regularised-generated", "--workers", 0)
    assert f"T {tmp_path / 't.py'}:row" in printed and printed.count("\n") == 1
    found = figures(run)
    for sampler in ("uniform", "data"):
        learnt, mean = (
            found[f"evaluate/consistency_{name}_{sampler}"] for name in ("nme_percent", "mean_shape_nme_percent")
        )
        assert learnt < 0.8 * mean
        assert learnt < found[f"evaluate/consistency_nme_percent_{sampler}_regularised"]
        assert found[f"evaluate/consistency_found_percent_{sampler}"] == 100
    with Image.open(run / "figures" / "consistency.png") as picture:
        assert picture.size[0] > 800
    status, _, err = call("evaluate.py", run, "--annotator", "network")
    assert status == 2 and "and now network is asked for" in err

"""Few labels: latents that the encoder reads, data sets annotated in part, what pairs are worth to a student."""

import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from ways import assert_refused, call, done, figures, latents

from began_jax import gaussian_process, metrics, moving, plugins, student
from began_jax.configs import AspectConfig
from began_jax.data.datasets import open_data
from began_jax.errors import InputError
from began_jax.export.content import open_content
from began_jax.images import to_float
from began_jax.kinds import KINDS
from began_jax.models.heads import ImageToVector, ToLandmarks, ToMask
from began_jax.presets import ASPECT_RECIPES
from began_jax.run import closed_form, doubt, downstream, downstream_options, labels, networks, pairs, reading
from began_jax.run.folder import Run
from began_jax.run.generator import Generator
from began_jax.stages import evaluate

TRAIN = ["--filters", 4, "--encoder-filters", "4,6", "--latent-size", 8, "--batch-size", 4, "--steps", 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_faces):
    """A run with an encoder, and a network that reads."""
    run = tmp_path_factory.mktemp("reading") / "run"
    done("train.py", run, "faces-sharp", "--data", tiny_faces, "--height", 16, "--width", 16, *TRAIN)
    done("invert.py", run, "--steps", 2, "--shard-size", 8)
    done("aspect.py", run, "--recipe", "combined", "--epochs", 2, "--labelled", 12, "--name", "reads")
    return run


def test_rows_of_a_split_are_read_by_their_numbers():
    run = mock.create_autospec(Run, instance=True)
    encoder = {"encode": lambda p, x: p * x[:, 0, 0], "encoder_parameters": jnp.asarray(3.0)}
    generator = Generator(lambda p, z: z, None, 2, (1, 1, 2), **encoder)
    run.inverted = generator
    images = (np.arange(600) % 256).astype(np.uint8).reshape(300, 1, 1, 2)
    run.data = SimpleNamespace(source=lambda split: SimpleNamespace(image=lambda i: images[i]))
    rows, z = np.array([299, 4, 4, 17, *range(280)]), np.zeros((284, 2), np.float32)
    expected = (3 * to_float(images[rows])[:, 0, 0] + 1) / 2
    np.testing.assert_allclose(reading.of_images(run, "train", rows, z + 1), expected, rtol=1e-6)
    run.inverted = dataclasses.replace(generator, encode=None)
    with pytest.raises(InputError, match="no encoder to read images with"):
        reading.of_images(run, "train", rows, z)


def test_a_network_learns_from_and_answers_for_what_the_encoder_reads(trained):
    run = Run.open(trained)
    generator, aspect = run.inverted, networks.load(run, "reads")
    encode = jax.jit(generator.encode)
    look = lambda x: np.asarray(encode(generator.encoder_parameters, x))  # noqa: E731
    config = AspectConfig(labelled=12, read=True)
    rows, source, z = labels.labelled(config, 20), run.data.source("train"), run.latents("train")["z"]
    seen = look(to_float(np.stack([source.image(int(row)) for row in rows])))
    learnt, truth = labels.training_pairs(run, config, None)
    np.testing.assert_allclose(learnt, (z[rows] + seen) / 2, atol=1e-6)
    np.testing.assert_array_equal(truth, run.annotations("train", 20)[rows])
    inverted, _ = labels.training_pairs(run, dataclasses.replace(config, read=False), None)
    np.testing.assert_array_equal(inverted, z[rows])

    new = np.random.default_rng(0).uniform(-1, 1, (5, 8)).astype(np.float32)
    read = look(generator.images(new).clip(-1, 1))  # as pictures are stored
    assert np.abs(read - new).max() > 0.1
    np.testing.assert_allclose(aspect.annotate(new), aspect.answer(read), atol=1e-5)
    test = run.latents("test")["z"]
    held_out = to_float(np.stack([run.data.source("test").image(i) for i in range(4)]))
    given, rows = (test + look(held_out)) / 2, np.arange(4)
    np.testing.assert_allclose(aspect.known(run, "test", rows, test), aspect.answer(given), atol=1e-5)
    error, apart = aspect.expected_error(given), metrics.rms_error(aspect.answer(test), aspect.answer(look(held_out)))
    pictures = np.stack([run.data.source("test").image(i) for i in rows])
    found = doubt.of(run, aspect)(test, pictures, True)
    np.testing.assert_allclose(found, np.sqrt(error**2 + apart**2), rtol=1e-4)
    expected = aspect.expected_error(read) ** 2 + metrics.rms_error(aspect.answer(new), aspect.answer(read)) ** 2
    images = generator.pictures(new)
    np.testing.assert_allclose(
        doubt.of(run, aspect)(new, images, False), np.sqrt(expected), rtol=0.05
    )  # pixels are rounded


def test_a_network_that_does_not_read_answers_for_the_latent_itself(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    printed = done("aspect.py", run, "--recipe", "combined", "--no-read", "--epochs", 2)
    assert printed.endswith("combined\n")
    assert_refused(run, "aspect.py", run, "--recipe", "combined", "--epochs", 2, wanted=["read False, and now True"])
    opened = Run.open(run)
    aspect, z = networks.load(opened, "combined"), opened.latents("train")["z"]
    process = gaussian_process.fit(z, opened.annotations("train", 20)).process
    alone = jax.jit(gaussian_process.predict, static_argnums=2)(process, jnp.asarray(z), (49, 2))
    assert aspect.share == 0 or not np.allclose(aspect.annotate(z), alone)
    np.testing.assert_array_equal(aspect.annotate(z), aspect.known(opened, "train", np.arange(20), z))
    done("evaluate.py", run, "--consistency", 0, "--aspect", "reads")
    found = figures(run)
    truth, test = opened.annotations("test", 4), opened.latents("test")["z"]
    for name, end in (("reads", ""), ("reads", "_reads"), ("combined", "_combined")):
        answers = networks.load(opened, name).known(opened, "test", np.arange(4), test)
        error = metrics.nme_percent(answers, truth, 16, 16).mean()
        assert found[f"evaluate/heldout_nme_percent{end}"] == pytest.approx(error, rel=1e-5)


def test_a_network_sees_the_layers_for_a_latent_and_the_process_what_was_read(trained, tmp_path, monkeypatch):
    small = dataclasses.replace(KINDS["landmarks"], head=lambda data: ToLandmarks(49, (8, 8)))
    monkeypatch.setitem(KINDS, "landmarks", small)
    run = shutil.copytree(trained, tmp_path / "run")
    few = ["--recipe", "features", "--labelled", 12, "--batch-size", 4, "--image-steps", 0]
    assert "3 epochs" in done("aspect.py", run, *few, "--steps", 5, "--validation", 0.1, "--name", "sees")
    opened = Run.open(run)
    config, state = networks.stored(opened, "sees")
    assert (config.epochs, config.steps) == (3, 5)  # 11 latents make two batches
    aspect, made = networks.load(opened, "sees"), networks.of_run(opened, config)
    z = np.random.default_rng(0).uniform(-1, 1, (5, 8)).astype(np.float32)
    decode = lambda z: opened.inverted.layers(opened.inverted.parameters, z)  # noqa: E731
    assert [m.shape[1:] for m in jax.jit(decode)(z)] == [(8, 8, 4), (16, 16, 4), (16, 16, 3)]
    alone = jax.jit(lambda z: made.network.apply({"params": state.best_parameters}, made.sight(z)))(z)
    read = opened.inverted.read(opened.inverted.pictures(z))
    process = closed_form.load(run / "aspect" / "sees").process
    beside = jax.jit(gaussian_process.predict, static_argnums=2)(process, jnp.asarray(read), (49, 2))
    expected = aspect.share * alone + (1 - aspect.share) * beside
    np.testing.assert_allclose(aspect.annotate(z), expected, atol=2e-3)  # pixels are rounded
    assert 0 < aspect.share <= 1 and np.abs(alone - beside).max() > 0.02
    columns = closed_form.load(run / "aspect" / "sees")
    validated = jax.jit(lambda z: made.network.apply({"params": state.best_parameters}, made.sight(z)))(columns.z)
    both = aspect.share * np.asarray(validated) + (1 - aspect.share) * columns.left_out
    better = np.sqrt(((both - columns.targets) ** 2).mean() / ((columns.left_out - columns.targets) ** 2).mean())
    count = len(columns.z)
    scale = (count * better + 10) / (count + 10)
    expected = scale * np.asarray(closed_form.expected_error(columns.errors, jnp.asarray(z)))
    np.testing.assert_allclose(aspect.expected_error(z), expected, rtol=1e-4)
    assert_refused(
        run, "aspect.py", run, *few, "--steps", 9, "--validation", 0.1, "--name", "sees", wanted=["epochs 3"]
    )
    for options, wanted in (
        (["--epochs", 3, "--steps", 5], "one of them counts"),
        (["--read", "--target", "both"], "--read with --features needs --target dataset"),
    ):
        assert_refused(run, "aspect.py", run, "--recipe", "features", *options, wanted=[wanted])
    assert_refused(run, "generate.py", run, "--truncation", 0.5, "--out", tmp_path / "o", wanted=["only with density"])


def test_of_a_data_set_annotated_in_part_all_images_train_the_generator_and_some_the_aspect(tiny_faces, tmp_path):
    tiny = open_data(tiny_faces).source("train")
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.fromarray(tiny.image(i)).save(tmp_path / "images" / f"{i:02d}.png")
    having = [f"{i:02d}.png" for i in range(3, 17)]
    points = np.stack([tiny.annotation(i) * 16 - 0.5 for i in range(3, 17)])
    np.savez(tmp_path / "few.npz", name=having, landmarks=points)
    prepared = ["--images", tmp_path / "images", "--landmarks", tmp_path / "few.npz", "--partial", "--holdout", 0.2]
    prepared += ["--height", 16, "--width", 16, "--out", tmp_path / "data"]
    done("prepare.py", None, *prepared)
    run = tmp_path / "run"
    options = ["--data", tmp_path / "data", "--height", 16, "--width", 16, "--steps", 2, *TRAIN]
    done("train.py", run, "faces", *options)
    done("invert.py", run, "--steps", 2, "--shard-size", 8)
    opened = Run.open(run)
    rows = opened.data.annotated("train")
    assert len(rows) + len(opened.data.annotated("test")) == 14 and len(rows) < 16
    printed = done("aspect.py", run, "--recipe", "combined", "--epochs", 2)
    assert f"of {len(rows)} latents" in printed
    z, truth = latents(run)["z"], opened.annotations("train", 16)
    source = opened.data.source("train")
    assert [source[row]["id"] in having for row in range(16)] == [row in rows for row in range(16)]
    process = gaussian_process.fit(z[rows], truth).process
    for a, b in zip(closed_form.load(run / "aspect" / "combined").process, process, strict=True):
        np.testing.assert_array_equal(a, b)
    done("evaluate.py", run, "--consistency", 4, "--annotator", "network")
    found, test = figures(run), opened.data.annotated("test")
    assert found["evaluate/heldout_images"] == len(test) and found["evaluate/training_annotations"] == len(rows)
    answers = networks.load(opened, "combined").known(opened, "test", test, latents(run, "test")["z"][test])
    error = metrics.nme_percent(answers, opened.annotations("test", 4), 16, 16).mean()
    assert found["evaluate/heldout_nme_percent"] == pytest.approx(error, rel=1e-5)

    given = ["--run", str(run), "--downstream", "8", "--recipe", "combined"]
    plan = downstream_options.plan(evaluate.parser().parse_args(given), opened)
    assert not plan.aspect.read  # it has no encoder
    assert plan.network == "heatmaps" and "heatmaps" in plan.file("real", 8, 0)
    plan = downstream_options.plan(evaluate.parser().parse_args([*given, "--student", "regression"]), opened)
    assert plan.network == "regression" and "heatmaps" not in plan.file("real", 8, 0)
    assert "2 images to annotate next" in done("aspect.py", run, "--suggest", 2)
    asked = (run / "suggested.txt").read_text().split()
    assert len(set(asked)) == 2 and set(asked) <= set(latents(run)["id"]) - set(having)
    assert_refused(run, "aspect.py", run, "--suggest", 0, wanted=["--suggest is 0"])

    # The data set's own images: as they were annotated, and else by the network.
    done("generate.py", run, "--sampler", "images", "--count", 16, "--out", tmp_path / "real")
    made = open_content(tmp_path / "real")
    for row, item in enumerate(made.items()):
        np.testing.assert_array_equal(made.pixels(row), source.image(row))
        known = networks.load(opened, "combined").known(opened, "train", np.array([row]), z[row : row + 1])[0]
        expected = source.annotation(row) if row in rows else known
        np.testing.assert_allclose(item.annotation, expected * 16 - 0.5, atol=1e-3)
        assert item.doubt is not None and (item.doubt == 0) == (row in rows)
    assert "These are training images" in (tmp_path / "real" / "README.md").read_text()
    assert "16 images are there" in done("generate.py", run, "--sampler", "images", "--out", tmp_path / "real")
    sure = ["--sampler", "images", "--keep", 0.75, "--out", tmp_path / "sure"]
    done("generate.py", run, *sure, "--count", 12)
    kept, doubts = (np.load(tmp_path / name) for name in ("sure/numbers.npy", "real/doubt.npy"))
    assert set(kept) == set(np.argsort(doubts, kind="stable")[:12])
    assert_refused(run, "generate.py", run, *sure, "--count", 13, wanted=["--count 13", "has 12 images"])
    assert_refused(
        run, "generate.py", run, *sure[:2], *sure[4:], "--count", 4, "--part", "1/2", wanted=["--part: not with"]
    )

    # Later more of them are annotated: the same data set, whose latents are there.
    names = [f"{i:02d}.png" for i in range(2, 20)]
    every = np.stack([tiny.annotation(i) * 16 - 0.5 for i in range(2, 20)])
    np.savez(tmp_path / "few.npz", name=names, landmarks=every)
    shutil.rmtree(tmp_path / "data")
    done("prepare.py", None, *prepared)
    again = ["--recipe", "combined", "--epochs", 2]
    assert_refused(run, "aspect.py", run, *again, wanted=["--name"])
    more = len(Run.open(run).data.annotated("train"))
    real = ["--sampler", "images", "--out", tmp_path / "real"]
    assert_refused(run, "generate.py", run, *real, wanted=["exists and is not empty"])  # it has the old annotations
    assert more > len(rows) and f"of {more} latents" in done("aspect.py", run, *again, "--name", "more")
    # Other annotations of as many images make another network too, and other results.
    np.savez(tmp_path / "few.npz", name=names, landmarks=every + 1)
    shutil.rmtree(tmp_path / "data")
    done("prepare.py", None, *prepared)
    assert_refused(run, "aspect.py", run, *again, "--name", "more", wanted=["trained with annotations", "--name"])
    low = ["--low-quality", "--data", tmp_path / "data", "--height", 16, "--width", 16, "--steps", 2, *TRAIN]
    status, _, err = call("train.py", tmp_path / "other", "faces", *low)
    assert status == 2 and "--low-quality needs" in err


def test_the_newest_network_is_that_of_the_last_checkpoint_whatever_a_copy_says(trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(run / "aspect", ignore_errors=True)
    for name in ("first", "second"):
        done("aspect.py", run, "--recipe", "regularised", "--epochs", 2, "--name", name)
    for path in (run / "aspect" / "first").rglob("*"):
        os.utime(path, (2e9, 2e9))
    assert networks.newest(Run.open(run)) == "second"


def test_baselines_of_very_many_annotations_learn_from_evenly_spaced_ones(trained, tmp_path, monkeypatch):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    done("aspect.py", run, "--recipe", "regularised", "--epochs", 2, "--name", "any")
    monkeypatch.setattr(evaluate, "BASELINE_NUMBERS", 98 * 5)
    train, test = evaluate.measured_splits(Run.open(run))
    assert train.rows.tolist() == [0, 4, 9, 14, 19] and len(train.truth) == 5 and len(train.z) == 20
    assert len(test.rows) == len(test.truth) == 4


def test_stages_that_record_at_once_lose_no_figure(trained, tmp_path):
    run = Run.open(Path(shutil.copytree(trained, tmp_path / "run")))
    stages = [f"stage{i}" for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda stage: [run.record(stage, {"number": i}) for i in range(20)], stages))
    assert all(run.figure(f"{stage}/number") == 19 for stage in stages)


def table(run):
    return (run / "downstream" / "table.md").read_text().splitlines()


def test_students_of_a_users_kind_have_its_head_moves_and_loss(monkeypatch):
    depth = plugins.find(f"{Path(__file__).parents[1] / 'examples' / 'kinds' / 'depth.py'}:DEPTH", "--kind")
    kind = dataclasses.replace(depth, loss=lambda predicted, target: jnp.abs(predicted - target).max((1, 2, 3)))
    knowing, learnt = object.__new__(downstream._Knowing), []
    images, maps = np.zeros((6, 16, 16, 3), np.uint8), np.zeros((6, 16, 16, 1), np.float32)
    run = mock.create_autospec(Run, instance=True)
    run.kind, run.data = kind, mock.Mock(shape=(16, 16, 1), height=16, width=16)
    vars(knowing).update(_run=run)
    vars(knowing).update(_seed=0, _real=(images, maps), _held_out=mock.Mock(images=images[:2]))
    vars(knowing).update(_plan=mock.Mock(recipe=student.Recipe(steps=1, batch_size=2), network="regression"))
    fit = student.fit
    monkeypatch.setattr(student, "fit", lambda *given: learnt.append(given) or fit(*given))
    assert knowing._student("real", lambda: None).shape == (2, 16, 16, 1)
    network, *_, moves, loss, _ = learnt[0]
    assert isinstance(network.head, ToMask) and moves is moving.with_masks
    np.testing.assert_allclose(loss(jnp.ones((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1))), 1)


def test_mixtures_begin_without_the_annotated_images_and_go_on_with_both(monkeypatch):
    knowing, learnt = object.__new__(downstream._Knowing), []
    run = mock.create_autospec(Run, instance=True)
    run.kind, run.data = KINDS["landmarks"], mock.Mock(shape=(49, 2), height=16, width=16)
    images, points = np.zeros((6, 16, 16, 3), np.uint8), np.full((6, 49, 2), 0.5, np.float32)
    real, new = (images, points), (images + 9, points)
    vars(knowing).update(_run=run, _seed=0, _real=real, _generated=new, _held_out=mock.Mock(images=images[:2]))
    how = (ASPECT_RECIPES["combined"], "combined", student.Recipe(steps=5))
    plan = downstream.Plan((6,), 1, *how, 6, pairs.Draw(), first=0.4)
    fit = student.fit
    monkeypatch.setattr(student, "fit", lambda *given: learnt.append((given, fit(*given))) or learnt[-1][1])
    monkeypatch.setattr(student, "network", lambda *_: ImageToVector((4, 4), (49, 2)))
    for way, first, expected in (
        ("both", 0.4, [([new], 2), ([real, new], 3)]),
        ("both", 0.0, [([real, new], 5)]),
        ("generated", 0.4, [([new], 5)]),
        ("both", 0.99, [([new], 4), ([real, new], 1)]),
    ):
        learnt.clear()
        vars(knowing)["_plan"] = dataclasses.replace(plan, first=first)
        assert knowing._student(way, lambda: None).shape == (2, 49, 2)
        assert [(given[1], given[2].steps) for given, _ in learnt] == expected
        start = learnt[-1][0][7]
        assert start is (learnt[0][1] if len(learnt) == 2 else None)
    assert plan.file("generated", 6, 0).endswith("keep1.json") and "first0.4" in plan.file("pseudo", 6, 0)
    assert "first" not in dataclasses.replace(plan, first=0.0).file("both", 6, 0) + plan.file("real", 6, 0)


@pytest.mark.long
def test_what_pairs_are_worth_is_measured_once_and_goes_on_where_it_stopped(trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    options = ["--consistency", 0, "--downstream", "8", "--student-steps", 2, "--pairs", 20, "--recipe", "combined"]
    monkeypatch.setitem(ASPECT_RECIPES, "combined", dataclasses.replace(ASPECT_RECIPES["combined"], epochs=2))
    monkeypatch.setattr(student, "network", lambda *_: ImageToVector((4, 4), (49, 2)))  # it compiles for each training
    fit, count = student.fit, []

    def stop(*args):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return fit(*args)

    monkeypatch.setattr(student, "fit", stop)
    assert call("evaluate.py", run, *options, "--seeds", 1)[0] == 130
    before = {path: path.stat().st_mtime_ns for path in (run / "downstream").glob("*/*.json")}
    kept = {path: path.stat().st_mtime_ns for path in (run / "downstream" / "aspect" / "8-seed0").iterdir()}
    monkeypatch.setattr(student, "fit", fit)
    printed = done("evaluate.py", run, *options[:-2], "--seeds", 1)  # with the recipe that it began with
    assert "table.md says" in printed and "| labels, nme_percent | ridge | latents |" in printed
    assert len(before) == 5  # three direct ways, two students
    assert all(path.stat().st_mtime_ns == time for path, time in (before | kept).items())  # no network learns again
    found = {name: value for name, value in figures(run).items() if "downstream" in name}
    done("evaluate.py", run, "--consistency", 0)
    assert found.items() <= figures(run).items()  # which stay when something else is measured
    first = {path: path.read_text() for path in (run / "downstream").glob("*/*.json")}
    shutil.rmtree(run / "downstream")
    done("evaluate.py", run, *options, "--seeds", 2)
    assert len(first) == 7 and all(path.read_text() == text for path, text in first.items())
    found = {name: value for name, value in figures(run).items() if "downstream" in name}
    ways = ("ridge", "latents", "encoder", "real", "generated", "both", "pseudo")
    assert {f"evaluate/downstream_nme_percent_{way}_8{end}" for way in ways for end in ("", "_std")} <= found.keys()
    opened = Run.open(run)
    z, truth = latents(run)["z"], opened.annotations("train", 20)
    errors = []
    for seed in range(2):
        rows = labels.labelled(AspectConfig(labelled=8, label_seed=seed), 20)
        ridge = metrics.Ridge(z[rows], truth[rows])(latents(run, "test")["z"])
        errors.append(metrics.nme_percent(ridge, opened.annotations("test", 4), 16, 16).mean())
    assert found["evaluate/downstream_nme_percent_ridge_8"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert found["evaluate/downstream_nme_percent_ridge_8_std"] == pytest.approx(np.std(errors), rel=1e-3)
    # What the pseudo-labels are: all other images, with the aspect network's answers from their latents.
    plan = downstream_options.plan(evaluate.parser().parse_args(["--run", "", *map(str, options)]), opened)
    knowing = downstream._Knowing(opened, plan, downstream._held_out(opened), 8, 1)
    images, answers = knowing._pseudo
    rest = [row for row in range(20) if row not in labels.labelled(AspectConfig(labelled=8, label_seed=1), 20)]
    np.testing.assert_array_equal(images, [opened.data.source("train").image(row) for row in rest])
    expected = knowing._aspect.known(opened, "train", np.array(rest), z[rest])
    np.testing.assert_allclose(answers, expected, rtol=1e-5)
    # Its aspect network is the one of aspect.py for the same images.
    done("aspect.py", run, "--recipe", "combined", "--labelled", 8, "--label-seed", 1, "--seed", 1)
    same = networks.load(opened, "combined-8-seed1").known(opened, "train", np.array(rest), z[rest])
    np.testing.assert_array_equal(same, expected)
    # With all annotated there is none, which the table and the report show.
    every = dataclasses.replace(plan, labels=(8, 0), seeds=1, recipe=student.Recipe(steps=2))
    found = downstream.measure(opened, every)
    assert "downstream_nme_percent_pseudo_8" in found and "downstream_nme_percent_pseudo_all" not in found
    assert [line.split("|")[-2].strip() == "-" for line in table(run)[2:]] == [False, True]
    done("evaluate.py", run, "--consistency", 0)
    assert "<td>-</td>" in (run / "report.html").read_text() or ">-<" in (run / "report.html").read_text()
    status, _, err = call("evaluate.py", run, *options, "--first", 1)
    assert status == 2 and "--first is 1.0; it must be at least 0 and less than 1" in err
    refusals = {"8,none": "--downstream is 8,none", "2": "numbers of at least 3", "8,21": "only 20"}
    for given, wanted in refusals.items():
        status, _, err = call("evaluate.py", run, *options[:2], "--downstream", given, *options[4:])
        assert status == 2 and wanted in err, err

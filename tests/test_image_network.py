"""The image network beside an aspect network: what both say together, and a training that stops and goes on."""

import dataclasses
import shutil
from unittest import mock

import jax
import numpy as np
import pytest
from ways import assert_refused, done, figures

from began_jax import aspects
from began_jax.data.datasets import DataSet, images_of
from began_jax.errors import InputError
from began_jax.files import read_json, write_json
from began_jax.images import to_float
from began_jax.kinds import KINDS
from began_jax.models import apply
from began_jax.models.heads import ToLandmarks
from began_jax.run import checkpoints, closed_form, doubt, image_network, labels, networks, pairs, report, self_training
from began_jax.run.answers import TrainedAspect
from began_jax.run.folder import Run
from began_jax.run.latents import read_columns, write_columns

TRAIN = ["--filters", 4, "--encoder-filters", "4,6", "--latent-size", 8, "--batch-size", 4, "--steps", 2]
GIVEN = ["--recipe", "combined", "--epochs", 2, "--labelled", 12, "--validation", 0.25, "--image-steps", 6]


@pytest.fixture(scope="module", autouse=True)
def small_head():
    patch, small = pytest.MonkeyPatch(), lambda data: ToLandmarks(49, (8, 8))
    patch.setitem(KINDS, "landmarks", dataclasses.replace(KINDS["landmarks"], head=small))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_faces):
    """A run whose aspect network has an image network beside it."""
    run = tmp_path_factory.mktemp("image") / "run"
    done("train.py", run, "faces-sharp", "--data", tiny_faces, "--height", 16, "--width", 16, *TRAIN)
    done("invert.py", run, "--steps", 2, "--shard-size", 8)
    printed = done("aspect.py", run, *GIVEN, "--name", "sees")
    assert "and beside an image network with the share" in printed
    return run


def examples(run, name="sees"):
    config, _ = networks.stored(run, name)
    z, targets = labels.training_pairs(run, config, None)
    return config, image_network.Examples(z, labels.learnt_from(run, config), targets)


def test_both_answer_with_the_share_that_errs_least_on_images_of_which_neither_has_learnt(trained):
    run = Run.open(trained)
    config, given = examples(run)
    aspect, beside = networks.load(run, "sees"), image_network.load(run, config, trained / "aspect" / "sees")
    network, _ = image_network.network(run)
    source = run.data.source("train")
    _, held = aspects.validation_split(config, 12)
    images = images_of(source, given.rows[np.asarray(held)])
    says = jax.jit(lambda x: apply(network, beside.parameters, to_float(x)))
    np.testing.assert_allclose(beside.answers, says(images), atol=1e-5)
    np.testing.assert_array_equal(beside.targets, given.targets[np.asarray(held)])

    test, z = images_of(run.data.source("test"), range(4)), run.latents("test")["z"]
    read = (z + run.inverted.read(test)) / 2
    expected = aspect.look_share * says(test) + (1 - aspect.look_share) * aspect.answer(read)
    np.testing.assert_allclose(aspect.known(run, "test", np.arange(4), z), expected, atol=1e-5)
    new = np.random.default_rng(0).uniform(-1, 1, (4, 8)).astype(np.float32)
    drawn = run.inverted.pictures(new)
    expected = aspect.look_share * says(drawn) + (1 - aspect.look_share) * aspect.answer(run.inverted.read(drawn))
    np.testing.assert_allclose(aspect.annotate(new), expected, atol=5e-3)  # pixels are rounded
    assert 0 < aspect.look_share < 1 and figures(trained)["aspect/image_share"] == pytest.approx(aspect.look_share)
    assert {"aspect/network_share", "aspect/epochs", "aspect/best_loss"} <= figures(trained).keys()
    assert np.isfinite(doubt.of(run, aspect)(new, drawn, False)).all()
    curve = report._read_events(trained / "events" / "aspect-sees" / "images")["loss"]
    assert [epoch for epoch, _ in curve] == list(range(1, 1 + len(curve))) and len(curve) > 1
    # What generating makes in one call is what these functions say one by one, but for the rounding of pixels.
    images, annotations, doubts = pairs.annotated(run, aspect)(new)
    np.testing.assert_array_equal(images, drawn)
    np.testing.assert_allclose(annotations, aspect.annotate(new), atol=1e-5)
    np.testing.assert_allclose(doubts, doubt.of(run, aspect)(new, drawn, False), rtol=0.02)
    blind = doubt.of(run, aspect._replace(look=None))(new, drawn, False)
    assert (doubts > 1.02 * blind).any()


def test_the_share_is_half_where_nothing_tells_and_nearer_to_the_better_of_the_two():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 3, 2)).astype(np.float32)
    good, bad = (truth + scale * rng.normal(size=truth.shape).astype(np.float32) for scale in (0.1, 0.3))
    beside = image_network.Beside(None, np.zeros((400, 1)), good, truth)
    assert beside.share(bad) == pytest.approx(0.9, abs=0.03)  # independent errors: their inverse variances
    assert beside._replace(answers=bad).share(good) == pytest.approx(0.1, abs=0.03)
    few = image_network.Beside(None, np.zeros((2, 1)), good[:2], truth[:2])
    assert 0.5 < few.share(bad[:2]) < 0.7
    none = image_network.Beside(None, np.zeros((0, 1)), good[:0], truth[:0])
    assert none.share(bad[:0]) == 0.5
    assert none._replace(expected=0.9).share(bad[:0]) == pytest.approx(0.9)
    assert few.share(bad[:2]) < few._replace(expected=0.9).share(bad[:2]) < 1


def test_a_training_that_was_stopped_goes_on_to_the_same_network(trained, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    folder = run / "aspect" / "sees"
    opened = Run.open(run)
    config, given = examples(opened)
    whole = image_network.load(opened, config, folder)

    shutil.rmtree(folder / "image")
    shutil.rmtree(folder / "image_validation")
    check, seen = image_network._check, []

    def stops(values, epoch):
        seen.append(epoch)
        if epoch == 4:
            raise KeyboardInterrupt
        check(values, epoch)

    monkeypatch.setattr(image_network, "_check", stops)
    with pytest.raises(KeyboardInterrupt):
        image_network.fitted(opened, config, given, folder, 1)
    assert networks.load(opened, "sees").look is None  # it is left out, and a line says so
    assert "image network is not trained to the end" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"image_validation is missing: run aspect.py .* --name sees again, as before"):
        image_network.load(opened, config, folder)
    monkeypatch.setattr(image_network, "_check", check)
    done("aspect.py", run, *GIVEN, "--name", "sees")
    assert seen == [1, 2, 3, 4]
    jax.tree.map(np.testing.assert_array_equal, image_network.load(opened, config, folder).parameters, whole.parameters)

    columns = read_columns(folder / "image_validation", "answers", "")
    shutil.rmtree(folder / "image_validation")
    write_columns(folder / "image_validation", "answers", {"z": columns["z"], "answers": columns["answers"]})
    with pytest.raises(InputError, match="image lacks the end of its training"):
        image_network.load(opened, config, folder)


FEW = ["--recipe", "combined", "--epochs", 2, "--labelled", 8, "--validation", 0.25, "--image-steps", 6]


@pytest.fixture(scope="module")
def again(trained):
    """The same run with a network of fewer labels, whose image network learns from the other images too."""
    done("aspect.py", trained, *FEW, "--self-training", "--name", "again")
    return trained


def test_self_training_learns_from_what_the_first_network_says_of_the_other_images(again):
    run, folder = Run.open(again), again / "aspect" / "again"
    config, given = examples(run, "again")
    assert image_network.trained(config, folder) == image_network.AGAIN
    teacher, aspect = (networks.load(run, "again", image=name) for name in (image_network.FIRST, None))
    rest = np.setdiff1d(np.arange(20), given.rows)
    images = images_of(run.data.source("train"), rest)
    assert np.abs(teacher.look(images) - aspect.look(images)).max() > 1e-4
    np.testing.assert_array_equal(self_training.others(run, given.rows), rest)
    made = self_training._Pairs(run, config, given, folder)
    learnt = np.asarray(aspects.validation_split(config, 8)[0])
    np.testing.assert_array_equal(made._images, images_of(run.data.source("train"), np.r_[given.rows[learnt], rest]))
    expected = teacher.known(run, "train", rest, run.latents("train")["z"][rest])
    np.testing.assert_allclose(made._targets, [*given.targets[learnt], *expected], atol=1e-6)
    first, second = (own for own, _ in self_training.parts(run, config, given.rows))
    assert first.batch_size == 12 and second.batch_size == 24
    both = made.trainer(run, second, both=True)._train[0]
    np.testing.assert_array_equal(np.bincount(both), [2] * 6 + [1] * 12)  # as many of each
    np.testing.assert_array_equal(made.trainer(run, first, both=False)._train[0], np.arange(6, 18))
    held = given.rows[closed_form.validation_rows(config, 8)]
    beside = image_network.load(run, config, folder, image_network.AGAIN)
    np.testing.assert_allclose(beside.answers, aspect.look(images_of(run.data.source("train"), held)), atol=1e-5)
    assert aspect.look_share == pytest.approx(figures(again)["aspect/image_share"])


@pytest.mark.parametrize("part", [image_network.OTHERS, image_network.AGAIN])
def test_self_training_that_was_stopped_goes_on_to_the_same_network(again, part, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(again, tmp_path / "run")
    opened, folder = Run.open(run), run / "aspect" / "again"
    config, given = examples(opened, "again")
    whole = image_network.load(opened, config, folder, image_network.AGAIN)
    for name in (image_network.OTHERS, image_network.AGAIN):
        shutil.rmtree(folder / name)
    shutil.rmtree(folder / "image_again_validation")
    check, last = image_network._check, self_training.parts(opened, config, given.rows)[0][0].epochs
    calls, stop = [], 2 if part == image_network.OTHERS else last + 2

    def stops(values, epoch):
        calls.append(epoch)
        if len(calls) == stop:
            raise KeyboardInterrupt
        check(values, epoch)

    monkeypatch.setattr(image_network, "_check", stops)
    with pytest.raises(KeyboardInterrupt):
        self_training.fitted(opened, config, given, folder, 1)
    first = networks.load(opened, "again")
    assert first.look is not None and "--self-training has not ended" in capsys.readouterr().err
    done("aspect.py", run, *FEW, "--self-training", "--name", "again")
    assert calls[stop:] == ([2, 3, 1, 2, 3] if part == image_network.OTHERS else [2, 3])
    found = image_network.load(opened, config, folder, image_network.AGAIN)
    jax.tree.map(np.testing.assert_array_equal, found.parameters, whole.parameters)


def test_self_training_starts_its_second_half_from_what_the_first_has_learnt(again, tmp_path, monkeypatch):
    run = shutil.copytree(again, tmp_path / "run")
    opened, folder = Run.open(run), run / "aspect" / "again"
    config, given = examples(opened, "again")
    shutil.rmtree(folder / image_network.AGAIN)
    train, begun = image_network.trained_in, {}

    def trained_in(place, own, state, *rest, **options):
        begun[place.name] = jax.device_get(state.parameters)
        return train(place, own, state, *rest, **options)

    monkeypatch.setattr(image_network, "trained_in", trained_in)
    self_training.fitted(opened, config, given, folder)
    saved = checkpoints.manager(folder / image_network.OTHERS, read_only=True)
    _, state = checkpoints.restore_latest(saved, jax.eval_shape(lambda: image_network.init(opened, config)))
    saved.close()
    jax.tree.map(np.testing.assert_array_equal, begun[image_network.AGAIN], state.best_parameters)


def test_damaged_answers_of_a_second_training_are_made_again(again, tmp_path):
    run = shutil.copytree(again, tmp_path / "run")
    opened, kept = Run.open(run), run / "aspect" / "again" / "image_again_validation"
    config, _ = examples(opened, "again")
    whole = image_network.load(opened, config, kept.parent, image_network.AGAIN)
    data = max((path for path in kept.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="again, as before"):
        networks.load(opened, "again")
    done("aspect.py", run, *FEW, "--self-training", "--name", "again")
    found = image_network.load(opened, config, kept.parent, image_network.AGAIN)
    np.testing.assert_array_equal(found.answers, whole.answers)


def test_masks_of_others_are_cut_and_points_that_none_shows_stay_absent():
    z = np.zeros((5, 2), np.float32)
    run = mock.create_autospec(Run, instance=True)
    run.latents.return_value, images = {"z": z}, np.zeros((4, 8, 8, 3), np.uint8)
    run.kind.name = "mask"
    run.data = mock.create_autospec(DataSet, instance=True)
    aspect = TrainedAspect(lambda z: np.full((len(z), 3, 2), [0.6, 0.4], np.float32), 1)
    run.data.known.side_effect = lambda answers: answers
    np.testing.assert_array_equal(
        self_training.pseudo_labels(run, aspect, np.arange(4), images), np.full((4, 3, 2), [1, 0])
    )
    run.kind.name = "landmarks"
    run.data.known.side_effect = lambda answers: np.where(np.isin(np.arange(3), [1])[:, None], np.nan, answers)
    found = self_training.pseudo_labels(run, aspect, np.arange(4), images)
    assert found.shape == (4, 3, 2) and np.isnan(found[:, 1]).all() and (found[:, 0, 0] == np.float32(0.6)).all()


def test_self_training_needs_as_many_other_images(again):
    run = Run.open(again)
    config, given = examples(run, "again")
    assert self_training.serves(run, config, given.rows)
    assert not self_training.serves(run, config, np.arange(12))
    assert not self_training.serves(run, dataclasses.replace(config, image_steps=0), given.rows)
    printed = done("aspect.py", again, *FEW, "--self-training", "--name", "again", "--plan")
    assert "to do again (--self-training)  3 epochs of 1 steps, then 3 epochs of 1 steps" in printed
    assert "a step of 24 images, again" in printed
    wanted = ["--self-training needs --image-steps"]
    assert_refused(again, "aspect.py", again, "--recipe", "combined", "--self-training", wanted=wanted)
    wanted = ["--self-training needs an image network, and that needs --target dataset"]
    generated = ["--recipe", "combined-images", "--target", "generated", "--self-training"]
    assert_refused(again, "aspect.py", again, *generated, wanted=wanted)
    printed = done("aspect.py", again, *GIVEN, "--self-training", "--name", "idle")
    assert "--self-training does nothing here: it learns from 12 annotated images, and only 8 inverted" in printed
    assert not (again / "aspect" / "idle" / image_network.OTHERS).exists()
    done("aspect.py", again, *GIVEN, "--name", "idle")  # the same network, since it did nothing


def test_what_a_second_training_belongs_to(again, tmp_path):
    """More epochs would change its teacher, and more inverted images what it learns from."""
    run = shutil.copytree(again, tmp_path / "run")
    command = ["aspect.py", run, *FEW, "--self-training", "--name", "again"]
    assert_refused(run, *command, "--epochs", 3, wanted=["trained with epochs 2, and now 3"])
    path = run / "aspect" / "again" / "config.json"
    kept = read_json(path)
    write_json(path, kept | {"inverted": 19})
    assert_refused(run, *command, wanted=["trained with inverted 19, and now 20"])
    kept.pop("inverted")  # of a network before this option
    write_json(path, kept)
    done(*command)
    assert read_json(path)["inverted"] == 20


def test_what_cannot_be_is_said(trained, tmp_path):
    for options, wanted in (
        (["--target", "generated"], "--image-steps needs --target dataset"),
        (["--image-steps", -1], "--image-steps is -1; it must be at least 0"),
    ):
        assert_refused(trained, "aspect.py", trained, *GIVEN, *options, wanted=[wanted])
    opened = Run.open(trained)
    config, _ = examples(opened)
    assert networks.possible(opened, config) == config
    for without in ({"target": "generated"}, {"target": "both"}):
        assert networks.possible(opened, dataclasses.replace(config, **without)).image_steps == 0

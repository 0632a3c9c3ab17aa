"""T on generated images: what is kept, resumed and refused; the learnt T; the consistency of aspect networks."""

import dataclasses
import json

import numpy as np
import pytest

from began_jax import began, kinds
from began_jax.configs import LABEL_SAMPLERS, AspectConfig, InvertConfig
from began_jax.data.datasets import open_data, ordered
from began_jax.errors import InputError
from began_jax.files import agree
from began_jax.images import to_uint8
from began_jax.run import checkpoints, consistency, labels, learnt_annotator
from began_jax.run.folder import Run
from began_jax.run.latents import Latents

T = """
import numpy as np
from began_jax.annotators.annotator import Unsure

def spread(image):
    "49 points that depend on the picture; unsure of a few."
    grey = image.astype(float).mean(-1)
    if int(grey.sum()) % 8 == 0:
        raise Unsure("no face")
    return np.stack([np.linspace(0.2, 0.8, 49), np.full(49, grey.mean() / 255)], axis=1)

def few(image):
    return np.full((5, 2), 0.5)

def mask(image):
    return (image[..., :1] > 128).astype(np.uint8)

def broken(image):
    raise ZeroDivisionError("a bug of mine")
"""


@pytest.fixture
def made(tmp_path, tiny_faces, tiny_config):
    """A run with an untrained generator and made-up latents: folder, configuration, data, and where T is."""
    run, config, data = tmp_path / "run", tiny_config(width=16, data=str(tiny_faces)), open_data(tiny_faces)
    Run(run, config, data).begin()
    saved = checkpoints.manager(run / "generator")
    checkpoints.save(saved, 0, began.init(config))
    saved.wait_until_finished()
    agree(run / "latents" / "config.json", dataclasses.asdict(InvertConfig()) | {"generator_step": 0}, "inverted")
    store = Latents(run / "latents" / "train")
    z = np.random.default_rng(0).uniform(-1, 1, (20, 8)).astype(np.float32)
    store.save(0, ordered(data.source("train"), 0, 20)["id"], {"z": z})
    store.wait()
    (tmp_path / "t.py").write_text(T)
    return run, config, data, f"{tmp_path / 't.py'}:"


def collect(made, name="spread", count=256, sampler="uniform", purpose="test", **options):
    run, config, data, t = made
    found = labels.collect(
        Run(run, config, data), t + name, purpose=purpose, samplers=[sampler], count=count, workers=0, **options
    )
    return found[sampler]


def truth(made, z):
    """T(G(z)) one image at a time."""
    *run, t = made
    from began_jax.annotators import annotator

    generate = Run(*run).generate
    annotate = annotator.load(t + "spread")
    return np.stack([annotator.annotated(annotate, image, 16, 16)["landmarks"] for image in to_uint8(generate(z))])


def test_labels_are_t_of_the_generated_images(made):
    found = collect(made, count=200)
    assert 0.5 < found.sure < 1 and len(found.z) == round(200 * found.sure)
    assert len(np.unique(found.z, axis=0)) == len(found.z) and np.abs(found.z).max() <= 1
    np.testing.assert_allclose(found.annotation[:20], truth(made, found.z[:20]), atol=1e-6)


def test_more_labels_keep_those_there_are(made, monkeypatch):
    few = collect(made, count=200)
    before = sorted(p.stat().st_mtime_ns for p in (made[0] / "labels" / "test-uniform" / "0").rglob("*"))
    again = collect(made, count=200)
    np.testing.assert_array_equal(few.annotation, again.annotation)
    more = collect(made, count=400)
    np.testing.assert_array_equal(more.z[: len(few.z)], few.z)
    assert len(more.z) > len(few.z)
    assert sorted(p.stat().st_mtime_ns for p in (made[0] / "labels" / "test-uniform" / "0").rglob("*")) == before


def test_a_stop_loses_the_shard_in_hand_only(made, monkeypatch):
    whole = collect(made, count=512)
    stopped = made[0].with_name("stopped")
    Run(stopped, *made[1:3]).begin()
    (stopped / "generator").symlink_to(made[0] / "generator")
    (stopped / "latents").symlink_to(made[0] / "latents")
    calls = []

    def failing(*args):
        calls.append(args)
        if len(calls) > 300:
            raise KeyboardInterrupt
        return one(*args)

    one = labels._one
    monkeypatch.setattr(labels, "_one", failing)
    with pytest.raises(KeyboardInterrupt):
        collect((stopped, *made[1:]), count=512)
    assert Latents(stopped / "labels" / "test-uniform", read_only=True).done() == {0}
    monkeypatch.setattr(labels, "_one", one)
    resumed = collect((stopped, *made[1:]), count=512)
    np.testing.assert_array_equal(resumed.z, whole.z)
    np.testing.assert_array_equal(resumed.annotation, whole.annotation)


def test_samplers_and_purposes_draw_different_latents(made):
    drawn = [collect(made, sampler=s, purpose=p).z for s in LABEL_SAMPLERS for p in ("train", "test")]
    for i, a in enumerate(drawn):
        for b in drawn[i + 1 :]:
            assert not (a[:, None] == b[None]).all(-1).any()
    z_data = Latents(made[0] / "latents" / "train", read_only=True).load()["z"]
    nearest = np.abs(drawn[2][:, None] - z_data[None]).max(-1).min(1)
    assert np.median(nearest) < 0.4  # noise of a tenth of a standard deviation


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("few", r"of shape \[5, 2\], the data set has \[49, 2\]"),
        ("mask", r"128, 1\] from 0 to 1 are no landmarks"),
        ("broken", "ZeroDivisionError on a generated image: a bug of mine"),
    ],
)
def test_a_t_that_does_not_fit_is_refused(made, name, message):
    with pytest.raises(InputError, match=message):
        collect(made, name)


def test_which_t_a_run_takes(made):
    run, config, data, t = made
    prepared = dataclasses.replace(data, metadata=data.metadata | {"annotator": t + "few"})
    assert labels.choose(Run(run.with_name("other"), config, data), None) == "network"
    assert labels.choose(Run(run, config, prepared), None) == t + "few"
    assert labels.choose(Run(run, config, data), t + "spread") == t + "spread"  # nothing is labelled yet
    collect(made, count=5)
    assert labels.choose(Run(run, config, data), None) == t + "spread"  # the run's own from now on
    with pytest.raises(InputError, match=r"annotator .*t\.py:spread, and now .*t\.py:few .*delete .*labels"):
        labels.choose(Run(run, config, data), t + "few")
    with pytest.raises(InputError, match="has no callable nothing"):
        labels.choose(Run(run.with_name("third"), config, data), t + "nothing")
    assert not run.with_name("third").exists()


def test_a_t_whose_file_has_changed_is_another_one(made):
    run, config, data, t = made
    labels.choose(Run(run, config, data), t + "spread")
    collect(made, count=5)
    (run.parent / "t.py").write_text(T + "\n# another threshold\n")
    with pytest.raises(InputError, match=r"labelled with annotator_file \w+, and now \w+ is asked for.*delete"):
        labels.choose(Run(run, config, data), None)


def test_what_an_aspect_network_learns_from(made):
    run, config, data, t = made
    pairs = {
        target: labels.training_pairs(Run(run, config, data), AspectConfig(target=target, labels=100), t + "spread", 0)
        for target in ("dataset", "generated", "both")
    }
    z, annotation = pairs["dataset"]
    np.testing.assert_array_equal(z, Latents(run / "latents" / "train", read_only=True).load()["z"])
    np.testing.assert_array_equal(annotation, ordered(data.source("train"), 0, 20)["landmarks"])
    generated = [collect(made, count=50, sampler=s, purpose="train") for s in LABEL_SAMPLERS]
    np.testing.assert_array_equal(pairs["generated"][0], np.concatenate([g.z for g in generated]))
    for i in (0, 1):
        np.testing.assert_array_equal(pairs["both"][i], np.concatenate([pairs["dataset"][i], pairs["generated"][i]]))


def test_masks_of_a_soft_t_stay_soft_beside_those_of_the_data_set(tmp_path, tiny_irises, tiny_config, monkeypatch):
    data = open_data(tiny_irises)
    run = Run(tmp_path, tiny_config(channels=1), data)
    soft = np.random.default_rng(0).random((6, *data.shape)).astype(np.float32)
    z = np.zeros((6, 8), np.float32)
    monkeypatch.setattr(labels, "choose", lambda *_: labels.NETWORK)
    monkeypatch.setattr(labels, "collect", lambda *_, **__: {"uniform": labels.Labels(z, soft, 1.0)})
    monkeypatch.setattr(Run, "latents", lambda *_: {"z": z[:2]})
    both = labels.training_pairs(run, AspectConfig(target="both", label_sampler="uniform"), None)[1]
    np.testing.assert_array_equal(both[2:], soft)
    np.testing.assert_array_equal(both[:2], ordered(data.source("train"), 0, 2)["mask"])
    assert labels.training_pairs(run, AspectConfig(), None)[1].dtype == np.uint8


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(
        learnt_annotator, "RECIPE", dataclasses.replace(learnt_annotator.RECIPE, epochs=3, batch_size=4)
    )


def test_a_t_is_learnt_once_and_goes_on_after_a_stop(made, quick, monkeypatch):
    run, config, data, _ = made
    images = ordered(data.source("train"), 0, 20)["image"]
    once = np.stack(next(learnt_annotator.load(Run(run, config, data))([images])))
    epochs = json.loads((run / "annotator" / "config.json").read_text())["epochs"]
    assert epochs == 3 and once.shape == (20, 49, 2)
    metrics = json.loads((run / "metrics.json").read_text())
    held_out = ordered(data.source("test"), 0, 4)
    again = next(learnt_annotator.load(Run(run, config, data))([held_out["image"]]))
    error = kinds.LANDMARKS.score(np.stack(again), held_out["landmarks"], data).mean()
    assert metrics["annotator/heldout_nme_percent"] == pytest.approx(error, rel=1e-5)

    stopped, calls = made[0].with_name("stopped"), []
    finite = learnt_annotator.aspects.check_finite

    def stop(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        finite(*args)

    monkeypatch.setattr(learnt_annotator.aspects, "check_finite", stop)
    with pytest.raises(KeyboardInterrupt):
        learnt_annotator.load(Run(stopped, config, data))
    monkeypatch.setattr(learnt_annotator.aspects, "check_finite", finite)
    resumed = np.stack(next(learnt_annotator.load(Run(stopped, config, data))([images])))
    np.testing.assert_array_equal(resumed, once)


def test_a_learnt_t_for_masks(tmp_path, tiny_irises, tiny_config, quick):
    data, config = open_data(tiny_irises), tiny_config(channels=1)
    found = next(learnt_annotator.load(Run(tmp_path, config, data))([ordered(data.source("train"), 0, 5)["image"]]))
    assert np.stack(found).shape == (5, 16, 24, 1)


def test_consistency_against_the_plain_formula(made):
    run, config, data, t = made
    exact = lambda z: truth(made, z).astype(np.float32)  # noqa: E731
    networks = {"exact": exact, "off": lambda z: exact(z) + np.float32([0.01, 0])}
    found = consistency.measure(Run(run, config, data), networks, "off", 100, t + "spread", 0)
    for sampler in LABEL_SAMPLERS:
        given = collect(made, count=100, sampler=sampler)
        eyes = 16 * np.linalg.norm(given.annotation[:, 19] - given.annotation[:, 28], axis=-1)
        expected = {
            f"nme_percent_{sampler}": (100 * 0.16 / eyes).mean(),
            f"nme_percent_{sampler}_exact": 0,
            f"mean_shape_nme_percent_{sampler}": (
                100 * 16 * np.linalg.norm(given.annotation - given.annotation.mean(0), axis=-1).mean(1) / eyes
            ).mean(),
            f"found_percent_{sampler}": 100 * given.sure,
        }
        for name, value in expected.items():
            assert found.figures[f"consistency_{name}"] == pytest.approx(value, rel=1e-3, abs=1e-4), name
        np.testing.assert_array_equal(found.labels[sampler].z, given.z)


def test_images_in_any_block_give_the_same_labels(made, quick):
    run, config, data, _ = made
    annotate = learnt_annotator.load(Run(run, config, data))
    blocks = np.split(ordered(data.source("train"), 0, 20)["image"], [3, 7])
    one = np.concatenate([np.stack(b) for b in annotate(iter(blocks))])
    whole = np.stack(next(annotate([np.concatenate(blocks)])))
    np.testing.assert_array_equal(one, whole)

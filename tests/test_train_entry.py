"""train.py end to end: what stops it, what goes on, what it refuses.

The runs are processes of their own, few because each compiles; refusals run in this one.
"""

import dataclasses
import json
import re
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ways import call, done, finish, wait_for

from began_jax import began
from began_jax.configs import TrainConfig
from began_jax.presets import TRAIN_PRESETS
from began_jax.run import checkpoints
from began_jax.run.folder import Run
from began_jax.stages import train as stage
from began_jax.stages.train import mesh_of

SIZE = ["--height", "16", "--width", "16", "--filters", "4", "--encoder-filters", "4,6", "--latent-size", "8"]
SIZE += ["--batch-size", "4"]
AUGMENT = ("colour", "translation", "cutout")
OPTIONS = [*SIZE, "--steps", "30", "--save-every", "5", "--sample-every", "5", "--cpu-devices", "2"]
OPTIONS += ["--save-seconds", "0"]


@pytest.fixture(scope="module")
def start(scripts, tiny_faces):
    """Starts train.py on the tiny faces, with all that a state can hold (encoder, running means) and augmentation."""
    sharp = ["--data", tiny_faces, "--augment", ",".join(AUGMENT), *OPTIONS]
    return lambda run, *options: scripts.start("train.py", "faces-sharp", "--run", run, *sharp, *options)


def steps(run):
    folder = run / "generator"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def final_state(run):
    """Step and leaves, keys as their data, of a run's newest checkpoint."""
    config = Run.open(run).config
    saved = checkpoints.manager(run / "generator", read_only=True)
    step, state = checkpoints.restore_latest(saved, jax.eval_shape(lambda: began.init(config)))
    saved.close()
    return step, jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def assert_same_state(a, b):
    (step_a, state_a), (step_b, state_b) = final_state(a), final_state(b)
    assert step_a == step_b == int(state_a.step)
    leaves = zip(jax.tree.leaves_with_path(state_a), jax.tree.leaves(state_b), strict=True)
    for (path, x), y in leaves:
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory):
    """A run of 30 steps, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, finish(start(run))


def test_a_run_leaves_checkpoints_figures_and_one_closing_line(uninterrupted):
    run, out = uninterrupted
    metrics = json.loads((run / "metrics.json").read_text())
    m, k = metrics["train/convergence"], metrics["train/k"]
    assert out == f"train: 30 steps, M {m:.4f}, k {k:.3f} -> {run}/generator\n"
    assert steps(run)[-3:] == [20, 25, 30]
    assert metrics["train/steps"] == 30
    assert metrics["train/images_per_second"] > 0
    pictures = [path.name for path in (run / "figures" / "training").iterdir()]
    assert sorted(pictures) == [f"step_{step:07d}.png" for step in range(5, 31, 5)]
    found = Run.open(run)
    config, data = found.config, found.data
    tiny = dict(height=16, width=16, filters=4, encoder_filters=(4, 6), latent_size=8, batch_size=4, augment=AUGMENT)
    assert config == dataclasses.replace(TRAIN_PRESETS["faces-sharp"], **tiny, data=data.path, steps=30)
    state = final_state(run)[1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_a_run_killed_at_any_moment_and_started_again_equals_the_uninterrupted_one(start, uninterrupted, tmp_path):
    run, rng = tmp_path / "killed", np.random.default_rng()
    checkpoint, delay = rng.choice([5, 10, 15, 20]), rng.uniform(0, 0.05)
    process = start(run, "--feed", "device")  # wherever the images are, the result is the same
    wait_for(lambda: max(steps(run), default=0) >= checkpoint, process)
    time.sleep(delay)
    process.kill()
    finish(process, -signal.SIGKILL)
    finish(start(run, "--feed", "disk"))
    assert steps(run)[-1] == 30
    assert_same_state(run, uninterrupted[0])


@pytest.mark.slow
def test_several_steps_in_a_call_are_those_steps(start, uninterrupted, tmp_path):
    out = finish(start(tmp_path / "strides", "--steps-per-call", "15"))
    assert steps(tmp_path / "strides") == [15, 30]
    assert len(list((tmp_path / "strides" / "figures" / "training").iterdir())) == 2
    assert out.startswith("train: 30 steps, M ")
    (_, found), (_, wanted) = final_state(tmp_path / "strides"), final_state(uninterrupted[0])
    for x, y in zip(jax.tree.leaves(found.generator), jax.tree.leaves(wanted.generator), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("signum", "status"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="SIGINT", marks=pytest.mark.long),
    ],
)
def test_a_stopped_run_saves_the_state_reached_and_goes_on_to_the_same_end(
    start, uninterrupted, tmp_path, signum, status
):
    run = tmp_path / "stopped"
    # No checkpoint is due before the end, so the one there is comes from the signal.
    far = ["--save-every", "100000", "--steps", "100000"]
    process = start(run, *far)
    wait_for(lambda: (run / "figures" / "training" / "step_0000005.png").exists(), process)
    process.send_signal(signum)
    out = finish(process, status)
    (reached,) = steps(run)
    assert reached >= 5
    assert out.startswith(f"train: {reached:,} steps (stopped; the same command goes on), M ")
    assert json.loads((run / "metrics.json").read_text())["train/steps"] == reached
    if signum == signal.SIGTERM and reached < 30:  # else too late for the comparison
        finish(start(run))
        assert_same_state(run, uninterrupted[0])


def test_a_finished_run_is_left_as_it_is_with_the_same_closing_line(start, uninterrupted, tmp_path):
    whole, out = uninterrupted
    run = tmp_path / "again"
    shutil.copytree(whole, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "events" not in path.parts}
    again = finish(start(run))
    assert again == out.replace(str(whole), str(run))
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "events" not in path.parts}
    assert after == before


def test_a_training_that_goes_on_keeps_the_generator_that_the_latents_belong_to(uninterrupted, start, tmp_path):
    run = Path(shutil.copytree(uninterrupted[0], tmp_path / "run"))
    assert call("invert.py", run, "--steps", 0, "--shard-size", 8)[0] == 0
    finish(start(run, "--steps", 60))
    assert {30, 60} <= set(steps(run)) and len(steps(run)) <= 5
    assert Run.open(run).inverted.step == 30


def test_an_encoder_that_has_died_is_said_once(tmp_path, tiny_faces, monkeypatch):
    command = ["faces-sharp", "--data", tiny_faces, *SIZE, "--measure-every", 0, "--save-every", 100]
    monkeypatch.setattr(stage, "LOG_EVERY", 1)
    status, _, told = call("train.py", tmp_path / "run", *command, "--steps", 2)
    assert status == 0 and "encoder" not in told
    monkeypatch.setattr(stage, "DEAD", -1)
    status, _, told = call("train.py", tmp_path / "run", *command, "--steps", 5)
    assert status == 0 and told.count("train: step 3: the encoder answers -1 or 1 for everything") == 1
    assert told.count("the encoder answers") == 1


REFUSALS = {
    "unknown preset": (["cats", "--data", "DATA"], ["'cats'", "faces, irises, faces-sharp, irises-sharp, demo"]),
    "no --data": (["faces"], ["preset faces needs --data"]),
    "bucket": (["faces", "--data", "gs://bucket/faces"], ["--data: gs://", "mount it"]),
    "missing folder": (["faces", "--data", "no/such"], ["no/such", "no such folder", "prepare.py"]),
    "height": (["faces", "--data", "DATA", "--height", "17"], ["17x16", "divisible by 2", "16x16"]),
    "batch": (["faces", "--data", "DATA", "--batch-size", "24"], ["batch size 24", "20 images"]),
    "channels": (["irises", "--data", "DATA"], ["3 channels", "says 1"]),
    "negative": (["faces", "--data", "DATA", "--lambda-k", "-1"], ["--lambda-k is -1", "positive"]),
    "one image": (["faces", "--data", "DATA", "--batch-size", "1"], ["--batch-size is 1", "at least 2"]),
    "seed": (["faces", "--data", "DATA", "--seed", "-1"], ["--seed is -1", "at least 0"]),
    "gamma": (["faces", "--data", "DATA", "--gamma", "2"], ["--gamma is 2", "(0, 1]"]),
    "save-every": (["faces", "--data", "DATA", "--save-every", "0"], ["--save-every", "at least 1"]),
    "measure-every": (["faces", "--data", "DATA", "--measure-every", "-1"], ["--measure-every is -1", "at least 0"]),
    "of BEGAN": (["faces-sharp", "--data", "DATA", "--gamma", "0.7"], ["--gamma does nothing", "relativistic"]),
    "of R3GAN": (["faces", "--data", "DATA", "--penalty-share", "1"], ["--penalty-share does nothing", "began"]),
    "augment": (["faces-sharp", "--data", "DATA", "--augment", "colour,blur"], ["--augment is colour,blur", "cutout"]),
    "features": (["faces", "--data", "DATA", "--feature-weight", "1"], ["--feature-weight", "need --encoder-weight"]),
    "pyramid": (["faces-sharp", "--data", "DATA", "--pyramid-levels", "5"], ["16x16", "divisible by 32 (5 levels)"]),
    "type": (["faces", "--data", "DATA", "--steps", "many"], ["--steps", "'many'"]),
    "widths": (["faces", "--data", "DATA", "--encoder-filters", "4,x"], ["'4,x'", "64,128,192,256"]),
    "low quality": (["faces", "--data", "DATA", "--low-quality"], ["--low-quality needs", "masks", "has landmarks"]),
    "option": (["faces", "--data", "DATA", "--colour", "3"], ["--colour"]),
    "no folder": (["faces", "--data", "DATA", "--run", __file__], [__file__, "cannot be written", "another place"]),
    "floor": (["faces", "--data", "DATA", "--learning-rate-floor", "1e-4"], ["floor does nothing without --patience"]),
    "patience": (["faces", "--data", "DATA", "--patience", "-5"], ["--patience is -5", "at least 0"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_command_line_is_one_line_with_status_2_and_writes_nothing(name, tmp_path, tiny_faces):
    (preset, *options), wanted = REFUSALS[name]
    options = [str(tiny_faces) if option == "DATA" else option for option in options]
    arguments = [preset, *OPTIONS, "--run", tmp_path / "run", *options]
    status, out, err = call("train.py", None, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("train.py: error: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    for part in wanted:
        assert part in err
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_does_not_divide_uses_fewer_devices_and_says_so(capsys):
    assert mesh_of(8).size == 4 and capsys.readouterr().err == ""
    assert mesh_of(6).size == 3
    assert (
        capsys.readouterr().err == "train: a batch of 6 is split over 3 of 4 devices; a multiple of 4 would use all\n"
    )


def test_a_missing_run_or_preset_is_one_line_with_status_2():
    for arguments, wanted in (
        (["demo"], "--run is missing"),
        (["demo", "--run", "gs://a/b"], "--run: gs://"),
        ([], "preset"),
    ):
        status, out, err = call("train.py", None, *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert wanted in err


def test_a_run_folder_of_another_configuration_is_refused_with_both_values(tmp_path, tiny_faces):
    run = tmp_path / "run"
    config = TrainConfig(
        "faces",
        str(tiny_faces),
        height=16,
        width=16,
        filters=4,
        encoder_filters=(4, 6),
        latent_size=8,
        batch_size=4,
    )
    Run.of(run, config).begin()
    before = (run / "config.json").read_bytes()
    for option, text in (("--gamma", "gamma 0.5, and now 0.7"), ("--filters", "filters 4, and now 8")):
        value = text.split()[-1]
        status, out, err = call("train.py", None, "faces", "--run", run, "--data", tiny_faces, *OPTIONS, option, value)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"{run} was trained with {text} is asked for" in err
    assert [path.name for path in run.iterdir()] == ["config.json"]
    assert (run / "config.json").read_bytes() == before


def test_a_data_folder_in_the_home_folder_is_stored_with_its_whole_path(monkeypatch, tmp_path, tiny_faces, tiny_config):
    monkeypatch.setenv("HOME", str(tiny_faces.parent))
    config = tiny_config(data=f"~/{tiny_faces.name}", width=16)
    Run.of(tmp_path, config).begin()
    assert Run.open(tmp_path).config.data == str(tiny_faces.resolve())


def test_help_mentions_every_option_with_its_defaults():
    status, out, err = call("train.py", None, "--help")
    assert (status, err) == (0, "")
    for field in dataclasses.fields(TrainConfig):
        if field.name != "preset":
            assert f"--{field.name.replace('_', '-')} " in out
    for option in ("--run", "--layers", "--save-every", "--sample-every", "--cpu-devices"):
        assert option in out
    height = re.search(r"--height N (.*?)\]", " ".join(out.split()).replace("- ", "-"))[1]
    for name, preset in TRAIN_PRESETS.items():
        assert re.search(rf"\b{preset.height} \([^)]*\b{name}\b", height)


def test_layers_prints_the_table_without_a_run():
    assert "96x128x1" in done("train.py", None, "irises", "--layers")

"""train.py and invert.py in two processes that work as one: equal to one process, stopped, killed, and going on."""

import json
import shutil
import signal
import socket
import time

import jax
import numpy as np
import pytest
from ways import finish, wait_for

from began_jax import began, sharding
from began_jax.errors import InputError
from began_jax.run import checkpoints, cli
from began_jax.run.folder import Run
from began_jax.run.latents import Latents

SIZE = ["--height", "16", "--width", "16", "--filters", "4", "--encoder-filters", "4,6", "--latent-size", "8"]
TRAIN = [*SIZE, "--batch-size", "4", "--learning-rate", "1e-3", "--save-every", "2", "--sample-every", "2"]
TRAIN += ["--save-seconds", "0"]
INVERT = ["--steps", "4", "--shard-size", "2", "--cpu-devices", "1"]
FAR = ["--steps", "100000"]


@pytest.fixture(scope="module")
def start(scripts):
    """Starts a script once or in two joined processes."""

    def processes(count, script, *options):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        joined = ["--coordinator", address, "--processes", count, "--process-id"]
        return [scripts.start(script, *options, *([*joined, i] if count > 1 else [])) for i in range(count)]

    return processes


def finish_all(processes, status=0):
    """The standard outputs of processes that end with this status."""
    return [finish(process, status) for process in processes]


def steps(folder):
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def kill_and_see_the_other_end(processes, victim):
    """What the surviving process says on standard error when the other is killed."""
    processes[victim].kill()
    began_at = time.monotonic()
    survivor = processes[1 - victim]
    _, err = survivor.communicate(timeout=60)
    assert survivor.returncode != 0
    assert time.monotonic() - began_at < 60
    assert "another process has ended" in err or "another task died" in err, err
    return err


def final_state(run):
    config = Run.open(run).config
    saved = checkpoints.manager(run / "generator", read_only=True)
    step, state = checkpoints.restore_latest(saved, jax.eval_shape(lambda: began.init(config)))
    saved.close()
    return step, jax.device_get(state.replace(key=jax.random.key_data(state.key)))


@pytest.fixture(scope="module")
def trained(start, tiny_faces, tmp_path_factory):
    """Trains further from a copy of a run that one process began, and that run."""
    origin = tmp_path_factory.mktemp("runs") / "origin"

    def train(count, run, *options):
        if run != origin and not run.exists():
            shutil.copytree(origin, run)
        devices = ["--cpu-devices", 2 // count]
        return start(count, "train.py", "faces-sharp", "--run", run, "--data", tiny_faces, *TRAIN, *devices, *options)

    finish_all(train(1, origin, "--steps", 2))
    return train, origin


def test_two_processes_killed_stopped_and_continued_train_as_one_does(trained, tmp_path):
    train, _ = trained
    run, generator = tmp_path / "run", tmp_path / "run" / "generator"
    two = train(2, run, *FAR)  # the checkpoint of one process goes on with two
    wait_for(lambda: generator.exists() and max(steps(generator)) > 2, *two)
    kill_and_see_the_other_end(two, victim=1)
    before = max(steps(generator))
    assert before <= json.loads((run / "metrics.json").read_text())["train/steps"] <= before + 2

    two = train(2, run, *FAR)
    wait_for(lambda: max(steps(generator)) > before, *two)
    two[1].send_signal(signal.SIGTERM)
    first, second = finish_all(two, 143)
    stopped = max(steps(generator))
    assert first.startswith(f"train: {stopped:,} steps (stopped; the same command goes on), M ")
    assert second == ""
    assert json.loads((run / "metrics.json").read_text())["train/steps"] == stopped

    # That of two goes on with one.
    alone = tmp_path / "alone"
    finish_all([*train(1, run, "--steps", stopped + 1), *train(1, alone, "--steps", stopped + 1)])
    assert_close_states(alone, run)
    pictures = [sorted(path.name for path in (folder / "figures").rglob("*.png")) for folder in (run, alone)]
    assert pictures[0] == pictures[1]


def assert_close_states(a, b):
    (step_a, state_a), (step_b, state_b) = final_state(a), final_state(b)
    assert step_a == step_b
    for x, y in zip(jax.tree.leaves(state_a), jax.tree.leaves(state_b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_two_processes_of_which_one_was_killed_invert_as_one_does(start, trained, tmp_path):
    run, both = tmp_path / "one", tmp_path / "two"
    for folder in (run, both):
        shutil.copytree(trained[1], folder)
    (line,) = finish_all(start(1, "invert.py", "--run", run, *INVERT))

    two = start(2, "invert.py", "--run", both, *INVERT)
    wait_for(lambda: len(steps(both / "latents" / "train")) >= 2, *two)
    kill_and_see_the_other_end(two, victim=0)
    assert len(steps(both / "latents" / "train")) < 10
    with (both / "latents" / "config.json").open() as file:
        assert json.load(file)["shard_size"] == 2
    first, second = finish_all(start(2, "invert.py", "--run", both, *INVERT))
    assert first == line.replace(str(run), str(both))
    assert second == ""
    for split, count in (("train", 20), ("test", 4)):
        assert not list((both / "latents" / split).glob("*tmp*"))
        wanted, found = (Latents(folder / "latents" / split, read_only=True).load() for folder in (run, both))
        assert wanted["id"] == found["id"] and len(found["id"]) == count
        for name in wanted.keys() - {"id"}:
            np.testing.assert_array_equal(wanted[name], found[name])


REFUSALS = {
    "some of the three": (["--coordinator", "host:1"], "--processes and --process-id missing"),
    "index": (["--coordinator", "host:1", "--processes", "2", "--process-id", "2"], "--process-id is 2; .*0 to 1"),
    "address": (["--coordinator", "host", "--processes", "2", "--process-id", "0"], "is host; .*HOST:PORT"),
    "both ways": (["--distributed", "--processes", "2"], "--distributed takes"),
    "no cluster": (["--distributed"], "cannot be joined"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_host_options_are_refused(name, monkeypatch):
    # JAX is in use in this process, so it must not come to joining for good.
    no_cluster = ValueError("coordinator_address should be defined.")
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **kwargs: (_ for _ in ()).throw(no_cluster))
    parser = cli.ArgumentParser()
    cli.add_hosts(parser)
    options, message = REFUSALS[name]
    with pytest.raises(InputError, match=message):
        cli.join_hosts(parser.parse_args(options))


def test_without_host_options_nothing_is_joined():
    parser = cli.ArgumentParser()
    cli.add_hosts(parser)
    cli.join_hosts(parser.parse_args([]))
    assert not sharding.joined()
    sharding.meet("alone")
    with sharding.first_process_first("alone"):
        assert sharding.share([3, 4, 5]) == [3, 4, 5]

"""What the end-to-end tests share: runs that went the whole way, entry points called here, what a run holds."""

import contextlib
import dataclasses
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from began_jax import aspects, began
from began_jax.configs import AspectConfig
from began_jax.run import checkpoints
from began_jax.run.folder import Run
from began_jax.run.latents import Latents

ROOT = Path(__file__).parents[1]
TRAIN = ["--filters", 4, "--encoder-filters", "4,6", "--latent-size", 8, "--batch-size", 4, "--sample-every", 100]
INVERT = ["--steps", 60, "--shard-size", 8]  # 20 images: two shards, and one that is filled up
ASPECT = ["--recipe", "regularised", "--validation", 0.1, "--jitter", 0.1, "--epochs", 40]
ASPECT += ["--batch-size", 4, "--save-every", 2]
STAGES = ("train", "invert", "aspect", "generate", "evaluate")


@dataclasses.dataclass
class Way:
    """A run that went the whole way: what each stage printed, and copies of the folder after some of them."""

    run: Path
    printed: dict[str, str] = dataclasses.field(default_factory=dict)
    after: dict[str, Path] = dataclasses.field(default_factory=dict)

    def keep(self, stage, printed):
        self.printed[stage] = printed
        self.after[stage] = self.run.with_name(f"after_{stage}")
        shutil.copytree(self.run, self.after[stage])


class Scripts:
    """Starts scripts as processes of their own, which share what they compile; `close` ends those still there.

    The environment is for processes without an accelerator that compile quickly rather than well.
    """

    def __init__(self, cache):
        self._environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._started = []

    def start(self, script, *options, cwd=ROOT, **environment):
        # A process inherits that SIGINT is ignored, as it is under nohup or in a script's background.
        inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command = [sys.executable, script, *map(str, options)]
            environment = self._environment | environment
            process = subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=-1, stderr=-1)
        finally:
            signal.signal(signal.SIGINT, inherited)
        self._started.append(process)
        return process

    def close(self):
        for process in self._started:
            process.kill()
            process.communicate()


def finish(process, status=0):
    """The standard output of a process that ends with this status, without what gloo says of itself."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return "".join(line for line in out.splitlines(True) if not line.startswith("[Gloo]"))


def wait_for(condition, *processes):
    """Wait until a condition holds, while these processes run."""
    deadline = time.monotonic() + 300
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill_when(condition, process):
    wait_for(condition, process)
    process.kill()
    finish(process, -signal.SIGKILL)


def call(script, run, *options):
    """Status, standard output and standard error of an entry point on a run, if any, called in this process."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    terminated = signal.getsignal(signal.SIGTERM)
    arguments = [script, *map(str, options), *(() if run is None else ("--run", str(run)))]
    try:
        with (
            mock.patch.object(sys, "argv", arguments),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as stopped:
        status = stopped.code
    finally:
        signal.signal(signal.SIGTERM, terminated)
    return status, out.getvalue(), err.getvalue()


def done(script, run, *options):
    """The standard output of an entry point, run in this process, that ends well."""
    status, out, err = call(script, run, *options)
    assert status == 0, err
    return out


def train_options(data):
    return ["faces", "--data", data, "--height", 16, "--width", 16, "--steps", 40, *TRAIN]


def contents(folder):
    """Everything in a folder but TensorBoard's files: folders, and files with their bytes."""
    paths = [path for path in sorted(folder.rglob("*")) if "events" not in path.relative_to(folder).parts]
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in paths}


def figures(run):
    return json.loads((run / "metrics.json").read_text())


def latents(run, split="train"):
    return Latents(run / "latents" / split, read_only=True).load()


def assert_same_latents(a, b):
    for split in ("train", "test"):
        one, other = latents(a, split), latents(b, split)
        assert one["id"] == other["id"]
        for name in ("z", "l1", "psnr_db"):
            assert one[name].tobytes() == other[name].tobytes(), (split, name)


def aspect_state(run, name):
    """(epoch, state) of the newest checkpoint of an aspect network, and the network."""
    found = Run.open(run)
    folder = run / "aspect" / name
    stored = json.loads((folder / "config.json").read_text())
    aspect = AspectConfig(**{field.name: stored[field.name] for field in dataclasses.fields(AspectConfig)})
    network = found.kind.network(found.config, found.data)
    like = jax.eval_shape(lambda: aspects.init(aspect, network, found.config.latent_size))
    saved = checkpoints.manager(folder, read_only=True)
    epoch, state = checkpoints.restore_latest(saved, like)
    saved.close()
    return epoch, jax.device_get(state.replace(key=jax.random.key_data(state.key))), network


def annotations(run, z):
    """What the best parameters of the run's aspect network make of latents."""
    (folder,) = (run / "aspect").iterdir()
    _, state, network = aspect_state(run, folder.name)
    apply = jax.jit(lambda parameters, z: network.apply({"params": parameters}, z))
    return np.asarray(apply(state.best_parameters, jax.numpy.asarray(z)))


def generated(run, z):
    """The images that the run's generator makes of latents."""
    found = Run.open(run)
    generator, _ = began.networks(found.config)
    parameters = found.training().generator
    apply = jax.jit(lambda parameters, z: generator.apply({"params": parameters}, z))
    return np.asarray(apply(parameters, jax.numpy.asarray(z)))


def assert_refused(folder, script, run, *options, wanted):
    """One line on standard error with these parts, status 2, and nothing changed in `folder`."""
    before = contents(folder)
    status, out, err = call(script, run, *options)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"{script}: error: ")
    for part in wanted:
        assert str(part) in err
    assert contents(folder) == before

"""The benchmark: PyTorch's networks and steps equal ours, operations are counted right, and the command reports."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of the package

from began_jax import aspects, began, inversion  # noqa: E402
from began_jax.configs import AspectConfig, InvertConfig  # noqa: E402
from began_jax.images import to_float  # noqa: E402
from began_jax.models import LandmarkNetwork  # noqa: E402
from benchmarks import feeding_tasks, h100, operations  # noqa: E402
from benchmarks.our_tasks import train_config  # noqa: E402
from benchmarks.plan import Size  # noqa: E402
from benchmarks.report import seconds  # noqa: E402
from benchmarks.results import OURS, Results  # noqa: E402
from benchmarks.workers import Failed, Task, Worker, alternate  # noqa: E402

SIZE = Size(16, 24, 4, 4, scales=3, latent=8)
STEPS = 4


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is an extra of the benchmark")


@pytest.fixture(scope="module")
def state():
    """Our training's state, with a k_t under which both parts of D's gradient matter."""
    return began.init(train_config(SIZE)).replace(k=jnp.asarray(0.3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (STEPS, SIZE.batch, SIZE.height, SIZE.width, 3), np.uint8)


@pytest.fixture(scope="module")
def training(state, images):
    """Latents and metrics of our steps, and the state after them."""
    step, latents, metrics = jax.jit(lambda state, x: began.step(train_config(SIZE), state, x)), [], []
    for batch in images:
        key, _ = jax.random.split(jax.random.fold_in(state.key, state.step))
        latents.append(np.array(began.uniform(key, SIZE.batch, SIZE.latent)))
        state, found = step(state, jnp.asarray(batch))
        metrics.append({name: float(value) for name, value in found.items()})
    return latents, metrics, state


def nchw(torch, images):
    return torch.tensor(np.array(images).transpose(0, 3, 1, 2))


def nhwc(images):
    return images.detach().numpy().transpose(0, 2, 3, 1)


def test_torch_networks_equal_ours(torch, state, images):
    from benchmarks import torch_models

    generator, discriminator = began.networks(train_config(SIZE))
    z = np.random.default_rng(1).uniform(-1, 1, (SIZE.batch, SIZE.latent)).astype(np.float32)
    theirs = torch_models.Decoder(SIZE)
    torch_models.load_decoder(theirs, state.generator)
    ours = generator.apply({"params": state.generator}, jnp.asarray(z))
    np.testing.assert_allclose(nhwc(theirs(torch.tensor(z))), ours, atol=2e-6)

    x = to_float(jnp.asarray(images[0]))
    theirs = torch_models.Discriminator(SIZE)
    torch_models.load_discriminator(theirs, state.discriminator)
    ours = discriminator.apply({"params": state.discriminator}, x)
    np.testing.assert_allclose(nhwc(theirs(nchw(torch, x))), ours, atol=2e-6)


@pytest.mark.parametrize("layout", ["channels_last", "default"])
@pytest.mark.parametrize("passes", [2, 3])
def test_torch_training_equals_ours(torch, state, images, training, layout, passes):
    from benchmarks import torch_models, torch_tasks

    def load(generator, discriminator, state):
        torch_models.load_decoder(generator, state.generator)
        torch_models.load_discriminator(discriminator, state.discriminator)

    players = torch_tasks.Players(SIZE, layout, passes)
    players.k = float(state.k)
    load(players.generator, players.discriminator, state)
    latents, metrics, last = training
    for batch, z, ours in zip(images, latents, metrics, strict=True):
        for name, value in players.step(nchw(torch, batch), torch.tensor(z)).items():
            np.testing.assert_allclose(value, ours[name], rtol=2e-5, err_msg=name)
    expected = torch_models.Decoder(SIZE), torch_models.Discriminator(SIZE)
    load(*expected, last)
    for network, wanted in zip((players.generator, players.discriminator), expected, strict=True):
        for (name, found), goal in zip(network.named_parameters(), wanted.parameters(), strict=True):
            apart = (found - goal).abs() / train_config(SIZE).learning_rate
            # Adam divides by the gradient's size, so a gradient that is all rounding may go either way.
            assert apart.median() < 1e-2 and apart.mean() < 0.1, f"{name} is {apart.max()} steps apart"


def test_torch_inversion_equals_ours(torch, training, images):
    from benchmarks import torch_models, torch_tasks

    generator, _ = began.networks(train_config(SIZE))
    _, _, state = training  # trained: with biases of 0 ELU would have its kink at z = 0
    x = to_float(jnp.asarray(images[0]))
    decoder = torch_models.Decoder(SIZE)
    torch_models.load_decoder(decoder, state.generator)
    theirs = torch_tasks.Inversion(decoder, nchw(torch, x), SIZE.latent)
    config = InvertConfig()
    ours = inversion.init(config, jnp.zeros((SIZE.batch, SIZE.latent)))
    for _ in range(STEPS):
        theirs.step()
        ours = inversion.step(config, lambda z: generator.apply({"params": state.generator}, z), ours, x)
    np.testing.assert_allclose(theirs.z.detach().numpy(), ours.z, atol=1e-3)


def test_torch_aspect_training_equals_ours(torch):
    from benchmarks import torch_models, torch_tasks

    config, network = AspectConfig(batch_size=4), LandmarkNetwork()
    random = np.random.default_rng(0)
    z, target = random.uniform(-1, 1, (16, 64)).astype(np.float32), random.random((16, 49, 2), np.float32)
    ours = aspects.init(config, network, 64)
    theirs = torch_models.LandmarkNetwork()
    torch_models.load_landmark_network(theirs, ours.parameters)
    fit = torch_tasks.Fit(theirs, torch.tensor(z), torch.tensor(target), 4)
    for i in range(STEPS):
        rows = np.arange(4 * i, 4 * i + 4)
        ours, loss = aspects.step(config, network, ours, jnp.asarray(z), jnp.asarray(target), jnp.asarray(rows))
        np.testing.assert_allclose(float(fit.step(torch.tensor(rows))), float(loss), rtol=1e-5)


def test_operations_by_hand_are_those_that_xla_counts(state):
    size = SIZE._replace(filters=32, scales=2)  # at few channels biases and ELU would matter
    config = train_config(size)
    like = jax.eval_shape(lambda: began.init(config))
    batch = jax.ShapeDtypeStruct((size.batch, size.height, size.width, 3), jnp.uint8)
    counted = jax.jit(lambda s, x: began.step(config, s, x)).lower(like, batch).cost_analysis()["flops"]
    # XLA leaves out the taps on the border's padding, and counts what is no product.
    assert counted == pytest.approx(operations.training_step(size), rel=0.15)
    assert operations.training_step(size) < operations.training_step(size, reduced=False)
    assert operations.training_step(size, reduced=False) < operations.training_step(size, passes=3, reduced=False)


def test_ratios_pair_turns_and_shares_are_of_the_peak():
    results = Results()
    results.add("peak", "matrix product", "call", {OURS: [[1.0]], "PyTorch": [[0.5]]}, {OURS: {"operations": 2e9}})
    turns = {OURS: [[1.0, 1.0], [2.0]], "PyTorch": [[3.0], [6.0, 6.0]]}
    rows = results.add("train", "16x16", "step", turns, {OURS: {"operations": 1e9}})
    assert rows["PyTorch"]["ratio"] == rows["PyTorch"]["ratio_q1"] == 3
    assert rows[OURS]["seconds"] == 1 and rows[OURS]["samples"] == 3
    assert results.add_shares() == 2
    assert rows[OURS]["share_of_peak"] == 0.5


@pytest.mark.long
def test_contenders_take_turns_and_failures_are_one_line():
    contenders = {name: Worker("tests.test_benchmarks:counter", {"units": 2}) for name in "ab"}
    try:
        turns = alternate(contenders, 0, 3, 1, 60)
    finally:
        for worker in contenders.values():
            worker.close()
    assert {name: [len(turn) for turn in found] for name, found in turns.items()} == {"a": [1, 1, 1], "b": [1, 1, 1]}
    assert all(worker.megabytes > 1 for worker in contenders.values())
    with pytest.raises(Failed, match="TypeError"):
        Worker("tests.test_benchmarks:counter", {"wrong": 1})
    with pytest.raises(Failed, match="not ready"):
        Worker("tests.test_benchmarks:counter", {"units": 1}, 0.01)


def counter(units):
    return Task(lambda: None, units)


def test_durations_are_shown_in_the_unit_that_suits_them():
    assert [seconds(s) for s in (12.34, 0.0123, 4.56e-5, 2000)] == ["12.3 s", "12.3 ms", "45.6 µs", "2000 s"]


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=600)


@pytest.mark.long
def test_command_reports_what_it_measured(tmp_path):
    done = run("--quick", "--only", "aspect", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["machine"]["versions"]["jax"] == jax.__version__
    assert found["peak_gflops"] > 0
    assert {row["part"] for row in found["rows"]} == {"peak", "aspect"}
    assert "| landmark network, batch 16 | ours |" in done.stdout
    assert "ensemble of 8" in (tmp_path / "results.md").read_text()
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "ratios.png").stat().st_size > 0
    else:
        assert "matplotlib is not installed, so there is no picture" in done.stdout


def test_unknown_part_is_refused():
    done = run("--only", "tarin")
    assert done.returncode == 2
    assert "tarin" in done.stderr and "train, invert, aspect, levers, feeding, scaling" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_loop_and_pictures_in_memory_are_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(feeding_tasks, "STORED", 8)
    monkeypatch.setattr(feeding_tasks, "READ_AHEAD", 3)
    for make, units in ((feeding_tasks.read_kept, 12), (feeding_tasks.loop, 3)):
        task = make(SIZE, str(tmp_path))
        task.call()
        task.call()
        assert task.units == units


PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_computation (p.0: f32[8,4]) -> f32[8,4] {
  %p.0 = f32[8,4]{1,0} parameter(0)
  ROOT %add.9 = f32[8,4]{1,0} add(%p.0, %p.0)
}

%body (arg: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %arg = (s32[], f32[8,4]{1,0}) parameter(0)
  %x.1 = f32[8,4]{1,0} get-tuple-element(%arg), index=1
  %fusion.2 = f32[8,4]{1,0} fusion(%x.1), kind=kLoop, calls=%fused_computation
  ROOT %tuple.1 = (s32[], f32[8,4]{1,0}) tuple(%x.1, %fusion.2)
}

ENTRY %main (x: bf16[8,4]) -> f32[8,4] {
  %x = bf16[8,4]{1,0} parameter(0)
  %copy.1 = bf16[8,4]{0,1} copy(%x)
  %convolution.1 = (f32[8,4]{1,0}, /*index=1*/u8[16]{0}) custom-call(%copy.1, %x), custom_call_target="conv"
  %out = f32[8,4]{1,0} get-tuple-element(%convolution.1), index=0
  %start = (s32[], f32[8,4]{1,0}) tuple(%out, %out)
  %while.1 = (s32[], f32[8,4]{1,0}) while(%start), condition=%condition, body=%body
  ROOT %result = f32[8,4]{1,0} get-tuple-element(%while.1), index=1
}
"""


def test_kernels_copies_and_bytes_of_a_program():
    # a copy of 64 bytes, a convolution that reads 2 x 64 and writes 128 + 16, a fusion in a loop, once, 128 to 128
    assert h100.work(PROGRAM) == (3, 1, 2 * 64 + 2 * 64 + 144 + 2 * 128)


@pytest.mark.slow
def test_functions_compile_for_an_h100_that_is_not_here():
    pytest.importorskip("jax_plugins.xla_cuda13", reason="JAX's plugin for CUDA is an extra")
    rows = list(h100.rows(full=False))
    assert len(rows) >= 10 and all(int(row[4]) > 5 for row in rows)

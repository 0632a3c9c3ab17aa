"""Beyond one Adam of equal length for all: refilled slots, several starts, BFGS, and the encoder alone."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from ways import call

from began_jax import began, inversion, sharding
from began_jax.configs import InvertConfig, TrainConfig
from began_jax.data.datasets import open_data
from began_jax.errors import InputError
from began_jax.inversion import bfgs
from began_jax.inversion.loop import Inverter
from began_jax.run import checkpoints, inverter
from began_jax.run.folder import Run
from began_jax.run.generator import of_training
from began_jax.run.latents import Latents

LATENT = 4
TINY = TrainConfig(
    preset="faces",
    height=16,
    width=16,
    filters=2,
    encoder_filters=(2, 3),
    latent_size=3,
    batch_size=4,
    encoder_weight=1.0,
)
# Each lets some images leave early and others have all steps.
REFILLED = {
    "adam": InvertConfig(steps=22, tolerance=0.04, window=5, start="uniform"),
    "adam-cosine-clip": InvertConfig(steps=22, tolerance=0.04, window=5, schedule="cosine", clip=True),
    "bfgs": InvertConfig(steps=22, tolerance=0.01, window=3, optimizer="bfgs", clip=True, start="uniform"),
}


@pytest.fixture
def x64():
    """Float64, where grouping changes only the last of many digits."""
    with jax.enable_x64(True):
        yield


def generate(parameters, z):
    """Smooth, not linear, its coordinates of unequal weight, rows separate."""
    hidden = jnp.tanh(jnp.einsum("nl,lk->nk", z, parameters["inner"], precision="highest"))
    return jnp.einsum("nk,kp->np", hidden, parameters["outer"], precision="highest").reshape(len(z), 5, 4, 1)


def problem(count, dtype=np.float64):
    """Parameters, and images some of which can be made exactly and some only nearly."""
    rng = np.random.default_rng(1)
    weights = np.geomspace(0.2, 2, LATENT)[:, None]
    parameters = {"inner": rng.normal(0, 1, (LATENT, 12)) * weights, "outer": rng.normal(0, 0.3, (12, 20))}
    images = np.asarray(generate(parameters, jnp.asarray(rng.uniform(-1, 1, (count, LATENT)))))
    noise = rng.normal(0, 1, images.shape) * np.geomspace(1e-3, 0.3, count)[:, None, None, None]
    return jax.tree.map(lambda a: a.astype(dtype), parameters), (images + noise).astype(dtype)


def refilled(config, order, per_batch, slots, dtype=np.float64, devices=1, **options):
    """Results of ten images that are queued in this order, back in their own; and the Inverter."""
    parameters, images = problem(10, dtype)
    z = np.asarray(inversion.start(config, np.arange(10), LATENT)).astype(dtype)
    mesh = sharding.data_mesh(slots, devices)
    inverter = Inverter(
        config, generate, jax.device_put(parameters, sharding.replicated(mesh)), sharding.split(mesh), **options
    )
    batches = [np.asarray(order[i : i + per_batch]) for i in range(0, len(order), per_batch)]
    left = []
    queue = ((i, images[rows], z[rows]) for i, rows in enumerate(batches))
    found = dict(inverter.refilled(queue, slots, left.append))
    assert sum(left) == len(order)
    rows = np.concatenate(batches)
    results = {name: np.concatenate([found[i][name] for i in range(len(batches))]) for name in found[0]}
    return {name: values[np.argsort(rows)] for name, values in results.items()}, inverter


def assert_equal(results, wanted, tolerance=1e-9):
    assert results.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(results[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", REFILLED)
def test_a_result_depends_on_the_image_alone_not_on_slot_order_or_number_of_slots(x64, name):
    config = REFILLED[name]
    alone, _ = refilled(config, range(10), 1, 1)
    assert alone["z"].dtype == np.float64
    assert len(set(alone["steps"])) > 2
    assert alone["steps"].max() == config.steps  # no multiple of the window
    for seed, per_batch, slots, devices in ((0, 4, 4, 2), (1, 10, 12, 4)):
        order = np.random.default_rng(seed).permutation(10)
        together, _ = refilled(config, order, per_batch, slots, devices=devices)
        assert_equal(together, alone)


@pytest.mark.parametrize("name", ["adam", "bfgs"])
def test_in_float32_too_bit_for_bit_so_that_a_stop_changes_nothing(name):
    config = REFILLED[name]
    whole, _ = refilled(config, range(10), 3, 4, np.float32)
    # What is left after a stop, when the second batch was complete and the others were not.
    rest, _ = refilled(config, [2, 1, 0, 6, 9, 8, 7], 3, 4, np.float32)
    for key in whole:
        np.testing.assert_array_equal(rest[key], np.delete(whole[key], [3, 4, 5], 0))


@pytest.mark.parametrize("name", ["adam", "bfgs"])
def test_an_image_that_leaves_early_has_what_invert_gives_after_as_many_steps(x64, name):
    config = REFILLED[name]
    found, _ = refilled(config, range(10), 5, 6)
    parameters, images = problem(10)
    z = inversion.start(config, np.arange(10), LATENT)
    for row in (found["steps"].argmin(), found["steps"].argmax()):
        as_long = dataclasses.replace(config, steps=int(found["steps"][row]), tolerance=0.0)
        wanted = inversion.invert(
            as_long, lambda z: generate(parameters, z), jnp.asarray(images[row : row + 1]), z[row : row + 1]
        )
        assert_equal({key: found[key][row : row + 1] for key in wanted}, wanted)
        assert not config.clip or np.abs(found["z"]).max() <= 1


def test_an_image_leaves_in_the_first_window_in_which_its_lowest_error_hardly_fell(x64):
    config = REFILLED["bfgs"]
    found, _ = refilled(config, range(10), 5, 5)
    parameters, images = problem(10)
    step = jax.jit(lambda s: inversion.step(config, lambda z: generate(parameters, z), s, jnp.asarray(images)))
    state, lowest = inversion.init(config, inversion.start(config, np.arange(10), LATENT)), [np.full(10, np.inf)]
    for _ in range(config.steps // config.window):
        for _ in range(config.window):
            state = step(state)
        lowest.append(np.asarray(state.best_error))
    lowest = np.array(lowest)
    hardly = lowest[:-1] - lowest[1:] < config.tolerance * lowest[1:]
    wanted = np.where(hardly.any(0), (hardly.argmax(0) + 1) * config.window, config.steps)
    np.testing.assert_array_equal(found["steps"], wanted)


def compilations(stage):
    """How often a stage of `sharding.jitted` was compiled."""
    return (stage.args[1] if isinstance(stage, functools.partial) else stage)._cache_size()


def test_nothing_is_compiled_again_whatever_is_refilled(x64):
    config, steps_per_call = REFILLED["adam"], 2  # 2, 2 and 1 step make a window
    found, inverter = refilled(config, range(10), 4, 4, devices=2, steps_per_call=steps_per_call)
    assert_equal(found, refilled(config, range(10), 1, 1)[0])
    stages = (inverter._run, inverter._fill, inverter._refill, inverter._finish)
    assert [compilations(stage) for stage in stages] == [2, 1, 1, 1]


@pytest.mark.parametrize("name", ["adam", "bfgs"])
def test_each_stage_of_a_batch_that_is_split_is_compiled_once(x64, name):
    config = dataclasses.replace(REFILLED[name], tolerance=0.0, steps=2)
    parameters, images = problem(4)
    mesh = sharding.data_mesh(4, 2)
    inverse = Inverter(config, generate, jax.device_put(parameters, sharding.replicated(mesh)), sharding.split(mesh))
    for _ in range(2):
        inverse(images, np.zeros((4, LATENT)))
    assert [compilations(stage) for stage in (inverse._init, inverse._run, inverse._finish)] == [1, 1, 1]


def test_no_images_are_no_work():
    with pytest.raises(StopIteration):
        next(Inverter(REFILLED["adam"], generate, {}, None).refilled(iter(()), 4))


def test_bfgs_reaches_lower_errors_than_the_papers_adam_in_the_same_steps():
    parameters, images = problem(10, np.float32)

    def run(config):
        invert = jax.jit(lambda x, z: inversion.invert(config, lambda z: generate(parameters, z), x, z))
        return np.asarray(invert(images, jnp.zeros((10, LATENT)))["l1"])

    assert run(InvertConfig(steps=30, optimizer="bfgs")).mean() < 0.9 * run(InvertConfig(steps=30)).mean()


def test_bfgs_keeps_to_the_secant_equation_and_shortens_a_step_that_went_too_far(x64):
    hessian = np.diag([1.0, 4.0, 9.0])
    f = lambda z: (z @ hessian @ z / 2, hessian @ z)  # noqa: E731
    z = np.array([0.4, -0.3, 0.2])
    advance = jax.jit(lambda *a: bfgs.step(0.01, *a))
    trial, memory = advance(z, *f(z), bfgs.init(jnp.asarray(z)))
    np.testing.assert_allclose(trial, z - 0.01 * 3**0.5 * f(z)[1] / np.linalg.norm(f(z)[1]))
    following, after = advance(np.asarray(trial), *f(np.asarray(trial)), memory)
    s, y = np.asarray(trial) - z, f(np.asarray(trial))[1] - f(z)[1]
    np.testing.assert_allclose(after.inverse.h @ y, s, rtol=1e-10)
    assert np.linalg.eigvalsh(after.inverse.h).min() > 0
    # Had that trial a larger error instead, the next would lie between the two points.
    nearer, stayed = advance(np.asarray(trial), 10.0, f(np.asarray(trial))[1], memory)
    np.testing.assert_allclose(nearer, z + 0.1 * s)
    np.testing.assert_array_equal(stayed.z, z)
    assert (stayed.rejected, stayed.pairs, after.rejected, after.pairs) == (1, 0, 0, 1)
    z, memory = np.asarray(following), after
    for _ in range(25):
        z, memory = advance(z, *f(z), memory)
    assert np.abs(memory.z).max() < 1e-4


@given(stn.arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32)))
def test_of_several_starts_each_images_best_is_kept_with_all_that_belongs_to_it(errors):
    starts = [{"l1": e, "z": np.stack([e, np.full(5, i)], 1)} for i, e in enumerate(errors)]
    best = inversion.best_of(starts)
    np.testing.assert_array_equal(best["l1"], errors.min(0))
    np.testing.assert_array_equal(best["z"], np.stack([errors.min(0), errors.argmin(0)], 1))
    failed = {"l1": np.full(5, np.nan, np.float32), "z": np.zeros((5, 2))}
    np.testing.assert_array_equal(inversion.best_of([failed, *starts])["l1"], errors.min(0))


@pytest.fixture(scope="module")
def state():
    """Tiny networks before any training."""
    return jax.jit(lambda: began.init(TINY))()


@pytest.fixture(scope="module")
def tiny_inverse(state):
    """Results of nine random images, in shards of four, by a tiny run that was not trained."""
    mesh = sharding.data_mesh(4, 2)

    def invert(invert_config):
        images = np.random.default_rng(0).uniform(-1, 1, (9, 16, 16, 3)).astype(np.float32)
        inverse = inverter.of_shards(invert_config, of_training(TINY, state), mesh)
        shards = [(i, images[i : i + 4], np.arange(i, min(i + 4, 9))) for i in (0, 4, 8)]
        done = []
        found = dict(inverse(shards, 4, done.append))
        assert sum(done) == 9 * invert_config.steps * invert_config.starts
        return {name: np.concatenate([found[i][name] for i in (0, 4, 8)]) for name in found[0]}, images

    return invert


@pytest.mark.parametrize("options", [{}, {"tolerance": 0.05, "window": 2}], ids=["equal", "refilled"])
def test_more_starts_never_give_a_larger_error(tiny_inverse, options):
    config = InvertConfig(steps=6, start="uniform", **options)
    errors = [tiny_inverse(dataclasses.replace(config, starts=n))[0]["l1"] for n in (1, 3)]
    assert (errors[1] <= errors[0]).all()
    assert (errors[1] < errors[0]).any()


def test_memory_that_runs_out_is_answered_by_smaller_calls(tiny_inverse, monkeypatch, capsys):
    config = InvertConfig(steps=6, start="uniform", starts=2)
    wanted, _ = tiny_inverse(config)
    calls = []

    class Small(Inverter):
        def attempt(self, images, z, count=lambda steps: None):
            calls.append(len(images))
            if len(images) > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
            return super().attempt(images, z, count)

    monkeypatch.setattr(inverter, "Inverter", Small)
    found, _ = tiny_inverse(config)
    assert calls == [4] + [2] * 10  # two parts of two shards, one of the last, two starts each
    assert capsys.readouterr().err == "invert: memory ran out; 2 images at once from here on\n"
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-5)


def test_memory_that_runs_out_is_answered_by_fewer_slots(tiny_inverse, monkeypatch, capsys):
    config = InvertConfig(steps=20, start="uniform", starts=2, tolerance=0.02, window=5)
    wanted, _ = tiny_inverse(config)
    refills, counted = [], []

    class Small(Inverter):
        def refilled(self, batches, slots, count, begun):
            refills.append(slots)

            def tell(images):
                counted.append(images)
                count(images)
                if slots > 2 and sum(counted) >= 4:  # when some have left, and no shard is complete
                    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

            return super().refilled(batches, slots, tell, begun)

    monkeypatch.setattr(inverter, "Inverter", Small)
    found, _ = tiny_inverse(config)
    assert refills == [4, 2]
    assert capsys.readouterr().err == "invert: memory ran out; 2 images at once from here on\n"
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-5)


def test_further_starts_are_uniform_draws_from_image_and_number():
    config = InvertConfig(start="zero", seed=5)
    second, third = (np.asarray(inversion.start(config, np.arange(6), 50, number)) for number in (1, 2))
    assert not np.asarray(inversion.start(config, np.arange(6), 50)).any()
    assert second.min() >= -1
    assert second.max() < 1
    assert len(np.unique(np.concatenate([second, third]))) == 600
    np.testing.assert_array_equal(inversion.start(config, np.array([4]), 50, 1)[0], second[4])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_without_steps_the_encoder_alone_is_the_inverse(tiny_inverse, state, schedule):
    found, images = tiny_inverse(InvertConfig(steps=0, start="encoder", schedule=schedule))
    z = began.encoder_network(TINY).apply({"params": state.encoder}, jnp.asarray(images))
    np.testing.assert_allclose(found["z"], z, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def untrained(state, tiny_faces, tmp_path_factory):
    """A run folder with a generator that was not trained."""
    folder = tmp_path_factory.mktemp("run")
    config = dataclasses.replace(TINY, data=str(tiny_faces))
    Run(folder, config, open_data(str(tiny_faces), 16, 16)).begin()
    saved = checkpoints.manager(folder / "generator")
    checkpoints.save(saved, 0, state)
    saved.close()
    return folder


@pytest.fixture
def run(untrained, tmp_path):
    """Such a run, and invert.py on it."""
    folder = Path(shutil.copytree(untrained, tmp_path / "run"))

    return folder, lambda *options: call("invert.py", folder, *options)


def test_a_stopped_inversion_with_refilling_goes_on_to_the_same_bits(run, monkeypatch):
    folder, invert = run
    options = [
        "--shard-size",
        4,
        "--steps",
        12,
        "--window",
        2,
        "--tolerance",
        0.01,
        "--starts",
        2,
        "--start",
        "encoder",
    ]
    assert " 24 images, 12 steps" in invert(*options)[1]
    whole = Latents(folder / "latents" / "train", read_only=True).load()
    assert 0 < json.loads((folder / "metrics.json").read_text())["invert/mean_steps"] <= 24
    (folder / "latents").rename(folder / "whole")

    saved = []

    def save(self, shard, ids, results):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(shard)
        return original(self, shard, ids, results)

    original = Latents.save
    with monkeypatch.context() as patch:
        patch.setattr(Latents, "save", save)
        assert invert(*options)[0] == 130
    assert invert(*options)[0] == 0
    resumed = Latents(folder / "latents" / "train", read_only=True).load()
    assert resumed["id"] == whole["id"]
    for name in ("z", "l1", "psnr_db", "steps"):
        np.testing.assert_array_equal(resumed[name], whole[name])


def test_steps_0_writes_the_encoders_latents_and_their_error(run):
    folder, invert = run
    assert invert("--shard-size", 8, "--steps", 0, "--start", "encoder")[0] == 0
    figures = json.loads((folder / "metrics.json").read_text())
    assert (figures["invert/images"], figures["invert/steps"]) == (24, 0)
    l1 = np.concatenate([Latents(folder / "latents" / s, read_only=True).load()["l1"] for s in ("train", "test")])
    np.testing.assert_allclose(figures["invert/l1"], l1.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--starts", 0], "--starts"),
        (["--tolerance", -1], "--tolerance is -1.0"),
        (["--steps", 0, "--tolerance", 0.1], "0 where --steps is"),
        (["--optimizer", "bfgs", "--schedule", "cosine"], "schedule is cosine, which is for adam"),
        (["--prior-weight", "0.1"], "--prior-weight does nothing without --prior"),
        (["--window", 5], "--window does nothing without --tolerance"),
        (["--seed", 5], "--seed does nothing with --start zero"),
    ],
)
def test_options_that_contradict_each_other_are_refused(run, options, wanted):
    status, _, told = run[1](*options)
    assert status == 2
    assert wanted in told


def test_an_inversion_that_stopped_early_is_not_read_as_the_whole(run):
    folder, invert = run
    options = ["--shard-size", 8, "--steps", 0, "--start", "encoder"]
    assert invert(*options, "--images", 8)[0] == 0
    assert len(Run.open(folder).latents("train")["z"]) == 8  # all that was asked for
    assert invert(*options)[0] == 0
    assert len(Run.open(folder).latents("train")["z"]) == 20
    shutil.rmtree(folder / "latents" / "train" / "2")
    with pytest.raises(InputError, match=r"16 of 20 train images are inverted: run the same invert\.py"):
        Run.open(folder).latents("train")
    assert invert(*options)[0] == 0
    assert len(Run.open(folder).latents("train")["z"]) == 20


def test_options_bind_as_soon_as_a_shard_is_there_and_not_before(run, monkeypatch):
    folder, invert = run
    options = ["--shard-size", 8, "--start", "encoder"]
    with monkeypatch.context() as patch:
        patch.setattr(Latents, "save", mock.Mock(side_effect=KeyboardInterrupt))
        assert invert(*options, "--steps", 0)[0] == 130
    assert invert(*options, "--steps", 1)[0] == 0
    status, _, told = invert(*options, "--steps", 0)
    assert status == 2 and "inverted with steps 1, and now 0" in told
    assert Run.open(folder).inversion[0].steps == 1


def test_slots_that_would_lose_images_are_refused():
    inverse = Inverter(InvertConfig(steps=1), lambda p, z: z[:, :, None, None], {})
    images, z = np.zeros((2, 3, 1, 1), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="slots is 0; it must be at least 1"):
        next(inverse.refilled([(0, images, z)], slots=0))
    with pytest.raises(InputError, match="batch 7 has 0 images and 0 latents"):
        next(inverse.refilled([(7, images[:0], z[:0])], slots=2))
    with pytest.raises(InputError, match="batch 8 has 2 images and 1 latents"):
        next(inverse.refilled([(8, images, z[:1])], slots=2))
    for weights in (images - 1, images * np.nan):
        with pytest.raises(InputError, match="weights must be finite and at least 0"):
            next(inverse.refilled([(9, images, z, weights)], slots=2))
    for batches in ([(1, images, z), (2, images, z, images + 1)], [(2, images, z, images + 1), (1, images, z)]):
        with pytest.raises(InputError, match="batch 2 has weights, and batch 1 none; give them to all or none"):
            next(inverse.refilled(batches, slots=4))

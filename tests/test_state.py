"""What is kept on disk: checkpoints that restore bit for bit or not at all, and the run folder's records."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from began_jax import began
from began_jax.errors import InputError
from began_jax.files import agree
from began_jax.run import checkpoints
from began_jax.run.folder import Run
from began_jax.run.latents import Latents


def small_state(seed):
    """A state with all that a real one has, but small: parameters, Adam's moments, a typed key, scalars."""
    rng = np.random.default_rng(seed)
    params = {"dense": {"kernel": rng.standard_normal((3, 5), np.float32), "bias": rng.random(5, np.float32)}}
    params = jax.tree.map(jnp.asarray, params)
    adam = optax.scale_by_adam()
    _, moments = adam.update(params, adam.init(params))
    return began.BeganState(
        step=jnp.asarray(np.int32(seed)),
        key=jax.random.key(seed),
        generator=params,
        discriminator=params,
        encoder={"input": {"bias": params["dense"]["bias"]}},
        generator_optimizer=moments,
        discriminator_optimizer=moments,
        encoder_optimizer=moments,
        k=jnp.asarray(np.float32(0.3)),
        learning_rate=jnp.asarray(np.float32(1e-4)),
        convergence=jnp.asarray(np.float32(0.2)),
        best_convergence=jnp.asarray(np.float32(np.inf)),
        best_step=jnp.asarray(np.int32(1)),
    )


def host(tree):
    """Leaves as numpy arrays, keys as their data."""
    return [
        np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in jax.tree.leaves(tree)
    ]


def same(a, b):
    leaves = zip(host(a), host(b), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in leaves)


def save(folder, steps, scores=None):
    """Writes small states as checkpoints."""
    saved = checkpoints.manager(folder)
    for step, score in zip(steps, scores or [0.0] * len(steps), strict=True):
        checkpoints.save(saved, step, small_state(step), score)
    saved.wait_until_finished()
    saved.close()


def restore(folder):
    saved = checkpoints.manager(folder)
    try:
        return checkpoints.restore_latest(saved, small_state(99))
    finally:
        saved.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_that_another_stage_begins_to_use_is_kept(tmp_path):
    used = []
    saved = checkpoints.manager(tmp_path, beside=lambda: used)
    for step in range(1, 7):
        checkpoints.save(saved, step, small_state(step), score=-float(step))
        saved.wait_until_finished()
        used[:] = [2] if step >= 2 else []
    assert sorted(saved.all_steps()) == [2, 4, 5, 6]
    saved.close()


def test_the_newest_three_checkpoints_and_the_best_are_kept(tmp_path):
    save(tmp_path, [1, 2, 3, 4, 5, 6], [0.9, 0.1, 0.5, 0.4, 0.3, 0.2])
    assert names(tmp_path) == ["2", "4", "5", "6"]
    saved = checkpoints.manager(tmp_path, read_only=True)
    assert (saved.latest_step(), saved.best_step()) == (6, 2)
    saved.close()


def test_what_is_restored_equals_what_was_saved_bit_for_bit(tmp_path):
    assert restore(tmp_path / "empty") is None
    assert not checkpoints.exists(tmp_path / "empty")
    save(tmp_path / "a", [7])
    assert checkpoints.exists(tmp_path / "a")
    step, state = restore(tmp_path / "a")
    assert step == 7
    assert isinstance(state, began.BeganState)
    assert jax.tree.structure(state) == jax.tree.structure(small_state(7))
    assert state.key.dtype == jax.random.key(0).dtype
    assert same(state, small_state(7))
    assert not same(state, small_state(8))


def test_a_restored_state_lies_where_the_example_does(tmp_path):
    save(tmp_path, [1])
    saved = checkpoints.manager(tmp_path)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    _, state = checkpoints.restore_latest(saved, jax.device_put(small_state(0), everywhere))
    saved.close()
    assert len(state.k.sharding.device_set) == 4
    assert same(state, small_state(1))


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), cut, flip_a_bit], ids=["deleted", "cut", "flipped"])
# Orbax logs what it finds in a damaged description file, and tries on.
@pytest.mark.filterwarnings("ignore")
def test_damage_to_any_file_is_refused_by_name_or_does_not_matter(tmp_path, damage):
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    save(whole, [5])
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert len(files) > 10
    refused = set()
    for file in files:
        shutil.copytree(whole, copy)
        damage(copy / file)
        try:
            step, state = restore(copy)
        except InputError as error:
            assert f"checkpoint {copy / '5'} is damaged" in str(error)
            assert "delete that folder to start again" in str(error)
            refused.add(file)
        else:
            assert step == 5
            assert same(state, small_state(5)), file
        shutil.rmtree(copy)
    data = {file for file in files if file.parts[1] == "default"}
    assert data <= refused


def test_the_message_about_a_damaged_checkpoint_names_the_one_to_go_on_from(tmp_path):
    save(tmp_path, [5, 10])
    (tmp_path / "10" / "default" / "manifest.ocdbt").unlink()
    with pytest.raises(InputError, match=r"10 is damaged: default/manifest\.ocdbt is missing; .* go on from 5"):
        restore(tmp_path)
    shutil.rmtree(tmp_path / "10")
    assert same(restore(tmp_path)[1], small_state(5))


@pytest.mark.parametrize("like", [{"x": jnp.zeros(4)}, {"y": jnp.zeros(3)}], ids=["shape", "name"])
def test_a_state_of_another_shape_or_name_is_refused_by_name(tmp_path, like):
    saved = checkpoints.manager(tmp_path)
    checkpoints.save(saved, 5, {"x": jnp.ones(3)})
    with pytest.raises(InputError, match=f"checkpoint {tmp_path / '5'} cannot be read"):
        checkpoints.restore(saved, 5, like)
    saved.close()


def test_the_half_written_folder_of_a_killed_save_is_ignored_and_cleaned_up(tmp_path):
    save(tmp_path, [5])
    half = tmp_path / "10.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "5", half)
    (half / "default" / "manifest.ocdbt").unlink()
    assert checkpoints.exists(tmp_path)
    step, state = restore(tmp_path)
    assert step == 5
    assert same(state, small_state(5))
    assert names(tmp_path) == ["5"]
    save(tmp_path, [10])
    assert same(restore(tmp_path)[1], small_state(10))


def test_recording_a_stage_replaces_its_figures_and_keeps_the_others(tmp_path, tiny_config, tiny_faces):
    run = Run.of(tmp_path, tiny_config(width=16, data=str(tiny_faces)))
    run.record("train", {"steps": 5, "k": 0.5})
    run.record("invert", {"l1": 0.1})
    run.record("train", {"steps": 9})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"invert/l1": 0.1, "train/steps": 9}
    run.record("train", {"k": 0.2}, keep=("steps",))
    assert json.loads((tmp_path / "metrics.json").read_text())["train/steps"] == 9


def test_agree_writes_once_and_refuses_a_contradiction_with_both_values(tmp_path):
    path = tmp_path / "run" / "config.json"
    agree(path, {"height": 16, "widths": (4, 6), "steps": 5}, "trained", free=("steps",))
    agree(path, {"height": 16, "widths": (4, 6), "steps": 9}, "trained", free=("steps",))
    assert json.loads(path.read_text()) == {"height": 16, "widths": [4, 6], "steps": 9}
    with pytest.raises(InputError, match=r"trained with height 16, and now 24 is asked for"):
        agree(path, {"height": 24, "widths": (4, 6), "steps": 9}, "trained", free=("steps",))
    with pytest.raises(InputError, match=r"trained with widths 4,6, and now 4,8 is asked for"):
        agree(path, {"height": 16, "widths": (4, 8), "steps": 9}, "trained", free=("steps",))
    assert json.loads(path.read_text())["widths"] == [4, 6]


def test_an_option_that_is_not_stored_had_its_default(tmp_path):
    path = tmp_path / "config.json"
    agree(path, {"height": 16}, "trained")
    later = {"height": 16, "low_quality": True}
    with pytest.raises(InputError, match=r"trained with low_quality False, and now True is asked for"):
        agree(path, later, "trained", defaults={"height": 8, "low_quality": False})
    with pytest.raises(InputError, match=r"trained with low_quality None, and now True is asked for"):
        agree(path, later, "trained")
    assert json.loads(path.read_text()) == {"height": 16}
    agree(path, later, "trained", defaults={"height": 8, "low_quality": True})
    assert json.loads(path.read_text()) == later


def test_a_run_is_loaded_as_it_was_started(tmp_path, tiny_config, tiny_irises):
    config = tiny_config(channels=1, data=str(tiny_irises))
    started = Run.of(tmp_path, config)
    started.begin()
    loaded = Run.open(tmp_path)
    assert loaded.config == dataclasses.replace(config, data=str(tiny_irises.resolve()))
    assert loaded.data.fingerprint == started.data.fingerprint
    assert loaded.data.splits == {"train": 20, "test": 4}


def test_loading_a_folder_that_is_no_run_says_to_train_first(tmp_path):
    with pytest.raises(InputError, match=rf"{tmp_path} is no run folder .*train\.py PRESET --run {tmp_path}"):
        Run.open(tmp_path)


def test_loading_a_run_whose_data_set_became_another_names_both(tmp_path, tiny_config, tiny_faces):
    config = tiny_config(width=16, data=str(tiny_faces))
    data = Run.of(tmp_path, config).data
    Run(tmp_path, config, dataclasses.replace(data, fingerprint="0123456789abcdef")).begin()
    with pytest.raises(InputError, match=f"0123456789abcdef.*{data.fingerprint}"):
        Run.open(tmp_path)


@pytest.mark.parametrize("damage", ["{", "{}", '{"data_set": "x", "encoder_filters": [4], "colour": 1}'])
def test_a_damaged_configuration_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "config.json"
    path.write_text(damage)
    with pytest.raises(InputError, match=f"{path} cannot be read"):
        Run.open(tmp_path)


def test_latents_are_read_as_they_were_written_also_those_of_versions_before_0_2(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"z": rng.normal(size=(3, 4)).astype(np.float32), "sure": np.array([True, False, True])}
    ids = ["a", "b", "c"]
    store = Latents(tmp_path / "now")
    store.save(0, ids, columns)
    store.wait()
    before = checkpoints.manager(tmp_path / "before", keep=None)
    items = {"latents": ocp.args.StandardSave(columns), "ids": ocp.args.JsonSave({"ids": ids})}
    before.save(0, args=ocp.args.Composite(**items), force=True)
    before.wait_until_finished()
    before.close()
    for folder in ("now", "before"):
        found = Latents(tmp_path / folder, read_only=True).load()
        assert found["id"] == ids
        for name, column in columns.items():
            assert found[name].dtype == column.dtype
            np.testing.assert_array_equal(found[name], column)

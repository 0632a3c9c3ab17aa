"""The Gaussian process: numpy's formulas, leaving one out for real, and the share of a network beside it."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax import aspects, gaussian_process, metrics
from began_jax.configs import AspectConfig
from began_jax.errors import InputError
from began_jax.metrics import Ridge
from began_jax.run import closed_form
from began_jax.run.latents import read_columns, write_columns

COUNT, LATENT = 60, 5


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (2 * COUNT, LATENT)).astype(np.float32)
    bent = np.sin(z @ rng.normal(size=(LATENT, 6))) / 4 + 0.5 + rng.normal(size=(2 * COUNT, 6)) / 50
    y = bent.reshape(-1, 3, 2).astype(np.float32)
    return z[:COUNT], y[:COUNT], z[COUNT:], y[COUNT:]


def direct(z, y, new, length, noise):
    """The answers by the formula of the module, with the latents' own centre and deviation."""
    unit = lambda a: (a - z.mean(0)) / z.std(0) / length  # noqa: E731
    kernel = lambda a, b: np.exp(-((unit(a)[:, None] - unit(b)[None]) ** 2).sum(-1) / 2)  # noqa: E731
    mean = y.mean(0)
    weights = np.linalg.solve(kernel(z, z) + noise * np.eye(len(z)), (y - mean).reshape(len(y), -1))
    return (kernel(new, z) @ weights).reshape(len(new), *y.shape[1:]) + mean


def test_answers_are_those_of_the_formula(examples):
    z, y, new, _ = (a.astype(np.float64) for a in examples)
    found = gaussian_process.fit(z, y)
    answers = jax.jit(gaussian_process.predict, static_argnums=2)(found.process, jnp.asarray(new, jnp.float32), (3, 2))
    np.testing.assert_allclose(answers, np.clip(direct(z, y, new, found.length, found.noise), 0, 1), atol=2e-5)


def test_float32_is_enough_where_large_weights_cancel():
    rng = np.random.default_rng(0)
    z, new = (rng.uniform(-1, 1, (count, 64)).astype(np.float32) for count in (800, 50))
    y = z @ rng.normal(size=(64, 3)) / 40 + np.sin(z[:, :3]) / 10 + rng.normal(size=(800, 3)) / 1000
    found = gaussian_process.fit(z, y)
    assert np.abs(found.process.weights).sum(0).max() > 1000
    expected = direct(z.astype(np.float64), y, new.astype(np.float64), found.length, found.noise)
    np.testing.assert_allclose(gaussian_process.predict(found.process, new, (3,)), expected, atol=4e-6)


def test_a_process_of_an_older_run_is_completed_when_it_is_read(examples, tmp_path):
    closed_form.fitted(tmp_path, AspectConfig(closed_form="process", validation=0.1), *examples[:2])
    new = closed_form.load(tmp_path)
    folder = tmp_path / "process"
    columns = read_columns(folder, "process", "")
    shutil.rmtree(folder)
    write_columns(folder, "process", {name: value for name, value in columns.items() if "total" not in name})
    old = closed_form.load(tmp_path)
    for one, other in ((old.process, new.process), (old.errors, new.errors)):
        assert one is not None and other is not None
        np.testing.assert_allclose(one.total, other.total, atol=1e-4)
        answers = (gaussian_process.predict(each, examples[2], (each.mean.shape[0],)) for each in (one, other))
        np.testing.assert_allclose(*answers, atol=1e-4)


def test_left_out_is_what_a_fit_without_the_example_answers(examples):
    z, y = (a.astype(np.float64) for a in examples[:2])
    found = gaussian_process.fit(z, y)
    unit = lambda a: (a - z.mean(0)) / z.std(0) / found.length  # noqa: E731
    for i in (0, 17, COUNT - 1):
        others = np.arange(COUNT) != i
        kernel = lambda a, b: np.exp(-((unit(a)[:, None] - unit(b)[None]) ** 2).sum(-1) / 2)  # noqa: E731
        covariance = kernel(z[others], z[others]) + found.noise * np.eye(COUNT - 1)
        parts = (y - y.mean(0))[others].reshape(COUNT - 1, -1)
        answer = (kernel(z[i : i + 1], z[others]) @ np.linalg.solve(covariance, parts)).reshape(3, 2) + y.mean(0)
        np.testing.assert_allclose(found.left_out[i], np.clip(answer, 0, 1), atol=1e-5)


def test_it_beats_the_linear_map_where_the_truth_is_bent_and_answers_the_mean_where_there_is_none(examples):
    z, y, new, truth = examples
    error = lambda answers: float(((np.asarray(answers) - truth) ** 2).mean())  # noqa: E731
    process = gaussian_process.fit(z, y).process
    assert error(gaussian_process.predict(process, jnp.asarray(new), (3, 2))) < 0.8 * error(Ridge(z, y)(new))
    unrelated = np.random.default_rng(1).uniform(size=(COUNT, 3, 2))
    process = gaussian_process.fit(z, unrelated).process
    answers = np.asarray(gaussian_process.predict(process, jnp.asarray(new), (3, 2)))
    assert np.abs(answers - unrelated.mean(0)).mean() < 0.3 * unrelated.std()


def test_targets_of_many_outputs_are_answered_in_their_main_components(examples):
    z, y, new, _ = examples
    picture = np.random.default_rng(2).normal(size=(6, 20 * 20))
    maps = (y.reshape(COUNT, 6) @ picture).reshape(COUNT, 20, 20, 1)
    process = gaussian_process.fit(z, maps).process
    assert process.basis.shape == (6, 400)  # the components that there are
    answers = np.asarray(gaussian_process.predict(process, jnp.asarray(new), (20, 20, 1)))
    few = np.asarray(gaussian_process.predict(gaussian_process.fit(z, y - 5).process, jnp.asarray(new), (3, 2))) + 5
    expected = (few.reshape(len(new), 6) @ picture).reshape(answers.shape)
    assert np.abs(answers - expected).mean() < 0.05 * np.abs(maps - maps.mean(0)).mean()


def test_more_examples_than_it_takes_are_answered_from_those_that_it_took(examples, monkeypatch):
    z, y = examples[:2]
    monkeypatch.setattr(gaussian_process, "MOST", 20)
    found = gaussian_process.fit(z, y)
    assert found.process.inputs.shape == (20, LATENT) and len(found.left_out) == COUNT
    taken = np.linspace(0, COUNT - 1, 20).astype(int)
    others = np.setdiff1d(np.arange(COUNT), taken)
    answers = gaussian_process.predict(found.process, jnp.asarray(z), (3, 2))
    np.testing.assert_allclose(np.asarray(answers)[others], found.left_out[others], atol=2e-5)
    assert np.abs(np.asarray(answers)[taken] - found.left_out[taken]).max() > 1e-3
    some = np.array([3, taken[5], 40])
    np.testing.assert_allclose(gaussian_process.fit(z, y, some).left_out, found.left_out[some], atol=1e-6)


def test_too_few_examples_are_refused():
    few = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    known = gaussian_process.fit(few, few).process
    for z, shape in ((few[:, :1], (3,)), (few, (1,))):
        with pytest.raises(InputError, match=r"the process knows \[batch, 3\] and 3 values an answer"):
            gaussian_process.predict(known, z, shape)
    with pytest.raises(InputError, match="to 2 examples: it takes at least 3"):
        gaussian_process.fit(np.zeros((2, 3)), np.zeros((2, 2)))


@pytest.mark.parametrize("count", [4, 400])
def test_the_share_is_the_best_one_as_far_as_the_validation_latents_can_tell(count):
    rng = np.random.default_rng(3)
    left_out, answers, noise = rng.normal(size=(3, count, 2))
    targets = 0.3 * answers + 0.7 * left_out + noise / 10
    beside = closed_form.Beside(None, np.zeros((count, 1)), left_out, targets)
    error = lambda share: ((share * answers + (1 - share) * left_out - targets) ** 2).mean()  # noqa: E731
    share = beside.share(answers) * (count + closed_form.HALF) / count
    assert error(share) <= min(error(share - 0.01), error(share + 0.01)) and 0.2 < share < 0.4
    assert beside.share(left_out - (targets - left_out)) == 0 and beside.share(targets) < 1


def test_a_kept_process_is_the_one_fitted_and_that_of_another_seed_is_replaced(examples, tmp_path):
    z, y = examples[:2]
    config = AspectConfig(validation=0.2, closed_form="process")
    closed_form.fitted(tmp_path / "net", config, z, y)
    kept, found = closed_form.load(tmp_path / "net"), gaussian_process.fit(z, y)
    for a, b in zip(kept.process, found.process, strict=True):
        np.testing.assert_array_equal(a, b)
    _, held = aspects.validation_split(config, COUNT)
    np.testing.assert_array_equal(kept.z, z[held])
    np.testing.assert_array_equal(kept.left_out, found.left_out[held])
    closed_form.fitted(tmp_path / "net", dataclasses.replace(config, seed=1), z, y)
    assert not np.array_equal(closed_form.load(tmp_path / "net").z, kept.z)
    columns = tmp_path / "net" / "process" / "0" / "process" / "columns.npz"
    columns.write_bytes(b"")
    with pytest.raises(InputError, match=r"is damaged: process/columns.npz has changed.*run aspect.py again"):
        closed_form.load(tmp_path / "net")


def test_the_expected_error_is_large_where_the_truth_is_noisy():
    rng = np.random.default_rng(5)
    z = rng.uniform(-1, 1, (400, 3)).astype(np.float32)
    noise = np.where(z[:, :1] > 0, 0.1, 0.01)
    y = (z[:, 1:] / 4 + 0.5 + noise * rng.normal(size=(400, 2))).astype(np.float32)
    config = AspectConfig(validation=0.1, closed_form="process")
    beside = closed_form.fit(config, z[:300], y[:300])
    expected = np.asarray(closed_form.expected_error(beside.errors, jnp.asarray(z[300:])))
    answers = np.asarray(gaussian_process.predict(beside.process, jnp.asarray(z[300:]), (2,)))
    error = metrics.rms_error(answers, y[300:])
    assert metrics.rank_correlation(expected, error) > 0.6
    quiet = z[300:, 0] < 0
    assert expected[~quiet].mean() > 4 * expected[quiet].mean()
    size = lambda values: np.sqrt((values**2).mean())  # noqa: E731
    np.testing.assert_allclose(size(expected), size(error), rtol=0.3)


def test_an_example_without_any_target_says_nothing_of_the_expected_error():
    rng = np.random.default_rng(7)
    z = rng.uniform(-1, 1, (60, 3)).astype(np.float32)
    y = (z[:, 1:] / 4 + 0.5 + 0.05 * rng.normal(size=(60, 2))).astype(np.float32)
    y[::10] = np.nan
    beside = closed_form.fit(AspectConfig(validation=0.3, closed_form="process"), z, y)
    assert np.isfinite(np.asarray(closed_form.expected_error(beside.errors, jnp.asarray(z)))).all()
    assert np.isnan(beside.targets).any() and np.isfinite(beside.better(beside.left_out))


def test_suggestions_lower_the_variance_the_most():
    rng = np.random.default_rng(6)
    z = rng.normal(size=(40, 3))
    known, length, noise = np.array([3, 20]), 1.5, 0.1
    scaled = (z - z.mean(0)) / z.std(0) / length
    kernel = np.exp(-((scaled[:, None] - scaled[None]) ** 2).sum(-1) / 2)

    def total(rows):
        """The sum of the variances at all that are not known, after these are annotated."""
        inner = kernel[np.ix_(rows, rows)] + noise * np.eye(len(rows))
        variance = 1 - np.einsum("ij,ji->i", kernel[:, rows] @ np.linalg.inv(inner), kernel[rows])
        return np.delete(variance, known).sum()

    found = gaussian_process.suggest(z, known, 4, length, noise)
    for i in range(4):
        before = [*known, *found[:i]]
        gains = {row: total([*before, row]) for row in range(40) if row not in before}
        assert min(gains, key=gains.get) == found[i]
    assert len(set(gaussian_process.suggest(z, known, 100, length, noise)) | set(known)) == 40

"""The README's chain over arrays, the programs of examples/ and the examples of docstrings run."""

import doctest
import importlib
import importlib.util
import inspect
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import began_jax
from began_jax import aspects, began, density, gaussian_process, moving, sampling

ROOT = Path(__file__).parents[1]
# Smaller, so that they take seconds.
SMALLER = {
    "began_in_memory": dict(COUNT=60, TRAINED=50, STEPS=3, EPOCHS=1),
    "few_labels": dict(COUNT=32, LABELLED=20),
    "invert_any_generator": dict(COUNT=4, STARTS=2),
    "learn_an_annotation": dict(COUNT=28, TRAINED=20, STEPS=2, EPOCHS=2),
    "vae": dict(COUNT=8, STEPS=2, BATCH=2),
}


def test_the_readme_s_chain_gives_images_with_masks():
    (chain,) = re.findall(r"\n\n((?:    .*\n|\n)+)\n## Results", (ROOT / "README.md").read_text(encoding="utf-8"))
    code = textwrap.dedent(chain)
    assert len(code.splitlines()) <= 25
    for whole, part in (("range(600)", "range(24)"), (":500]", ":20]"), ("[500:", "[20:"), ("steps=600", "steps=3")):
        assert whole in code
        code = code.replace(whole, part)
    code = code.replace('INVERT_PRESETS["demo"]', 'dataclasses.replace(INVERT_PRESETS["demo"], steps=2)')
    code = code.replace('["regularised-mask"]', '["regularised-mask"], epochs=1, batch_size=8)').replace(
        "config=ASPECT_RECIPES", "config=dataclasses.replace(ASPECT_RECIPES"
    )
    found = {}
    exec(code, found)
    assert found["new_images"].shape == found["new_masks"].shape == (1000, 32, 40, 1)
    assert 0 <= found["score"] <= 1 and np.isfinite(found["new_images"]).all()


# The first is the README's chain as a program.
PROGRAMS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.long] if path.stem == "began_in_memory" else [])
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("path", PROGRAMS)
def test_an_example_runs(path, monkeypatch, capsys, tmp_path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = {"WEIGHTS": tmp_path / "made" / "weights"} if hasattr(module, "WEIGHTS") else {}
    for name, value in (SMALLER[path.stem] | written).items():
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, value)
    module.main()
    assert len(capsys.readouterr().out.splitlines()) >= 2


# What docs/library.md names beside the names of the package itself.
NAMED = (
    *(aspects.Trainer, aspects.init, aspects.predict, began.init, began_jax.Inverter, moving.with_landmarks),
    *(gaussian_process.fit, gaussian_process.predict, density.fit, sampling.density_latents),
)


def public():
    """Every public function and class, and the functions of public modules, that is ours, by its name."""
    found = {}
    for name in began_jax.__all__:
        value = getattr(began_jax, name)
        members = vars(value).items() if inspect.ismodule(value) else [(name, value)]
        for own, member in members:
            ours = getattr(member, "__module__", "").startswith("began_jax")
            if ours and not own.startswith("_") and (inspect.isfunction(member) or inspect.isclass(member)):
                found[f"{member.__module__}.{member.__qualname__}"] = member
    return found


def test_examples_of_docstrings_give_what_they_say():
    finder, runner, tried = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(), set()
    for name, value in (public() | {f"{value.__module__}.{value.__qualname__}": value for value in NAMED}).items():
        module = importlib.import_module(value.__module__)
        for test in finder.find(value, name, module, globs={}):
            if test.examples:
                tried.add(value)
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    functions = {getattr(began_jax, name) for name in began_jax.__all__ if inspect.isfunction(getattr(began_jax, name))}
    assert functions | set(NAMED) <= tried

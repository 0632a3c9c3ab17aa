"""What the package is from outside: a light import, a public surface, stages by name, no private parts of others."""

import ast
import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ways import call

import began_jax
from began_jax.stages import COMMANDS

ROOT = Path(began_jax.__file__).parent

LIGHT = """
import logging, sys
import began_jax
heavy = {"orbax", "grain", "tensorflow_datasets", "cv2", "dlib", "tensorboardX"} & set(sys.modules)
assert not heavy, heavy
assert not logging.root.handlers
assert began_jax.Kind is began_jax.KINDS["mask"].__class__  # now they are loaded
assert "tensorflow_datasets" in sys.modules
began_jax.pretrained("synthetic-irises")
assert not logging.root.handlers
"""


def test_importing_loads_nothing_that_pure_functions_do_not_need():
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT.parent, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    assert set(began_jax.__all__) <= set(dir(began_jax))
    assert all(getattr(began_jax, name) is not None for name in began_jax.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        began_jax.nothing  # noqa: B018


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in ROOT.rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    assert (ROOT / "py.typed").is_file()


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_imports_a_private_part_of_another_package(path):
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        modules += [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        for name in modules:
            parts = name.split(".")
            assert not any(part.startswith("_") and part != "__main__" for part in parts), name


@pytest.fixture
def command(monkeypatch):
    """Calls `began-jax` with arguments, and returns its status."""
    terminated = signal.getsignal(signal.SIGTERM)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["began-jax", *arguments])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module("began_jax.__main__").main()
        return ended.value.code

    yield called
    signal.signal(signal.SIGTERM, terminated)


@pytest.mark.parametrize("stage", COMMANDS)
def test_each_stage_is_a_script_a_module_and_a_command(stage, command, capsys):
    module = importlib.import_module(f"began_jax.stages.{stage}")
    assert module.main.__module__ == module.__name__
    status, out, _ = call(f"{stage}.py", None, "--help")
    assert status == 0 and out.startswith(f"usage: {stage}.py ")
    assert command(stage, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: began-jax {stage} ")


def test_a_stage_that_is_none_is_refused_with_the_names_of_all(command, capsys):
    assert command("draw") == 2
    assert capsys.readouterr().err == f"began-jax: error: there is no stage draw; there are {', '.join(COMMANDS)}\n"

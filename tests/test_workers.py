"""Worker processes: results in order, few tasks in flight, errors that reach the caller; names of annotators."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from began_jax import plugins, sharding
from began_jax.annotators import annotator
from began_jax.annotators.workers import ordered_map
from began_jax.errors import InputError


def _make_square():
    def square(n):
        if n == 13:
            raise InputError("13: is refused")
        if n == 7:
            time.sleep(0.2)  # later ones are done first
        return n * n, os.getpid()

    return square


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_tasks(workers):
    found = list(ordered_map(_make_square, range(12), workers))
    assert [value for value, _ in found] == [n * n for n in range(12)]
    assert ({process for _, process in found} == {os.getpid()}) == (workers == 0)


def test_a_worker_for_each_core_that_may_be_used(monkeypatch):
    # of a machine with many cores a cluster lends a few
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert sharding.cores() == 2


def test_tasks_are_taken_as_workers_become_free():
    taken = []

    def tasks():
        for n in range(12):
            taken.append(n)
            yield n

    results = ordered_map(_make_square, tasks(), 1)
    next(results)
    assert len(taken) <= 4
    results.close()


def test_what_a_worker_raises_reaches_the_caller():
    with pytest.raises(InputError, match="13: is refused"):
        list(ordered_map(_make_square, [1, 13], 1))


def test_workers_end_with_their_parent(tmp_path):
    # even if it is killed, and so can end nobody
    (tmp_path / "endless.py").write_text(
        textwrap.dedent("""
        import functools, os, pathlib, time
        from began_jax.annotators.workers import ordered_map

        def make():
            def wait(path):
                pathlib.Path(path).write_text(str(os.getpid()))
                time.sleep(600)
            return wait

        if __name__ == "__main__":
            list(ordered_map(make, ["pid"], 1))
        """)
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "endless.py"], cwd=tmp_path, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline and parent.poll() is None
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    worker = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{worker}/stat") as file:
                if file.read().split()[2] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    pytest.fail(f"worker {worker} outlived its parent")


SOURCE = """
import numpy as np
from began_jax.annotators.annotator import Unsure

def corners(image):
    if image.mean() < 10:
        raise Unsure("too dark")
    return np.array([[0.0, 0.0], [1.0, 1.0]])

class Bright:
    def __call__(self, image):
        return (image.mean(-1, keepdims=True) > 128).astype(np.uint8)

def pixels(image):
    return np.array([[50.0, 60.0]])

def cube(image):
    return np.zeros((2, 2, 2))

number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


def test_an_annotator_from_a_file(file):
    image = np.full((16, 24, 3), 200, np.uint8)
    corners = annotator.annotated(annotator.load(f"{file}:corners"), image, 16, 24)
    np.testing.assert_array_equal(corners["landmarks"], [[0, 0], [1, 1]])
    image[:, 12:] = 0
    bright = annotator.annotated(annotator.load(f"{file}:Bright"), image, 16, 24)
    np.testing.assert_array_equal(bright["mask"][..., 0], np.repeat([1, 0], 12)[None].repeat(16, 0))
    for name, reason in (("pixels", "no landmarks .* fractions"), ("cube", r"\[2, 2, 2\].* is neither")):
        with pytest.raises(annotator.WrongAnswer, match=reason):
            annotator.annotated(annotator.load(f"{file}:{name}"), image, 16, 24)


def test_files_of_one_name_in_two_folders(file, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / file.name).write_text("def only_here(image): return image")
    annotator.load(f"{file}:corners")
    assert annotator.load(f"{tmp_path / 'other' / file.name}:only_here").__name__ == "only_here"


def test_names_that_are_none(file):
    for name, message in (
        ("dilb", "there are dlib"),
        ("nowhere.py:f", "no such file"),
        (f"{file}:missing", "no callable missing"),
        (f"{file}:number", "no callable number"),
        ("no_such_package.module:f", "no_such_package"),
    ):
        with pytest.raises(InputError, match=message):
            annotator.load(name)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "began_jax.annotators.faces", raising=False)
    with pytest.raises(InputError, match=r"opencv-python-headless.*began_jax\[faces\]"):
        annotator.load("dlib")


def test_a_file_keeps_its_name_in_another_folder(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert plugins.absolute("mine.py:corners") == f"{file}:corners"
    assert plugins.absolute("dlib") == "dlib"

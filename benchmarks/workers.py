"""Contenders: each in a process of its own, since devices and threads are settings of a process, working in turns."""

import contextlib
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

WARM_UPS = 2  # the second call of a jitted step on sharded arrays may compile once more
PAUSE = 0.2  # seconds after which the threads of the contender before have gone to sleep


class Task(NamedTuple):
    """Work that can be repeated."""

    call: Callable[[], Any]  # does `units` of it and waits for them
    units: int = 1
    info: dict[str, Any] = {}  # noqa: RUF012  what the report shows of it


class Failed(Exception):
    """A contender that could not be made, in one line."""


def serve(pipe: Any, function: str, arguments: dict[str, Any]) -> None:
    """Make the task of `module:function` in a contender's process, then answer seconds with timings."""
    os.setsid()  # so that `Worker.close` ends compilers that it started too
    module, name = function.split(":")
    try:
        task = getattr(importlib.import_module(module), name)(**arguments)
        for _ in range(WARM_UPS):
            task.call()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = (str(error).splitlines() or [""])[0][:200]
        pipe.send(Failed(f"{type(error).__name__}: {message} ({Path(place.filename).name}, line {place.lineno})"))
        return
    with contextlib.suppress(EOFError, BrokenPipeError):  # the benchmark was stopped
        pipe.send(task.info)
        while True:
            if (seconds := pipe.recv()) is None:
                return
            end, samples = time.perf_counter() + seconds, []
            while not samples or time.perf_counter() < end:
                begin = time.perf_counter()
                task.call()
                samples.append((time.perf_counter() - begin) / task.units)
            unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
            pipe.send((samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit))


class Worker:
    """A contender, ready: warmed up, and idle but in its turns.

    Args:
        function: `module:name` of a function that makes a Task, in the process.
        arguments: of this function.
        seconds: that it may take to be made; None: any.

    Raises:
        Failed: the task could not be made in this time.
    """

    def __init__(self, function: str, arguments: dict[str, Any], seconds: float | None = None):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, function, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.megabytes = 0.0  # peak of the process's memory
        try:
            self.info: dict[str, Any] = self._answer(seconds)
        except Failed:
            self.close()
            raise

    def run(self, seconds: float) -> list[float]:
        """Return the seconds a unit of each call in a turn of so many seconds, at least one call."""
        time.sleep(PAUSE)
        self._pipe.send(seconds)
        samples, self.megabytes = self._answer(None)
        return samples

    def close(self) -> None:
        """End the process, where it is busy by force, and all that it started."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(5)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self._process.pid) == self._process.pid:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _answer(self, seconds: float | None) -> Any:
        if not self._pipe.poll(seconds):
            raise Failed(f"not ready after {seconds:.0f} s")
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise Failed(f"its process ended with status {self._process.exitcode}") from None
        if isinstance(answer, Failed):
            raise answer
        return answer


def alternate(
    contenders: dict[str, Worker], turn_seconds: float, rounds: int, least_rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Give turns in the order given, again and again; return the samples of each contender's turns.

    After `least_rounds` it stops when `seconds` have gone by.
    """
    turns: dict[str, list[list[float]]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    for done in range(rounds):
        if done >= least_rounds and time.perf_counter() > end:
            break
        for name, worker in contenders.items():
            turns[name].append(worker.run(turn_seconds))
    return turns

"""The loop of a training, which restores, goes on, shows, saves, stops and closes."""

import collections
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from began_jax.progress import Progress, event_writer
from began_jax.run import checkpoints, cli

# Calls whose metrics are not yet read: so many may be under way on a GPU or TPU. On a CPU none: waiting is no loss
# there, and many collectives in flight can deadlock.
IN_FLIGHT = 4
_SAVE = 64  # beside the number of a signal: the first process asks all of them for a checkpoint
LEAST_EPOCHS, CHECKPOINTS = 10, 40  # between checkpoints of an aspect, and the most of those where epochs are many


def strongest(signals: jax.Array) -> jax.Array:
    """Return what all processes act on, of what `Loop.signals` gave each: any checkpoint and the highest signal."""
    return (signals // _SAVE).max() * _SAVE + (signals % _SAVE).max()


@runtime_checkable
class Trained(Protocol):
    """A state of a training, which is a pytree."""

    @property
    def done(self) -> int:
        """Steps or epochs done."""
        ...

    @property
    def score(self) -> float:
        """What is lowest in the best checkpoint."""
        ...


State = TypeVar("State", bound=Trained)
Values = dict[str, float]


class Packed:
    """Metrics as one array, where each would travel alone; `names` are known when the step has been traced."""

    names: tuple[str, ...] = ()

    def pack(self, metrics: Mapping[str, Any]) -> jax.Array:
        """Return scalars by name as a vector; call within the jitted step."""
        self.names = tuple(sorted(metrics))
        return jnp.stack([metrics[name].astype(jnp.float32) for name in self.names])

    def steps(self, fetched: np.ndarray) -> list[Values]:
        """Return the metrics of each step of a call: from [metrics], or [steps, metrics]."""
        return [dict(zip(self.names, map(float, row), strict=True)) for row in np.atleast_2d(fetched)]


def between_saves(epochs: int) -> int:
    """Return the epochs between checkpoints of an aspect: many where few are annotated, since epochs are steps then."""
    return max(LEAST_EPOCHS, -(-epochs // CHECKPOINTS))


def _one(fetched: Mapping[str, Any]) -> list[Values]:
    return [{name: float(value) for name, value in fetched.items()}]


class Loop(Generic[State]):
    """A training from its newest checkpoint to its end, or to a signal that stops it with its state saved.

        with Loop("train", folder, state, total=1000, observe=print) as loop:
            for number in loop:
                loop.advance(*step(loop.state))
        loop.exit_if_stopped()

    A call of the device may be followed by others before its metrics are read; `observe` gets them in order, all of
    them before a checkpoint is written. Among several processes all save together, the first alone shows and records,
    and a signal to any of them stops all of them after the same step: give what `signals` returns to the step, and
    `advance` the `strongest` of it.

    Args:
        stage: its name on the progress line.
        folder: of the checkpoints.
        state: at the start, where there is no checkpoint yet; it tells shapes, types and shardings where there is.
        total: steps or epochs to do.
        unit: what they are called.
        stride: how many of them a call makes; the last call may make fewer.
        save_every: as many of them between checkpoints, ...
        save_seconds: ... but no sooner after the last one than this, save at the end.
        record: called before each checkpoint with the state, the last metrics and the rate (0: unknown): its figures
            come first, so that a rerun which finds the last checkpoint has nothing left to do.
        events: folder of TensorBoard's files.
        observe: told the number of a step and its metrics; what it returns is shown beside the progress line.
        unpack: from a call's metrics, fetched, to those of each of its steps.
        in_flight: calls whose metrics are not yet read, at most; None for `IN_FLIGHT`, or 0 on a CPU.
        beside: gives steps whose checkpoints are kept though there are newer ones.
    """

    def __init__(
        self,
        stage: str,
        folder: Path,
        state: State,
        total: int,
        *,
        unit: str = "step",
        stride: int = 1,
        save_every: int = 1,
        save_seconds: float = 0.0,
        record: Callable[[State, Values, float], None] | None = None,
        events: Path | None = None,
        observe: Callable[[int, Values], Mapping[str, float]] = lambda number, values: values,
        unpack: Callable[[Any], list[Values]] = _one,
        in_flight: int | None = None,
        beside: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._saved = checkpoints.manager(folder, beside=beside)
        found = checkpoints.restore_latest(self._saved, state)
        self.state: State = state if found is None else found[1]
        self.start: int = self.state.done
        self.total: int = total
        self.values: Values = {}
        self.stopped: int = 0  # number of the signal that stopped it
        self._stride, self._save_every, self._save_seconds, self._record = stride, save_every, save_seconds, record
        self._observe, self._unpack = observe, unpack
        self._in_flight = in_flight if in_flight is not None else IN_FLIGHT if jax.default_backend() != "cpu" else 0
        self._received: list[int] = []
        self._calls: collections.deque[tuple[int, Any, Any]] = collections.deque()
        self._number, self._saved_number, self._saved_time, self._due = self.start, self.start, time.monotonic(), False
        first = jax.process_index() == 0
        self._bar = Progress(stage, total, self.start, unit) if first and self.start < total else None
        self._events = event_writer(events, self.start) if events and first else None

    def __enter__(self) -> "Loop[State]":
        self._noting = cli.stop_signals()
        self._received = self._noting.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._noting.__exit__(kind, error, trace)
        if self._bar:
            self._bar.close()
        if self._events:
            self._events.close()
        self._saved.wait_until_finished()
        self._saved.close()

    def __iter__(self) -> Iterator[int]:
        """Give the number of the last step of each call that is left, and save after calls; a signal ends it."""
        while self._number < self.total:
            self._number = min(self._number + self._stride, self.total)
            yield self._number
            if self.stopped or self._due or self._number == self.total:
                self._read(0)
                self._save()
            if self.stopped:
                return

    def signals(self, rows: int) -> np.ndarray | None:
        """Return this process's signal [rows] for a step over all processes, or None where it is alone."""
        if jax.process_count() == 1:
            return None
        return np.full(rows, self._signal + (_SAVE if jax.process_index() == 0 and self._save_is_due() else 0))

    def advance(self, state: State, metrics: Any, signal: Any = None) -> None:
        """Take over the state after a call and its metrics, and observe those of calls that are done by now."""
        self.state = state
        self._calls.append((self._number, metrics, signal))
        if signal is None:
            self.stopped, self._due = self._signal, self._save_is_due()
        self._read(self._in_flight)

    def log(self, stage: str, number: int, figures: Mapping[str, float]) -> None:
        """Write figures of a step to TensorBoard."""
        if self._events:
            for name, value in figures.items():
                self._events.add_scalar(f"{stage}/{name}", value, number)

    def exit_if_stopped(self) -> None:
        """Raise SystemExit with the status of the signal that stopped the loop, or came while it saved at its end."""
        signum = self.stopped or (self._signal if jax.process_count() == 1 else 0)
        if signum:
            raise SystemExit(128 + signum)

    @property
    def remark(self) -> str:
        """What a closing line says of a loop that was stopped."""
        return " (stopped; the same command goes on)" if self.stopped else ""

    @property
    def _signal(self) -> int:
        return self._received[0] if self._received else 0

    def _read(self, left: int) -> None:
        """Fetch and observe the metrics of the oldest calls, until so many are left."""
        while len(self._calls) > left:
            number, metrics, signal = self._calls.popleft()
            fetched, signal = jax.device_get((metrics, signal))
            if signal is not None:
                due, received = divmod(int(signal), _SAVE)
                self.stopped, self._due = self.stopped or received, self._due or bool(due)
            steps = self._unpack(fetched)
            shown: Mapping[str, float] = {}
            for i, values in enumerate(steps, number - len(steps) + 1):
                self.values = values
                shown = self._observe(i, values)
            if self._bar:
                self._bar.update(len(steps), **shown)

    def _save_is_due(self) -> bool:
        crossed = self._number // self._save_every > self._saved_number // self._save_every
        return crossed and time.monotonic() - self._saved_time >= self._save_seconds

    def _save(self) -> None:
        if self._record and self._bar:
            self._record(self.state, self.values, self._bar.rate)
        checkpoints.save(self._saved, self._number, self.state, score=self.state.score)
        self._saved_number, self._saved_time, self._due = self._number, time.monotonic(), False

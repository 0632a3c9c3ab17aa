"""The loop of a training, which restores, goes on, shows, saves, stops and closes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from began_jax.progress import Progress, event_writer
from began_jax.run import checkpoints, cli


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


class Loop(Generic[State]):
    """A training from its newest checkpoint to its end, or to a signal that stops it with its state saved.

        with Loop("train", folder, state, total=1000) as loop:
            for number in loop:
                state, metrics = step(loop.state)
                values = loop.advance(state, metrics)
                loop.show(**values)
        loop.exit_if_stopped()

    Among several processes all save together, the first alone shows and records, and a signal to any of them stops all
    of them after the same step: give what `signals` returns to the step, and `advance` its maximum over all processes.

    Args:
        stage: its name on the progress line.
        folder: of the checkpoints.
        state: at the start, where there is no checkpoint yet; it tells shapes, types and shardings where there is.
        total: steps or epochs to do.
        unit: what they are called.
        save_every: as many of them between checkpoints.
        record: called before each checkpoint with the state, the last metrics and the rate (0: unknown): its figures
            come first, so that a rerun which finds the last checkpoint has nothing left to do.
        events: folder of TensorBoard's files.
    """

    def __init__(
        self,
        stage: str,
        folder: Path,
        state: State,
        total: int,
        *,
        unit: str = "step",
        save_every: int = 1,
        record: Callable[[State, dict[str, float], float], None] | None = None,
        events: Path | None = None,
    ):
        self._saved = checkpoints.manager(folder)
        found = checkpoints.restore_latest(self._saved, state)
        self.state: State = state if found is None else found[1]
        self.start, self.total = self.state.done, total
        self.values: dict[str, float] = {}
        self.stopped = 0  # number of the signal that stopped it
        self._save_every, self._record = save_every, record
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
        """Give the numbers of the steps that are left, and save after them; a signal ends it after a step."""
        for number in range(self.start + 1, self.total + 1):
            yield number
            if self.stopped or number % self._save_every == 0 or number == self.total:
                self._save(number)
            if self.stopped:
                return

    def signals(self, rows: int) -> np.ndarray | None:
        """Return this process's signal [rows] for a step over all processes, or None where it is alone."""
        return np.full(rows, self._signal) if jax.process_count() > 1 else None

    def advance(self, state: State, metrics: Any, signal: Any = None) -> dict[str, float]:
        """Take over the state after a step, and return its metrics as numbers.

        Waiting for them is no loss on a CPU, where many collectives in flight can deadlock.
        """
        self.state = state
        self.values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.stopped = self._signal if signal is None else int(signal)
        return self.values

    def show(self, **figures: float) -> None:
        """Count the step on the progress line, with these figures beside it."""
        if self._bar:
            self._bar.update(1, **figures)

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

    def _save(self, number: int) -> None:
        if self._record and self._bar:
            self._record(self.state, self.values, self._bar.rate)
        checkpoints.save(self._saved, number, self.state, score=self.state.score)

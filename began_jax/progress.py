"""What a person sees while a stage runs: a line with rate, remaining time and figures, and TensorBoard files."""

import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm


class Progress:
    """A progress line on standard error; `rate` is units a second since the first update (after compilation)."""

    def __init__(self, stage: str, total: int, done: int = 0, unit: str = "step") -> None:
        # Where no terminal rewrites the line, a line every 20 s keeps a log readable.
        interval = 0.5 if sys.stderr.isatty() else 20.0
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=stage,
            unit=f" {unit}",
            mininterval=interval,
            maxinterval=interval,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self._first: tuple[float, int] | None = None

    def update(self, count: int = 1, **figures: float | int) -> None:
        """Count units done, and show figures beside them."""
        if figures:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()}, refresh=False)
        self._bar.update(count)
        if self._first is None:
            self._first = (time.perf_counter(), self._bar.n)

    def describe(self, text: str) -> None:
        """Say what is under way, in front of the line."""
        self._bar.set_description(text, refresh=False)

    @property
    def rate(self) -> float:
        """Units a second since the first update; 0 before the second."""
        if self._first is None or self._bar.n == self._first[1]:
            return 0.0
        return (self._bar.n - self._first[1]) / (time.perf_counter() - self._first[0])

    def close(self) -> None:
        """End the line."""
        self._bar.close()


def event_writer(folder: Path, step: int) -> SummaryWriter:
    """Return a writer of TensorBoard events; those after `step`, written before a stop, are hidden."""
    return SummaryWriter(str(folder), purge_step=step + 1, flush_secs=5)

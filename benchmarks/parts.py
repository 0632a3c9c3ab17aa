"""The comparisons of one run: training, inversion and aspects beside PyTorch, and the machine's peak."""

import dataclasses
import importlib.util
import os
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks.plan import Plan
from benchmarks.results import OURS, Results
from benchmarks.workers import Failed, Worker, alternate

HAS_TORCH = importlib.util.find_spec("torch") is not None
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LAYOUTS = ("channels_last", "default")
SIDE = 2048  # of the matrices that show the peak
LATENTS, MEMBERS = 4000, 8  # of an aspect network's epoch, which is one call, and of the ensemble
LEAST_ROUNDS, SECONDS = 3, 20.0  # of a comparison: when the seconds have gone by, it has fewer rounds, but these
TOTAL_SECONDS = 24 * 60.0  # when most of them have gone by, what is left is measured with fewer turns


@dataclasses.dataclass(frozen=True)
class Bench:
    """What every part needs: the plan, where results go, the clock, and where torch.compile has lost."""

    plan: Plan
    results: Results = dataclasses.field(default_factory=Results)
    begin: float = dataclasses.field(default_factory=time.perf_counter)
    uncompiled: set[str] = dataclasses.field(default_factory=set)  # parts in which torch.compile has lost

    @property
    def minutes(self) -> float:
        """Minutes since the beginning."""
        return (time.perf_counter() - self.begin) / 60

    def late(self, share: float) -> bool:
        """Return whether more than this share of the time has gone by."""
        return 60 * self.minutes > share * TOTAL_SECONDS

    def say(self, line: str) -> None:
        """Show progress."""
        print(f"[{self.minutes:5.1f} min] {line}", file=sys.stderr, flush=True)

    def compare(self, part: str, what: str, unit: str, contenders: dict[str, Worker]) -> dict[str, dict[str, Any]]:
        """Let the contenders, or one, take turns, add their rows, end them, and return the rows.

        Where torch.compile lost, it is not tried again. A single turn, as `screened` gives it, would not tell: it cost
        5 % in one and gained 15 % in three.
        """
        self.say(f"{part}, {what}: {count(len(contenders), 'contender')} in turns")
        limit = 0 if part == "peak" or self.late(0.7) else SECONDS
        try:
            turns = alternate(contenders, self.plan.turn_seconds, self.plan.rounds, LEAST_ROUNDS, limit)
            info = {name: worker.info | {"megabytes": worker.megabytes} for name, worker in contenders.items()}
        finally:
            for worker in contenders.values():
                worker.close()
        rows = self.results.add(part, what, unit, turns, info)
        took = {name: row["seconds"] for name, row in rows.items() if name.startswith("PyTorch")}
        if took and "torch.compile" not in min(took, key=took.get):
            self.uncompiled.add(part)
        return rows


def count(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural where there are several."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def peak(bench: Bench) -> None:
    """Compare a large matrix product in each framework; large convolutions were slower in both."""
    contenders = {OURS: Worker("benchmarks.our_tasks:matmul", {"side": SIDE})}
    if HAS_TORCH:
        contenders["PyTorch"] = Worker("benchmarks.torch_tasks:matmul", {"side": SIDE, "threads": CORES})
    bench.compare("peak", f"matrix product, side {SIDE}", "call", contenders)


def train(bench: Bench) -> None:
    """Compare a BEGAN training step (A.2)."""
    for i, size in enumerate(bench.plan.train):
        variants = [{"layout": layout, "passes": 2} for layout in LAYOUTS]
        if i == 0:
            variants.append({"layout": "default", "passes": 3})  # as the BEGAN codes have it
        contenders = screened(bench, "train", {"size": size}, variants)
        ours = {OURS: Worker("benchmarks.our_tasks:train", {"size": size})}
        bench.compare("train", str(size), "step", ours | contenders)


def invert(bench: Bench) -> None:
    """Compare an inversion step of an image (eq. 4) in a batch."""
    for size in bench.plan.invert:
        contenders = screened(bench, "invert", {"size": size}, [{"layout": layout} for layout in LAYOUTS])
        ours = {OURS: Worker("benchmarks.our_tasks:invert", {"size": size})}
        bench.compare("invert", str(size), "image-step", ours | contenders)


def aspect(bench: Bench) -> None:
    """Compare a step of the landmark network at batch 16 (table 2), and measure an ensemble of them."""
    what = {"latents": LATENTS}
    contenders = screened(bench, "aspect", what, [{}])
    ours = {
        OURS: Worker("benchmarks.our_tasks:aspect", what),
        f"ours, ensemble of {MEMBERS}": Worker("benchmarks.our_tasks:aspect", what | {"members": MEMBERS}),
    }
    bench.compare("aspect", "landmark network, batch 16", "step", ours | contenders)


class Tried(NamedTuple):
    """A contender of PyTorch's that had a turn."""

    seconds: float
    name: str
    variant: dict[str, Any]
    worker: Worker


def screened(bench: Bench, task: str, arguments: dict[str, Any], variants: list[dict[str, Any]]) -> dict[str, Worker]:
    """Try PyTorch's variants a turn each, and keep those that a user may be working with.

    They are the fastest eager one, with the allocator tuned or as it comes; the fastest with it as it comes, that in
    the default layout, that with three passes; and the first through torch.compile. None without PyTorch.
    """
    where = " ".join([task, *(f"({value})" for value in arguments.values())])
    tried: list[Tried] = []

    def attempt(variant: dict[str, Any], seconds: float | None = None) -> None:
        name = _name(variant)
        bench.say(f"{where}: trying {name}")
        try:
            worker = Worker(f"benchmarks.torch_tasks:{task}", arguments | variant, seconds)
            took = float(np.median(worker.run(bench.plan.turn_seconds)))
        except Failed as failure:
            bench.results.notes.append(f"{where}: {name}: {failure}.")
        else:
            tried.append(Tried(took, name, variant, worker))

    def best(**wanted: Any) -> Tried | None:
        found = (one for one in tried if wanted.items() <= one.variant.items())
        return min(found, key=lambda one: one.seconds, default=None)

    plain = {"kept_memory": False, "compiled": False}
    for variant in variants if HAS_TORCH else ():
        attempt(variant | plain | {"threads": CORES})
    if not tried:
        return {}
    if CORES > 1:
        attempt(best().variant | {"threads": 1})
    attempt(best().variant | {"kept_memory": True})
    eager = best()
    if bench.plan.compile_seconds and task not in bench.uncompiled and not bench.late(0.8):
        attempt(eager.variant | {"compiled": True}, bench.plan.compile_seconds)
    keep = (eager, best(**plain), best(**plain, layout="default"), best(**plain, passes=3), best(compiled=True))
    kept = {one.name: one.worker for one in keep if one}
    for one in tried:
        if one.name not in kept:
            one.worker.close()
            times = f"{one.seconds / eager.seconds:.2f} times the fastest eager one's time"
            bench.results.notes.append(f"{where}: {one.name}: not kept, {times}.")
    return kept


def _name(variant: dict[str, Any]) -> str:
    passes = {2: "one backward pass", 3: "three passes"}
    parts = ["PyTorch", variant.get("layout"), passes.get(variant.get("passes"))]
    parts += ["torch.compile" if variant["compiled"] else None, count(variant["threads"], "thread")]
    parts += ["kept memory" if variant["kept_memory"] else None]
    return ", ".join(part for part in parts if part)

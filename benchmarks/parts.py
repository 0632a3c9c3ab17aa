"""The comparisons of one run: training, inversion and aspects beside PyTorch, and the machine's peak."""

import dataclasses
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.plan import Plan
from benchmarks.results import OURS, Results
from benchmarks.workers import Failed, Worker, alternate

HAS_TORCH = importlib.util.find_spec("torch") is not None
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LAYOUTS = ("channels_last", "default")


@dataclasses.dataclass(frozen=True)
class Bench:
    """What every part needs: the plan, where results go, and a function that shows progress."""

    plan: Plan
    results: Results
    say: Callable[[str], None]
    begin: float = dataclasses.field(default_factory=time.perf_counter)
    no_gain: set[tuple[str, str]] = dataclasses.field(default_factory=set)  # (task, lever) not worth another try

    def late(self, share: float) -> bool:
        """Whether more than this share of the time has gone by."""
        return time.perf_counter() - self.begin > share * self.plan.total_seconds

    def compare(self, part: str, what: str, unit: str, contenders: dict[str, Worker]) -> None:
        """Let the contenders take turns, add their rows, and end them; where torch.compile lost, it is not tried again.

        A single turn, as `screened` gives it, would not tell: it cost 5 % in one and gained 15 % in three.
        """
        plan = self.plan
        self.say(f"{part}, {what}: {count(len(contenders), 'contender')} in turns")
        limit = 0 if part == "peak" or self.late(0.7) else plan.comparison_seconds
        try:
            turns = alternate(contenders, plan.turn_seconds, plan.rounds, plan.least_rounds, limit)
            info = {name: worker.info for name, worker in contenders.items()}
            megabytes = {name: worker.megabytes for name, worker in contenders.items()}
            rows = self.results.add(part, what, unit, turns, info, megabytes)
            took = {name: row["seconds"] for name, row in rows.items() if name.startswith("PyTorch")}
            if took and "torch.compile" not in min(took, key=took.get):
                self.no_gain.add((part, "compile"))
        finally:
            for worker in contenders.values():
                worker.close()


def count(number: int, noun: str) -> str:
    """A number and a noun, in the plural where there are several."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def peak(bench: Bench) -> None:
    """A large matrix product and a large convolution in each framework."""
    plan = bench.plan
    for task, what, argument in (
        ("matmul", f"matrix product, side {plan.matmul}", {"side": plan.matmul}),
        ("conv", f"3x3 convolution, {plan.conv}", {"size": plan.conv}),
    ):
        contenders = {OURS: Worker(f"benchmarks.our_tasks:{task}", argument)}
        if HAS_TORCH:
            contenders["PyTorch"] = Worker(f"benchmarks.torch_tasks:{task}", argument | {"threads": CORES})
        bench.compare("peak", what, "call", contenders)


def train(bench: Bench) -> None:
    """A BEGAN training step (A.2)."""
    for i, size in enumerate(bench.plan.train):
        variants = [{"layout": layout, "passes": 2} for layout in LAYOUTS]
        if i == 0:
            variants.append({"layout": "default", "passes": 3})  # as the BEGAN codes have it
        contenders = screened(bench, "train", {"size": size}, variants)
        ours = {OURS: Worker("benchmarks.our_tasks:train", {"size": size})}
        bench.compare("train", str(size), "step", ours | contenders)


def invert(bench: Bench) -> None:
    """An inversion step of an image (eq. 4), in a batch, and at the first size alone, as the peers' projectors do."""
    variants = [{"layout": layout} for layout in LAYOUTS]
    for i, size in enumerate(bench.plan.invert):
        contenders = screened(bench, "invert", {"size": size}, variants)
        if i == 0:
            alone = screened(bench, "invert", {"size": size._replace(batch=1)}, variants, compiled=False)
            for n, (name, worker) in enumerate(alone.items()):
                if n == 0:  # the fastest
                    contenders[f"{name}, one image at a time"] = worker
                else:
                    worker.close()
        ours = {OURS: Worker("benchmarks.our_tasks:invert", {"size": size})}
        bench.compare("invert", str(size), "image-step", ours | contenders)


def aspect(bench: Bench) -> None:
    """A step of the landmark network at batch 16 (table 2), and an ensemble of them."""
    what, members = {"latents": bench.plan.latents}, bench.plan.members
    contenders = screened(bench, "aspect", what, [{}])
    ours = {
        OURS: Worker("benchmarks.our_tasks:aspect", what),
        f"ours, ensemble of {members}": Worker("benchmarks.our_tasks:aspect", what | {"members": members}),
    }
    bench.compare("aspect", "landmark network, batch 16", "step", ours | contenders)


def screened(
    bench: Bench, task: str, arguments: dict[str, Any], variants: list[dict[str, Any]], compiled: bool = True
) -> dict[str, Worker]:
    """Tries PyTorch's variants a turn each, and keeps those that a user may be working with.

    Returns the fastest eager one first, with the allocator tuned or as it comes; then the fastest with it as it comes,
    that in the default layout, that with three passes, and the first through torch.compile. None without PyTorch.
    """
    where = " ".join([task, *(f"({value})" for value in arguments.values())])
    workers: dict[str, Worker] = {}
    took: dict[str, float] = {}
    tried: dict[str, dict[str, Any]] = {}

    def attempt(variant: dict[str, Any], seconds: float | None = None) -> None:
        name = _name(variant)
        bench.say(f"{where}: trying {name}")
        try:
            worker = Worker(f"benchmarks.torch_tasks:{task}", {"compiled": False} | arguments | variant, seconds)
            took[name] = float(np.median(worker.run(bench.plan.turn_seconds)))
        except Failed as failure:
            bench.results.notes.append(f"{where}: {name}: {failure}.")
            return
        workers[name], tried[name] = worker, variant

    if not HAS_TORCH:
        return {}
    for variant in variants:
        attempt(variant | {"threads": CORES})
    if not took:
        return {}
    alone = "size" in arguments and arguments["size"].batch == 1  # one thread may be the best there alone
    lever = "threads, one image" if alone else "threads"
    if CORES > 1 and (task, lever) not in bench.no_gain:
        attempt(tried[min(took, key=took.get)] | {"threads": 1})
        if tried[min(took, key=took.get)]["threads"] > 1:
            bench.no_gain.add((task, lever))
    usual = min(took, key=took.get)
    attempt(tried[usual] | {"kept_memory": True})
    fastest = min(took, key=took.get)
    keep = [fastest, usual]
    for wanted in ({"layout": "default"}, {"layout": "default", "passes": 3}):
        plain = (n for n in tried if wanted.items() <= tried[n].items() and "kept_memory" not in tried[n])
        keep += sorted(plain, key=took.get)[:1]
    if compiled and bench.plan.compile_seconds and not bench.late(0.8) and (task, "compile") not in bench.no_gain:
        attempt(tried[fastest] | {"compiled": True}, bench.plan.compile_seconds)
        keep += [name for name in tried if "compiled" in tried[name]]
    for name in set(workers) - set(keep):
        workers.pop(name).close()
        bench.results.notes.append(
            f"{where}: {name}: not kept, {took[name] / took[fastest]:.2f} times the fastest eager one's time."
        )
    return {name: workers[name] for name in dict.fromkeys(keep)}


def _name(variant: dict[str, Any]) -> str:
    words = {2: "one backward pass", 3: "three passes"}
    parts = ["PyTorch", variant.get("layout"), words.get(variant.get("passes"))]
    parts += ["torch.compile" if "compiled" in variant else None, count(variant["threads"], "thread")]
    parts += ["kept memory" if "kept_memory" in variant else None]
    return ", ".join(part for part in parts if part)

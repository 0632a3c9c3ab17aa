"""The run's tables as GitHub markdown."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmarks.results import Results

PARTS = {
    "peak": "The machine's peak",
    "train": "Training",
    "invert": "Inversion",
    "aspect": "Aspect network",
    "levers": "Levers of the steps on a CPU",
    "scaling": "Growth",
    "feeding": "Feeding",
}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
COLUMNS = ("what", "contender", "time", "quartiles", "ratio to ours", "GFLOP/s", "of the peak", "memory")


def machine() -> dict[str, Any]:
    """Return the hardware and the versions."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    versions = {package.name: package.version for package in distributions() if package.name in PACKAGES}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": found[1] if found else platform.processor(),
        "cores": cores,
        "versions": {"python": platform.python_version()} | dict(sorted(versions.items())),
    }


def seconds(value: float) -> str:
    """Return a duration with three digits and the unit that suits it."""
    factor, unit = next(((f, u) for f, u in ((1, "s"), (1e3, "ms")) if value * f >= 1), (1e6, "µs"))
    return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def cells(row: dict[str, Any]) -> list[str]:
    """Return what COLUMNS show of a row."""
    return [
        row["what"],
        row["contender"],
        f"{seconds(row['seconds'])} / {row['unit']}",
        f"{seconds(row['seconds_q1'])} - {seconds(row['seconds_q3'])}",
        f"{row['ratio']:.2f} ({row['ratio_q1']:.2f}-{row['ratio_q3']:.2f})" if "ratio" in row else "",
        f"{row['gflops']:.1f}" if "gflops" in row else "",
        f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "",
        f"{row['megabytes']:.0f} MB" if "megabytes" in row else "",
    ]


def text(results: Results, about: dict[str, Any], peak: float | None, minutes: float) -> str:
    """Return the whole report."""
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    lines = [f"{about['cpu']}, {about['cores']} cores; {versions}; {minutes:.1f} minutes."]
    if peak:
        lines.append(
            f"The machine's peak in this run: {peak:.0f} GFLOP/s (float32). Operations are those that a contender "
            "computes, multiplications and additions of convolutions and matrix products, counted by hand: PyTorch "
            "computes the layers as they are defined, ours as `models/layers.py` rewrites them."
        )
    lines.append("Memory is the peak of a contender's process; PyTorch's have JAX's modules loaded too.")
    for part, title in PARTS.items():
        if rows := results.find(part):
            lines += ["", f"### {title}", "", markdown(COLUMNS, map(cells, rows))]
    return "\n".join([*lines, "", *(f"- {note}" for note in results.notes)]) + "\n"

"""The pictures of the measurements, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from began_jax.errors import InputError
from benchmarks.report import PARTS
from benchmarks.results import Results


def axes(width: float, height: float) -> Any:
    """Return the axes of an empty figure of so many inches; InputError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("matplotlib, which draws the picture, is not installed: pip install -e '.[bench]'") from None
    return Figure((width, height), layout="constrained").subplots()


def ratios(results: Results, path: Path) -> None:
    """Draw a bar for each contender's time relative to ours, whose line is drawn."""
    rows = [row for row in results.find("train", "invert", "aspect") if "ratio" in row]
    labels: list[str] = []
    plot = axes(10, 1.2 + 0.3 * (len(rows) + len({(row["part"], row["what"]) for row in rows})))
    for row in rows:
        heading = f"{PARTS[row['part']]}: {row['what']}"
        if heading not in labels:
            labels.append(heading)
        spread = [[row["ratio"] - row["ratio_q1"]], [row["ratio_q3"] - row["ratio"]]]
        colour = "tab:blue" if row["contender"].startswith("ours") else "tab:orange"
        plot.barh(len(labels), row["ratio"], xerr=spread, color=colour, ecolor="0.2", capsize=2)
        plot.annotate(
            f"{row['ratio']:.2f}", (row["ratio_q3"], len(labels)), (6, 0), textcoords="offset points", va="center"
        )
        labels.append(row["contender"])
    plot.axvline(1, color="0.2")
    plot.set_yticks(range(len(labels)), labels)
    for label in plot.get_yticklabels():
        label.set_fontweight("bold" if ": " in label.get_text() else "normal")
    plot.tick_params(axis="y", length=0)
    plot.margins(x=0.1)
    plot.set_ylim(len(labels) - 0.3, -0.7)
    plot.set_xlabel("time relative to ours (line): longer is slower")
    plot.figure.savefig(path)


def curves(found: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw L1 over generator evaluations, a line an inversion."""
    plot = axes(9, 5.6)
    for i, (name, points) in enumerate(found.items()):
        colour = "black" if i == 0 else f"C{i - 1}"
        plot.semilogx(*zip(*((p["evaluations"], p["l1"]) for p in points), strict=True), ".-", color=colour, label=name)
    errors = [p["l1"] for points in found.values() for p in points]
    plot.set_ylim(0.98 * min(errors), min(max(errors), 1.6 * min(errors)))  # the first steps are far above what matters
    ticks = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
    plot.set_xticks(ticks, [f"{n:,}" for n in ticks])
    plot.set_xticks([], minor=True)
    plot.grid(color="0.9")
    plot.legend()
    plot.set(xlabel="generator evaluations an image", ylabel="L1")
    plot.figure.savefig(path)

"""The run's table as GitHub markdown, its ratios in words, and its plot."""

import math
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from began_jax.configs import InvertConfig
from benchmarks.results import OURS, Results

PARTS = {
    "peak": "The machine's peak",
    "train": "Training",
    "invert": "Inversion",
    "aspect": "Aspect network",
    "levers": "Levers of the steps on a CPU",
    "scaling": "Growth",
    "feeding": "Feeding",
}
PROJECTOR_STEPS = 1000  # of the peers' projectors, an image at a time
COLUMNS = ("what", "contender", "time", "quartiles", "ratio to ours", "GFLOP/s", "of the peak", "memory")
_BAR, _TEXT, _ROW = 420, 560, 22


def machine() -> dict[str, Any]:
    """Hardware and versions."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    versions = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "optax", "numpy", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": found[1] if found else platform.processor(), "cores": cores, "versions": versions}


def seconds(value: float) -> str:
    """Three digits and the unit that suits them."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1 or unit == "µs":
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"
    raise AssertionError


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        ratio = f"{row['ratio']:.2f} ({row['ratio_q1']:.2f}-{row['ratio_q3']:.2f})" if "ratio" in row else ""
        cells = [
            row["what"],
            row["contender"],
            f"{seconds(row['seconds'])} / {row['unit']}",
            f"{seconds(row['seconds_q1'])} - {seconds(row['seconds_q3'])}",
            ratio,
            f"{row['gflops']:.1f}" if "gflops" in row else "",
            f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "",
            f"{row['megabytes']:.0f} MB" if "megabytes" in row else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def operations_table(rows: list[dict[str, Any]]) -> str:
    """The operations of our steps: of the plain definition, by hand, and as XLA counts them."""
    lines = ["| operations | plain definition | as we compute it, by hand | counted by XLA |", "|---|---|---|---|"]
    for row in rows:
        if "operations_counted" in row and row["part"] in ("train", "invert"):
            counts = (row["operations_of_definition"], row["operations"], row["operations_counted"])
            cells = " | ".join(f"{count / 1e9:.4g} G" for count in counts)
            lines.append(f"| {row['part']}, {row['what']}: one {row['unit']} | {cells} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def headlines(results: Results) -> list[str]:
    """The ratios that matter, in words."""
    lines = []
    for part in ("train", "invert", "aspect"):
        rows = [row for row in results.find(part) if "ratio" in row and row["contender"].startswith("PyTorch")]
        for what in dict.fromkeys(row["what"] for row in rows):
            batched = [r for r in rows if r["what"] == what and "one image at a time" not in r["contender"]]
            best = min(batched, key=lambda row: row["seconds"])
            line = f"{PARTS[part]}, {what}: PyTorch's best takes {best['ratio']:.2f} times our time ({_own(best)})"
            if "kept memory" in best["contender"]:
                usual = min((r for r in batched if "kept memory" not in r["contender"]), key=lambda row: row["seconds"])
                line += f", {usual['ratio']:.2f} times in eager mode with the allocator as it comes ({_own(usual)})"
            layouts = [r for r in batched if "default" in r["contender"] and "torch.compile" not in r["contender"]]
            default = min(layouts, key=lambda row: row["seconds"], default=None)
            if default and default is not best:
                line += f", {default['ratio']:.2f} times in its default layout ({_own(default)})"
            elif "compile" in best["contender"]:
                eager = min((r for r in batched if "compile" not in r["contender"]), key=lambda row: row["seconds"])
                line += f", {eager['ratio']:.2f} times in its eager mode"
            lines.append(line + ".")
    lines += [_against_projectors(results, row) for row in results.find("invert") if "one image" in row["contender"]]
    for row in results.find("aspect"):
        if "ensemble" in row["contender"]:
            lines.append(f"Aspect network, {_own(row)}: {row['ratio']:.2f} times the cost of one.")
    lines += [
        f"Levers, {r['what']}: {_own(r)} it takes {r['ratio']:.2f} times our time."
        for r in results.find("levers")
        if "ratio" in r
    ]
    return lines + _growth(results.find("scaling")) + _feeding(results.find("feeding"))


def _growth(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        counts = [row["devices"] for row in rows if row["task"] == task]
        most = max(counts, key=counts.count)
        mine = [row for row in rows if row["task"] == task and row["devices"] == most]
        for axis, noun in (("batch", "images"), ("height", "pixels a side")):
            # The points along an axis differ in nothing else, and are those that most rows are like.
            other = [tuple(v for k, v in row["size"].items() if k not in (axis, "width")) for row in mine]
            usual = max(other, key=other.count)
            points = {row["size"][axis]: row for row, o in zip(mine, other, strict=True) if o == usual}
            low, high = min(points), max(points)
            if low < high:
                power = math.log(points[high]["seconds_a_step"] / points[low]["seconds_a_step"]) / math.log(high / low)
                lines.append(
                    f"Growth, {task}: a step's time grows as {noun}^{power:.2f} from {low} to {high}, "
                    f"peak memory from {points[low]['megabytes']:.0f} to {points[high]['megabytes']:.0f} MB."
                )
        for row in (row for row in rows if row["task"] == task and row["devices"] != most):
            for twin in (other for other in mine if other["size"] == row["size"]):
                gain = row["seconds"] / twin["seconds"]
                devices = f"{most} virtual device{'s are' if most > 1 else ' is'}"
                lines.append(f"Growth, {task}: {devices} {gain:.2f} times as fast as {row['devices']}.")
    return lines


def _feeding(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        if "ratio" in row:
            lines.append(
                f"Feeding: a training step {_own(row)} takes {row['ratio']:.3f} times one on batches in memory."
            )
        elif "input alone" in row["contender"]:
            lines.append(f"Feeding: {_own(row)} gives {1 / row['seconds']:.0f} pictures a second.")
    sources = [row for row in rows if row["what"].startswith("simulated")]
    if sources:
        memory = ", ".join(f"{row['megabytes']:.0f} MB ({_own(row)})" for row in sources)
        lines.append(f"Feeding: peak memory {memory}.")
    return lines


def _own(row: dict[str, Any]) -> str:
    return row["contender"].removeprefix("PyTorch, ").removeprefix("ours, ")


def _against_projectors(results: Results, row: dict[str, Any]) -> str:
    ours = next(r for r in results.find("invert") if r["what"] == row["what"] and r["contender"] == OURS)
    default = InvertConfig().steps
    theirs = PROJECTOR_STEPS * row["seconds"]
    return (
        f"Inversion, {row['what']}: {PROJECTOR_STEPS:,} steps for one image at a time take PyTorch {seconds(theirs)} "
        f"an image (extrapolated from {row['samples']} measured calls); the same steps batched take us "
        f"{theirs / PROJECTOR_STEPS / ours['seconds']:.2f} times less, our default {default} steps "
        f"{theirs / (default * ours['seconds']):.1f} times less. Errors are not compared here."
    )


def text(results: Results, about: dict[str, Any], peak: float | None, minutes: float) -> str:
    """The whole report."""
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    lines = [f"{about['cpu']}, {about['cores']} cores; {versions}; {minutes:.1f} minutes."]
    if peak:
        lines.append(
            f"The machine's peak in this run: {peak:.0f} GFLOP/s (float32). Operations are those that a contender "
            "computes, multiplications and additions of convolutions and matrix products, counted by hand."
        )
    lines.append(
        "PyTorch computes the layers as they are defined, ours as `models/layers.py` rewrites them. Memory is the peak "
        "of a contender's process; PyTorch's have JAX's modules loaded too."
    )
    lines += ["", *(f"- {line}" for line in headlines(results))]
    for part, title in PARTS.items():
        if rows := results.find(part):
            lines += ["", f"### {title}", "", table(rows)]
    if counted := operations_table(results.rows):
        lines += ["", "### Operations of our steps", "", counted]
    lines += ["", *(f"- {note}" for note in results.notes)]
    return "\n".join(lines) + "\n"


def plot(results: Results) -> Image.Image:
    """Bars of each contender's time relative to ours, whose line is drawn."""
    rows = [row for row in results.rows if "ratio" in row and row["part"] in ("train", "invert", "aspect")]
    groups = list(dict.fromkeys((row["part"], row["what"]) for row in rows))
    largest = max([row["ratio_q3"] for row in rows] + [1.0])
    picture = Image.new("RGB", (_TEXT + _BAR + 120, _ROW * (len(rows) + 2 * len(groups) + 2)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    scale, y = _BAR / largest, _ROW // 2
    draw.text((12, y), "Time relative to ours (line): longer is slower", fill="black", font=font)
    for part, what in groups:
        y += _ROW + _ROW // 2
        draw.text((12, y), f"{PARTS[part]}: {what}", fill="black", font=font)
        top = y + _ROW
        for row in (row for row in rows if (row["part"], row["what"]) == (part, what)):
            y += _ROW
            end = _TEXT + row["ratio"] * scale
            colour = (90, 150, 220) if row["contender"].startswith("ours") else (235, 140, 70)
            draw.text((28, y), row["contender"], fill=(70, 70, 70), font=font)
            draw.rectangle([_TEXT, y + 2, end, y + _ROW - 4], fill=colour)
            middle = y + _ROW // 2 - 1
            draw.line([_TEXT + row["ratio_q1"] * scale, middle, _TEXT + row["ratio_q3"] * scale, middle], "black", 2)
            draw.text((_TEXT + row["ratio_q3"] * scale + 8, y), f"{row['ratio']:.2f}", fill="black", font=font)
        draw.line([_TEXT + scale, top, _TEXT + scale, y + _ROW], fill=(40, 40, 40), width=2)
        y += _ROW // 2
    return picture

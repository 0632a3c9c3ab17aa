"""Reconstruction error against the number of generator evaluations, for the paper's inversion and for each option.

    python benchmarks/inversion_curve.py --run RUN [--images 256] [--out FOLDER]

RUN was trained with --encoder-weight; its held-out images are inverted, or its training images where none are held out.
Prints the curves as a table of Markdown and what each option needs for the error of the paper's Adam after 200 and
1,000 steps; with --out also writes inversion.json and inversion.png there. About 2,700 evaluations an image: 64 images
of 48x48 take 5 minutes on two cores. An evaluation is one image through G, with the gradient in all but the last two.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from began_jax import began, inversion, sharding
from began_jax.configs import InvertConfig
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.run import cli
from began_jax.run import folder as runs
from began_jax.run import shards as shard_inversion

LAST = 2  # evaluations after the last step: its latents' error, and the image of the best
MARKS = (0, 1, 2, 5, 10, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 700, 1000)  # steps at which a curve is read
PAPER = "Adam 0.1 from zero (the paper's)"
TARGETS = (200, 1000)  # steps of the paper's Adam, whose errors the others are to reach

# One run whose error is read on the way.
TRACED = {
    PAPER: InvertConfig(steps=1000),
    "Adam 0.1 from the encoder": InvertConfig(steps=200, start="encoder"),
    "BFGS from zero": InvertConfig(steps=100, optimizer="bfgs", learning_rate=0.05),
    "BFGS from the encoder": InvertConfig(steps=100, optimizer="bfgs", learning_rate=0.05, start="encoder"),
}
_BFGS = TRACED["BFGS from the encoder"].__dict__
# A run for each point.
SEPARATE = {
    "cosine 0.1 from zero": [InvertConfig(steps=n, schedule="cosine") for n in (50, 100, 200)],
    "cosine 0.03 from the encoder": [
        InvertConfig(steps=n, schedule="cosine", learning_rate=0.03, start="encoder") for n in (10, 30, 100)
    ],
    "the paper's, refilling": [InvertConfig(steps=1000, tolerance=share) for share in (0.01, 0.003)],
    "BFGS from the encoder, refilling": [
        InvertConfig(**_BFGS | {"steps": 200, "tolerance": share}) for share in (0.05, 0.02, 0.005)
    ],
    "BFGS from the encoder, 3 starts": [InvertConfig(**_BFGS | {"steps": n, "starts": 3}) for n in (20, 50)],
}
COLOURS = ("#000000", "#888888", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#1f78b4")


class Bench:
    """A run's networks and the images to invert."""

    def __init__(self, run: Path, images: int):
        self.config, data = runs.load(run)
        self.split = "test" if "test" in data.splits else "train"
        count = min(images, data.splits[self.split]) // 4 * 4
        sharding.use_cpu_devices(count // 4)
        self.mesh = sharding.data_mesh(count // 4)
        if not self.config.encoder_weight:
            raise InputError(f"{run} has no encoder, from which some of the curves start: train with --encoder-weight")
        self.state = runs.load_training(run, self.config)
        self.images = to_float(ordered(data.source(self.split), 0, count)["image"])

    def traced(self, config: InvertConfig) -> Iterator[dict[str, float]]:
        """Yields the points of one run."""
        split = sharding.split(self.mesh)
        parameters, encoder = jax.device_put((self.state.generator, self.state.encoder), sharding.replicated(self.mesh))
        network, encoder_network = began.networks(self.config)[0], began.encoder_network(self.config)
        generate = lambda p, z: network.apply({"params": p}, z)  # noqa: E731
        images = jax.device_put(self.images, split)
        if config.start == "encoder":
            z = jax.jit(lambda p, x: encoder_network.apply({"params": p}, x))(encoder, images)
        else:
            z = inversion.start(config, np.arange(len(images)), self.config.latent_size)
        step = jax.jit(lambda p, s, x: inversion.step(config, lambda z: generate(p, z), s, x), donate_argnums=1)
        finish = jax.jit(lambda p, s, x: inversion.finish(lambda z: generate(p, z), s, x))
        state = jax.jit(lambda z: inversion.init(config, z))(jax.device_put(z, split))
        for n in range(config.steps + 1):
            if n in MARKS:
                yield point(n + LAST, jax.device_get(finish(parameters, state, images)))
            state = jax.block_until_ready(step(parameters, state, images))

    def separate(self, config: InvertConfig) -> dict[str, float]:
        """The point that one run ends at, a quarter of the images together."""
        invert = shard_inversion.inverter(config, self.config, self.state, self.mesh)
        parts = np.split(np.arange(len(self.images)), 4)
        shards = ((i, self.images[rows], rows) for i, rows in enumerate(parts))
        found = dict(result for result in invert(shards, len(parts[0])) if isinstance(result, tuple))
        results = {name: np.concatenate([found[i][name] for i in sorted(found)]) for name in found[0]}
        steps = results["steps"].mean() if config.tolerance else config.steps * config.starts
        return point(steps + LAST * config.starts, results)


def point(evaluations: float, results: dict[str, np.ndarray]) -> dict[str, float]:
    """Evaluations an image, and the means of the errors."""
    means = {name: float(np.mean(results[name])) for name in ("l1", "psnr_db")}
    return {"evaluations": float(evaluations)} | means


def evaluations_for(curve: list[dict[str, float]], l1: float) -> float | None:
    """Evaluations at which a curve first reaches an error, straight between its points over the logarithm.

    None where it never does, or has done before its first point.
    """
    before = None
    for here in curve:
        if here["l1"] <= l1:
            if before is None:
                return None
            share = (before["l1"] - l1) / (before["l1"] - here["l1"])
            logs = math.log(before["evaluations"]), math.log(here["evaluations"])
            return math.exp(logs[0] + share * (logs[1] - logs[0]))
        before = here
    return None


def report(curves: dict[str, list[dict[str, float]]]) -> str:
    """The curves and the gains at equal error, in Markdown."""
    lines = ["| inversion | evaluations an image: L1 (PSNR in dB) |", "|---|---|"]
    for name, curve in curves.items():
        points = "; ".join(f"{p['evaluations']:.0f}: {p['l1']:.4f} ({p['psnr_db']:.2f})" for p in curve)
        lines.append(f"| {name} | {points} |")
    wanted = {n: next(p for p in curves[PAPER] if p["evaluations"] == n + LAST) for n in TARGETS}
    heads = [f"L1 {p['l1']:.4f}, the paper's after {n:,} steps" for n, p in wanted.items()]
    lines += ["", f"| evaluations for | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for name, curve in curves.items():
        cells = []
        for target in wanted.values():
            needed = evaluations_for(curve, target["l1"])
            cells.append("-" if needed is None else f"{needed:.0f} ({target['evaluations'] / needed:.1f} times fewer)")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """L1 over evaluations on a logarithmic axis, a colour an inversion."""
    width, height, left, bottom, top = 900, 560, 60, 50, 16
    picture = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    errors = [p["l1"] for curve in curves.values() for p in curve]
    # The first steps from zero are far above all that matters.
    low, high = min(errors) * 0.98, min(max(errors), min(errors) * 1.6)
    counts = [p["evaluations"] for curve in curves.values() for p in curve]
    first, last = math.log(min(counts)), math.log(max(counts))

    def place(p: dict[str, float]) -> tuple[float, float]:
        x = left + (math.log(p["evaluations"]) - first) / (last - first) * (width - left - 20)
        return x, top + (high - p["l1"]) / (high - low) * (height - bottom - top)

    for n in (2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if math.log(n) >= first:
            x, _ = place({"evaluations": n, "l1": low})
            draw.line([(x, top), (x, height - bottom)], fill="#e4e4e4")
            draw.text((x, height - bottom + 6), str(n), fill="black", font=font, anchor="mt")
    for tick in np.arange(math.ceil(low * 100), high * 100):
        _, y = place({"evaluations": counts[0], "l1": tick / 100})
        draw.line([(left, y), (width - 20, y)], fill="#e4e4e4")
        draw.text((left - 6, y), f"{tick / 100:.2f}", fill="black", font=font, anchor="rm")
    draw.text(((left + width) / 2, height - 8), "generator evaluations an image", fill="black", font=font, anchor="mb")
    draw.text((6, 2), "L1", fill="black", font=font)
    for i, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        shown = [place(p) for p in curve if p["l1"] <= high]
        draw.line(shown, fill=colour, width=2)
        for x, y in shown:
            draw.ellipse([(x - 3, y - 3), (x + 3, y + 3)], fill=colour)
        draw.line([(width - 300, 34 + 19 * i), (width - 276, 34 + 19 * i)], fill=colour, width=3)
        draw.text((width - 270, 34 + 19 * i), name, fill="black", font=font, anchor="lm")
    picture.save(path, optimize=True)


def main() -> None:
    """Each inversion in turn; then the table, the JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py made")
    parser.add_argument("--images", type=int, default=256, help="images to invert, at least 8")
    parser.add_argument("--out", type=Path, help="folder of inversion.json and inversion.png")
    args = parser.parse_args()
    bench = Bench(args.run, max(args.images, 8))
    curves, seconds = {}, {}
    for name, config in (TRACED | SEPARATE).items():
        began_at = time.perf_counter()
        if isinstance(config, InvertConfig):
            curves[name] = list(bench.traced(config))
        else:
            curves[name] = sorted((bench.separate(c) for c in config), key=lambda p: p["evaluations"])
        seconds[name] = time.perf_counter() - began_at
        print(f"{name}: {seconds[name]:.0f} s, L1 {curves[name][-1]['l1']:.4f}", flush=True)
    print(f"\n{len(bench.images)} images of the {bench.split} split of {args.run}\n\n{report(curves)}")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        found = {"images": len(bench.images), "split": bench.split, "seconds": seconds, "curves": curves}
        (args.out / "inversion.json").write_text(json.dumps(found, indent=2) + "\n")
        plot(curves, args.out / "inversion.png")


if __name__ == "__main__":
    cli.run(main, "inversion_curve")

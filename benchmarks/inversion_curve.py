"""Reconstruction error against the number of generator evaluations, for the paper's inversion and for each option.

    python benchmarks/inversion_curve.py --run RUN [--images 256] [--out FOLDER]

RUN was trained with --encoder-weight; its held-out images are inverted, or its training images where none are held out.
Prints the curves as a table of Markdown and what each option needs for the error of the paper's Adam after 200 and
1,000 steps; with --out also writes inversion.json and inversion.png there. About 2,700 evaluations an image: 64 images
of 48x48 take 5 minutes on two cores. An evaluation is one image through G, with the gradient in all but the last two.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it is in no package

from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.files import write_json
from began_jax.run import cli
from benchmarks import pictures
from benchmarks.held_out import HeldOut
from benchmarks.report import markdown

LAST = 2  # evaluations after the last step: its latents' error, and the image of the best
MARKS = (0, 1, 2, 5, 10, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 700, 1000)  # steps at which a curve is read
PAPER = "Adam 0.1 from zero (the paper's)"
TARGETS = (200, 1000)  # steps of the paper's Adam, whose errors the others are to reach

ADAM = InvertConfig()
BFGS = InvertConfig(optimizer="bfgs", learning_rate=0.05, start="encoder")
# One run whose error is read on the way.
TRACED = {
    PAPER: replace(ADAM, steps=1000),
    "Adam 0.1 from the encoder": replace(ADAM, steps=200, start="encoder"),
    "BFGS from zero": replace(BFGS, steps=100, start="zero"),
    "BFGS from the encoder": replace(BFGS, steps=100),
}
# A run for each point.
SEPARATE = {
    "cosine 0.1 from zero": [replace(ADAM, steps=n, schedule="cosine") for n in (50, 100, 200)],
    "cosine 0.03 from the encoder": [
        replace(ADAM, steps=n, schedule="cosine", learning_rate=0.03, start="encoder") for n in (10, 30, 100)
    ],
    "the paper's, refilling": [replace(ADAM, steps=1000, tolerance=share) for share in (0.01, 0.003)],
    "BFGS from the encoder, refilling": [replace(BFGS, steps=200, tolerance=share) for share in (0.05, 0.02, 0.005)],
    "BFGS from the encoder, 3 starts": [replace(BFGS, steps=n, starts=3) for n in (20, 50)],
}

Point = dict[str, float]


def traced(held_out: HeldOut, config: InvertConfig) -> list[Point]:
    """Return the points of one run."""
    states = zip(range(config.steps + 1), held_out.states(config), strict=False)
    return [point(n + LAST, held_out.results(state)) for n, state in states if n in MARKS]


def separate(held_out: HeldOut, config: InvertConfig) -> Point:
    """Return the point that one run ends at."""
    results = held_out.inverter(config)()
    steps = results["steps"].mean() if config.tolerance else config.steps * config.starts
    return point(steps + LAST * config.starts, results)


def point(evaluations: float, results: dict[str, np.ndarray]) -> Point:
    """Return evaluations an image, and the means of the errors."""
    return {"evaluations": float(evaluations)} | {name: float(results[name].mean()) for name in ("l1", "psnr_db")}


def evaluations_for(curve: list[Point], l1: float) -> float | None:
    """Return at how many evaluations a curve first reaches an error, straight between its points over the logarithm.

    None where it never does, or has done before its first point.
    """
    reached = next((i for i, here in enumerate(curve) if here["l1"] <= l1), 0)
    if reached == 0:
        return None
    before, here = curve[reached - 1], curve[reached]
    share = (before["l1"] - l1) / (before["l1"] - here["l1"])
    return before["evaluations"] * (here["evaluations"] / before["evaluations"]) ** share


def report(curves: dict[str, list[Point]]) -> str:
    """Return the curves and the gains at equal error, in Markdown."""
    points = [
        [name, "; ".join(f"{p['evaluations']:.0f}: {p['l1']:.4f} ({p['psnr_db']:.2f})" for p in curve)]
        for name, curve in curves.items()
    ]
    wanted = {n: next(p for p in curves[PAPER] if p["evaluations"] == n + LAST) for n in TARGETS}
    heads = [f"L1 {p['l1']:.4f}, the paper's after {n:,} steps" for n, p in wanted.items()]

    def gain(curve: list[Point], target: Point) -> str:
        needed = evaluations_for(curve, target["l1"])
        return "-" if needed is None else f"{needed:.0f} ({target['evaluations'] / needed:.1f} times fewer)"

    gains = [[name, *(gain(curve, target) for target in wanted.values())] for name, curve in curves.items()]
    shown = markdown(("inversion", "evaluations an image: L1 (PSNR in dB)"), points)
    return f"{shown}\n\n{markdown(('evaluations for', *heads), gains)}"


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py made")
    parser.add_argument("--images", type=int, default=256, help="images to invert, at least 8")
    parser.add_argument("--out", type=Path, help="folder of inversion.json and inversion.png")
    return parser


def main() -> None:
    """Measure each inversion in turn; then the tables, the JSON and the picture."""
    args = parser().parse_args()
    if args.out:
        pictures.axes(1, 1)  # refuses where it cannot be drawn
    held_out = HeldOut(args.run, max(args.images, 8), parts=4)  # several, so that refilling has what to refill with
    if held_out.generator.encode is None:
        raise InputError(f"{args.run} has no encoder, from which some of the curves start: train with --encoder-weight")
    curves, seconds = {}, {}
    for name, how in (TRACED | SEPARATE).items():
        begin = time.perf_counter()
        if isinstance(how, InvertConfig):
            curves[name] = traced(held_out, how)
        else:
            curves[name] = sorted((separate(held_out, one) for one in how), key=lambda p: p["evaluations"])
        seconds[name] = time.perf_counter() - begin
        print(f"{name}: {seconds[name]:.0f} s, L1 {curves[name][-1]['l1']:.4f}", flush=True)
    print(f"\n{len(held_out.images)} images of the {held_out.split} split of {args.run}\n\n{report(curves)}")
    if args.out:
        found = {"images": len(held_out.images), "split": held_out.split, "seconds": seconds, "curves": curves}
        write_json(args.out / "inversion.json", found)
        pictures.curves(curves, args.out / "inversion.png")


if __name__ == "__main__":
    cli.run(main, "inversion_curve")

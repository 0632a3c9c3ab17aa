"""Our code beside the same networks in PyTorch, as well as its users write and tune them, on this CPU, in turns.

    python -m benchmarks                    # all but levers; under 25 minutes on two cores that do nothing else
    python -m benchmarks --quick            # tiny networks, a minute or two: it works, its figures mean nothing
    python -m benchmarks --only train       # some parts
    python -m benchmarks --only levers      # our steps without each of what makes them fast on a CPU; three minutes
    python -m benchmarks --only h100        # our functions compiled for a GPU that is not here (benchmarks/h100.py)

Prints a table of medians, quartiles, ratios and shares of the machine's peak, and writes it to OUT/results.md with
OUT/results.json and OUT/ratios.png. Without PyTorch (pip install -e '.[bench]') ours is measured alone.
"""

import argparse
import dataclasses
import os
from importlib.util import find_spec
from pathlib import Path

from began_jax.errors import InputError
from began_jax.files import write_json
from began_jax.run import cli
from benchmarks import growth, parts, pictures, report
from benchmarks.plan import FULL, QUICK
from benchmarks.workers import Failed

PARTS = {
    "train": parts.train,
    "invert": parts.invert,
    "aspect": parts.aspect,
    "levers": growth.levers,
    "feeding": growth.feeding,
    "scaling": growth.scaling,
}
USUAL = [name for name in PARTS if name != "levers"]
WANTED = {"torch": "ours was measured alone", "matplotlib": "there is no picture"}  # packages, what goes without them


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, prog="benchmarks", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        default=",".join(USUAL),
        metavar="PART,...",
        help=f"of {', '.join(PARTS)}, or h100; by default all but levers",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of what is written (runs/bench)")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few turns")
    return parser


def main() -> None:
    """Measure part by part, then report."""
    args = parser().parse_args()
    chosen = args.only.split(",")
    os.environ["JAX_PLATFORMS"] = "cpu"  # of the workers: PyTorch's CPU is what they are compared with
    if chosen == ["h100"]:
        from benchmarks import h100  # here, since this process is otherwise without JAX

        print(h100.report(args.out, full=not args.quick))
        return
    if unknown := sorted(set(chosen) - set(PARTS)):
        raise InputError(f"--only {','.join(unknown)}: no part of that name; parts: {', '.join(PARTS)}, or h100 alone")
    bench = parts.Bench(QUICK if args.quick else FULL)
    results = bench.results
    if (load := os.getloadavg()[0]) > 0.5:
        results.notes.append(f"The machine was busy when this began (load {load:.1f}): do not trust the ratios.")
    missing = [package for package in WANTED if find_spec(package) is None]
    for package in missing:
        results.notes.append(f"{package} is not installed, so {WANTED[package]} (pip install -e '.[bench]').")
    for name, measure in {"peak": parts.peak, **PARTS}.items():
        if name == "peak" or name in chosen:
            try:
                measure(bench)
            except Failed as failure:  # such as for want of memory: the other parts are worth having
                results.notes.append(f"{name}: broken off: {failure}.")

    peak, about, minutes = results.add_shares(), report.machine(), bench.minutes
    written = report.text(results, about, peak, minutes)
    found = {"machine": about, "minutes": minutes, "peak_gflops": peak, "plan": dataclasses.asdict(bench.plan)}
    write_json(args.out / "results.json", found | {"rows": results.rows, "notes": results.notes})
    (args.out / "results.md").write_text(written, encoding="utf-8")
    if "matplotlib" not in missing:
        pictures.ratios(results, args.out / "ratios.png")
    print(written)
    print(f"benchmarks: {len(results.rows)} rows, {minutes:.1f} minutes -> {args.out}")


if __name__ == "__main__":
    cli.run(main, "benchmarks")

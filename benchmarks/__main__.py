"""Our code beside the same networks in PyTorch, as well as its users write and tune them, on this CPU, in turns.

    python -m benchmarks                    # all but levers; under 25 minutes on two cores that do nothing else
    python -m benchmarks --quick            # tiny networks, a minute or two: it works, its figures mean nothing
    python -m benchmarks --only train       # some parts
    python -m benchmarks --only levers      # our steps without each of what makes them fast on a CPU; three minutes

Prints a table of medians, quartiles, ratios and shares of the machine's peak, and writes it to OUT/results.md with
OUT/results.json and OUT/ratios.png. Without PyTorch (pip install -e '.[bench]') ours is measured alone.
"""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

from began_jax.errors import InputError
from began_jax.figures import save_image
from began_jax.files import write_json
from began_jax.run import cli
from benchmarks import growth, parts, report
from benchmarks.plan import FULL, QUICK
from benchmarks.results import Results
from benchmarks.workers import Failed

PARTS = {
    "train": parts.train,
    "invert": parts.invert,
    "aspect": parts.aspect,
    "levers": growth.levers,
    "feeding": growth.feeding,
    "scaling": growth.scaling,
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmarks"
    )
    usual = [name for name in PARTS if name != "levers"]
    parser.add_argument(
        "--only", default=",".join(usual), metavar="PART,...", help=f"of {', '.join(PARTS)}; by default all but levers"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of what is written (runs/bench)")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few turns")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(PARTS):
        raise InputError(f"--only {','.join(sorted(unknown))}: no part of that name; parts: {', '.join(PARTS)}")
    return args


def main() -> None:
    """Measure part by part, then report."""
    args = parse()
    os.environ["JAX_PLATFORMS"] = "cpu"  # of the workers: PyTorch's CPU is what they are compared with
    plan, results, begin = QUICK if args.quick else FULL, Results(), time.perf_counter()

    def say(line: str) -> None:
        print(f"[{(time.perf_counter() - begin) / 60:5.1f} min] {line}", file=sys.stderr, flush=True)

    if (load := os.getloadavg()[0]) > 0.5:
        results.notes.append(
            f"The machine was busy when this began (load {load:.1f}). PyTorch's threads wait for each other and suffer "
            "most from that: do not trust the ratios."
        )
    if not parts.HAS_TORCH:
        results.notes.append("PyTorch is not installed: ours was measured alone (pip install -e '.[bench]').")
    bench = parts.Bench(plan, results, say)
    for name, measure in {"peak": parts.peak, **PARTS}.items():
        if name == "peak" or name in args.only:
            try:
                measure(bench)
            except Failed as failure:  # such as for want of memory: the other parts are worth having
                results.notes.append(f"{name}: broken off: {failure}.")

    peak, about = results.add_shares(), report.machine()
    minutes = (time.perf_counter() - begin) / 60
    written = report.text(results, about, peak, minutes)
    found = {"machine": about, "minutes": minutes, "peak_gflops": peak, "plan": dataclasses.asdict(plan)}
    write_json(args.out / "results.json", found | {"rows": results.rows, "notes": results.notes})
    (args.out / "results.md").write_text(written, encoding="utf-8")
    save_image(args.out / "ratios.png", report.plot(results))
    print(written)
    print(f"benchmarks: {len(results.rows)} rows, {minutes:.1f} minutes -> {args.out}")


if __name__ == "__main__":
    cli.run(main, "benchmarks")

"""Where to draw new latents from: what the images of each sampler are like, and what their annotations are worth.

    python -m benchmarks.samplers RUN [--count 1000] [--annotator NAME]

Precision, recall and coverage against real images, beside those of held-out images; the mean doubt; the share of images
in which T finds what it annotates, and G_a(z) against T(G(z)). What an ordinary network learns from them is told by
`evaluate.py --downstream ... --sampler NAME`.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from began_jax.run import cli, labels, learnt_annotator, networks, pairs
from began_jax.run.folder import Run
from began_jax.run.measures import Quality
from benchmarks.report import markdown

DRAWS = (
    pairs.Draw("uniform"),
    pairs.Draw("data"),
    pairs.Draw("interpolated"),
    *(pairs.Draw("density", truncation=t) for t in (1.0, 0.9, 0.8, 0.7)),
)
SHOWN = ("precision", "recall", "coverage")


def main() -> None:
    """Measure sampler by sampler, and print the table as it grows."""
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="with an aspect network")
    parser.add_argument("--count", type=int, default=1000, help="images of each sampler")
    cli.add_annotator(parser)
    args = parser.parse_args()
    run = Run.open(args.run)
    aspect = networks.load(run, networks.newest(run))
    quality = Quality(run.data, args.count)
    name = labels.choose(run, args.annotator)
    annotate = learnt_annotator.load(run) if name == labels.NETWORK else None
    annotate = annotate or labels.of_worker_processes(name, run.kind.name, args.workers)
    floors = None
    for draw in DRAWS:
        made = list(pairs.drawn(run, aspect, quality.count, draw, seed=1))
        images, annotations = (np.concatenate([getattr(m, n) for m in made]) for n in ("images", "annotations"))
        doubt = np.mean([d for m in made for d in (m.doubt if m.doubt is not None else [np.nan])])
        found = quality.report(images)
        told = list(itertools.chain.from_iterable(annotate(np.array_split(images, -(-len(images) // 50)))))
        sure = np.array([answer is not None for answer in told])
        truth = np.stack([answer for answer in told if answer is not None])
        error = run.kind.score(annotations[sure], truth, run.data).mean()
        if floors is None:
            floors = [f"{found[f'{n}_floor']:.2f}" for n in SHOWN]
            print(markdown(["", *SHOWN], [["held-out images", *floors]]))
        cells = [*(f"{found[n]:.2f}" for n in SHOWN), f"{doubt:.4f}", f"{100 * sure.mean():.1f} %", f"{error:.3f}"]
        label = draw.sampler + (f", truncation {draw.truncation:g}" if draw.sampler == "density" else "")
        print(markdown(["", *SHOWN, "doubt", "T is sure", run.kind.metric], [[label, *cells]]), flush=True)


if __name__ == "__main__":
    cli.run(main)

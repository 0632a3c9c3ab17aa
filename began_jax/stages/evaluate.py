"""Measure a run on the held-out split -> RUN/metrics.json, RUN/figures/ and RUN/report.html, which shows all of it.

    python evaluate.py --run runs/demo

Each aspect network of the run is measured; the figures without a suffix are those of the one that --aspect names.
Landmarks: mean distance over the outer-eye distance, in percent (NME), the share of images beyond 10 %, and the area
under the curve up to it; masks: intersection over union (IoU), wrong pixels in percent (E1), and F1; attributes: share
that is right, in percent (accuracy). Beside them stand what needs no network: always answering the
mean annotation, and ridge regression from the latents. Then, for generated images, how far G_a(z) is from T(G(z)), for
new z and for z near Z_data, beside the mean of T(G(z)); consistency.png shows both, G_a's above T's. Where the
network knows a doubt of its annotations (docs/aspects.md): how well that ranks the true errors, and the error of the
share with the least doubt.

The generator is measured by images of new z, which are uniform, or as a generator of yours draws them: precision,
recall, density and coverage, a Fréchet distance, the energy by octave, and the share of copies (docs/training.md).
neighbours.png shows those that are the most like a training image, and below each its nearest ones.
"""

import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from began_jax import figures, metrics, sharding
from began_jax.data.datasets import images_of
from began_jax.errors import InputError
from began_jax.files import read_json
from began_jax.images import to_float
from began_jax.landmarks import completed
from began_jax.options import flag
from began_jax.plugins import absolute
from began_jax.plugins import load as plugin
from began_jax.run import cli, consistency, doubt, downstream, downstream_options, measures, networks, pairs, report
from began_jax.run.answers import TrainedAspect
from began_jax.run.folder import Run
from began_jax.sampling import evenly

SHOWN, WORST = 16, 8  # held-out images in the pictures
KEPT = (90, 75, 50)  # percent with the least doubt, whose error is stated
BASELINE_NUMBERS = 2**25  # of the annotations that ridge regression learns from, which makes several copies of them

Networks = Mapping[str, Callable[[np.ndarray], np.ndarray]]


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    parser.add_argument("--aspect", help="name of the aspect network to report first; default: the one trained last")
    parser.add_argument(
        "--consistency",
        type=int,
        metavar="N",
        default=1000,
        help="generated images of each sampler that T annotates once, to compare; 0: none",
    )
    parser.add_argument(
        "--generator-images",
        type=int,
        metavar="N",
        default=1000,
        help="images that the generator is measured by, beside as many real ones where there are so many; 0: none",
    )
    parser.add_argument(
        "--features",
        metavar="FILE.py:NAME",
        help="the feature space that it is measured in: a function from uint8 images [N, H, W, C] to features [N, F], "
        "such as an Inception network of yours, with which the Fréchet distance is the FID; default: scattering "
        "coefficients, which need no network",
    )
    downstream_options.add(parser)
    cli.add_annotator(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the latents of both splits and the annotations, predict, compare, draw."""
    args = parser().parse_args(argv)
    for name in ("consistency", "generator_images"):
        if getattr(args, name) < 0:
            raise InputError(f"{flag(name)} is {getattr(args, name)}; it must be at least 0")
    downstream_options.check(args, given := cli.given(parser(), args))
    if not args.consistency and (idle := {"annotator", "workers"} & given):
        raise InputError(f"{flag(min(idle))} does nothing with --consistency 0: no T is asked")
    if 0 < args.generator_images < measures.LEAST:
        least = f"at least {measures.LEAST}, or 0 for none"
        raise InputError(f"--generator-images is {args.generator_images}; it must be {least}")
    if args.features and not args.generator_images:
        raise InputError("--features says how the generator is measured, and --generator-images 0 that it is not")
    space = {}  # the default one of `Quality`
    if args.features:
        space = {"function": plugin(args.features, "--features"), "name": absolute(args.features)}
    if args.downstream or args.consistency:
        sharding.use_cpu_devices(1, kernel_gradients=True)  # before JAX is used: networks are trained, T perhaps too
    run = Run.open(args.run)
    name, names = args.aspect or networks.newest(run), [path.name for path in networks.trained(run)]
    if name not in names:
        raise InputError(f"{run.folder / 'aspect'} has no network {name!r}; it has {', '.join(names)}")
    train, test = measured_splits(run)
    if test.split == "train":
        print("evaluate: the data set has no test split, so nothing is held out: these are training errors")
    aspects = {n: networks.load(run, n) for n in names}
    annotate = {n: aspect.annotate for n, aspect in aspects.items()}
    predicted = {n: aspect.known(run, test.split, test.rows, test.annotated) for n, aspect in aspects.items()}
    plan = downstream_options.plan(args, run) if args.downstream else None

    found = errors(run, train, test, predicted, name)
    doubted, curve = doubtful(run, test, predicted[name], aspects[name])
    found |= doubted
    folder = run.folder / "figures"
    draw(run, folder, test, predicted[name])
    record(run, found)
    closing = sentence(run, found, test, name)
    if args.generator_images:
        generator, words = measured_generator(run, folder, args.generator_images, space)
        found |= generator
        record(run, found)
        closing += f"; {words}"
    if args.consistency:
        agreement = consistency.measure(run, annotate, name, args.consistency, args.annotator, args.workers)
        found |= agreement.figures
        record(run, found)
        z, annotation, _ = agreement.labels["uniform"]
        answers = annotate[name](z[:SHOWN])
        picture = consistency.picture(run.generate(z[:SHOWN]), answers, annotation, run.kind, run.data)
        figures.save_image(folder / "consistency.png", picture)
        closing += f"; {agreement.sentence(run)}"
    table = run.folder / "downstream" / "table.md"
    if plan:
        run.record("evaluate", found | downstream.measure(run, plan))
        closing += f"; {table} says what the pairs are worth"
    command = shlex.join(["evaluate.py", *(sys.argv[1:] if argv is None else argv)])
    page = report.write(run, command, curve)
    print(f"evaluate: {closing} -> {run.folder / 'metrics.json'}, {folder}, {page}")
    if plan:
        print(f"\n{table.read_text()}", end="")


def record(run: Run, found: Mapping[str, Any]) -> None:
    """Write the figures; those of an earlier --downstream stay as long as its results do."""
    path = run.folder / "metrics.json"
    if not (run.folder / "downstream" / "table.md").is_file():
        return run.record("evaluate", found)
    old = [name.removeprefix("evaluate/") for name in (read_json(path) if path.exists() else {})]
    run.record("evaluate", found, keep=tuple(name for name in old if name.startswith("downstream_")))


class Split(NamedTuple):
    """The latents of a split's images [N, latent], their errors [N], which have an annotation, and the annotations."""

    split: str
    prefix: str  # of its figures
    z: np.ndarray
    l1: np.ndarray
    psnr_db: np.ndarray
    rows: np.ndarray
    truth: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """The latents of the annotated images."""
        return self.z[self.rows]


def measured_splits(run: Run) -> tuple[Split, Split]:
    """Return the training split, and the held-out one or, where nothing is held out, the training split again.

    The first is for baselines. Of very many annotations it has evenly spaced ones, as many as memory allows.
    """

    def read(split: str, prefix: str, most: int | None = None) -> Split:
        found = run.latents(split)
        rows = run.annotated(split, len(found["z"]))
        rows = evenly(rows, most or len(rows))
        return Split(split, prefix, found["z"], found["l1"], found["psnr_db"], rows, run.annotations_of(split, rows))

    train = read("train", "training", max(BASELINE_NUMBERS // math.prod(run.data.shape), 1))
    if "test" in run.data.splits:
        return train, read("test", "heldout")
    complete = len(train.rows) == len(run.annotated("train", len(train.z)))
    return train, train if complete else read("train", "training")


def errors(run: Run, train: Split, test: Split, predicted: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """Return the figures of all networks, those of `name` without a suffix, and of the baselines."""
    kind, prefix = run.kind, test.prefix

    def score(answers: np.ndarray) -> float:
        return float(kind.score(answers, test.truth, run.data).mean())

    scores = {n: score(answers) for n, answers in predicted.items()}
    further = {n: float(measure(predicted[name], test.truth, run.data)) for n, measure in kind.further.items()}
    return {
        f"{prefix}_{kind.metric}": scores[name],
        kind.mean_metric: score(np.broadcast_to(completed(train.truth).mean(0), test.truth.shape)),
        f"ridge_{kind.metric}": score(metrics.Ridge(train.annotated, train.truth)(test.annotated)),
        **{f"{prefix}_{figure}": value for figure, value in further.items()},
        **{f"{prefix}_{kind.metric}_{n}": value for n, value in scores.items()},
        f"{prefix}_images": len(test.truth),
        f"{prefix}_psnr_db": float(test.psnr_db.mean()),
        f"{prefix}_l1": float(test.l1.mean()),
        "training_latents": len(train.z),
        "training_annotations": len(run.annotated("train", len(train.z))),
    }


def doubtful(
    run: Run, test: Split, predicted: np.ndarray, aspect: TrainedAspect
) -> tuple[dict[str, float], list[tuple[float, float]]]:
    """Return how well a network's doubt ranks true errors, the figures of what is kept, and (share, figure) to draw.

    Nothing where it has no doubt.
    """
    doubts = doubt.of(run, aspect)
    if doubts is None:
        return {}, []
    source = run.data.source(test.split)
    parts = np.split(test.rows, np.arange(pairs.BATCH, len(test.rows), pairs.BATCH))
    images = (images_of(source, part) for part in parts)
    ranks = np.concatenate([doubts(test.z[part], x, True) for part, x in zip(parts, images, strict=True)])
    scores = run.kind.score(predicted, test.truth, run.data)
    curve = [(share, float(metrics.kept(scores, ranks, share).mean())) for share in np.linspace(0.5, 1, 26).tolist()]
    shares = {f"kept_{n}_{run.kind.metric}": float(metrics.kept(scores, ranks, n / 100).mean()) for n in KEPT}
    ranked = metrics.rank_correlation(ranks, doubt.true_error(run, predicted, test.truth))
    return {"doubt_rank_correlation": ranked, **shares}, curve


def draw(run: Run, folder: Path, test: Split, predicted: np.ndarray) -> None:
    """Write pictures of some images: reconstructed, and with what the network says of them."""
    shown = np.linspace(0, len(test.truth) - 1, min(SHOWN, len(test.truth))).astype(int)
    source = run.data.source(test.split)
    originals = to_float(images_of(source, test.rows[shown]))
    both = figures.reconstructions(originals, run.generate(test.annotated[shown]))
    figures.save_image(folder / "reconstructions.png", both)
    worst = np.argsort(-test.l1, kind="stable")[:WORST]
    originals_of_it = to_float(images_of(source, worst))
    both = figures.reconstructions(originals_of_it, run.generate(test.z[worst]))
    figures.save_image(folder / "worst.png", both)
    annotated = figures.annotated_grid(originals, **run.kind.marks(predicted[shown], run.data))
    figures.save_image(folder / f"{test.prefix}_annotations.png", annotated)


def measured_generator(run: Run, folder: Path, count: int, space: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the generator's figures, and the ones that matter in words; write the picture of its neighbours."""
    if measures.available(run.data, count) < measures.LEAST:
        return {}, f"the generator is not measured, which takes {measures.LEAST} held-out images"
    found = measures.Quality(run.data, count, **space)
    z = run.inverted.latents(jax.random.key(run.config.seed), found.count)
    images = run.inverted.pictures(np.asarray(z))
    report = found.report(images)
    figures.save_image(folder / "neighbours.png", found.picture(images))
    both = ", ".join(
        f"{n} {report[n]:.2f} ({report[n + '_floor']:.2f} held out)" for n in ("precision", "recall", "coverage")
    )
    words = f"{found.count:,} generated images: {both}, energy of the finest octave {report['energy_octave_1']:.2f}"
    return {f"generator_{n}": value for n, value in report.items()}, words


def sentence(run: Run, found: Mapping[str, Any], test: Split, name: str) -> str:
    """Return the figures that matter in words."""
    kind = run.kind
    own = kind.shown.format(found[f"{test.prefix}_{kind.metric}"])
    beside = ", ".join(
        f"{n.removesuffix('_' + kind.metric).replace('_', ' ')} {found[n]:.3g}"
        for n in (kind.mean_metric, f"ridge_{kind.metric}")
    )
    images = f"{len(test.truth):,} {test.prefix} images"
    if f"kept_90_{kind.metric}" in found:
        beside += f"; {kind.shown.format(found[f'kept_90_{kind.metric}'])} without the most doubtful tenth"
    return f"{images}, {name} network {own} ({beside}), PSNR {test.psnr_db.mean():.2f} dB"

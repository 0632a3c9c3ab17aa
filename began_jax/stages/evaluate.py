"""Measure a run on the held-out split -> RUN/metrics.json and RUN/figures/.

    python evaluate.py --run runs/demo

Each aspect network of the run is measured; the figures without a suffix are those of the one that --aspect names.
Landmarks: mean distance over the outer-eye distance, in percent (NME); masks: intersection over union (IoU);
attributes: share that is right, in percent (accuracy). Beside them stand what needs no network: always answering the
mean annotation, and ridge regression from the latents. Then, for generated images, how far G_a(z) is from T(G(z)), for
uniform z and for z near Z_data, beside the mean of T(G(z)); consistency.png shows both, G_a's above T's. Where the
network knows a doubt of its annotations (docs/aspects.md): how well that ranks the true errors, and the error of the
share with the least doubt.

The generator is measured by images of uniform z: precision, recall, density and coverage, a Fréchet distance, the
energy by octave, and the share of copies (docs/training.md). neighbours.png shows those that are the most like a
training image, and below each its nearest ones.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from began_jax import figures, metrics
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.options import flag
from began_jax.plugins import absolute
from began_jax.plugins import load as plugin
from began_jax.run import cli, consistency, doubt, measures, networks
from began_jax.run.folder import Run
from began_jax.sampling import uniform_latents

SHOWN = 16  # held-out images in the pictures
KEPT = (90, 75, 50)  # percent with the least doubt, whose error is stated

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
    cli.add_annotator(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the latents of both splits and the annotations, predict, compare, draw."""
    args = parser().parse_args(argv)
    for name in ("consistency", "generator_images"):
        if getattr(args, name) < 0:
            raise InputError(f"{flag(name)} is {getattr(args, name)}; it must be at least 0")
    if 0 < args.generator_images < measures.LEAST:
        least = f"at least {measures.LEAST}, or 0 for none"
        raise InputError(f"--generator-images is {args.generator_images}; it must be {least}")
    if args.features and not args.generator_images:
        raise InputError("--features says how the generator is measured, and --generator-images 0 that it is not")
    space = {}  # the default one of `Quality`
    if args.features:
        space = {"function": plugin(args.features, "--features"), "name": absolute(args.features)}
    run = Run.open(args.run)
    kind, newest = run.kind, networks.newest(run)
    name, names = args.aspect or newest, [path.name for path in networks.trained(run)]
    if name not in names:
        raise InputError(f"{run.folder / 'aspect'} has no network {name!r}; it has {', '.join(names)}")
    train, test = measured_splits(run)
    if test.split == "train":
        print("evaluate: the data set has no test split, so nothing is held out: these are training errors")
    aspects = {n: networks.load(run, n) for n in names}
    annotate = {n: aspect.annotate for n, aspect in aspects.items()}
    predicted = {n: network(test.annotated) for n, network in annotate.items()}

    found = errors(run, train, test, predicted, name)
    doubts = doubt.of(run, aspects[name])
    if doubts:
        known = test.annotated, run.inverted.pictures(test.annotated), predicted[name]
        found |= doubtful(run, test, predicted[name], doubts(*known))
    folder = run.folder / "figures"
    draw(run, folder, test, predicted[name])
    run.record("evaluate", found)
    closing = sentence(run, found, test, name)
    if args.generator_images:
        figures_of_it, words = measured_generator(run, folder, args.generator_images, space)
        found |= figures_of_it
        run.record("evaluate", found)
        closing += f"; {words}"
    if args.consistency:
        agreement = consistency.measure(run, annotate, name, args.consistency, args.annotator, args.workers)
        run.record("evaluate", found | agreement.figures)
        z, annotation, _ = agreement.labels["uniform"]
        picture = consistency.picture(run.generate(z[:SHOWN]), annotate[name](z[:SHOWN]), annotation, run.data)
        figures.save_image(folder / "consistency.png", picture)
        closing += f"; {agreement.sentence(kind)}"
    print(f"evaluate: {closing} -> {run.folder / 'metrics.json'}, {folder}")


class Split(NamedTuple):
    """The latents of a split's images [N, latent], their errors [N], and the annotations of those that have one."""

    split: str
    prefix: str  # of its figures
    z: np.ndarray
    l1: np.ndarray
    psnr_db: np.ndarray
    truth: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """The latents of the annotated images, which are the first ones."""
        return self.z[: len(self.truth)]


def measured_splits(run: Run) -> tuple[Split, Split]:
    """Return the training split, and the held-out one or, where nothing is held out, the training split again."""

    def read(split: str, prefix: str) -> Split:
        found = run.latents(split)
        truth = run.annotations(split, len(found["z"]))
        return Split(split, prefix, found["z"], found["l1"], found["psnr_db"], truth)

    train = read("train", "training")
    return train, read("test", "heldout") if "test" in run.data.splits else train


def errors(run: Run, train: Split, test: Split, predicted: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """Return the figures of all networks, those of `name` without a suffix, and of the baselines."""
    kind, prefix = run.kind, test.prefix

    def score(answers: np.ndarray) -> float:
        return float(kind.score(answers, test.truth, run.data).mean())

    scores = {n: score(answers) for n, answers in predicted.items()}
    further = {n: float(measure(predicted[name], test.truth, run.data)) for n, measure in kind.further.items()}
    return {
        f"{prefix}_{kind.metric}": scores[name],
        kind.mean_metric: score(np.broadcast_to(train.truth.mean(0), test.truth.shape)),
        f"ridge_{kind.metric}": score(metrics.Ridge(train.annotated, train.truth)(test.annotated)),
        **{f"{prefix}_{figure}": value for figure, value in further.items()},
        **{f"{prefix}_{kind.metric}_{n}": value for n, value in scores.items()},
        f"{prefix}_images": len(test.truth),
        f"{prefix}_psnr_db": float(test.psnr_db.mean()),
        f"{prefix}_l1": float(test.l1.mean()),
        "training_latents": len(train.z),
        "training_annotations": len(train.truth),
    }


def doubtful(run: Run, test: Split, predicted: np.ndarray, doubts: np.ndarray) -> dict[str, float]:
    """Return how well doubts [N] rank the true errors of a network, and the figure of the shares with the least."""
    scores = run.kind.score(predicted, test.truth, run.data)
    errors = metrics.rms_error(predicted, test.truth)
    shares = {f"kept_{share}_{run.kind.metric}": metrics.kept(scores, doubts, share / 100).mean() for share in KEPT}
    found = {"doubt_rank_correlation": metrics.rank_correlation(doubts, errors), **shares}
    return {name: float(value) for name, value in found.items()}


def draw(run: Run, folder: Path, test: Split, predicted: np.ndarray) -> None:
    """Write pictures of some images: reconstructed, and with what the network says of them."""
    shown = np.linspace(0, len(test.truth) - 1, min(SHOWN, len(test.truth))).astype(int)
    source = run.data.source(test.split)
    originals = to_float(np.concatenate([ordered(source, int(i), int(i) + 1)["image"] for i in shown]))
    pairs = figures.reconstructions(originals, run.generate(test.z[shown]))
    figures.save_image(folder / "reconstructions.png", pairs)
    annotated = figures.annotated_grid(originals, **run.kind.marks(predicted[shown], run.data))
    figures.save_image(folder / f"{test.prefix}_annotations.png", annotated)


def measured_generator(run: Run, folder: Path, count: int, space: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the generator's figures, and the ones that matter in words; write the picture of its neighbours."""
    if measures.available(run.data, count) < measures.LEAST:
        return {}, f"the generator is not measured, which takes {measures.LEAST} held-out images"
    found = measures.Quality(run.data, count, **space)
    z = uniform_latents(jax.random.key(run.config.seed), found.count, run.config.latent_size)
    images = to_uint8(run.generate(np.asarray(z)))
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

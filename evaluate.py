"""Measure a run on the held-out split -> RUN/metrics.json and RUN/figures/.

    python evaluate.py --run runs/demo

Each aspect network of the run is measured; the figures without a suffix are those of the one that --aspect names.
Landmarks: mean distance over the outer-eye distance, in percent (NME); masks: intersection over union (IoU);
attributes: share that is right, in percent (accuracy). Beside them stand what needs no network: always answering the
mean annotation, and ridge regression from the latents. Then, for generated images, how far G_a(z) is from T(G(z)), for
uniform z and for z near Z_data, beside the mean of T(G(z)); consistency.png shows both, G_a's above T's.
"""

from pathlib import Path

import numpy as np

from began_jax import began, figures, kinds, metrics
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.run import cli, consistency
from began_jax.run import folder as runs
from began_jax.run import networks as aspect_networks
from began_jax.run.latents import Latents

SHOWN = 16  # held-out images in the pictures


def parse():
    """The command line."""
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
    cli.add_annotator(parser)
    return parser.parse_args()


def main() -> None:
    """Read the latents of both splits and the annotations, predict, compare, draw."""
    args = parse()
    if args.consistency < 0:
        raise InputError(f"--consistency is {args.consistency}; it must be at least 0")
    config, data = runs.load(args.run)
    kind = kinds.of(data)
    newest = aspect_networks.newest(args.run)
    name = args.aspect or newest
    names = [path.name for path in aspect_networks.trained(args.run)]
    if name not in names:
        raise InputError(f"{args.run / 'aspect'} has no network {name!r}; it has {', '.join(names)}")
    train = Latents(args.run / "latents" / "train", read_only=True).load()
    train_truth = aspect_networks.targets(data, "train", len(train["z"]))
    held_out = "test" in data.splits
    prefix, split = ("heldout", "test") if held_out else ("training", "train")
    test = Latents(args.run / "latents" / split, read_only=True).load() if held_out else train
    truth = aspect_networks.targets(data, split, len(test["z"])) if held_out else train_truth
    if not held_out:
        print("evaluate: the data set has no test split, so nothing is held out: these are training errors")

    def score(predicted: np.ndarray) -> float:
        return float(kind.score(predicted, truth, data).mean())

    baselines = {
        kind.mean_metric: score(np.broadcast_to(train_truth.mean(0), truth.shape)),
        f"ridge_{kind.metric}": score(metrics.Ridge(train["z"], train_truth)(test["z"])),
    }
    networks = {n: aspect_networks.load(args.run, n, config, data).annotate for n in names}
    predicted = {n: network(test["z"]) for n, network in networks.items()}
    scores = {n: score(values) for n, values in predicted.items()}
    further = {
        f"{prefix}_{figure}": float(measure(predicted[name], truth, data)) for figure, measure in kind.further.items()
    }

    generator, _ = began.networks(config)
    generate = aspect_networks.batched(generator, runs.load_inverted(args.run, config)[1].generator)
    shown = np.linspace(0, len(test["z"]) - 1, min(SHOWN, len(test["z"]))).astype(int)
    originals = to_float(np.concatenate([ordered(data.source(split), int(i), int(i) + 1)["image"] for i in shown]))
    folder = args.run / "figures"
    figures.save_image(folder / "reconstructions.png", figures.reconstructions(originals, generate(test["z"][shown])))
    marks = kind.marks(predicted[name][shown], data)
    figures.save_image(folder / f"{prefix}_annotations.png", figures.annotated_grid(originals, **marks))

    measured = {
        f"{prefix}_{kind.metric}": scores[name],
        **baselines,
        **further,
        **{f"{prefix}_{kind.metric}_{n}": value for n, value in scores.items()},
        f"{prefix}_images": len(truth),
        f"{prefix}_psnr_db": float(test["psnr_db"].mean()),
        f"{prefix}_l1": float(test["l1"].mean()),
        "training_latents": len(train["z"]),
    }
    runs.record_metrics(args.run, "evaluate", measured)
    beside = ", ".join(
        f"{n.removesuffix('_' + kind.metric).replace('_', ' ')} {value:.3g}" for n, value in baselines.items()
    )
    closing = (
        f"{len(truth):,} {prefix} images, {name} network {kind.shown.format(scores[name])} ({beside}), "
        f"PSNR {test['psnr_db'].mean():.2f} dB"
    )
    if args.consistency:
        found = consistency.measure(
            args.run, config, data, networks, name, args.consistency, args.annotator, args.workers
        )
        runs.record_metrics(args.run, "evaluate", measured | found.figures)
        z, annotation, _ = found.labels["uniform"]
        picture = consistency.picture(generate(z[:SHOWN]), networks[name](z[:SHOWN]), annotation, data)
        figures.save_image(folder / "consistency.png", picture)
        closing += f"; {found.sentence(kind)}"
    print(f"evaluate: {closing} -> {args.run / 'metrics.json'}, {folder}")


if __name__ == "__main__":
    cli.run(main)

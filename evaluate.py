"""Measure a run on the held-out split -> RUN/metrics.json and RUN/figures/.

    python evaluate.py --run runs/demo

Each aspect network of the run is measured; the figures without a suffix are those of the one that --aspect names.
Landmarks: mean distance over the outer-eye distance, in percent (NME); masks: intersection over union (IoU). Beside
them stand what needs no network: always answering the mean annotation, and ridge regression from the latents.
"""

from pathlib import Path

import numpy as np

from began_jax import aspect_networks, began, cli, figures, metrics, runs
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.latents import Latents

SHOWN = 16  # held-out images in the pictures


def parse():
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    parser.add_argument("--aspect", help="name of the aspect network to report first; default: the one trained last")
    return parser.parse_args()


def main() -> None:
    """Read the latents of both splits and the annotations, predict, compare, draw."""
    args = parse()
    config, data = runs.load(args.run)
    name = args.aspect or aspect_networks.newest(args.run)
    train = Latents(args.run / "latents" / "train", read_only=True).load()
    train_truth = aspect_networks.targets(data, "train", len(train["z"]))
    held_out = "test" in data.splits
    split = "test" if held_out else "train"
    test = Latents(args.run / "latents" / split, read_only=True).load() if held_out else train
    truth = aspect_networks.targets(data, split, len(test["z"])) if held_out else train_truth
    if not held_out:
        print("evaluate: the data set has no test split, so nothing is held out: these are training errors")

    def measure(predicted: np.ndarray) -> float:
        if data.annotation == "landmarks":
            return float(metrics.nme_percent(predicted, truth, config.height, config.width).mean())
        return float(metrics.iou(predicted, truth).mean())

    landmarks = data.annotation == "landmarks"
    kind = "nme_percent" if landmarks else "iou"
    prefix = "heldout" if held_out else "training"
    baselines = {
        f"mean_shape_{kind}" if landmarks else "mean_mask_iou": measure(
            np.broadcast_to(train_truth.mean(0), truth.shape)
        ),
        f"ridge_{kind}": measure(metrics.Ridge(train["z"], train_truth)(test["z"])),
    }
    names = sorted(path.name for path in (args.run / "aspect").iterdir() if path.is_dir())
    networks = {n: aspect_networks.load(args.run, n, config, data).annotate for n in names}
    if name not in networks:
        raise InputError(f"{args.run / 'aspect'} has no network {name!r}; it has {', '.join(names)}")
    predicted = {n: network(test["z"]) for n, network in networks.items()}
    errors = {n: measure(values) for n, values in predicted.items()}

    generator, _ = began.networks(config)
    generate = aspect_networks.batched(generator, runs.load_inverted(args.run, config)[1].generator)
    shown = np.linspace(0, len(test["z"]) - 1, min(SHOWN, len(test["z"]))).astype(int)
    originals = to_float(np.concatenate([ordered(data.source(split), int(i), int(i) + 1)["image"] for i in shown]))
    reconstructed = generate(test["z"][shown])
    folder = args.run / "figures"
    figures.save_image(folder / "reconstructions.png", figures.reconstructions(originals, reconstructed))
    drawn = {"landmarks" if landmarks else "masks": predicted[name][shown]}
    figures.save_image(folder / f"{prefix}_annotations.png", figures.annotated_grid(originals, **drawn))

    runs.record_metrics(
        args.run,
        "evaluate",
        {
            f"{prefix}_{kind}": errors[name],
            **baselines,
            **{f"{prefix}_{kind}_{n}": error for n, error in errors.items()},
            f"{prefix}_images": len(truth),
            f"{prefix}_psnr_db": float(test["psnr_db"].mean()),
            f"{prefix}_l1": float(test["l1"].mean()),
            "training_latents": len(train["z"]),
        },
    )
    unit = "NME {:.2f} %" if landmarks else "IoU {:.3f}"
    beside = ", ".join(
        f"{n.rsplit('_' + kind, 1)[0].removesuffix('_iou').replace('_', ' ')} {e:.3g}" for n, e in baselines.items()
    )
    print(
        f"evaluate: {len(truth):,} {prefix} images, {name} network {unit.format(errors[name])} ({beside}), "
        f"PSNR {test['psnr_db'].mean():.2f} dB -> {args.run / 'metrics.json'}, {folder}"
    )


if __name__ == "__main__":
    cli.run(main)

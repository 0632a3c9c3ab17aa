"""Invert a trained generator over the whole data set: a latent for every image -> RUN/latents/.

    python invert.py --run runs/demo

Shards are written as they complete; the same command makes the missing ones only. Progress shows the error (L1 per
pixel and channel, [-1, 1] scale) and the PSNR of the shards so far.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from began_jax import cli, progress, runs, sharding
from began_jax.configs import INVERT_PRESETS
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.json_files import agree
from began_jax.latents import Latents


def parse():
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py made")
    parser.add_argument(
        "--images",
        type=int,
        default=0,
        help="invert only the first N images of the training split, rounded up to whole shards; 0: all of them",
    )
    parser.add_argument(
        "--checkpoint",
        default="latest",
        choices=("latest", "best"),
        help="which generator: the latest, or the one with the lowest mean of M, for a run that collapsed late",
    )
    parser.add_argument(
        "--steps-per-call",
        type=int,
        help="steps in one call of the device; default: 1 on a CPU, where "
        "convolutions in a loop on the device are slow, else all",
    )
    parser.add_argument(
        "--cpu-devices", type=int, help="virtual devices that a CPU is split into; default: a core each"
    )
    cli.add_options(parser, INVERT_PRESETS)
    return parser.parse_args()


def main() -> None:
    """Parse, data, generator, then shard by shard: optimise and write."""
    args = parse()
    train_config, data = runs.load(args.run)
    preset = INVERT_PRESETS.get(train_config.preset, INVERT_PRESETS["faces"])
    config = cli.given_options(args, preset)
    if min(config.steps, config.shard_size) < 1 or args.images < 0:
        raise InputError("--steps and --shard-size must be at least 1, --images at least 0")
    if args.steps_per_call is not None and args.steps_per_call < 1:
        raise InputError(f"--steps-per-call is {args.steps_per_call}; it must be at least 1")
    sharding.use_cpu_devices(config.shard_size, args.cpu_devices)
    mesh = sharding.data_mesh(config.shard_size)
    state = runs.load_training(args.run, train_config, args.checkpoint)
    step = int(state.step)
    invert = runs.inverter(config, train_config, state, mesh, args.steps_per_call)
    wanted = dataclasses.asdict(config) | {"generator_step": step}
    agree(args.run / "latents" / "config.json", wanted, "inverted", defaults=dataclasses.asdict(preset))

    size = config.shard_size
    shards = {split: math.ceil(count / size) for split, count in data.splits.items() if split in ("train", "test")}
    if args.images:
        shards["train"] = min(shards["train"], math.ceil(args.images / size))
    stores = {split: Latents(args.run / "latents" / split) for split in shards}
    missing = [(split, i) for split, count in shards.items() for i in range(count) if i not in stores[split].done()]
    counts = {split: min(shards[split] * size, data.splits[split]) for split in shards}
    total = sum(counts.values())
    todo = sum(min(size, data.splits[split] - i * size) for split, i in missing)
    bar = progress.Progress("invert", total * config.steps, (total - todo) * config.steps, unit="image-step")
    try:
        for split, shard in missing:
            examples = ordered(data.source(split), shard * size, (shard + 1) * size)
            count = len(examples["id"])
            # The last shard is filled up with copies, so that every call has one shape; they are dropped again.
            rows = np.minimum(np.arange(size), count - 1)
            done = 0
            for result in invert(to_float(examples["image"][rows]), shard * size + rows):
                if not isinstance(result, dict):
                    bar.update(count * (result - done))
                    done = result
            result = {name: values[:count] for name, values in result.items()}
            stores[split].save(shard, examples["id"], result)
            bar.update(0, l1=float(result["l1"].mean()), psnr_db=float(result["psnr_db"].mean()))
    finally:
        bar.close()
        for store in stores.values():
            store.wait()

    found = [stores[split].load() for split in shards]
    z, l1, psnr = (np.concatenate([part[name] for part in found]) for name in ("z", "l1", "psnr_db"))
    figures = {
        "images": len(z),
        "steps": config.steps,
        "l1": float(l1.mean()),
        "psnr_db": float(psnr.mean()),
        "fraction_outside_cube": float((np.abs(z) > 1).mean()),
        "failed": int((l1 > config.failure_l1).sum()),
        "generator_step": step,
    }
    if missing:
        figures["images_per_second"] = bar.rate / config.steps
    runs.record_metrics(args.run, "invert", figures, keep=("images_per_second",))
    print(
        f"invert: {len(z):,} images, {config.steps} steps, L1 {l1.mean():.4f}, PSNR {psnr.mean():.2f} dB, "
        f"{figures['failed']} failed -> {args.run / 'latents'}"
    )


if __name__ == "__main__":
    cli.run(main)

"""Invert a trained generator over the whole data set: a latent for every image -> RUN/latents/.

    python invert.py --run runs/demo

Shards are written as they complete; the same command makes the missing ones only. Progress shows the error (L1 per
pixel and channel, [-1, 1] scale) and the PSNR of the shards so far.
"""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np

from began_jax import progress, sharding
from began_jax.configs import INVERT_PRESETS, check_options
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.files import agree, read_json
from began_jax.images import to_float
from began_jax.run import cli
from began_jax.run import folder as runs
from began_jax.run import shards as shard_inversion
from began_jax.run.latents import Latents


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
    parser.add_argument(
        "--remat",
        action="store_true",
        help="compute the generator's activations again for the gradient instead of keeping them, so that larger "
        "shards fit GPUs and TPUs; on CPUs XLA undoes it",
    )
    cli.add_hosts(parser)
    cli.add_options(parser, INVERT_PRESETS)
    return parser.parse_args()


def main() -> None:
    """Parse, data, generator, then shard by shard: optimise and write."""
    args = parse()
    train_config, data = runs.load(args.run)
    preset = INVERT_PRESETS.get(train_config.preset, INVERT_PRESETS["faces"])
    config = cli.given_options(args, preset)
    check_options(config)
    if args.images < 0:
        raise InputError(f"--images is {args.images}; it must be at least 0")
    if config.tolerance and not config.steps:
        raise InputError(f"--tolerance is {config.tolerance}; it must be 0 where --steps is")
    if config.optimizer == "bfgs" and "schedule" not in args:
        config = dataclasses.replace(config, schedule="constant")  # the preset's is for Adam
    if config.optimizer == "bfgs" and config.schedule != "constant":
        raise InputError(f"--schedule {config.schedule} is for Adam: BFGS finds the lengths of its steps itself")
    if args.steps_per_call is not None and args.steps_per_call < 1:
        raise InputError(f"--steps-per-call is {args.steps_per_call}; it must be at least 1")
    stored = args.run / "latents" / "config.json"

    def kept_size():
        return config.shard_size or (read_json(stored)["shard_size"] if stored.exists() else 0)

    cli.join_hosts(args)
    sharding.use_cpu_devices(kept_size() or sharding.CPU_BATCH, args.cpu_devices)
    state = runs.load_training(args.run, train_config, args.checkpoint)
    step = int(state.step)
    if args.remat:
        train_config = dataclasses.replace(train_config, remat=True)
    with sharding.first_process_first("configuration"):
        devices = None
        if config.shard_size == 0 or stored.exists():  # perhaps other devices than those it was found for
            size = kept_size() or shard_inversion.largest_shard(config, train_config, state)
            config = dataclasses.replace(config, shard_size=size)
            devices = sharding.most_devices(size, jax.local_device_count())
        mesh = sharding.data_mesh(config.shard_size, devices, local=True)  # every process inverts shards of its own
        invert = shard_inversion.inverter(config, train_config, state, mesh, args.steps_per_call)
        wanted = dataclasses.asdict(config) | {"generator_step": step}
        agree(stored, wanted, "inverted", (), dataclasses.asdict(preset), runs.start_anew(args.run))

    size = config.shard_size
    shards = {split: math.ceil(count / size) for split, count in data.splits.items() if split in ("train", "test")}
    if args.images:
        shards["train"] = min(shards["train"], math.ceil(args.images / size))
    stores = {split: Latents(args.run / "latents" / split) for split in shards}
    missing = [(split, i) for split, count in shards.items() for i in range(count) if i not in stores[split].done()]
    sharding.meet("shards shared")  # before any is written, all have seen the same ones missing
    missing = sharding.share(missing)
    counts = {split: min(shards[split] * size, data.splits[split]) for split in shards}
    total = sum(counts.values())
    todo = sum(min(size, data.splits[split] - i * size) for split, i in missing)
    name = "invert" if jax.process_count() == 1 else f"invert ({jax.process_index()} of {jax.process_count()})"
    unit = max(config.steps * config.starts, 1)
    bar = progress.Progress(name, total * unit, (total - todo) * unit, unit="image-step")

    def read():
        for split, shard in missing:
            first = shard * size
            examples = ordered(data.source(split), first, first + size)
            ids[split, shard] = examples["id"]
            yield (split, shard), to_float(examples["image"]), first + np.arange(len(examples["id"]))

    ids = {}
    try:
        for result in invert(read(), size):
            if not isinstance(result, tuple):
                bar.update(result)
                continue
            (split, shard), found = result
            stores[split].save(shard, ids.pop((split, shard)), found)
            done = 0 if config.steps else len(found["l1"])
            bar.update(done, l1=float(found["l1"].mean()), psnr_db=float(found["psnr_db"].mean()))
    finally:
        bar.close()
        for store in stores.values():
            store.wait()

    sharding.meet("shards written", sharding.LONG)
    if jax.process_index() > 0:
        return sharding.leave()
    found = [stores[split].load() for split in shards]
    z, l1, psnr = (np.concatenate([part[name] for part in found]) for name in ("z", "l1", "psnr_db"))
    figures = {
        "images": len(z),
        "steps": config.steps,
        "l1": float(l1.mean()),
        "psnr_db": float(psnr.mean()),
        "fraction_outside_cube": float((np.abs(z) > 1).mean()),
        "failed": int((~(l1 <= config.failure_l1)).sum()),
        "generator_step": step,
    }
    if config.tolerance:
        figures["mean_steps"] = float(np.concatenate([part["steps"] for part in found]).mean())
    if missing:
        figures["images_per_second"] = bar.rate / unit * jax.process_count()
    runs.record_metrics(args.run, "invert", figures, keep=("images_per_second",))
    print(
        f"invert: {len(z):,} images, {config.steps} steps, L1 {l1.mean():.4f}, PSNR {psnr.mean():.2f} dB, "
        f"{figures['failed']} failed -> {args.run / 'latents'}"
    )
    sharding.leave()


if __name__ == "__main__":
    cli.run(main)

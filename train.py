"""Train a BEGAN on a data set: data set -> RUN/generator/.

    python train.py demo --run runs/demo                        # synthetic faces, minutes on a CPU
    python train.py faces --run runs/faces --data data/faces    # the paper's first experiment, for a GPU or TPU

The same command goes on where a stopped run left off, bit for bit. Progress shows M, which falls; RUN/figures/training
shows samples from the same latents as they learn.
"""

from pathlib import Path

import jax
import numpy as np

from began_jax import augment, began, figures, progress, sharding
from began_jax.configs import TRAIN_PRESETS, check_options, train_preset
from began_jax.data.datasets import batches, prefetch
from began_jax.errors import InputError
from began_jax.models import check_size, layer_table
from began_jax.run import checkpoints, cli
from began_jax.run import folder as runs

SAMPLES = 36  # in the pictures made while training


def parse() -> tuple:
    """The command line, and the preset with the options that were given."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("preset", help=f"where the options start from: {', '.join(TRAIN_PRESETS)}")
    parser.add_argument("--run", type=Path, help="the run folder: new, or of the same configuration to go on")
    parser.add_argument("--layers", action="store_true", help="print the table of all layers and stop")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints: a stop loses no more")
    parser.add_argument("--sample-every", type=int, default=1000, help="steps between pictures of samples")
    parser.add_argument(
        "--cpu-devices",
        type=int,
        help="virtual devices that a CPU is split into; default: 1, since convolutions use all cores by themselves",
    )
    cli.add_hosts(parser)
    cli.add_options(parser, TRAIN_PRESETS)
    args = parser.parse_args()
    config = cli.given_options(args, train_preset(args.preset))
    check_options(config)
    check_size(config.height, config.width, len(config.encoder_filters) - 1)
    if args.run is None and not args.layers:
        raise InputError("--run is missing: the folder that this run is kept in")
    if min(args.save_every, args.sample_every) < 1:
        raise InputError("--save-every and --sample-every must be at least 1")
    return args, config


def main() -> None:
    """Parse, mesh, data, init, restore, loop."""
    args, config = parse()
    if args.layers:
        print(layer_table(config))
        return

    cli.join_hosts(args)
    count = 1 if args.cpu_devices is None else args.cpu_devices
    sharding.use_cpu_devices(config.batch_size, count, kernel_gradients=True)
    mesh = sharding.data_mesh(config.batch_size)
    first = jax.process_index() == 0  # of the processes; it alone prints and writes, but for checkpoints
    with sharding.first_process_first("data"):
        data = runs.resolve_data(args.run, config)
    if config.low_quality and data.annotation != "mask":
        raise InputError(f"--low-quality needs a data set with masks; {data.path} has {data.annotation or 'none'}")
    part = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    feed = batches(data.source("train"), config.batch_size, config.seed, masks=config.low_quality, **part)
    with sharding.first_process_first("configuration"):
        runs.start(args.run, config, data)

    # Resuming: the state holds the step; the batches and the latents of a step are functions of it and the seed.
    state = jax.jit(lambda: began.init(config), out_shardings=sharding.replicated(mesh))()
    saved = checkpoints.manager(args.run / "generator")
    if (found := checkpoints.restore_latest(saved, state)) is not None:
        state = found[1]
    start = int(state.step)

    def images_of(state, batch):
        if not config.low_quality:
            return batch["image"]
        key = jax.random.fold_in(jax.random.fold_in(state.key, 0x10), state.step)  # the latents' is fold_in(key, step)
        return augment.low_quality_batch(key, **batch)

    def advance(state, batch, signals):
        state, metrics = began.step(config, state, images_of(state, batch), sharding.split(mesh))
        return state, metrics, None if signals is None else signals.max()

    step = jax.jit(advance, donate_argnums=0, out_shardings=sharding.replicated(mesh))
    sample = jax.jit(lambda state: began.samples(config, state, SAMPLES), out_shardings=sharding.replicated(mesh))
    events = progress.event_writer(args.run, "train", start) if first else None
    bar = progress.Progress("train", config.steps, start) if first else None

    def save(state, values) -> None:
        # Its figures come first: when the last checkpoint is there, a rerun has nothing left to do.
        if first:
            found = {"steps": int(state.step), "k": float(state.k), "convergence": float(state.convergence)}
            found |= {"diversity": values["diversity"]}
            if bar.rate:
                found["images_per_second"] = bar.rate * config.batch_size
            runs.record_metrics(args.run, "train", found, keep=("images_per_second",))
        checkpoints.save(saved, int(state.step), state, score=float(state.convergence))

    images = prefetch(feed, start)
    stopped = 0
    try:
        with cli.errors_end_now(), cli.stop_signals() as signals:
            for last in range(start + 1, config.steps + 1):
                batch = next(images)
                # Among several processes a signal goes with the batch, so that all of them stop at the same step.
                flags = np.full(len(batch["image"]), signals[0] if signals else 0) if jax.process_count() > 1 else None
                state, metrics, signal = step(state, *sharding.assemble(mesh, (batch, flags)))
                # Waiting is no loss on a CPU, where many collectives in flight can deadlock; the feed runs ahead.
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                began.check_finite(values, last)
                shown = {"M": values["convergence"], "k": values["k"], "diversity": values["diversity"]}
                if "reconstruction" in values:
                    shown["reconstruction"] = values["reconstruction"]
                stopped = int(signal) if signal is not None else signals[0] if signals else 0
                if first:
                    bar.update(1, **shown)
                if first and last % 50 == 0:
                    for name, value in values.items():
                        events.add_scalar(f"train/{name}", value, last)
                if last % args.sample_every == 0:
                    pictures = jax.device_get(sample(state))
                    if first:
                        path = args.run / "figures" / "training" / f"step_{last:07d}.png"
                        figures.save_image(path, figures.grid(pictures))
                if stopped or last % args.save_every == 0 or last == config.steps:
                    save(state, values)
                if stopped:
                    break
    finally:
        images.close()
        if first:
            bar.close()
            events.close()
        saved.wait_until_finished()
        saved.close()

    remark = " (stopped; the same command goes on)" if stopped else ""
    if first:
        figures_of_run = f"M {float(state.convergence):.4f}, k {float(state.k):.3f}"
        print(f"train: {int(state.step):,} steps{remark}, {figures_of_run} -> {args.run / 'generator'}")
    sharding.leave()
    if stopped:
        raise SystemExit(128 + stopped)


if __name__ == "__main__":
    cli.run(main)

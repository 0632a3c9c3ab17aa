"""Train a BEGAN on a data set: data set -> RUN/generator/.

    python train.py demo --run runs/demo                        # synthetic faces, minutes on a CPU
    python train.py faces --run runs/faces --data data/faces    # the paper's first experiment, for a GPU or TPU
    python train.py synthetic-faces --run runs/new --pretrained # no training: the weights that come along

The same command goes on where a stopped run left off, on a CPU bit for bit. Progress shows M, which falls, and more
(docs/training.md); RUN/figures/training shows samples from the same latents as they learn.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from began_jax import began, figures, sharding
from began_jax.configs import TrainConfig
from began_jax.data import augment
from began_jax.errors import InputError
from began_jax.models import check_networks, layer_table
from began_jax.options import flag
from began_jax.presets import TRAIN_PRESETS, train_preset
from began_jax.run import cli, measures, plan, weights
from began_jax.run.feed import PLACES, Feed
from began_jax.run.folder import Run
from began_jax.run.loop import Loop, Packed, strongest

SAMPLES = 36  # in the pictures made while training
BEGAN_ALONE = ("loss_power", "gamma", "lambda_k", "k_0", "separate_latents")  # options of one objective
RELATIVISTIC_ALONE = ("gradient_penalty", "penalty_share", "augment")
DEAD = 0.9  # share of codes that are -1 or 1, beyond which an encoder is taken for dead
LOG_EVERY = 50  # steps between two points of TensorBoard's curves


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("preset", help=f"where the options start from: {', '.join(TRAIN_PRESETS)}")
    parser.add_argument("--run", type=Path, help="the run folder: new, or of the same configuration to go on")
    parser.add_argument("--layers", action="store_true", help="print the table of all layers and stop")
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="take the weights that come along for a preset of a built-in set, as if it had been trained to its end",
    )
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints, ...")
    parser.add_argument(
        "--save-seconds",
        type=float,
        default=60.0,
        help="... but no sooner after the last one than this: a fast device would write all the time. A stop saves "
        "what is reached; a crash loses what came after the last checkpoint",
    )
    parser.add_argument("--sample-every", type=int, default=1000, help="steps between pictures of samples")
    parser.add_argument(
        "--measure-every",
        type=int,
        default=1000,
        help="steps between two measurements of the generator, which TensorBoard shows; 0: none",
    )
    parser.add_argument(
        "--feed",
        choices=PLACES,
        default="auto",
        help="where the training images are kept: on the device, in memory once they are decoded, or on disk; auto: "
        "the first that has room, on a CPU memory; the result is the same",
    )
    parser.add_argument(
        "--steps-per-call",
        type=int,
        default=1,
        help="steps in one call of the device: more where the host cannot keep it busy; slow on CPUs, where "
        "convolutions in a loop on the device are",
    )
    parser.add_argument(
        "--cpu-devices",
        type=int,
        default=1,
        help="virtual devices that a CPU is split into; convolutions use all cores by themselves",
    )
    cli.add_kind(parser)
    cli.add_plan(parser)
    cli.add_hosts(parser)
    cli.add_options(parser, TRAIN_PRESETS)
    return parser


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, TrainConfig]:
    """Return the command line, and the preset with the options that were given."""
    args = parser().parse_args(argv)
    config = cli.given_options(args, train_preset(args.preset))
    check_networks(config)
    check_given(args, config.objective)
    if args.pretrained:
        weights.check(config)
    if args.run is None and not (args.layers or args.plan):
        raise InputError("--run is missing: the folder that this run is kept in")
    if min(args.save_every, args.sample_every, args.steps_per_call) < 1:
        raise InputError("--save-every, --sample-every and --steps-per-call must be at least 1")
    if not args.save_seconds >= 0:
        raise InputError(f"--save-seconds is {args.save_seconds}; it must be at least 0")
    begun = args.run is not None and (args.run / "config.json").is_file()  # perhaps with this option, which is kept
    if hasattr(args, "learning_rate_floor") and not config.patience and not begun:
        raise InputError("--learning-rate-floor does nothing without --patience")
    if args.measure_every < 0:
        raise InputError(f"--measure-every is {args.measure_every}; it must be at least 0")
    return args, config


def check_given(args: argparse.Namespace, objective: str) -> None:
    """Raise InputError for an option of the other objective on the command line, which would do nothing."""
    others = {"relativistic": BEGAN_ALONE, "began": RELATIVISTIC_ALONE}[objective]
    for name in others:
        if name in args:
            raise InputError(f"{flag(name)} does nothing with --objective {objective}")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, mesh, data, init, restore, loop."""
    args, config = parse(argv)
    if args.layers:
        print(layer_table(config))
        return

    cli.join_hosts(args)
    if args.pretrained and sharding.joined():
        raise InputError("--pretrained is for one process: nothing is trained")
    sharding.use_cpu_devices(config.batch_size, args.cpu_devices, kernel_gradients=True)
    mesh = mesh_of(config.batch_size)
    if args.plan:
        print(plan.training(config, mesh))
        sharding.leave()
        return
    everywhere = sharding.replicated(mesh)
    with sharding.first_process_first("data"):
        run = Run.of(args.run, config)
    feed = Feed(run, mesh, args.feed)
    with sharding.first_process_first("configuration"):
        run = run.with_kind(args.kind) if args.kind else run
        run.begin()
        run.keep_kind()
        if args.pretrained:
            weights.begin(run)

    # Resuming: the state holds the step; the batches and the latents of a step are functions of it and the seed.
    init = jax.jit(lambda: began.init(config), out_shardings=everywhere)
    packed, stride = Packed(), args.steps_per_call
    step = jax.jit(step_of(config, mesh, packed, stride), donate_argnums=0, out_shardings=everywhere)
    sample = jax.jit(lambda state: began.samples(config, state, SAMPLES), out_shardings=everywhere)

    def record(state: began.BeganState, metrics: dict[str, float], rate: float) -> None:
        found = {"steps": state.done, "k": float(state.k), "convergence": float(state.convergence)}
        found |= {"diversity": metrics["diversity"]}
        if rate:
            found["images_per_second"] = rate * config.batch_size
        run.record("train", found, keep=("images_per_second",))

    measured = args.measure_every and jax.process_index() == 0
    measure = measures.of_training(run.data, config) if measured else None
    told: list[int] = []  # when the encoder was found dead

    def observe(number: int, values: dict[str, float]) -> dict[str, float]:
        began.check_finite(values, number)
        if number % LOG_EVERY == 0:
            loop.log("train", number, values)
            if values.get("saturated", 0) > DEAD and not told and jax.process_index() == 0:
                told.append(number)
                what = "the encoder answers -1 or 1 for everything, and may never learn again"
                remedy = "if `reconstruction` does not fall, start another run with another --seed"
                print(f"train: step {number}: {what}; {remedy}", file=sys.stderr)
        return shown(values)

    options = {"save_every": args.save_every, "save_seconds": args.save_seconds, "stride": stride, "record": record}
    options |= {"beside": run.inverted_steps}
    options |= {"observe": observe, "unpack": packed.steps, "events": run.folder / "events" / "train"}
    with (
        Loop("train", run.folder / "generator", init(), config.steps, **options) as loop,
        feed.inputs(loop.start) as inputs,
        cli.errors_end_now(),  # before anything is closed, which would be to wait for the others
    ):
        if loop.start < loop.total and not weights.trainable(loop.state):
            raise InputError(
                f"{run.folder} began with weights that came along, without a D to train with; train another"
            )
        done = loop.start
        for last in loop:
            steps = [next(inputs) for _ in range(last - done)]
            signals = sharding.assemble(mesh, loop.signals(config.batch_size // jax.process_count()))
            loop.advance(*step(loop.state, feed.put(steps, stacked=stride > 1), signals))
            if last // args.sample_every > done // args.sample_every:
                save_samples(run, last, sample(loop.state))
            if measure and last // args.measure_every > done // args.measure_every:
                loop.log("train/generator", last, measure(loop.state))
            done = last

    if jax.process_index() == 0:
        reached = f"M {float(loop.state.convergence):.4f}, k {float(loop.state.k):.3f}"
        print(f"train: {loop.state.done:,} steps{loop.remark}, {reached} -> {run.folder / 'generator'}")
    sharding.leave()
    loop.exit_if_stopped()


def mesh_of(batch_size: int) -> jax.sharding.Mesh:
    """Return the devices that train: all, or as many of a single process' as divide the batch, which is then said."""
    count = jax.device_count()
    if jax.process_count() > 1:
        return sharding.data_mesh(batch_size)
    devices = sharding.most_devices(batch_size, count)
    if devices < count:
        remark = f"{devices} of {count} devices; a multiple of {count} would use all"
        print(f"train: a batch of {batch_size} is split over {remark}", file=sys.stderr)
    return sharding.data_mesh(batch_size, devices)


def step_of(config: TrainConfig, mesh: jax.sharding.Mesh, packed: Packed, stride: int) -> Callable:
    """Return a call of `stride` steps on the batches of a feed, which also passes on the strongest of the signals.

    Its metrics are packed, [metrics], or [steps, metrics] where a call makes more than one step.
    """

    plain = dataclasses.replace(config, low_quality=False)  # `images_of` does it

    def images_of(state, batch):
        if not config.low_quality:
            return batch["image"]
        key = jax.random.fold_in(jax.random.fold_in(state.key, 0x10), state.step)  # the latents' is fold_in(key, step)
        return augment.low_quality_batch(key, batch["image"], batch["mask"].astype(jnp.float32))

    def one(state, batch):
        state, metrics = began.step(plain, state, images_of(state, batch), sharding.split(mesh))
        return state, packed.pack(metrics)

    def call(state, batches, signals):
        state, metrics = one(state, batches) if stride == 1 else jax.lax.scan(one, state, batches)
        return state, metrics, None if signals is None else strongest(signals)

    return call


def shown(metrics: dict[str, float]) -> dict[str, float]:
    """Return what the progress line shows of a step's metrics."""
    own = ("gap", "penalty") if "gap" in metrics else ("k",)  # of the objective
    names = (*own, "diversity", "reconstruction")
    return {"M": metrics["convergence"]} | {name: metrics[name] for name in names if name in metrics}


def save_samples(run: Run, step: int, images: jax.Array) -> None:
    """Write a picture of samples; all processes come here, and the first writes."""
    pictures = jax.device_get(images)
    if jax.process_index() == 0:
        figures.save_image(run.folder / "figures" / "training" / f"step_{step:07d}.png", figures.grid(pictures))

"""Invert a trained generator over the whole data set: a latent for every image -> RUN/latents/.

    python invert.py --run runs/demo
    python invert.py --run runs/demo --images photographs/ --out found    # pictures that are not in the data set
    python invert.py --run runs/own --generator examples/vae.py:generator --data synthetic-faces    # one of yours

Shards are written as they complete; the same command makes the missing ones only. Progress shows the error (L1 per
pixel and channel, [-1, 1] scale) and the PSNR of the shards so far.
"""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from began_jax import sharding
from began_jax.configs import OF_ADAM, InvertConfig
from began_jax.errors import InputError
from began_jax.files import agree
from began_jax.presets import INVERT_PRESETS, OWN
from began_jax.progress import Progress
from began_jax.run import cli, inverter, photographs, plan, shards
from began_jax.run.folder import Run


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py made; or see --generator")
    parser.add_argument(
        "--generator",
        default="",
        metavar="FILE.py:NAME",
        help="begin the run with a generator of yours, which is not trained: FILE.py:NAME or PACKAGE.MODULE:NAME of a "
        "began_jax.Generator, whose code is run. All later stages go on with it (docs/library.md)",
    )
    parser.add_argument(
        "--data",
        default="",
        help="of a run that begins with --generator: a folder that prepare.py made, tfds:NAME, or "
        "a built-in set (synthetic-faces, synthetic-irises)",
    )
    parser.add_argument(
        "--images",
        default="0",
        metavar="N|DIR",
        help="invert only the first N images of the training split, rounded up to whole shards, and all of the test "
        "split; 0: all of both. Or a folder of photographs that are not in the data set: they are cropped as its "
        "pictures were, inverted, and annotated in their own pixels -> --out",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the photographs' latents and annotations go")
    parser.add_argument(
        "--aspect", default="", metavar="NAME", help="aspect network for photographs; default: the one trained last"
    )
    parser.add_argument(
        "--detector",
        choices=("haar", "whole"),
        help="what crops photographs: OpenCV's face cascade, or nothing; default: as the run's data set was prepared, "
        "which is neither where that was cropped around landmarks",
    )
    parser.add_argument(
        "--several", choices=("leave-out", "largest"), help="photographs with several faces; default: likewise"
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
        help="steps in one call of the device, between which a stop is answered; default: 1 on a CPU, where "
        "convolutions in a loop on the device are slow, else 10",
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
    cli.add_plan(parser)
    cli.add_hosts(parser)
    cli.add_options(parser, INVERT_PRESETS)
    return parser


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Run, InvertConfig]:
    """Return the command line, the run, and its preset with the options that were given."""
    args = parser().parse_args(argv)
    run = run_of(args)
    preset = preset_of(run)
    if getattr(args, "optimizer", "") == "bfgs":  # the preset's own are for Adam
        own = {name: getattr(InvertConfig, name) for name in OF_ADAM}
        preset = dataclasses.replace(preset, **own)
    config = cli.given_options(args, preset)
    args.photographs = None if re.fullmatch(r"-?\d+", args.images) else Path(args.images)
    args.images = 0 if args.photographs else int(args.images)
    if args.images < 0:
        raise InputError(f"--images is {args.images}; it must be at least 0, or a folder of photographs")
    for name in ("out", "aspect", "detector", "several"):
        if getattr(args, name) and not args.photographs:
            raise InputError(f"--{name}: goes with --images DIR, a folder of photographs")
    if args.photographs and (args.plan or args.checkpoint != "latest"):
        raise InputError(f"--{'plan' if args.plan else 'checkpoint'}: goes with the data set's images, not photographs")
    if args.photographs and not args.out:
        raise InputError(f"--images {args.photographs}: needs --out DIR for what is found")
    if hasattr(args, "window") and not config.tolerance:
        raise InputError("--window does nothing without --tolerance")
    if hasattr(args, "seed") and config.start != "uniform" and config.starts == 1:
        raise InputError(f"--seed does nothing with --start {config.start} alone: it is that of drawn starts")
    if config.tolerance and not config.steps:
        raise InputError(f"--tolerance is {config.tolerance}; it must be 0 where --steps is")
    if "prior_weight" in args and config.prior == "none":
        raise InputError("--prior-weight does nothing without --prior")
    if args.steps_per_call is not None and args.steps_per_call < 1:
        raise InputError(f"--steps-per-call is {args.steps_per_call}; it must be at least 1")
    return args, run, config


def run_of(args: argparse.Namespace) -> Run:
    """Return the run, which --generator may begin."""
    if not args.generator:
        if args.data:
            raise InputError("--data: goes with --generator, which begins a run; this one has its data set")
        return Run.open(args.run)
    cli.join_hosts(args)  # before code of the user's uses JAX
    sharding.use_cpu_devices(getattr(args, "shard_size", 0) or sharding.CPU_BATCH, args.cpu_devices)
    with sharding.first_process_first("generator"):
        return Run.of_generator(args.run, args.generator, args.data)


def preset_of(run: Run) -> InvertConfig:
    """Return where the options of a run's inversion start from: those that it began with, or its preset's."""
    if shards.has_shards(run):
        return run.inversion[0]
    if run.config.preset == OWN and not run.config.encoder_weight:
        return dataclasses.replace(INVERT_PRESETS[OWN], start="zero")
    return INVERT_PRESETS.get(run.config.preset, INVERT_PRESETS["faces"])


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, generator, then shard by shard: optimise and write."""
    args, run, config = parse(argv)
    if not args.generator:
        cli.join_hosts(args)
    sharding.use_cpu_devices(shards.kept_size(run, config) or sharding.CPU_BATCH, args.cpu_devices)
    if args.photographs:
        project(args, run, config)
        return
    generator = run.generator(args.checkpoint, remat=args.remat)
    if args.plan:
        print(plan.inversion(run, *shards.fitted(run, config, generator), generator, args.images))
        sharding.leave()
        return
    with sharding.first_process_first("configuration"):
        config, mesh = shards.fitted(run, config, generator)
        invert = inverter.of_run(run, config, generator, mesh, args.steps_per_call)
        wanted = dataclasses.asdict(config) | {"generator_step": generator.step, "images": args.images}
        if args.generator:
            run.keep_generator(args.generator)
        options: dict[str, Any] = {"defaults": dataclasses.asdict(InvertConfig()), "otherwise": run.start_anew()}
        # Other processes have the first one's, which is perhaps a moment old.
        idle = OF_ADAM if config.optimizer == "bfgs" else ()
        options |= {"free": ("images", *idle), "used": shards.has_shards(run) or jax.process_index() > 0}
        agree(run.folder / "latents" / "config.json", wanted, "inverted", **options)

    found = shards.Shards(run, config.shard_size, args.images)
    unit = max(config.steps * config.starts, 1)
    done = found.images - found.images_missing
    name = "invert" if jax.process_count() == 1 else f"invert ({jax.process_index()} of {jax.process_count()})"
    bar = Progress(name, found.images * unit, done * unit, unit="image-step")
    try:
        for key, results in invert(found.read(), config.shard_size, bar.update, done > 0):
            found.save(key, results)
            rest = 0 if config.steps else len(results["l1"])
            bar.update(rest, l1=float(results["l1"].mean()), psnr_db=float(results["psnr_db"].mean()))
    finally:
        bar.close()
        found.wait()

    sharding.meet("shards written", sharding.LONG)
    if jax.process_index() == 0:
        figures = found.figures(config, cube=generator.draw is None) | {"generator_step": generator.step}
        if found.missing and bar.rate:
            figures["images_per_second"] = bar.rate / unit * jax.process_count()
        run.record("invert", figures, keep=("images_per_second",))
        print(
            f"invert: {figures['images']:,} images, {config.steps} steps, L1 {figures['l1']:.4f}, "
            f"PSNR {figures['psnr_db']:.2f} dB, {figures['failed']} failed -> {run.folder / 'latents'}"
        )
    sharding.leave()


def project(args: argparse.Namespace, run: Run, config: InvertConfig) -> None:
    """Invert and annotate photographs that are not in the data set."""
    if args.generator:
        run.keep_generator(args.generator)
    named = ("detector", "several", "aspect", "steps_per_call", "remat")
    options = {name: getattr(args, name) for name in named}
    found = photographs.project(run, config, args.photographs, args.out, **options)
    for note in found["notes"]:
        print(f"invert: {note}")
    left_out = f", {found['left_out']} left out" if found["left_out"] else ""
    print(f"invert: {found['photographs']:,} photographs, L1 {found['l1']:.4f}{left_out} -> {args.out}")

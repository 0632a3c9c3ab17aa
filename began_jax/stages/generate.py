"""Sample annotated images from a run -> a data set that other tools read, and pictures.

    python generate.py --run runs/demo --count 1000 --out runs/demo/generated

OUT gets images/*.png, latents.npy, dataset.json, and the annotations: annotations.json (COCO keypoints), masks/*.png,
attributes.csv, or annotations.npy for other kinds. RUN/figures gets samples.png, and the interpolation between an image
and its mirror image of fig. 7 as a strip and as a GIF.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import figures, sampling, sharding
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.progress import Progress
from began_jax.run import cli, networks, plan, shards
from began_jax.run.folder import Run

BATCH = 256  # images generated, annotated and written together


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    parser.add_argument("--count", type=int, default=1000, help="images to generate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new data set; new or empty")
    parser.add_argument("--aspect", help="name of the aspect network; default: the one trained last")
    parser.add_argument(
        "--sampler",
        default="uniform",
        choices=sampling.SAMPLERS,
        help="latents: "
        "uniform on the cube, as the paper; drawn from Z_data with --jitter; or between two of Z_data: "
        "an aspect network that has learnt T(x) was trained on Z_data",
    )
    parser.add_argument(
        "--jitter", type=float, default=sampling.JITTER, help="noise of --sampler data, in standard deviations"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    parser.add_argument(
        "--mirror-image",
        type=int,
        default=0,
        help="image whose interpolation to its mirror image is "
        "drawn (fig. 7): its number in the held-out split, or in the training split where none is",
    )
    cli.add_plan(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load, then sample, generate, annotate and write batch by batch; then the pictures."""
    args = parser().parse_args(argv)
    if args.count < 1 or args.jitter < 0:
        raise InputError("--count must be at least 1 and --jitter at least 0")
    run = Run.open(args.run)
    kind = run.kind
    if args.plan:
        print(plan.generation(run, args.count, BATCH))
        return
    name = args.aspect or networks.newest(run)
    annotate, epoch, _ = networks.load(run, name)
    key, z_data = jax.random.key(args.seed), run.latents("train")["z"]
    sample = jax.jit(sampling.sampler(args.sampler, key, run.config.latent_size, z_data, args.jitter))

    origin = provenance(args, run, name, epoch)
    if written_by_this_command(args.out, origin | {"count": args.count}):
        print(f"generate: {args.count:,} images are there already -> {args.out}")
        return
    with kind.writer(args.out, origin, run.data) as write:
        # The pictures come first: OUT takes its name when all is written, and a rerun then has nothing left to do.
        z = mirror_interpolation(run, args.mirror_image)
        draw_interpolation(run.folder / "figures", run.generate(z), kind.marks(annotate(z), run.data))
        bar = Progress("generate", args.count, unit="image")
        for first in range(0, args.count, BATCH):
            # Whole batches, so that every call has one shape; what is over the count is dropped.
            z = np.asarray(sample(jnp.arange(first, first + BATCH)))[: args.count - first]
            images, annotations = run.inverted.pictures(z), annotate(z)
            if first == 0:
                picture = figures.annotated_grid(to_float(images[:36]), **kind.marks(annotations[:36], run.data))
                figures.save_image(run.folder / "figures" / "samples.png", picture)
            write(z, images, annotations)
            bar.update(len(z))
        bar.close()
        run.record("generate", {"images": args.count, "images_per_second": bar.rate})
    print(
        f"generate: {args.count:,} images with {kind.plural} ({args.sampler} latents) "
        f"-> {args.out}, {run.folder / 'figures'}"
    )


def provenance(args: argparse.Namespace, run: Run, aspect: str, epoch: int) -> dict[str, Any]:
    """Return what OUT/dataset.json tells of its origin."""
    return {
        "run": str(args.run),
        "generator_step": run.inverted.step,
        "aspect": aspect,
        "aspect_epoch": epoch,
        "sampler": args.sampler,
        "jitter": args.jitter,
        "seed": args.seed,
    }


def written_by_this_command(out: Path, expected: dict[str, Any]) -> bool:
    """Return whether `out` is a complete data set of exactly this origin: then there is nothing left to do."""
    path = out / "dataset.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return expected.items() <= found.items()


def mirror_interpolation(run: Run, index: int) -> np.ndarray:
    """Return latents of an image, of 14 points on the way and of its mirror image, [16, latent] (fig. 7)."""
    source = run.data.source("test" if "test" in run.data.splits else "train")
    if not 0 <= index < len(source):
        raise InputError(f"--mirror-image is {index}; the split has {len(source)} images")
    image = to_float(ordered(source, index, index + 1)["image"])
    both, positions = np.concatenate([image, image[:, :, ::-1]]), np.array([index, index])
    invert = shards.inverter(run.inversion[0], run.inverted, sharding.data_mesh(2, devices=1))
    ((_, result),) = invert([(0, both, positions)], 2)
    return np.asarray(sampling.interpolate(*jnp.asarray(result["z"])))


def draw_interpolation(folder: Path, images: np.ndarray, marks: dict[str, Any]) -> None:
    """Write the way from an image to its mirror image as a strip and as a GIF (fig. 7)."""
    figures.save_image(folder / "interpolation.png", figures.strip(images, **marks))
    frames = [
        figures.strip(images[i : i + 1], **{name: values[i : i + 1] for name, values in marks.items()})
        for i in range(len(images))
    ]
    figures.save_gif(folder / "interpolation.gif", frames)

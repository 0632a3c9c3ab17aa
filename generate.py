"""Sample annotated images from a run -> a data set that other tools read, and pictures.

    python generate.py --run runs/demo --count 1000 --out runs/demo/generated

OUT gets images/*.png, latents.npy, dataset.json, and the annotations: annotations.json (COCO keypoints), masks/*.png,
attributes.csv, or annotations.npy for other kinds. RUN/figures gets samples.png, and the interpolation between an image
and its mirror image of fig. 7 as a strip and as a GIF.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import began, figures, kinds, progress, sampling, sharding
from began_jax.data.datasets import DataSet, ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.run import cli
from began_jax.run import folder as runs
from began_jax.run import networks as aspect_networks
from began_jax.run import shards as shard_inversion
from began_jax.run.latents import Latents

BATCH = 256  # images generated, annotated and written together


def parse():
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    parser.add_argument("--count", type=int, default=1000, help="images to generate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new data set; new or empty")
    parser.add_argument("--aspect", help="name of the aspect network; default: the one trained last")
    parser.add_argument(
        "--sampler",
        default="uniform",
        choices=("uniform", "data", "interpolated"),
        help="latents: "
        "uniform on the cube, as the paper; drawn from Z_data with --jitter; or between two of Z_data: "
        "an aspect network that has learnt T(x) was trained on Z_data",
    )
    parser.add_argument("--jitter", type=float, default=0.1, help="noise of --sampler data, in standard deviations")
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    parser.add_argument(
        "--mirror-image",
        type=int,
        default=0,
        help="image whose interpolation to its mirror image is "
        "drawn (fig. 7): its number in the held-out split, or in the training split where none is",
    )
    return parser.parse_args()


def main() -> None:
    """Load, then sample, generate, annotate and write batch by batch; then the pictures."""
    args = parse()
    if args.count < 1 or args.jitter < 0:
        raise InputError("--count must be at least 1 and --jitter at least 0")
    config, data = runs.load(args.run)
    kind = kinds.of(data)
    name = args.aspect or aspect_networks.newest(args.run)
    annotate, aspect_epoch = aspect_networks.load(args.run, name, config, data)
    generator, _ = began.networks(config)
    invert_config, state = runs.load_inverted(args.run, config)
    generate = aspect_networks.batched(generator, state.generator)
    z_data = jnp.asarray(Latents(args.run / "latents" / "train", read_only=True).load()["z"])
    key = jax.random.key(args.seed)
    samplers = {
        "uniform": lambda indices: sampling.uniform_latents(key, indices, config.latent_size),
        "data": lambda indices: sampling.bootstrap_latents(key, indices, z_data, args.jitter),
        "interpolated": lambda indices: sampling.interpolated_latents(key, indices, z_data),
    }
    sample = jax.jit(samplers[args.sampler])

    provenance = {
        "run": str(args.run),
        "generator_step": int(state.step),
        "aspect": name,
        "aspect_epoch": aspect_epoch,
        "sampler": args.sampler,
        "jitter": args.jitter,
        "seed": args.seed,
    }
    if written_by_this_command(args.out, provenance | {"count": args.count}):
        print(f"generate: {args.count:,} images are there already -> {args.out}")
        return
    invert = shard_inversion.inverter(invert_config, config, state, sharding.data_mesh(2, devices=1))
    with kind.writer(args.out, provenance, data) as write:
        # The pictures come first: OUT takes its name when all is written, and a rerun then has nothing left to do.
        z = mirror_interpolation(args.mirror_image, data, invert)
        draw_interpolation(args.run / "figures", generate(z), kind.marks(annotate(z), data))
        bar = progress.Progress("generate", args.count, unit="image")
        for first in range(0, args.count, BATCH):
            # Whole batches, so that every call has one shape; what is over the count is dropped.
            z = np.asarray(sample(jnp.arange(first, first + BATCH)))[: args.count - first]
            images, annotations = generate(z), annotate(z)
            if first == 0:
                picture = figures.annotated_grid(images[:36], **kind.marks(annotations[:36], data))
                figures.save_image(args.run / "figures" / "samples.png", picture)
            write(z, images, annotations)
            bar.update(len(z))
        bar.close()
        runs.record_metrics(args.run, "generate", {"images": args.count, "images_per_second": bar.rate})
    print(
        f"generate: {args.count:,} images with {kind.plural} ({args.sampler} latents) "
        f"-> {args.out}, {args.run / 'figures'}"
    )


def written_by_this_command(out: Path, expected: dict) -> bool:
    """Whether `out` is a complete data set of exactly this origin: then there is nothing left to do."""
    path = out / "dataset.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return expected.items() <= found.items()


def mirror_interpolation(index: int, data: DataSet, invert: Callable) -> np.ndarray:
    """Latents of an image, of 14 points on the way and of its mirror image, [16, latent] (fig. 7)."""
    source = data.source("test" if "test" in data.splits else "train")
    if not 0 <= index < len(source):
        raise InputError(f"--mirror-image is {index}; the split has {len(source)} images")
    image = to_float(ordered(source, index, index + 1)["image"])
    *_, (_, result) = invert([(0, np.concatenate([image, image[:, :, ::-1]]), np.array([index, index]))], 2)
    return np.asarray(sampling.interpolate(*jnp.asarray(result["z"])))


def draw_interpolation(folder: Path, images: np.ndarray, marks: dict[str, Sequence]) -> None:
    """Write the way from an image to its mirror image as a strip and as a GIF (fig. 7)."""
    figures.save_image(folder / "interpolation.png", figures.strip(images, **marks))
    frames = [
        figures.strip(images[i : i + 1], **{name: values[i : i + 1] for name, values in marks.items()})
        for i in range(len(images))
    ]
    figures.save_gif(folder / "interpolation.gif", frames)


if __name__ == "__main__":
    cli.run(main)

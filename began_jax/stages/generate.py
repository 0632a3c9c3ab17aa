"""Sample annotated images from a run -> a data set that other tools read, and pictures.

    python generate.py --run runs/demo --count 1000 --out runs/demo/generated
    python generate.py --run runs/demo --count 1000 --out runs/demo/sure --keep 0.9    # without the most doubtful tenth
    python generate.py --run runs/demo --count 1000 --out runs/demo/generated --format yolo,tfds    # for other tools
    python generate.py --run runs/few --sampler images --out annotated    # the data set's own images, annotated

OUT gets images/*.png (--picture), latents.npy, dataset.json, README.md (a card), croissant.json (what there is, for
programs), and the annotations: annotations.json (COCO keypoints), masks/*.png, attributes.csv, or annotations.npy for
other kinds. doubt.npy says how far each annotation may be off (docs/aspects.md).
RUN/figures gets samples.png, and the interpolation between an image and its mirror image of fig. 7 as a strip and as a
GIF; with --sampler images it gets annotated.png.
"""

import argparse
import inspect
import math
import re
from collections.abc import Sequence
from pathlib import Path

from began_jax import figures, sampling
from began_jax.errors import InputError
from began_jax.export import formats
from began_jax.export.dataset import FORMS
from began_jax.images import to_float
from began_jax.progress import Progress
from began_jax.run import cli, doubt, generated, interpolation, networks, pairs, plan
from began_jax.run.folder import Run
from began_jax.run.generator import digest


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    count = "images to generate; default: 1000, and with --sampler images all"
    parser.add_argument("--count", type=int, help=count)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new data set; new or empty")
    parser.add_argument("--aspect", help="name of the aspect network; default: the one trained last")
    parser.add_argument(
        "--sampler",
        default="uniform",
        choices=pairs.SAMPLERS,
        help="latents: "
        "uniform on the cube, as the paper, or as a generator of yours draws them; drawn from Z_data with --jitter; "
        "between two of Z_data; or of a density fitted to Z_data, a mixture of Gaussians, with --truncation. images: "
        "Z_data, with the training images themselves, which the network annotates where nobody has. "
        "An aspect network that has learnt T(x) was trained on Z_data",
    )
    parser.add_argument(
        "--jitter", type=float, default=sampling.JITTER, help="noise of --sampler data, in standard deviations"
    )
    parser.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        help="of --sampler density: below 1, latents are nearer to the middle of their part of it, so images are less "
        "often broken, and less different",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    parser.add_argument(
        "--keep",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="keep the share of the images with the least doubt, and draw as many more; 1: all",
    )
    parser.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="share the work with other hosts: --count samples that no other part has (I from 0 to N - 1), into an "
        "--out of their own; numbers.npy says which samples of the seed they are",
    )
    parser.add_argument(
        "--mirror-image",
        type=int,
        default=0,
        help="image whose interpolation to its mirror image is "
        "drawn (fig. 7): its number in the held-out split, or in the training split where none is",
    )
    parser.add_argument(
        "--picture",
        default="png",
        choices=tuple(FORMS),
        help="how the pictures are stored; webp loses nothing either and takes less room and more time, jpeg is of "
        "quality 95; masks are always PNG",
    )
    known = "; ".join(f"{name}: {form.text}" for name, form in formats.FORMATS.items())
    parser.add_argument(
        "--format", default="", metavar="NAME,...", help=f"also write OUT/NAME/ in the formats of other tools. {known}"
    )
    cli.add_plan(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load, then sample, generate, annotate and write batch by batch; then the pictures."""
    args = parser().parse_args(argv)
    if (args.count is not None and args.count < 1) or args.jitter < 0 or args.truncation < 0:
        raise InputError("--count must be at least 1, --jitter and --truncation at least 0")
    pairs.check_draw(args.sampler, args.jitter, args.truncation)
    if not 0 < args.keep <= 1:
        raise InputError(f"--keep is {args.keep}; it must be more than 0 and at most 1")
    part = part_of(args.part)
    first_part = part[0] == 0  # the other hosts leave the run as it is
    run = Run.open(args.run)
    kind = run.kind
    own_images = args.sampler == pairs.IMAGES
    args.count = args.count or (available(args, run) if own_images else 1000)
    check_images(args, run)
    if args.plan:
        print(plan.generation(run, args.count, min(pairs.BATCH, run.inverted.batch)))
        return
    wanted = [name.strip() for name in args.format.split(",") if name.strip()]
    formats.check(kind.name if kind.name in formats.KINDS else "annotations", wanted)
    name = args.aspect or networks.newest(run)
    aspect = networks.load(run, name)
    if args.keep < 1 and not doubt.has_doubt(run, aspect):
        remedy = "train one with aspect.py --closed-form process"
        raise InputError(
            f"--keep {args.keep}: network {name} has no doubt: no process, no image network, no encoder; {remedy}"
        )

    parameters = aspect.pure.parameters if aspect.pure else None
    known_by = {"count": args.count, "latents": len(run.latents("train")["z"]), "network": digest(parameters)}
    origin = generated.provenance(run, name, aspect.epoch, vars(args)) | known_by
    of_latents = {"latents"} if args.sampler == "uniform" else set()  # which these do not come from
    if generated.written_by_this_command(args.out, {name: origin[name] for name in origin.keys() - of_latents}):
        print(f"generate: {args.count:,} images are there already -> {args.out}")
        generated.finish(args.out, run, wanted)
        return
    with kind.writer(args.out, origin, run.data) as write:
        taken = inspect.signature(write).parameters  # a kind of the user's may not take doubts or numbers
        written = getattr(write, "written", None)  # of ours, which goes on after a stop
        there, first = (written.count, written.next_number) if written else (0, 0)
        if written is None and args.picture != "png":
            raise InputError(
                f"--picture {args.picture}: {kind.plural} have a writer of their own, which stores pictures"
            )
        shown = there > 0 or not first_part
        # The pictures come first: OUT takes its name when all is written, and a rerun then has nothing left to do.
        if first_part and not own_images:
            z = interpolation.latents(run, args.mirror_image)
            interpolation.draw(run, run.generate(z), aspect.annotate(z))
        bar = Progress("generate", args.count, there, unit="image")
        draw = pairs.Draw(args.sampler, args.jitter, args.keep, args.truncation, part)
        for made in pairs.drawn(run, aspect, args.count - there, draw, args.seed, first):
            if not shown:
                shown = True
                marks = kind.marks(run.data.known(made.annotations[:36]), run.data)
                picture = figures.annotated_grid(to_float(made.images[:36]), **marks)
                figures.save_image(run.folder / "figures" / f"{'annotated' if own_images else 'samples'}.png", picture)
            known = {name: getattr(made, name) for name in ("doubt", "numbers") if name in taken}
            write(made.z, made.images, run.data.known(made.annotations), **known)
            bar.update(len(made.z))
        bar.close()
        if first_part and not own_images:
            run.record("generate", {"images": args.count, "images_per_second": bar.rate})
    generated.finish(args.out, run, wanted)
    sampled = "of the data set" if own_images else f"{run.inverted.named(args.sampler)} latents"
    kept = f", the {100 * args.keep:g} % with the least doubt" if args.keep < 1 else ""
    print(
        f"generate: {args.count:,} images with {kind.plural} ({sampled}{kept}) -> {args.out}, {run.folder / 'figures'}"
    )


def available(args: argparse.Namespace, run: Run) -> int:
    """Return how many of the data set's own images there are: those that were inverted, as far as they are kept."""
    return math.floor(args.keep * len(run.latents("train")["z"]) + 1e-9)


def check_images(args: argparse.Namespace, run: Run) -> None:
    """Raise InputError where the data set's own images are asked for in a way that there are not."""
    if args.sampler != pairs.IMAGES:
        return
    if args.count > (there := available(args, run)):
        kept = f" with --keep {args.keep:g}" if args.keep < 1 else ""
        raise InputError(f"--count {args.count}: --sampler images{kept} has {there:,} images; give at most that")
    for name, default in (("part", "0/1"), ("jitter", sampling.JITTER), ("seed", 0), ("plan", False)):
        if getattr(args, name) != default:
            raise InputError(f"--{name}: not with --sampler images, which draws nothing")


def part_of(text: str) -> tuple[int, int]:
    """Return I and N of --part I/N; InputError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 <= number < parts:
        raise InputError(f"--part is {text}; it must be I/N, I from 0 to N - 1, such as 0/4")
    return number, parts

"""Our batched inversion beside the projectors' practice: one image at a time, 1,000 steps of Adam, in PyTorch.

    python -m benchmarks.projector --run RUN

Both invert the same held-out images with the same trained generator. Ours is given the fewest steps after which the
images' mean error is not above theirs; the ratio is that of the times an image.
"""

import dataclasses
import itertools
import time
from pathlib import Path

import jax
import numpy as np

from began_jax.configs import InvertConfig
from began_jax.errors import InputError
from began_jax.progress import Progress
from began_jax.run import cli
from benchmarks import parts
from benchmarks.held_out import HeldOut
from benchmarks.plan import Size
from benchmarks.report import markdown

OPTIONS = {
    "Adam from zero, the paper's": InvertConfig(),
    "BFGS from zero": InvertConfig(optimizer="bfgs", learning_rate=0.05),
    "BFGS from the encoder": InvertConfig(optimizer="bfgs", learning_rate=0.05, start="encoder"),
}
MOST = 1000  # steps of ours
LONG = 10.0  # seconds of a run that is not repeated


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py made")
    parser.add_argument("--images", type=int, default=4, help="that PyTorch inverts one after the other")
    parser.add_argument("--batch", type=int, default=64, help="images that we invert together")
    parser.add_argument("--steps", type=int, default=1000, help="of PyTorch's Adam")
    return parser


def projected(held_out: HeldOut, count: int, steps: int) -> tuple[float, float, str]:
    """Return seconds an image and mean error of PyTorch's inversion, one image at a time, and its fastest variant.

    The error is the lowest that each image met.
    """
    import torch

    from benchmarks import torch_models, torch_tasks

    c = held_out.config
    size = Size(c.height, c.width, c.filters, 1, len(c.encoder_filters), c.channels, c.latent_size)
    x = torch.tensor(held_out.images[:count].transpose(0, 3, 1, 2))

    def one(image: torch.Tensor, layout: str, threads: int, steps: int) -> tuple[float, float]:
        torch.set_num_threads(threads)
        generator = torch_models.Decoder(size)
        torch_models.load_decoder(generator, held_out.generator.parameters)
        generator, image = (a.to(memory_format=torch_tasks.FORMATS[layout]) for a in (generator, image))
        inversion = torch_tasks.Inversion(generator, image, size.latent)
        begin = time.perf_counter()
        errors = [inversion.step() for _ in range(steps)]
        return time.perf_counter() - begin, float(torch.stack(errors).min())

    variants = list(itertools.product(parts.LAYOUTS, sorted({1, parts.CORES})))
    took = {variant: min(one(x[:1], *variant, 30)[0] for _ in range(3)) for variant in variants}
    layout, threads = min(took, key=took.get)
    bar = Progress("PyTorch", count, unit="image")
    found = []
    for image in x.split(1):
        found.append(one(image, layout, threads, steps))
        bar.update(l1=found[-1][1])
    bar.close()
    seconds, errors = zip(*found, strict=True)
    return float(np.median(seconds)), float(np.mean(errors)), f"{layout}, {parts.count(threads, 'thread')}"


def steps_to(held_out: HeldOut, how: InvertConfig, l1: float, count: int) -> int | None:
    """Return the fewest steps after which the mean of the first images' lowest errors is `l1`; None: over MOST."""
    # A state has the error of the latents before it, so that of n steps is known after n + 1.
    for steps, state in zip(range(-1, MOST + 1), held_out.states(how), strict=False):
        if np.asarray(state.best_error)[:count].mean() <= l1:
            return steps
    return None


def timed(held_out: HeldOut, how: InvertConfig) -> tuple[float, np.ndarray]:
    """Return seconds an image, the median of three runs or, where they are long, one; and the error of each."""
    invert, count = held_out.inverter(how), len(held_out.images)
    results = invert()  # compiles
    took: list[float] = []
    while len(took) < 3 and not (took and took[0] * count > LONG):
        begin = time.perf_counter()
        results = invert()
        took.append((time.perf_counter() - begin) / count)
    return float(np.median(took)), results["l1"]


def main() -> None:
    """Measure PyTorch, then each of our options."""
    args = parser().parse_args()
    if not parts.HAS_TORCH:
        raise InputError("PyTorch is not installed: pip install -e '.[bench]'")
    if args.steps < 1:
        raise InputError(f"--steps is {args.steps}; it must be at least 1")
    if not 1 <= args.images <= args.batch:
        raise InputError(f"--images is {args.images}; it must be from 1 to --batch, which is {args.batch}")
    jax.config.update("jax_platforms", "cpu")  # PyTorch's device
    held_out = HeldOut(args.run, args.batch)
    seconds, l1, variant = projected(held_out, args.images, args.steps)
    rows = [["PyTorch, Adam from zero, one image at a time", f"{args.steps:,}", f"{l1:.4f}", f"{seconds:.2f} s", ""]]
    for name, how in OPTIONS.items():
        if how.start == "encoder" and held_out.generator.encode is None:
            continue
        name = f"ours, {name}, {len(held_out.images)} together"
        if (steps := steps_to(held_out, how, l1, args.images)) is None:
            rows.append([name, f"over {MOST:,}", "", "", ""])
            continue
        mine, errors = timed(held_out, dataclasses.replace(how, steps=steps))
        mean = errors[: args.images].mean()
        rows.append([name, f"{steps:,}", f"{mean:.4f}", f"{1e3 * mine:.0f} ms", f"{seconds / mine:.1f}"])
    size = f"{held_out.config.height}x{held_out.config.width}, n={held_out.config.filters}"
    print(f"{size}; {args.images} images of the {held_out.split} split; PyTorch: {variant}\n")
    print(markdown(("inversion", "steps", "mean L1", "time an image", "times faster"), rows))


if __name__ == "__main__":
    cli.run(main, "projector")

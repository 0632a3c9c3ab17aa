"""Our batched inversion beside the projectors' practice: one image at a time, 1,000 steps of Adam, in PyTorch.

    python -m benchmarks.projector --run RUN

Both invert the same held-out images with the same trained generator. Ours is given the fewest steps after which the
images' mean error is not above theirs; the ratio is that of the times an image.
"""

import argparse
import dataclasses
import itertools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import began, inversion, progress, sharding
from began_jax.configs import InvertConfig, TrainConfig
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.run import cli
from began_jax.run import folder as runs
from began_jax.run import shards as shard_inversion
from benchmarks import parts
from benchmarks.plan import Size

OPTIONS = {
    "Adam from zero, the paper's": InvertConfig(),
    "BFGS from zero": InvertConfig(optimizer="bfgs", learning_rate=0.05),
    "BFGS from the encoder": InvertConfig(optimizer="bfgs", learning_rate=0.05, start="encoder"),
}
MOST = 1000  # steps of ours
LONG = 10.0  # seconds of a run that is not repeated


def parse() -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="projector"
    )
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py made")
    parser.add_argument("--images", type=int, default=4, help="that PyTorch inverts one after the other (4)")
    parser.add_argument("--batch", type=int, default=64, help="images that we invert together (64)")
    parser.add_argument("--steps", type=int, default=1000, help="of PyTorch's Adam (1,000)")
    args = parser.parse_args()
    if not parts.HAS_TORCH:
        raise InputError("PyTorch is not installed: pip install -e '.[bench]'")
    if args.steps < 1:
        raise InputError(f"--steps is {args.steps}; it must be at least 1")
    if not 1 <= args.images <= args.batch:
        raise InputError(f"--images is {args.images}; it must be from 1 to --batch, which is {args.batch}")
    return args


def projected(config: TrainConfig, state: began.BeganState, images: np.ndarray, steps: int) -> tuple[float, float, str]:
    """Seconds an image and mean error of PyTorch's inversion, one image at a time; the layout and threads, its fastest.

    The error is the lowest that each image met.
    """
    import torch

    from benchmarks import torch_models, torch_tasks

    size = Size(
        config.height, config.width, config.filters, 1, len(config.encoder_filters), config.channels, config.latent_size
    )
    x = torch.tensor(images.transpose(0, 3, 1, 2))

    def one(image: torch.Tensor, layout: str, threads: int, steps: int) -> tuple[float, float]:
        torch.set_num_threads(threads)
        memory = torch_tasks.memory_format(layout)
        generator = torch_models.Decoder(size)
        torch_models.load_decoder(generator, state.generator)
        inverse = torch_tasks.Inversion(generator.to(memory_format=memory), image.to(memory_format=memory), size.latent)
        begin = time.perf_counter()
        errors = [inverse.step() for _ in range(steps)]
        return time.perf_counter() - begin, float(torch.stack(errors).min())

    variants = list(itertools.product(parts.LAYOUTS, sorted({1, parts.CORES})))
    took = {variant: min(one(x[:1], *variant, 30)[0] for _ in range(3)) for variant in variants}
    layout, threads = min(took, key=took.get)
    bar = progress.Progress("PyTorch", len(x), unit="image")
    found = []
    for i in range(len(x)):
        found.append(one(x[i : i + 1], layout, threads, steps))
        bar.update(l1=found[-1][1])
    bar.close()
    seconds, errors = zip(*found, strict=True)
    return float(np.median(seconds)), float(np.mean(errors)), f"{layout}, {parts.count(threads, 'thread')}"


class Ours:
    """Our inversion of the images in one batch."""

    def __init__(self, config: TrainConfig, state: began.BeganState, images: np.ndarray):
        self.mesh = sharding.data_mesh(len(images))
        self._config, self._state, self._images = config, state, images
        self._positions = np.arange(len(images))

    def steps_to(self, how: InvertConfig, l1: float, count: int) -> int | None:
        """The fewest steps after which the mean of the first images' lowest errors is at most `l1`; None: over MOST."""
        split, network = sharding.split(self.mesh), began.networks(self._config)[0]
        parameters = jax.device_put(self._state.generator, sharding.replicated(self.mesh))
        images = jax.device_put(self._images, split)
        if how.start == "encoder":
            z = began.encoder_network(self._config).apply({"params": self._state.encoder}, self._images)
        else:
            z = inversion.start(how, self._positions, self._config.latent_size)

        def generate(parameters: dict, z: jax.Array) -> jax.Array:
            return network.apply({"params": parameters}, z)

        @jax.jit
        def step(parameters: dict, state: inversion.InversionState, images: jax.Array) -> inversion.InversionState:
            return inversion.step(how, lambda z: generate(parameters, z), state, images)

        state = jax.jit(lambda z: inversion.init(how, z))(jax.device_put(jnp.asarray(z), split))
        for done in range(MOST + 1):
            # A step notes the error of the latents that it starts from, so that of `done` steps comes with the next.
            state = step(parameters, state, images)
            if np.asarray(state.best_error)[:count].mean() <= l1:
                return done
        return None

    def invert(self, how: InvertConfig) -> tuple[float, np.ndarray]:
        """Seconds an image, the median of three runs or, where they are long, one; and the error of each."""
        run = shard_inversion.inverter(how, self._config, self._state, self.mesh)
        took = []
        while len(took) < 4 and not (len(took) == 2 and took[1] * len(self._images) > LONG):
            begin = time.perf_counter()
            *_, (_, results) = run([(0, self._images, self._positions)], len(self._images))
            took.append((time.perf_counter() - begin) / len(self._images))
        return float(np.median(took[1:])), results["l1"]  # the first compiles


def main() -> None:
    """PyTorch, then each of our options."""
    args = parse()
    jax.config.update("jax_platforms", "cpu")  # PyTorch's device
    config, data = runs.load(args.run)
    sharding.use_cpu_devices(args.batch)
    state = runs.load_training(args.run, config)
    split = "test" if "test" in data.splits else "train"
    images = to_float(ordered(data.source(split), 0, args.batch)["image"])
    seconds, l1, variant = projected(config, state, images[: args.images], args.steps)
    size = f"{config.height}x{config.width}, n={config.filters}"
    print(f"{size}; {args.images} images of the {split} split; PyTorch: {variant}\n")
    print("| inversion | steps | mean L1 | time an image | times faster |\n|---|---|---|---|---|")
    print(f"| PyTorch, Adam from zero, one image at a time | {args.steps:,} | {l1:.4f} | {seconds:.2f} s | |")
    ours = Ours(config, state, images)
    for name, how in OPTIONS.items():
        if how.start == "encoder" and not config.encoder_weight:
            continue
        if (steps := ours.steps_to(how, l1, args.images)) is None:
            print(f"| ours, {name}, {len(images)} together | over {MOST:,} | | | |")
            continue
        mine, errors = ours.invert(dataclasses.replace(how, steps=steps))
        mean = errors[: args.images].mean()
        print(
            f"| ours, {name}, {len(images)} together | {steps:,} | {mean:.4f} | {mine * 1e3:.0f} ms "
            f"| {seconds / mine:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    cli.run(main, "projector")

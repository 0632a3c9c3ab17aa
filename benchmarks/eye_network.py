"""Train the network that `--annotator eyes` is, on rendered eyes alone (began_jax/data/synthetic/cameras.py).

    python -m benchmarks.eye_network --out began_jax/weights/eyes.npz    # or make eye-network

On two cores it takes half an hour. `python -m benchmarks.iris_segmenter --annotator eyes` measures it on pictures.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import metrics, moving, sharding, student
from began_jax.annotators import eyes
from began_jax.annotators.annotator import Unsure
from began_jax.annotators.workers import ordered_map
from began_jax.data.synthetic import cameras
from began_jax.images import to_float
from began_jax.models import apply
from began_jax.progress import Progress
from began_jax.run import cli

HEIGHT, WIDTH = 96, 128
BLOCK, HELD_OUT, BATCH = 100, 500, 16


def drawn(first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a block of eyes, stretched as the network sees them, and their masks."""
    found = []
    for index in range(first, first + BLOCK):
        image, mask = cameras.render(0, index, HEIGHT, WIDTH)
        try:
            found.append((eyes.stretched(image[..., 0])[..., None], mask))
        except Unsure:
            continue
    images, masks = zip(*found, strict=True)
    return np.stack(images), np.stack(masks)


def renderer() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Return what a worker process does."""
    return drawn


def rendered(count: int, workers: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` eyes and masks, or a few less, uint8."""

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        bar = Progress("render", count, unit="eye")
        for block in ordered_map(renderer, range(0, count, BLOCK), workers):
            bar.update(BLOCK)
            yield block
        bar.close()

    images, masks = zip(*blocks(), strict=True)
    return np.concatenate(images), np.concatenate(masks)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file of the parameters")
    parser.add_argument("--count", type=int, default=20_000, help="rendered eyes")
    parser.add_argument("--steps", type=int, default=7_500, help="of training, 16 eyes each")
    parser.add_argument("--workers", type=int, help="processes that render; default: one a core")
    return parser


def main() -> None:
    """Render, train, measure on other rendered eyes, and write."""
    args = parser().parse_args()
    sharding.use_cpu_devices(1, kernel_gradients=True)
    images, masks = rendered(args.count + HELD_OUT, args.workers)
    network, recipe = eyes.network(), student.Recipe(steps=args.steps, batch_size=BATCH, learning_rate=2e-3)
    bar = Progress("train", args.steps, unit="step")
    learnt = [(images[:-HELD_OUT], masks[:-HELD_OUT])]
    parameters = student.fit(network, learnt, recipe, step_done=bar.update, moves=moving.with_hard_masks)
    bar.close()
    eyes.save(jax.device_get(parameters), args.out)
    kept, held = eyes.load(args.out), slice(len(images) - HELD_OUT, None)
    answer = jax.jit(lambda p, x: apply(network, p, to_float(x)))
    found = np.concatenate([answer(kept, jnp.asarray(part)) for part in np.split(images[held], HELD_OUT // BLOCK)])
    large = masks[held].mean((1, 2, 3)) > 0.005
    iou = metrics.iou(found[large], masks[held][large].astype(np.float32)).mean()
    print(f"eye network: IoU {iou:.3f} of {large.sum()} other rendered eyes, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    cli.run(main, "eye_network")

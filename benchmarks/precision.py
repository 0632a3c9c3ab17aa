"""Does training in bfloat16 stay with training in float32? Their losses beside those of other seeds.

    python -m benchmarks.precision [--steps 1000] [--seeds 3]

Trains on synthetic faces (32x32, n=8, batch 16) with each seed in float32 and in bfloat16 (float32 parameters,
moments and losses), and prints mean losses over windows of steps. The seeds' spread in float32 is the noise.
"""

import argparse
import dataclasses

import jax
import numpy as np

from began_jax import began, progress, sharding
from began_jax.configs import TrainConfig
from began_jax.data.synthetic.dataset import Examples
from began_jax.errors import InputError
from began_jax.run import cli

CONFIG = TrainConfig(
    height=32,
    width=32,
    filters=8,
    encoder_filters=(8, 16, 24),
    batch_size=16,
    loss_power=1,
    learning_rate=6e-4,
    lambda_k=0.003,
)
WINDOWS = 5
SHOWN = ("loss_real", "convergence")


def losses(config: TrainConfig, images: np.ndarray, steps: int) -> np.ndarray:
    """Trains for `steps` on batches that the seed draws; returns the SHOWN metrics [steps, 2]."""
    step = jax.jit(lambda state, batch: began.step(config, state, batch), donate_argnums=0)
    state, random, found = jax.jit(lambda: began.init(config))(), np.random.default_rng(config.seed), []
    bar = progress.Progress(f"{config.precision}, seed {config.seed}", steps, unit="step")
    for _ in range(steps):
        state, metrics = step(state, images[random.integers(0, len(images), config.batch_size)])
        metrics = jax.device_get(metrics)
        found.append([metrics[name] for name in SHOWN])
        bar.update(1)
    bar.close()
    return np.array(found)


def main() -> None:
    """Trains, and prints the table."""
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if args.steps < WINDOWS or args.seeds < 2:
        raise InputError(f"--steps must be at least {WINDOWS} and --seeds at least 2")
    sharding.use_cpu_devices(CONFIG.batch_size, 1, kernel_gradients=True)
    images = np.stack([example["image"] for example in Examples("synthetic-faces", 0, 0, 1024, 32, 32)])
    means = {}  # [seeds, windows, metrics]
    for precision in ("float32", "bfloat16"):
        runs = [
            losses(dataclasses.replace(CONFIG, precision=precision, seed=seed), images, args.steps)
            for seed in range(args.seeds)
        ]
        means[precision] = np.stack([[part.mean(0) for part in np.array_split(run, WINDOWS)] for run in runs])
    print(f"Means over {args.seeds} seeds; in brackets their standard deviation.\n")
    print("| steps up to | " + " | ".join(f"{name}, {p}" for name in SHOWN for p in means) + " |")
    print("|---" * (1 + 2 * len(SHOWN)) + "|")
    for window in range(WINDOWS):
        cells = [
            f"{of[:, window, i].mean():.4f} ({of[:, window, i].std(ddof=1):.4f})"
            for i in range(len(SHOWN))
            for of in means.values()
        ]
        print(f"| {args.steps * (window + 1) // WINDOWS:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    cli.run(main, "precision")

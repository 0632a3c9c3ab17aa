"""Does training in bfloat16 stay with training in float32? Their losses beside those of other seeds.

    python -m benchmarks.precision [--steps 1000] [--seeds 3]

Trains on synthetic faces (32x32, n=8, batch 16) with each seed in float32 and in bfloat16 (float32 parameters,
moments and losses), and prints mean losses over windows of steps. The seeds' spread in float32 is the noise.
"""

import dataclasses

import jax
import numpy as np

from began_jax import began, sharding
from began_jax.configs import TrainConfig
from began_jax.data.synthetic.dataset import Examples
from began_jax.errors import InputError
from began_jax.progress import Progress
from began_jax.run import cli
from benchmarks.report import markdown

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
    """Train on batches that the seed draws, and return the means of SHOWN [WINDOWS, 2]."""
    step = jax.jit(lambda state, batch: began.step(config, state, batch), donate_argnums=0)
    state, random, found = jax.jit(lambda: began.init(config))(), np.random.default_rng(config.seed), []
    bar = Progress(f"{config.precision}, seed {config.seed}", steps, unit="step")
    for _ in range(steps):
        state, metrics = step(state, images[random.integers(0, len(images), config.batch_size)])
        metrics = jax.device_get(metrics)
        found.append([metrics[name] for name in SHOWN])
        bar.update(1)
    bar.close()
    return np.stack([window.mean(0) for window in np.array_split(np.array(found), WINDOWS)])


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings in each precision")
    return parser


def main() -> None:
    """Train, and print the table."""
    args = parser().parse_args()
    if args.steps < WINDOWS or args.seeds < 2:
        raise InputError(f"--steps must be at least {WINDOWS} and --seeds at least 2")
    sharding.use_cpu_devices(CONFIG.batch_size, 1, kernel_gradients=True)
    images = np.stack([example["image"] for example in Examples("synthetic-faces", 0, 0, 1024, 32, 32)])
    found = {}  # [seeds, windows, metrics]
    for precision in ("float32", "bfloat16"):
        configs = [dataclasses.replace(CONFIG, precision=precision, seed=seed) for seed in range(args.seeds)]
        found[precision] = np.stack([losses(config, images, args.steps) for config in configs])
    rows = []
    for window in range(WINDOWS):
        columns = [of[:, window, i] for i in range(len(SHOWN)) for of in found.values()]
        cells = [f"{column.mean():.4f} ({column.std(ddof=1):.4f})" for column in columns]
        rows.append([f"{args.steps * (window + 1) // WINDOWS:,}", *cells])
    print(f"Means over {args.seeds} seeds; in brackets their standard deviation.\n")
    print(markdown(["steps up to", *(f"{name}, {precision}" for name in SHOWN for precision in found)], rows))


if __name__ == "__main__":
    cli.run(main, "precision")

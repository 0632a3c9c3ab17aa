"""What each option of a training is worth: the same networks' decoder, the same data, the same time.

    python -m benchmarks.objectives --data DATA --minutes 4 [--only 'sharp; began'] [--seeds 2] [--images 300]
        [--pictures DIR]

Each variant of the preset trains for so many minutes without its compilation, and its generator is then measured as
evaluate.py does, with the PSNR of held-out images by E alone and after 30 steps of BFGS from it. With --images it
trains on the first images only, and is still measured beside all of them.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from began_jax import began, figures, sharding
from began_jax.configs import InvertConfig, TrainConfig
from began_jax.data import feed
from began_jax.data.datasets import DataSet, open_data, ordered
from began_jax.data.source import Source
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.inversion import Inverter
from began_jax.presets import TRAIN_PRESETS
from began_jax.run import cli
from began_jax.run.generator import of_training
from began_jax.run.measures import Quality
from began_jax.sampling import uniform_latents
from benchmarks.report import markdown

BEGAN = dict(
    objective="began", loss_power=1, lambda_k=3e-3, encoder_weight=1.0, batch_size=16, learning_rate=8e-4,
    beta1=0.5, beta2=0.999, patience=500, learning_rate_floor=1e-4, average=0.0,
)  # fmt: skip
PIXELS = dict(pyramid_levels=0, feature_weight=0.0)
VARIANTS: dict[str, dict] = {
    "sharp": {},
    "began": BEGAN | PIXELS | {"patch": 1, "encoder_filters": (16, 32, 48)},  # the demo's recipe of version 0.2.0
    "began, pyramid and features": BEGAN | {"patch": 1, "encoder_filters": (16, 32, 48)},
    "pixels": PIXELS,
    "no features": {"feature_weight": 0.0},
    "no average": {"average": 0.0},
    "batch 16": {"batch_size": 16},
    "adversary half": {"encoder_weight": 4.0},
    "adversary twice": {"encoder_weight": 1.0},
    "penalty on all": {"penalty_share": 1.0},
    "augmented": {"augment": ("colour", "translation", "cutout")},
    "translated": {"augment": ("translation", "cutout")},
}
IMAGES, INVERTED = 400, 128
COLUMNS = (
    "steps", "precision", "recall", "coverage", "frechet", "energy_octave_1", "energy_octave_2", "copies_percent",
    "E dB", "BFGS dB",
)  # fmt: skip


def trained(config: TrainConfig, source: Source, minutes: float) -> began.BeganState:
    """Return the state after so many minutes of steps."""
    step = jax.jit(lambda state, x: began.step(config, state, x), donate_argnums=0)
    state = jax.jit(lambda: began.init(config))()
    rows = feed.rows(len(source), config.batch_size, config.seed)
    images = feed.ahead(feed.batches(feed.Kept(source), rows))
    state, _ = step(state, next(images)["image"])
    start = time.perf_counter()
    while time.perf_counter() - start < 60 * minutes:
        state, metrics = step(state, next(images)["image"])
        began.check_finite({name: float(value) for name, value in metrics.items()}, state.done)
    images.close()
    return state


def measured(
    config: TrainConfig, state: began.BeganState, data: DataSet, quality: Quality, pictures: Path | None
) -> dict[str, float]:
    """Return the figures of the table; write 64 samples to `pictures`."""
    generator = of_training(config, state)
    drawn = generator.images(np.asarray(uniform_latents(jax.random.key(0), quality.count)))
    if pictures:
        figures.save_image(pictures, figures.grid(drawn[:64], columns=8, scale=3))
    x = to_float(ordered(data.source("test"), 0, INVERTED)["image"])
    assert generator.encode is not None  # each variant has an encoder
    z = np.asarray(jax.jit(generator.encode)(generator.encoder_parameters, x))
    psnr = {}
    for name, steps in (("E dB", 0), ("BFGS dB", 30)):
        how = InvertConfig(steps=steps, optimizer="bfgs", learning_rate=0.05)
        inverse = Inverter(how, generator.apply, generator.parameters, sharding=None)
        psnr[name] = float(np.mean(inverse(x, z)["psnr_db"]))
    return quality.measure(to_uint8(drawn)) | psnr | {"steps": state.done}


def main() -> None:
    """Train and measure variant by variant, and print the table as it grows."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data set with a test split, at the size to train at")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training for each variant")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each variant")
    parser.add_argument("--only", help=f"variants, parted by ;: {'; '.join(VARIANTS)}")
    parser.add_argument("--images", type=int, help="training images; default: all")
    parser.add_argument("--pictures", type=Path, help="folder for 64 samples of each")
    args = parser.parse_args()
    names = [name.strip() for name in args.only.split(";")] if args.only else list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(f"--only {unknown[0]}: there are {'; '.join(VARIANTS)}")
    sharding.use_cpu_devices(8, 1, kernel_gradients=True)
    data = open_data(args.data)
    source = data.source("train")
    if args.images:
        split = f"train[:{args.images}]"
        source = dataclasses.replace(data, splits=data.splits | {split: args.images}).source(split)
    quality = Quality(data, IMAGES)
    base = dataclasses.replace(TRAIN_PRESETS["demo"], height=data.height, width=data.width, channels=data.channels)
    rows = []
    for name in names:
        for seed in range(args.seeds):
            config = dataclasses.replace(base, **VARIANTS[name], seed=seed)
            state = trained(config, source, args.minutes)
            picture = args.pictures / f"{name}, seed {seed}.png" if args.pictures else None
            found = measured(config, state, data, quality, picture)
            rows.append([name, *(f"{found[column]:.3g}" for column in COLUMNS)])
            print(markdown(["variant", *COLUMNS], rows[-1:]), flush=True)
    floor = quality.measure(np.stack([data.source("test").image(i) for i in range(quality.count)]))
    rows.append(["held-out images", "", *(f"{floor[column]:.3g}" if column in floor else "" for column in COLUMNS[1:])])
    print(markdown(["variant", *COLUMNS], rows))


if __name__ == "__main__":
    cli.run(main)

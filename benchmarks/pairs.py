"""What generated pairs are worth: an ordinary network trained on them alone, and on real pairs alone.

    python -m benchmarks.pairs RUN/aspect/NAME [RUN/aspect/NAME ...] [--sampler data] [--pairs 10000] [--seeds 1]
        [--noise 0.3] [--both] [--plain]

The network sees images and learns their annotations. It is that of T (run/learnt_annotator.py), and its pairs are
augmented as anybody would augment them (began_jax/student.py; not with --plain). Each training has about the same
number of steps. The runs are of one data set, on whose held-out images all of them are tested. A run's pairs are new
images (of uniform z, or of another --sampler) and what the aspect network says of them.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import aspects, sampling, sharding, student
from began_jax.configs import AspectConfig
from began_jax.data.datasets import ordered
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.models import apply
from began_jax.run import cli, networks
from began_jax.run.folder import Run
from began_jax.run.generator import batched
from began_jax.run.learnt_annotator import RECIPE, network_of
from benchmarks.report import markdown

STEPS = 4000  # of 32 images


def generated(run: Run, aspect: str, sampler: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return new images, and the annotations of an aspect network of the run."""
    z_data = run.latents("train")["z"]
    sample = sampling.sampler(sampler, jax.random.key(1000), run.config.latent_size, z_data)
    z = np.asarray(sample(jnp.arange(count)))
    return run.inverted.images(z), networks.load(run, aspect).annotate(z)


def error(
    run: Run, images: np.ndarray, annotations: np.ndarray, seed: int, noise: float, augmented: bool = True
) -> float:
    """Return the mean held-out error of a network trained on these pairs, in the unit of the kind of annotation."""
    kind, network = run.kind, network_of(run)
    epochs = -(-STEPS * RECIPE.batch_size // len(images))
    recipe: AspectConfig = dataclasses.replace(RECIPE, epochs=epochs, seed=seed, jitter=noise)
    state = aspects.init(recipe, network, images.shape[1:])
    pairs = jnp.asarray(images), jnp.asarray(annotations, jnp.float32)
    change = partial(student.augment, kind=kind.name) if augmented else None
    trainer = aspects.Trainer(recipe, network, *pairs, jax.default_backend() != "cpu", change)
    for epoch in range(epochs):
        state, metrics = trainer.epoch(state)
        aspects.check_finite({name: float(value) for name, value in metrics.items()}, epoch)
    annotate = batched(lambda parameters, x: apply(network, parameters, x), state.best_parameters)
    held_out = ordered(run.data.source("test"), 0, run.data.splits["test"])
    return float(kind.score(annotate(to_float(held_out["image"])), held_out[kind.name], run.data).mean())


def main() -> None:
    """Train network by network, and print the table as it grows."""
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name = "RUN/aspect/NAME"
    parser.add_argument("aspects", type=Path, nargs="+", metavar=name, help="aspect networks; of runs of one data set")
    parser.add_argument("--pairs", type=int, default=10_000, help="generated ones of each run")
    parser.add_argument("--sampler", default="uniform", choices=sampling.SAMPLERS, help="of their latents")
    noise = "on the images that it is trained on, in each pixel's standard deviations"
    parser.add_argument("--noise", type=float, default=RECIPE.jitter, help=noise)
    parser.add_argument("--both", action="store_true", help="also on real and generated pairs together")
    parser.add_argument("--plain", action="store_true", help="without augmentation")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each network")
    args = parser.parse_args()
    sharding.use_cpu_devices(RECIPE.batch_size, 1, kernel_gradients=True)
    runs = [Run.open(folder.parents[1]) for folder in args.aspects]
    if len({(run.data.fingerprint, run.data.height, run.data.width) for run in runs}) > 1:
        raise InputError("the runs must be of one data set")
    real = ordered(runs[0].data.source("train"), 0, runs[0].data.splits["train"])
    pairs = {"real": (to_float(real["image"]), real[runs[0].kind.name])}
    for run, folder in zip(runs, args.aspects, strict=True):
        name = f"{run.folder.name}, {folder.name}"
        pairs[name] = made = generated(run, folder.name, args.sampler, args.pairs)
        if args.both:
            pairs[f"real and {name}"] = tuple(np.concatenate(two) for two in zip(pairs["real"], made, strict=True))
    head = ["trained on", "pairs", f"held-out {runs[0].kind.metric}"]
    for name, (images, annotations) in pairs.items():
        found = [error(runs[0], images, annotations, seed, args.noise, not args.plain) for seed in range(args.seeds)]
        shown = ", ".join(runs[0].kind.shown.format(value) for value in found)
        print(markdown(head, [[name, f"{len(images):,}", shown]]), flush=True)


if __name__ == "__main__":
    cli.run(main)

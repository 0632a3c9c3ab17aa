"""How few annotations an aspect needs: the held-out error by their number, of each way to answer from a latent.

    python -m benchmarks.few_labels RUN [--labels 16,50,100,500,1000] [--seeds 3] [--recipe combined]

Each draw of so many annotated images is that of `aspect.py --labelled`. The ways are always the mean, ridge regression,
the recipe's network alone, the Gaussian process alone, and both with the share that the validation latents give. The
last column is the process alone once more, when the images are not drawn but those of `aspect.py --suggest`.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from began_jax import aspects, gaussian_process, metrics, sharding
from began_jax.configs import AspectConfig
from began_jax.landmarks import completed
from began_jax.presets import ASPECT_RECIPES
from began_jax.run import aspect_training, cli, closed_form, labels, networks, reading
from began_jax.run.folder import Run
from began_jax.run.generator import batched
from began_jax.run.image_network import Examples
from benchmarks.report import markdown

WAYS = ("the mean", "ridge", "network", "process", "both")


def answers(
    run: Run, recipe: str, config: AspectConfig, z: np.ndarray, y: np.ndarray, new: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what each way answers for new latents, after it was given examples; the network's share is one of them."""
    own = dataclasses.replace(config, closed_form="none", read=False, image_steps=0)
    own = aspects.fitted_to(own, len(z))
    with tempfile.TemporaryDirectory() as folder:
        aspect_training.fitted(run, recipe, own, Examples(z, np.arange(0), y), Path(folder) / "aspect")
        alone = networks.load(run, "aspect", Path(folder)).annotate
    beside = closed_form.fit(config, z, y)
    process = batched(lambda p, rows: gaussian_process.predict(p, rows, y.shape[1:]), beside.process)
    share = beside.share(alone(beside.z), config.features)
    a, b = alone(new), process(new)
    shape, mean = (len(new), *y.shape[1:]), completed(y).astype(np.float64).mean(0)
    linear = metrics.Ridge(z, y.astype(np.float32))(new)
    return dict(zip(WAYS, (np.broadcast_to(mean, shape), linear, a, b, share * a + (1 - share) * b), strict=True))


def main() -> None:
    """Measure number by number, and print the table as it grows."""
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="with its latents")
    parser.add_argument("--labels", default="16,50,100,500,1000", help="numbers of annotated images, parted by commas")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each number")
    parser.add_argument("--recipe", choices=tuple(ASPECT_RECIPES), help="default: that of the run's preset")
    args = parser.parse_args()
    run = Run.open(args.run)
    recipe = args.recipe or networks.default_recipe(run, min(map(int, args.labels.split(","))))
    config = ASPECT_RECIPES[recipe]
    sharding.use_cpu_devices(config.members, kernel_gradients=run.kind.name == "mask" or config.features)
    config = networks.possible(run, config)
    test = run.latents("test")["z"]
    truth, rows = run.annotations("test", len(test)), run.annotated("test", len(test))
    test = reading.of_images(run, "test", rows, test[rows]) if config.read else test[rows]
    score = lambda found: float(run.kind.score(found, truth, run.data).mean())  # noqa: E731
    every, truths = labels.training_pairs(run, config, None)
    for count in (int(number) for number in args.labels.split(",")):
        draws = []
        for seed in range(args.seeds):
            given = dataclasses.replace(config, labelled=count, label_seed=seed)
            found = answers(run, recipe, given, *labels.training_pairs(run, given, None), test)
            draws.append({way: score(answer) for way, answer in found.items()})
        spread = {way: [draw[way] for draw in draws] for way in WAYS}
        rows = gaussian_process.suggest(every, np.arange(0), count, closed_form.LENGTH, closed_form.NOISE)
        told = gaussian_process.fit(every[rows], truths[rows]).process
        process = batched(lambda p, z: gaussian_process.predict(p, z, truth.shape[1:]), told)
        suggested = score(process(test))
        digits = 3 if run.kind.metric == "iou" else 2
        cells = [f"{np.mean(values):.{digits}f} ± {np.ptp(values) / 2:.{digits}f}" for values in spread.values()]
        head = [f"labels, {run.kind.metric}", *WAYS, "process, suggested"]
        print(markdown(head, [[f"{count:,}", *cells, f"{suggested:.{digits}f}"]]), flush=True)


if __name__ == "__main__":
    cli.run(main)

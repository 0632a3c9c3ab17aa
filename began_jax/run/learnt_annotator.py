"""A T that is learnt: a small network from images to annotations, trained on the data set's own pairs.

For rendered sets, whose renderer knows the truth of its own pictures only, and for users without a T. Its error on
held-out images is stated beside what is measured with it. RUN/annotator/ keeps its training (Orbax).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from began_jax import aspects
from began_jax.configs import AspectConfig
from began_jax.data.datasets import chosen
from began_jax.files import agree
from began_jax.images import to_float
from began_jax.models.configured import computation_dtype
from began_jax.models.heads import ImageToMask, ImageToVector
from began_jax.models.layers import apply
from began_jax.run import checkpoints
from began_jax.run.folder import Run
from began_jax.run.generator import batched
from began_jax.run.loop import Loop
from began_jax.sampling import evenly

# The noise on the images (jitter, in each pixel's standard deviations) is what G(z) differs from a photograph by.
RECIPE = AspectConfig(epochs=12, batch_size=32, learning_rate=1e-3, weight_decay=0.01, validation=0.05, jitter=0.1)
LIMIT = 8192  # images that it is trained on at most: all of them are on the device


def network_of(run: Run) -> nn.Module:
    """Return a network from the run's images to its kind of annotation, as wide as the run's encoder."""
    widths, patch, dtype = run.config.encoder_filters, run.config.patch, computation_dtype(run.config)
    if run.kind.name == "mask":
        return ImageToMask((max(1, widths[0] // patch), *widths[1:]), dtype)  # its first scale has all pixels
    return ImageToVector(widths, run.data.shape, patch, dtype)


def load(run: Run) -> Callable[[Iterable[np.ndarray]], Iterator[list[np.ndarray]]]:
    """Return the learnt T of a run as a function over blocks of images; it trains, or goes on training, if need be."""
    data, folder = run.data, run.folder / "annotator"
    rows = evenly(data.annotated("train"), LIMIT)
    count = len(rows)
    network = network_of(run)
    recipe = dataclasses.replace(RECIPE, batch_size=min(RECIPE.batch_size, -(-count // 2)))
    if run.kind.name == "mask":  # every pixel is a target, so fewer passes teach as much
        recipe = dataclasses.replace(recipe, epochs=-(-recipe.epochs // 2))
    known, used = {"epochs": recipe.epochs, "images": count}, checkpoints.exists(folder)
    learnt = run.learnt_annotations  # stored since 0.3.0
    otherwise = f"delete {folder} and {run.folder / 'labels'}"
    agree(folder / "config.json", known | learnt, "trained", otherwise=otherwise, used=used, defaults=learnt)
    state = aspects.init(recipe, network, (data.height, data.width, data.channels))

    def observe(epoch: int, values: dict[str, float]) -> dict[str, float]:
        aspects.check_finite(values, epoch)
        return values

    with Loop("T (network)", folder, state, recipe.epochs, unit="epoch", observe=observe) as loop:
        del state  # the loop has it, or another in its place
        if loop.start < loop.total:
            trainer = _trainer(recipe, network, run, rows)
            for _ in loop:
                loop.advance(*trainer.epoch(loop.state))
    loop.exit_if_stopped()
    annotate = batched(lambda parameters, x: apply(network, parameters, x), loop.state.best_parameters)
    _record(run, annotate)
    return lambda blocks: (list(annotate(to_float(block))) for block in blocks)


def _trainer(recipe: AspectConfig, network: nn.Module, run: Run, rows: np.ndarray) -> aspects.Trainer:
    """Return the training on these pairs of the data set, all of them on the device."""
    examples = chosen(run.data.source("train"), rows)
    images, targets = jnp.asarray(to_float(examples["image"])), jnp.asarray(examples[run.kind.name], jnp.float32)
    one_call = jax.default_backend() != "cpu"  # convolutions in a loop body are slow there
    return aspects.Trainer(recipe, network, images, targets, one_call)


def _record(run: Run, annotate: Callable[[np.ndarray], np.ndarray]) -> None:
    data, kind = run.data, run.kind
    if "test" in data.splits:
        held_out = chosen(data.source("test"), evenly(data.annotated("test"), LIMIT))
        error = kind.score(annotate(to_float(held_out["image"])), held_out[kind.name], data).mean()
        run.record("annotator", {f"heldout_{kind.metric}": float(error)})

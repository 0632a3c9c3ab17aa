"""The second training of an image network, from images that nobody has annotated too (--self-training).

What the aspect network and all beside it say of the other training images stands in the place of their annotations
(pseudo-labels; Lee, 2013). A new image network learns from these alone in half of the steps, and in the other half from
as many annotated ones beside them. It sees many more pictures than the first one has, changed at random, where its
teacher's answers were for the pictures as they are: so it errs less than its teacher (Xie et al., "Self-training with
Noisy Student", 2020). Of the validation images it knows a little: the Gaussian process that answers for the others has
seen their annotations too.

RUN/aspect/NAME/image_others/, image_again/    both parts of the training (Orbax)
RUN/aspect/NAME/image_again_validation/        as that of the first, see `image_network`
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import aspects
from began_jax.configs import AspectConfig
from began_jax.data.datasets import images_of
from began_jax.images import to_float
from began_jax.run import image_network, networks
from began_jax.run.answers import TrainedAspect
from began_jax.run.folder import Run
from began_jax.run.image_network import AGAIN, FIRST, OTHERS, Examples
from began_jax.run.loop import Loop
from began_jax.sampling import evenly

HALF = 0.5  # of the steps: without the annotated images


def others(run: Run, learnt: np.ndarray) -> np.ndarray:
    """Return the numbers of the inverted training images beside those that are learnt from; of many every so many."""
    every = np.arange(len(run.latents("train")["z"]))
    return evenly(np.setdiff1d(every, learnt), image_network.MOST)


def serves(run: Run, config: AspectConfig, learnt: np.ndarray) -> bool:
    """Return whether there is a second training: it is asked for, and no fewer images lack an annotation than have one.

    Where most are annotated, the answers for the others add little.
    """
    wanted = config.self_training and config.image_steps > 0
    return wanted and len(run.latents("train")["z"]) - len(learnt) >= len(learnt)


def pseudo_labels(run: Run, aspect: TrainedAspect, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return what an aspect network and all beside it say of images of the training split, as annotations [N, ...].

    Points that no picture shows are absent.

    Args:
        run: whose latents the images were inverted to.
        aspect: the network.
        rows: numbers of the images [N].
        images: uint8 [N, H, W, C].
    """
    answers = run.data.known(aspect.of_inverted(run, run.latents("train")["z"][rows], images))
    return (answers > 0.5).astype(np.uint8) if run.kind.name == "mask" else answers


class _Pairs:
    """Images of the annotated examples and of all others, once on the device, and the targets of both."""

    def __init__(self, run: Run, config: AspectConfig, examples: Examples, folder: Path) -> None:
        own, rest = image_network.learnt_rows(config, len(examples.z)), others(run, examples.rows)
        teacher = networks.load(run, folder.name, folder.parent, image=FIRST)
        rows = np.concatenate([examples.rows[own], rest])
        images = images_of(run.data.source("train"), rows)
        self._images = jnp.asarray(images)
        answers = pseudo_labels(run, teacher, rest, images[len(own) :])
        self._targets = np.concatenate([examples.targets[own].astype(answers.dtype), answers])
        self._own, self._rest = np.arange(len(own)), np.arange(len(own), len(rows))

    def trainer(self, run: Run, config: AspectConfig, both: bool) -> aspects.Trainer:
        """Return the epochs on the others, or on `both`, of which each has as many examples."""
        rows = np.concatenate([np.resize(self._own, len(self._rest)), self._rest]) if both else self._rest
        network, loss = image_network.network(run)
        pairs = (jnp.asarray(rows, jnp.int32), jnp.asarray(self._targets[rows]))
        return aspects.Trainer(config, network, *pairs, sight=seeing(run, self._images), loss=loss)


def seeing(run: Run, images: Any) -> aspects.Sight:
    """Return what makes inputs of the numbers of images uint8 [N, H, W, C], changed as they are learnt."""
    return aspects.Sight(lambda images, i: to_float(images[i]), images, image_network.changed(run))


def parts(run: Run, config: AspectConfig, learnt: np.ndarray) -> list[tuple[AspectConfig, int]]:
    """Return how both parts are trained, each with the number of its examples."""
    count = len(others(run, learnt))
    both = ((image_network.recipe(config, HALF), count), (image_network.recipe(config, 1 - HALF), 2 * count))
    return [(aspects.fitted_to(own, examples), examples) for own, examples in both]


def fitted(
    run: Run,
    config: AspectConfig,
    examples: Examples,
    folder: Path,
    save_every: int | None = None,
    events: Path | None = None,
) -> None:
    """Train again beside an aspect network whose first image network is trained, or go on; nothing where it is done."""
    if not serves(run, config, examples.rows):
        return
    (folder / OTHERS).mkdir(exist_ok=True)  # from here on the first one is not the last word
    pairs = functools.cache(lambda: _Pairs(run, config, examples, folder))
    first, second = (own for own, _ in parts(run, config, examples.rows))

    def trained(name: str, own: AspectConfig, state: aspects.AspectState, both: bool) -> Loop[aspects.AspectState]:
        options = {"save_every": save_every, "events": events and events / name}
        return image_network.trained_in(folder / name, own, state, lambda: pairs().trainer(run, own, both), **options)

    alone = trained(OTHERS, first, image_network.init(run, config), both=False)
    learnt = jax.tree.map(jnp.copy, alone.state.best_parameters)
    begun = dataclasses.replace(image_network.init(run, config), parameters=learnt)
    loop = trained(AGAIN, second, begun, both=True)
    image_network.keep(run, config, examples, folder, AGAIN, loop)

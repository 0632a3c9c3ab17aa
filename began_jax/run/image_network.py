"""The image network beside an aspect network (--image-steps): an ordinary network from images to annotations.

It learns from the same annotated images, and sees the image itself: x of the data set, or G(z). So it errs where a
picture is hard to read, and G_a where the inversion has missed something, and both together err much less than either.
What two networks with different views of the same examples know beyond each other is what co-training stands on (Blum
and Mitchell, 1998).

With --self-training another one takes its place, which has learnt from images without annotations too
(`self_training`); its folders are `image_again` and `image_again_validation`.

RUN/aspect/NAME/image/              its training (Orbax)
RUN/aspect/NAME/image_validation/   its answers for the validation images, from which it has not learnt: one Orbax item
"""

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from began_jax import aspects, student
from began_jax.aspects import losses
from began_jax.configs import AspectConfig
from began_jax.data.datasets import images_of
from began_jax.data.layout import UNITS
from began_jax.errors import InputError, require_finite
from began_jax.images import to_float
from began_jax.models import apply
from began_jax.run import checkpoints, closed_form
from began_jax.run.folder import Run
from began_jax.run.generator import batched
from began_jax.run.latents import read_columns, write_columns
from began_jax.run.loop import Loop, between_saves
from began_jax.sampling import evenly

MOST = 20_000  # annotated images that it is trained on, and as many others: all of them are on the device
FIRST, OTHERS, AGAIN = "image", "image_others", "image_again"  # folders of its trainings
# Its share beside G_a where no example tells: both know as much, and then it has learnt what G_a knows.
EXPECTED = {FIRST: 0.5, AGAIN: 0.9}
_ITEM = "answers"


class Beside(NamedTuple):
    """Its parameters, and validation examples: what G_a is given for them, its own answers, and the targets.

    `expected` is its share without examples.
    """

    parameters: Any
    z: np.ndarray
    answers: np.ndarray
    targets: np.ndarray
    expected: float = EXPECTED[FIRST]

    def share(self, others: np.ndarray) -> float:
        """Return its share, 0 to 1, beside G_a, whose answers for the validation examples are given."""
        return 1 - closed_form.best_share(others, self.answers, self.targets, 1 - self.expected)


class Examples(NamedTuple):
    """What an aspect network is given for annotated images, the images' numbers in the data set, and their targets."""

    z: np.ndarray
    rows: np.ndarray
    targets: np.ndarray


def network(run: Run, name: str = student.NETWORKS[1]) -> tuple[nn.Module, losses.Loss]:
    """Return an ordinary network for a run's images, see `student.network`, and the loss that it learns by."""
    data, kind = run.data, run.kind
    head = kind.head_of(data)
    # A regression's outputs are numbers of any size, of which a kind's own loss may know nothing.
    loss = losses.of(kind.loss if head is not None and kind.name not in UNITS else "squared")
    return student.network(kind.name, data.shape, data.height, data.width, name, head), loss


def annotator(run: Run, parameters: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from images uint8 [N, height, width, channels] to its annotations [N, ...]."""
    made, _ = network(run)
    return batched(lambda p, x: apply(made, p, to_float(x)), parameters, run.inverted.batch)


class Untrained(NamedTuple):
    """The network, how it is trained on how many images, its loss, and how these are decoded and changed."""

    network: nn.Module
    config: AspectConfig
    count: int
    loss: losses.Loss
    sight: aspects.Sight


def init(run: Run, config: AspectConfig) -> aspects.AspectState:
    """Return the state before the first epoch of its training, beside an aspect network of a configuration."""
    made, _ = network(run)
    return aspects.init(recipe(config), made, (run.data.height, run.data.width, run.data.channels))


def recipe(config: AspectConfig, share: float = 1) -> AspectConfig:
    """Return how it is trained, as a student is, in a share of --image-steps steps."""
    how = student.Recipe(max(1, round(share * config.image_steps)))
    return AspectConfig(
        steps=how.steps,
        batch_size=how.batch_size,
        learning_rate=how.learning_rate,
        weight_decay=how.weight_decay,
        schedule="cosine",
        seed=config.seed,
    )


def untrained(run: Run, config: AspectConfig, count: int) -> Untrained:
    """Return what is trained beside an aspect network of `count` examples."""
    made, loss = network(run)
    learnt = min(aspects.training_count(config, count), MOST)
    own = aspects.fitted_to(recipe(config), learnt)
    return Untrained(made, own, learnt, loss, aspects.Sight(lambda _, images: to_float(images), (), changed(run)))


def changed(run: Run) -> Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Return how images and targets are changed as they are learnt: as those of a student."""
    moves = run.kind.moves
    return lambda key, images, targets: student.augment(key, images, targets, moves)


def learnt_rows(config: AspectConfig, count: int) -> np.ndarray:
    """Return which of `count` examples it learns from: those of G_a, and not those that this is validated on."""
    train, _ = aspects.validation_split(config, count)
    return evenly(np.asarray(train), MOST)


def _trainer(run: Run, config: AspectConfig, examples: Examples, made: Untrained) -> aspects.Trainer:
    """Return the epochs."""
    rows = learnt_rows(config, len(examples.z))
    images, targets = images_of(run.data.source("train"), examples.rows[rows]), examples.targets[rows]
    pairs = (jnp.asarray(images), jnp.asarray(targets))
    return aspects.Trainer(made.config, made.network, *pairs, sight=made.sight, loss=made.loss)


def fitted(
    run: Run,
    config: AspectConfig,
    examples: Examples,
    folder: Path,
    save_every: int | None = None,
    events: Path | None = None,
) -> None:
    """Train the one beside an aspect network and keep it, or go on, or do nothing where it is done."""
    made = untrained(run, config, len(examples.z))
    options = {"save_every": save_every, "events": events}
    epochs = functools.partial(_trainer, run, config, examples, made)
    loop = trained_in(folder / FIRST, made.config, init(run, config), epochs, **options)
    keep(run, config, examples, folder, FIRST, loop)


def trained_in(
    place: Path,
    config: AspectConfig,
    state: aspects.AspectState,
    trainer: Callable[[], aspects.Trainer],
    save_every: int | None = None,
    events: Path | None = None,
) -> Loop[aspects.AspectState]:
    """Train in a folder from where it stopped to the end, and return the loop; exits where a signal stopped it.

    Args:
        place: the folder.
        config: of the training.
        state: before the first epoch.
        trainer: makes the epochs, and is called if there are any left.
        save_every: epochs between checkpoints; None for `loop.between_saves`.
        events: folder of TensorBoard's files.
    """

    def observe(epoch: int, values: dict[str, float]) -> dict[str, float]:
        _check(values, epoch)
        loop.log("aspect", epoch, values)
        return values

    every = save_every or between_saves(config.epochs)
    options = {"observe": observe, "save_every": every, "events": events}
    loop = Loop(f"aspect ({place.name})", place, state, config.epochs, unit="epoch", **options)
    epochs = trainer() if loop.start < loop.total else None  # which takes a while, and a signal ends it at once
    with loop:
        for _ in loop:
            assert epochs is not None
            loop.advance(*epochs.epoch(loop.state))
    if loop.stopped:
        print("aspect: the image network was stopped; the same command goes on")
    loop.exit_if_stopped()
    return loop


def keep(
    run: Run, config: AspectConfig, examples: Examples, folder: Path, name: str, loop: Loop[aspects.AspectState]
) -> None:
    """Keep the answers of a network that is trained to the end for the validation images, unless they are there."""
    kept = _validation(folder, name)
    if checkpoints.exists(kept) and checkpoints.damage(kept / "0"):
        shutil.rmtree(kept)
    if not checkpoints.exists(kept):
        found = _validated(run, config, examples, loop.state.best_parameters)
        columns = {name: getattr(found, name) for name in ("z", "answers", "targets")}
        write_columns(kept, _ITEM, columns | {"epochs": np.asarray(loop.total)})


def _validation(folder: Path, name: str) -> Path:
    return folder / f"{name}_validation"


def clear(folder: Path) -> None:
    """Remove what is kept of the one beside an aspect network."""
    for name in (FIRST, OTHERS, AGAIN):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.rmtree(_validation(folder, name), ignore_errors=True)


def _check(metrics: dict[str, float], epoch: int) -> None:
    remedy = "use fewer or cleaner annotations, or --image-steps 0 and another --name"
    require_finite(metrics, f"the training of the image network diverged at epoch {epoch}", remedy)


def trained(config: AspectConfig, folder: Path) -> str:
    """Return the name of the one beside an aspect network that is trained to the end, or "".

    A line says so where it, or a second training that was begun, has not ended.
    """
    if not config.image_steps:
        return ""
    if ended(folder, AGAIN):
        return AGAIN
    if not ended(folder, FIRST):
        print(f"{folder}: its image network is not trained to the end, and is left out", file=sys.stderr)
        return ""
    if (folder / OTHERS).is_dir():
        print(f"{folder}: --self-training has not ended; the image network is that of before", file=sys.stderr)
    return FIRST


def ended(folder: Path, name: str) -> bool:
    """Return whether a network is trained to the end."""
    return checkpoints.exists(_validation(folder, name))


def load(run: Run, config: AspectConfig, folder: Path, name: str = FIRST) -> Beside:
    """Return the one beside an aspect network; InputError where it is not trained to its end, or damaged."""
    remedy = f"run aspect.py --run {run.folder} --name {folder.name} again, as before"
    found = read_columns(_validation(folder, name), _ITEM, remedy)
    saved = checkpoints.manager(folder / name, read_only=True)
    like = jax.eval_shape(lambda: init(run, config))
    restored = checkpoints.restore_latest(saved, like)
    saved.close()
    if restored is None or restored[0] != found.get("epochs"):
        raise InputError(f"{folder / name} lacks the end of its training: {remedy}")
    return Beside(restored[1].best_parameters, found["z"], found["answers"], found["targets"], EXPECTED[name])


def _validated(run: Run, config: AspectConfig, examples: Examples, parameters: Any) -> Beside:
    held = closed_form.validation_rows(config, len(examples.z))
    targets = examples.targets[held]
    if not len(held):
        return Beside(parameters, examples.z[held], targets, targets)
    images = images_of(run.data.source("train"), examples.rows[held])
    return Beside(parameters, examples.z[held], annotator(run, parameters)(images), targets)

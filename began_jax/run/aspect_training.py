"""The training of an aspect network and of all that is beside it, in a folder: from where it stopped to its end.

`aspect.py` keeps one in RUN/aspect/NAME/, and `evaluate.py --downstream` one for each draw of annotated images.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from began_jax import aspects
from began_jax.configs import AspectConfig
from began_jax.files import agree
from began_jax.presets import ASPECT_RECIPES
from began_jax.run import checkpoints, closed_form, image_network, networks, self_training
from began_jax.run.folder import Run
from began_jax.run.image_network import Examples
from began_jax.run.loop import Loop, between_saves

Record = Callable[[aspects.AspectState, dict[str, float]], None]


def fitted(
    run: Run,
    recipe: str,
    config: AspectConfig,
    examples: Examples,
    folder: Path,
    *,
    save_every: int | None = None,
    events: Path | None = None,
    record: Record | None = None,
) -> Loop[aspects.AspectState]:
    """Train a network and what is beside it and keep them, or go on, or do nothing where all is done.

    Args:
        run: whose generator they see images by.
        recipe: name of what the configuration started from.
        config: of the training, as `networks.fitting` gives it.
        examples: to learn from. Their rows are asked for by an image network alone.
        folder: of the checkpoints.
        save_every: epochs between them; None for `loop.between_saves`.
        events: folder of TensorBoard's files.
        record: given the state and the last metrics before each checkpoint of the network, with `steps_per_second`
            where it is known.

    Returns:
        The loop of the network's training, which a signal may have stopped; then nothing beside it is trained further.

    Raises:
        InputError: the folder is of another configuration or of other latents.
        DivergedError: a loss is no longer finite.
    """
    otherwise = "another --name" if folder.parent == run.folder / "aspect" else f"delete {folder}"
    again = self_training.serves(run, config, examples.rows)
    config = dataclasses.replace(config, self_training=again)
    of = {"latents": len(examples.z)} | networks.origin(run, config)
    if config.labelled or again:  # which of the images are others
        of["inverted"] = len(run.latents("train")["z"])
    # The epochs of a finished training may be more, unless its rate fell to nothing in them, or its answers taught.
    more = config.schedule == "constant" and not again
    _agree(folder, recipe, config, of, otherwise, ("epochs",) if more else ())
    made = networks.of_run(run, config)
    if not checkpoints.exists(folder):
        image_network.clear(folder)  # of a network that is no longer there
    if config.closed_form == "process":
        closed_form.fitted(folder, config, examples.z, examples.targets)
    pairs = (jnp.asarray(examples.z), jnp.asarray(examples.targets))
    trainer = aspects.Trainer(config, made.network, *pairs, sight=made.sight, loss=run.kind.loss)

    def recorded(state: aspects.AspectState, metrics: dict[str, float], rate: float) -> None:
        if record is not None:
            record(state, metrics | ({"steps_per_second": rate * trainer.batches} if rate else {}))

    def observe(epoch: int, values: dict[str, float]) -> dict[str, float]:
        aspects.check_finite(values, epoch)
        loop.log("aspect", epoch, values)
        return values

    options = {
        "save_every": save_every or between_saves(config.epochs),
        "record": recorded,
        "observe": observe,
        "events": events,
    }
    state = made.init(config)
    with Loop("aspect", folder, state, config.epochs, unit="epoch", **options) as loop:
        del state  # the loop has it, or another in its place
        for _ in loop:
            loop.advance(*trainer.epoch(loop.state))
    if config.image_steps and not loop.stopped:
        loop.exit_if_stopped()  # by a signal that came while it saved
        del trainer, pairs  # and what they have on the device
        beside = events and events / "images"  # each a curve of its own from epoch 1 on
        image_network.fitted(run, config, examples, folder, save_every, beside)
        self_training.fitted(run, config, examples, folder, save_every, beside)
    return loop


def _agree(
    folder: Path, recipe: str, config: AspectConfig, origin: dict, otherwise: str, free: tuple[str, ...]
) -> None:
    """Store the configuration of a new network, or refuse one that contradicts the folder's."""
    wanted, defaults = (dataclasses.asdict(each) | origin for each in (config, ASPECT_RECIPES[recipe]))
    used = checkpoints.exists(folder)
    # networks of before 0.3.0
    defaults |= {"read": False, "features": False, "steps": 0, "schedule": "constant", "image_steps": 0}
    defaults["self_training"] = False
    defaults |= {name: origin.get(name) for name in ("annotations", "labels_of", "inverted")}
    options = {"free": free, "defaults": defaults, "otherwise": otherwise, "used": used}
    agree(folder / "config.json", wanted, "trained", **options)

"""The test of the whole: what pairs are worth to an ordinary network that is trained on them.

For each number K of annotated images and each draw of them (a seed), held-out images are annotated by

    ridge       ridge regression from their latents            generated   a student of new pairs G(z), G_a(z)
    latents     G_a from their latents, found by inversion     real        a student of the K annotated images
    encoder     G_a from E(x), which takes one pass            both        a student of both
                                                               pseudo      a student of the K and all other images

where G_a has learnt from the same K images, and sees the held-out images too where an image network is beside it. The
other images of `pseudo` have its answers for their inverted latents in the place of annotations (pseudo-labels). Both
mixtures begin without the K images, which are half of each batch after a share of the steps (`Plan.first`). A student
is an ordinary network (`student`).

RUN/downstream/WAY/        a file for each result, so that a command that was stopped goes on, and another one makes
                           only what is missing
RUN/downstream/aspect/     G_a of each draw of annotated images, as aspect.py keeps it
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from began_jax import aspects, student
from began_jax.configs import AspectConfig
from began_jax.data.datasets import images_of
from began_jax.data.layout import UNITS
from began_jax.errors import InputError
from began_jax.files import agree, read_json, write_json
from began_jax.images import to_float
from began_jax.metrics import Ridge
from began_jax.models import apply
from began_jax.progress import Progress
from began_jax.run import aspect_training, checkpoints, image_network, labels, networks, pairs, self_training
from began_jax.run.answers import TrainedAspect
from began_jax.run.folder import Run
from began_jax.run.generator import batched
from began_jax.sampling import evenly

MOST = 20_000  # annotated images that a student is given or tested on: they are in memory
GENERATION = 2  # of the students' networks: results of others are not put beside theirs
STUDENTS = ("real", "generated", "both", "pseudo")
MIXED = ("both", "pseudo")
WAYS = ("ridge", "latents", "encoder", *STUDENTS)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is compared: K annotated images (0: all) in so many draws, students of so many steps, and their pairs."""

    labels: tuple[int, ...]
    seeds: int
    aspect: AspectConfig
    name: str  # of the recipe of G_a, which a later command without one goes on with
    recipe: student.Recipe
    generated: int  # pairs
    draw: pairs.Draw
    first: float = 0.5  # share of the steps of both and pseudo in a training before, without the annotated images
    network: str = student.NETWORKS[0]

    def file(self, way: str, count: int, seed: int) -> str:
        """Return the name of a result's file, which tells all that the result depends on."""
        name = f"{way}/{count or 'all'}-seed{seed}"
        if way in STUDENTS:
            name += f"-steps{self.recipe.steps}"
            name += f"-{self.network}" if self.network != student.NETWORKS[0] else ""
        if way in MIXED and self.first:
            name += f"-first{self.first:g}"
        if way in ("generated", "both"):
            name += f"-pairs{self.generated}-{self.draw.sampler}-keep{self.draw.keep:g}"
            name += f"-truncation{self.draw.truncation:g}" if self.draw.truncation != 1 else ""
        return f"{name}.json"


def measure(run: Run, plan: Plan) -> dict[str, float]:
    """Return the figures of a plan, means over its seeds with `_std`, by their names; RUN/downstream/table.md too."""
    folder = run.folder / "downstream"
    inverted = {split: len(run.latents(split)["z"]) for split in ("train", "test")}
    known = networks.origin(run, plan.aspect) | inverted | dataclasses.asdict(plan.aspect)
    known |= {"recipe": plan.name, "students": GENERATION}
    if run.data.keypoints == 68:
        known["normaliser"] = "outer eyes"  # before 0.3.0 that of 68 points was the box about them
    if run.kind_place or run.kind.name not in UNITS:
        known["students"] = GENERATION + 1  # since a kind's own head, moves and loss are theirs too
    used = any(folder.glob("*/*.json")) or any(map(checkpoints.exists, folder.glob("aspect/*")))
    defaults = {"recipe": plan.name, "students": 1, "features": False, "steps": 0, "image_steps": 0}
    defaults |= {"self_training": False, "schedule": "constant", "annotations": known.get("annotations")}
    agree(folder / "config.json", known, "measured", otherwise=f"delete {folder}", used=used, defaults=defaults)
    ways = [way for way in WAYS if way != "encoder" or run.inverted.encode]
    annotated = len(run.annotated("train", inverted["train"]))
    asked = [(way, count) for count in plan.labels for way in ways]
    asked = [(way, count) for way, count in asked if way != "pseudo" or (count or annotated) < inverted["train"]]
    cells = [(count, seed) for count in plan.labels for seed in range(plan.seeds)]
    each = [(way, *cell) for cell in cells for way in ways if (way, cell[0]) in asked]
    missing = [cell for cell in each if not (folder / plan.file(*cell)).is_file()]
    steps = plan.recipe.steps * sum(way in STUDENTS for way, *_ in missing)
    held_out = _held_out(run)
    bar = Progress("downstream", max(steps, 1), unit="step")
    for count, seed in cells:
        knowing = _Knowing(run, plan, held_out, count, seed)
        for way in ways:
            if (way, count, seed) in missing:
                bar.describe(f"downstream: {way}, {count or 'all'} labels, seed {seed}")
                write_json(folder / plan.file(way, count, seed), knowing.result(way, bar.update))
    bar.close()
    found = {cell: _summary(folder, plan, *cell) for cell in asked}
    (folder / "table.md").write_text(_table(run, plan, ways, found))
    return {
        f"downstream_{name}_{way}_{count or 'all'}{suffix}": value
        for (way, count), figures in found.items()
        for name, both in figures.items()
        for suffix, value in zip(("", "_std"), both, strict=True)
    }


def before(run: Run) -> dict[str, Any]:
    """Return how the results were made that the run holds: the options of G_a, and its `recipe`; or nothing."""
    path = run.folder / "downstream" / "config.json"
    return read_json(path) if path.is_file() else {}


class _HeldOut(NamedTuple):
    rows: np.ndarray
    z: np.ndarray
    images: np.ndarray
    truth: np.ndarray


def _held_out(run: Run) -> _HeldOut:
    """Return the annotated held-out images, of many every so many."""
    z, source = run.latents("test")["z"], run.data.source("test")
    rows = evenly(run.annotated("test", len(z)), MOST)
    images = images_of(source, rows)
    return _HeldOut(rows, z[rows], images, np.stack([source.annotation(int(row)) for row in rows]))


class _Knowing:
    """What is made of one draw of annotated images, each part when it is first needed."""

    def __init__(self, run: Run, plan: Plan, held_out: _HeldOut, count: int, seed: int) -> None:
        self._run, self._plan, self._held_out, self._seed = run, plan, held_out, seed
        self._config = dataclasses.replace(plan.aspect, labelled=count, label_seed=seed, seed=seed)

    def result(self, way: str, step_done: Callable[[], None]) -> dict[str, float]:
        """Return the held-out figures of a way."""
        data, kind = self._run.data, self._run.kind
        answers = self._student(way, step_done) if way in STUDENTS else self._direct(way)
        truth = self._held_out.truth
        further = {name: float(measure(answers, truth, data)) for name, measure in kind.further.items()}
        return {kind.metric: float(kind.score(answers, truth, data).mean())} | further

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        """The numbers of the annotated images that are learnt from."""
        return labels.learnt_from(self._run, self._config)

    @functools.cached_property
    def _examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Latents and annotations of the annotated images."""
        return labels.training_pairs(self._run, self._config, None)

    @functools.cached_property
    def _aspect(self) -> TrainedAspect:
        examples = image_network.Examples(self._examples[0], self._rows, self._examples[1])
        config = aspects.fitted_to(self._config, len(self._rows))
        folder, name = self._run.folder / "downstream" / "aspect", f"{config.labelled or 'all'}-seed{self._seed}"
        loop = aspect_training.fitted(self._run, self._plan.name, config, examples, folder / name)
        loop.exit_if_stopped()
        return networks.load(self._run, name, folder)

    @functools.cached_property
    def _real(self) -> student.Set:
        source, few = self._run.data.source("train"), evenly(np.arange(len(self._rows)), MOST)
        return images_of(source, self._rows[few]), self._examples[1][few]

    @functools.cached_property
    def _pseudo(self) -> student.Set:
        rest = self_training.others(self._run, self._rows)
        images = images_of(self._run.data.source("train"), rest)
        return images, self_training.pseudo_labels(self._run, self._aspect, rest, images)

    @functools.cached_property
    def _generated(self) -> student.Set:
        made = list(pairs.drawn(self._run, self._aspect, self._plan.generated, self._plan.draw, 1000 + self._seed))
        images, annotations = (np.concatenate([getattr(m, n) for m in made]) for n in ("images", "annotations"))
        return images, annotations

    def _direct(self, way: str) -> np.ndarray:
        if way == "ridge":
            z, targets = self._run.latents("train")["z"][self._rows], self._examples[1]
            return Ridge(z, targets.astype(np.float32))(self._held_out.z)
        if way == "latents":
            return self._aspect.known(self._run, "test", self._held_out.rows, self._held_out.z)
        images = self._held_out.images
        return self._aspect.of_images(self._run.inverted.read(images), images)

    def _student(self, way: str, step_done: Callable[[], None]) -> np.ndarray:
        sets = [self._real] if way != "generated" else []
        sets += [self._generated] if way in ("generated", "both") else []
        if way == "pseudo":
            vars(self).pop("_generated", None)  # the last that need it came before
            sets += [self._pseudo]
        network, loss = image_network.network(self._run, self._plan.network)
        how = (self._seed, step_done, self._run.kind.moves, loss)
        recipe, parameters = self._plan.recipe, None
        alone = min(round(self._plan.first * recipe.steps), recipe.steps - 1) if way in MIXED else 0
        for given, steps in ((sets[1:], alone), (sets, recipe.steps - alone)):
            if steps:
                parameters = student.fit(network, given, recipe._replace(steps=steps), *how, parameters)
        return batched(lambda p, x: apply(network, p, to_float(x)), parameters)(self._held_out.images)


def _summary(folder: Path, plan: Plan, way: str, count: int) -> dict[str, tuple[float, float]]:
    """Return each figure's mean and standard deviation over the seeds."""
    found = [read_json(folder / plan.file(way, count, seed)) for seed in range(plan.seeds)]
    columns = {name: [each[name] for each in found] for name in found[0]}
    return {name: (float(np.mean(values)), float(np.std(values))) for name, values in columns.items()}


def _table(run: Run, plan: Plan, ways: Sequence[str], found: dict) -> str:
    metric = run.kind.metric
    digits = 3 if metric == "iou" else 2
    lines = [f"| labels, {metric} | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    for count in plan.labels:
        cells = [found[way, count][metric] if (way, count) in found else None for way in ways]
        shown = " | ".join(f"{each[0]:.{digits}f} ± {each[1]:.{digits}f}" if each else "-" for each in cells)
        lines.append(f"| {f'{count:,}' if count else 'all'} | {shown} |")
    return "\n".join(lines) + "\n"


def parse_labels(text: str) -> tuple[int, ...]:
    """Return the numbers of annotated images that a list such as 16,100,all names, 0 for all of them.

    Raises:
        InputError: it is no such list.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "all" or (part.isdecimal() and int(part) >= 3) for part in parts):
        raise InputError(f"--downstream is {text}; it must be numbers of at least 3, or all, parted by commas")
    return tuple(0 if part == "all" else int(part) for part in parts)

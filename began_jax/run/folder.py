"""The run folder: its configuration, which later stages read and may not contradict, and its figures.

RUN/config.json    the training configuration and the data set that it was given
RUN/data/          the rendered data set, where the preset uses a built-in one
RUN/generator/     training checkpoints        RUN/latents/SPLIT/   one checkpoint item a shard
RUN/generator.json a generator of the user's in their place
RUN/aspect/NAME/   aspect checkpoints          RUN/metrics.json     `stage/name`: figure
RUN/figures/       pictures                    RUN/events/          TensorBoard
RUN/labels/        T's labels of new images    RUN/annotator/       T, where it is a network that was trained for it
RUN/downstream/    see `downstream`            RUN/kind.json        a kind of annotation of the user's
RUN/suggested.txt  images to annotate next     RUN/report.html      all that was measured
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from began_jax import began, kinds, plugins
from began_jax.configs import OF_ADAM, InvertConfig, TrainConfig, train_config
from began_jax.data.datasets import DataSet, open_data
from began_jax.data.synthetic import dataset as synthetic
from began_jax.errors import InputError
from began_jax.files import agree, alone, read_json, write_json
from began_jax.presets import OWN
from began_jax.run import checkpoints, own_generator
from began_jax.run.generator import Generator, of_training
from began_jax.run.latents import Latents

FREE = ("steps", "data", "preset")  # may change between two starts; the data set is compared by its fingerprint


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: its folder, the configuration of its training, and its data set at the run's image size."""

    folder: Path
    config: TrainConfig
    data: DataSet
    place: str = ""  # of a kind of the user's that was asked for, until `keep_kind` keeps it

    @classmethod
    def of(cls, folder: Path, config: TrainConfig) -> "Run":
        """Return the run of a configuration, new or not; a built-in data set is rendered into RUN/data first."""
        return cls(folder, config, resolve_data(folder, config))

    def __post_init__(self) -> None:
        # Code of the user's runs when annotations are asked for, and not sooner.
        object.__setattr__(self, "data", dataclasses.replace(self.data, fit=lambda: self.kind.fit))

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Return the run that a folder holds.

        Raises:
            InputError: there is no such run, or its data set is gone or has become another one.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise InputError(
                f"{folder} is no run folder (it has no config.json): start with train.py PRESET --run {folder}"
            )
        try:
            stored = json.loads(path.read_text())
            fingerprint = stored.pop("data_set")
            config = train_config(stored)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} cannot be read ({error}); it is what train.py wrote") from error
        run = cls.of(folder, config)
        if run.data.fingerprint != fingerprint:
            raise InputError(
                f"{folder} was trained on data set {fingerprint}, and {config.data} is now {run.data.fingerprint}"
            )
        return run

    @classmethod
    def of_generator(cls, folder: Path, place: str, data: str) -> "Run":
        """Return the run of a generator of the user's, which `keep_generator` begins or goes on with.

        Args:
            folder: of the run.
            place: of the generator, see `own_generator.load`.
            data: the data set, empty for the one that the run began with.

        Raises:
            InputError: the run has another generator or data set, or the generator is none.
        """
        begun = cls.open(folder) if (folder / "config.json").is_file() else None
        if begun and begun.config.preset != OWN:
            raise InputError(f"--generator: {folder} has a generator that was trained; give another --run")
        if not begun and not data:
            raise InputError("--generator begins a run, so --data is needed: a folder of prepare.py, or tfds:NAME")
        data = data or (begun.config.data if begun else "")
        own_generator.say(place)
        generator = own_generator.load(place)
        run = cls.of(folder, own_generator.config_of(generator, data))
        vars(run)["own"] = generator  # in the place of what `own` would load again
        return run

    def keep_generator(self, place: str) -> None:
        """Begin the run of `of_generator`, or refuse another generator or data set than before."""
        assert self.own is not None
        self.begin()
        own_generator.keep(self.folder, place, self.own)

    def begin(self) -> None:
        """Store the configuration of a new run, or refuse one that contradicts the folder's."""
        config = self.config
        if self.data.of_pixels:
            _ = self.data.shape  # refused before the training, where it cannot follow the images to their size
        if config.preset != OWN and self.has_own:
            raise InputError(f"{self.folder} has a generator of yours, which is not trained; give another --run")
        named = config.data in synthetic.KINDS or config.data.startswith("tfds:")
        path = config.data if named else str(Path(config.data).expanduser().resolve())
        wanted = dataclasses.asdict(config) | {"data": path, "data_set": self.data.fingerprint}
        defaults = dataclasses.asdict(TrainConfig())  # what an option that came later does is what was done before
        own, inverted = config.preset == OWN, (self.folder / "latents" / "config.json").exists()
        options = {"free": FREE, "defaults": defaults, "otherwise": "another --run", "used": inverted or not own}
        agree(self.folder / "config.json", wanted, "trained", **options)

    @functools.cached_property
    def kind(self) -> kinds.Kind:
        """The kind of the data set's annotation, the one of `with_kind` if any; InputError where it has none."""
        return kinds.of(self.data, self.kind_place)

    @property
    def kind_place(self) -> str:
        """Where the kind of the user's is that was asked for or is kept, or nothing."""
        path = self.folder / "kind.json"
        return self.place or (read_json(path)["kind"] if path.exists() else "")

    def with_kind(self, place: str) -> "Run":
        """Return the run with FILE.py:NAME or PACKAGE.MODULE:NAME as the kind of its annotation; `keep_kind` keeps it.

        Raises:
            InputError: there is no such kind, it is of another annotation, or the run has another.
        """
        kinds.of(self.data, place)
        run = dataclasses.replace(self, place=plugins.absolute(place))
        if (self.folder / "kind.json").exists():
            run.keep_kind()  # changes nothing, or refuses
        return run

    def keep_kind(self) -> None:
        """Keep the kind of `with_kind`, if one was asked for, or refuse another than before."""
        if self.place:
            agree(self.folder / "kind.json", {"kind": self.place}, "annotated", otherwise="another --run")

    def record(self, stage: str, figures: Mapping[str, Any], keep: tuple[str, ...] = ()) -> None:
        """Replace the figures of a stage in RUN/metrics.json, but `keep` the old ones of these names if not given."""
        path = self.folder / "metrics.json"
        keys = {f"{stage}/{name}" for name in keep}
        with alone(path):  # another stage may write its own now
            old = read_json(path) if path.exists() else {}
            kept = {key: value for key, value in old.items() if not key.startswith(stage + "/") or key in keys}
            write_json(path, kept | {f"{stage}/{name}": value for name, value in figures.items()})

    def figure(self, name: str) -> Any:
        """Return a value of RUN/metrics.json, or None where it has none of this name."""
        path = self.folder / "metrics.json"
        return read_json(path).get(name) if path.exists() else None

    def training(self, which: str | int = "latest") -> began.BeganState:
        """Return the state of the run's training: its latest, its best (lowest mean M), or that of a step.

        Raises:
            InputError: the run was not trained, or the checkpoint is damaged.
        """
        folder = self.folder / "generator"
        if not checkpoints.exists(folder):
            raise InputError(
                f"{folder} holds no checkpoint: run train.py {self.config.preset} --run {self.folder} first"
            )
        saved = checkpoints.manager(folder, read_only=True)
        named = {"latest": saved.latest_step, "best": saved.best_step}
        step = named[which]() if isinstance(which, str) else which
        if step is None or step not in saved.all_steps():
            raise InputError(
                f"{folder} no longer holds step {step}, which RUN/latents was made with (it holds "
                f"{saved.all_steps()}): {self.start_anew()}, and run invert.py and aspect.py again"
            )
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device),
            jax.eval_shape(lambda: began.init(self.config)),
        )
        state = checkpoints.restore(saved, step, like)
        saved.close()
        return state

    @property
    def has_own(self) -> bool:
        """Whether the run has a generator of the user's, which need not be loaded for this."""
        return (self.folder / own_generator.FILE).exists()

    @functools.cached_property
    def own(self) -> Generator | None:
        """The generator of the user's that the run began with, or None where it was trained."""
        return own_generator.open_again(self.folder) if self.has_own else None

    def generator(self, which: str | int = "latest", *, remat: bool = False) -> Generator:
        """Return the generator of a state of the training, as `training` takes it, or the one of the user's.

        See --remat of invert.py.
        """
        if self.own is not None:
            if which == "best":
                raise InputError("--checkpoint best: the run's generator is yours, of which there is one state")
            if remat:
                raise InputError("--remat: the run's generator is yours; its `apply` may use jax.checkpoint by itself")
            return self.own
        if self.config.preset == OWN:
            raise InputError(
                f"{self.folder} lost its generator: run invert.py --run {self.folder} --generator FILE.py:NAME"
            )
        config = dataclasses.replace(self.config, remat=remat or self.config.remat)
        return of_training(config, self.training(which))

    def _inverted_with(self) -> dict[str, Any]:
        """Return what invert.py was asked for, as it is stored; InputError before it."""
        path = self.folder / "latents" / "config.json"
        if not path.is_file():
            raise InputError(f"{self.folder / 'latents'} holds no latents: run invert.py --run {self.folder} first")
        return read_json(path)

    @functools.cached_property
    def inversion(self) -> tuple[InvertConfig, int]:
        """How the latents were made, and the step of the generator that they belong to; InputError before invert.py."""
        stored = self._inverted_with()
        step = stored.pop("generator_step")
        stored.pop("images", None)
        if stored.get("optimizer") == "bfgs":  # which took options of Adam before 0.3.0, and did nothing with them
            stored = {name: value for name, value in stored.items() if name not in OF_ADAM}
        return InvertConfig(**stored), step

    def inverted_steps(self) -> list[int]:
        """Return the step of the generator that the run's latents belong to, if there are any."""
        there = (self.folder / "latents" / "config.json").is_file()
        return [self._inverted_with()["generator_step"]] if there else []

    @functools.cached_property
    def inverted(self) -> Generator:
        """The generator that the run's latents belong to."""
        return self.generator(self.inversion[1])

    @property
    def generate(self) -> Callable[[np.ndarray], np.ndarray]:
        """The function from latents [N, latent] to images [N, H, W, C] of the generator that the latents belong to."""
        return self.inverted.images

    def latents(self, split: str) -> dict[str, Any]:
        """Return what a split was inverted to, in the data set's order: see `Latents.load`.

        Raises:
            InputError: as there, and where not all is inverted that invert.py was asked for.
        """
        found = self._read_latents(split)
        stored = self._inverted_with()
        wanted, size, asked = self.data.splits[split], stored["shard_size"], stored.get("images")
        if split == "train" and asked:
            wanted = min(wanted, -(-asked // size) * size)
        if asked is not None and len(found["z"]) < wanted:  # runs of before 0.3.0 do not say what was asked for
            few = f"{len(found['z']):,} of {wanted:,} {split} images are inverted"
            raise InputError(f"{self.folder / 'latents'}: {few}: run the same invert.py command again")
        return found

    def _read_latents(self, split: str) -> dict[str, Any]:
        """Return the shards of a split, read again only where there are others than before."""
        folder = self.folder / "latents" / split
        there = sorted((shard.name, shard.stat().st_mtime_ns) for shard in folder.glob("*") if shard.name.isdigit())
        known = vars(self).setdefault("_latents", {})
        if split not in known or known[split][0] != there:
            known[split] = there, Latents(folder, read_only=True).load()
        return dict(known[split][1])

    def annotated(self, split: str, count: int) -> np.ndarray:
        """Return which of the first `count` images of a split are annotated: their numbers, in order.

        Raises:
            InputError: none of them is.
        """
        rows = self.data.annotated(split)
        rows = rows[rows < count]
        if not len(rows):
            raise InputError(f"{self.data.path}: none of the first {count:,} {split} images is annotated")
        return rows

    def annotations(self, split: str, count: int, dtype: Any = np.float32) -> np.ndarray:
        """Return the annotations of the images that `annotated` names, [rows, ...]."""
        return self.annotations_of(split, self.annotated(split, count), dtype)

    def annotations_of(self, split: str, rows: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Return the annotations of these images, which have one, [rows, ...]."""
        source, found = self.data.source(split), np.empty((len(rows), *self.data.shape), dtype)
        for i, row in enumerate(rows):
            found[i] = source.annotation(int(row))
        return found

    @functools.cached_property
    def digest(self) -> str:
        """What differs where the annotations of the inverted training images do."""
        source, rows = self.data.source("train"), self.annotated("train", len(self.latents("train")["z"]))
        found = hashlib.sha256(rows.tobytes())
        for row in rows:
            found.update(source.annotation(int(row)).tobytes())
        return found.hexdigest()[:16]

    @property
    def learnt_annotations(self) -> dict[str, str]:
        """What is stored of the annotations that something has learnt, where they may change; else nothing."""
        return {"annotations": self.digest} if self.data.changeable else {}

    def start_anew(self) -> str:
        """Return what has to go where the latents are to be made in another way: they, and all that came of them."""
        return f"delete {', '.join(str(self.folder / name) for name in ('latents', 'aspect', 'labels', 'downstream'))}"


def resolve_data(folder: Path, config: TrainConfig) -> DataSet:
    """Return the data set of a run at the run's image size; a built-in one is rendered into RUN/data first."""
    data = config.data
    if not data:
        raise InputError(f"preset {config.preset} needs --data: a folder that prepare.py made, or tfds:NAME")
    if data in synthetic.KINDS:
        data = str(folder / "data")
        if not Path(data).exists():
            size = {"height": config.height, "width": config.width}
            share = {"count": synthetic.DEFAULT_COUNT, "holdout": synthetic.DEFAULT_HOLDOUT}
            synthetic.write_synthetic(config.data, Path(data), **share, **size, seed=0)
    found = open_data(data, config.height, config.width)
    drawn = tuple(found.metadata.get(name) for name in ("height", "width"))
    if config.data in synthetic.KINDS and drawn != (config.height, config.width):
        sizes = f"{drawn[0]}x{drawn[1]}, and {config.height}x{config.width} is asked for"
        raise InputError(f"{data} was rendered at {sizes}: delete it, or give another --run")
    if found.channels != config.channels:
        raise InputError(f"{data} has images of {found.channels} channels; the configuration says {config.channels}")
    return found

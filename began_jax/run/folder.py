"""The run folder: its configuration, which later stages read and may not contradict, and its figures.

RUN/config.json    the training configuration and the data set that it was given
RUN/data/          the rendered data set, where the preset uses a built-in one
RUN/generator/     training checkpoints        RUN/latents/SPLIT/   one checkpoint item a shard
RUN/aspect/NAME/   aspect checkpoints          RUN/metrics.json     `stage/name`: number
RUN/figures/       pictures                    RUN/events/          TensorBoard
"""

import dataclasses
import json
from pathlib import Path

import jax

from began_jax import began
from began_jax.configs import TRAIN_PRESETS, InvertConfig, TrainConfig
from began_jax.data.datasets import DataSet, open_data
from began_jax.data.synthetic import dataset as synthetic
from began_jax.errors import InputError
from began_jax.files import agree, read_json, write_json
from began_jax.run import checkpoints

FREE = ("steps", "data", "preset")  # may change between two starts; the data set is compared by its fingerprint


def record_metrics(run: Path, stage: str, metrics: dict[str, float | int], keep: tuple[str, ...] = ()) -> None:
    """Replace the figures of one stage in RUN/metrics.json, but `keep` the old ones of these names if not given."""
    path = run / "metrics.json"
    old = read_json(path) if path.exists() else {}
    keys = {f"{stage}/{name}" for name in keep}
    kept = {key: value for key, value in old.items() if not key.startswith(stage + "/") or key in keys}
    write_json(path, kept | {f"{stage}/{name}": value for name, value in metrics.items()})


def resolve_data(run: Path, config: TrainConfig) -> DataSet:
    """The data set of a run at the run's image size; a built-in one is rendered into RUN/data first."""
    data = config.data
    if not data:
        raise InputError(f"preset {config.preset} needs --data: a folder that prepare.py made, or tfds:NAME")
    if data in synthetic.KINDS:
        data = str(run / "data")
        if not Path(data).exists():
            synthetic.write_synthetic(
                config.data,
                Path(data),
                synthetic.DEFAULT_COUNT,
                synthetic.DEFAULT_HOLDOUT,
                config.height,
                config.width,
                0,
            )
    found = open_data(data, config.height, config.width)
    if found.channels != config.channels:
        raise InputError(f"{data} has images of {found.channels} channels; the configuration says {config.channels}")
    return found


def start(run: Path, config: TrainConfig, data: DataSet) -> None:
    """Store the configuration of a new run, or refuse one that contradicts the run's."""
    path = (
        config.data
        if config.data in synthetic.KINDS or config.data.startswith("tfds:")
        else str(Path(config.data).expanduser().resolve())
    )
    wanted = dataclasses.asdict(config) | {"data": path, "data_set": data.fingerprint}
    defaults = dataclasses.asdict(TRAIN_PRESETS.get(config.preset, TrainConfig()))
    agree(run / "config.json", wanted, "trained", FREE, defaults, "another --run")


def load(run: Path) -> tuple[TrainConfig, DataSet]:
    """The configuration and the data set of a run.

    Raises:
      InputError: there is no such run, or its data set is gone or has become another one.
    """
    path = run / "config.json"
    if not path.is_file():
        raise InputError(f"{run} is no run folder (it has no config.json): start with train.py PRESET --run {run}")
    try:
        stored = json.loads(path.read_text())
        fingerprint = stored.pop("data_set")
        stored["encoder_filters"] = tuple(stored["encoder_filters"])
        config = TrainConfig(**stored)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); it is what train.py wrote") from error
    data = resolve_data(run, config)
    if data.fingerprint != fingerprint:
        raise InputError(f"{run} was trained on data set {fingerprint}, and {config.data} is now {data.fingerprint}")
    return config, data


def load_training(run: Path, config: TrainConfig, which: str | int = "latest") -> began.BeganState:
    """State of a run's training: its latest, its best (lowest mean M), or that of a step.

    Raises:
      InputError: the run was not trained, or the checkpoint is damaged.
    """
    folder = run / "generator"
    if not checkpoints.exists(folder):
        raise InputError(f"{folder} holds no checkpoint: run train.py {config.preset} --run {run} first")
    saved = checkpoints.manager(folder, read_only=True)
    step = saved.latest_step() if which == "latest" else saved.best_step() if which == "best" else int(which)
    if step not in saved.all_steps():
        raise InputError(
            f"{folder} no longer holds step {step}, which RUN/latents was made with (it holds {saved.all_steps()}): "
            f"{start_anew(run)}, and run invert.py and aspect.py again"
        )
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), jax.eval_shape(lambda: began.init(config))
    )
    state = checkpoints.restore(saved, step, like)
    saved.close()
    return state


def start_anew(run: Path) -> str:
    """What has to go where the latents of a run are to be made in another way: they, and all that came of them."""
    return f"delete {', '.join(str(run / name) for name in ('latents', 'aspect', 'labels'))}"


def inverted(run: Path) -> tuple[InvertConfig, int]:
    """How the latents of a run were made, and the step of the generator they belong to; InputError before invert.py."""
    path = run / "latents" / "config.json"
    if not path.is_file():
        raise InputError(f"{run / 'latents'} holds no latents: run invert.py --run {run} first")
    stored = read_json(path)
    step = stored.pop("generator_step")
    return InvertConfig(**stored), step


def load_inverted(run: Path, config: TrainConfig) -> tuple[InvertConfig, began.BeganState]:
    """As `inverted`, with the training state of that step."""
    how, step = inverted(run)
    return how, load_training(run, config, step)

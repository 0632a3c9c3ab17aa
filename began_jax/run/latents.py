"""Latents and what belongs to each on disk: one Orbax item a shard, written as it completes by whichever process."""

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from began_jax.errors import InputError
from began_jax.run import checkpoints

FILE = "columns.npz"  # of each shard


class ColumnsHandler(ocp.CheckpointHandler):
    """Writes columns of numpy arrays as one .npz file, on whichever process has them.

    Orbax's own handlers write numpy arrays on the first process only, and refuse what only one process has.
    """

    def __init__(self, multiprocessing_options: ocp.options.MultiprocessingOptions | None = None) -> None:
        self._options = multiprocessing_options or ocp.options.MultiprocessingOptions()

    def save(self, directory: Any, args: "Columns") -> None:
        np.savez(Path(directory) / FILE, **args.columns)

    def restore(self, directory: Any, args: "Columns | None" = None) -> dict[str, np.ndarray]:
        path = Path(directory) / FILE
        if path.exists():
            with np.load(path, allow_pickle=False) as columns:
                return dict(columns)
        orbax = ocp.PyTreeCheckpointHandler(multiprocessing_options=self._options)  # as versions before 0.2 wrote them
        stored: Any = orbax.metadata(directory)
        numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in stored}
        return orbax.restore(directory, args=ocp.args.PyTreeRestore(restore_args=numpy))


@ocp.args.register_with_handler(ColumnsHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class Columns(ocp.args.CheckpointArgs):
    """What `ColumnsHandler` is to save; to restore, nothing."""

    columns: dict[str, Any] = dataclasses.field(default_factory=dict)


def write_columns(folder: Path, item: str, columns: dict[str, np.ndarray]) -> None:
    """Write columns as the only checkpoint of a folder, and wait for it."""
    with contextlib.closing(checkpoints.manager(folder, keep=None, items={item: ColumnsHandler})) as manager:
        manager.save(0, args=ocp.args.Composite(**{item: Columns(columns)}))
        manager.wait_until_finished()


def read_columns(folder: Path, item: str, remedy: str) -> dict[str, np.ndarray]:
    """Return what `write_columns` wrote; InputError with the remedy where it is missing or damaged."""
    if not checkpoints.exists(folder):
        raise InputError(f"{folder} is missing: {remedy}")
    if damage := checkpoints.damage(folder / "0"):
        raise InputError(f"{folder} is damaged: {damage}; {remedy}")
    items = {item: ColumnsHandler}
    with contextlib.closing(checkpoints.manager(folder, keep=None, read_only=True, items=items)) as manager:
        restored: Any = manager.restore(0, args=ocp.args.Composite(**{item: Columns()}))
    return restored[item]


class Latents:
    """A folder of shards in order: RUN/latents/SPLIT is Z_data in the data set's order, RUN/labels/* see `labels`."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder: Path = Path(folder)
        self._read_only = read_only

    @functools.cached_property
    def _manager(self) -> checkpoints.Manager:
        return self._open(self._read_only)

    def _open(self, read_only: bool) -> checkpoints.Manager:
        items = {"latents": ColumnsHandler, "ids": ocp.JsonCheckpointHandler}
        return checkpoints.manager(self.folder, keep=None, read_only=read_only, items=items)

    def done(self) -> set[int]:
        """Return the numbers of the shards that are complete."""
        return set(self._manager.all_steps())

    def save(self, shard: int, ids: list[str], results: dict[str, np.ndarray]) -> None:
        """Start writing a shard: columns [n, ...], in Z_data `z` [n, latent], `l1` [n] and `psnr_db` [n]."""
        self._manager.save(
            shard,
            args=ocp.args.Composite(latents=Columns(results), ids=ocp.args.JsonSave({"ids": ids})),
            force=True,  # or Orbax would leave out a shard before the last one that is there
        )

    def wait(self) -> None:
        """Wait until everything is written."""
        self._manager.wait_until_finished()

    def load(self) -> dict[str, Any]:
        """Return all shards in order: `id` list of str, and the columns that were saved, [N, ...] each.

        Raises:
            InputError: there is no shard, one is missing in the middle, or one is damaged.
        """
        with contextlib.closing(self._open(read_only=True)) as reader:  # sees the shards of other processes too
            shards = sorted(reader.all_steps())
            if not shards:
                raise InputError(f"{self.folder} holds no latents: run invert.py first")
            if shards != list(range(len(shards))):
                missing = min(set(range(shards[-1])) - set(shards))
                raise InputError(
                    f"{self.folder} lacks shard {missing}: run the same command again that made the others"
                )
            parts = [self._load(reader, shard) for shard in shards]
        columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != "id"}
        return columns | {"id": [name for part in parts for name in part["id"]]}

    def _load(self, reader: ocp.CheckpointManager, shard: int) -> dict[str, Any]:
        folder = self.folder / str(shard)
        remedy = "delete that folder and run the same command again that made it"
        if damage := checkpoints.damage(folder):
            raise InputError(f"{folder} is damaged: {damage}; {remedy}")
        try:
            found = reader.restore(shard, args=ocp.args.Composite(latents=Columns(), ids=ocp.args.JsonRestore()))
        except Exception as error:
            raise InputError(f"{folder} cannot be read ({type(error).__name__}); {remedy}") from error
        return found["latents"] | {"id": found["ids"]["ids"]}

"""Latents and what belongs to each on disk: one Orbax item a shard, written as it completes by whichever process."""

import asyncio
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint._src.serialization import ocdbt_utils
from orbax.checkpoint._src.serialization import tensorstore_utils as ts_utils

from began_jax.errors import InputError
from began_jax.run import checkpoints


class _WrittenHere(ocp.type_handlers.NumpyHandler):
    """Writes numpy arrays on the process that has them; Orbax's own handler leaves them out on all but process 0."""

    async def _background_serialize(self, values, infos, args=None):
        writes = []
        for value, info, arg in zip(values, infos, args, strict=True):
            await info.await_path_creation()
            spec = ts_utils.build_array_write_spec(
                info=info,
                arg=arg,
                global_shape=value.shape,
                local_shape=value.shape,
                dtype=value.dtype,
                use_ocdbt=info.is_ocdbt_checkpoint,
                process_index=ocdbt_utils.get_process_index_for_subdir(use_ocdbt=info.is_ocdbt_checkpoint),
            )
            writes.append(self._open_and_write(value, spec.json, info.ts_context))
        await asyncio.gather(*writes)


def _columns_handler(multiprocessing_options: ocp.options.MultiprocessingOptions) -> ocp.PyTreeCheckpointHandler:
    registry = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, _WrittenHere()), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    return ocp.PyTreeCheckpointHandler(multiprocessing_options=multiprocessing_options, type_handler_registry=registry)


class Latents:
    """A folder of shards in order: RUN/latents/SPLIT is Z_data in the data set's order, RUN/labels/* see `labels`."""

    def __init__(self, folder: Path, *, read_only: bool = False):
        self.folder = Path(folder)
        items = {"latents": _columns_handler, "ids": ocp.JsonCheckpointHandler}
        self._manager = checkpoints.manager(self.folder, keep=None, read_only=read_only, alone=items)

    def done(self) -> set[int]:
        """Numbers of the shards that are complete."""
        return set(self._manager.all_steps())

    def save(self, shard: int, ids: list[str], results: dict[str, np.ndarray]) -> None:
        """Start writing a shard: columns [n, ...], in Z_data `z` [n, latent], `l1` [n] and `psnr_db` [n]."""
        save = ocp.args.PyTreeSave if jax.process_count() > 1 else ocp.args.StandardSave
        self._manager.save(
            shard,
            args=ocp.args.Composite(latents=save(results), ids=ocp.args.JsonSave({"ids": ids})),
            force=True,  # or Orbax would leave out a shard before the last one that is there
        )

    def wait(self) -> None:
        """Wait until everything is written."""
        self._manager.wait_until_finished()

    def load(self) -> dict[str, Any]:
        """All shards in order: `id` list of str, and the columns that were saved, [N, ...] each.

        Raises:
          InputError: there is no shard, one is missing in the middle, or one is damaged.
        """
        reader = checkpoints.manager(self.folder, keep=None, read_only=True)  # sees those of other processes too
        shards = sorted(reader.all_steps())
        if not shards:
            raise InputError(f"{self.folder} holds no latents: run invert.py first")
        if shards != list(range(len(shards))):
            missing = min(set(range(shards[-1])) - set(shards))
            raise InputError(f"{self.folder} lacks shard {missing}: run the same invert.py command again")
        parts = [self._load(reader, shard) for shard in shards]
        columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != "id"}
        return columns | {"id": [name for part in parts for name in part["id"]]}

    def _load(self, reader: ocp.CheckpointManager, shard: int) -> dict[str, Any]:
        folder = self.folder / str(shard)
        remedy = "delete that folder and run the same invert.py command again"
        if damage := checkpoints.damage(folder):
            raise InputError(f"{folder} is damaged: {damage}; {remedy}")
        try:
            found = reader.restore(
                shard, args=ocp.args.Composite(latents=ocp.args.StandardRestore(), ids=ocp.args.JsonRestore())
            )
        except Exception as error:
            raise InputError(f"{folder} cannot be read ({type(error).__name__}); {remedy}") from error
        return {key: np.asarray(value) for key, value in found["latents"].items()} | {"id": found["ids"]["ids"]}

"""Latents and what belongs to each on disk: one Orbax item a shard, written as it completes."""

from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from began_jax import checkpoints
from began_jax.errors import InputError


class Latents:
    """A folder of shards in order: RUN/latents/SPLIT is Z_data in the data set's order, RUN/labels/* see `labels`."""

    def __init__(self, folder: Path, *, read_only: bool = False):
        self.folder = Path(folder)
        self._manager = checkpoints.manager(self.folder, keep=None, read_only=read_only)

    def done(self) -> set[int]:
        """Numbers of the shards that are complete."""
        return set(self._manager.all_steps())

    def save(self, shard: int, ids: list[str], results: dict[str, np.ndarray]) -> None:
        """Start writing a shard: columns [n, ...], in Z_data `z` [n, latent], `l1` [n] and `psnr_db` [n]."""
        self._manager.save(
            shard, args=ocp.args.Composite(latents=ocp.args.StandardSave(results), ids=ocp.args.JsonSave({"ids": ids}))
        )

    def wait(self) -> None:
        """Wait until everything is written."""
        self._manager.wait_until_finished()

    def load(self) -> dict[str, Any]:
        """All shards in order: `id` list of str, and the columns that were saved, [N, ...] each.

        Raises:
          InputError: there is no shard, one is missing in the middle, or one is damaged.
        """
        shards = sorted(self.done())
        if not shards:
            raise InputError(f"{self.folder} holds no latents: run invert.py first")
        if shards != list(range(len(shards))):
            missing = min(set(range(shards[-1])) - set(shards))
            raise InputError(f"{self.folder} lacks shard {missing}: run the same invert.py command again")
        parts = [self._load(shard) for shard in shards]
        columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != "id"}
        return columns | {"id": [name for part in parts for name in part["id"]]}

    def _load(self, shard: int) -> dict[str, Any]:
        folder = self.folder / str(shard)
        remedy = "delete that folder and run the same invert.py command again"
        if damage := checkpoints.damage(folder):
            raise InputError(f"{folder} is damaged: {damage}; {remedy}")
        try:
            found = self._manager.restore(
                shard, args=ocp.args.Composite(latents=ocp.args.StandardRestore(), ids=ocp.args.JsonRestore())
            )
        except Exception as error:
            raise InputError(f"{folder} cannot be read ({type(error).__name__}); {remedy}") from error
        return {key: np.asarray(value) for key, value in found["latents"].items()} | {"id": found["ids"]["ids"]}

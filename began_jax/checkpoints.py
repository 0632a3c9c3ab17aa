"""State on disk: Orbax checkpoint managers, asynchronous and atomic, and errors that say what to do.

A checkpoint is a folder named after its step; Orbax writes it under a temporary name and renames it when it is
complete, so a kill at any moment leaves complete checkpoints only.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from began_jax.errors import InputError

BEST_METRIC = "score"  # lower is better


def manager(folder: Path, *, keep: int | None = 3) -> ocp.CheckpointManager:
    """A manager that keeps the newest `keep` checkpoints and the one with the lowest score; None keeps all."""
    if keep is None:
        policy = policies.LatestN()
    else:
        best = policies.BestN(get_metric_fn=lambda metrics: metrics[BEST_METRIC], reverse=True, n=1)
        policy = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=lambda metrics: metrics[BEST_METRIC],
        best_mode="min",
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(Path(folder).resolve(), options=options)


def save(checkpoints: ocp.CheckpointManager, step: int, state: Any, score: float = 0.0) -> None:
    """Start writing `state` as checkpoint `step`; the arrays are copied before this returns."""
    checkpoints.save(step, args=ocp.args.StandardSave(state), metrics={BEST_METRIC: float(score)})


def restore(checkpoints: ocp.CheckpointManager, step: int, like: Any) -> Any:
    """The state of checkpoint `step`, with the shapes, types and shardings of `like`.

    Raises:
      InputError: the checkpoint is damaged or was written by another configuration.
    """
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        return checkpoints.restore(step, args=ocp.args.StandardRestore(abstract))
    # Orbax and TensorStore raise many types for a file that is missing, cut short, or of another shape.
    except Exception as error:
        others = [str(s) for s in checkpoints.all_steps() if s != step]
        remedy = f"delete that folder to go on from {others[-1]}" if others else "delete that folder to start again"
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"checkpoint {checkpoints.directory / str(step)} cannot be read ({type(error).__name__}: {reason}); {remedy}"
        ) from error


def restore_latest(checkpoints: ocp.CheckpointManager, like: Any) -> tuple[int, Any] | None:
    """(step, state) of the newest checkpoint, or None where there is none."""
    step = checkpoints.latest_step()
    return None if step is None else (step, restore(checkpoints, step, like))


def exists(folder: Path) -> bool:
    """Whether a folder holds at least one complete checkpoint."""
    return Path(folder).is_dir() and bool(ocp.utils.checkpoint_steps(Path(folder).resolve()))

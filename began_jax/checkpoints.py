"""State on disk: Orbax checkpoint managers, asynchronous and atomic, and errors that say what to do.

A checkpoint is a folder named after its step; Orbax writes it under a temporary name and renames it when it
is complete, so a kill at any moment leaves complete checkpoints only. Just before that it gets a file
SHA256SUMS, which `restore` compares (so can `sha256sum -c`): Orbax by itself misses some changed bytes.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from began_jax.errors import InputError

BEST_METRIC = "score"  # lower is better
SUMS = "SHA256SUMS"


def manager(folder: Path, *, keep: int | None = 3, read_only: bool = False) -> ocp.CheckpointManager:
    """A manager that keeps the newest `keep` checkpoints and that with the lowest score; None keeps all."""
    options: dict[str, Any] = {"preservation_policy": policies.LatestN()}
    if keep is not None:
        score = lambda metrics: metrics[BEST_METRIC]  # noqa: E731
        best = policies.BestN(get_metric_fn=score, reverse=True, n=1)
        policy = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
        options = {"preservation_policy": policy, "best_fn": score, "best_mode": "min"}
    # Orbax's own read_only logs three warnings each time; a reader need only leave the folder as it is.
    options |= {"create": not read_only, "cleanup_tmp_directories": not read_only}
    options = ocp.CheckpointManagerOptions(**options)
    folder = Path(folder).resolve()
    if not read_only:
        options.async_options = ocp.AsyncOptions(post_finalization_callback=lambda: _write_sums(folder))
    try:
        return ocp.CheckpointManager(folder, options=options)
    except ValueError as error:  # it reads the score of every checkpoint
        for step in ocp.utils.checkpoint_steps(folder):
            check_files(folder / str(step))
        raise InputError(f"checkpoints in {folder} cannot be read ({error})") from error


def _write_sums(folder: Path) -> None:
    # Orbax calls this on each process between writing a checkpoint and renaming it.
    if jax.process_index() == 0:
        for unnamed in folder.glob("*.orbax-checkpoint-tmp*"):
            files = sorted(path for path in unnamed.glob("*/**/*") if path.is_file())
            lines = [f"{_sha256(path)}  {path.relative_to(unnamed)}\n" for path in files]
            (unnamed / SUMS).write_text("".join(lines))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(checkpoint: Path) -> str | None:
    """What is wrong with the files of a checkpoint: the first that is missing or changed; None where all are whole."""
    sums = checkpoint / SUMS
    lines = sums.read_text(errors="replace").splitlines() if sums.exists() else []
    for digest, _, name in (line.partition("  ") for line in lines):
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _sha256(path) != digest:
            return f"{name} has changed since it was written"
    return None


def check_files(checkpoint: Path) -> None:
    """Raise InputError, naming checkpoint and file, where a file of a checkpoint is missing or changed."""
    if found := damage(checkpoint):
        raise InputError(f"checkpoint {checkpoint} is damaged: {found}; {_remedy(checkpoint)}")


def _remedy(checkpoint: Path) -> str:
    steps = ocp.utils.checkpoint_steps(checkpoint.parent)
    others = sorted(step for step in steps if str(step) != checkpoint.name)
    return f"delete that folder to go on from {others[-1]}" if others else "delete that folder to start again"


def save(checkpoints: ocp.CheckpointManager, step: int, state: Any, score: float = 0.0) -> None:
    """Start writing `state` as checkpoint `step`; the arrays are copied before this returns."""
    checkpoints.save(step, args=ocp.args.StandardSave(state), metrics={BEST_METRIC: float(score)})


def restore(checkpoints: ocp.CheckpointManager, step: int, like: Any) -> Any:
    """The state of checkpoint `step`, with the shapes, types and shardings of `like`.

    Raises:
      InputError: the checkpoint is damaged or was written by another configuration.
    """
    folder = Path(checkpoints.directory) / str(step)
    check_files(folder)
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        return checkpoints.restore(step, args=ocp.args.StandardRestore(abstract))
    except Exception as error:  # Orbax and TensorStore raise many types, for other shapes, types or names
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"checkpoint {folder} cannot be read ({type(error).__name__}: {reason}); {_remedy(folder)}"
        ) from error


def restore_latest(checkpoints: ocp.CheckpointManager, like: Any) -> tuple[int, Any] | None:
    """(step, state) of the newest checkpoint, or None where there is none."""
    step = checkpoints.latest_step()
    return None if step is None else (step, restore(checkpoints, step, like))


def exists(folder: Path) -> bool:
    """Whether a folder holds at least one complete checkpoint."""
    return Path(folder).is_dir() and bool(ocp.utils.checkpoint_steps(Path(folder).resolve()))

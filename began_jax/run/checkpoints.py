"""State on disk: Orbax checkpoint managers, asynchronous and atomic, and errors that say what to do.

A checkpoint is a folder named after its step; Orbax writes it under a temporary name and renames it when it
is complete, so a kill at any moment leaves complete checkpoints only. Just before that it gets a file
SHA256SUMS, which `restore` compares (so can `sha256sum -c`): Orbax by itself misses some changed bytes.

Among several processes a manager belongs to all of them, which save and restore together, or to one that is alone.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from began_jax.errors import InputError

BEST_METRIC = "score"  # lower is better
SUMS = "SHA256SUMS"
TEMPORARY = ".orbax-checkpoint-tmp*"


class Manager(ocp.CheckpointManager):
    """Orbax's manager, which knows which checkpoint it is writing: other processes may write beside it."""

    writing: int = -1

    def save(self, step: int, *args: Any, **kwargs: Any) -> bool:
        self.wait_until_finished()  # Orbax would wait too: it writes one at a time
        self.writing = step
        return super().save(step, *args, **kwargs)

    def reached_preemption(self, step: int) -> bool:
        """Return False: the service that would know is off, since processes agree on a stop by themselves (`join`)."""
        return False


def manager(
    folder: Path,
    *,
    keep: int | None = 3,
    beside: Callable[[], Collection[int]] = tuple,
    read_only: bool = False,
    items: Mapping[str, Callable[..., Any]] | None = None,
) -> Manager:
    """Return a manager that keeps the newest `keep` checkpoints and that with the lowest score; None keeps all.

    Args:
        folder: of the checkpoints.
        keep: how many.
        beside: gives steps that are kept too, whenever there is something to remove.
        read_only: leave the folder as it is; a reader is alone.
        items: those of a checkpoint with the class of Orbax's handler of each. Then this process uses the manager
            without the others, which may have managers of the same folder.
    """
    given: dict[str, Any] = {"preservation_policy": policies.LatestN()}
    if keep is not None:
        score = lambda metrics: metrics[BEST_METRIC]  # noqa: E731
        best = policies.BestN(get_metric_fn=score, reverse=True, n=1)
        policy = policies.AnyPreservationPolicy([policies.LatestN(keep), best, _Asked(beside)])
        given = {"preservation_policy": policy, "best_fn": score, "best_mode": "min"}
    # Orbax's own read_only logs three warnings each time; a reader need only leave the folder as it is.
    given |= {"create": not read_only, "cleanup_tmp_directories": not read_only}
    folder, here = Path(folder).resolve(), {}
    if (items or read_only) and jax.process_count() > 1:
        here = {"multiprocessing_options": _here_alone()}
        given |= {"create": False, "cleanup_tmp_directories": False} | here
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
            # Orbax would clean up in the background, and take away what another process has begun by then.
            for unnamed in folder.glob(f"*{TEMPORARY}") if jax.process_index() == 0 else ():
                shutil.rmtree(unnamed)
    # Handlers of Orbax's own choice would write on the first of several processes only, and say nothing.
    handlers: Any = {name: handler(**here) for name, handler in (items or {}).items()} or None
    options = ocp.CheckpointManagerOptions(**given)
    if not read_only:
        options.async_options = ocp.AsyncOptions(
            post_finalization_callback=lambda: _write_sums(folder, found.writing),
            # Orbax signals "the folders are made" by a name that managers of several processes would share.
            create_directories_asynchronously=handlers is None,
        )
    try:
        found = Manager(folder, options=options, item_handlers=handlers)
        return found
    except ValueError as error:  # it reads the score of every checkpoint
        for step in ocp.utils.checkpoint_steps(folder):
            check_files(folder / str(step))
        raise InputError(f"checkpoints in {folder} cannot be read ({error})") from error


@dataclasses.dataclass
class _Asked(policies.PreservationPolicy):
    """Keeps the steps that are asked for at the time: other stages may begin to use one while this one trains."""

    steps: Callable[[], Collection[int]]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        asked = set(self.steps())
        return [checkpoint.step in asked for checkpoint in checkpoints]


def _here_alone() -> ocp.options.MultiprocessingOptions:
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _write_sums(folder: Path, step: int) -> None:
    # Orbax calls this on one process, when all have written their parts and before it renames the checkpoint.
    for unnamed in folder.glob(f"{step}{TEMPORARY}"):
        files = sorted(path for path in unnamed.glob("*/**/*") if path.is_file())
        lines = [f"{_sha256(path)}  {path.relative_to(unnamed)}\n" for path in files]
        (unnamed / SUMS).write_text("".join(lines))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint: the first file that is missing or changed, or None."""
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
    checkpoints.save(step, args=ocp.args.StandardSave(_present(state)), metrics={BEST_METRIC: float(score)})


def restore(checkpoints: ocp.CheckpointManager, step: int, like: Any) -> Any:
    """Return the state of checkpoint `step`, with the shapes, types and shardings of `like`.

    Raises:
        InputError: the checkpoint is damaged or was written by another configuration.
    """
    folder = Path(checkpoints.directory) / str(step)
    check_files(folder)
    present = _present(like)
    abstract = jax.tree.map(_here, jax.tree.map(ocp.utils.to_shape_dtype_struct, present))
    try:
        found: Any = checkpoints.restore(step, args=ocp.args.StandardRestore(abstract))
        return found if present is like else dataclasses.replace(like, **found)
    except Exception as error:  # Orbax and TensorStore raise many types, for other shapes, types or names
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"checkpoint {folder} cannot be read ({type(error).__name__}: {reason}); {_remedy(folder)}"
        ) from error


def _present(state: Any) -> Any:
    """Return a dataclass as a dictionary of its fields that are not None, which older checkpoints may not know of."""
    if not dataclasses.is_dataclass(state):
        return state
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in values.items() if value is not None}


def _here(leaf: Any) -> Any:
    """Return the leaf, on a device of this process where it names none, or one that belongs to another."""
    if not isinstance(leaf, jax.ShapeDtypeStruct) or (leaf.sharding and leaf.sharding.addressable_devices):
        return leaf
    local = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=local)


def restore_latest(checkpoints: ocp.CheckpointManager, like: Any) -> tuple[int, Any] | None:
    """Return (step, state) of the newest checkpoint, or None where there is none."""
    step = checkpoints.latest_step()
    return None if step is None else (step, restore(checkpoints, step, like))


def written(folder: Path) -> float:
    """Return when the newest checkpoint of a folder was written, in seconds; a copy of it knows that too."""
    newest = folder / str(max(ocp.utils.checkpoint_steps(Path(folder).resolve())))
    try:
        return json.loads((newest / "_CHECKPOINT_METADATA").read_text())["commit_timestamp_nsecs"] / 1e9
    except (OSError, ValueError, KeyError, TypeError):
        return newest.stat().st_mtime


def exists(folder: Path) -> bool:
    """Return whether a folder holds at least one complete checkpoint."""
    return Path(folder).is_dir() and bool(ocp.utils.checkpoint_steps(Path(folder).resolve()))

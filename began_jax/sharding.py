"""Devices and processes: one mesh axis `data`, arrays either replicated or split along their first axis.

Several processes, one a host or one a device, work as one after `join`: see docs/hosts.md.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from began_jax.errors import InputError

# A process that has been silent for so long is dead, and the others end: long beside a stall of the network or of a
# busy machine, short beside what an idle cluster costs.
HEARTBEAT_SECONDS = 40
# Images inverted together where there is no device memory to fill: 256 are no faster, take four times the memory, and a
# sixth of their time went into fresh pages.
CPU_BATCH = 64
# XLA's own choice on CPUs (YNNPACK) takes 2 to 3 times as long for the gradients of kernels as Eigen's convolutions,
# and less for layers of few channels: training is faster with Eigen's, inversion (no kernel's gradient) with its own.
EIGEN_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
LONG = 7 * 24 * 3600  # seconds: processes that work alone may end hours apart
_T = TypeVar("_T")
_P = ParamSpec("_P")


def join(coordinator: str | None = None, processes: int | None = None, process_id: int | None = None) -> None:
    """Join the other processes of this command, before JAX is first used; without arguments the cluster names them.

    Raises:
        InputError: the environment is that of no cluster that JAX knows.
    """
    # Its handler of SIGTERM would take the place of ours; training agrees on when to stop by itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(coordinator, processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except ValueError as error:
        remedy = "give --coordinator, --processes and --process-id"
        raise InputError(f"the processes cannot be joined ({error}); {remedy}") from None


def joined() -> bool:
    """Return whether this process belongs to several that have to end together."""
    return jax.distributed.is_initialized()


def leave() -> None:
    """End the common work, when all processes have come so far; nothing follows that needs the others."""
    if joined():
        jax.distributed.shutdown()


def meet(place: str, seconds: int = 600) -> None:
    """Wait until every process is at this place, which has a name of its own in the program."""
    import orbax.checkpoint as ocp  # here, since the pure library needs no Orbax

    everyone = set(range(jax.process_count()))
    ocp.multihost.sync_global_processes(f"began_jax:{place}", timeout=seconds, processes=everyone)


@contextlib.contextmanager
def first_process_first(place: str) -> Iterator[None]:
    """Let the other processes enter when the first has left: it makes on disk what they then find there."""
    if jax.process_index() > 0:
        meet(place, LONG)
    try:
        yield
    finally:
        if jax.process_index() == 0:
            meet(place, LONG)


def share(items: Sequence[_T]) -> list[_T]:
    """Return this process's part of a list that is the same on all of them: every so many-th."""
    return list(items[jax.process_index() :: jax.process_count()])


def keep_to_cpu() -> None:
    """Let JAX see the CPU alone. Call before JAX is used.

    Pictures are made by many processes, each of which would reserve the greatest part of an accelerator's memory.
    """
    jax.config.update("jax_platforms", "cpu")


def use_cpu_devices(batch_size: int, count: int | None = None, *, kernel_gradients: bool = False) -> None:
    """Make a CPU fast: `count` virtual devices and fitting convolutions. Call before JAX is used.

    By default there is a device a core, as far as the batch divides: elementwise work uses one core a device. On a GPU
    or TPU it has no effect.

    Args:
        batch_size: what the devices share.
        count: of devices.
        kernel_gradients: whether convolutions' kernels are trained: then they are Eigen's.

    Raises:
        InputError: `count` is less than 1.
    """
    if count is None:
        count = most_devices(batch_size, cores())
    if count < 1:
        raise InputError(f"--cpu-devices is {count}; it must be at least 1")
    flags = os.environ.get("XLA_FLAGS", "")
    # A flag that XLA does not know ends the process, so only versions that were tried get it.
    if kernel_gradients and jax.__version_info__ < (0, 13) and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {EIGEN_CONVOLUTIONS}".strip()
    # RuntimeError: JAX is in use already, so its devices stay; `data_mesh` judges them.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def cores() -> int:
    """Return how many cores this process may use: of a large machine perhaps a part."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_devices(batch_size: int, available: int) -> int:
    """Return the largest number of the available devices that divides a batch."""
    return max(n for n in range(1, available + 1) if batch_size % n == 0)


def data_mesh(batch_size: int, devices: int | None = None, *, local: bool = False) -> Mesh:
    """Return the first `devices`, or all, or all `local` to this process, along the axis `data`.

    Raises:
        InputError: they do not divide the batch.
    """
    found = jax.local_devices() if local else jax.devices()
    devices = devices or len(found)
    check_split(batch_size, devices)
    # Explicit axes, the default of make_mesh, refuse gathers and slices of batch-sharded arrays.
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=found[:devices])


def parts_of(sharding: jax.sharding.Sharding | None) -> int:
    """Return how many parts the first axis of an array is split into; 1 where it is whole on each device."""
    if sharding is None:
        return 1
    devices = sharding.num_devices
    return devices // sharding.shard_shape((devices,) * 4)[0]


def check_split(batch_size: int, devices: int) -> None:
    """Raise InputError where so many devices do not divide a batch."""
    if batch_size % devices:
        raise InputError(f"a batch of {batch_size} cannot be split over {devices} devices; use a multiple of {devices}")


def largest_batch(compiled: Callable[[int], jax.stages.Compiled], free: int | None = None, cap: int = 512) -> int:
    """Return the largest batch, a power of two for each local device, that fits their memory; CPU_BATCH on a CPU.

    Args:
        compiled: the call for a batch of a size on one device. Its memory grows by the same for each example, so two
            small sizes tell that of all.
        free: bytes on each device; by default what it has now, less a fifth for what comes beside the call.
        cap: on each device: 256 to 512 images at 128x128 keep an H100 busy by estimate, and more pad the last shard.
    """
    devices = jax.local_devices()
    if free is None:
        if (now := free_device_memory()) is None:
            return CPU_BATCH
        free = int(0.8 * now)
    small, twice = (memory(compiled(count)) for count in (16, 32))
    each = max(twice - small, 1) / 16
    most = min((free - (small - 16 * each)) / each, cap)
    return len(devices) * 2 ** max(0, int(math.log2(max(most, 1))))


def free_device_memory() -> int | None:
    """Return the bytes that are free on each of this process's devices; None where they do not say, as CPUs."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    known = [stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats if stat and "bytes_limit" in stat]
    return min(known) if len(known) == len(stats) else None


def memory(call: jax.stages.Compiled) -> int:
    """Return bytes that a compiled call needs on each device: arguments, results and what is in between."""
    found: Any = call.memory_analysis()
    total = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return total - found.alias_size_in_bytes  # results in the place of donated arguments


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that is the same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the sharding of an array, one axis of which is split over the devices, by default the first."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def automatic(place: jax.sharding.Sharding | None) -> jax.sharding.Sharding | None:
    """Return a sharding over the same devices whose mesh has Auto axes.

    Explicit ones, the default of `jax.make_mesh`, refuse gathers and slices of split arrays.
    """
    if not isinstance(place, NamedSharding) or not isinstance(place.mesh, Mesh):
        return place
    axes = (AxisType.Auto,) * len(place.mesh.axis_names)
    return NamedSharding(Mesh(place.mesh.devices, place.mesh.axis_names, axis_types=axes), place.spec)


def freed(function: Callable, *args: Any, like: Any) -> Any:
    """Return a function's results for arrays that may be split over Explicit axes, which are Auto ones inside it.

    Args:
        function: of pure arrays.
        args: its arguments, pytrees of arrays.
        like: an array, or a pytree whose first is one, whose first axis is split as that of each result is to be.
    """
    mesh = next(filter(None, map(_explicit_mesh, jax.tree.leaves(args))), None)
    if mesh is None:
        return function(*args)
    spec = PartitionSpec(*jax.typeof(jax.tree.leaves(like)[0]).sharding.spec[:1])
    return jax.sharding.auto_axes(function, out_sharding=NamedSharding(mesh, spec))(*args)


def gathered(tree: Any) -> Any:
    """Return a tree whose arrays on a mesh of Explicit axes are brought to the host; others stay as they are."""
    return jax.tree.map(lambda leaf: leaf if _explicit_mesh(leaf) is None else np.asarray(leaf), tree)


def _explicit_mesh(leaf: Any) -> Any:
    """Return the mesh that an array lies on, if it has Explicit axes; None for what is no array."""
    if not isinstance(leaf, jax.Array):
        return None
    mesh = jax.typeof(leaf).sharding.mesh
    return mesh if AxisType.Explicit in mesh.axis_types else None


def without_mesh(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function so that what `jax.set_mesh` has set does not hold inside it."""

    @wraps(function)
    def call(*args: _P.args, **options: _P.kwargs) -> _T:
        with jax.set_mesh(None):
            return function(*args, **options)

    return call


def jitted(function: Callable, place: jax.sharding.Sharding | None, **options: Any) -> Callable:
    """Return a function jitted, which runs on the mesh of `automatic`'s sharding whatever `jax.set_mesh` has set."""
    compiled = jax.jit(function, **options)
    if not isinstance(place, NamedSharding) or not isinstance(place.mesh, Mesh):
        return compiled
    return partial(_within, place.mesh, compiled)


def _within(mesh: Mesh, function: Callable, *args: Any) -> Any:
    with jax.set_mesh(mesh):
        return function(*args)


def assemble(mesh: Mesh, shares: Any, axis: int = 0) -> Any:
    """Return global arrays, split over the mesh along an axis, from each process's share of it."""
    place = split(mesh, axis)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(place, np.asarray(rows)), shares)

"""Devices: one mesh axis `data`, arrays either replicated or split along their first axis."""

import contextlib
import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from began_jax.errors import InputError


def use_cpu_devices(batch_size: int, count: int | None = None) -> None:
    """Split the CPU into `count` virtual devices; call before JAX is first used. No effect on GPU and TPU.

    XLA's convolutions often use one core, so by default there is a device a core, as far as the batch divides.
    """
    if count is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = max(n for n in range(1, cores + 1) if batch_size % n == 0)
    if count < 1:
        raise InputError(f"--cpu-devices is {count}; it must be at least 1")
    # RuntimeError: JAX is in use already, so its devices stay; `data_mesh` judges them.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def data_mesh(batch_size: int, devices: int | None = None) -> Mesh:
    """The first `devices`, or all, along the axis `data`; InputError unless they divide the batch."""
    devices = devices or len(jax.devices())
    if batch_size % devices:
        raise InputError(f"a batch of {batch_size} cannot be split over {devices} devices; use a multiple of {devices}")
    # Explicit axes, the default of make_mesh, refuse gathers and slices of batch-sharded arrays.
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))

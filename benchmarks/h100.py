"""What an NVIDIA H100 would be given: the stages' jitted functions at the paper's sizes, compiled for it without one.

    pip install -e '.[h100]'                # JAX's plugin for CUDA, in an environment of its own; no driver
    python -m benchmarks --only h100        # some minutes of a CPU; OUT/h100.md

XLA's own compiler for GPUs makes the programs; nothing runs, and nothing is tuned by trying. So memory, operations,
bytes and the number of kernels are those of the program, and there are no times.
"""

import dataclasses
import functools
import importlib.util
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from began_jax import aspects, began, inversion
from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
from began_jax.errors import InputError
from began_jax.images import to_uint8
from began_jax.models import Decoder, LandmarkNetwork, apply
from began_jax.presets import TRAIN_PRESETS
from benchmarks.report import markdown

# What XLA has to know of the device (stream_executor's GpuTargetConfigProto); sizes in bytes, of the SXM module.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 l2_cache_size: 52428800
  memory_bandwidth: 3352320000000 device_memory_size: 84942979072 clock_rate_ghz: 1.98
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
UNTUNED: dict[str, Any] = {"xla_gpu_autotune_level": 0}
# Instructions that are no kernels: they name, choose or wait.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"}
# Name, type, operation and operands of a line.
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.-]+) = (.*?[\])}]) ([a-z][a-z0-9-]*)\((.*)")
HEAD = ("function", "memory, GB", "GFLOP", "GB moved", "kernels", "copies", "compiled, s")

Functions = Iterator[tuple[str, Callable, tuple, dict[str, Any]]]  # name, function, arguments' shapes, options of jit


@functools.cache
def device() -> jax.Device:
    """Return an H100 to compile for.

    Raises:
        InputError: JAX's plugin for CUDA is not installed.
    """
    from jax._src.lib import xla_client  # jax.experimental.topologies asks for CUDA's libraries, which nothing needs

    # JAX finds the plugin too, and says that it cannot use it.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.CRITICAL)
    for plugin in ("xla_cuda13", "xla_cuda12"):
        if spec := importlib.util.find_spec(f"jax_plugins.{plugin}"):
            (library,) = Path(str(spec.origin)).parent.glob("xla_cuda_plugin.so")
            api = xla_client.load_pjrt_plugin_dynamically("cuda", str(library))
            xla_client.initialize_pjrt_plugin("cuda")
            topology = xla_client.make_c_api_device_topology(api, "", topology="1x1x1", target_config=H100)
            return topology._make_compile_only_devices()[0]
    raise InputError("JAX's plugin for CUDA is not here: pip install -e '.[h100]'")


class Work(NamedTuple):
    """What a program does; what a loop does is counted once."""

    kernels: int
    copies: int  # of the kernels, those that only move
    bytes: int  # read and written by all of them


def work(program: str) -> Work:
    """Return what a compiled program does, from its text in XLA's HLO."""
    computations = dict(re.findall(r"^(?:ENTRY )?%?([\w.-]+) [^\n]*\{\n(.*?)^\}", program, re.M | re.S))
    waiting, seen, total = re.findall(r"^ENTRY %?([\w.-]+)", program, re.M), set(), Work(0, 0, 0)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        sizes: dict[str, int] = {}
        for line in computations[name].splitlines():
            if not (found := INSTRUCTION.match(line)):
                continue
            own, kind, operation, operands = found.groups()
            sizes[own] = _bytes(kind)
            if operation in ("while", "conditional", "call"):
                waiting += re.findall(r"(?:body|to_apply|branch_computations)=\{?%?([\w.-]+)", line)
            elif operation not in FREE and not operation.endswith("-done"):
                moved = sizes[own] + sum(sizes.get(operand, 0) for operand in re.findall(r"%([\w.-]+)", operands))
                copy = operation.startswith("copy")
                total = Work(total.kernels + 1, total.copies + copy, total.bytes + moved)
    return total


def _bytes(kind: str) -> int:
    """Return the size of a type such as (f32[16,64]{1,0}, s32[])."""
    sizes = 0
    for letters, bits, dimensions in re.findall(r"\b(pred|[a-z]+?)(\d*)\[([\d,]*)\]", kind):
        size = 1 if letters == "pred" else int(bits or 0) // 8
        sizes += size * int(np.prod([int(n) for n in dimensions.split(",") if n] or [1]))
    return sizes


def training(config: TrainConfig, batch: int) -> tuple[Callable, tuple]:
    """Return a training step and its arguments."""
    config = dataclasses.replace(config, batch_size=batch)
    images = jax.ShapeDtypeStruct((batch, config.height, config.width, config.channels), jnp.uint8)
    return lambda state, x: began.step(config, state, x), (jax.eval_shape(lambda: began.init(config)), images)


def inverting(config: TrainConfig, how: InvertConfig, images: int) -> tuple[Callable, tuple]:
    """Return ten steps of an inversion in one call, and their arguments."""
    generator, _ = began.networks(config)
    parameters = jax.eval_shape(lambda: began.init(config)).generator
    z = jax.ShapeDtypeStruct((images, config.latent_size), jnp.float32)
    x = jax.ShapeDtypeStruct((images, config.height, config.width, config.channels), jnp.float32)
    state = jax.eval_shape(lambda z: inversion.init(how, z), z)

    def steps(state, parameters, x):
        one = lambda s: inversion.step(how, lambda z: apply(generator, parameters, z), s, x)  # noqa: E731
        return jax.lax.fori_loop(0, 10, lambda _, s: one(s), state)

    return steps, (state, parameters, x)


def epoch(network: Any, latents: int, targets: tuple[int, ...], dtype: Any) -> tuple[Callable, tuple]:
    """Return an epoch of an aspect network, and its arguments."""
    config = AspectConfig()
    state = jax.eval_shape(lambda: aspects.init(config, network, 64))

    def run(state, z, targets):
        rows = aspects.epoch_rows(config, state, len(z))
        return jax.lax.scan(lambda s, r: aspects.step(config, network, s, z, targets, r), state, rows)

    z = jax.ShapeDtypeStruct((latents, 64), jnp.float32)
    return run, (state, z, jax.ShapeDtypeStruct((latents, *targets), dtype))


def functions(full: bool = True) -> Functions:
    """Yield what the stages jit, at the paper's sizes; at tiny ones where not `full`."""
    small = {} if full else dict(height=16, width=16, filters=4, encoder_filters=(4, 6))
    faces, irises, sharp = (
        dataclasses.replace(TRAIN_PRESETS[name], **small) for name in ("faces", "irises", "faces-sharp")
    )
    donated = {"donate_argnums": 0}
    variants = [(16, {}), (16, dict(precision="bfloat16")), (16, dict(remat=True))]
    variants += [(256, {}), (256, dict(precision="bfloat16")), (256, dict(remat=True))] if full else []
    for batch, changes in variants:
        how = "".join(f", {value}" if name == "precision" else f", {name}" for name, value in changes.items())
        yield f"faces: step of {batch}{how}", *training(dataclasses.replace(faces, **changes), batch), donated
    yield "irises: step of 16", *training(irises, 16), donated
    for batch in (8, 64) if full else (8,):
        yield f"faces-sharp: step of {batch}", *training(sharp, batch), donated
    for images in (256, 512) if full else (8,):
        yield f"faces: ten Adam steps of {images}", *inverting(faces, InvertConfig(), images), donated
    bfgs = InvertConfig(optimizer="bfgs", learning_rate=0.05, steps=30)
    count = 512 if full else 8
    yield f"faces: ten BFGS steps of {count}", *inverting(faces, bfgs, count), donated
    yield "landmarks: an epoch of 16,384", *epoch(LandmarkNetwork(), 16_384, (49, 2), jnp.float32), donated
    h, w = irises.height, irises.width
    masks = Decoder(h, w, 1, irises.filters, len(irises.encoder_filters) - 1)
    yield "masks: an epoch of 2,048", *epoch(masks, 2048, (h, w, 1), jnp.uint8), donated
    generator, _ = began.networks(faces)
    z = jax.ShapeDtypeStruct((256, 64), jnp.float32)
    parameters = jax.eval_shape(lambda: began.init(faces)).generator
    yield "faces: 256 pictures", lambda p, z: to_uint8(apply(generator, p, z)), (parameters, z), {}


def rows(full: bool = True) -> Iterator[list[str]]:
    """Compile function by function, and yield the rows of the table."""
    place = NamedSharding(Mesh(np.array([device()]), ("data",)), PartitionSpec())
    for name, function, shapes, options in functions(full):
        arguments = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), shapes)
        lowered = jax.jit(function, **options).lower(*arguments)
        start = time.perf_counter()
        compiled = lowered.compile(compiler_options=UNTUNED)
        seconds = time.perf_counter() - start
        memory, done = compiled.memory_analysis(), work(compiled.as_text())
        total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        total -= memory.alias_size_in_bytes  # what is donated is counted once
        flops = jax.jit(function).lower(*shapes).cost_analysis()["flops"]  # of the plain program
        figures = [total / 1e9, flops / 1e9, done.bytes / 1e9]
        yield [name, *(f"{value:.3g}" for value in figures), str(done.kernels), str(done.copies), f"{seconds:.0f}"]


def report(out: Path, full: bool = True) -> str:
    """Write the table to OUT/h100.md, row by row, and return it."""
    found: list[list[str]] = []
    out.mkdir(parents=True, exist_ok=True)
    for row in rows(full):
        found.append(row)
        print(*row, sep="; ", flush=True)
        (out / "h100.md").write_text(markdown(HEAD, found), encoding="utf-8")
    return markdown(HEAD, found)

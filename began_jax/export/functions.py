"""Functions of arrays as files that run without this package: StableHLO by jax.export, ONNX, parameters as safetensors.

All need the extra [onnx].
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from began_jax import plugins
from began_jax.errors import InputError

NEEDED: dict[str, tuple[str, ...]] = {
    "onnx": ("jax2onnx", "onnx", "onnxruntime"),
    "stablehlo": ("flatbuffers",),
    "safetensors": ("safetensors.numpy",),
}

Function = Callable[[Any], Any]  # of rows [batch, ...] -> rows, or a tuple of them
PLATFORMS = ("cpu", "cuda", "tpu")


def check(formats: Sequence[str]) -> None:
    """Raise InputError where what a format needs is not installed."""
    for name in formats:
        for module in NEEDED[name]:
            plugins.import_module(module, f"--format {name}")


def to_stablehlo(function: Function, shape: tuple[int, ...], path: Path) -> None:
    """Write a function of rows [batch, *shape], of any batch, for CPU, GPU and TPU; `of_stablehlo` reads it."""
    sizes = jax.export.symbolic_shape(", ".join(["batch", *map(str, shape)]))
    rows = jax.ShapeDtypeStruct(sizes, np.float32)
    path.write_bytes(jax.export.export(jax.jit(function), platforms=PLATFORMS)(rows).serialize())


def of_stablehlo(path: Path) -> Function:
    """Return the function in a file of `to_stablehlo`."""
    return jax.export.deserialize(bytearray(path.read_bytes())).call


def to_onnx(function: Function, shape: tuple[int, ...], path: Path, outputs: tuple[str, ...]) -> None:
    """Write a function of rows [batch, *shape] as ONNX, of any batch.

    Args:
        function: to write.
        shape: of a row.
        path: of the file.
        outputs: their names.

    Raises:
        InputError: the extra is not installed.
    """
    logging.getLogger("jax2onnx").setLevel(logging.ERROR)  # which tells of each of its examples that cannot be imported
    converter = plugins.import_module("jax2onnx", "--format onnx")
    onnx = plugins.import_module("onnx", "--format onnx")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # which names each value whose type it does not know
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):  # the converter promotes
        model = converter.to_onnx(function, [("batch", *shape)], model_name=path.stem)
    names = dict(zip([output.name for output in model.graph.output], outputs, strict=True))
    names[model.graph.input[0].name] = "input"
    _rename(model.graph, names)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]


def of_onnx(path: Path) -> Function:
    """Return the function in an ONNX file, by onnxruntime on the CPU; numpy in, a list of numpy arrays out."""
    runtime = plugins.import_module("onnxruntime", "--format onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"input": np.asarray(rows, np.float32)})


def to_safetensors(trees: dict[str, Any], path: Path) -> None:
    """Write parameters by their paths, such as generator/conv0a/kernel."""
    numpy = plugins.import_module("safetensors.numpy", "--format safetensors")
    flat = {
        "/".join([name, *(str(getattr(key, "key", getattr(key, "idx", key))) for key in place)]): np.asarray(value)
        for name, tree in trees.items()
        for place, value in jax.tree_util.tree_leaves_with_path(tree)
    }
    numpy.save_file({name: np.ascontiguousarray(value) for name, value in flat.items()}, str(path))


def largest_difference(given: Any, wanted: Any) -> float:
    """Return the largest difference of outputs, that of values above 1 as a part of them.

    Raises:
        InputError: they are not as many, or of other shapes.
    """
    given, wanted = (list(v) if isinstance(v, tuple | list) else [v] for v in (given, wanted))
    shapes = [[tuple(np.shape(v)) for v in values] for values in (given, wanted)]
    if shapes[0] != shapes[1]:
        raise InputError(f"an exported network gives {shapes[0]}, the run's {shapes[1]}")
    pairs = [[np.asarray(v, np.float64) for v in pair] for pair in zip(given, wanted, strict=True)]
    return float(np.max([(np.abs(a - b) / np.maximum(np.abs(b), 1)).max() for a, b in pairs]))  # NaN if any is

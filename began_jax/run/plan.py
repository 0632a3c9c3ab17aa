"""What a stage is about to need (--plan), found by compiling its call: memory, operations, bytes on disk."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from began_jax import aspects, began, sharding
from began_jax.aspects import losses
from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
from began_jax.images import to_uint8
from began_jax.run import image_network, labels, networks, self_training
from began_jax.run.folder import Run
from began_jax.run.generator import Generator
from began_jax.run.inverter import step_of
from began_jax.run.shards import SPLITS

SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Call(NamedTuple):
    """A function that a stage jits: of what, its arguments' shapes, jit's options."""

    name: str
    function: Callable
    arguments: Sequence[Any]
    options: Mapping[str, Any] = {}


def placed(shapes: Any, place: Sharding | None) -> Any:
    """Return the shapes of a tree with the sharding that its arrays will have."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), shapes)


def size(shapes: Any) -> int:
    """Return how many bytes the arrays of a tree take."""
    return sum(int(np.prod(leaf.shape)) * _bytes(leaf.dtype) for leaf in jax.tree.leaves(shapes))


def _bytes(dtype: Any) -> int:
    return 8 if jnp.issubdtype(dtype, jax.dtypes.prng_key) else np.dtype(dtype).itemsize


def shown(value: float | int, unit: str = "B") -> str:
    """Return a number with three digits and its unit: 1.43 GB."""
    for scale, letter in SCALES:
        if value >= scale:
            return f"{value / scale:.3g} {letter}{unit}"
    return f"{value:.3g} {unit}"


def text(stage: str, calls: Sequence[Call], facts: Mapping[str, str]) -> str:
    """Compile the calls, and return what they need on each device, then the other facts.

    The memory is that of the program for the devices that are here: a GPU's needs other memory than a CPU's.
    """
    rows, kind = [], jax.devices()[0].device_kind
    for call in calls:
        lowered = jax.jit(call.function, **call.options).lower(*call.arguments)
        operations = (lowered.cost_analysis() or {}).get("flops", 0.0)
        memory = sharding.memory(lowered.compile())
        rows.append(
            (call.name, f"{shown(memory)} of memory on each device ({kind}), {shown(operations, 'FLOP')} in all")
        )
    rows += facts.items()
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"{stage}: nothing is started (--plan)", *(f"  {name:{width}}  {value}" for name, value in rows)])


def _checkpoint(state: Any) -> str:
    return f"{shown(size(state))}; the newest three and the best are kept"


def training(config: TrainConfig, mesh: Mesh) -> str:
    """Return what a training would need."""
    split = sharding.split(mesh)
    state = placed(jax.eval_shape(lambda: began.init(config)), sharding.replicated(mesh))
    shape = (config.batch_size, config.height, config.width, config.channels)
    images = placed(jax.ShapeDtypeStruct(shape, jnp.uint8), split)
    step = Call(
        f"a step of {config.batch_size} images", lambda s, x: began.step(config, s, x, split), (state, images),
        {"donate_argnums": 0},
    )  # fmt: skip
    return text("train", [step], {"a checkpoint": _checkpoint(state), "steps": f"{config.steps:,}"})


def inversion(run: Run, config: InvertConfig, mesh: Mesh, generator: Generator, images: int) -> str:
    """Return what an inversion would need."""
    each = config.shard_size
    step, (parameters, state, x) = step_of(config, generator, each)
    arguments = placed(parameters, sharding.replicated(mesh)), state, placed(x, sharding.split(mesh))
    counts = {split: count for split, count in run.data.splits.items() if split in SPLITS}
    if images:
        counts["train"] = min(counts["train"], each * -(-images // each))
    call = Call(f"a step of {each} images", step, arguments, {"donate_argnums": 1})
    whole = sum(-(-count // each) for count in counts.values())
    to_do = f"{sum(counts.values()):,} images in {whole} shards of {config.steps * config.starts} steps"
    kept = shown(sum(counts.values()) * (generator.latent_size + 2) * 4)
    return text("invert", [call], {"to do": to_do, "latents on disk": kept})


def aspect(run: Run, config: AspectConfig) -> str:
    """Return what a training of an aspect network would need, its latents and targets on the device."""
    inverted = 0
    if config.target != "generated":
        inverted = config.labelled or len(run.annotated("train", len(run.latents("train")["z"])))
    count = inverted + (0 if config.target == "dataset" else config.labels)
    dtype = jnp.uint8 if run.kind.name == "mask" else jnp.float32
    made = networks.of_run(run, config)
    config = networks.fitting(run, config, count)
    state = jax.eval_shape(lambda: made.init(config))
    z = jax.ShapeDtypeStruct((count, run.config.latent_size), jnp.float32)
    targets = jax.ShapeDtypeStruct((count, *run.data.shape), dtype)
    calls = [_aspect_step("latents", config, made, state, z, targets, losses.of(run.kind.loss))]
    facts = {"to do": _epochs(config, count), "a checkpoint": _checkpoint(state)}
    if config.image_steps:
        own = image_network.untrained(run, config, count)
        state = jax.eval_shape(lambda: image_network.init(run, config))
        images = jax.ShapeDtypeStruct((own.count, *run.inverted.image_shape), jnp.uint8)
        targets = jax.ShapeDtypeStruct((own.count, *run.data.shape), dtype)
        calls.append(_aspect_step("images", own.config, own, state, images, targets, own.loss))
        facts |= {"to do with images": _epochs(own.config, own.count), "a checkpoint of that": _checkpoint(state)}
        if self_training.serves(run, config, learnt := labels.learnt_from(run, config)):
            found = self_training.parts(run, config, learnt)
            facts["to do again (--self-training)"] = ", then ".join(_epochs(part, count) for part, count in found)
            part, count = found[1]
            pixels = jax.ShapeDtypeStruct((own.count + count // 2, *run.inverted.image_shape), jnp.uint8)
            numbers, targets = jnp.zeros(count, jnp.int32), jax.ShapeDtypeStruct((count, *run.data.shape), dtype)
            again = own._replace(sight=self_training.seeing(run, pixels))
            calls.append(_aspect_step("images, again", part, again, state, numbers, targets, own.loss))
    return text("aspect", calls, facts)


def _aspect_step(
    unit: str,
    config: AspectConfig,
    made: networks.Untrained | image_network.Untrained,
    state: Any,
    inputs: Any,
    targets: jax.ShapeDtypeStruct,
    loss: losses.Loss,
) -> Call:
    rows = jax.ShapeDtypeStruct((*state.epoch.shape, config.batch_size), jnp.int32)

    seen = made.sight and made.sight.parameters  # as an argument, which counts

    def step(state, inputs, targets, rows, seen):
        how: Any = {"sight": made.sight and made.sight._replace(parameters=seen), "loss": loss}
        one = lambda state, rows: aspects.step(config, made.network, state, inputs, targets, rows, **how)  # noqa: E731
        return one(state, rows) if config.members == 1 else jax.vmap(one)(state, rows)

    name = f"a step of {config.batch_size} {unit}"
    return Call(name, step, (state, inputs, targets, rows, seen), {"donate_argnums": 0})


def _epochs(config: AspectConfig, count: int) -> str:
    return f"{config.epochs:,} epochs of {aspects.training_count(config, count) // config.batch_size:,} steps"


def generation(run: Run, count: int, batch: int) -> str:
    """Return what the generation would need, without the aspect network, which need not be there yet.

    A PNG is counted as its pixels, which it does not exceed by much.
    """
    generator = run.inverted
    z = jax.ShapeDtypeStruct((batch, generator.latent_size), np.float32)
    call = Call(f"{batch} images alone", lambda p, z: to_uint8(generator.apply(p, z)), (generator.parameters, z))
    pixels = shown(count * int(np.prod(generator.image_shape)))
    return text("generate", [call], {"to do": f"{count:,} images", "pictures on disk, at most": pixels})

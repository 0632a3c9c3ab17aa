"""Every function that train.py, invert.py, aspect.py and generate.py jit lowers for GPUs and TPUs.

The entry points run here at tiny sizes; each jitted function of theirs that they call is also lowered for `cuda` and
`tpu` with the arguments of that call, its shardings over four devices among them.
"""

import jax
import jax.numpy as jnp
import pytest
from ways import done

from began_jax import aspects, began, inversion
from began_jax.configs import AspectConfig, InvertConfig
from began_jax.models import Decoder
from began_jax.models.heads import ImageToMask, ImageToVector

PLATFORMS = ("cuda", "tpu")
SIZE = ["--filters", "4", "--encoder-filters", "4,6", "--latent-size", "8", "--batch-size", "4"]


@pytest.fixture
def lowered(monkeypatch):
    """Lowers what the project's own code jits, when it is first called; returns the names and what was lowered."""
    jit, names = jax.jit, {}

    def recording(function=None, **options):
        if function is None:
            return lambda f: recording(f, **options)
        jitted = jit(function, **options)
        module = getattr(function, "__module__", "") or ""
        if not module.startswith(("began_jax", "__main__")):
            return jitted
        seen = set()

        def call(*args, **kwargs):
            leaves, tree = jax.tree.flatten((args, kwargs))
            key = (tree, *((getattr(x, "shape", x), getattr(x, "dtype", None)) for x in leaves))
            if key not in seen and not any(isinstance(x, jax.core.Tracer) for x in leaves):
                seen.add(key)
                exported = jax.export.export(jitted, platforms=PLATFORMS)(*args, **kwargs)
                assert set(exported.platforms) == set(PLATFORMS)
                found = {(platform, exported.nr_devices) for platform in exported.platforms}
                names.setdefault(f"{module}.{function.__qualname__}", set()).update(found)
            return jitted(*args, **kwargs)

        return call

    monkeypatch.setattr(jax, "jit", recording)
    return names


def assert_lowered(names, *wanted):
    """Each of the functions was lowered for both platforms; a name is the end of a qualified one."""
    for name in wanted:
        platforms = {platform for full, found in names.items() if name in full for platform, _ in found}
        assert platforms == set(PLATFORMS), (name, sorted(names))


@pytest.mark.parametrize("annotation", ["landmarks", pytest.param("mask", marks=pytest.mark.long)])
def test_all_stages_lower_for_gpus_and_tpus(annotation, lowered, tmp_path, tiny_faces, tiny_irises):
    run = tmp_path / "run"
    preset, data, width, channels = (
        ("faces-sharp", tiny_faces, 16, 3) if annotation == "landmarks" else ("irises", tiny_irises, 24, 1)
    )
    shape = ["--height", 16, "--width", width, "--channels", channels]
    more = [] if annotation == "landmarks" else ["--low-quality", "--separate-latents"]
    done(
        "train.py", run, preset, "--data", data, *SIZE, *shape, *more, "--steps", 1,
        "--sample-every", 1, "--feed", "device",
    )  # fmt: skip
    assert_lowered(lowered, "train.step_of.<locals>.call", "main.<locals>.<lambda>", "run.feed.Feed")
    devices = {count for found in lowered.values() for _, count in found}
    assert 4 in devices

    begin = "encoder" if annotation == "landmarks" else "uniform"
    slots = ["--tolerance", 0.5, "--window", 2] * (begin == "encoder")  # and BFGS, its preset's
    done("invert.py", run, "--steps", 3, "--start", begin, "--shard-size", 4, *slots)
    assert_lowered(lowered, "began_jax.inversion.loop.Inverter")
    if begin == "encoder":
        assert_lowered(lowered, "of_training.<locals>.encode", "Inverter.__init__.<locals>.refill")
    members = ["--members", 4] * (annotation == "landmarks")
    done("aspect.py", run, "--recipe", "regularised", "--epochs", 1, "--batch-size", 4, *members)
    assert_lowered(lowered, "began_jax.aspects.trainer.Trainer")
    done("generate.py", run, "--count", 4, "--out", tmp_path / "out")
    assert_lowered(lowered, "began_jax.run.answers", "of_training.<locals>.generate", "pairs.annotated")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_whole_inversion_in_one_scan_lowers(platform, tiny_config):
    config = tiny_config(precision="bfloat16", remat=True)
    generator, _ = began.networks(config)
    parameters = jax.eval_shape(lambda: began.init(config)).generator

    def invert(parameters, x, z):
        return inversion.invert(InvertConfig(steps=5), lambda z: generator.apply({"params": parameters}, z), x, z)

    images, z = jax.ShapeDtypeStruct((4, 16, 24, 3), jnp.float32), jax.ShapeDtypeStruct((4, 8), jnp.float32)
    exported = jax.export.export(jax.jit(invert), platforms=[platform])(parameters, images, z)
    assert [a.shape for a in jax.tree.leaves(exported.out_avals)] == [(4,), (4,), (4, 8)]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"remat": True}], ids=["bfloat16", "remat"])
def test_a_training_step_of_other_options_lowers(platform, changes, tiny_config):
    config = tiny_config(**changes)
    state = jax.eval_shape(lambda: began.init(config))
    batch = jax.ShapeDtypeStruct((4, 16, 24, 3), jnp.uint8)
    jitted = jax.jit(lambda state, batch: began.step(config, state, batch), donate_argnums=0)
    exported = jax.export.export(jitted, platforms=[platform])(state, batch)
    assert exported.platforms == (platform,)


NETWORKS = {
    "mask": (Decoder(16, 24, 1, filters=4, poolings=1), (8,), (16, 24, 1)),
    "T of landmarks": (ImageToVector((4, 6), (5, 2), 2, jnp.bfloat16), (16, 24, 3), (5, 2)),
    "T of masks": (ImageToMask((4, 6)), (16, 24, 1), (16, 24, 1)),
}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_epoch_of_a_network_of_convolutions_in_one_call_lowers(platform, name):
    network, inputs, outputs = NETWORKS[name]
    config = AspectConfig(batch_size=4, jitter=0.1)
    state = jax.eval_shape(lambda: aspects.init(config, network, inputs))
    z, masks = jax.ShapeDtypeStruct((8, *inputs), jnp.float32), jax.ShapeDtypeStruct((8, *outputs), jnp.float32)

    def epoch(state, z, masks):
        rows = aspects.epoch_rows(config, state, len(z))
        state, losses = jax.lax.scan(lambda s, r: aspects.step(config, network, s, z, masks, r), state, rows)
        return aspects.end_epoch(network, state, losses.mean(), z, masks)

    jitted = jax.jit(epoch, donate_argnums=0)
    assert jax.export.export(jitted, platforms=[platform])(state, z, masks).platforms == (platform,)

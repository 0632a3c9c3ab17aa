"""A generator of the user's in the place of a trained one, as FILE.py:NAME, which a run keeps in RUN/generator.json.

    python invert.py --run runs/own --generator vae.py:GENERATOR --data data/faces

NAME is a `Generator`, or a function without arguments that gives one. A run begins with it, and each later stage asks
it again. It must still be the same: the run keeps a fingerprint of its parameters, and what it draws from some latents.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from began_jax import plugins
from began_jax.configs import TrainConfig
from began_jax.errors import InputError
from began_jax.files import read_json, write_json
from began_jax.inversion import starts
from began_jax.presets import OWN
from began_jax.run.generator import Generator, digest

FILE = "generator.json"
SEEN = 4  # latents, whose images are looked at again at each opening, ...
CELLS = 8  # ... by the means of so many rows and columns of each
TOLERANCE = 0.02  # of such a mean: devices and precisions differ by less
_BEYOND = 1.5  # what images may reach outside of [-1, 1], as a linear output does
_WIDTHS = (64, 128, 192, 256)  # the paper's, of networks of images
_SMALLEST = 16  # height and width at most that such networks end with


def load(place: str) -> Generator:
    """Return the generator at FILE.py:NAME or PACKAGE.MODULE:NAME, of latents [N, latent]; its code is run.

    Raises:
        InputError: there is none, or what it gives is not what it says.
    """
    option = f"--generator {place}"
    found = plugins.find(place, option)
    if callable(found):
        try:
            found = found()
        except InputError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise InputError(f"{option}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Generator):
        raise InputError(
            f"{option}: is {plugins.named(found)}; it must be a began_jax.Generator, "
            "or a function without arguments that gives one"
        )
    shape = found.image_shape
    if not isinstance(shape, tuple | list) or len(shape) != 3 or not all(_positive(size) for size in shape):
        raise InputError(f"{option}: image_shape is {shape!r}; it must be (height, width, channels)")
    found = dataclasses.replace(found, image_shape=tuple(int(size) for size in shape), step=int(found.step))
    _check(found, option)
    return found.flat()


def _positive(size: Any) -> bool:
    return isinstance(size, int | np.integer) and int(size) > 0


def _check(generator: Generator, option: str) -> None:
    """Raise InputError where the functions of a generator do not give what its shapes say, as far as tracing tells."""
    images = jax.ShapeDtypeStruct((SEEN, *generator.image_shape), jnp.float32)
    one = starts.like(generator.latent)
    z = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((SEEN, *leaf.shape), leaf.dtype), one)
    # What is called, of which arguments, and what it must give.
    calls: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
        "apply": (generator.apply, (generator.parameters, z), images),
        "encode": (generator.encode, (generator.encoder_parameters, images), z),
        "draw": (generator.draw, (jax.eval_shape(lambda: jax.random.key(0)),), one),
        "layers": (generator.layers, (generator.parameters, z), None),
        "features": (generator.features, (generator.encoder_parameters, images), None),
    }
    for name, (function, given, wanted) in calls.items():
        if function is None:
            continue
        try:
            found = jax.eval_shape(function, *given)
        except Exception as error:
            raise InputError(f"{option}: {name} fails with {type(error).__name__}: {error}") from error
        floats = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(found))
        told = jax.tree.map(lambda leaf: list(leaf.shape), found)
        if wanted is not None and (jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, wanted) or not floats):
            shapes = jax.tree.map(lambda leaf: list(leaf.shape), wanted)
            raise InputError(f"{option}: {name} gives {told}, and floats of shape {shapes} are wanted")
        if wanted is None and not _are_maps(found, images.shape, name == "layers"):
            last = " and the images last" if name == "layers" else ""
            raise InputError(f"{option}: {name} gives {told}; it must be a list of maps [N, h, w, features]{last}")


def _are_maps(found: Any, images: tuple[int, ...], with_images: bool) -> bool:
    """Tell whether traced maps are a list, each of a size that the images' halved some times is."""
    if not isinstance(found, list) or not found or any(len(jnp.shape(each)) != 4 for each in found):
        return False
    halved = {(images[1] >> n, images[2] >> n) for n in range(16) if not (images[1] | images[2]) % (1 << n)}
    fit = all(each.shape[0] == images[0] and (not with_images or each.shape[1:3] in halved) for each in found)
    return fit and (not with_images or found[-1].shape == images)


def config_of(generator: Generator, data: str) -> TrainConfig:
    """Return the configuration of a run of a generator: what the later stages ask of the training of ours."""
    height, width, channels = generator.image_shape
    poolings = 0
    while max(height, width) >> poolings > _SMALLEST and not (height | width) & ((2 << poolings) - 1):
        poolings += 1
    widths = (*_WIDTHS, *[_WIDTHS[-1]] * poolings)[: poolings + 1]
    return TrainConfig(
        preset=OWN,
        data=data,
        height=height,
        width=width,
        channels=channels,
        latent_size=generator.latent_size,
        encoder_filters=widths,
        encoder_weight=float(generator.encode is not None),
    )


def keep(folder: Path, place: str, generator: Generator) -> None:
    """Keep where a run's generator is and what tells it, or refuse another than before, which binds with its latents.

    The same generator may be at another place than before.
    """
    wanted = {"generator": plugins.absolute(place)} | known_by(generator, place)
    if (folder / FILE).exists() and (folder / "latents" / "config.json").exists():
        before = read_json(folder / FILE)
        _compare(folder, before, wanted)
        wanted |= {"seen": before["seen"]}  # so that small differences do not add up
    if not (folder / FILE).exists() or read_json(folder / FILE) != wanted:  # which another process may have written
        write_json(folder / FILE, wanted)


def open_again(folder: Path) -> Generator:
    """Return the generator that a run keeps.

    Raises:
        InputError: it is gone, or has become another one.
    """
    kept = read_json(folder / FILE)
    say(kept["generator"])
    generator = load(kept["generator"])
    _compare(folder, kept, known_by(generator, kept["generator"]))
    return generator


def name_of(folder: Path) -> str:
    """Return FILE.py:NAME of a run's own generator, without the folder that its file is in, or nothing."""
    path = folder / FILE
    return Path(read_json(path)["generator"]).name if path.exists() else ""


def say(place: str) -> None:
    """Say whose code is run, before it is."""
    print(f"the generator is {plugins.absolute(place)}, whose code is run", file=sys.stderr)


def known_by(generator: Generator, place: str) -> dict[str, Any]:
    """Return what tells a generator from another: of all its parameters, its shapes, and what it draws.

    Raises:
        InputError: what it draws is not in [-1, 1].
    """
    z = generator.latents(jax.random.key(0), SEEN)
    images = np.asarray(jax.jit(generator.apply)(generator.parameters, z), np.float64)
    least, most = images.min(), images.max()
    if not np.isfinite(images).all() or max(-least, most) > 1 + _BEYOND or (least >= 0 and most > 0):
        raise InputError(
            f"--generator {place}: {SEEN} of its images have values from {least:.3g} to {most:.3g}; they must be in "
            "[-1, 1], as 2 x - 1 makes them of [0, 1]"
        )
    sizes = {"latent_size": generator.latent_size, "image_shape": list(generator.image_shape)}
    told = {"parameters": digest((generator.parameters, generator.encoder_parameters))}
    return sizes | told | {"seen": _means(images).round(4).tolist()}


def _means(images: Float[np.ndarray, "count height width channels"]) -> Float[np.ndarray, "..."]:
    """Return the means of cells of each image and channel, in one row."""
    cells = [part.mean(1) for part in np.array_split(images, min(CELLS, images.shape[1]), axis=1)]
    cells = [part.mean(1) for row in cells for part in np.array_split(row, min(CELLS, images.shape[2]), axis=1)]
    return np.stack(cells, 1).ravel()


def _compare(folder: Path, kept: dict[str, Any], found: dict[str, Any]) -> None:
    there = {name: found[name] == kept[name] for name in ("latent_size", "image_shape", "parameters")}
    there["images of some latents"] = bool(np.allclose(found["seen"], kept["seen"], rtol=0, atol=TOLERANCE))
    other = [name.replace("_", " ") for name, same in there.items() if not same]
    if other:
        raise InputError(
            f"{kept['generator']}: the generator is another one than {folder} was begun with (other "
            f"{', '.join(other)}); give back that one, or give another --run"
        )

"""A generator of the user's in the place of a trained one, as FILE.py:NAME, which a run keeps in RUN/generator.json.

    python invert.py --run runs/own --generator vae.py:GENERATOR --data data/faces

NAME is a `Generator`, or a function without arguments that gives one. A run begins with it, and each later stage asks
it again. It must still be the same: the run keeps a fingerprint of its parameters, and what it draws from some latents.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from began_jax import plugins, sampling
from began_jax.configs import TrainConfig
from began_jax.errors import InputError
from began_jax.files import agree, read_json
from began_jax.run.generator import Generator

FILE = "generator.json"
PRESET = "own"  # the name of the configuration of such a run
SEEN = 4  # latents, whose images are looked at again at each opening
TOLERANCE = 0.01  # of an image's mean: devices and precisions differ by less
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
            f"{option}: is {'nothing' if found is None else f'a {type(found).__name__}'}; it must be a "
            "began_jax.Generator, or a function without arguments that gives one"
        )
    generator = found.flat()
    _check(generator, option)
    return generator


def _check(generator: Generator, option: str) -> None:
    """Raise InputError where the functions of a generator do not give what its shapes say, as far as tracing tells."""
    size, images = generator.latent_size, (SEEN, *generator.image_shape)
    z, x = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((SEEN, size), images))
    # What is called, of which arguments, and the shape of what it must give.
    calls: dict[str, tuple[Any, tuple[Any, ...], tuple[int, ...]]] = {
        "apply": (generator.apply, (generator.parameters, z), images),
        "encode": (generator.encode, (generator.encoder_parameters, x), (SEEN, size)),
        "draw": (generator.draw, (jax.eval_shape(lambda: jax.random.key(0)),), (size,)),
    }
    for name, (function, given, shape) in calls.items():
        if function is None:
            continue
        try:
            found = jax.eval_shape(function, *given)
        except Exception as error:
            raise InputError(f"{option}: {name} fails with {type(error).__name__}: {error}") from error
        if getattr(found, "shape", None) != shape or not np.issubdtype(found.dtype, np.floating):
            raise InputError(f"{option}: {name} gives {found}, and floats of shape {list(shape)} are wanted")


def config_of(generator: Generator, data: str) -> TrainConfig:
    """Return the configuration of a run of a generator: what the later stages ask of the training of ours."""
    height, width, channels = generator.image_shape
    poolings = 0
    while max(height, width) >> poolings > _SMALLEST and not (height | width) & ((2 << poolings) - 1):
        poolings += 1
    widths = (*_WIDTHS, *[_WIDTHS[-1]] * poolings)[: poolings + 1]
    return TrainConfig(
        preset=PRESET,
        data=data,
        height=height,
        width=width,
        channels=channels,
        latent_size=generator.latent_size,
        encoder_filters=widths,
        encoder_weight=float(generator.encode is not None),
    )


def keep(folder: Path, place: str, generator: Generator) -> None:
    """Keep where a run's generator is and what tells it, or refuse another than before."""
    wanted = {"generator": plugins.absolute(place)} | known_by(generator)
    before = read_json(folder / FILE) if (folder / FILE).exists() else wanted
    _compare(folder, before, wanted)
    agree(folder / FILE, wanted | {"seen": before["seen"]}, "begun", otherwise="another --run")


def open_again(folder: Path) -> Generator:
    """Return the generator that a run keeps.

    Raises:
        InputError: it is gone, or has become another one.
    """
    kept = read_json(folder / FILE)
    say(kept["generator"])
    generator = load(kept["generator"])
    _compare(folder, kept, known_by(generator))
    return generator


def name_of(folder: Path) -> str:
    """Return FILE.py:NAME of a run's own generator, without the folder that its file is in, or nothing."""
    path = folder / FILE
    return Path(read_json(path)["generator"]).name if path.exists() else ""


def say(place: str) -> None:
    """Say whose code is run, before it is."""
    print(f"the generator is {plugins.absolute(place)}, whose code is run", file=sys.stderr)


def known_by(generator: Generator) -> dict[str, Any]:
    """Return what tells a generator from another: of all its parameters, its shapes, and what it draws."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path((generator.parameters, generator.encoder_parameters)):
        values = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode() + values.tobytes())
    z = sampling.sampler("uniform", jax.random.key(0), generator.latent_size, draw=generator.draw)(SEEN)
    images = np.asarray(jax.jit(generator.apply)(generator.parameters, z), np.float64)
    sizes = {"latent_size": generator.latent_size, "image_shape": list(generator.image_shape)}
    return sizes | {"parameters": digest.hexdigest()[:16], "seen": _means(images).round(5).tolist()}


def _means(images: Float[np.ndarray, "count height width channels"]) -> Float[np.ndarray, "count four"]:
    """Return the mean of each quarter of each image."""
    top, left = images.shape[1] // 2, images.shape[2] // 2
    rows = (slice(None, top or 1), slice(top, None))
    columns = (slice(None, left or 1), slice(left, None))
    return np.stack([images[:, row, column].mean((1, 2, 3)) for row in rows for column in columns], axis=1)


def _compare(folder: Path, kept: dict[str, Any], found: dict[str, Any]) -> None:
    there = {name: found[name] == kept[name] for name in ("latent_size", "image_shape", "parameters")}
    there["images of some latents"] = bool(np.allclose(found["seen"], kept["seen"], rtol=0, atol=TOLERANCE))
    other = [name.replace("_", " ") for name, same in there.items() if not same]
    if other:
        raise InputError(
            f"{kept['generator']}: the generator is another one than {folder} was begun with (other "
            f"{', '.join(other)}); give back that one, or give another --run"
        )

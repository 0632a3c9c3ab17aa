"""Generators as functions, all that the later stages know of them, and calls over numpy rows."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from began_jax import began, sampling, sharding
from began_jax.configs import TrainConfig
from began_jax.errors import InputError
from began_jax.images import to_float, to_uint8
from began_jax.inversion import starts
from began_jax.models import apply

_PIXELS = 256 * 128 * 128  # drawn in one call at most, so that images of 1024x1024 are four


@dataclasses.dataclass(frozen=True)
class Generator:
    """A generator with its parameters: any function from latents to images, BEGAN's or yours.

    A file of yours that gives one under some name goes through the stages as ours does (`run.own_generator`):

        GENERATOR = Generator(apply, parameters, latent=(18, 512), image_shape=(256, 256, 3), draw=draw)

    Args:
        apply: (parameters, latents [N, ...]) -> images [N, height, width, channels] float in [-1, 1]. Each row must be
            a function of its own latent alone.
        parameters: of it, arrays in any tree. A run knows its generator again by them.
        latent: a size such as 64, a shape such as (18, 512), or a tree of them.
        image_shape: (height, width, channels).
        step: of the training that it comes from.
        encode: (encoder_parameters, images) -> latents near those that give the images, or None.
        encoder_parameters: of it.
        features: (encoder_parameters, images) -> what each scale of the encoder ends with [N, h, w, features], or None.
        layers: (parameters, latents) -> what each scale of the generator ends with [N, h, w, features], and the images
            last, for aspect networks with --features; or None.
        draw: key -> a latent as new images are drawn from; None: uniform in [-1, 1]. Inversion starts at 0 by default
            where there is no encoder, so 0 should be a common latent, such as the mean of what `draw` gives.

    Examples:
        >>> import jax.numpy as jnp
        >>> from began_jax import Generator
        >>> def apply(parameters, z):
        ...     rows = jnp.tanh(z["shape"] @ parameters) * z["shade"]
        ...     return rows[:, :, None, None] * jnp.ones((1, 1, 6, 3))
        >>> generator = Generator(apply, jnp.ones((5, 4)), latent={"shade": 1, "shape": 5}, image_shape=(4, 6, 3))
        >>> generator.latent_size
        6
    """

    apply: Callable[[Any, Any], jax.Array]
    parameters: Any
    latent: Any
    image_shape: tuple[int, int, int]
    step: int = 0
    encode: Callable[[Any, Any], Any] | None = None
    encoder_parameters: Any = None
    features: Callable[[Any, Any], list[jax.Array]] | None = None
    layers: Callable[[Any, Any], list[jax.Array]] | None = None
    draw: Callable[[jax.Array], Any] | None = None

    @functools.cached_property
    def latent_size(self) -> int:
        """How many numbers a latent has."""
        return sum(leaf.size for leaf in jax.tree.leaves(starts.like(self.latent)))

    def stored(self, parameters: Any, z: Any) -> jax.Array:
        """Return the images of latents, cut to [-1, 1] as pictures are stored: a generator may leave it."""
        return jnp.clip(self.apply(parameters, z), -1, 1)

    @property
    def batch(self) -> int:
        """How many images are drawn in one call: 256, or fewer where they are large."""
        height, width, _ = self.image_shape
        return max(1, min(256, _PIXELS // (height * width)))

    def latents(self, key: jax.Array, indices: Any) -> jax.Array:
        """Return new latents [N, latent] of a flat generator, see `sampling.uniform_latents` for the indices."""
        return sampling.sampler("uniform", key, self.latent_size, draw=self.draw)(indices)

    def named(self, sampler: str) -> str:
        """Return what a sampler is called before "latents": uniform ones may be as the generator draws them itself."""
        return "its own" if sampler == "uniform" and self.draw else sampler

    def flat(self) -> "Generator":
        """Return the same generator of latents [N, latent]: those of another shape in the order of `ravel_pytree`."""
        _, unravel = ravel_pytree(
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), starts.like(self.latent))
        )

        def flat(latents: Any) -> jax.Array:
            return jax.vmap(lambda z: ravel_pytree(z)[0])(latents)

        def of_latents(function: Callable[[Any, Any], Any] | None) -> Any:
            return function and (lambda parameters, z: function(parameters, jax.vmap(unravel)(z)))

        encode, draw = self.encode, self.draw
        return dataclasses.replace(
            self,
            apply=of_latents(self.apply),
            latent=self.latent_size,
            layers=of_latents(self.layers),
            encode=encode and (lambda parameters, x: flat(encode(parameters, x))),
            draw=draw and (lambda key: ravel_pytree(draw(key))[0]),
        )

    @functools.cached_property
    def images(self) -> Callable[[np.ndarray], np.ndarray]:
        """The function from latents [N, latent] to images [N, height, width, channels], numpy arrays."""
        return batched(self.apply, self.parameters, self.batch)

    @functools.cached_property
    def pictures(self) -> Callable[[np.ndarray], np.ndarray]:
        """The same, but uint8 as pictures are stored: a quarter of the bytes come from the device."""
        return batched(lambda parameters, z: to_uint8(self.apply(parameters, z)), self.parameters, self.batch)

    @functools.cached_property
    def read(self) -> Callable[[np.ndarray], np.ndarray]:
        """The function from images as they are stored, uint8 [N, height, width, channels], to the encoder's latents.

        Raises:
            InputError: there is no encoder.
        """
        encode = self.encoder
        return batched(lambda parameters, x: encode(parameters, to_float(x)), self.encoder_parameters, self.batch)

    @property
    def encoder(self) -> Callable[[Any, Any], jax.Array]:
        """`encode`, where there is one, or else InputError."""
        if self.encode is None:
            remedy = "train.py --encoder-weight, or aspect.py --no-read"
            raise InputError(f"the run has no encoder to read images with: {remedy}")
        return self.encode


def of_training(config: TrainConfig, state: began.BeganState) -> Generator:
    """Return the generator of a training's state, with the encoder where one was trained beside it."""
    generator, _ = began.networks(config)
    encoder = began.encoder_network(config)

    def generate(parameters, z):
        return apply(generator, parameters, z)

    def encode(parameters, x):
        return apply(encoder, parameters, x)

    def layers(parameters, z):
        images, maps = generator.apply({"params": parameters}, z, with_features=True)
        return [*maps, images]

    return Generator(
        apply=generate,
        parameters=state.averaged["generator"],
        latent=config.latent_size,
        image_shape=(config.height, config.width, config.channels),
        step=int(state.step),
        encode=encode if config.encoder_weight else None,
        encoder_parameters=state.averaged["encoder"],
        features=encoder.features if config.encoder_weight else None,
        layers=layers,
    )


def digest(parameters: Any) -> str:
    """Return what tells parameters from others: a digest of their names, types, shapes and values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        values = np.ascontiguousarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode() + values.tobytes())
    return found.hexdigest()[:16]


def batched(function: Callable[[Any, Any], Any], parameters: Any, batch: int = 256) -> Callable[[np.ndarray], Any]:
    """Return a function of (parameters, rows) as one over numpy rows [N, ...], jitted once for one batch shape.

    What it returns may be a tree of arrays, each with a row for each row.

    A batch is split over this process's devices, of a number that divides it.
    """
    jitted = jax.jit(function)
    mesh = sharding.data_mesh(batch, sharding.most_devices(batch, jax.local_device_count()), local=True)
    everywhere, split = jax.device_put(parameters, sharding.replicated(mesh)), sharding.split(mesh)

    def over_rows(rows: np.ndarray) -> Any:
        padded = np.concatenate([rows, np.zeros((-len(rows) % batch, *rows.shape[1:]), rows.dtype)])
        batches = (jax.device_put(padded[i : i + batch], split) for i in range(0, len(padded), batch))
        found, ahead = [], None
        for given in batches:  # the next one is computed while this one travels
            ahead, last = jitted(everywhere, given), ahead
            found += [] if last is None else [jax.device_get(last)]
        found += [] if ahead is None else [jax.device_get(ahead)]
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(rows)], *found)

    return over_rows

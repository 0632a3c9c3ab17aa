"""What a trained aspect network of a run and all that is beside it say of a latent, of an image, or of both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from began_jax import aspects, gaussian_process
from began_jax.configs import AspectConfig
from began_jax.data.datasets import images_of
from began_jax.models import apply
from began_jax.run import closed_form, image_network, reading
from began_jax.run.folder import Run
from began_jax.run.generator import batched


class Pure(NamedTuple):
    """What a `TrainedAspect` does, as functions of (parameters, ...) to transform and to export.

    Images x are [N, H, W, C] in [-1, 1].
    """

    parameters: dict[str, Any]  # of the network, and of what is beside it
    annotate: Callable[[Any, Any], Any]  # (parameters, z) -> annotations
    answer: Callable[[Any, Any], Any]  # (parameters, z) -> annotations
    of_images: Callable[[Any, Any, Any], Any]  # (parameters, z, x) -> annotations
    expected_error: Callable[[Any, Any], Any] | None = None  # (parameters, z) -> [N]
    look: Callable[[Any, Any], Any] | None = None  # (parameters, x) -> annotations


class TrainedAspect(NamedTuple):
    """An aspect network of a run, as functions of numpy arrays.

    `annotate` maps latents z [N, latent] to annotations [N, ...] of the images G(z). `answer` is the same, but of the
    latents that it is given, and without the image network: with --read, of what the encoder has read (`reading`). With
    --features too, `annotate` gives z to the network and what was read to the process. `look` is the image network's
    answer for images, with which `of_images` says what all together say of images and what is read of them, and
    `of_inverted` the same of images and the latents that they were inverted to.
    """

    annotate: Callable[[np.ndarray], np.ndarray]
    epoch: int  # epochs that it was trained for
    share: float = 1.0  # of the network in what is said of latents; the rest is that of the process beside it
    expected_error: Callable[[np.ndarray], np.ndarray] | None = None  # of the answers [N], see `closed_form`
    answer: Callable[[np.ndarray], np.ndarray] | None = None  # None: annotate
    read: bool = False
    pure: Pure | None = None  # the same functions, traced
    look: Callable[[np.ndarray], np.ndarray] | None = None  # images uint8 [N, H, W, C] -> annotations
    look_share: float = 0.0  # of it in the answers; the rest is that of all others

    def of_images(self, z: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the annotations of images uint8 [N, H, W, C], by what is read of them or their latents."""
        return self.with_look((self.answer or self.annotate)(z), images)

    def with_look(self, said: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return what all together say of images, when what is `said` of their latents is known [N, ...]."""
        return said if self.look is None else self.look_share * self.look(images) + (1 - self.look_share) * said

    def of_inverted(self, run: Run, z: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the annotations of images uint8 [N, H, W, C] that were inverted to latents [N, latent]."""
        return self.of_images(reading.of_inverted(run.inverted, z, images) if self.read else z, images)

    def known(self, run: Run, split: str, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the annotations of images of a split, by their numbers [N] and inverted latents [N, latent]."""
        if not self.read and self.look is None:
            return (self.answer or self.annotate)(z)
        source = run.data.source(split)
        parts = (slice(first, first + reading.BATCH) for first in range(0, len(rows), reading.BATCH))
        return np.concatenate([self.of_inverted(run, z[part], images_of(source, rows[part])) for part in parts])


class _Shares(NamedTuple):
    """Of the network beside the process, of the image network beside both, and how much less all err than the process.

    They are the best ones for the validation examples, from which none of the three has learnt, or but little
    (`self_training`).
    """

    network: float = 1.0
    look: float = 0.0
    error: float = 1.0


def _shares(
    config: AspectConfig,
    said: Callable[[np.ndarray], np.ndarray],
    beside: closed_form.Beside | None,
    images: image_network.Beside | None,
) -> _Shares:
    """Return the shares, when it is known what the network says of latents."""
    validation = beside or images
    if validation is None:
        return _Shares()
    found = said(validation.z) if len(validation.z) else validation.targets
    share, look, error = _Shares()
    if beside is not None:
        share = beside.share(found, config.features)
        found = share * found + (1 - share) * beside.left_out
    if images is not None:
        look = images.share(found)
        found = look * images.answers + (1 - look) * found
    if beside is not None and (config.features or images is not None):
        error = beside.better(found)
    return _Shares(share, look, error)


def answering(
    run: Run,
    config: AspectConfig,
    network: nn.Module,
    sight: aspects.Sight | None,
    state: aspects.AspectState,
    beside: closed_form.Beside | None,
    images: image_network.Beside | None,
) -> TrainedAspect:
    """Return a trained network and what is beside it as one.

    Args:
        run: whose generator and encoder they see images by.
        config: of the network.
        network: the network.
        sight: what it is given in a latent's place, see `networks.Untrained`.
        state: of its training, whose best parameters are taken.
        beside: the process, if there is one.
        images: the image network, if there is one.
    """
    generator, size = run.inverted, run.inverted.batch
    own: dict[str, Any] = {"network": state.best_parameters}
    own |= {"generator": generator.parameters} if sight else {}
    of_latents = own if beside is None else own | {"process": beside.process}
    parameters = dict(of_latents)
    if config.read or images is not None:
        parameters["generator"] = generator.parameters
    if config.read:
        parameters["encoder"] = generator.encoder_parameters
    if beside is not None and beside.errors:
        parameters["errors"] = beside.errors
    if images is not None:
        parameters["images"] = images.parameters

    def alone(p: Any, z: Any) -> Any:
        sees = sight and sight._replace(parameters=p["generator"])
        return aspects.predict(network, p["network"], z, config.members, sees)

    shares = _shares(config, lambda z: batched(alone, own, size)(z), beside, images)
    shape = beside.targets.shape[1:] if beside is not None else ()
    ordinary: Any = image_network.network(run)[0] if images is not None else None

    def answers(p: Any, z: Any, read: Any) -> Any:
        """Return what both say, the network of latents z and the process of what was read."""
        answer = alone(p, z)
        if beside is None:
            return answer
        return shares.network * answer + (1 - shares.network) * gaussian_process.predict(p["process"], read, shape)

    def expected(p: Any, z: Any) -> Any:
        return shares.error * closed_form.expected_error(p["errors"], z)

    def seen(p: Any, x: Any) -> Any:
        return apply(ordinary, p["images"], x)

    def with_look(p: Any, said: Any, x: Any) -> Any:
        return said if images is None else shares.look * seen(p, x) + (1 - shares.look) * said

    def of_new(p: Any, z: Any) -> Any:
        if not config.read and images is None:
            return answers(p, z, z)
        x = generator.stored(p["generator"], z)
        read = generator.encoder(p["encoder"], x) if config.read else z
        # The inner layers of G for z are what it has drawn, pixel by pixel; E need not tell.
        return with_look(p, answers(p, z if config.features else read, read), x)

    def of_z(p: Any, z: Any) -> Any:
        return answers(p, z, z)

    def of_images(p: Any, z: Any, x: Any) -> Any:
        return with_look(p, of_z(p, z), jnp.clip(x, -1, 1))

    answer = batched(of_z, of_latents, size)
    annotate = batched(of_new, parameters, size) if config.read or images is not None else answer
    known = batched(expected, {"errors": parameters["errors"]}) if "errors" in parameters else None
    look = image_network.annotator(run, images.parameters) if images is not None else None
    pure = Pure(parameters, of_new, of_z, of_images, expected if known else None, seen if look else None)
    return TrainedAspect(annotate, state.done, shares.network, known, answer, config.read, pure, look, shares.look)

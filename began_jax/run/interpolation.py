"""The interpolation between an image and its mirror image of fig. 7: its latents, as a strip and as a GIF."""

import jax.numpy as jnp
import numpy as np
from PIL import Image

from began_jax import figures, sampling, sharding
from began_jax.data.datasets import images_of
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.run import inverter
from began_jax.run.folder import Run


def latents(run: Run, index: int) -> np.ndarray:
    """Return latents of an image, of 14 points on the way and of its mirror image, [16, latent] (fig. 7)."""
    source = run.data.source("test" if "test" in run.data.splits else "train")
    if not 0 <= index < len(source):
        raise InputError(f"--mirror-image is {index}; the split has {len(source)} images")
    image = to_float(images_of(source, [index]))
    both, positions = np.concatenate([image, image[:, :, ::-1]]), np.array([index, index])
    mesh = sharding.data_mesh(2, devices=1)
    invert = inverter.of_run(run, run.inversion[0], run.inverted, mesh)
    ((_, result),) = invert([(0, both, positions)], 2)
    return np.asarray(sampling.interpolate(*jnp.asarray(result["z"])))


def draw(run: Run, images: np.ndarray, annotations: np.ndarray) -> None:
    """Write the way from an image to its mirror image as a strip and as a GIF (fig. 7)."""

    def marked(rows: slice) -> Image.Image:
        return figures.strip(images[rows], **run.kind.marks(annotations[rows], run.data))

    folder = run.folder / "figures"
    figures.save_image(folder / "interpolation.png", marked(slice(None)))
    frames = [marked(slice(i, i + 1)) for i in range(len(images))]
    figures.save_gif(folder / "interpolation.gif", frames)

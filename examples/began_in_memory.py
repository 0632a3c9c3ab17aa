"""From images with masks to new images with masks, all in memory: a minute and a half on two cores.

That shows the way; many of its new images are hardly eyes yet. The preset trains ten times as long.

python examples/began_in_memory.py samples.png
"""

import dataclasses
import sys

import jax
import numpy as np

from began_jax import ASPECT_RECIPES, INVERT_PRESETS, TRAIN_PRESETS, began, figures, fit_aspect, invert_all, iou
from began_jax.data.synthetic import irises
from began_jax.sampling import uniform_latents

COUNT, TRAINED, STEPS, EPOCHS = 600, 500, 600, 30


def main(picture=None):
    """Train on rendered eyes, invert them, learn their masks, and draw new ones into a picture."""
    eyes = [irises.render(0, i, 32, 40) for i in range(COUNT)]
    images, masks = (np.stack(parts) for parts in zip(*eyes, strict=True))
    masks = masks.astype(np.float32)

    small = dict(height=32, width=40, latent_size=32, filters=16, encoder_filters=(16, 24, 32))
    config = dataclasses.replace(TRAIN_PRESETS["demo-irises"], **small, steps=STEPS)
    shown = lambda step, m: step % 100 or print(f"step {step}: reconstruction {float(m['reconstruction']):.3f}")  # noqa: E731
    trained = began.fit(images[:TRAINED], config, callback=shown)

    found = invert_all(trained.generate, images, start=trained.encode, config=INVERT_PRESETS["demo"])
    print(f"inverted: PSNR {found.psnr_db[:TRAINED].mean():.2f} dB, held out {found.psnr_db[TRAINED:].mean():.2f} dB")

    recipe = dataclasses.replace(ASPECT_RECIPES["regularised-mask"], epochs=EPOCHS)
    aspect = fit_aspect(found.z[:TRAINED], masks[:TRAINED], config=recipe)
    truth, answer = masks[TRAINED:], np.asarray(aspect(found.z[TRAINED:]))
    mean = np.broadcast_to(masks[:TRAINED].mean(0), truth.shape)
    print(f"held-out masks: IoU {iou(answer, truth).mean():.3f}, of the mean mask {iou(mean, truth).mean():.3f}")

    z = uniform_latents(jax.random.key(0), 32, config.latent_size)
    if picture:
        drawn = np.asarray(trained.generate(z))
        figures.save_image(picture, figures.annotated_grid(drawn, masks=np.asarray(aspect(z))))


if __name__ == "__main__":
    main(*sys.argv[1:])

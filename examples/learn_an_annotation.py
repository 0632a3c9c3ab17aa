"""Learn an annotation of one's own from the latents of a generator, and annotate new images with how sure it is.

    python examples/learn_an_annotation.py

The annotation is a number a face: how far it is turned to the side.
"""

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import AspectConfig, InvertConfig, fit_aspect, invert_all, pretrained
from began_jax.data.synthetic import faces

COUNT, TRAINED, STEPS, EPOCHS = 192, 144, 15, 300


def turn(landmarks):
    """Landmarks [N, 49, 2] -> [N, 1]: the nose's tip from the middle of the outer eye corners, over their distance."""
    left, right, tip = (landmarks[:, point, 0] for point in (19, 28, 13))
    return ((tip - (left + right) / 2) / (right - left))[:, None].astype(np.float32)


def main():
    """Invert faces, learn from three quarters of them, and measure on the rest."""
    generator = pretrained("synthetic-faces")
    pairs = [faces.render(1, i, generator.config.height, generator.config.width) for i in range(COUNT)]
    images, landmarks = (np.stack(parts) for parts in zip(*pairs, strict=True))
    annotation = turn(landmarks)
    config = InvertConfig(optimizer="bfgs", learning_rate=0.05, steps=STEPS)
    found = invert_all(generator.generate, images, start=generator.encode, config=config)
    z = np.asarray((found.z + generator.encode(images / np.float32(127.5) - 1)) / 2)  # better than either

    huber = lambda predicted, target: jnp.sqrt(1e-4 + (predicted - target) ** 2).mean(1)  # noqa: E731
    config = AspectConfig(epochs=EPOCHS, learning_rate=1e-3, weight_decay=1.0, jitter=0.5, members=4)
    aspect = fit_aspect(z[:TRAINED], annotation[:TRAINED], loss=huber, config=config)
    truth, known = annotation[TRAINED:], annotation[:TRAINED]
    error, mean_error = (np.abs(a - truth).mean() for a in (aspect(z[TRAINED:]), known.mean(0)))
    print(f"turn of the face: off by {error:.4f}, the mean by {mean_error:.4f}")

    new = jax.random.uniform(jax.random.key(0), (4, generator.config.latent_size), minval=-1)
    images = generator.generate(new)
    for i, (answer, doubt) in enumerate(zip(aspect(new)[:, 0], aspect.std(new)[:, 0], strict=True)):
        print(f"new image {i} {images[i].shape}: {answer:.3f} +- {doubt:.3f}")


if __name__ == "__main__":
    main()

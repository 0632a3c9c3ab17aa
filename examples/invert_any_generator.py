"""Invert a generator that is not ours, with pixels missing, a loss and a prior of one's own.

    python examples/invert_any_generator.py

The generator is a function: a sum of soft discs on 24x24 pixels, whose latent is a tree of their places and sizes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import InvertConfig, invert_all

DISCS, SIZE, COUNT, STARTS = 3, 24, 32, 8


def generate(z):
    """Latents {"places": [N, discs, 2], "radii": [N, discs]} -> images [N, 24, 24, 1] in [-1, 1]."""
    y, x = jnp.meshgrid(*[jnp.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    dy, dx = y[None, None] - z["places"][:, :, 0, None, None], x[None, None] - z["places"][:, :, 1, None, None]
    radii = 0.3 + 0.15 * jnp.tanh(z["radii"])[:, :, None, None]
    discs = jax.nn.sigmoid(12 * (radii - jnp.sqrt(dx**2 + dy**2 + 1e-6)))
    return (2 * jnp.clip(discs.sum(1), 0, 1) - 1)[..., None]


def main():
    """Invert images whole, and with a quarter of their pixels missing."""
    latent = {"places": (DISCS, 2), "radii": DISCS}
    keys = jax.random.split(jax.random.key(0))
    truth = {
        "places": jax.random.uniform(keys[0], (COUNT, DISCS, 2), minval=-0.7, maxval=0.7),
        "radii": jax.random.normal(keys[1], (COUNT, DISCS)),
    }
    images = np.asarray(generate(truth))
    # Discs have bad local minima, which several starts get out of.
    config = InvertConfig(optimizer="bfgs", learning_rate=0.05, steps=60, start="uniform", starts=STARTS)
    found = invert_all(generate, images, latent=latent, config=config)
    print(f"all pixels: L1 {found.l1.mean():.4f}, {100 * (found.l1 < 0.02).mean():.0f} % of images found")

    seen = np.ones((SIZE, SIZE, 1), np.float32)
    seen[: SIZE // 2, : SIZE // 2] = 0
    holed = np.where(seen, images, 0)
    found = invert_all(generate, holed, latent=latent, config=config, weights=seen)
    rest = np.abs(np.asarray(generate(found.z)) - images)
    print(f"a quarter missing: L1 {found.l1.mean():.4f} where seen, {rest[:, seen[..., 0] == 0].mean():.4f} where not")

    huber = lambda y, x: jnp.where(abs(y - x) < 0.1, 5 * (y - x) ** 2, abs(y - x) - 0.05).mean((1, 2, 3))  # noqa: E731
    inside = lambda z: 0.1 * jnp.maximum(abs(z["places"]) - 0.7, 0).sum((1, 2))  # noqa: E731
    found = invert_all(generate, images, latent=latent, config=config, loss=huber, prior=inside)
    print(f"Huber's loss, places kept inside: L1 {found.l1.mean():.4f}, farthest {abs(found.z['places']).max():.2f}")


if __name__ == "__main__":
    main()

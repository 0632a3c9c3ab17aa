"""A small variational autoencoder of one's own, trained here, that goes through the stages as a BEGAN does.

python examples/vae.py    # three minutes on two cores
python invert.py --run runs/vae --generator examples/vae.py:generator --data synthetic-faces --images 1024
python aspect.py --run runs/vae    # and generate.py, evaluate.py, export.py; its images are blurred
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization

from began_jax import Decoder, Encoder, Generator, sharding, to_float
from began_jax.data.synthetic import faces

SIZE, LATENT, COUNT, STEPS, BATCH, KL = 48, 64, 3000, 2500, 16, 5e-4
WEIGHTS = Path(__file__).parents[1] / "runs" / "vae.msgpack"
ENCODER, DECODER = Encoder((32, 48, 64), 2 * LATENT, patch=2), Decoder(SIZE, SIZE, 3, 16, poolings=2)


@jax.jit
@jax.value_and_grad
def loss_of(parameters, x, key):
    """Return the error of pixels, and how far the latents' distributions are from a normal one."""
    mean, log = jnp.split(ENCODER.apply(parameters["encoder"], x), 2, axis=1)
    y = DECODER.apply(parameters["decoder"], mean + jnp.exp(log / 2) * jax.random.normal(key, mean.shape))
    return abs(y - x).mean() + KL * 0.5 * (mean**2 + jnp.exp(log) - 1 - log).sum(1).mean()


def main():
    """Train on rendered faces, and keep the parameters."""
    sharding.use_cpu_devices(1, kernel_gradients=True)
    images = np.stack([to_float(faces.render(0, i, SIZE, SIZE)[0]) for i in range(COUNT)])
    key, rng, optimizer = jax.random.key(0), np.random.default_rng(0), optax.adam(1e-3)
    zero = jnp.zeros((1, LATENT))
    parameters = {"encoder": ENCODER.init(key, jnp.asarray(images[:1])), "decoder": DECODER.init(key, zero)}
    state, update = optimizer.init(parameters), jax.jit(optimizer.update)
    for i in range(STEPS):
        loss, slopes = loss_of(parameters, images[rng.integers(COUNT, size=BATCH)], jax.random.fold_in(key, i))
        updates, state = update(slopes, state)
        parameters = optax.apply_updates(parameters, updates)
        if i % 500 == 0 or i == STEPS - 1:
            print(f"step {i}: loss {loss:.3f}", flush=True)
    WEIGHTS.parent.mkdir(exist_ok=True)
    WEIGHTS.write_bytes(serialization.to_bytes(parameters))


def generator():
    """Return the generator with the parameters that `main` has kept: the stages call this."""
    kept, normal = serialization.msgpack_restore(WEIGHTS.read_bytes()), lambda key: jax.random.normal(key, (LATENT,))
    seen = dict(encode=lambda p, x: ENCODER.apply(p, x)[:, :LATENT], encoder_parameters=kept["encoder"])
    return Generator(DECODER.apply, kept["decoder"], LATENT, (SIZE, SIZE, 3), draw=normal, **seen)


if __name__ == "__main__":
    main()

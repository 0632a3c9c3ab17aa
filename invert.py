"""Invert a trained generator over the whole data set: a latent for every image -> RUN/latents/.

`python invert.py --help` has the options; began_jax/stages/invert.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.invert import main

if __name__ == "__main__":
    run(main)

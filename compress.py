"""Keep a run's images as latents of a few bits, and draw them again.

`python compress.py --help` has the options; began_jax/stages/compress.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.compress import main

if __name__ == "__main__":
    run(main)

"""Sample annotated images from a run -> a data set that other tools read, and pictures.

`python generate.py --help` has the options; began_jax/stages/generate.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.generate import main

if __name__ == "__main__":
    run(main)

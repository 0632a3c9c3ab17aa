"""Turn pictures into the TFDS data set that `train.py --data` reads.

`python prepare.py --help` has the options; began_jax/stages/prepare.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.prepare import main

if __name__ == "__main__":
    run(main)

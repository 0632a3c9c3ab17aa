"""Train a BEGAN on a data set: data set -> RUN/generator/.

`python train.py --help` has the options; began_jax/stages/train.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.train import main

if __name__ == "__main__":
    run(main)

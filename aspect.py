"""Train a network from latents to annotations (landmarks, a mask, attributes) -> RUN/aspect/NAME/.

`python aspect.py --help` has the options; began_jax/stages/aspect.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.aspect import main

if __name__ == "__main__":
    run(main)

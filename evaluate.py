"""Measure a run on the held-out split -> RUN/metrics.json and RUN/figures/.

`python evaluate.py --help` has the options; began_jax/stages/evaluate.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.evaluate import main

if __name__ == "__main__":
    run(main)

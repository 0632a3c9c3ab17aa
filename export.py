"""Write a run's networks as files that run without JAX and without this package: ONNX, StableHLO, safetensors.

`python export.py --help` has the options; began_jax/stages/export.py is the stage itself.
"""

from began_jax.run.cli import run
from began_jax.stages.export import main

if __name__ == "__main__":
    run(main)

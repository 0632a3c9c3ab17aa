"""The six stages as one command: `began-jax STAGE OPTIONS`, or `python -m began_jax STAGE OPTIONS`."""

import importlib
import sys

from began_jax.run.cli import run
from began_jax.stages import COMMANDS, NAMES

USAGE = f"""usage: began-jax STAGE OPTIONS

The stages, in order: {", ".join(NAMES)}. And {", ".join(COMMANDS[len(NAMES) :])}: what a run gives besides.
`began-jax STAGE --help` has the options of each. Where a text says `python STAGE.py`, say `began-jax STAGE`.
"""


def main() -> None:
    """Run the stage that the command line names."""
    stage = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if stage in ("-h", "--help"):
        print(USAGE, end="")
        return
    if stage not in COMMANDS:
        print(f"began-jax: error: there is no stage {stage}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f"began-jax {stage}", *sys.argv[2:]]
    run(importlib.import_module(f"began_jax.stages.{stage}").main)


if __name__ == "__main__":
    main()

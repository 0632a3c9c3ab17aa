"""A tiny run of all six stages by the installed package alone: what it needs is said where something is missing.

    python tests/tiny_run.py           # in any environment in which began_jax is installed, from any folder

Training is stopped halfway and goes on, so that a checkpoint is saved and restored. Takes less than a minute.
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STAGES = ("prepare", "train", "invert", "aspect", "generate", "evaluate")
SIZE = ["--height", "16", "--width", "16"]
NETWORKS = ["--filters", "4", "--encoder-filters", "4,6", "--latent-size", "8", "--batch-size", "4"]
TRAIN = ["train", "faces", "--run", "run", "--data", "data", *SIZE, *NETWORKS, "--encoder-weight", "1"]
RUN = [
    ["prepare", "synthetic-faces", "--out", "data", "--count", "24", "--holdout", "0.2", *SIZE],
    [*TRAIN, "--steps", "4"],
    [*TRAIN, "--steps", "8"],
    ["invert", "--run", "run", "--start", "encoder", "--steps", "4", "--shard-size", "8"],
    ["aspect", "--run", "run", "--epochs", "3", "--batch-size", "4"],
    ["generate", "--run", "run", "--count", "10", "--out", "generated"],
    ["evaluate", "--run", "run", "--consistency", "0"],
]


# The weights that come along are in the wheel too.
PRETRAINED = "import began_jax; print(began_jax.pretrained('synthetic-irises').card['licence'])"
COMMAND = str(Path(sys.executable).with_name("began-jax"))


def stage(folder: Path, *arguments: str) -> str:
    """The standard output of a stage that ends well; what it compiles is compiled quickly, and once."""
    quickly = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command, environment = [COMMAND, *arguments], os.environ | quickly
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Each stage's help, then the run, then what it left."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        folder = Path(name)
        for text in pool.map(lambda name: stage(folder, name, "--help"), STAGES):
            assert text.startswith("usage: began-jax "), text
        for arguments in RUN:
            print(stage(folder, *arguments), end="", flush=True)
        print(subprocess.run([sys.executable, "-c", PRETRAINED], cwd=folder, check=True, capture_output=True).stdout)
        metrics = json.loads((folder / "run" / "metrics.json").read_text())
        assert metrics["train/steps"] == 8 and metrics["generate/images"] == 10, metrics
        assert metrics["invert/images"] == 24 and metrics["evaluate/heldout_images"] == 5, metrics
        annotations = json.loads((folder / "generated" / "annotations.json").read_text())["annotations"]
        assert len(annotations) == 10
    print("a tiny run of all six stages: done")


if __name__ == "__main__":
    main()

"""The exported reader (E, then G_a) beside T on the same held-out pictures, one at a time on one core: time and error.

python export.py --run RUN --out EXPORTED
python -m benchmarks.reader RUN EXPORTED --annotator dlib
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from began_jax import plugins
from began_jax.annotators import annotator
from began_jax.data.datasets import chosen
from began_jax.images import to_float
from began_jax.run.folder import Run

PICTURES, WARM = 200, 10


def timed(answer: Callable[[np.ndarray], np.ndarray | None], images: np.ndarray) -> tuple[float, list]:
    """Return the median time of an answer in milliseconds, after some that warm up, and all answers."""
    for image in images[:WARM]:
        answer(image)
    times, found = [], []
    for image in images:
        start = time.perf_counter()
        found.append(answer(image))
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times)), found


def main() -> None:
    """Measure both and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("exported", type=Path, help="the folder that export.py wrote")
    parser.add_argument("--annotator", required=True, help="T, see prepare.py --help")
    args = parser.parse_args()
    run = Run.open(args.run)
    kind = run.kind
    rows = run.data.annotated("test")[:PICTURES]
    held_out = chosen(run.data.source("test"), rows)
    runtime = plugins.import_module("onnxruntime", "benchmarks.reader")
    plugins.import_module("cv2", "benchmarks.reader").setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(args.exported / "reader.onnx"), options, providers=["CPUExecutionProvider"])
    ask = annotator.load(args.annotator)

    def read(image: np.ndarray) -> np.ndarray:
        return session.run(None, {"input": to_float(image)[None]})[0][0]

    def say(image: np.ndarray) -> np.ndarray | None:
        try:
            return annotator.annotated(ask, image, *image.shape[:2], kind=kind.name)[kind.name]
        except annotator.Unsure:
            return None

    times, answers = {}, {}
    for name, answer in (("reader", read), (args.annotator, say)):
        times[name], answers[name] = timed(answer, held_out["image"])
    sure = [i for i, given in enumerate(answers[args.annotator]) if given is not None]
    print(f"{args.annotator} is sure of {len(sure)} of {len(rows)} pictures, on which both are measured")
    for name, given in answers.items() if sure else ():
        error = kind.score(np.stack([given[i] for i in sure]), held_out[kind.name][sure], run.data).mean()
        print(f"{name}: {times[name]:.2f} ms a picture, {kind.shown.format(error)}")
    print(f"the reader is {times[args.annotator] / times['reader']:.1f} times as fast")


if __name__ == "__main__":
    main()

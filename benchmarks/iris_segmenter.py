"""The iris segmenters, classical and learnt, against masks that people drew.

    python -m benchmarks.iris_segmenter --images DIR --masks DIR [--annotator eyes] [--shrink 0.4 --every 29]

The folders hold pictures and PNG masks (non-zero is visible iris) of the same names and sizes. On 2,278 eyes of
CASIA-Interval (320x280) with human masks expect a mean IoU of 0.930 where there is an answer, which is 99.8 %; 0.929
with no answer as 0; no answer under 0.6; 20-25 ms of one core an eye. `--annotator eyes` has 0.930 too, of all eyes but
one, in twice the time.
"""

import collections
import functools
import os
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from began_jax.annotators.annotator import Unsure, load
from began_jax.errors import InputError
from began_jax.metrics import iou
from began_jax.run import cli

annotator = functools.cache(load)


def framed(picture: np.ndarray, shrink: float, ground: bool) -> np.ndarray:
    """Return a picture shrunk into the middle of one of its size, as a camera that is farther away sees an eye.

    Around it is what its edge goes on with, blurred and with noise, or 0 where there is no `ground`.
    """
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, shrink)
    kind, border = (cv2.INTER_AREA, cv2.BORDER_REPLICATE) if ground else (cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    found = cv2.warpAffine(picture, matrix, (width, height), flags=kind, borderMode=border)
    if not ground:
        return found
    shown = cv2.warpAffine(np.ones_like(picture), matrix, (width, height), flags=cv2.INTER_NEAREST)
    noise = np.random.default_rng(0).normal(0, 4, picture.shape)
    around = np.clip(cv2.GaussianBlur(found, (0, 0), width / 26) + noise, 0, 255).astype(np.uint8)
    return np.where(shown > 0, found, around)


def measure(paths: tuple[Path, Path], name: str = "segmenter", shrink: float = 1.0) -> tuple[float, str, float]:
    """Return the IoU (0 without an answer), why there is no answer, and the milliseconds of one core."""
    cv2.setNumThreads(1)
    image, mask = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
    if image is None or mask is None or image.shape != mask.shape:
        raise InputError(f"{paths[0]} and {paths[1]} are not a picture and a mask of one size")
    if shrink < 1:  # from twice the size, so that no pixel of the eye is lost
        large = [cv2.resize(each, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for each in (image, mask)]
        image, mask = framed(large[0], shrink, True), framed(large[1], shrink, False)
    begin = time.process_time()
    try:
        found, reason = annotator(name)(image[..., None]), ""
    except Unsure as error:
        found, reason = None, str(error)
    spent = 1e3 * (time.process_time() - begin)
    return 0.0 if found is None else float(iou(found[None], mask[None, ..., None])[0]), reason, spent


def pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Return the pictures that have a mask, in the order of their names."""
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(f"no such folder as {folder}")
    found = [(path, masks / f"{path.stem}.png") for path in sorted(images.iterdir())]
    found = [(image, mask) for image, mask in found if mask.exists()]
    if not found:
        raise InputError(f"no picture in {images} has a mask of its name in {masks}")
    return found


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--masks", type=Path, required=True, help="folder of PNG masks named like the pictures")
    parser.add_argument("--annotator", default="segmenter", choices=("segmenter", "eyes"), help="which of them")
    parser.add_argument("--shrink", type=float, default=1.0, help="of the eye within its picture; 1: as it is")
    parser.add_argument("--every", type=int, default=1, help="only every so many eyes")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; each uses one core")
    return parser


def main() -> None:
    """Segment all eyes, and print the figures."""
    args = parser().parse_args()
    # OpenCV's threads do not survive a fork.
    with get_context("spawn").Pool(args.workers) as pool:
        task = functools.partial(measure, name=args.annotator, shrink=args.shrink)
        rows = pool.map(task, pairs(args.images, args.masks)[:: args.every], chunksize=16)
    ious, reasons, milliseconds = zip(*rows, strict=True)
    answered = [value for value, reason in zip(ious, reasons, strict=True) if not reason]
    unsure = collections.Counter(filter(None, reasons))
    print(f"eyes                      {len(rows)}")
    print(f"answered                  {len(answered) / len(rows):.2%}", *(f"{n} {why}" for why, n in unsure.items()))
    if answered:
        print(f"mean IoU of the answered  {np.mean(answered):.4f}")
        print(f"of these under 0.6        {sum(value < 0.6 for value in answered)}")
    print(f"mean IoU, no answer as 0  {np.mean(ious):.4f}")
    print(f"time                      {np.median(milliseconds):.0f} ms of one core an eye (median)")


if __name__ == "__main__":
    cli.run(main, "iris_segmenter")

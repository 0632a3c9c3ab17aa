"""Measures the classical iris segmenter against masks that people drew.

    python benchmarks/iris_segmenter.py --images DIR --masks DIR [--workers 2] [--list eyes.csv]

The folders hold pictures and PNG masks (non-zero is visible iris) of the same names and sizes. On 2,278 eyes of
CASIA-Interval (320x280) with human masks expect a mean IoU of 0.930 where there is an answer, which is 99.8 %; 0.929
with no answer as 0; no answer under 0.6; 20-25 ms of one core an eye.
"""

import argparse
import csv
import os
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from began_jax.annotators.annotator import Unsure
from began_jax.annotators.irises import IrisSegmenter


def measure(paths: tuple[Path, Path]) -> tuple[str, float, str, float]:
    """Returns the name, the IoU (0 without an answer), why there is no answer, and the milliseconds of one core."""
    cv2.setNumThreads(1)
    image_path, mask_path = paths
    image, mask = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
    if image is None or mask is None or image.shape != mask.shape:
        raise SystemExit(f"{image_path} and {mask_path} are not a picture and a mask of one size")
    begin, found, reason = time.process_time(), np.zeros_like(mask), ""
    try:
        found = IrisSegmenter()(image[..., None])[..., 0]
    except Unsure as error:
        reason = str(error)
    spent = 1e3 * (time.process_time() - begin)
    union = ((mask > 0) | (found > 0)).sum()
    return image_path.stem, float(((mask > 0) & (found > 0)).sum() / max(union, 1)), reason, spent


def pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Returns the pictures that have a mask, in the order of their names."""
    found = [(path, masks / f"{path.stem}.png") for path in sorted(images.iterdir())]
    return [(image, mask) for image, mask in found if mask.exists()]


def main() -> None:
    """Prints the figures, and writes the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--masks", type=Path, required=True, help="folder of PNG masks named like the pictures")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; each uses one core")
    parser.add_argument("--list", type=Path, metavar="FILE", help="write id,iou,reason of every eye there, as csv")
    args = parser.parse_args()
    for folder in (args.images, args.masks):
        if not folder.is_dir():
            parser.error(f"no such folder as {folder}")
    found = pairs(args.images, args.masks)
    if not found:
        parser.error(f"no picture in {args.images} has a mask of its name in {args.masks}")

    # OpenCV's threads do not survive a fork.
    with get_context("spawn").Pool(args.workers) as pool:
        rows = pool.map(measure, found, chunksize=16)
    if args.list:
        with args.list.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "iou", "reason"])
            writer.writerows([name, f"{iou:.4f}", reason] for name, iou, reason, _ in rows)

    iou = np.array([row[1] for row in rows])
    answered = np.array([not row[2] for row in rows])
    reasons = sorted({row[2] for row in rows} - {""})
    print(f"eyes                      {len(rows)}")
    print(f"answered                  {answered.mean():.2%}", *(f"{sum(r[2] == w for r in rows)} {w}" for w in reasons))
    if answered.any():
        print(f"mean IoU of the answered  {iou[answered].mean():.4f}")
        levels = (0, 1, 5, 25, 50, 75, 95)
        values = np.percentile(iou[answered], levels)
        print("percentiles of these      " + "  ".join(f"{p}: {v:.3f}" for p, v in zip(levels, values, strict=True)))
        print(f"of these under 0.6        {(iou[answered] < 0.6).sum()}")
    print(f"mean IoU, no answer as 0  {iou.mean():.4f}")
    print(f"time                      {np.median([row[3] for row in rows]):.0f} ms of one core an eye (median)")


if __name__ == "__main__":
    main()

"""Turns pictures into the TFDS data set that `train.py --data` reads.

python prepare.py faces --images photographs/ --out data/faces --holdout 0.1       # finds, crops, landmarks by dlib
python prepare.py faces --images celeba/ --out data/celeba                         # CelebA's folder, official splits
python prepare.py irises --images eyes/ --out data/eyes --copies 5                 # segmented, low-quality copies
python prepare.py --images crops/ --landmarks landmarks.npz --out data/crops       # ready pictures with annotations
python prepare.py synthetic-faces --out data/synthetic

Writes --out whole or not at all. A stopped command of faces or irises goes on where it was; what it cannot use is left
out and listed in OUT/left_out.csv. Ready pictures (no kind, or `folder`) take 2 ms each, and a damaged one is refused.
"""

import argparse
import re
from pathlib import Path

from began_jax.errors import InputError
from began_jax.run.cli import ArgumentParser, run

KINDS = {
    "folder": "ready pictures, with landmarks or masks or neither",
    "faces": "photographs: one face is found in each, cropped and annotated (section 3.1.1)",
    "irises": "near-infrared eyes: segmented, cropped to the frame and augmented (section 3.2.1)",
    "synthetic-faces": "rendered faces with 49 exact landmarks",
    "synthetic-irises": "rendered eyes with exact iris masks",
}
RAW = ("faces", "irises")
RENDERED = ("synthetic-faces", "synthetic-irises")
ANNOTATIONS = ("landmarks49", "landmarks5", "attributes")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="prepare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of_kinds = parser.kinds = {}  # destination -> the kinds that an option goes with

    def add(name: str, kinds: tuple[str, ...], **options) -> None:
        default = options.get("default")
        if default is not None:
            options["help"] += f" (default: {default})"
        action = parser.add_argument(name, **options | {"default": None})
        action.fallback = default
        of_kinds[action.dest] = action, kinds

    everything = tuple(KINDS)
    parser.add_argument(
        "kind", nargs="?", choices=everything, default="folder", help="; ".join(f"{k}: {v}" for k, v in KINDS.items())
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="the data set's folder; must not exist, or be empty"
    )
    add("--images", ("folder", *RAW), type=Path, metavar="DIR", help="pictures, in this folder or below; the relative "
        "path is the id. faces: CelebA's own folder is recognised")  # fmt: skip
    add("--landmarks", ("folder", "faces"), type=Path, metavar="FILE", help=".npz with name [N] and landmarks "
        "[N, K, 2], or .csv with the header name,x0,y0,x1,y1,...; (x, y) in pixels of the upright picture, pixel "
        "centres at integers")  # fmt: skip
    add("--masks", ("folder", "irises"), type=Path, metavar="DIR", help="STEM.png for each picture, of its size: 0 "
        "outside, not 0 inside")  # fmt: skip
    add("--height", everything, type=int, metavar="PIXELS", help="rows of the result (default: 128; 96 for irises)")
    add("--width", everything, type=int, metavar="PIXELS", help="columns of the result; pictures of another shape lose "
        "equal margins", default=128)  # fmt: skip
    add("--channels", ("folder", *RAW), type=int, choices=(1, 3), help="1 grey, 3 RGB (default: 3 for faces, 1 for "
        "irises, otherwise 3 when most pictures are stored in colour)")  # fmt: skip
    add("--holdout", everything, type=float, metavar="FRACTION", help="share of the pictures kept in a test split for "
        "evaluate.py; the paper trains on everything", default=0.0)  # fmt: skip
    add("--group-regex", ("folder", *RAW), metavar="REGEX", help="pictures whose id gives the same match (first "
        r"parenthesis, or the whole) stay in one split, such as 'S(\d+)' for the subject; otherwise near copies of a "
        "training picture would be held out (irises default: the subject in CASIA's names)")  # fmt: skip
    add("--seed", everything, type=int, help="draws the held-out groups, copies and synthetic pictures", default=0)
    add("--annotator", RAW, metavar="NAME", help="T, which annotates each picture: dlib (49 landmarks), segmenter "
        "(iris mask), FILE.py:NAME or PACKAGE.MODULE:NAME, a callable of yours from uint8 [H, W, C] to landmarks "
        "[K, 2] as fractions, a mask [H, W, 1] or attributes [K] (default: dlib for faces, segmenter for irises, "
        "none where --landmarks or --masks are given)")  # fmt: skip
    add("--annotation", ("faces",), choices=ANNOTATIONS, help="landmarks49: T's, or those of --landmarks; landmarks5 "
        "or attributes: those of CelebA's lists", default="landmarks49")  # fmt: skip
    add("--detector", ("faces",), choices=("haar", "whole"), help="haar: crop the face that OpenCV's cascade finds, as "
        "the paper; whole: the picture is a crop already", default="haar")  # fmt: skip
    add(
        "--several",
        ("faces",),
        choices=("leave-out", "largest"),
        help="pictures with several faces",
        default="leave-out",
    )
    add("--max-doubt", ("faces",), type=float, metavar="PERCENT", help="leave out faces whose landmarks dlib is less "
        "sure of: spread of its fits over the outer-eye distance", default=3.0)  # fmt: skip
    add("--copies", ("irises",), type=int, metavar="N", help="of each picture: itself and N - 1 of low quality "
        "(contrast, shadow, motion blur); the paper's set is five-fold", default=1)  # fmt: skip
    add("--workers", RAW, type=int, metavar="N", help="processes (default: one a core)")
    add("--count", RENDERED, type=int, help="how many pictures: 4000 train the demo in minutes", default=4000)
    return parser


def _parse(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and the names of the options that go with its kind."""
    parser = _parser()
    args = parser.parse_args(argv)
    for name, (action, kinds) in parser.kinds.items():
        if getattr(args, name) is None:
            setattr(args, name, action.fallback)
        elif args.kind not in kinds:
            raise InputError(f"{action.option_strings[0]}: goes with {' and '.join(kinds)}, not with {args.kind}")
    args.height = args.height or (96 if "irises" in args.kind else 128)
    if min(args.height, args.width) < 1 or args.count < 1 or args.copies < 1:
        raise InputError("--height, --width, --count and --copies: must be 1 or more")
    if not 0 <= args.holdout < 1:
        raise InputError(f"--holdout {args.holdout:g}: must be at least 0 and less than 1")
    if args.workers is not None and args.workers < 0:
        raise InputError(f"--workers {args.workers}: must be 0 (all in one process) or more")
    if args.kind not in RENDERED and args.images is None:
        raise InputError(f"--images DIR is needed (or one of {', '.join(RENDERED)})")
    if args.group_regex is not None:
        if not args.holdout:
            raise InputError("--group-regex: needs --holdout FRACTION, which it divides")
        try:
            re.compile(args.group_regex)
        except re.error as error:
            raise InputError(f"--group-regex {args.group_regex}: {error}") from None
    return args, ["out", *(name for name, (_, kinds) in parser.kinds.items() if args.kind in kinds)]


def main(argv: list[str] | None = None) -> None:
    """Checks the command line, writes the data set and says what it wrote."""
    args, given = _parse(argv)
    if args.kind in RENDERED:
        from began_jax.data.synthetic.dataset import write_synthetic

        sizes = write_synthetic(args.kind, args.out, args.count, args.holdout, args.height, args.width, args.seed)
        what = "3 with 49 landmarks" if args.kind == "synthetic-faces" else "1 with masks"
    else:
        from began_jax.data import folder, raw

        write = {"folder": folder.write_folder, "faces": raw.write_faces, "irises": raw.write_irises}[args.kind]
        sizes, what, left_out = write(**{name: getattr(args, name) for name in given})
        if left_out:
            print(
                f"prepare: left out {len(left_out):,} pictures ({raw.reasons(left_out)}) -> {args.out / raw.LEFT_OUT}"
            )
    counts = " and ".join(f"{n:,} {name}" for name, n in sizes.items())
    print(f"prepare: {counts} images, {args.height}x{args.width}x{what} -> {args.out}")


if __name__ == "__main__":
    run(main)

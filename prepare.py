"""Turns pictures (with landmarks or masks, or neither) into the TFDS data set that `train.py --data` reads.

python prepare.py --images faces/ --landmarks landmarks.npz --out data/faces --height 128 --width 128
python prepare.py --images eyes/ --masks masks/ --out data/eyes --height 96 --width 128 --holdout 0.1
python prepare.py synthetic-faces --out data/synthetic

Takes about 2 ms a picture; writes --out whole or not at all.
"""

import re
from pathlib import Path

from began_jax.cli import ArgumentParser, run
from began_jax.errors import InputError


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="prepare.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    kinds = ("folder", "synthetic-faces", "synthetic-irises")
    add(
        "kind",
        nargs="?",
        choices=kinds,
        default="folder",
        help="pictures of yours, or a built-in rendered set",
    )
    add(
        "--images",
        type=Path,
        metavar="DIR",
        help="pictures, in this folder or below; the relative path is the id",
    )
    add(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help=".npz with name [N] and landmarks [N, K, 2], or .csv with the header name,x0,y0,x1,y1,...; "
        "(x, y) in pixels of the upright picture, pixel centres at integers",
    )
    add(
        "--masks",
        type=Path,
        metavar="DIR",
        help="STEM.png for each picture, of its size: 0 outside, not 0 inside",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        required=True,
        help="the data set's folder; must not exist, or be empty",
    )
    add(
        "--height",
        type=int,
        metavar="PIXELS",
        help="rows of the result (default: 128; 96 for synthetic-irises)",
    )
    add(
        "--width",
        type=int,
        metavar="PIXELS",
        help="columns of the result (default: 128); pictures of another shape lose equal margins",
    )
    add(
        "--channels",
        type=int,
        choices=(1, 3),
        help="1 grey, 3 RGB (default: 3 when most pictures are stored in colour, otherwise 1)",
    )
    add(
        "--holdout",
        type=float,
        metavar="FRACTION",
        default=0.0,
        help="share of the pictures kept in a test split for evaluate.py; the paper trains on everything",
    )
    add(
        "--group-regex",
        metavar="REGEX",
        help="pictures whose id gives the same match (first parenthesis, or the whole) stay in one split, "
        r"such as 'S(\d+)' for the subject; otherwise near copies of a training picture would be held out",
    )
    add("--seed", type=int, default=0, help="draws the held-out groups, and the synthetic pictures")
    add("--count", type=int, default=4000, help="how many synthetic pictures: 4000 train the demo in minutes")
    return parser


def _folder(args) -> tuple[dict[str, int], str]:
    from began_jax.data import folder as pictures
    from began_jax.data.builder import refuse_taken, write

    refuse_taken(args.out)
    folder = pictures.open_folder(args.images, args.landmarks, args.masks)
    train, test = pictures.hold_out(folder.ids, args.holdout, args.group_regex, args.seed)
    channels = args.channels or (3 if pictures.mostly_colour(folder) else 1)
    size = {"height": args.height, "width": args.width, "channels": channels}
    indices = {"train": train, "test": test} if test else {"train": train}
    splits = {name: pictures.Examples(folder, index, **size) for name, index in indices.items()}
    options = {"holdout": args.holdout, "group_regex": args.group_regex, "seed": args.seed}
    source = {name: str(getattr(args, name)) for name in ("images", "landmarks", "masks") if getattr(args, name)}
    units = {"landmark_units": "fraction of width and height"} if args.landmarks else {}
    write(
        args.out,
        splits,
        **size,
        annotation=folder.annotation,
        keypoints=folder.keypoints,
        description=f"{len(folder.ids)} pictures from {args.images}, prepared by began_jax",
        metadata=source | size | options | units,
    )
    annotation = {"landmarks": f" with {folder.keypoints} landmarks", "mask": " with masks", None: ""}
    return {k: len(v) for k, v in splits.items()}, f"{channels}{annotation[folder.annotation]}"


def main(argv: list[str] | None = None) -> None:
    """Checks the command line, writes the data set and says what it wrote."""
    parser = _parser()
    args = parser.parse_args(argv)
    args.height = args.height or (96 if args.kind == "synthetic-irises" else 128)
    args.width = args.width or 128
    if min(args.height, args.width) < 1 or args.count < 1:
        raise InputError("--height, --width and --count: must be 1 or more")
    if not 0 <= args.holdout < 1:
        raise InputError(f"--holdout {args.holdout:g}: must be at least 0 and less than 1")
    if args.kind == "folder":
        if args.images is None:
            raise InputError("--images DIR is needed (or one of synthetic-faces, synthetic-irises)")
        if args.group_regex is not None:
            if not args.holdout:
                raise InputError("--group-regex: needs --holdout FRACTION, which it divides")
            try:
                re.compile(args.group_regex)
            except re.error as error:
                raise InputError(f"--group-regex {args.group_regex}: {error}") from None
        sizes, what = _folder(args)
    else:
        for name in ("images", "landmarks", "masks", "channels", "group_regex"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name.replace('_', '-')}: goes with the kind folder, not with {args.kind}")
        from began_jax.data.synthetic import write_synthetic

        sizes = write_synthetic(args.kind, args.out, args.count, args.holdout, args.height, args.width, args.seed)
        what = "3 with 49 landmarks" if args.kind == "synthetic-faces" else "1 with masks"
    counts = " and ".join(f"{n:,} {name}" for name, n in sizes.items())
    print(f"prepare: {counts} images, {args.height}x{args.width}x{what} -> {args.out}")


if __name__ == "__main__":
    run(main)

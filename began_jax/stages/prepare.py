"""Turn pictures into the TFDS data set that `train.py --data` reads.

python prepare.py faces --images photographs/ --out data/faces --holdout 0.1       # finds, crops, landmarks by dlib
python prepare.py faces --images celeba/ --out data/celeba                         # CelebA's folder, official splits
python prepare.py irises --images eyes/ --out data/eyes --copies 5                 # segmented, low-quality copies
python prepare.py --images crops/ --landmarks landmarks.npz --out data/crops       # ready pictures with annotations
python prepare.py --images crops/ --landmarks few.csv --partial --out data/few     # some of them annotated
python prepare.py synthetic-faces --out data/synthetic

Writes --out whole or not at all. A stopped command of faces or irises goes on where it was; what it cannot use is left
out and listed in OUT/left_out.csv. Ready pictures (no kind, or `folder`) take 2 ms each, and a damaged one is refused.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from began_jax import sharding
from began_jax.data import folder, raw
from began_jax.data.chunks import reasons
from began_jax.data.configs import (
    KINDS,
    FacesConfig,
    FolderConfig,
    IrisesConfig,
    PrepareConfig,
    check_group_regex,
    check_of_annotations,
    check_partial,
)
from began_jax.data.synthetic.dataset import write_synthetic
from began_jax.errors import InputError
from began_jax.options import flag
from began_jax.run import cli

HELP = {
    "folder": "ready pictures, with landmarks, masks, attributes or none of them",
    "faces": "photographs: one face is found in each, cropped and annotated (section 3.1.1)",
    "irises": "near-infrared eyes: segmented, cropped to the frame and augmented (section 3.2.1)",
    "synthetic-faces": "rendered faces with 49 exact landmarks",
    "synthetic-irises": "rendered eyes with exact iris masks",
}


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(
        prog=cli.program("prepare.py"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = "; ".join(f"{source}: {text}" for source, text in HELP.items())
    parser.add_argument("source", metavar="SOURCE", nargs="?", choices=tuple(KINDS), default="folder", help=sources)
    out = "the data set's folder, a new one; the same command again goes on, or says that all is done"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=out)
    cli.add_options(parser, KINDS)
    return parser


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, PrepareConfig]:
    """Return the command line, and the options of its kind."""
    args = parser().parse_args(argv)
    having = {kind: {field.name for field in dataclasses.fields(config)} for kind, config in KINDS.items()}
    for name in [name for name in vars(args) if name not in having[args.source] | {"source", "out"}]:
        fitting = " and ".join(kind for kind, names in having.items() if name in names)
        raise InputError(f"{flag(name)}: goes with {fitting}, not with {args.source}")
    if "images" in having[args.source] and "images" not in args:
        rendered = ", ".join(kind for kind, names in having.items() if "images" not in names)
        raise InputError(f"--images DIR is needed (or one of {rendered})")
    config = cli.given_options(args, KINDS[args.source])
    workers = getattr(config, "workers", None)
    if workers is not None and workers < 0:
        raise InputError(f"--workers {workers}: must be 0 (all in one process) or more")
    check_group_regex(config)
    check_partial(config)
    check_of_annotations(config)
    return args, config


def main(argv: Sequence[str] | None = None) -> None:
    """Check the command line, write the data set and say what it wrote."""
    args, config = parse(argv)
    sharding.keep_to_cpu()
    if isinstance(config, FolderConfig):
        own = None
        if config.kind is not None and config.annotations is not None:
            from began_jax import kinds  # which loads the networks

            own = kinds.annotations(config.kind, config.annotations)
        written = folder.write_folder(args.out, config, own)
    elif isinstance(config, FacesConfig):
        written = raw.write_faces(args.out, config)
    elif isinstance(config, IrisesConfig):
        written = raw.write_irises(args.out, config)
    else:
        written = write_synthetic(args.source, args.out, **dataclasses.asdict(config))
    for note in written.notes:
        print(f"prepare: {note}")
    if out := written.left_out:
        print(f"prepare: left out {len(out):,} pictures ({reasons(out)}) -> {args.out / raw.LEFT_OUT}")
    counts = " and ".join(f"{n:,} {name}" for name, n in written.splits.items())
    done = "done before, " if written.before else ""
    print(f"prepare: {done}{counts} images, {config.height}x{config.width}x{written.what} -> {args.out}")

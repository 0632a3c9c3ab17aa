"""Keep the images of a run as latents of a few bits, and draw them again (section 4 of the paper).

    python compress.py --run runs/demo --out packed                        # all images that invert.py has inverted
    python compress.py --run runs/demo --unpack packed --out pictures      # the images again, as PNG

OUT gets latents.npz (the bits, and the least value and the step of each coordinate), ids.txt, and compressed.json. What
it costs is measured on images of the run: bits a pixel and PSNR, beside JPEG and WebP of that size, of all images on
one sheet -> RUN/metrics.json and RUN/figures/compression.png. The generator is not counted: one serves any number of
images.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from began_jax import compression, figures
from began_jax.errors import InputError
from began_jax.files import new_folder, read_json, refuse_taken
from began_jax.images import quick_png, to_float
from began_jax.progress import Progress
from began_jax.run import cli
from began_jax.run.folder import Run
from began_jax.run.generator import digest
from began_jax.run.shards import SPLITS
from began_jax.sampling import evenly

MEASURED, SHOWN = 256, 8  # images, evenly spaced: on which the figures are, and in the picture
_BATCH = 256


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(
        prog=cli.program("compress.py"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for what is written")
    parser.add_argument("--bits", type=int, help="of each number of a latent: 1 to 8, or 16 (default: 8)")
    parser.add_argument("--unpack", type=Path, metavar="DIR", help="draw the images again that DIR holds")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Pack, measure and write; or read, generate and write."""
    args = parser().parse_args(argv)
    if args.unpack and args.bits is not None:
        raise InputError(f"--bits {args.bits}: goes without --unpack, whose folder says its bits")
    bits = 8 if args.bits is None else args.bits
    refuse_taken(args.out)
    run = Run.open(args.run)
    if args.unpack:
        print(unpacked(run, args.unpack, args.out))
        return
    parts = {split: run.latents(split) for split in SPLITS if split in run.data.splits}
    z = np.concatenate([found["z"] for found in parts.values()])
    packed = compression.pack(z, bits)
    ids = [f"{split}/{name}" for split, found in parts.items() for name in found["id"]]
    with new_folder(args.out) as partial:
        np.savez(partial / "latents.npz", **packed._asdict())
        (partial / "ids.txt").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
        (partial / "compressed.json").write_text(json.dumps(belongs_to(run) | {"images": len(ids)}, indent=2) + "\n")
        counts = {split: len(found["z"]) for split, found in parts.items()}
        found = measured(run, counts, z, packed)  # before OUT takes its name, so that a stop leaves nothing half done
        run.record("compress", found | {"bits": bits, "images": len(ids)})
    beside = ", ".join(
        f"{form.upper()} {found[f'{form}_psnr_db']:.2f} dB at {found[f'{form}_bits_a_pixel']:.3f}"
        for form in compression.FORMATS
    )
    print(
        f"compress: {len(ids):,} images, {packed.shape[1]} numbers of {bits} bits each, "
        f"{found['bits_a_pixel']:.3f} bits a pixel, PSNR {found['psnr_db']:.2f} dB "
        f"(unrounded latents {found['unrounded_psnr_db']:.2f} dB; {beside}) -> {args.out}"
    )


def belongs_to(run: Run) -> dict[str, Any]:
    """Return which generator latents are of."""
    _, step = run.inversion
    known = {"data_set": run.data.fingerprint, "generator_step": step, "latent_size": run.config.latent_size}
    return known | {"generator": digest(run.inverted.parameters)}


def measured(run: Run, counts: dict[str, int], z: np.ndarray, packed: compression.Packed) -> dict[str, float]:
    """Return what packed latents are worth beside pictures of the same size, and draw some of each.

    Args:
        run: whose images they are of.
        counts: of each split's latents, in the order of their rows.
        z: the latents [N, latent].
        packed: the same.
    """
    rows = evenly(np.arange(len(z)), compression.most(run.data.height, run.data.width, MEASURED))
    images, first = list[np.ndarray](), 0
    for split, count in counts.items():
        source = run.data.source(split)
        images += [source.image(int(row - first)) for row in rows if first <= row < first + count]
        first += count
    images = np.stack(images)
    again = run.inverted.pictures(compression.unpack(packed)[rows])
    size = packed.size * len(rows) / len(z)
    pixels = images.shape[1] * images.shape[2] * len(rows)
    found = {
        "bits_a_pixel": 8 * size / pixels,
        "psnr_db": compression.psnr_db(images, again),
        "unrounded_psnr_db": compression.psnr_db(images, run.inverted.pictures(z[rows])),
    }
    shown = [images, again]
    for form in compression.FORMATS:
        coded = compression.of_size(images, form, int(size))
        found[f"{form}_psnr_db"] = compression.psnr_db(images, coded.images)
        found[f"{form}_bits_a_pixel"] = 8 * coded.size / pixels
        shown.append(coded.images)
    picked = evenly(np.arange(len(rows)), SHOWN)
    picture = figures.grid(to_float(np.concatenate([each[picked] for each in shown])), columns=len(picked))
    figures.save_image(run.folder / "figures" / "compression.png", picture)
    return found


def unpacked(run: Run, folder: Path, out: Path) -> str:
    """Draw the images again that a folder holds, and return the closing line.

    Raises:
        InputError: the folder holds none, or they are of another generator.
    """
    for name in ("compressed.json", "latents.npz", "ids.txt"):
        if not (folder / name).is_file():
            raise InputError(f"--unpack {folder}: has no {name}; give a folder that compress.py wrote")
    told, own = read_json(folder / "compressed.json"), belongs_to(run)
    for name, value in own.items():
        if told.get(name) != value:
            raise InputError(
                f"--unpack {folder}: its {name.replace('_', ' ')} is {told.get(name)}, and that of {run.folder} is "
                f"{value}; give the run that it was made with"
            )
    with np.load(folder / "latents.npz") as file:
        z = compression.unpack(compression.Packed(**{name: file[name] for name in compression.Packed._fields}))
    ids = (folder / "ids.txt").read_text(encoding="utf-8").splitlines()
    if len(ids) != len(z):
        raise InputError(f"--unpack {folder}: has {len(ids)} ids of {len(z)} latents; it is damaged")
    bar = Progress("compress", len(z), unit="image")
    with new_folder(out) as partial:
        for first in range(0, len(z), _BATCH):
            images = run.inverted.pictures(z[first : first + _BATCH])
            for name, image in zip(ids[first : first + _BATCH], images, strict=True):
                path = partial / (name if name.endswith(".png") else f"{name}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(quick_png(image))
            bar.update(len(images))
        bar.close()
    return f"compress: {len(z):,} images drawn again -> {out}"

"""Photographs that are not in the data set: framed as its pictures were, inverted, and annotated where they are.

OUT/latents.npy          float32 [N, latent], in the order of photographs.csv
OUT/photographs.csv      name, error and PSNR of the reconstruction, doubt of the annotation, and the window (top,
                         left, height, width) of the photograph that the run sees, in pixels
OUT/landmarks.csv        name,x0,y0,... in pixels of the photograph, as prepare.py --landmarks reads it; or
OUT/masks/STEM.png       of the photograph's size, 255 inside; or attributes.csv; or annotations.npy [N, ...]
OUT/reconstructions.png, OUT/annotated.png    the first ones, as the run sees them
OUT/left_out.csv         photographs without a usable picture, with the reason
"""

import contextlib
import csv
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from began_jax import figures, sharding
from began_jax.annotators.annotator import Unsure
from began_jax.configs import InvertConfig
from began_jax.data.chunks import left_out_csv, reason
from began_jax.data.pictures import list_pictures
from began_jax.data.raw_faces import face_window, load_detector
from began_jax.errors import InputError
from began_jax.export.dataset import Rows
from began_jax.files import new_folder, refuse_taken
from began_jax.images import Crop, centre_crop, fit_image, read_image, to_float
from began_jax.progress import Progress
from began_jax.run import doubt, inverter, networks
from began_jax.run.folder import Run

SHOWN = 64
TOGETHER = 256  # are inverted at most, where the run has no size of shards


class Framed(NamedTuple):
    """A photograph as a run sees it: its name, size (height, width), the window that is seen, and that as an image."""

    name: str
    size: tuple[int, int]
    window: Crop
    image: np.ndarray


class Known(NamedTuple):
    """What an aspect network says of images: annotations [N, ...] and doubts [N] or None."""

    annotations: np.ndarray
    doubt: np.ndarray | None


def framed(
    run: Run, root: Path, ids: list[str], detector: str, several: str, left_out: list[tuple[str, str]]
) -> Iterator[Framed]:
    """Yield the photographs as the run sees them; those that cannot be used are added to `left_out` with the reason.

    They are cropped as `FacesConfig` says, and then cut to the ratio of the run's images.
    """
    data = run.data
    detect = load_detector(detector)
    for name in ids:
        try:
            photograph = read_image(root / name, data.channels)
            outer = face_window(photograph, detect, several)
        except Unsure as why:
            left_out.append((name, str(why)))
            continue
        except InputError as error:
            left_out.append((name, reason(error)))
            continue
        inner = centre_crop((outer.height, outer.width), (data.height, data.width))
        window = Crop(outer.top + inner.top, outer.left + inner.left, inner.height, inner.width)
        seen = photograph[window.top : window.top + window.height, window.left : window.left + window.width]
        yield Framed(name, photograph.shape[:2], window, fit_image(seen, data.height, data.width))


def project(
    run: Run,
    config: InvertConfig,
    root: Path,
    out: Path,
    *,
    detector: str | None = None,
    several: str | None = None,
    aspect: str = "",
    steps_per_call: int | None = None,
    remat: bool = False,
) -> dict[str, Any]:
    """Invert and annotate the photographs of a folder with the generator that the run was inverted with.

    Without latents of the data set it is the latest.

    Args:
        run: says how pictures are framed and annotated.
        config: of the inversion; where it has no size of shards at most `TOGETHER` are inverted together.
        root: the folder of photographs.
        out: the folder that is written, whole or not at all.
        detector: what crops them; by default as the data set was prepared.
        several: what becomes of those with several faces, by default likewise.
        aspect: name of the aspect network; by default the one that was trained last, if there is any.
        steps_per_call: see `Inverter`.
        remat: see `Run.generator`.

    Returns:
        Numbers of `photographs` and of those `left_out`, mean `l1`, and `notes` to print.

    Raises:
        InputError: no photograph can be used, `out` is taken, or there is no such network.
    """
    if jax.process_count() > 1:
        raise InputError("--images DIR: photographs are inverted by one process; leave out --coordinator")
    there = (run.folder / "latents" / "config.json").is_file()
    generator = run.generator(run.inversion[1] if there else "latest", remat=remat)
    listed = list_pictures(root)
    ids = listed.ids
    size = min(config.shard_size or TOGETHER, 1 << (len(ids) - 1).bit_length())  # no copies of a few
    config = dataclasses.replace(config, shard_size=size)
    mesh = sharding.data_mesh(size, sharding.most_devices(size, jax.local_device_count()), local=True)
    invert = inverter.of_run(run, config, generator, mesh, steps_per_call)
    prepared = {"detector": "whole", "several": "leave-out"} | run.data.metadata
    if prepared["several"] == "each":
        prepared["several"] = "leave-out"
    cropped = detector or prepared["detector"], several or prepared["several"]
    if cropped[0] == "landmarks":
        raise InputError(
            f"--images {root}: the data set's faces were cropped around landmarks, which photographs have not; give "
            "--detector haar, or --detector whole where they are crops"
        )
    refuse_taken(out)
    annotate = _annotator(run, aspect)
    if annotate and run.kind.name == "mask":
        stems = Counter(Path(name).with_suffix("").as_posix() for name in ids)
        twice, count = stems.most_common(1)[0]
        if count > 1:
            raise InputError(f"--images {root}: {count} pictures are called {twice}; rename one")
    left_out: list[tuple[str, str]] = []
    shown: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []
    latents, errors = [], []
    bar = Progress("invert", len(ids), unit="photograph")
    with new_folder(out) as partial, contextlib.ExitStack() as files:
        write = _writer(run, partial, files) if annotate else None
        file = files.enter_context((partial / "photographs.csv").open("w", newline="", encoding="utf-8"))
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "l1", "psnr_db", "doubt", *Crop._fields])
        given: dict[int, list[Framed]] = {}

        def shards() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
            number, part = 0, list[Framed]()
            for each in framed(run, root, ids, *cropped, left_out):
                part.append(each)
                if len(part) == config.shard_size:
                    yield _shard(given, number, part, config.shard_size)
                    number, part = number + 1, []
            if part:
                yield _shard(given, number, part, config.shard_size)

        for key, found in invert(shards(), config.shard_size):
            part = given.pop(key)
            images = np.stack([each.image for each in part])
            known = annotate(found["z"], images) if annotate else None
            latents.append(found["z"])
            errors += found["l1"].tolist()
            for i, each in enumerate(part):
                doubted = "" if known is None or known.doubt is None else f"{known.doubt[i]:.6g}"
                measures = [f"{found['l1'][i]:.6g}", f"{found['psnr_db'][i]:.4f}", doubted]
                table.writerow([each.name, *measures, *each.window])
                if write and known:
                    write(each, known.annotations[i])
            if sum(len(x) for x, *_ in shown) < SHOWN:
                shown.append((images, generator.images(found["z"]), known.annotations if known else None))
            bar.update(len(part), l1=float(np.mean(errors)))
        bar.close()
        if not latents:
            raise InputError(f"--images {root}: none of {len(ids)} photographs can be used: {left_out[0][1]}")
        np.save(partial / "latents.npy", np.concatenate(latents))
        (partial / "left_out.csv").write_text(left_out_csv(left_out), encoding="utf-8")
        _draw(run, partial, shown)
    mean = float(np.mean(errors))
    return {"photographs": len(errors), "left_out": len(left_out), "l1": mean, "notes": listed.notes}


def _shard(
    given: dict[int, list[Framed]], number: int, part: list[Framed], size: int
) -> tuple[int, np.ndarray, np.ndarray]:
    given[number] = part
    return number, np.stack([each.image for each in part]), number * size + np.arange(len(part))


def _annotator(run: Run, name: str) -> Callable[[np.ndarray, np.ndarray], Known] | None:
    """Return a function from latents and images uint8 to what a network says of them, or None where there is none."""
    if not name and not networks.trained(run):
        return None
    aspect = networks.load(run, name or networks.newest(run))
    doubts = doubt.of(run, aspect)

    def annotate(z: np.ndarray, images: np.ndarray) -> Known:
        return Known(run.data.known(aspect.of_inverted(run, z, images)), doubts(z, images, True) if doubts else None)

    return annotate


def _writer(run: Run, out: Path, files: contextlib.ExitStack) -> Callable[[Framed, np.ndarray], None]:
    """Return a function that writes the annotation of a photograph, in the photograph's own pixels."""
    kind = run.kind.name
    if kind == "mask":
        return lambda photograph, mask: _write_mask(out / "masks", photograph, mask)
    if kind not in ("landmarks", "attributes"):
        rows = files.enter_context(contextlib.closing(Rows(out / "annotations.npy")))
        return lambda photograph, annotation: rows.add(annotation[None])
    file = files.enter_context((out / f"{kind}.csv").open("w", newline="", encoding="utf-8"))
    table = csv.writer(file, lineterminator="\n")
    if kind == "attributes":
        table.writerow(["name", *run.data.names])
        return lambda photograph, values: table.writerow([photograph.name, *(values >= 0.5).astype(int).tolist()])
    table.writerow(["name", *(f"{axis}{i}" for i in range(run.data.shape[0]) for axis in "xy")])

    def write(photograph: Framed, points: np.ndarray) -> None:
        top, left, height, width = photograph.window
        pixels = np.asarray(points, np.float64) * (width, height) + (left, top) - 0.5
        table.writerow([photograph.name, *("" if np.isnan(v) else f"{v:.3f}" for v in pixels.ravel())])

    return write


def _write_mask(folder: Path, photograph: Framed, mask: np.ndarray) -> None:
    top, left, height, width = photograph.window
    soft = Image.fromarray(np.asarray(mask[..., 0], np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    whole = np.zeros(photograph.size, np.uint8)
    whole[top : top + height, left : left + width] = 255 * (np.asarray(soft) >= 0.5)
    path = (folder / photograph.name).with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole).save(path)


def _draw(run: Run, out: Path, shown: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> None:
    images = to_float(np.concatenate([images for images, *_ in shown])[:SHOWN])
    again = np.concatenate([made for _, made, _ in shown])[:SHOWN]
    figures.save_image(out / "reconstructions.png", figures.reconstructions(images, again))
    annotations = [said for *_, said in shown if said is not None]
    if annotations:
        marks = run.kind.marks(np.concatenate(annotations)[:SHOWN], run.data)
        figures.save_image(out / "annotated.png", figures.annotated_grid(images, **marks))

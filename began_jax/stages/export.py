"""Write a run's networks as files that run without JAX and without this package.

    python export.py --run runs/demo --out exported

OUT gets, as ONNX and as StableHLO (by jax.export), each for any number of rows,

    generator   latents [batch, latent] -> images [batch, height, width, channels] in [-1, 1]
    aspect      latents -> annotations of the images that the generator draws from them
    pairs       latents -> images, annotations and, where the run has one, the doubt of each, in one file
    encoder     images -> latents, where the run has an encoder
    reader      images -> annotations, by encoder, aspect network and image network: T in one pass

and parameters.safetensors, networks.json (shapes, units, how far each file is from the original), and draw_pairs.py, a
script that draws annotated pairs with onnxruntime, numpy and Pillow alone. Latents are uniform in [-1, 1], or rows of
latents.npy where the generator is one of yours that draws its own.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from began_jax.errors import InputError
from began_jax.export import functions
from began_jax.files import new_folder, refuse_taken
from began_jax.run import cli, networks, own_generator, pairs
from began_jax.run.answers import TrainedAspect
from began_jax.run.doubt import has_doubt
from began_jax.run.folder import Run

FORMATS = tuple(functions.NEEDED)
CHECKED = 16  # rows on which a file is compared with the original
DRAWN, DRAWN_NUMBERS = (
    10_000,
    16_000_000,
)  # latents, and numbers in all, that are written where the generator is one that draws its own
TOLERANCE = 1e-4  # the largest difference; images are from -1 to 1, landmarks and masks from 0 to 1, doubts of any size
UNITS = {
    "landmarks": "(x, y) as fractions of width and height; the pixel is fraction * size - 0.5",
    "mask": "0 outside to 1 inside; cut at 0.5",
    "attributes": "0 no to 1 yes; cut at 0.5",
}
DOUBT = "the root mean square error to be expected, in the annotation's unit"
DOUBT_OF_MASKS = "the share of wrong pixels to be expected, over the mask's area"
SCRIPT = '''"""Draw annotated images: python draw_pairs.py COUNT OUT [SEED]. Needs onnxruntime, numpy and Pillow."""
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

here, count, out = Path(__file__).parent, int(sys.argv[1]), Path(sys.argv[2])
drawn = here / "latents.npy"  # as the generator draws them, where that is not the cube
latents = np.load(drawn) if drawn.exists() else None
if latents is not None and count > len(latents):
    sys.exit(f"{drawn} has {len(latents)} latents; draw no more than these")
draw = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
pairs = onnxruntime.InferenceSession(str(here / "pairs.onnx"), providers=["CPUExecutionProvider"])
order = None if latents is None else draw.permutation(len(latents))
(out / "images").mkdir(parents=True)
names = [output.name for output in pairs.get_outputs()]
known = {name: [] for name in names[1:]}  # annotations and, where the run has one, the doubt of each
for first in range(0, count, 64):
    if latents is None:
        z = draw.uniform(-1, 1, (min(64, count - first), pairs.get_inputs()[0].shape[1])).astype(np.float32)
    else:
        z = latents[order[first : min(first + 64, count)]]
    images, *found = pairs.run(names, {"input": z})
    for name, values in zip(names[1:], found):
        known[name].append(values)
    for i, image in enumerate(((images + 1) * 127.5).clip(0, 255).round().astype(np.uint8)):
        Image.fromarray(image.squeeze()).save(out / "images" / f"{first + i:06d}.png")
for name, values in known.items():
    np.save(out / f"{name}.npy", np.concatenate(values))
'''


class Network(NamedTuple):
    """A function of rows of a shape, and the names of its outputs."""

    function: functions.Function
    shape: tuple[int, ...]
    outputs: tuple[str, ...]


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(
        prog=cli.program("export.py"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="the folder that the earlier stages made")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the files")
    parser.add_argument("--aspect", default="", metavar="NAME", help="aspect network; default: the one trained last")
    parser.add_argument("--format", default=",".join(FORMATS), metavar="NAME,...", help=f"some of {', '.join(FORMATS)}")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write each network in each format, and compare what is read back with the original."""
    args = parser().parse_args(argv)
    wanted = [name.strip() for name in args.format.split(",") if name.strip()]
    if not wanted or set(wanted) - set(FORMATS):
        raise InputError(f"--format {args.format}: must be some of {', '.join(FORMATS)}, parted by commas")
    refuse_taken(args.out)
    functions.check(wanted)
    run = Run.open(args.run)
    run = Run.of(run.folder, dataclasses.replace(run.config, precision="float32"))  # all runtimes have it
    name = args.aspect or networks.newest(run)
    aspect = networks.load(run, name)
    made, parameters = of_run(run, aspect)
    rng = np.random.default_rng(0)
    told: dict[str, Any] = {}
    with new_folder(args.out) as partial:
        for called, network in made.items():
            rows = rng.uniform(-1, 1, (CHECKED, *network.shape)).astype(np.float32)
            with jax.default_matmul_precision("highest"):  # what is written is computed so too, on each device
                apart = _written(partial, called, network, wanted, rows)
            told[called] = {"input": ["batch", *network.shape], "outputs": network.outputs, "difference": apart}
        if "safetensors" in wanted:
            functions.to_safetensors(parameters, partial / "parameters.safetensors")
        if "onnx" in wanted:
            (partial / "draw_pairs.py").write_text(SCRIPT)
        if run.inverted.draw is not None:
            count = min(DRAWN, DRAWN_NUMBERS // run.inverted.latent_size)
            np.save(partial / "latents.npy", run.inverted.latents(jax.random.key(0), count))
        kind = run.kind.name
        own = {"generator": named} if (named := own_generator.name_of(run.folder)) else {}
        known = own | {"run": str(args.run), "generator_step": run.inverted.step, "aspect": name, "annotation": kind}
        known |= {"unit": UNITS.get(kind, ""), "networks": told}
        known |= {"doubt": DOUBT_OF_MASKS if kind == "mask" else DOUBT} if has_doubt(run, aspect) else {}
        (partial / "networks.json").write_text(json.dumps(known, indent=2) + "\n")
    most = max((value for each in told.values() for value in each["difference"].values()), default=0.0)
    print(f"export: {', '.join(told)} as {', '.join(wanted)}, at most {most:.1g} from the originals -> {args.out}")


def _written(folder: Path, called: str, network: Network, wanted: Sequence[str], rows: np.ndarray) -> dict[str, float]:
    """Write a network in each format, and return by how much what is read back differs; InputError if by too much."""
    original, apart = jax.jit(network.function)(rows), {}
    for form in [form for form in wanted if form != "safetensors"]:
        path = folder / f"{called}.{form}"
        if form == "onnx":
            functions.to_onnx(network.function, network.shape, path, network.outputs)
            again = functions.of_onnx(path)(rows)
        else:
            functions.to_stablehlo(network.function, network.shape, path)
            again = functions.of_stablehlo(path)(rows)
        apart[form] = functions.largest_difference(again, original)
        if not apart[form] <= TOLERANCE:
            raise InputError(f"{path.name} differs from the run's network by {apart[form]:.2g}")
    return apart


def of_run(run: Run, aspect: TrainedAspect) -> tuple[dict[str, Network], dict[str, Any]]:
    """Return a run's networks as functions of rows, and their parameters."""
    generator, latent = run.inverted, (run.config.latent_size,)
    assert aspect.pure is not None  # `networks.load` gives it
    pure, learnt = aspect.pure, aspect.pure.parameters

    def annotate(z: Any) -> jax.Array:
        return pure.annotate(learnt, z)

    parameters = {"generator": generator.parameters, "aspect": learnt["network"]}
    parameters |= {name: learnt[name]._asdict() for name in ("process", "errors") if name in learnt}
    parameters |= {"images": learnt["images"]} if "images" in learnt else {}

    new, known = pairs.new(run, aspect)
    outputs = ("images", "annotations")

    def generate(z: Any) -> jax.Array:
        return generator.apply(generator.parameters, z)

    made = {
        "generator": Network(generate, latent, ("images",)),
        "aspect": Network(annotate, latent, ("annotations",)),
        "pairs": Network(lambda z: new(known, z), latent, (*outputs, "doubt") if has_doubt(run, aspect) else outputs),
    }
    if generator.encode is not None:
        encode = generator.encode
        parameters["encoder"] = generator.encoder_parameters

        def read(x: Any) -> jax.Array:
            return encode(generator.encoder_parameters, x)

        made["encoder"] = Network(read, generator.image_shape, ("latents",))
        made["reader"] = Network(lambda x: pure.of_images(learnt, read(x), x), generator.image_shape, ("annotations",))
    return made, parameters

"""What the site has beside the guides of docs/: README and CHANGELOG, and a page of the public names."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

import began_jax

ROOT = Path(__file__).parents[2]
# The sections of the API page: what is public, in the order of the way through the house.
SECTIONS = {
    "Three calls": ["began.fit", "invert_all", "fit_aspect", "Trained", "Inversion", "Aspect", "AspectState"],
    "Options": ["TrainConfig", "InvertConfig", "AspectConfig", "TRAIN_PRESETS", "INVERT_PRESETS", "ASPECT_RECIPES"],
    "Training of a generator": [
        "began.init", "began.step", "began.samples", "began.networks", "BeganState", "autoencoder_loss",
        "convergence_measure", "next_k",
    ],
    "Inversion": ["invert", "Inverter", "Objective", "Generator"],
    "Networks": [
        "Decoder", "Encoder", "Discriminator", "LandmarkNetwork", "AttributeNetwork", "MultilayerNetwork",
        "pretrained",
    ],
    "Latents": ["uniform_latents", "bootstrap_latents", "interpolated_latents", "interpolate"],
    "Measures": ["nme_percent", "iou", "accuracy_percent", "balanced_accuracy_percent", "Ridge"],
    "Data and kinds of annotation": [
        "open_data", "to_float", "to_uint8", "low_quality", "AugmentConfig", "Kind", "Unsure",
    ],
    "Errors": ["InputError", "DivergedError"],
}  # fmt: skip
MODULES = ("aspects", "augment", "began", "inversion", "landmarks", "KINDS")  # public, and told of with their members


def on_files(files: Files, config) -> Files:
    """Add the pages that are made of other files."""
    pages = {"index.md": page(ROOT / "README.md"), "changelog.md": page(ROOT / "CHANGELOG.md"), "api.md": api()}
    pages["wide.css"] = ".md-grid { max-width: 72rem; }  /* so that lines of 120 columns are seen whole */\n"
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def page(path: Path) -> str:
    """Return a page of the root as one of docs/, whose links lead there."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    text = text.replace("](README.md", "](index.md").replace("](CHANGELOG.md", "](changelog.md")
    return re.sub(r"\[([^\]]+)\]\((?:LICENSE|CITATION\.cff)\)", r"\1", text)


def api() -> str:
    """Return the page of all public names, each with its docstring."""
    told = {name.partition(".")[2] or name for names in SECTIONS.values() for name in names}
    missing = set(began_jax.__all__) - told - set(MODULES)
    assert not missing, f"docs/site/hooks.py: no section has {', '.join(sorted(missing))}"
    lines = ["# API", "", (began_jax.__doc__ or "").split("\n\n")[1], ""]
    for title, names in SECTIONS.items():
        lines += [f"## {title}", ""]
        lines += [f"::: began_jax.{name}\n" for name in names]
    return "\n".join(lines)


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Return a guide without links to what is not on the site, such as the Makefile."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)

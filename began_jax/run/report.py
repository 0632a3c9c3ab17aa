"""RUN/report.html: a run on one page, in one file that asks nothing of the network.

Pictures are inside as they lie in RUN/figures, curves are drawn as SVG, and colours follow the reader's light or dark
theme.
"""

import base64
import html
import importlib.metadata
import json
import math
import platform
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.proto import event_pb2

from began_jax.files import read_json, replacing
from began_jax.run import own_generator
from began_jax.run.folder import Run

Curve = Sequence[tuple[float, float]]

PICTURES = {
    "samples": "New images of random latents, with what the aspect network says of them (fig. 6)",
    "annotated": "Images of the data set, as somebody has annotated them, or else the aspect network",
    "reconstructions": "Held-out images above what the inversion found (fig. 3)",
    "worst": "The held-out images that the inversion reconstructs worst, above what it found",
    "heldout_annotations": "Held-out images with the annotation of their latents",
    "interpolation": "From an image to its mirror image (fig. 7)",
    "consistency": "New images: the aspect network's annotation above T's",
    "neighbours": "The new images that are the most like a training image, and below each its nearest ones",
    "compression": "Images, and below them their packed latents, JPEG and WebP (compress.py)",
}
# Of train.py, in the order of the page; those that the run's objective has.
CURVES = ("convergence", "k", "gap", "reconstruction", "diversity", "precision", "recall", "coverage", "frechet")
POINTS = 400  # of a curve: more than a screen shows
PACKAGES = ("began-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--dim:#5d6675;--page:#fff;--line:#d9dee7;--mark:#1f6feb}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#9aa4b5;--page:#14171d;--line:#333a47;--mark:#6aa8ff}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:72rem;margin:0 auto;
padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
p,figcaption{color:var(--dim)}figure{margin:1rem 0;overflow-x:auto}img{max-width:100%;height:auto;background:#fff}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td.n{text-align:right;white-space:nowrap}.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}
.plot{max-width:26rem}svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}
polyline{fill:none;stroke:currentColor;stroke-width:1.5}svg text[class]{fill:currentColor}
.c0{color:var(--mark)}.c1{color:#d9822b}.c2{color:#2e9e5b}.c3{color:#c2486b}.c4{color:#8a63d2}.c5{color:#8b8f98}
.axis{fill:none;stroke:var(--line)}code{overflow-wrap:anywhere}
"""


def write(run: Run, command: str, kept: Curve = ()) -> Path:
    """Write the report of a run that was evaluated, and return its path.

    Args:
        run: with its metrics.json and figures.
        command: that measured it last.
        kept: (share kept, error), the shares with the least doubt.
    """
    found = read_json(run.folder / "metrics.json")
    name = html.escape(run.folder.resolve().name)
    parts = [
        f"<h1>{name}</h1><p>{_summary(run, found)}</p>",
        _section("Pictures", "".join(_picture(run.folder / "figures", n, text) for n, text in PICTURES.items())),
        _section("What the pairs are worth", _downstream(run)),
        _section("How much to keep", _plot({"": kept}, "share kept, the least doubtful", run.kind.metric)),
        _section("The training", _training(run.folder / "events" / "train")),
        _section("All figures", _figures(found)),
        _section("Where it comes from", _provenance(run, command)),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )
    path = run.folder / "report.html"
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _summary(run: Run, found: Mapping[str, Any]) -> str:
    kind, data = run.kind, run.data
    counts = " and ".join(f"{count:,} {split}" for split, count in data.splits.items())
    own = next((found[n] for n in (f"evaluate/{p}_{kind.metric}" for p in ("heldout", "training")) if n in found), None)
    error = "" if own is None else f" The aspect network has {kind.shown.format(own)}"
    mean = found.get(f"evaluate/{kind.mean_metric}")
    error += f", always the mean {kind.shown.format(mean)}." if error and mean is not None else "." * bool(error)
    size = f"{run.config.height}x{run.config.width}x{run.config.channels}"
    return html.escape(f"{counts} images, {size}, with {kind.plural}; preset {run.config.preset}.{error}")


def _picture(folder: Path, name: str, text: str) -> str:
    path = next((path for path in (folder / f"{name}.gif", folder / f"{name}.png") if path.is_file()), None)
    if path is None:
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img loading="lazy" alt="{html.escape(text)}" src="data:image/{path.suffix[1:]};base64,{data}">'
    return f"<figure>{image}<figcaption>{html.escape(text)}</figcaption></figure>"


def _downstream(run: Run) -> str:
    """Return the table of `downstream`, which is markdown, as one of this page, with its curves."""
    path = run.folder / "downstream" / "table.md"
    if not path.is_file():
        return ""
    lines = path.read_text().splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    first, *ways = head
    text = (
        "Held-out images, annotated by ridge regression from their latents, by the aspect network from their latents "
        "or from the encoder's, and by an ordinary network that was trained on real images, on generated pairs, on "
        "both, or on real images and all others with the aspect network's answers (pseudo): mean and deviation over "
        "draws of the annotated images."
    )
    known = [row for row in rows if row[0] != "all"]
    curves = {
        way: [
            (math.log10(float(row[0].replace(",", ""))), float(row[column].split(" ")[0]))
            for row in known
            if row[column] != "-"
        ]
        for column, way in enumerate(ways, 1)
    }
    return f"<p>{text}</p>{_table(head, rows)}{_plot(curves, 'log10 labels', first.split(', ')[1])}"


def _training(events: Path) -> str:
    curves = _read_events(events)
    shown = "".join(_plot({name: curves[name]}, "step", name) for name in CURVES if name in curves)
    return f'<div class="curves">{shown}</div>' if shown else ""


def _figures(found: Mapping[str, Any]) -> str:
    rows = [[name, f"{value:,.5g}" if isinstance(value, (int, float)) else str(value)] for name, value in found.items()]
    return _table(["figure", "value"], rows)


def _provenance(run: Run, command: str) -> str:
    versions = [[name, _version(name)] for name in PACKAGES]
    told: dict[str, Any] = {"command": command, "Python": platform.python_version(), "machine": platform.platform()}
    told |= {"data": run.data.path, "data set": run.data.fingerprint}
    if own := own_generator.name_of(run.folder):
        told["generator"] = f"{own}, which was not trained here"
    else:
        told["training"] = read_json(run.folder / "config.json")
    if (path := run.folder / "latents" / "config.json").is_file():
        told["inversion"] = read_json(path)
    told |= {f"aspect {path.parent.name}": read_json(path) for path in sorted(run.folder.glob("aspect/*/config.json"))}
    rows = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in told.items()]
    listed = "".join(f"<p>{html.escape(name)}: <code>{html.escape(value)}</code></p>" for name, value in rows)
    return listed + _table(["package", "version"], versions)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # such as a clone whose scripts are called where they lie


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(row: Sequence[str]) -> str:
        return "".join(f"<td{' class=n' if i else ''}>{html.escape(cell)}</td>" for i, cell in enumerate(row))

    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _plot(curves: Mapping[str, Curve], across: str, up: str) -> str:
    """Return curves as one SVG, with the least and largest value of each axis; nothing where none has two points."""
    curves = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in curves.items()}
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return ""
    width, height, left, base, top = 320, 190, 52, 160, 8
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    wide, tall = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    drawn = []
    for number, (name, points) in enumerate(curves.items()):
        places = (
            (left + (x - min(xs)) / wide * (width - left - 8), top + (max(ys) - y) / tall * (base - 2 * top))
            for x, y in points
        )
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(f'<polyline class="c{number % 6}" points="{line}"/>')
        if len(curves) > 1:
            place = f'x="{width - 8}" y="{top + 12 * (number + 1)}" text-anchor="end"'
            drawn.append(f'<text class="c{number % 6}" {place}>{html.escape(name)}</text>')
    marks = [(left, base + 14, "start", f"{min(xs):.4g}"), (width - 8, base + 14, "end", f"{max(xs):,.5g}")]
    marks += [(left - 6, 16, "end", f"{max(ys):.4g}"), (left - 6, base - 4, "end", f"{min(ys):.4g}")]
    marks += [((left + width) / 2, base + 26, "middle", across)]
    texts = "".join(f'<text x="{x}" y="{y}" text-anchor="{to}">{html.escape(t)}</text>' for x, y, to, t in marks)
    axes = f'<path class="axis" d="M{left} 0V{base}H{width}"/>'
    title = html.escape(up)
    return (
        f'<figure class="plot"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{axes}'
        f"{''.join(drawn)}{texts}</svg><figcaption>{title}</figcaption></figure>"
    )


def _read_events(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the curves of a folder of TensorBoard's files, thinned; what a stop made twice counts once, the last."""
    curves: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.*")):
        for event in _events(path.read_bytes()):
            for value in event.summary.value:
                curves.setdefault(re.sub(r".*/", "", value.tag), {})[event.step] = value.simple_value
    thinned = {}
    for name, values in curves.items():
        points = sorted((float(step), float(value)) for step, value in values.items())
        thinned[name] = points[:: max(1, len(points) // POINTS)]
    return thinned


def _events(data: bytes) -> Iterator[Any]:
    """Yield the events of a file: each a length of 8 bytes, 4 of a checksum, itself, and 4 of another checksum."""
    place = 0
    messages: Any = event_pb2  # protobuf makes its classes when it is loaded
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            return  # being written, or cut short
        yield messages.Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length

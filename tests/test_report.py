"""The report: one file that asks for nothing, with the curves, pictures and figures of the run."""

import base64
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from began_jax.files import write_json
from began_jax.kinds import LANDMARKS
from began_jax.progress import event_writer
from began_jax.run import report
from began_jax.run.folder import Run

VOID = {"meta", "img", "line", "path", "polyline"}


class Page(HTMLParser):
    """What a browser would take from a page: what it asks for, its tags, which must be balanced, and its cells."""

    def __init__(self, text):
        super().__init__()
        self.asked, self.open, self.tags, self.cells = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.asked += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture
def run(tmp_path):
    """A run of which everything is there that the report shows, its name and data with marks that HTML knows."""
    folder = tmp_path / "a<b>&run"
    write_json(folder / "metrics.json", {"evaluate/heldout_nme_percent": 3.25, "evaluate/mean_shape_nme_percent": 8.0})
    write_json(folder / "config.json", {"preset": "demo"})
    write_json(folder / "aspect" / "combined" / "config.json", {"epochs": 3})
    (folder / "figures").mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "figures" / "samples.png")
    Image.new("RGB", (8, 8), "red").save(folder / "figures" / "interpolation.gif")
    (folder / "downstream").mkdir()
    table = "| labels, nme_percent | ridge | both |\n|---|---|---|\n| 16 | 8.00 ± 0.10 | 7.00 ± 0.20 |\n"
    table += "| 1,000 | 5.00 ± 0.10 | 4.00 ± 0.20 |\n| all | 4.00 ± 0.10 | 3.00 ± 0.20 |\n"
    (folder / "downstream" / "table.md").write_text(table)
    for start in (0, 30):  # a training that was stopped and went on from an earlier checkpoint
        writer = event_writer(folder / "events" / "train", start)
        for step in range(start + 10, start + 51, 10):
            writer.add_scalar("train/reconstruction", 100 / step + start, step)
        writer.close()
        (written,) = (folder / "events" / "train").glob("events.out*")
        written.rename(written.with_name(f"events.{start:03d}"))  # its own name is that of the second
    found = mock.create_autospec(Run, instance=True)
    found.folder, found.kind = folder, LANDMARKS
    found.config = SimpleNamespace(preset="demo", height=16, width=24, channels=3)
    found.data = SimpleNamespace(splits={"train": 1200, "test": 10}, path="a <folder>", fingerprint="0f")
    return found


def test_it_asks_for_nothing_and_is_whole(run):
    path = report.write(run, "evaluate.py --run 'a<b>'", [(0.5, 1.0), (0.75, 2.0), (1.0, 4.0)])
    text = path.read_text()
    page = Page(text)
    assert page.asked and all(value.startswith("data:image/") for value in page.asked)
    assert not re.search(r"https?:|@import|<script|url\(", text)
    for name in ("samples.png", "interpolation.gif"):
        assert base64.b64encode((run.folder / "figures" / name).read_bytes()).decode() in text
    assert "a&lt;b&gt;&amp;run" in text and "a &lt;folder&gt;" in text and "<b>" not in text
    assert "NME 3.25 %, always the mean NME 8.00 %" in text and "1,200 train and 10 test images" in text
    assert {"7.00 ± 0.20", "1,000", "all", "evaluate/heldout_nme_percent", "3.25"} <= set(page.cells)
    assert sum(tag == "polyline" for tag, _ in page.tags) == 2 + 1 + 1  # ways, kept, reconstruction
    assert list(run.folder.glob("*.html")) == [path]


def test_what_a_run_has_not_leaves_no_empty_section(run):
    for path in (run.folder / "downstream" / "table.md", *(run.folder / "events" / "train").iterdir()):
        path.unlink()
    page = Page(report.write(run, "evaluate.py").read_text())
    assert (
        not any(tag in ("svg", "polyline") for tag, _ in page.tags) and sum(t == "section" for t, _ in page.tags) == 3
    )


def test_curves_are_those_of_the_events_and_what_a_stop_repeated_counts_once(run):
    curves = report._read_events(run.folder / "events" / "train")
    steps, values = np.array(curves["reconstruction"]).T
    np.testing.assert_array_equal(steps, [10, 20, 30, 40, 50, 60, 70, 80])
    np.testing.assert_allclose(values, [10, 5, 100 / 30, *(100 / s + 30 for s in (40, 50, 60, 70, 80))], rtol=1e-6)
    whole = run.folder / "events" / "train" / "events.000"
    whole.write_bytes(whole.read_bytes()[:-3])  # cut short while it was written
    assert len(report._read_events(run.folder / "events" / "train")["reconstruction"]) >= 7


def test_points_lie_where_their_values_are(run):
    text = report.write(run, "evaluate.py", [(0.5, 1.0), (0.75, 2.0), (1.0, 4.0)]).read_text()
    section = text[text.index("How much to keep") :]
    points = re.search(r'points="([^"]+)"', section)[1].split()
    x, y = np.array([[float(v) for v in point.split(",")] for point in points]).T
    np.testing.assert_allclose(x[1] - x[0], x[2] - x[1], atol=0.2)
    np.testing.assert_allclose((y[0] - y[1]) / (y[0] - y[2]), 1 / 3, atol=0.01)  # upwards

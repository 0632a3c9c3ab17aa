"""prepare.py: values against PIL and numpy, every refusal, hold-out, repeatability."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prepare
from began_jax.data.builder import write
from began_jax.data.datasets import open_data, ordered
from began_jax.data.splits import hold_out
from began_jax.run import cli

K = 3
SIDES = (
    "prepare: landmarks: which of the 3 change places in a mirrored picture is not known, so none is mirrored; "
    "errors are told in the diagonal of the box around them; --scheme FILE says both\n"
)
NAMES = [f"s{subject}/{frame}.png" for subject in range(5) for frame in range(2)]


@pytest.fixture
def pictures(tmp_path):
    """Ten RGB pictures of 28 rows x 32 columns in five folders, their landmarks and masks."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 28, (len(NAMES), K, 2)).astype(np.float32)
    for name in NAMES:
        for folder in ("images", "masks"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 32, 3), np.uint8)).save(tmp_path / "images" / name)
        mask = np.zeros((28, 32), np.uint8)
        top, left = rng.integers(4, 12, 2)
        mask[top : top + 11, left : left + 9] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / name)
    np.savez(tmp_path / "points.npz", name=NAMES, landmarks3=points)
    return tmp_path


def run(*argv):
    """Runs prepare.py's main as its command line would."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        cli.run(lambda: prepare.main([str(a) for a in argv]), "prepare.py")
    finally:
        signal.signal(signal.SIGTERM, handler)


def refused(capfd, root, *argv):
    """Runs prepare.py, asserts the form of its refusal and that nothing was written, returns the message."""
    before = sorted(root.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        run(*argv, "--out", root / "new" / "out", "--height", 12, "--width", 16)
    captured = capfd.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert re.fullmatch(r"prepare\.py: error: [^\n\r]+\n", captured.err), captured.err
    assert sorted(root.rglob("*")) == before
    return captured.err


def arguments(root, annotation="landmarks"):
    """Returns the options that name the fixture's pictures."""
    options = {
        "landmarks": ("--landmarks", root / "points.npz"),
        "masks": ("--masks", root / "masks"),
        None: (),
    }
    return ("--images", root / "images", *options[annotation])


def halved(image):
    """Returns means of 2 x 2 pixels, rounded to 8 bits (halves upwards) after each axis as Pillow does."""
    columns = (image[:, 0::2].astype(int) + image[:, 1::2] + 1) // 2
    return (columns[0::2] + columns[1::2] + 1) // 2


def test_landmarks_round_trip(pictures, capfd):
    run(*arguments(pictures), "--out", pictures / "out", "--height", 12, "--width", 16)
    done = f"prepare: 10 train images, 12x16x3 with 3 landmarks -> {pictures / 'out'}\n"
    assert capfd.readouterr().out == SIDES + done
    data = open_data(pictures / "out")
    assert (data.height, data.width, data.channels) == (12, 16, 3)
    assert (data.annotation, data.keypoints, data.splits) == ("landmarks", K, {"train": 10})
    got = ordered(data.source("train"), 0, 10)
    assert got["id"] == NAMES
    points = np.load(pictures / "points.npz")["landmarks3"]
    for i, name in enumerate(NAMES):
        # 28 x 32 asked for as 12 x 16: rows 2..26 stay, then each pixel is the mean of 2 x 2
        stored = np.asarray(Image.open(pictures / "images" / name))[2:26]
        np.testing.assert_array_equal(got["image"][i], halved(stored))
        np.testing.assert_allclose(got["landmarks"][i][:, 0], (points[i, :, 0] + 0.5) / 32, atol=1e-6)
        np.testing.assert_allclose(got["landmarks"][i][:, 1], (points[i, :, 1] + 0.5 - 2) / 24, atol=1e-6)
    assert got["landmarks"].dtype == np.float32 and got["image"].dtype == np.uint8


def test_csv_equals_npz_whatever_the_order(pictures):
    points = np.load(pictures / "points.npz")["landmarks3"]
    lines = ["name,x0,y0,x1,y1,x2,y2"]
    lines += [",".join([n, *(repr(float(v)) for v in p.ravel())]) for n, p in zip(NAMES, points, strict=True)][::-1]
    (pictures / "points.csv").write_text("\n".join(lines) + "\n")
    size = ("--height", 28, "--width", 32)
    run(*arguments(pictures), "--out", pictures / "a", *size)
    run(
        "--images",
        pictures / "images",
        "--landmarks",
        pictures / "points.csv",
        "--out",
        pictures / "b",
        *size,
    )
    assert records(pictures / "a") == records(pictures / "b")


def records(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*array_record*")}


@pytest.mark.parametrize("encoding", ["L255", "L1", "bits", "palette", "RGB"])
def test_masks_round_trip(pictures, encoding):
    expected = []
    for name in NAMES:
        path = pictures / "masks" / name
        mask = np.asarray(Image.open(path)) > 0
        expected.append(mask[2:26].reshape(12, 2, 16, 2).mean((1, 3)) >= 0.5)
        picture = Image.fromarray(mask.astype(np.uint8) * (255 if encoding in ("L255", "RGB") else 1))
        if encoding == "palette":
            picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
            picture.putpalette([9, 9, 9, 0, 0, 0])
        if encoding in ("bits", "RGB"):
            picture = Image.fromarray(mask).convert("1" if encoding == "bits" else "RGB")
        picture.save(path)
    run(
        *arguments(pictures, "masks"),
        "--out",
        pictures / "out",
        "--height",
        12,
        "--width",
        16,
        "--channels",
        1,
    )
    data = open_data(pictures / "out")
    assert (data.annotation, data.keypoints, data.channels) == ("mask", None, 1)
    got = ordered(data.source("train"), 0, 10)
    assert got["mask"].dtype == np.float32
    np.testing.assert_array_equal(got["mask"], np.stack(expected)[..., None])
    grey = np.asarray(Image.open(pictures / "images" / NAMES[0]).convert("L"))[2:26]
    np.testing.assert_array_equal(got["image"][0], halved(grey[..., None]))


def test_images_alone_in_many_forms(tmp_path):
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (8, 8), np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(grey).save(folder / "a.TIFF")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "b.png")  # 16 bits are scaled, not clipped
    Image.fromarray(grey).convert("RGB").save(folder / "c.bmp")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    Image.fromarray(np.rot90(grey)).save(folder / "d.webp", lossless=True, exif=exif)
    (folder / "._a.png").write_text("a shadow file")
    (folder / "notes.txt").write_text("no image")
    run("--images", folder, "--out", tmp_path / "empty", "--height", 8, "--width", 8)
    data = open_data(tmp_path / "empty")
    assert (data.annotation, data.keypoints, data.channels) == (None, None, 1)  # most are grey
    got = ordered(data.source("train"), 0, 4)
    assert got["id"] == ["a.TIFF", "b.png", "c.bmp", "d.webp"]
    assert set(got) == {"image", "id"}
    for image in got["image"]:
        np.testing.assert_allclose(image[..., 0].astype(int), grey, atol=1)


def test_enlarging_interpolates(pictures):
    run(*arguments(pictures, None), "--out", pictures / "out", "--height", 56, "--width", 64)
    got = open_data(pictures / "out").source("train")[0]["image"]
    stored = Image.open(pictures / "images" / NAMES[0])
    np.testing.assert_array_equal(got, stored.resize((64, 56), Image.Resampling.BILINEAR))


def test_two_runs_write_the_same_bytes(pictures):
    options = (
        *arguments(pictures),
        "--height",
        12,
        "--width",
        16,
        "--holdout",
        0.3,
        "--group-regex",
        r"s(\d)/",
    )
    run(*options, "--out", pictures / "a")
    (pictures / "b").mkdir()  # an empty folder may be there
    run(*options, "--out", pictures / "b")
    assert records(pictures / "a") == records(pictures / "b") != {}
    assert open_data(pictures / "a").fingerprint == open_data(pictures / "b").fingerprint
    run(*options, "--out", pictures / "c", "--seed", 1)
    assert open_data(pictures / "a").fingerprint != open_data(pictures / "c").fingerprint
    assert open_data(pictures / "a").metadata["group_regex"] == r"s(\d)/"


def test_groups_stay_together(pictures):
    run(
        *arguments(pictures), "--out", pictures / "out", "--height", 12, "--width", 16,
        "--holdout", 0.3, "--group-regex", r"s(\d)/",
    )  # fmt: skip
    data = open_data(pictures / "out")
    assert data.splits == {"train": 6, "test": 4}  # two whole groups of two: the first count of at least 3
    train, test = (ordered(data.source(split), 0, 10)["id"] for split in ("train", "test"))
    assert sorted(train + test) == NAMES
    assert not {name[:2] for name in train} & {name[:2] for name in test}
    assert train == sorted(train) and test == sorted(test)


@pytest.mark.parametrize("annotation", ["landmarks", "masks"])
def test_pictures_annotated_in_part(pictures, capfd, annotation):
    having = [NAMES[i] for i in (1, 4, 5, 8)]
    whole = pictures / "whole"
    run(*arguments(pictures, annotation), "--out", whole, "--height", 14, "--width", 16)
    for name in set(NAMES) - set(having):
        (pictures / "masks" / name).unlink()
    with np.load(pictures / "points.npz") as points:
        rows = [NAMES.index(name) for name in having]
        np.savez(pictures / "points.npz", name=having, landmarks3=points["landmarks3"][rows])
    options = [*arguments(pictures, annotation), "--height", 14, "--width", 16, "--holdout", 0.3]
    capfd.readouterr()
    message = refused(capfd, pictures, *options)
    assert "for 4 of 10 images" in message and "--partial keeps" in message
    run(*options, "--partial", "--out", pictures / "part")
    assert "for 4 of them" in capfd.readouterr().out
    found, all_of_them = open_data(pictures / "part"), open_data(whole)
    examples = {e["id"]: e for e in (all_of_them.source("train")[i] for i in range(len(NAMES)))}
    seen = []
    for split, count in found.splits.items():
        source, rows = found.source(split), found.annotated(split)
        ids = [source[i]["id"] for i in range(count)]
        assert ids == sorted(ids) and [ids[row] for row in rows] == [name for name in ids if name in having]
        for i, name in enumerate(ids):
            np.testing.assert_array_equal(source.image(i), examples[name]["image"])
            if i in rows:
                np.testing.assert_array_equal(source.annotation(i), examples[name][found.annotation])
            elif annotation == "landmarks":
                assert np.isnan(source.annotation(i)).all()
        seen += ids
    assert sorted(seen) == sorted(NAMES) and found.splits == {"train": 7, "test": 3} and found.partial
    assert len(all_of_them.annotated("train")) == 10 and not all_of_them.partial


def test_annotations_that_belong_to_no_picture_or_leave_a_split_without_any_are_refused(pictures, capfd):
    (pictures / "masks" / "s0" / "misspelt.png").write_bytes((pictures / "masks" / NAMES[0]).read_bytes())
    message = refused(capfd, pictures, *arguments(pictures, "masks"), "--partial")
    assert "1 masks without an image; the first is s0/misspelt.png" in message
    np.savez(pictures / "points.npz", name=NAMES[:1], landmarks3=np.full((1, K, 2), 9, np.float32))
    message = refused(capfd, pictures, *arguments(pictures), "--partial", "--holdout", 0.5)
    assert "is annotated; annotate some of it" in message
    assert "needs --landmarks, --masks, --attributes or --annotations" in refused(
        capfd, pictures, *arguments(pictures, None), "--partial"
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regex", [None, r"^\d", r"^(\d)\d"])
def test_hold_out_takes_the_first_groups_that_suffice(seed, regex):
    ids = [f"{i:03d}" for i in range(0, 1000, 7)]
    train, test = hold_out(ids, 0.25, regex, seed)
    assert sorted(train + test) == list(range(len(ids)))
    group = [ids[i][0] if regex else ids[i] for i in range(len(ids))]
    held = {group[i] for i in test}
    assert not held & {group[i] for i in train}
    assert len(test) >= 0.25 * len(ids)
    assert len(test) - max(group.count(g) for g in held) < 0.25 * len(ids)
    assert hold_out(ids, 0.25, regex, seed) == (train, test)


def rewrite(root, **arrays):
    with np.load(root / "points.npz") as stored:
        np.savez(root / "points.npz", **({"name": stored["name"], "landmarks": stored["landmarks3"]} | arrays))


def points(root):
    return np.load(root / "points.npz")["landmarks3"]


def with_nan(root):
    changed = points(root)
    changed[4, 1, 0] = np.nan
    return changed


REFUSALS = {
    # what is done to the pictures, the options, what the message must say
    "no folder": (lambda r: None, lambda r: ("--images", r / "nowhere"), "nowhere: no such folder"),
    "no folder beside masks": (
        lambda r: None,
        lambda r: ("--images", r / "nowhere", "--masks", r / "masks", "--mask-values", 255),
        "nowhere: no such folder",
    ),
    "no images given": (lambda r: None, lambda r: (), "--images DIR is needed"),
    "no image": (lambda r: None, lambda r: ("--images", r / "masks" / "none"), "holds no image"),
    "both": (lambda r: None, lambda r: (*arguments(r), "--masks", r / "masks"), "one annotation"),
    "same folder": (lambda r: None, lambda r: ("--images", r / "masks", "--masks", r / "masks"), "their own"),
    "text": (
        lambda r: (r / "images" / "s1" / "z.jpg").write_text("hello"),
        lambda r: arguments(r, None),
        "s1/z.jpg: cannot be decoded",
    ),
    "landmarks for 9": (
        lambda r: rewrite(r, name=np.array(NAMES[:9]), landmarks=points(r)[:9]),
        arguments,
        r"landmarks for 9 of 10 images; the first missing is s4/1\.png",
    ),
    "surplus": (lambda r: (r / "images" / NAMES[3]).unlink(), arguments, r"1 names .* first is s1/1\.png"),
    "twice": (
        lambda r: rewrite(r, name=np.array(NAMES[:9] + NAMES[:1])),
        arguments,
        r"s0/0\.png is there twice",
    ),
    "shape": (lambda r: rewrite(r, landmarks=points(r)[..., :1]), arguments, r"\[10, 3, 1\].*\[10, K, 2\]"),
    "no points": (lambda r: rewrite(r, landmarks=points(r)[:, :0]), arguments, r"\[10, 0, 2\].*\[10, K, 2\]"),
    "flat": (lambda r: rewrite(r, landmarks=np.zeros(10)), arguments, r"float64 \[10\].*\[10, K, 2\]"),
    "nan": (lambda r: rewrite(r, landmarks=with_nan(r)), arguments, r"1 rows; the first is s2/0\.png"),
    "fractions": (lambda r: rewrite(r, landmarks=points(r) / 28), arguments, "looks like fractions"),
    "far outside": (lambda r: rewrite(r, landmarks=points(r) + 100), arguments, r"s0/0\.png.*28 pixels"),
    "keys": (lambda r: np.savez(r / "points.npz", a=[1]), arguments, r"holds a; it needs name"),
    "objects": (lambda r: rewrite(r, name=np.array(NAMES, object)), arguments, "cannot be read"),
    "no archive": (lambda r: (r / "points.npz").write_text("hello"), arguments, "cannot be read"),
    "no file": (lambda r: (r / "points.npz").unlink(), arguments, "no such file"),
    "kind of file": (lambda r: None, lambda r: (*arguments(r, None), "--landmarks", "a.mat"), "neither"),
    "csv header": (
        lambda r: (r / "a.csv").write_text("name,x,y\n"),
        lambda r: (*arguments(r, None), "--landmarks", r / "a.csv"),
        "header must be name,x0,y0",
    ),
    "csv value": (
        lambda r: (r / "a.csv").write_text("name,x0,y0\ns0/0.png,1,one\n"),
        lambda r: (*arguments(r, None), "--landmarks", r / "a.csv"),
        "line 2: .*one",
    ),
    "csv row": (
        lambda r: (r / "a.csv").write_text("name,x0,y0\ns0/0.png,1\n"),
        lambda r: (*arguments(r, None), "--landmarks", r / "a.csv"),
        "line 2 has 2 fields",
    ),
    "mask missing": (
        lambda r: (r / "masks" / NAMES[7]).unlink(),
        lambda r: arguments(r, "masks"),
        r"masks for 9 of 10 images; the first missing is s3/1\.png",
    ),
    "mask size": (
        lambda r: Image.new("L", (28, 32)).save(r / "masks" / NAMES[7]),
        lambda r: arguments(r, "masks"),
        r"masks/s3/1\.png: the mask is 28x32, its image 32x28",
    ),
    "no masks": (lambda r: None, lambda r: (*arguments(r, None), "--masks", r / "m"), "m: no such folder"),
    "holdout": (lambda r: None, lambda r: (*arguments(r), "--holdout", "1"), "less than 1"),
    "holdout of all": (lambda r: None, lambda r: (*arguments(r), "--holdout", "0.99"), "leaves none of 10"),
    "regex misses": (
        lambda r: None,
        lambda r: (*arguments(r), "--holdout", "0.1", "--group-regex", "s[0-3]"),
        r"does not match s4/0\.png",
    ),
    "regex": (lambda r: None, lambda r: (*arguments(r), "--holdout", "0.1", "--group-regex", "("), "regex"),
    "regex alone": (lambda r: None, lambda r: (*arguments(r), "--group-regex", "s"), "needs --holdout"),
    "count": (lambda r: None, lambda r: (*arguments(r), "--count", "3"), "--count: goes with synthetic-faces and"),
    "size": (lambda r: None, lambda r: ("synthetic-faces", "--count", "-1"), "1 or more"),
    "unknown option": (lambda r: None, lambda r: (*arguments(r), "--bogus"), "--bogus"),
    "kind": (lambda r: None, lambda r: ("cats",), "invalid choice: 'cats'"),
    "synthetic": (lambda r: None, lambda r: ("synthetic-faces", *arguments(r)), "--images: goes with folder"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(pictures, capfd, case):
    (pictures / "masks" / "none").mkdir()
    spoil, options, message = REFUSALS[case]
    spoil(pictures)
    assert re.search(message, refused(capfd, pictures, *options(pictures)))


def test_truncated_image_leaves_nothing(pictures, capfd):
    path = pictures / "images" / NAMES[9]
    path.write_bytes(path.read_bytes()[:-600])
    assert "s4/1.png: cannot be decoded" in refused(capfd, pictures, *arguments(pictures))


def test_out_that_is_taken(pictures, capfd):
    for name in ("images", "points.npz"):
        before = sorted(pictures.rglob("*"))
        with pytest.raises(SystemExit, match="2"):
            run(*arguments(pictures), "--out", pictures / name)
        assert str(pictures / name) in capfd.readouterr().err
        assert sorted(pictures.rglob("*")) == before


def test_stale_partial_folder_is_replaced(pictures):
    (pictures / "out.partial" / "annotated_images").mkdir(parents=True)
    run(*arguments(pictures), "--out", pictures / "out", "--height", 12, "--width", 16)
    assert not (pictures / "out.partial").exists()
    assert open_data(pictures / "out").splits == {"train": 10}


@pytest.mark.parametrize("seam", ["KeyboardInterrupt", "RuntimeError"])
def test_interrupted_writing_leaves_nothing(tmp_path, seam):
    class Breaks(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            if i == 2:
                raise {"KeyboardInterrupt": KeyboardInterrupt, "RuntimeError": RuntimeError}[seam]
            return {"image": np.zeros((4, 4, 1), np.uint8), "id": str(i)}

    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        write(tmp_path / "deep" / "out", {"train": Breaks()}, height=4, width=4, channels=1, annotation=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "annotation", "channels"), [("synthetic-faces", "landmarks", 3), ("synthetic-irises", "mask", 1)]
)
def test_synthetic(tmp_path, kind, annotation, channels, capfd):
    run(
        kind,
        "--out",
        tmp_path / "a",
        "--height",
        24,
        "--width",
        32,
        "--count",
        10,
        "--holdout",
        0.2,
        "--seed",
        3,
    )
    assert capfd.readouterr().out.startswith("prepare: 8 train and 2 test images, 24x32x")
    data = open_data(tmp_path / "a")
    assert (data.annotation, data.channels, data.splits) == (annotation, channels, {"train": 8, "test": 2})
    train, test = (ordered(data.source(split), 0, 10) for split in ("train", "test"))
    assert not set(train["id"]) & set(test["id"])
    assert len(np.unique(np.concatenate([train["image"], test["image"]]), axis=0)) == 10


def test_command_line(pictures):
    command = [sys.executable, "prepare.py", *map(str, arguments(pictures)), "--out", str(pictures / "out")]
    root = Path(prepare.__file__).parent
    done = subprocess.run([*command, "--width", "wide"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"prepare\.py: error: argument --width: .*\n", done.stderr)
    done = subprocess.run([*command, "--width", "16"], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == SIDES + f"prepare: 10 train images, 128x16x3 with 3 landmarks -> {pictures / 'out'}\n"
    run(*arguments(pictures), "--out", pictures / "again", "--width", 16)
    assert records(pictures / "out") == records(pictures / "again")  # another process, the same bytes


def test_sigterm_is_a_clean_exit(pictures):
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as exit_:
            cli.run(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(5)))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert exit_.value.code == 143

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        cli.run(interrupt)
    signal.signal(signal.SIGTERM, handler)
    assert exit_.value.code == 130


def test_a_reader_that_ends_before_is_no_error(monkeypatch):
    """As in `prepare.py ... | head -1`."""
    handler, (reading, writing) = signal.getsignal(signal.SIGTERM), os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as exit_:
            cli.run(lambda: print("all that is said"))
        print("what is said later goes nowhere", flush=True)
    signal.signal(signal.SIGTERM, handler)
    assert exit_.value.code == 141


def test_description_says_where_it_came_from(pictures):
    run(*arguments(pictures), "--out", pictures / "out", "--height", 12, "--width", 16)
    assert "10 pictures" in json.loads((pictures / "out" / "dataset_info.json").read_text())["description"]
    metadata = open_data(pictures / "out").metadata
    assert metadata["landmark_units"] == "fraction of width and height"
    assert metadata["landmarks"] == str(pictures / "points.npz")

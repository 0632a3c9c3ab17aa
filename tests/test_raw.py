"""prepare.py faces and irises: what is kept and left out, CelebA's folder, stops, repeatability."""

import csv
import hashlib
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from test_prepare import run
from ways import finish, kill_when

from began_jax.data import celeba, chunks, raw_faces
from began_jax.data.datasets import open_data, ordered
from began_jax.data.synthetic.faces import render as render_face
from began_jax.data.synthetic.irises import render as render_eye
from began_jax.images import Crop, fit_image
from began_jax.landmarks import POINTS_49, SCHEMES, Scheme
from began_jax.run import cli

T = """
import numpy as np
from began_jax.annotators.annotator import Unsure

def brightest(image):
    "Two landmarks: the brightest pixel of the red and of the blue channel."
    if image.mean() > 250:
        raise Unsure("too bright")
    height, width, _ = image.shape
    places = [np.unravel_index(image[..., c].argmax(), (height, width)) for c in (0, 2)]
    return np.array([((x + 0.5) / width, (y + 0.5) / height) for y, x in places])

def dark(image):
    "A mask."
    return (image < 100).astype(np.uint8)

def broken(image):
    raise ZeroDivisionError("a bug of mine")

def soft(image):
    "The same mask, blurred to 0.2 outside and 0.8 inside at its edge."
    height, width, _ = image.shape
    x = np.abs(np.linspace(-1, 1, width))[None, :, None] * np.ones((height, 1, 1))
    return np.clip(1.5 - 2 * x, 0, 1)

def depth(image):
    return 0.5 + 4 * np.ones(image.shape[:2])

def box(image):
    return np.array([0.25, 0.25, 0.75, image.mean() / 510])

def named_box(image):
    return box(image)

def named_depth(image):
    height, width, _ = image.shape
    return np.mgrid[:height, :width][0][..., None] / height

def in_pixels(image):
    return np.array([[30.0, 40.0], [50.0, 60.0]])

def changing(image):
    "Two landmarks, but three for a picture that begins bright."
    return np.full((3 if image[0, 0, 0] > 230 else 2, 2), 0.5)

class Needy:
    def __init__(self, size):
        self.size = size

def age(image):
    return 31.0

def reserved(image):
    return box(image)

named_box.kind, named_depth.kind, age.kind, reserved.kind = "box", "depth", "age", "id"
"""


def refused(capfd, *argv):
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    captured = capfd.readouterr()
    assert stopped.value.code == 2
    return captured.err.splitlines()[-1]


def files(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def left_out(folder):
    with (folder / "left_out.csv").open(newline="") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """150 pictures of 20 rows x 16 columns: one is no picture, one too bright; and a file of annotators."""
    root = tmp_path_factory.mktemp("crops")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(150):
        Image.fromarray(rng.integers(0, 250, (20, 16, 3), np.uint8)).save(root / "images" / f"{i:03d}.png")
    (root / "images" / "071.png").write_bytes((root / "images" / "071.png").read_bytes()[:200])
    Image.fromarray(np.full((20, 16, 3), 255, np.uint8)).save(root / "images" / "090.png")
    (root / "t.py").write_text(T)
    return root


def command(root, name="brightest"):
    options = ("--detector", "whole", "--height", 16, "--width", 16, "--holdout", 0.2)
    return "faces", "--images", root / "images", "--annotator", f"{root / 't.py'}:{name}", *options


@pytest.fixture(scope="module")
def prepared(crops):
    """The crops as a data set, made in this process."""
    run(*command(crops), "--out", crops / "out", "--workers", 0)
    return crops / "out"


def test_what_cannot_be_used_is_left_out_with_its_reason(crops, prepared):
    found = left_out(prepared)
    assert found.keys() == {"071.png", "090.png"}
    assert "cannot be decoded" in found["071.png"] and str(crops) not in found["071.png"]
    assert found["090.png"] == "too bright"
    data = open_data(prepared)
    assert sum(data.splits.values()) == 148 and data.splits["test"] == 30
    assert data.metadata["annotator"] == f"{crops / 't.py'}:brightest"


def test_pictures_and_annotations_are_those_of_the_crop(crops, prepared):
    data = open_data(prepared)
    for split in ("train", "test"):
        examples = ordered(data.source(split), 0, data.splits[split])
        assert examples["id"] == sorted(examples["id"])
        for image, landmarks, name in zip(*(examples[k] for k in ("image", "landmarks", "id")), strict=True):
            stored = np.asarray(Image.open(crops / "images" / name))
            np.testing.assert_array_equal(image, fit_image(stored, 16, 16))
            seen = fit_image(stored, 128, 128)  # T sees a small crop enlarged
            for (x, y), channel in zip(landmarks, (0, 2), strict=True):
                assert seen[int(y * 128), int(x * 128), channel] == seen[..., channel].max()


def test_worker_processes_write_the_same_bytes(crops, prepared):
    run(*command(crops), "--out", crops / "again", "--workers", 2)
    assert files(crops / "again") == files(prepared)
    assert not (crops / "again.work").exists()


def test_a_killed_command_goes_on(crops, prepared, scripts):
    out = crops / "killed"
    first = out.with_name("killed.work") / "000000.npz"
    kill_when(first.exists, scripts.start("prepare.py", *command(crops), "--out", out, "--workers", 1))
    assert not out.exists()
    before = first.stat().st_mtime_ns
    made = []
    with pytest.MonkeyPatch.context() as patch:
        write = chunks._write
        patch.setattr(chunks, "_write", lambda path, *rest: made.append(path.name) or write(path, *rest))
        patch.setattr(chunks, "ordered_map", _watching(first, before))
        run(*command(crops), "--out", out, "--workers", 0)
    assert "000000.npz" not in made
    assert files(out) == files(prepared)


def _watching(first, before):
    from began_jax.annotators.workers import ordered_map

    def watched(*args):
        assert first.stat().st_mtime_ns == before
        return ordered_map(*args)

    return watched


def test_another_command_does_not_go_on_where_this_one_stopped(crops, capfd):
    work = crops / "other.work"
    work.mkdir()
    run(*command(crops), "--out", crops / "other", "--workers", 0)
    (crops / "other2.work").mkdir()
    (crops / "other2.work" / "config.json").write_text(json.dumps({"height": 24}))
    message = refused(capfd, *command(crops), "--out", crops / "other2", "--workers", 0)
    assert "other2.work was begun with" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("depth", r"float64 \[128, 128\] from 4.5 to 4.5 is neither landmarks .*NAME.kind = 'depth'"),
        ("box", r"float64 \[4\] from 0\.\d+ to 0\.75 is neither"),
        ("age", r"answer is float64 \[\]; it must be an array"),
        ("reserved", "its kind is 'id'; it must be a name"),
        ("Needy", "cannot be made without arguments"),
        ("in_pixels", r"float64 \[2, 2\] from 30 to 60 are no landmarks \[K, 2\], \(x, y\) as fractions"),
    ],
)
def test_a_t_whose_answer_is_no_annotation_is_refused_at_its_first_picture(crops, capfd, name, message, tmp_path):
    assert re.search(message, refused(capfd, *command(crops, name), "--out", tmp_path / "out", "--workers", 0))
    assert not (tmp_path / "out").exists() and not list((tmp_path / "out.work").glob("*.npz"))


def test_annotations_of_several_shapes_are_refused_in_a_part_and_across_parts(crops, capfd, tmp_path, monkeypatch):
    for size in (64, 1):
        monkeypatch.setattr(chunks, "CHUNK", size)
        message = refused(capfd, *command(crops, "changing"), "--out", tmp_path / f"out{size}", "--workers", 0)
        assert "[2, 2]" in message and "[3, 2]" in message and "they must be alike" in message


def test_parts_made_by_another_t_of_the_same_name_do_not_go_on(crops, capfd, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(T)
    options = [*command(crops)]
    options[options.index("--annotator") + 1] = f"{file}:box"
    refused(capfd, *options, "--out", tmp_path / "out", "--workers", 0)
    file.write_text(T.replace("510", "300"))
    message = refused(capfd, *options, "--out", tmp_path / "out", "--workers", 0)
    assert "was begun with annotator_file" in message and f"delete {tmp_path / 'out.work'}" in message


def test_a_t_has_a_soft_mask_or_a_kind_of_its_own(crops, tmp_path):
    run(*command(crops, "soft"), "--out", tmp_path / "soft", "--workers", 0)
    masks = ordered(open_data(tmp_path / "soft").source("train"), 0, 4)["mask"]
    expected = np.abs(np.arange(16) - 7.5) < 4  # half of the width, where the ramp passes 0.5
    np.testing.assert_array_equal(masks, np.broadcast_to(expected[None, None, :, None], masks.shape))
    for name, shape in (("box", (4,)), ("depth", (16, 16, 1))):
        run(*command(crops, f"named_{name}"), "--out", tmp_path / name, "--workers", 0)
        data = open_data(tmp_path / name)
        assert data.annotation == name and data.shape == shape
    depth = data.source("train").annotation(0)
    np.testing.assert_allclose(depth[:, 3, 0], (8 * np.arange(16) + 3.5) / 128, atol=1e-6)


def test_the_same_command_after_its_end_says_so_and_changes_nothing(crops, prepared, capfd):
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    run(*command(crops), "--out", prepared, "--workers", 2)
    assert "prepare: done before, 118 train and 30 test images, 16x16x3 with 2 landmarks" in capfd.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before
    message = refused(capfd, *command(crops), "--holdout", 0.3, "--out", prepared)
    assert "exists, prepared with holdout 0.2, and now 0.3; remove it or give another folder" in message


@pytest.mark.parametrize("name", ["fractions", "two_faces", "surplus", "far_outside"])
def test_faces_refuse_the_lists_that_ready_pictures_refuse(tmp_path, capfd, name):
    points = np.array([[40, 44], [60, 44], [50, 55], [43, 66], [57, 66]], float)
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (100, 100, 3), np.uint8)).save(images / f"{i}.jpg")

    def rows(points, ids):
        return "".join(f"{i}.jpg," + ",".join(f"{v:g}" for v in points.ravel()) + "\n" for i in ids)

    text, message = {
        "fractions": (rows(points / 100, range(4)), "looks like fractions"),
        "two_faces": (rows(points, range(4)) + rows(points / 4 + 30, range(4)), "0.jpg is there twice"),
        "surplus": (rows(points, range(5)), "1 names without an image; the first is 4.jpg"),
        "far_outside": (
            rows(points * 10, range(4)),
            "is more than a picture's size outside",
        ),
    }[name]
    head = "name," + ",".join(f"{a}{i}" for i in range(5) for a in "xy") + "\n"
    (tmp_path / "points.csv").write_text(head + text)
    options = ("--images", images, "--landmarks", tmp_path / "points.csv", "--out", tmp_path / "out")
    for kind in ((), ("faces", "--detector", "whole", "--workers", 0)):
        if kind and name == "far_outside":  # where single photographs are left out
            message = "most landmarks of 4 in 4 pictures lie outside of them"
        assert message in refused(capfd, *kind, *options)


def test_a_set_of_which_nothing_can_be_used_is_refused_with_the_reasons(crops, capfd):
    message = refused(capfd, *command(crops, "broken"), "--out", crops / "none", "--workers", 0)
    assert "none of 150 pictures can be used: 149 ZeroDivisionError: a bug of mine" in message
    assert not (crops / "none").exists()


def test_options_that_do_not_go_together(crops, capfd, tmp_path):
    out = ("--out", tmp_path / "out")
    for argv, message in (
        ((*command(crops), "--masks", crops), "--masks: goes with folder and irises, not with faces"),
        ((*command(crops), "--landmarks", crops / "a.csv"), "give one of the two"),
        ((*command(crops), "--workers", -1), "--workers -1"),
        (("faces", "--images", crops / "images", "--annotation", "attributes"), "has not CelebA's layout"),
        (("irises", "--images", crops / "images", "--holdout", 0.1), "do not name the subjects"),
        (("irises", "--images", crops / "images", "--copies", 0), "--copies is 0; it must be 1 or more"),
    ):
        assert message in refused(capfd, *argv, *out)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Rendered faces of 140 pixels on a plain ground of 200 x 260; two faces in one, none in another."""
    pytest.importorskip("cv2", reason="the extra [faces] is not installed")
    root = tmp_path_factory.mktemp("photographs")
    for i in range(8):
        picture = np.full((200, 260, 3), 120, np.uint8)
        picture[30:170, 60:200] = render_face(0, i, 140, 140)[0]
        Image.fromarray(picture).save(root / f"{i}.png")
    Image.fromarray(np.full((200, 260, 3), 120, np.uint8)).save(root / "none.png")
    pair = np.full((200, 320, 3), 120, np.uint8)
    pair[30:170, 10:150] = pair[30:170, 170:310] = np.asarray(Image.open(root / "0.png"))[30:170, 60:200]
    Image.fromarray(pair).save(root / "pair.png")
    return root


def test_faces_are_found_and_dlib_finds_their_landmarks(photographs, tmp_path):
    run("faces", "--images", photographs, "--out", tmp_path / "out", "--workers", 0, "--max-doubt", 20)
    found = left_out(tmp_path / "out")
    assert found["none.png"] == "no face" and found["pair.png"] == "several faces"
    data = open_data(tmp_path / "out")
    assert (data.height, data.width, data.keypoints) == (128, 128, 49)
    examples = ordered(data.source("train"), 0, 8)
    assert len(examples["id"]) >= 6
    for image, landmarks, name in zip(*(examples[k] for k in ("image", "landmarks", "id")), strict=True):
        # where the renderer put them, by the shift that takes the crop back to its place in the photograph
        truth = render_face(0, int(name[0]), 140, 140)[1] * 140 + (60, 30)
        assert image.std() > 10
        size = np.ptp(truth, axis=0).max() / np.ptp(landmarks, axis=0).max()
        moved = (landmarks - landmarks.mean(0)) * size + truth.mean(0)
        eyes = np.linalg.norm(truth[19] - truth[28])
        assert np.linalg.norm(moved - truth, axis=1).mean() < 0.15 * eyes


def test_without_the_extra_the_command_says_what_to_install(photographs, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "began_jax.annotators.faces", raising=False)
    message = refused(capfd, "faces", "--images", photographs, "--out", tmp_path / "out")
    assert "--detector haar" in message and "pip install 'opencv-python-headless<5' (or began_jax[faces])" in message
    assert not list(tmp_path.iterdir())


def test_landmarks_of_a_list_choose_the_face_that_they_are_in(photographs, tmp_path):
    centre = render_face(0, 0, 140, 140)[1].mean(0) * 140 + (170, 30)  # of the right face of two
    points = centre + np.array([[-20, -20], [20, -20], [0, 30]])
    rows = {"pair.png": points, "0.png": points + 500}
    lines = [",".join([name, *(f"{v:g}" for v in p.ravel())]) for name, p in rows.items()]
    (tmp_path / "points.csv").write_text("\n".join(["name,x0,y0,x1,y1,x2,y2", *lines]))
    options = ("--landmarks", tmp_path / "points.csv", "--several", "largest", "--workers", 0)
    run("faces", "--images", photographs, *options, "--out", tmp_path / "out")
    found = left_out(tmp_path / "out")
    assert found["0.png"] in (
        "a landmark is more than a picture's size outside",
        "its landmarks are not in the face that was found",
    )
    (landmarks,) = ordered(open_data(tmp_path / "out").source("train"), 0, 1)["landmarks"]
    assert (landmarks > 0).all() and (landmarks < 1).all()


def test_each_face_of_a_list_is_cropped_around_its_landmarks(photographs, tmp_path, capfd):
    """WFLW's list, whose pictures may have several faces, a row each."""
    places = {"pair.png": [(10, 30), (170, 30)], "0.png": [(60, 30)], "1.png": [(60, 30)]}
    seeds, lines = {"pair.png": 0, "0.png": 0, "1.png": 1}, []
    for name, corners in places.items():
        for left, top in corners:
            points = np.full((98, 2), -1.0)
            points[list(POINTS_49[98])] = render_face(0, seeds[name], 140, 140)[1] * 140 + (left - 0.5, top - 0.5)
            lines.append(" ".join([*map(str, points.ravel().round(2)), *"1234", *"010010", name]))
    (tmp_path / "wflw.txt").write_text("\n".join(lines))
    argv = ("faces", "--images", photographs, "--landmarks", tmp_path / "wflw.txt", "--points", 49, "--workers", 0)
    out = tmp_path / "out"
    assert "--several each, which crops each face" in refused(capfd, *argv, "--out", out)
    assert "needs --detector landmarks" in refused(capfd, *argv, "--several", "each", "--out", out)
    each = (*argv, "--several", "each", "--detector", "landmarks", "--height", 64, "--width", 64)
    run(*each, "--holdout", 0.5, "--out", out)
    data, made = open_data(out), {}
    for split in data.splits:
        found = ordered(data.source(split), 0, data.splits[split])
        made |= {n: (split, x, p) for n, x, p in zip(*(found[k] for k in ("id", "image", "landmarks")), strict=True)}
    assert sorted(made) == ["0.png", "1.png", "pair.png#1", "pair.png#2"]
    assert made["pair.png#1"][0] == made["pair.png#2"][0]  # one photograph is in one split
    np.testing.assert_allclose(made["pair.png#1"][2], made["pair.png#2"][2], atol=0.02)  # the same face twice
    assert np.abs(made["pair.png#1"][1].astype(int) - made["pair.png#2"][1]).mean() < 4
    for _, image, landmarks in made.values():
        assert image.shape == (64, 64, 3) and 1 / 1.7 < np.ptp(landmarks, axis=0).max() < 1 / 1.3
        assert (landmarks > 0).all() and (landmarks < 1).all()
    truth = render_face(0, 1, 140, 140)[1]
    moved = (made["1.png"][2] - made["1.png"][2].mean(0)) * np.ptp(truth, axis=0) / np.ptp(made["1.png"][2], axis=0)
    np.testing.assert_allclose(moved, truth - truth.mean(0), atol=0.01)
    assert set(left_out(out).values()) == {"no landmarks in the file"}
    before = (out / "metadata.json").stat().st_mtime_ns
    run(*each, "--holdout", 0.5, "--out", out)
    assert (out / "metadata.json").stat().st_mtime_ns == before  # it is done


def listed(path, rows):
    """A csv of (name, points)."""
    header = ",".join(f"x{i},y{i}" for i in range(len(rows[0][1])))
    path.write_text("\n".join([f"name,{header}", *(",".join([n, *map(str, np.ravel(p))]) for n, p in rows)]))
    return path


def test_a_list_of_faces_is_known_again_by_whose_they_are(photographs, tmp_path, capfd):
    first, second, third = ([(x, 60), (x + 40, 60), (x + 20, 100)] for x in (60, 80, 100))
    rows = [("0.png", first), ("0.png", second), ("1.png", third), ("1.png", third)]
    argv = ("faces", "--images", photographs, "--detector", "landmarks", "--several", "each", "--workers", 0)
    command = (*argv, "--landmarks", listed(tmp_path / "p.csv", rows), "--out", tmp_path / "out")
    run(*command)
    assert "1 rows are there twice, and are taken once" in capfd.readouterr().out
    names = sorted(ordered(open_data(tmp_path / "out").source("train"), 0, 3)["id"])
    assert names == ["0.png#1", "0.png#2", "1.png"]
    listed(tmp_path / "p.csv", [rows[0], ("1.png", second), rows[2]])  # the same points, of another picture
    assert "prepared with annotations" in refused(capfd, *command)
    listed(tmp_path / "p.csv", [*rows, ("x.png", first), ("x.png", second)])
    assert "1 names without an image; the first is x.png" in refused(capfd, *command)
    listed(tmp_path / "p.csv", [("X/0.png", first), ("X/0.png", second)])
    message = refused(capfd, *command)
    assert "the first name in the file is X/0.png" in message and "--partial" not in message


def test_a_face_of_which_little_is_there_is_cropped_around_all_of_it():
    """The jaw of 68 points, and of the paper's 49 one: the box around that one would be nothing."""
    points = np.full((68, 2), np.nan, np.float32)
    points[:17] = np.stack([np.linspace(40, 100, 17), 80 - np.abs(np.linspace(-20, 20, 17))], 1)
    points[36] = 60, 50
    inner = POINTS_49[68]
    assert raw_faces.landmark_window(points, inner, 140, 140).height == 90
    points[list(inner)] = np.random.default_rng(0).uniform((50, 40), (90, 80), (49, 2))
    whole, around = (raw_faces.landmark_window(points, chosen, 140, 140).height for chosen in ((), inner))
    assert whole == 90 and 50 < around <= 60


def test_a_face_is_framed_by_the_papers_points_unless_a_scheme_says_that_they_are_others():
    assert raw_faces.framing(None, 98) == POINTS_49[98] and raw_faces.framing(None, 5) == ()
    renamed = SCHEMES[68]._replace(names=tuple(f"p{i}_of_{i}" for i in range(68)))
    other = renamed._replace(unit=(0, 16))
    for scheme, expected in (
        (None, POINTS_49[68]),
        (SCHEMES[68], POINTS_49[68]),
        (renamed, POINTS_49[68]),
        (other, ()),
    ):
        assert raw_faces.framing(scheme, 68) == expected
    assert raw_faces.framing(Scheme(tuple(map(str, range(98))), {}, (), None, None), 98) == ()


def test_landmarks_crop_no_face_without_them(photographs, tmp_path, capfd):
    argv = ("faces", "--images", photographs, "--detector", "landmarks", "--workers", 0, "--out", tmp_path / "out")
    assert "needs --landmarks FILE" in refused(capfd, *argv)
    assert "not with --annotation attributes" in refused(capfd, *argv, "--annotation", "attributes")
    (tmp_path / "p.csv").write_text("name,x0,y0,x1,y1\n0.png,80,90,120,90\n1.png,90,90,95,90\n2.png,-90,10,-60,30\n")
    argv = (*argv, "--landmarks", tmp_path / "p.csv")
    assert "not with --partial" in refused(capfd, *argv, "--partial")
    assert "--several largest: does nothing" in refused(capfd, *argv, "--several", "largest")
    run(*argv)
    assert left_out(tmp_path / "out")["1.png"] == "its face is 8 pixels wide, and 16 are the least"
    assert left_out(tmp_path / "out")["2.png"] == "the middle of its landmarks lies outside of it"
    (image,) = ordered(open_data(tmp_path / "out").source("train"), 0, 1)["landmarks"]
    np.testing.assert_allclose(image[:, 0], [1 / 6, 5 / 6], atol=0.02)  # 40 of 60 pixels apart


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (((20, 20), (60, 40)), Crop(-4, 10, 60, 60)),  # cut by the picture's edge: moved into it
        (((10, 10), (90, 90)), Crop(0, 0, 100, 100)),
        (((40.5, 40.5), (60.5, 60.5)), Crop(34, 36, 30, 30)),
    ],
)
def test_the_window_of_landmarks_is_a_square_in_the_picture(points, expected):
    found = raw_faces.landmark_window(np.array(points, np.float32), (), 140, 100)
    assert found.height == found.width == expected.height
    assert (found.top, found.left) == (max(expected.top, 0), expected.left)


def test_the_largest_of_several_faces(photographs, tmp_path):
    argv = ("faces", "--images", photographs, "--out", tmp_path / "out", "--workers", 0, "--max-doubt", 20)
    run(*argv, "--several", "largest")
    assert "pair.png" not in left_out(tmp_path / "out")


@pytest.fixture(scope="module")
def celeba_folder(tmp_path_factory):
    """CelebA's official layout with twelve rendered pictures of 218 rows x 178 columns."""
    root = tmp_path_factory.mktemp("celeba")
    (root / "img_align_celeba").mkdir()
    rng = np.random.default_rng(0)
    points, attributes = rng.integers(60, 110, (12, 10)), rng.choice((-1, 1), (12, 4))
    names = [f"{i + 1:06d}.jpg" for i in range(12)]
    for i, name in enumerate(names):
        picture = np.full((218, 178, 3), 90, np.uint8)
        picture[40:180, 20:160] = render_face(1, i, 140, 140)[0]
        Image.fromarray(picture).save(root / "img_align_celeba" / name, quality=95)
    columns = (
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    )
    table = [f"{n}  " + "  ".join(map(str, row)) for n, row in zip(names, points, strict=True)]
    (root / "list_landmarks_align_celeba.txt").write_text("\n".join(["12", columns, *table]) + "\n")
    table = [f"{n} " + " ".join(f"{v:2d}" for v in row) for n, row in zip(names, attributes, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join(["12", "Bald Eyeglasses Male Young", *table]) + "\n")
    (root / "list_eval_partition.txt").write_text("".join(f"{n} {i // 4}\n" for i, n in enumerate(names)))
    return root, points.reshape(12, 5, 2), attributes


def test_celeba_with_its_own_landmarks(celeba_folder, tmp_path):
    root, points, _ = celeba_folder
    argv = ("--annotation", "landmarks5", "--detector", "whole", "--height", 32, "--width", 32, "--workers", 0)
    run("faces", "--images", root, "--out", tmp_path / "out", *argv)
    data = open_data(tmp_path / "out")
    assert data.splits == {"train": 4, "validation": 4, "test": 4} and data.keypoints == 5
    found = ordered(data.source("test"), 0, 4)
    assert found["id"] == [f"{i:06d}.jpg" for i in (9, 10, 11, 12)]
    # the middle 178 rows of 218 remain
    expected = (points[8:] + 0.5 - (0, 20)) / 178
    np.testing.assert_allclose(found["landmarks"], expected, atol=1e-5)


def test_celeba_with_attributes(celeba_folder, tmp_path):
    root, _, attributes = celeba_folder
    argv = ("--annotation", "attributes", "--detector", "whole", "--height", 32, "--width", 32, "--workers", 0)
    run("faces", "--images", root, "--out", tmp_path / "out", *argv)
    data = open_data(tmp_path / "out")
    found = ordered(data.source("validation"), 0, 4)
    np.testing.assert_array_equal(found["attributes"], attributes[4:8] > 0)
    assert data.metadata["attribute_names"] == ["Bald", "Eyeglasses", "Male", "Young"]


def test_celeba_by_haar_and_49_landmarks(celeba_folder, tmp_path):
    pytest.importorskip("cv2", reason="the extra [faces] is not installed")
    root, _, _ = celeba_folder
    run("faces", "--images", root, "--out", tmp_path / "out", "--workers", 0, "--max-doubt", 20)
    data = open_data(tmp_path / "out")
    assert data.keypoints == 49 and data.splits.keys() == {"train", "validation", "test"}
    assert sum(data.splits.values()) + len(left_out(tmp_path / "out")) == 12
    assert sum(data.splits.values()) >= 10


def test_lists_of_celeba_as_csv_and_their_refusals(celeba_folder, tmp_path):
    root, points, _ = celeba_folder
    rows = [line.split() for line in (root / "list_landmarks_align_celeba.txt").read_text().splitlines()[1:]]
    rows[0] = ["image_id", *rows[0]]
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in rows))
    found = celeba.read_landmarks(tmp_path / "a.csv")
    np.testing.assert_array_equal(np.stack(list(found.values())), points)
    for text, message in (
        ("1\na b\nx.jpg 1\n", "x.jpg has 1 values; there must be 2"),
        ("1\na b\nx.jpg 1 q\n", "all values must be numbers"),
        ("1\na b\nx.jpg 1 2\n", "must be 10"),
        ("", "holds no pictures"),
    ):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(cli.InputError, match=message):
            celeba.read_landmarks(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("x.jpg 3\n")
    with pytest.raises(cli.InputError, match=r"x\.jpg is in part 3"):
        celeba.read_splits(tmp_path / "list.txt")


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """Rendered eyes named as CASIA's, two frames of five subjects, their masks, and a file of annotators."""
    root = tmp_path_factory.mktemp("eyes")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for i in range(10):
        image, mask = render_eye(0, i, 112, 128)
        Image.fromarray(image[..., 0]).save(root / "images" / f"S1{i // 2:03d}L{i % 2:02d}.png")
        Image.fromarray(mask[..., 0]).save(root / "masks" / f"S1{i // 2:03d}L{i % 2:02d}.png")
    (root / "t.py").write_text(T)
    return root


def test_irises_with_masks_keep_subjects_together(eyes, tmp_path):
    size = ("--height", 24, "--width", 32, "--holdout", 0.3, "--workers", 0)
    run("irises", "--images", eyes / "images", "--masks", eyes / "masks", "--out", tmp_path / "out", *size)
    data = open_data(tmp_path / "out")
    assert (data.height, data.width, data.channels, data.annotation) == (24, 32, 1, "mask")
    subjects = {s: {n[:5] for n in ordered(data.source(s), 0, n)["id"]} for s, n in data.splits.items()}
    assert not subjects["train"] & subjects["test"] and len(subjects["test"]) == 2
    # rows 8 .. 104 of 112 are 4:3
    first = ordered(data.source("train"), 0, 1)
    stored = np.asarray(Image.open(eyes / "images" / first["id"][0]))[8:104, :, None]
    np.testing.assert_array_equal(first["image"][0], fit_image(stored, 24, 32))


def test_low_quality_copies_follow_their_picture(eyes, tmp_path, scripts):
    argv = ("irises", "--images", eyes / "images", "--annotator", f"{eyes / 't.py'}:dark", "--height", 24)
    argv = (*argv, "--width", 32, "--holdout", 0.3, "--workers", 0)
    run(*argv, "--out", tmp_path / "one")
    run(*argv, "--out", tmp_path / "three", "--copies", 3)
    run(*argv, "--out", tmp_path / "again", "--copies", 3)
    assert files(tmp_path / "three") == files(tmp_path / "again")
    # on a machine with an accelerator, which the workers leave alone (here there is none, and its use would fail)
    elsewhere = ("--out", tmp_path / "elsewhere", "--copies", 3, "--workers", 1)
    finish(scripts.start("prepare.py", *argv, *elsewhere, JAX_PLATFORMS="tpu"))
    assert files(tmp_path / "elsewhere").keys() == files(tmp_path / "three").keys()
    assert left_out(tmp_path / "elsewhere") == left_out(tmp_path / "three") == {}
    one, three = open_data(tmp_path / "one"), open_data(tmp_path / "three")
    for split, count in one.splits.items():
        assert three.splits[split] == 3 * count
        a, b = ordered(one.source(split), 0, count), ordered(three.source(split), 0, 3 * count)
        assert b["id"] == [n for name in a["id"] for n in (name, f"{name}~1", f"{name}~2")]
        np.testing.assert_array_equal(a["image"], b["image"][::3])
        for copy in (1, 2):
            np.testing.assert_array_equal(a["mask"], b["mask"][copy::3])
            assert (np.abs(a["image"].astype(int) - b["image"][copy::3]).mean((1, 2, 3)) > 1).mean() > 0.5


def test_the_left_out_list_survives_awkward_names():
    rows = [("a,b.jpg", 'says "no"'), ("c.jpg", "two\nlines")]
    found = list(csv.reader(chunks.left_out_csv(rows).splitlines(keepends=True)))
    assert found == [["id", "reason"], *map(list, rows)]
    assert chunks.reasons([("a", "x"), ("b", "y"), ("c", "x")]) == "2 x, 1 y"

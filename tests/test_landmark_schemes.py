"""Which point is which, as a file or the names in COCO say it: read, kept, mirrored, measured, drawn, read again."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import prepare
from began_jax import figures, kinds, metrics, moving
from began_jax.data import landmark_schemes
from began_jax.data.datasets import open_data
from began_jax.errors import InputError
from began_jax.export import formats
from began_jax.export.content import open_content
from began_jax.landmarks import CELEB_A_5, IBUG_49, IBUG_68, mirror, scheme
from began_jax.run import generated

NAMES = ["snout", "ear_l", "ear_r", "paw one", "paw two", "tail"]
SAID = {
    "names": NAMES,
    "pairs": [["ear_l", "ear_r"], ["paw one", "paw two"]],
    "edges": [["snout", "tail"], ["ear_l", "snout"]],
    "unit": ["snout", "tail"],
}
MIRRORED, EDGES, UNIT = (0, 2, 1, 4, 3, 5), ((0, 5), (1, 0)), (0, 5)
COUNT, SIZE = 6, 16
HEAD = "name," + ",".join(f"x{i},y{i}" for i in range(6)) + "\n"


@pytest.fixture
def animals(tmp_path):
    """Pictures, their landmarks [COUNT, 6, 2] in pixels, and the two files, in a folder of its own."""
    rng = np.random.default_rng(0)
    points = rng.uniform(2, 14, (COUNT, 6, 2)).round(2)
    (tmp_path / "images").mkdir()
    rows = []
    for i in range(COUNT):
        picture = Image.fromarray(rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8))
        picture.save(tmp_path / "images" / f"{i}.png")
        rows.append(f"{i}.png," + ",".join(f"{v:g}" for v in points[i].ravel()))
    (tmp_path / "points.csv").write_text(HEAD + "\n".join(rows) + "\n")
    (tmp_path / "scheme.json").write_text(json.dumps(SAID))
    return tmp_path


def prepared(folder, out, landmarks, *options):
    size = ["--height", str(SIZE), "--width", str(SIZE), "--holdout", "0.3"]
    command = ["--images", str(folder / "images"), "--landmarks", str(landmarks), "--out", str(out), *size, *options]
    prepare.main(command)
    return open_data(out)


def test_a_scheme_is_read_as_it_says(tmp_path):
    path = tmp_path / "scheme.json"
    path.write_text(json.dumps(SAID))
    found = landmark_schemes.read(path)
    assert (found.names, found.mirrored, found.edges, found.unit) == (tuple(NAMES), MIRRORED, EDGES, UNIT)
    assert found.skeleton == [[1, 6], [2, 1]]
    for names, mirrored in (
        (["left_ear", "right_ear", "nose"], (1, 0, 2)),
        (["Ear Left", "Ear Right"], (1, 0)),
        (["L1", "R1", "eyelid"], (1, 0, 2)),  # a single letter counts, and one within a word does not
        (["left_ear", "nose"], None),  # the right one is missing
        (["LEye", "REye", "eyeLeft", "eyeRight", "LIP"], (1, 0, 3, 2, 4)),
        (["left_ear", "right_ear", "face-0", "face-1"], None),  # a row without sides, of which half may be left
        (["ear", "nose"], None),
    ):
        path.write_text(json.dumps({"names": names}))
        assert landmark_schemes.read(path).mirrored == mirrored, names
    path.write_text(json.dumps({"names": ["left_ear", "right_ear"], "pairs": []}))
    assert landmark_schemes.read(path).mirrored == (0, 1)  # as said: none changes places


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("[1, 2", "cannot be read"),
        ([1, 2], "is no JSON object; it must hold names"),
        ({"points": ["a"]}, "holds 'points'; it must hold names"),
        (SAID | {"pair": []}, "it must hold names, and may hold pairs, edges, unit"),
        ({"names": ["a", "a"]}, "different names"),
        ({"names": [1, 2]}, "different names"),
        ({"names": ["a\nb", "c"]}, "different names"),
        (SAID | {"pairs": [["ear_l", "ear"]]}, "pairs: has ear, which is none of the names"),
        (SAID | {"pairs": ["ear_l", "ear_r"]}, "pairs: must be a list of pairs"),
        (SAID | {"pairs": [["ear_l", "ear_l"]]}, "its own partner"),
        (SAID | {"pairs": [["ear_l", "ear_r"], ["ear_r", "tail"]]}, "in two of them"),
        (SAID | {"edges": [["snout", "nose", "tail"]]}, "edges: must be a list of pairs"),
        (SAID | {"unit": ["tail", "tail"]}, "unit: has one point twice"),
        (SAID | {"unit": "tail"}, "unit: must be two names"),
    ],
)
def test_what_is_no_scheme_is_refused(tmp_path, said, message):
    path = tmp_path / "scheme.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    with pytest.raises(InputError, match=message) as caught:
        landmark_schemes.read(path)
    assert f"--scheme {path}" in str(caught.value) and "\n" not in str(caught.value)


def test_names_in_coco_count_where_they_say_something():
    faces = landmark_schemes.of_coco(["nose", "left_eye", "right_eye"], [[1, 2], [1, 3]], 3)
    assert faces and faces.mirrored == (0, 2, 1) and faces.edges == ((0, 1), (0, 2))
    for nothing in (None, [], ["1", "2", "3"], ["point_1", "point_2", "point_3"], ["a", "b"], ["a", "b", "b"]):
        assert landmark_schemes.of_coco(nothing, None, 3) is None
    for known in (CELEB_A_5, IBUG_49):
        assert landmark_schemes.of_coco(list(known.names), known.skeleton, len(known.names)) == known
    # Five points are CelebA's only where they are called so.
    other = landmark_schemes.of_coco(["nose", "left_ear", "right_ear", "left_hip", "right_hip"], None, 5)
    assert other and other.mirrored == (0, 2, 1, 4, 3) != CELEB_A_5.mirrored
    alike = landmark_schemes.of_coco(["left_ear", "right_ear", "nose", "left_paw", "right_paw"], None, 5)
    assert alike and alike.mirrored == CELEB_A_5.mirrored and not alike.edges and set(alike.parts) == {"points"}


def test_points_of_ibug_under_other_names_stay_theirs():
    for known in (IBUG_49, IBUG_68):
        renamed = [name.replace("brow", "eyebrow") for name in known.names]
        sideless = [f"{'abc'[i % 3]}{i}" for i in range(len(renamed))]
        for names in (renamed, sideless):
            found = landmark_schemes.of_coco(names, "no skeleton", len(names))
            assert found == known._replace(names=tuple(names)), names
    mixed = ["left_jaw_1", "right_jaw_1", *(f"x{i}" for i in range(66))]
    found = landmark_schemes.of_coco(mixed, None, 68)
    assert found and found.mirrored is None and "not known" in landmark_schemes.described(found, 68)
    assert "left_eye_outer and right_eye_outer" in landmark_schemes.described(None, 49)
    for skeleton in (5, [5], [[1, 2], [0, 1]], [[1]], [[None, 1]]):
        assert landmark_schemes.of_coco(["left_ear", "right_ear"], skeleton, 2).edges == ()


def test_from_prepare_to_every_format_and_back(animals, capsys):
    data = prepared(animals, animals / "data", animals / "points.csv", "--scheme", str(animals / "scheme.json"))
    told = "2 pairs change places in a mirrored picture, and snout, tail stay; errors are told in the distance of snout"
    assert told in capsys.readouterr().out
    points = data.points
    assert points and (points.names, points.mirrored, points.edges, points.unit) == (
        tuple(NAMES),
        MIRRORED,
        EDGES,
        UNIT,
    )

    truth = np.stack([data.source("train")[i]["landmarks"] for i in range(data.splits["train"])])
    kind = kinds.of(data)
    # mirrored pictures are those of the scheme: the kind's own moves, and mirror twice is nothing
    np.testing.assert_allclose(mirror(mirror(truth, points), points), truth, atol=1e-6)
    np.testing.assert_allclose(mirror(truth, points)[:, 1], truth[:, 2] * (-1, 1) + (1, 0), atol=1e-6)
    assert kind.moves is not None
    key, images = jax.random.key(3), np.zeros((len(truth), SIZE, SIZE, 3), np.float32)
    _, moved = kind.moves(key, jax.numpy.asarray(images), jax.numpy.asarray(truth))
    _, expected = moving.with_landmarks(key, jax.numpy.asarray(images), jax.numpy.asarray(truth), points)
    _, numbered = moving.with_landmarks(key, jax.numpy.asarray(images), jax.numpy.asarray(truth))
    np.testing.assert_allclose(moved, expected)
    assert not np.allclose(moved, numbered)  # six points of no scheme are not mirrored

    # errors are told in the distance of the unit
    off = truth + np.float32(0.01)
    apart = np.linalg.norm((truth[:, 0] - truth[:, 5]) * SIZE, axis=-1)
    np.testing.assert_allclose(kind.score(off, truth, data), 100 * 0.01 * SIZE * np.sqrt(2) / apart, rtol=1e-4)

    # drawn with its lines
    shown = [figures.annotated_grid(images, **marks) for marks in ({"landmarks": truth}, kind.marks(truth, data))]
    assert shown[0].tobytes() != shown[1].tobytes()

    # written, and read again to the same scheme by each way
    with kind.writer(animals / "made", {"sampler": "uniform"}, data) as write:
        write(np.zeros((len(truth), 2), np.float32), images.astype(np.uint8), truth)
    (category,) = json.loads((animals / "made" / "annotations.json").read_text())["categories"]
    assert category["keypoints"] == NAMES and category["skeleton"] == [[1, 6], [2, 1]]
    content = open_content(animals / "made")
    assert content.scheme == points
    yolo, tfds = formats.convert(content, ["yolo", "tfds"])
    assert f"flip_idx: {list(MIRRORED)}" in (yolo / "data.yaml").read_text()
    assert open_data(tfds / "data").points == points
    again = prepared(animals / "made", animals / "again", animals / "made" / "annotations.json")
    assert again.points == points
    others = json.loads((animals / "made" / "annotations.json").read_text())
    others["categories"][0]["keypoints"][3:5] = ["paw left", "paw right"]  # somebody gave them other names
    (animals / "other.json").write_text(json.dumps(others))
    renamed = prepared(animals / "made", animals / "renamed", animals / "other.json").points
    assert renamed and renamed.names[3] == "paw left" and renamed.mirrored == MIRRORED and renamed.unit is None
    capsys.readouterr()


def test_the_command_again_is_done_and_another_scheme_is_refused(animals, capsys):
    command = (animals, animals / "data", animals / "points.csv", "--scheme", str(animals / "scheme.json"))
    prepared(*command)
    before = sorted((animals / "data").glob("*.array_record*"))[0].stat().st_mtime_ns
    prepared(*command)
    assert sorted((animals / "data").glob("*.array_record*"))[0].stat().st_mtime_ns == before
    (animals / "scheme.json").write_text(json.dumps(SAID | {"edges": []}))
    with pytest.raises(InputError, match="exists, prepared with landmark_scheme"):
        prepared(*command)
    capsys.readouterr()


def test_other_names_in_coco_are_other_annotations(animals, capsys):
    data = prepared(animals, animals / "data", animals / "points.csv", "--scheme", str(animals / "scheme.json"))
    with kinds.of(data).writer(animals / "made", {"sampler": "uniform"}, data) as write:
        write(np.zeros((2, 2), np.float32), np.zeros((2, SIZE, SIZE, 3), np.uint8), np.full((2, 6, 2), 0.5, np.float32))
    path = animals / "made" / "annotations.json"
    command = (animals / "made", animals / "again", path)
    prepared(*command)
    told = json.loads((animals / "again" / "metadata.json").read_text())
    new = (landmark_schemes.STORED, "scheme")
    old = told | {"command": {k: v for k, v in told["command"].items() if k not in new}}
    (animals / "again" / "metadata.json").write_text(json.dumps(old))  # as before the names were read
    prepared(*command)
    assert "done before" in capsys.readouterr().out
    (animals / "again" / "metadata.json").write_text(json.dumps(told))
    path.write_text(path.read_text().replace("paw one", "paw left").replace("paw two", "paw right"))
    with pytest.raises(InputError, match="exists, prepared with landmark_scheme"):
        prepared(*command)

    # So are names where there were numbers before.
    named = json.loads(path.read_text())
    path.write_text(json.dumps(named | {"categories": [named["categories"][0] | {"keypoints": list("123456")}]}))
    prepared(animals / "made", animals / "numbers", path)
    path.write_text(json.dumps(named))
    with pytest.raises(InputError, match="exists, prepared with landmark_scheme"):
        prepared(animals / "made", animals / "numbers", path)
    capsys.readouterr()


def test_what_is_kept_of_a_scheme_is_what_json_gives_back(animals, tmp_path):
    found = landmark_schemes.read(animals / "scheme.json")
    kept = landmark_schemes.stored(found)
    assert json.loads(json.dumps(kept)) == kept and landmark_schemes.restored(kept, 6) == found
    (tmp_path / "dataset.json").write_text(json.dumps(kept | {"count": 3}))
    assert generated.written_by_this_command(tmp_path, kept | {"count": 3})  # so that a command again is done
    for key, value in (("mirrored", [0, 9]), ("parts", []), ("edges", [[0, 6]]), ("names", NAMES[:3])):
        with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
            landmark_schemes.restored({landmark_schemes.STORED: kept[landmark_schemes.STORED] | {key: value}}, 6)


def test_a_kind_made_from_landmarks_moves_as_the_scheme_says(animals, capsys):
    data = prepared(animals, animals / "data", animals / "points.csv", "--scheme", str(animals / "scheme.json"))
    (animals / "mine.py").write_text(
        "import dataclasses\nfrom began_jax import kinds\nK = dataclasses.replace(kinds.LANDMARKS, plural='dogs')\n"
    )
    kind = kinds.of(data, f"{animals / 'mine.py'}:K")
    assert kind.plural == "dogs" and kind.moves and kind.moves.keywords == {"points": data.points}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheme", "SCHEME", "--points", "49"], "not with --points"),
        (["--scheme", "none.json"], "cannot be read .no such file."),
        (["--scheme", "FIVE"], "names 5 points, and the landmarks are 6"),
    ],
)
def test_a_scheme_that_does_not_fit_is_refused_before_anything_is_written(animals, options, message):
    (animals / "five.json").write_text(json.dumps({"names": NAMES[:5]}))
    places = {"SCHEME": str(animals / "scheme.json"), "FIVE": str(animals / "five.json")}
    with pytest.raises(InputError, match=message):
        prepared(animals, animals / "data", animals / "points.csv", *(places.get(o, o) for o in options))
    assert not (animals / "data").exists()
    with pytest.raises(InputError, match="needs --landmarks"):
        prepare.main(
            ["--images", str(animals / "images"), "--scheme", places["SCHEME"], "--out", str(animals / "data")]
        )


def test_photographs_with_landmarks_of_a_t_take_a_scheme(animals, capsys):
    (animals / "mine.py").write_text(
        "import numpy as np\n\n\ndef points(picture):\n    return np.linspace(0.2, 0.8, 12).reshape(6, 2)\n"
    )
    command = ["faces", "--detector", "whole", "--images", str(animals / "images"), "--height", "16", "--width", "16"]
    command += ["--annotator", f"{animals / 'mine.py'}:points", "--workers", "0", "--out", str(animals / "data")]
    (animals / "five.json").write_text(json.dumps({"names": NAMES[:5]}))
    with pytest.raises(InputError, match="names 5 points, and the landmarks are 6"):
        prepare.main([*command, "--scheme", str(animals / "five.json")])
    prepare.main([*command[:-1], str(animals / "other"), "--scheme", str(animals / "scheme.json")])
    found = open_data(animals / "other").points
    assert found and found.mirrored == MIRRORED
    capsys.readouterr()


def test_a_scheme_is_of_landmarks_alone(animals, capsys):
    (animals / "mine.py").write_text("import numpy as np\n\n\ndef tall(p):\n    return np.array([1.0, 0.0])\n")
    command = ["faces", "--detector", "whole", "--images", str(animals / "images"), "--height", "16", "--width", "16"]
    command += ["--annotator", f"{animals / 'mine.py'}:tall", "--workers", "0", "--out", str(animals / "data")]
    with pytest.raises(InputError, match="annotated with attributes, and a scheme is of landmarks"):
        prepare.main([*command, "--scheme", str(animals / "scheme.json")])
    prepare.main(command)  # the work that is done goes on without it
    capsys.readouterr()


def test_an_error_of_known_points_is_told_in_the_distance_of_the_eyes():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(3, 49, 2)).astype(np.float32)
    off = truth + rng.normal(size=truth.shape).astype(np.float32) / 50
    found = metrics.nme_percent(off, truth, 16, 16)
    eyes = np.linalg.norm((truth[:, 19] - truth[:, 28]) * 16, axis=-1)
    np.testing.assert_allclose(found * eyes, 100 * np.linalg.norm((off - truth) * 16, axis=-1).mean(1), rtol=1e-4)
    without = metrics.nme_percent(off, truth, 16, 16, scheme(49)._replace(unit=None))
    box = np.linalg.norm((truth.max(1) - truth.min(1)) * 16, axis=-1)
    np.testing.assert_allclose(without * box, 100 * np.linalg.norm((off - truth) * 16, axis=-1).mean(1), rtol=1e-4)

"""Files of landmarks as people have them: each point is read as it is meant, or its file is refused."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import prepare
from began_jax import aspects, gaussian_process, metrics, moving, student
from began_jax.configs import AspectConfig
from began_jax.data.datasets import open_data, ordered
from began_jax.data.landmark_files import match_landmarks
from began_jax.data.landmark_formats import OUTER_CORNER, read
from began_jax.errors import InputError
from began_jax.export.coco import coco_writer
from began_jax.landmarks import IBUG_49, IBUG_68, POINTS_49, completed, mirror
from began_jax.models.mlp import LandmarkNetwork
from began_jax.run import closed_form

IDS = [f"{n}.jpg" for n in range(6)]
HEAD = "name,x0,y0,x1,y1,x2,y2\n"
HEAD_V = "file_name,x0,y0,v0,x1,y1,v1,x2,y2,v2\n"
POINTS = np.random.default_rng(0).uniform(5, 40, (6, 3, 2)).round(2).astype(np.float32)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for name in IDS:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)).save(
            tmp_path / "images" / name
        )
    return tmp_path / "images"


def table(points, names=IDS, head=HEAD):
    rows = (
        ",".join([name, *("" if np.isnan(v) else f"{v:g}" for v in p.ravel())])
        for name, p in zip(names, points, strict=True)
    )
    return head + "".join(f"{row}\n" for row in rows)


def matched(path, **options):
    return match_landmarks(path, IDS, path.parent, **options)


def with_absent(value):
    points = POINTS.copy()
    points[1::2, 2] = value
    return points


def test_tables_of_spreadsheets(tmp_path):
    text = "\ufeff" + table(POINTS)
    (tmp_path / "utf16.csv").write_bytes(text.encode("utf-16-le"))
    (tmp_path / "tabs.csv").write_bytes(text.replace(",", "\t").encode("utf-16-be"))
    (tmp_path / "semicolons.csv").write_text(table(POINTS).replace(",", ";").replace("\n", "\r\n"))
    decimal_comma = table(POINTS).replace(",", ";").replace(".", ",").replace(",jpg", ".jpg")
    (tmp_path / "comma.csv").write_text(decimal_comma)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(matched(path).points, POINTS, err_msg=path.name)
    (tmp_path / "thousands.csv").write_text(table(POINTS).replace("0.jpg,", '0.jpg,"1,234",', 1))
    with pytest.raises(InputError, match="line 2 has 8 fields, the header 7"):
        read(tmp_path / "thousands.csv")
    (tmp_path / "quoted.csv").write_text(HEAD + 'a.jpg,"1,234",2,3,4,5,6\n')
    with pytest.raises(InputError, match="line 2: could not convert string to float: '1,234'"):
        read(tmp_path / "quoted.csv")
    for name in ("windows.csv", "windows.jsonl", "windows.json", "windows.txt"):
        (tmp_path / name).write_bytes(HEAD.encode() + "ü.jpg,1,2,3,4,5,6\n".encode("cp1252"))
        with pytest.raises(InputError, match=f"--landmarks .*{name}: line 2 is not in UTF-8; save the file in UTF-8"):
            read(tmp_path / name)


def test_every_way_to_say_that_a_point_is_absent(tmp_path):
    expected = with_absent(np.nan)
    (tmp_path / "empty.csv").write_text(table(expected))
    (tmp_path / "minus.csv").write_text(table(with_absent(-1)))
    seen = np.where(np.isnan(expected[..., :1]), 0, 2)
    text = "\ufeff" + table(np.concatenate([with_absent(0), seen], -1), head=HEAD_V)
    (tmp_path / "v.csv").write_bytes(text.replace("\n", "\r\n").encode())
    np.savez(tmp_path / "nan.npz", name=IDS, landmarks=expected)
    np.savez(tmp_path / "v.npz", name=IDS, landmarks=with_absent(0), visible=seen[..., 0] > 0)
    notes = {}
    for name in ("empty.csv", "minus.csv", "v.csv", "nan.npz", "v.npz"):
        found = matched(tmp_path / name)
        np.testing.assert_array_equal(found.points, expected, err_msg=name)
        notes[name] = found.notes
    assert notes.pop("minus.csv") == ["3 landmarks at (-1, -1) are taken as absent"] and not any(notes.values())


def test_what_cannot_be_meant_is_refused_with_a_remedy(tmp_path):
    path = tmp_path / "points.csv"
    half, unsaid = POINTS.copy(), table(POINTS).replace(str(POINTS[0, 0, 0]), "NA", 1)
    half[2, 1, 0] = np.nan
    for text, message in (
        (table(with_absent(0)), r"3 points lie at \(0, 0\), the first of 1\.jpg; leave the fields of an absent"),
        (table(half), r"1 rows; the first is 2\.jpg; give both x and y"),
        (table(POINTS / 48), "looks like fractions"),
        (unsaid, "line 2: could not convert string to float: 'NA'; leave the fields of an absent point empty"),
        (table(POINTS) + table(POINTS, head=""), r"0\.jpg is there twice"),
        (table(POINTS, ["no" + name for name in IDS]), r"for 0 of 6 .* the first name in the file is no0\.jpg"),
        (
            table(np.concatenate([POINTS, POINTS[..., :1] * 0 + 3], -1), head="name,x0,y0,v0,x1,y1,v1,x2,y2,v2\n"),
            "visibility 3",
        ),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            matched(path, gaps=True)


def coco(path, points, visible, **changes):
    pictures = [{"id": 7 + i, "file_name": name, "width": 48, "height": 48} for i, name in enumerate(IDS)]
    found = [
        {"id": i, "image_id": 7 + i, "category_id": 1, "keypoints": np.c_[p, v].ravel().tolist()}
        for i, (p, v) in enumerate(zip(points, visible, strict=True))
    ]
    category = {"id": 1, "name": "face", "keypoints": list("abc")}
    document = {"images": pictures, "annotations": found, "categories": [category], **changes}
    path.write_text(json.dumps(document))
    return path


def test_coco_keypoints_are_pixel_positions(tmp_path):
    visible = np.full((6, 3), 2)
    visible[0, 1], visible[3, 2] = 0, 1
    points = np.where(visible[..., None] == 0, 0, POINTS)
    path = coco(tmp_path / "person_keypoints.json", points, visible)
    found = matched(path)
    np.testing.assert_allclose(found.points, np.where(visible[..., None] == 0, np.nan, POINTS))
    assert found.sizes == dict.fromkeys(IDS, (48, 48))
    older = coco(tmp_path / "older.json", POINTS + 0.5, visible * 0 + 2, info={"description": OUTER_CORNER})
    np.testing.assert_allclose(matched(older).points, POINTS, atol=1e-5)
    document = json.loads(path.read_text())
    twice = coco(tmp_path / "twice.json", points, visible, annotations=document["annotations"] * 2)
    with pytest.raises(InputError, match="is there twice"):
        matched(twice)
    with pytest.raises(InputError, match="is no COCO data set"):
        matched(coco(tmp_path / "none.json", points, visible) if path.write_text("[]") is None else path)


def test_pts_files_count_pixels_from_one(tmp_path, images):
    for name, points in zip(IDS, POINTS, strict=True):
        lines = "".join(f"{x:.3f} {y:.3f}\n" for x, y in points + 1)
        (images / name).with_suffix(".pts").write_text(f"version: 1\nn_points: 3\n{{\n{lines}}}\n")
    np.testing.assert_allclose(match_landmarks(images, IDS, images).points, POINTS, atol=1e-3)
    (images / "0.png").write_bytes((images / "0.jpg").read_bytes())
    with pytest.raises(InputError, match=r"0 may be 0\.jpg or 0\.png"):
        match_landmarks(images, [*IDS, "0.png"], images)
    (images / "1.pts").write_text("version: 1\nn_points: 3\n{\n0 0\n1 1\n2 2\n}\n")
    with pytest.raises(InputError, match=r"1 points lie at \(0, 0\), the first of 1"):
        read(images)
    (images / "1.pts").write_text("version: 1\nn_points: 3\n{\n-1 -1\n1 1\n2 2\n}\n")
    assert np.isnan(read(images).points[1, 0]).all()
    (images / "0.pts").write_text("n_points: 4\n{\n1 1\n}\n")
    with pytest.raises(InputError, match=r"0\.pts: is no \.pts file"):
        read(images)


def test_arrays_of_python_objects_are_refused_with_what_to_save(tmp_path):
    """As numpy.savez writes a column of names of pandas."""
    np.savez(tmp_path / "a.npz", name=np.array(IDS, object), landmarks=POINTS)
    with pytest.raises(InputError, match=r"holds Python objects; save numbers, and names by numpy"):
        read(tmp_path / "a.npz")


def test_lists_of_other_sets(tmp_path):
    points = np.random.default_rng(2).uniform(1, 40, (2, 98, 2)).round(3)
    names = ["37--Soccer/37 Soccer.jpg", "a.jpg"]
    lines = [" ".join([*map(str, p.ravel()), *"1234", *"010010", n]) for p, n in zip(points, names, strict=True)]
    (tmp_path / "wflw.txt").write_bytes("\r\n".join(lines).encode())
    np.testing.assert_allclose(match_landmarks(tmp_path / "wflw.txt", names, tmp_path).points, points, rtol=1e-6)
    assert match_landmarks(tmp_path / "wflw.txt", names, tmp_path, only=49).points.shape == (2, 49, 2)
    (tmp_path / "minus.txt").write_text(
        " ".join([*["-1"] * 4, *map(str, points[1].ravel()[4:]), *"1234", *"010010", "a.jpg"])
    )
    assert np.isnan(match_landmarks(tmp_path / "minus.txt", names[1:], tmp_path).points[0, :2]).all()
    rows = [{"file_name": n, "landmarks": p[:3].tolist()} for p, n in zip(points, names, strict=True)]
    rows[0]["landmarks"][1] = [None, None]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = match_landmarks(tmp_path / "metadata.jsonl", names, tmp_path).points
    assert np.isnan(found[0, 1]).all()
    np.testing.assert_allclose(found[1], points[1, :3], rtol=1e-6)
    for text, message in (("1 2 a.jpg", "line 1 is none of WFLW"), ("", "holds no line")):
        (tmp_path / "wflw.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            read(tmp_path / "wflw.txt")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg"}')
    with pytest.raises(InputError, match="line 1 has not file_name and landmarks"):
        read(tmp_path / "metadata.jsonl")


def test_names_are_the_same_however_they_are_spelt(tmp_path):
    ids = ["Mu\u0308ller.jpg", "b/c d.jpg"]
    (tmp_path / "a.csv").write_text(table(POINTS[:2], [".\\M\u00fcller.jpg", "./b\\c d.jpg"]))
    np.testing.assert_array_equal(match_landmarks(tmp_path / "a.csv", ids, tmp_path).points, POINTS[:2])


def test_the_49_of_larger_sets(tmp_path):
    assert [IBUG_68.names[i] for i in POINTS_49[68]] == list(IBUG_49.names)
    assert sorted(i for part in IBUG_68.parts.values() for i in part) == list(range(68))
    points = np.random.default_rng(1).uniform(0, 1, (2, 68, 2))
    chosen = list(POINTS_49[68])
    np.testing.assert_array_equal(mirror(points)[:, chosen], mirror(points[:, chosen]))
    head = "name," + ",".join(f"{a}{i}" for i in range(68) for a in "xy") + "\n"
    (tmp_path / "68.csv").write_text(table(points * 40, IDS[:2], head))
    found = match_landmarks(tmp_path / "68.csv", IDS[:2], tmp_path, only=49).points
    np.testing.assert_allclose(found, points[:, chosen] * 40, rtol=1e-4)
    with pytest.raises(InputError, match="has 3 points; the 49 are known of 68, 98"):
        (tmp_path / "a.csv").write_text(table(POINTS))
        matched(tmp_path / "a.csv", only=49)
    for count in POINTS_49:
        assert len(set(POINTS_49[count])) == 49 and list(POINTS_49[count]) == sorted(POINTS_49[count])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(8, 90), st.integers(8, 90), st.floats(0, 0.6))
def test_what_is_exported_as_coco_and_read_again_is_the_same(tmp_path_factory, seed, points, height, width, share):
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(-0.2, 1.2, (4, points, 2)).astype(np.float32)
    absent = rng.uniform(size=(4, points)) < share
    absent[:, 0] = False
    landmarks[absent] = np.nan
    out = tmp_path_factory.mktemp("coco") / "out"
    with coco_writer(out, {}) as write:
        write(np.zeros((4, 2), np.float32), np.zeros((4, height, width, 1), np.float32), landmarks)
    found = read(out / "annotations.json").points
    np.testing.assert_allclose((found + 0.5) / (width, height), landmarks, atol=1e-3)


def test_absent_points_go_the_way_to_the_data_set(tmp_path, images, capsys):
    path = coco(tmp_path / "a.json", with_absent(0), np.where(with_absent(0)[..., 0] == 0, 0, 2))
    options = ["--images", str(images), "--landmarks", str(path), "--height", "24", "--width", "24"]
    prepare.main([*options, "--out", str(tmp_path / "folder")])
    assert "with 3 landmarks, 3 of 18 absent -> " in capsys.readouterr().out
    prepare.main(["faces", *options, "--detector", "whole", "--out", str(tmp_path / "faces"), "--workers", "0"])
    for name in ("folder", "faces"):
        got = ordered(open_data(tmp_path / name).source("train"), 0, 6)
        np.testing.assert_allclose(got["landmarks"], (with_absent(np.nan) + 0.5) / 48, atol=1e-6)
    Image.new("RGB", (40, 48)).save(images / "3.jpg")
    with pytest.raises(InputError, match=r"3\.jpg: has 40x48 pixels, and its landmarks are of one with 48x48"):
        prepare.main([*options, "--out", str(tmp_path / "other")])


def test_a_point_that_is_absent_in_all_pictures_is_said_and_given_to_nobody(tmp_path, images, capsys):
    path = coco(tmp_path / "a.json", POINTS * [[1], [0], [1]], np.tile([2, 0, 2], (6, 1)))
    options = ["--images", str(images), "--landmarks", str(path), "--height", "24", "--width", "24"]
    for kind in ([], ["faces", "--detector", "whole", "--workers", "0"]):
        out = tmp_path / f"out{len(kind)}"
        prepare.main([*kind, *options, "--out", str(out)])
        assert "with 3 landmarks, 6 of 18 absent, point 1 (from 0) in all -> " in capsys.readouterr().out
        data = open_data(out)
        truth = ordered(data.source("train"), 0, 6)["landmarks"]
        assert np.isnan(truth[:, 1]).all() and np.isfinite(truth[:, [0, 2]]).all()
        known = data.known(np.zeros((4, 3, 2)))
        assert np.isnan(known[:, 1]).all() and not known[:, [0, 2]].any()
        others = np.linalg.norm(truth[:, 0] - truth[:, 2], axis=-1)  # the box is that of the points that are there
        moved = np.nan_to_num(truth) + np.float32([0.1, 0])
        np.testing.assert_allclose(metrics.nme_percent(moved, truth, 1, 1), 10 / others, rtol=1e-4)


def test_a_point_that_a_split_never_shows_is_refused_and_so_is_a_list_that_has_changed(tmp_path, images):
    path = tmp_path / "a.csv"
    path.write_text(table(POINTS[:4], IDS[:4]))
    options = ["--images", str(images), "--landmarks", str(path), "--partial", "--height", "24", "--width", "24"]
    prepare.main([*options, "--out", str(tmp_path / "out")])
    path.write_text(table(POINTS))
    with pytest.raises(InputError, match=r"exists, prepared with annotations .*, and now .*; remove it"):
        prepare.main([*options, "--out", str(tmp_path / "out")])
    path.write_text(table(with_absent(np.nan)))
    seen = with_absent(np.nan)
    seen[2, 2] = np.nan  # a point that pictures 0 and 4 alone show
    path.write_text(table(seen))
    options += ["--holdout", "0.3", "--group-regex", "[04]"]
    with pytest.raises(InputError, match=r"point 2 \(from 0\) is absent in all \d pictures of the (train|test) split"):
        prepare.main([*options[:-2], "--group-regex", "[0-9]", "--seed", "3", "--out", str(tmp_path / "split")])


def test_absent_values_teach_nothing_and_count_for_nothing():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (60, 8)).astype(np.float32)
    truth = (z[:, :3] @ rng.normal(size=(3, 10)).astype(np.float32)).reshape(60, 5, 2) / 20 + 0.5
    targets = truth.copy()
    absent = rng.uniform(size=(60, 5)) < 0.3
    targets[absent] = np.nan
    given = jax.numpy.asarray(targets)
    assert aspects.have_absent(given) and not aspects.have_absent(jax.numpy.asarray(truth))
    config = AspectConfig(epochs=2, batch_size=10, validation=0.2)
    network = LandmarkNetwork(5)

    def trained(values):
        trainer = aspects.Trainer(config, network, jax.numpy.asarray(z), values)
        state = aspects.init(config, network, 8)
        for _ in range(2):
            state, figures = trainer.epoch(state)
        return state, figures

    state, figures = trained(given)
    assert np.isfinite(float(figures["loss"])) and np.isfinite(float(figures["validation_loss"]))
    predicted = np.asarray(aspects.predict(network, state.best_parameters, jax.numpy.asarray(z)))
    by_hand = [((predicted[i] - truth[i])[~absent[i]] ** 2).mean() for i in range(60)]
    error = aspects.squared_error(jax.numpy.asarray(predicted), given, True)
    np.testing.assert_allclose(error, by_hand, rtol=1e-5)
    np.testing.assert_allclose(metrics.rms_error(predicted, targets), np.sqrt(by_hand), rtol=1e-5)
    distances = np.linalg.norm(predicted - truth, axis=-1)
    whole = completed(targets)
    scale = np.linalg.norm(whole.max(1) - whole.min(1), axis=-1)
    means = np.array([distances[i][~absent[i]].mean() for i in range(60)])
    np.testing.assert_allclose(metrics.nme_percent(predicted, targets, 1, 1), 100 * means / scale, rtol=1e-5)
    np.testing.assert_array_equal(whole[~absent], truth[~absent])
    assert np.abs(whole - truth)[absent].mean() < 0.5 * np.abs(truth - truth.mean(0))[absent].mean()
    np.testing.assert_array_equal(completed(truth), truth)
    process = closed_form.fit(config, z, targets)
    answers = process.left_out + 0.1
    there = ~np.isnan(process.targets)
    apart, missing = answers - process.left_out, process.targets - process.left_out
    best = np.clip((apart * missing)[there].sum() / (apart[there] ** 2).sum(), 0, 1)
    share = (best * len(apart)) / (len(apart) + closed_form.HALF)
    np.testing.assert_allclose(process.share(answers), share, rtol=1e-4)
    fitted = gaussian_process.fit(z, targets)
    assert all(np.isfinite(values).all() for values in fitted.process) and np.isfinite(fitted.left_out).all()
    broken = predicted.copy()
    broken[:, 2] = np.nan  # an answer that is none is no absent truth
    assert np.isnan(metrics.nme_percent(broken, targets, 1, 1)).any()
    assert np.isfinite(metrics.Ridge(z, targets)(z)).all()


def test_a_student_learns_from_what_is_there():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (8, 16, 16, 1), np.uint8)
    points = rng.uniform(0.2, 0.8, (8, 5, 2)).astype(np.float32)
    points[::2, 3] = np.nan
    network = student.network("landmarks", (5, 2), 16, 16)
    parameters = student.fit(
        network, [(images, points)], student.Recipe(steps=2, batch_size=4), moves=moving.with_landmarks
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters))

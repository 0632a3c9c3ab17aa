"""Files whose plain reading would be wrong: read as they are meant, or refused in one line."""

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from ways import ROOT, call, done

from began_jax.data import mask_planes
from began_jax.data.attribute_files import match_attributes
from began_jax.data.celeba import read_attributes
from began_jax.data.datasets import open_data
from began_jax.data.landmark_files import match_landmarks
from began_jax.data.mask_files import inside, match_masks, read_mask
from began_jax.data.mask_shapes import holds_shapes, match_shapes
from began_jax.errors import InputError
from began_jax.images import read_image, upright_size

IDS = [f"p{i}.png" for i in range(4)]
HALF = np.arange(16)[:, None].repeat(16, 1) < 8
SQUARE = [[0, 0], [8, 0], [8, 16], [0, 16]]


def text(path, *lines):
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def pictures(folder, ids=IDS, shift=0, make=lambda i: np.full((16, 16, 3), 10 * i, np.uint8)):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(ids):
        Image.fromarray(make(i + shift)).save(folder / name)
    return folder


def masks_of(folder, values=None, ids=IDS):
    """Return the masks of a folder of files, and how they were chosen."""
    found = match_masks(folder, ids, False).of
    chosen = inside(list(found.values()), "here", values)
    return np.stack([read_mask(found[name], chosen)[..., 0] for name in ids])


def test_a_command_is_done_only_where_pictures_and_masks_hold_what_they_held(tmp_path):
    images = pictures(tmp_path / "I")
    given = ["--images", images, "--height", 16, "--width", 16]
    done("prepare.py", None, *given, "--out", tmp_path / "plain")
    assert "done before" in done("prepare.py", None, *given, "--out", tmp_path / "plain")
    masks = tmp_path / "M"
    masks.mkdir()
    for rows in (4, 12):  # of one length in bytes
        for name in IDS:
            Image.fromarray((np.arange(16)[:, None] < rows).repeat(16, 1)).convert("L").save(
                masks / name.replace("png", "bmp")
            )
        status, _, said = call("prepare.py", None, *given, "--masks", masks, "--out", tmp_path / "masked")
        assert status == (0 if rows == 4 else 2), said
    assert "prepared with content" in said
    pictures(images, shift=1)
    status, _, said = call("prepare.py", None, *given, "--out", tmp_path / "plain")
    assert status == 2 and "prepared with content" in said


def test_names_of_labelme_may_have_dots(tmp_path):
    for name, width in (("a.1", 16), ("b", 8)):
        shapes = [{"label": "iris", "shape_type": "rectangle", "points": [[0, 0], [width, 16]]}]
        text(tmp_path / f"{name}.json", json.dumps({"shapes": shapes}))
    found = match_shapes(tmp_path, ["a.png", "a.1.png", "b.png"], True)
    assert sorted(found.of) == ["a.1.png", "b.png"] and found.read("a.1.png", 16, 16).all()


def test_of_labelme_only_shapes_of_the_class_that_is_inside_must_have_an_area(tmp_path):
    corners = [[0, 0], [8, 0], [8, 16], [0, 16]]
    shapes = [
        {"label": "iris", "shape_type": "rectangle", "points": corners},  # as some programs write one
        {"label": "iris", "shape_type": None, "points": [[8, 0], [12, 0], [12, 16], [8, 16]]},
        {"label": "centre", "shape_type": "point", "points": [[3, 3]]},
    ]
    for name in "ab":
        text(tmp_path / f"{name}.json", json.dumps({"shapes": shapes}))
    text(tmp_path / "classes.json", "{}")
    pictures(tmp_path, ["a.png", "b.png"])
    images = pictures(tmp_path.with_name("images"), ["a.png", "b.png", "c.png"])
    assert holds_shapes(tmp_path, images)
    (tmp_path / "classes.json").unlink()
    assert holds_shapes(tmp_path, images)  # as many files as copies of the images
    assert not holds_shapes(tmp_path, tmp_path.with_name("elsewhere"))  # they may be masks
    for name in "ab":  # drawn in pictures of another format, whose names are told
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}.jpg")
        text(tmp_path / f"{name}.json", json.dumps({"shapes": shapes, "imagePath": f"{name}.jpg"}))
    assert holds_shapes(tmp_path, images)
    found = match_shapes(tmp_path, ["a.png", "b.png"], False, "iris")
    np.testing.assert_array_equal(found.read("a.png", 16, 16)[..., 0], np.arange(16)[None].repeat(16, 0) < 12)
    with pytest.raises(InputError, match=r"centre of a.png is a point; polygons, rectangles"):
        match_shapes(tmp_path, ["a.png", "b.png"], False, "iris,centre")
    for kind, points, said in (
        ("polygon", corners[:2], "an outline of 2"),
        ("circle", corners[:1], "is a circle of 1"),
    ):
        text(tmp_path / "c.json", json.dumps({"shapes": [{"label": "iris", "shape_type": kind, "points": points}]}))
        with pytest.raises(InputError, match=f"iris of c.png .*{said} point"):
            match_shapes(tmp_path, ["a.png", "b.png", "c.png"], False, "iris")
    (tmp_path / "c.json").unlink()
    for path in tmp_path.glob("[ab].json"):
        path.write_text(path.read_text().replace("iris", "iris, left"))
    assert match_shapes(tmp_path, ["a.png", "b.png"], False, "iris, left").read("b.png", 16, 16).sum() == 192


def test_class_numbers_in_one_channel_are_no_tint(tmp_path):
    def numbers(i):
        found = np.zeros((16, 16, 3), np.uint8)
        found[:, :4, 0], found[:, 4:8, 0], found[:, 8:12, 0] = 4, 12, 7
        return found

    pictures(tmp_path, make=numbers)
    with pytest.raises(InputError, match="no mask holds a value of --mask-values 4; the masks hold the colours #0"):
        masks_of(tmp_path, "4")
    wanted = np.arange(16)[None].repeat(16, 0) < 4
    np.testing.assert_array_equal(masks_of(tmp_path, "#040000")[0], wanted)
    pictures(tmp_path, make=lambda i: (numbers(i) > 0).astype(np.uint8) * (1 + i % 2))
    with pytest.raises(InputError, match="the masks hold the colours"):
        masks_of(tmp_path)


def test_a_tint_of_all_channels_is_none(tmp_path):
    warm = np.array([255, 250, 245])
    pictures(tmp_path, make=lambda i: (HALF[..., None] * warm).astype(np.uint8))
    np.testing.assert_array_equal(masks_of(tmp_path), np.stack([HALF] * 4))


def test_masks_of_colours_may_be_stored_grey_where_they_have_none(tmp_path):
    white = HALF[..., None].repeat(3, 2) * np.uint8(255)
    red = white.copy()
    red[12:, :, 0] = 255
    pictures(tmp_path, make=lambda i: red if i else white[..., 0])
    np.testing.assert_array_equal(masks_of(tmp_path, "#ffffff"), np.stack([HALF] * 4))
    pictures(tmp_path, make=lambda i: white[..., 0])
    np.testing.assert_array_equal(masks_of(tmp_path, "#ffffff"), np.stack([HALF] * 4))
    pictures(tmp_path, make=lambda i: white * np.array([0, 0, 1], np.uint8) if i else white[..., 0])
    with pytest.raises(InputError, match="#0000ff"):
        masks_of(tmp_path)


def test_jpeg_of_the_best_quality_has_two_values_and_others_with_a_1_have_three(tmp_path):
    noise = np.random.default_rng(0).random((16, 16)) < 0.1
    for i, name in enumerate(IDS):
        near = np.where(HALF, 255 - noise, noise).astype(np.uint8)
        Image.fromarray(near).save(tmp_path / name.replace("png", "jpg"), quality=100 if i else 95)
    np.testing.assert_array_equal(masks_of(tmp_path), np.stack([HALF] * 4))
    for path in tmp_path.iterdir():
        path.unlink()
    pictures(tmp_path, make=lambda i: np.where(HALF, 255, noise).astype(np.uint8))
    with pytest.raises(InputError, match="say which are inside"):
        masks_of(tmp_path)


def test_of_jpeg_no_exact_values_are_taken(tmp_path):
    classes = np.pad(np.full((8, 8), 255, np.uint8), 12, constant_values=128)
    classes = np.pad(classes, 8)
    blue = np.stack([0 * classes, 0 * classes, classes], -1)
    for values, given, said in (
        (classes, "128", "near to --mask-values 128, but not equal; .* a range, such as 100-160, or 1.5-2.5 for 2"),
        (blue, "#000080", "near to --mask-values #000080, but not equal; store exact colours, as PNG"),
        (blue, None, "JPEG blurs colours, so store exact colours, as PNG"),
    ):
        for i in range(4):
            Image.fromarray(np.roll(values, i, 0)).save(tmp_path / f"p{i}.jpg", quality=85)
        with pytest.raises(InputError, match=said):
            masks_of(tmp_path, given)
    for i in range(4):
        Image.fromarray(classes).save(tmp_path / f"p{i}.jpg", quality=85)
    np.testing.assert_allclose(masks_of(tmp_path, "64-190").mean(), (classes == 128).mean(), atol=0.02)
    again = [np.asarray(Image.open(tmp_path / f"p{i}.jpg")) for i in range(4)]
    for path in tmp_path.iterdir():
        path.unlink()
    pictures(tmp_path, make=again.__getitem__)  # what was JPEG once
    with pytest.raises(InputError, match="near to --mask-values 128, but not equal; leave it out"):
        masks_of(tmp_path, "128")
    for side in (8, 2):  # of which the latter has no even area
        block = np.ones((side, side), np.uint8)
        pictures(tmp_path, make=lambda i, block=block: np.kron(np.arange(36, dtype=np.uint8).reshape(6, 6), block))
        assert masks_of(tmp_path, "5").mean() == 1 / 36  # many classes are no blur
    soft = np.hypot(*np.mgrid[-8:8, -8:8]).astype(np.float32).clip(3, 7)  # of one even area, from 1 inside to 0
    for name in IDS:
        (tmp_path / name).unlink()
        Image.fromarray((7 - soft) / 4).save((tmp_path / name).with_suffix(".tif"))
    with pytest.raises(InputError, match="the masks are blurred, as by JPEG"):
        masks_of(tmp_path, "0.5")


def coco(path, annotations, names=IDS, **more):
    images = [{"id": i, "file_name": name} | more for i, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "iris"}]}
    return text(path, json.dumps(content))


def test_coco_masks_are_of_their_pictures_size_or_refused(tmp_path):
    def read(segmentation, **more):
        each = [{"id": i, "image_id": i, "category_id": 1, "segmentation": segmentation} | more for i in range(4)]
        return match_shapes(coco(tmp_path / "c.json", each), IDS, False).read("p0.png", 16, 16)[..., 0]

    np.testing.assert_array_equal(read({"size": [16, 16], "counts": [0, 128, 128]}), HALF.T)
    np.testing.assert_array_equal(read(np.ravel(SQUARE).tolist()), HALF.T)  # the one ring alone
    triangle = [[0, 0], [16, 0], [0, 16]]
    beside = [20, 0, 24, 0, 24, 9]  # a sliver that the drawing hand left outside
    for same in ([np.ravel(triangle).tolist()], [triangle], [np.ravel(triangle).tolist(), [], beside]):
        np.testing.assert_array_equal(read(same), np.add.outer(range(16), range(16)) < 16)
    assert not read([[0, -2, 16, -2, 16, -0.2]]).any()  # rounding put it outside
    for wrong, said in (
        (dict(segmentation={"size": [8, 32], "counts": [0, 128, 128]}), "run lengths of 32x8 for p0.png, of 16x16"),
        (dict(segmentation={"size": [16, 16], "counts": [0, 128]}), "run lengths of 128 for p0.png, of 16x16 pixels"),
        (dict(segmentation=[], bbox=[0, 0, 8, 8]), "iris of p0.png has no segmentation"),
        (dict(segmentation=[[], []]), "iris of p0.png has an outline of 0 points"),
        (dict(segmentation=[[0, 0, 8, 8]]), "iris of p0.png has an outline of 2 points"),
        (dict(segmentation=[[0, 0, 8, 8, 3]]), "iris of p0.png has an outline of 5 numbers, which are no pairs"),
        (dict(segmentation=[[0, 0, 8, 0, 8, float("nan")]]), "iris of p0.png has a point that is no number"),
        (dict(segmentation=[[0, 0, 8, 0, 8, None]]), "iris of p0.png has a point that is no number"),
        (
            dict(segmentation=[[0, 0, 0.5, 0, 0.5, 1]]),
            "all coordinates of p0.png lie within 1, which looks like fractions",
        ),
        (
            dict(segmentation=[[0, 0, 8, 0, 8, 40]]),
            r"p0.png reaches from \(0, 0\) to \(8, 40\), outside its 16x16",
        ),
        (dict(segmentation=[[20, 0, 24, 0, 24, 9]]), r"reaches from \(20, 0\) to \(24, 9\), outside its 16x16"),
        (dict(segmentation=[SQUARE], category_id="1"), "an annotation is of category_id '1', which is not in its list"),
        (dict(segmentation=[SQUARE], image_id=9), "an annotation is of image_id 9, which is not in its list"),
    ):
        with pytest.raises(InputError, match=said):
            read(**wrong)


def test_a_sliver_in_a_corner_is_no_fraction(tmp_path):
    rings = [SQUARE, SQUARE, SQUARE, [[0, 0], [1.2, 0], [0, 1.2]]]
    for last, said in ((rings[3], ""), ([[0.3, 0.4], [0.6, 0.4], [0.6, 0.7]], "p3.png lie within 0.7, which looks")):
        own = [*rings[:3], last]
        each = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [own[i]]} for i in range(4)]
        path = coco(tmp_path / "c.json", each)
        if said:
            with pytest.raises(InputError, match=said):
                match_shapes(path, IDS, False)
        else:
            assert match_shapes(path, IDS, False).read("p3.png", 16, 16).sum() == 1


def test_a_coco_file_has_each_id_and_each_picture_once(tmp_path):
    found = [{"id": 0, "image_id": 1, "category_id": 1, "segmentation": [np.ravel(SQUARE).tolist()]}]
    points = [{"id": 0, "image_id": 1, "category_id": 1, "keypoints": [3, 4, 2]}]
    path = coco(tmp_path / "c.json", found)
    content = json.loads(path.read_text())
    text(path, json.dumps(content | {name: 2 * content[name] for name in ("images", "categories")}))
    assert match_shapes(path, IDS, True).read("p1.png", 16, 16).any()  # of joined files, which repeat what they share
    for change, said in (
        (lambda c: c["images"][0].update(id=1), "id 1 is twice among its images"),
        (lambda c: c["images"][0].update(file_name="p2.png"), r"file_name p2\.png is twice among its images"),
        (lambda c: c["categories"].append({"id": 1, "name": "pupil"}), "id 1 is twice among its categories"),
    ):
        for annotations, read in ((found, match_shapes), (points, lambda p, ids, _: match_landmarks(p, ids, p, True))):
            content = json.loads(coco(path, annotations).read_text())
            change(content)
            text(path, json.dumps(content))
            with pytest.raises(InputError, match=said):
                read(path, IDS, True)


def test_a_picture_that_is_listed_without_a_shape_is_not_annotated_with_partial(tmp_path):
    listed = [{"id": 0, "image_id": 0, "category_id": 1, "segmentation": [np.ravel(SQUARE).tolist()]}]
    path = coco(tmp_path / "c.json", listed)
    assert not match_shapes(path, IDS, False).read("p1.png", 16, 16).any()  # all are annotated, three of them empty
    few = match_shapes(path, IDS, True)
    assert list(few.of) == ["p0.png"] and "3 pictures are listed without a shape" in few.notes[0]
    images = pictures(tmp_path / "I")
    given = ["--images", images, "--masks", path, "--partial", "--height", 16, "--width", 16]
    said = done("prepare.py", None, *given, "--out", tmp_path / "out")
    assert "3 pictures are listed without a shape" in said and "with masks for 1 of them" in said


def test_cvat_with_a_picture_twice_is_refused(tmp_path):
    polygon = '<polygon label="iris" points="0,0;8,0;8,16"/>'
    image = '<image name="{}" width="16" height="16">{}</image>'
    every = [image.format("p0.png", polygon), image.format("p0.png", "")]
    path = text(tmp_path / "a.xml", "<annotations>", *every, "</annotations>")
    with pytest.raises(InputError, match=r"p0.png is there twice"):
        match_shapes(path, ["p0.png"], False)


def test_unknown_attributes_are_no_answer(tmp_path):
    for name, lines in (
        ("a.csv", ("file_name,a,b", "p0.png,-1,1", "p1.png,1,1", "p2.png,0,1", "p3.png,1,1")),
        ("a.txt", ("4", "a b", "p0.png -1 1", "p1.png 1 1", "p2.png 0 1", "p3.png 1 1")),
    ):
        with pytest.raises(InputError, match="column a holds 0 and -1, of which one is no and the other unknown"):
            match_attributes(text(tmp_path / name, *lines), IDS)
    with pytest.raises(InputError, match="holds 0 and -1"):
        read_attributes(tmp_path / "a.txt")
    table = ("file_name,a,b,", "p0.png,1,0,", "p1.png,,,", "p2.png,0,1,", "p3.png,1,1,", ",,,", " , ,,")
    path = text(tmp_path / "b.csv", *table)
    found = match_attributes(path, IDS, gaps=True)  # a row without an answer, and Excel's empty rows and column
    np.testing.assert_array_equal(found.values, [[1, 0], [np.nan, np.nan], [0, 1], [1, 1]])
    with pytest.raises(InputError, match=r"p1.png has no value in column a"):
        match_attributes(path, IDS)


def test_landmarks_in_another_unit_are_refused(tmp_path):
    lines = [f"{name},{0.4 + 0.1 * i},0.5" for i, name in enumerate(IDS)]
    path = text(tmp_path / "one.csv", "name,x0,y0", *lines)
    with pytest.raises(InputError, match="looks like fractions"):
        match_landmarks(path, IDS, tmp_path)
    mixed = [f"{name},3,4,5,6" if i else f"{name},0.3,0.4,0.5,0.6" for i, name in enumerate(IDS)]
    with pytest.raises(InputError, match=r"p0.png lie within 0.6, which looks like fractions, where others are pixels"):
        match_landmarks(text(tmp_path / "mixed.csv", "name,x0,y0,x1,y1", *mixed), IDS, tmp_path)
    images = pictures(tmp_path / "I")
    for name, factor in (("right", 1), ("twice", 2)):
        lines = [f"{name}," + ",".join(f"{factor * v}" for v in (10, 10, 11, 12, 12, 10, 5, 6)) for name in IDS]
        path = text(tmp_path / f"{name}.csv", "name,x0,y0,x1,y1,x2,y2,x3,y3", *lines)
        given = ("--images", images, "--landmarks", path, "--height", 16, "--width", 16, "--out", tmp_path / name)
        status, _, said = call("prepare.py", None, *given)
        assert status == (0 if factor == 1 else 2), said
    assert "most landmarks of 4 in 4 pictures lie outside of them, as those of larger pictures do" in said
    status, _, said = call("prepare.py", None, "faces", "--detector", "whole", "--workers", 0, *given)
    assert status == 2 and "most landmarks of 4 in 4 pictures lie outside of them" in said


def test_celebas_list_is_of_its_pictures_or_refused(tmp_path):
    (tmp_path / "C").mkdir()
    pictures(tmp_path / "C" / "img_align_celeba")
    names = " ".join(f"{part}_{axis}" for part in ("le", "re", "n", "lm", "rm") for axis in "xy")
    run = ("faces", "--images", tmp_path / "C", "--annotation", "landmarks5", "--detector", "whole", "--workers", 0)
    run = (*run, "--height", 16, "--width", 16)
    for case, values, said in (
        ("larger", (40, 50, 60, 50, 50, 60, 45, 70, 55, 70), "most landmarks of 4 in 4 pictures lie outside"),
        ("fractions", (0.4, 0.5, 0.6, 0.5, 0.5, 0.6, 0.4, 0.7, 0.5, 0.7), "which looks like fractions"),
        ("zero", (0, 0, 10, 5, 8, 8, 5, 11, 10, 11), "if they are absent, (-1, -1) says so there"),
        ("none", (-1,) * 10, "no finite number in 4 rows"),
        ("absent", (-1, -1, 10, 5, 8, 8, 5, 11, 10, 11), ""),
    ):
        rows = [" ".join(map(str, (name, *values))) for name in IDS]
        text(tmp_path / "C" / "list_landmarks_align_celeba.txt", "4", names, *rows)
        status, _, error = call("prepare.py", None, *run, "--out", tmp_path / case)
        assert status == (2 if said else 0) and said in error, error
    found = open_data(tmp_path / "absent").source("train")[0]["landmarks"]
    assert np.isnan(found[0]).all() and np.isfinite(found[1:]).all()


def test_lines_of_landmarks_may_say_that_there_are_none(tmp_path):
    rows = [[[1, 2], [3, 4]], None, [[5, 6], None], []]
    lines = [json.dumps({"file_name": n, "landmarks": row, "t": "a\u2028b"}) for n, row in zip(IDS, rows, strict=True)]
    path = text(tmp_path / "l.jsonl", *(line.replace("\\u2028", "\u2028") for line in lines))
    found = match_landmarks(path, IDS, tmp_path, gaps=True).points
    absent = [np.nan, np.nan]
    np.testing.assert_array_equal(found[[0, 2]], [[[1, 2], [3, 4]], [[5, 6], absent]])
    assert np.isnan(found[[1, 3]]).all()
    with pytest.raises(InputError, match=r"no finite number in 2 rows; .* --partial keeps"):
        match_landmarks(path, IDS, tmp_path)
    path = text(tmp_path / "v.jsonl", json.dumps({"file_name": "p0.png", "landmarks": [[1, 2]], "visible": [1]}))
    with pytest.raises(InputError, match=r"line 1 has visible; give points as \[x, y, v\]"):
        match_landmarks(path, IDS, tmp_path)
    np.savez(tmp_path / "v.npz", name=IDS, landmarks=np.ones((4, 2, 2)), occluded=np.zeros((4, 2)))
    with pytest.raises(InputError, match="occluded has a value for each point; call it visible, or leave it out"):
        match_landmarks(tmp_path / "v.npz", IDS, tmp_path)
    more = dict(box=np.zeros((4, 2)), what=np.array([None, "no array of numbers"]), vis=np.ones(4))
    np.savez(tmp_path / "v.npz", name=IDS, landmarks=np.full((4, 2, 2), 3), **more)
    assert match_landmarks(tmp_path / "v.npz", IDS, tmp_path).points.shape == (4, 2, 2)
    rows = [json.dumps({"file_name": name, "landmarks": [[3, 2]], "visible": True}) for name in IDS]
    assert match_landmarks(text(tmp_path / "v.jsonl", *rows), IDS, tmp_path).points.shape == (4, 1, 2)
    for wrong in ([1, 2, 3, 4], [[1, 2]], [[1, 2], [3, "x"]]):
        path = text(tmp_path / "l.jsonl", lines[0], json.dumps({"file_name": "p1.png", "landmarks": wrong}))
        with pytest.raises(InputError, match="line 2 has points"):
            match_landmarks(path, IDS[:2], tmp_path)
    keypoints = [{"id": i, "image_id": i, "category_id": 1, "keypoints": [3, 4, 2] if i else None} for i in range(4)]
    found = match_landmarks(coco(tmp_path / "k.json", keypoints), IDS, tmp_path, gaps=True).points
    assert np.isnan(found[0]).all() and (found[1:] == [[3, 4]]).all()


def test_a_pts_file_is_told_what_it_can_say(tmp_path):
    for name in IDS:
        text((tmp_path / name).with_suffix(".pts"), "version: 1", "n_points: 2", "{", "0 0", "3 4", "}")
    with pytest.raises(InputError, match=r"the first of p0; if they are absent, \(-1, -1\) says so there"):
        match_landmarks(tmp_path, IDS, tmp_path)


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
def test_fewer_bits_than_a_file_has_are_refused_and_not_dark(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "p.png")
    if bits < 16:
        with pytest.raises(InputError, match=f"values to {2**bits - 1} only; scale them to 65535"):
            read_image(tmp_path / "p.png", 1)
        Image.fromarray(values).save(tmp_path / "p.png", transparency=int(values[3, 3]))
        with pytest.raises(InputError, match="scale them to 65535"):
            read_image(tmp_path / "p.png", 1)
    else:
        np.testing.assert_allclose(read_image(tmp_path / "p.png", 1)[..., 0], values / 257, atol=1)


def png_of_16_bits(path, values):
    """Write uint16 [height, width, 3] as a PNG, which Pillow cannot."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_fewer_bits_than_a_colour_has_are_refused_too(tmp_path):
    values = np.linspace(0, 65535, 8 * 8 * 3).astype(np.uint16).reshape(8, 8, 3)
    png_of_16_bits(tmp_path / "p.png", values)
    np.testing.assert_allclose(read_image(tmp_path / "p.png", 3), values / 257, atol=1)
    png_of_16_bits(tmp_path / "p.png", values >> 4)
    (tmp_path / "p.ppm").write_bytes(b"P6 8 8 65535\n" + (values >> 4).astype(">u2").tobytes())
    for name in ("p.png", "p.ppm"):
        with pytest.raises(InputError, match=r"has 16 bits a channel and values to about (3855|4112) only; scale"):
            read_image(tmp_path / name, 3)


def test_0_is_white_where_a_tiff_says_so(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "p.tif")
    stored, (black, white) = (tmp_path / "p.tif").read_bytes(), (struct.pack("<HHIH", 262, 3, 1, i) for i in (1, 0))
    assert stored.count(black) == 1
    (tmp_path / "p.tif").write_bytes(stored.replace(black, white))
    np.testing.assert_allclose(read_image(tmp_path / "p.tif", 1)[..., 0], 255 - values / 257, atol=1)
    np.testing.assert_array_equal(mask_planes.read(tmp_path / "p.tif", False, False, False).values, 65535 - values)
    Image.fromarray(values >> 4).save(tmp_path / "p.tif")
    (tmp_path / "p.tif").write_bytes((tmp_path / "p.tif").read_bytes().replace(black, white))
    with pytest.raises(InputError, match="values to 4095 only"):
        read_image(tmp_path / "p.tif", 1)


@pytest.mark.parametrize("orientation", [3, 6, 9])
@pytest.mark.parametrize("ending", ["tif", "png", "jpg"])
def test_a_header_tells_the_size_of_the_upright_picture(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((8, 20, 3), np.uint8)).save(tmp_path / f"p.{ending}", exif=exif)
    with Image.open(tmp_path / f"p.{ending}") as picture:
        assert upright_size(picture) == read_image(tmp_path / f"p.{ending}", 3).shape[1::-1]


def test_pictures_of_rare_modes_are_what_they_show(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    clear = int(values[3, 3])
    Image.fromarray(values).save(tmp_path / "clear.png", transparency=clear)
    found = read_image(tmp_path / "clear.png", 1)[..., 0]
    assert found[3, 3] == 255 and abs(int(found[3, 4]) - int(values[3, 4]) // 257) <= 1
    lab = Image.fromarray(np.full((8, 8, 3), (200, 128, 128), np.uint8), "RGB").convert("RGB")
    lab = Image.merge("LAB", lab.split())
    lab.save(tmp_path / "lab.tif")
    colour, grey = (read_image(tmp_path / "lab.tif", channels) for channels in (3, 1))
    np.testing.assert_allclose(grey[..., 0], np.asarray(Image.fromarray(colour).convert("L")))


def test_numbers_of_palettes_that_differ_are_no_classes(tmp_path):
    pictures(tmp_path, make=lambda i: np.zeros((16, 16, 3), np.uint8))
    for i, name in enumerate(IDS):
        mask = Image.fromarray(np.where(HALF, 1, 0).astype(np.uint8)).convert("P")
        mask.putpalette([0, 0, 0, 0, 128, 0] if i % 2 else [0, 128, 0, 128, 0, 0])
        mask.save(tmp_path / name)
    with pytest.raises(
        InputError, match=r"1 is #008000 or #800000 by the palettes of the masks, which differ; name the"
    ):
        masks_of(tmp_path, "1")
    assert (masks_of(tmp_path, "#008000").mean((1, 2)) == 0.5).all()
    for i, name in enumerate(IDS):  # a colour that is hardly another
        with Image.open(tmp_path / name) as mask:
            mask.putpalette([0, 0, 0, 127 + i % 2, 0, 0])
            mask.save(tmp_path / name)
    assert (masks_of(tmp_path, "1") == HALF).all()


def test_a_cut_out_of_a_palette_is_what_it_shows(tmp_path):
    for name in IDS:
        cut = Image.fromarray(np.where(HALF, 0, 1).astype(np.uint8)).convert("P")
        cut.putpalette([0] * 6)
        cut.save(tmp_path / name, transparency=1)
    assert (masks_of(tmp_path) == HALF).all()


def test_a_picture_that_shows_nothing_is_refused(tmp_path):
    Image.fromarray(np.full((8, 8, 4), (90, 20, 30, 0), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match="is transparent all over, so that nothing shows"):
        read_image(tmp_path / "p.png", 3)


@pytest.mark.parametrize(
    ("counts", "fits"), [([128.0, 128.0], True), (["128", "128"], False), ([140, -12, 128], False)]
)
def test_run_lengths_are_whole_numbers(tmp_path, counts, fits):
    one = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [16, 16], "counts": counts}}
    images = [{"id": 1, "file_name": "a.png", "width": 16, "height": 16}]
    content = {"images": images, "annotations": [one], "categories": [{"id": 1, "name": "iris"}]}
    path = text(tmp_path / "m.json", json.dumps(content))
    if fits:
        assert match_shapes(path, ["a.png"], False).read("a.png", 16, 16).mean() == 0.5
        return
    with pytest.raises(InputError, match=r"iris of a\.png has run lengths that are no whole numbers"):
        match_shapes(path, ["a.png"], False)


def test_labelme_beside_files_that_are_no_pictures(tmp_path):
    for name in ("a", "b"):
        text(tmp_path / f"{name}.json", json.dumps({"shapes": []}))
        text(tmp_path / f"{name}.txt", "0 0.5 0.5 1 1")
    assert holds_shapes(tmp_path, tmp_path / "images")


@pytest.mark.parametrize("place", [(-2, -2), (-60, -40)])
def test_a_place_outside_that_returns_is_a_mark_of_absence(tmp_path, place):
    rows = [f"p{i}.png,{i + 3},7,{place[0] if i else 4},{place[1] if i else 5}" for i in range(4)]
    path = text(tmp_path / "points.csv", "name,x0,y0,x1,y1", *rows)
    with pytest.raises(InputError, match=r"3 points lie at \(-.*, the first of p1.png; leave the fields"):
        match_landmarks(path, IDS, tmp_path)
    path.write_text(path.read_text().replace(f"{place[0]},{place[1]}", "-3,-9", 1))
    assert len(match_landmarks(path, IDS, tmp_path).points) == 4  # two alike may be so


def test_the_size_that_a_line_tells_is_that_of_its_points(tmp_path):
    images = pictures(tmp_path / "I")
    lines = [json.dumps({"file_name": n, "width": 24, "height": 24, "landmarks": [[3, 4], [20, 9]]}) for n in IDS]
    path = text(tmp_path / "m.jsonl", *lines)
    given = ["--images", images, "--landmarks", path, "--height", 16, "--width", 16, "--out", tmp_path / "out"]
    status, _, said = call("prepare.py", None, *given)
    assert status == 2 and "has 16x16 pixels, and its landmarks are of one with 24x24" in said
    path.write_text(path.read_text().replace('"width"', '"x": 2, "y": 1, "mask": [[0, 0, 5]], "weights": [1], "width"'))
    done("prepare.py", None, *given)  # of a box


def test_tables_as_pandas_writes_them(tmp_path):
    rows = ["0,p0.png,1.00,nan", "1,p1.png,0.00,nan", "2,p2.png,NaN,nan", "3,p3.png,1.0,nan"]
    path = text(tmp_path / "t.csv", "Unnamed: 0,file_name,Male,note", *rows)
    found = match_attributes(path, IDS, gaps=True)
    assert found.names == ("Male",)
    np.testing.assert_array_equal(found.values[:, 0], [1, 0, np.nan, 1])


def test_a_name_that_the_terminal_cannot_show_ends_nothing(tmp_path):
    images = pictures(tmp_path / "I")
    text(tmp_path / "t.csv", "file_name,Male,légende", *(f"{name},1,x" for name in IDS[1:]), "p0.png,0,x")
    command = [sys.executable, "prepare.py", "--images", images, "--attributes", tmp_path / "t.csv"]
    command += ["--height", "16", "--width", "16", "--out", tmp_path / "out"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "l\\xe9gende" in done.stdout, done.stderr

import csv
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from began_jax.data.landmark_formats import read as read_landmarks
from began_jax.errors import InputError
from began_jax.export import dataset
from began_jax.export.arrays import array_writer
from began_jax.export.attributes import attribute_writer
from began_jax.export.coco import coco_writer
from began_jax.export.masks import mask_writer
from began_jax.images import to_uint8

ORIGIN = {"sampler": "uniform", "generator_run": "runs/x", "seed": 3}


def samples(count=7, height=12, width=16, channels=3):
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (count, 64)).astype(np.float32)
    return z, rng.uniform(-1.1, 1.1, (count, height, width, channels)).astype(np.float32)


def write_in_batches(write, *arrays, size=3):
    for start in range(0, len(arrays[0]), size):
        write(*(jnp.asarray(a[start : start + size]) for a in arrays))


def read(folder, count):
    pictures = []
    for i in range(count):
        with Image.open(folder / f"{i:06d}.png") as picture:
            pictures.append(np.asarray(picture))
    assert len(list(folder.iterdir())) == count
    return np.stack(pictures)


@pytest.mark.parametrize("points", [49, 5, 3])
def test_coco_is_read_back_by_pycocotools(tmp_path, points, capsys):
    z, images = samples()
    landmarks = np.random.default_rng(1).uniform(0.02, 0.98, (7, points, 2)).astype(np.float32)
    out = tmp_path / "out"
    with coco_writer(out, ORIGIN) as write:
        write_in_batches(write, z, images, landmarks)
        assert not out.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    np.testing.assert_array_equal(read(out / "images", 7), to_uint8(images))
    np.testing.assert_array_equal(np.load(out / "latents.npy", mmap_mode="r"), z)
    with coco_writer(tmp_path / "stored", ORIGIN) as write:  # pictures as they are stored
        write_in_batches(write, z, to_uint8(images), landmarks)
    same = (tmp_path / "stored" / "annotations.json").read_text() == (out / "annotations.json").read_text()
    assert same and (read(tmp_path / "stored" / "images", 7) == read(out / "images", 7)).all()
    shutil.rmtree(tmp_path / "stored")
    told = json.loads((out / "dataset.json").read_text())
    assert told == {"count": 7, "height": 12, "width": 16, "channels": 3, "latent_size": 64} | ORIGIN

    coco = COCO(out / "annotations.json")
    capsys.readouterr()
    (category,) = coco.loadCats(coco.getCatIds())
    assert len(category["keypoints"]) == points
    assert coco.getImgIds() == list(range(7))
    for i in range(7):
        (image,) = coco.loadImgs(i)
        assert image == {"id": i, "file_name": f"{i:06d}.png", "width": 16, "height": 12}
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=i))
        x, y, v = np.reshape(annotation["keypoints"], (points, 3)).T
        np.testing.assert_allclose(np.stack([x, y], 1), landmarks[i] * [16, 12] - 0.5, atol=6e-4)
        assert (v == 2).all() and annotation["num_keypoints"] == points
        left, top, w, h = annotation["bbox"]
        ends = [np.clip(v, 0, n - 1) for v, n in ((x.min(), 16), (y.min(), 12), (x.max(), 16), (y.max(), 12))]
        np.testing.assert_allclose([left, top, left + w, top + h], ends, atol=2e-3)
        assert annotation["iscrowd"] == 0 and annotation["area"] == pytest.approx(w * h, abs=1e-3)


def test_landmark_outside_of_the_picture_is_not_visible(tmp_path):
    z, images = samples(1)
    with coco_writer(tmp_path / "out", ORIGIN) as write:
        write(z, images, np.float32([[[0.5, 0.5], [1.2, 0.5]]]))
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert document["annotations"][0]["keypoints"] == [7.5, 5.5, 2, 18.7, 5.5, 1]
    left, top, width, height = document["annotations"][0]["bbox"]
    assert [left, width] == [7.5, 7.5] and [top, height] == [5, 1]  # a level row of points has a box too


def test_a_landmark_that_is_absent_is_not_labelled(tmp_path, capsys):
    z, images = samples(2)
    landmarks = np.full((2, 3, 2), 0.5, np.float32)
    landmarks[0, 1] = np.nan
    with coco_writer(tmp_path / "out", ORIGIN) as write:
        write(z, images, landmarks)
    first, second = COCO(tmp_path / "out" / "annotations.json").loadAnns([1, 2])
    capsys.readouterr()
    assert first["keypoints"][3:6] == [0, 0, 0] and first["num_keypoints"] == 2 and second["num_keypoints"] == 3
    found = read_landmarks(tmp_path / "out" / "annotations.json")
    assert found.names == ["000000.png", "000001.png"] and found.sizes["000000.png"] == (16, 12)
    np.testing.assert_allclose((found.points + 0.5) / (16, 12), landmarks, atol=1e-4)


def test_masks_are_read_back(tmp_path):
    z, images = samples(channels=1)
    masks = (np.random.default_rng(1).uniform(size=(7, 12, 16, 1)) > 0.5).astype(np.float32)
    with mask_writer(tmp_path / "a" / "out", ORIGIN) as write:
        write_in_batches(write, z, images, masks)
    np.testing.assert_array_equal(read(tmp_path / "a" / "out" / "masks", 7), masks[..., 0] * 255)
    np.testing.assert_array_equal(read(tmp_path / "a" / "out" / "images", 7), to_uint8(images)[..., 0])
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "out" / "latents.npy"), z)


def test_attributes_are_read_back(tmp_path):
    z, images = samples()
    attributes = np.random.default_rng(1).uniform(size=(7, 3)).astype(np.float32)
    attributes[0] = 0, 0.5, 1
    names = ("Bald", "Grey, or white", "Müde")
    with attribute_writer(tmp_path / "out", ORIGIN, names) as write:
        write_in_batches(write, z, images, attributes)
    with (tmp_path / "out" / "attributes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file_name", *names]
    assert [row["file_name"] for row in rows] == [f"{i:06d}.png" for i in range(7)]
    found = np.array([[int(row[name]) for name in names] for row in rows])
    np.testing.assert_array_equal(found, np.where(attributes < 0.5, 0, 1))
    np.testing.assert_array_equal(read(tmp_path / "out" / "images", 7), to_uint8(images))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "latents.npy"), z)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["count"] == 7


@pytest.mark.parametrize("shape", [(), (5,), (12, 16, 1)])
def test_annotations_of_any_shape_are_read_back(tmp_path, shape):
    z, images = samples()
    annotations = np.random.default_rng(1).normal(size=(7, *shape)).astype(np.float32)
    with array_writer(tmp_path / "out", ORIGIN) as write:
        write_in_batches(write, z, images, annotations)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "annotations.npy", mmap_mode="r"), annotations)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "latents.npy"), z)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
def test_interrupted_writer_leaves_nothing(tmp_path, interruption):
    z, images = samples()
    with pytest.raises(interruption), mask_writer(tmp_path / "out", ORIGIN) as write:
        write(z, images, np.ones((7, 12, 16, 1), np.float32))
        raise interruption
    assert list(tmp_path.iterdir()) == []


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WRITERS = {
    "landmarks": (coco_writer, {}, (5, 2)),
    "mask": (mask_writer, {}, (12, 16, 1)),
    "attributes": (attribute_writer, {"names": ["a, b", "c"]}, (2,)),
    "array": (array_writer, {}, (3, 2)),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("stop", [2, 5, 7])
def test_a_stopped_set_goes_on_where_it_was_noted_and_is_the_same_bytes(tmp_path, monkeypatch, kind, stop):
    monkeypatch.setattr(dataset, "PART", 4)
    writer, options, shape = WRITERS[kind]
    z, images = samples(count=14)
    annotations = np.random.default_rng(1).uniform(size=(14, *shape)).astype(np.float32)
    doubts, numbers = np.arange(14, dtype=np.float32), 2**40 + np.arange(0, 28, 2)

    def wrote(out, stop=None):
        with writer(out, ORIGIN, **options, resume=True) as write:
            start = write.written.count
            assert write.written.next_number == (numbers[start - 1] + 1 if start else 0)
            for i in range(start, 14, 2):
                if i // 2 == stop:
                    raise KeyboardInterrupt
                rows = slice(i, i + 2)
                write(z[rows], images[rows], annotations[rows], doubts[rows], numbers[rows])
            return start

    assert wrote(tmp_path / "whole") == 0
    if stop < 7:
        with pytest.raises(KeyboardInterrupt):
            wrote(tmp_path / "out", stop)
        partial = tmp_path / "out.partial"
        for place in partial.glob("*.*"):  # more than was noted
            if place.name not in ("progress.json",):
                with place.open("ab") as file:
                    file.write(b"rest of a batch")
    assert wrote(tmp_path / "out") == {2: 4, 5: 8, 7: 0}[stop]
    both = [files(tmp_path / name) for name in ("whole", "out")]
    assert both[0] == both[1] and not (tmp_path / "out.partial").exists()
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "numbers.npy"), numbers)


def test_a_set_of_another_origin_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "PART", 2)
    z, images = samples()
    masks = np.ones((7, 12, 16, 1), np.float32)
    for origin, there in ((ORIGIN, 0), (ORIGIN, 7), (ORIGIN | {"seed": 9}, 0)):
        with pytest.raises(KeyboardInterrupt), mask_writer(tmp_path / "out", origin, resume=True) as write:
            assert write.written.count == there
            if not there:
                write(z, images, masks)
            raise KeyboardInterrupt


def test_leftovers_of_a_killed_run_are_replaced(tmp_path):
    z, images = samples()
    (tmp_path / "out.partial" / "masks").mkdir(parents=True)
    (tmp_path / "out.partial" / "masks" / "000099.png").touch()
    with mask_writer(tmp_path / "out", ORIGIN) as write:
        write(z, images, np.ones((7, 12, 16, 1), np.float32))
    assert len(read(tmp_path / "out" / "masks", 7)) == 7


def test_refuses_what_it_would_spoil(tmp_path):
    z, images = samples()
    landmarks = np.full((7, 5, 2), 0.5, np.float32)
    (tmp_path / "mine").write_text("notes")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="not empty"), coco_writer(out, ORIGIN):
            pass
    assert (tmp_path / "mine").read_text() == "notes"
    out = tmp_path / "out"
    out.mkdir()  # empty: may be used
    with pytest.raises(InputError, match="no sample"), coco_writer(out, ORIGIN):
        pass
    with pytest.raises(InputError, match="finite"), coco_writer(out, ORIGIN) as write:
        write(z, images, landmarks * np.nan)
    with pytest.raises(InputError, match="cannot follow"), coco_writer(out, ORIGIN) as write:
        write(z, images, landmarks)
        write(z, images[:, 1:], landmarks)
    with pytest.raises(InputError, match="3 landmarks"), coco_writer(out, ORIGIN) as write:
        write(z, images, landmarks)
        write(z, images, landmarks[:, :3])
    with pytest.raises(InputError, match="masks of"), mask_writer(out, ORIGIN) as write:
        write(z, images, np.ones((7, 6, 8, 1), np.float32))
    with (
        pytest.raises(InputError, match="5 attributes cannot take 4 names"),
        attribute_writer(out, {}, "abcd") as write,
    ):
        write(z, images, landmarks[..., 0])
    with (
        pytest.raises(InputError, match=r"\(4, 2\) cannot follow rows of shape \(5, 2\)"),
        array_writer(out, {}) as write,
    ):
        write(z, images, landmarks)
        write(z, images, landmarks[:, 1:])
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("writer", [coco_writer, mask_writer, array_writer])
def test_doubts_stand_beside_the_latents_for_all_pictures_or_for_none(tmp_path, writer):
    z, images = samples()
    shape = {coco_writer: (5, 2), mask_writer: (12, 16, 1), array_writer: (3,)}[writer]
    annotations, doubt = np.full((7, *shape), 0.5, np.float32), np.linspace(0, 1, 7, dtype=np.float32)
    with writer(tmp_path / "out", ORIGIN) as write:
        write(z[:3], images[:3], annotations[:3], doubt=doubt[:3])
        write(z[3:], images[3:], annotations[3:], doubt=jnp.asarray(doubt[3:]))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "doubt.npy"), doubt)
    with pytest.raises(InputError, match="or for none"), writer(tmp_path / "some", ORIGIN) as write:
        write(z[:3], images[:3], annotations[:3], doubt=doubt[:3])
        write(z[3:], images[3:], annotations[3:])
    with pytest.raises(InputError, match="3 doubts for 7 images"), writer(tmp_path / "few", ORIGIN) as write:
        write(z, images, annotations, doubt=doubt[:3])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

"""Generated sets in the formats of other tools, each read back by the other side's own reader."""

import gc
import json
import os

import cv2
import mlcroissant
import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from began_jax.data.datasets import open_data, ordered
from began_jax.data.landmark_files import match_landmarks
from began_jax.errors import InputError
from began_jax.export import croissant, formats, polygons
from began_jax.export.arrays import array_writer
from began_jax.export.attributes import attribute_writer
from began_jax.export.coco import coco_writer
from began_jax.export.content import open_content
from began_jax.export.masks import mask_writer

COUNT, HEIGHT, WIDTH = 5, 12, 16
NAMES = ("Bald", "Young")


def ring(rng):
    """A mask with a hole and a piece beside it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    apart = np.hypot(x - rng.uniform(5, 7), y - rng.uniform(5, 7))
    return (((apart < 5) & (apart > 2)) | (x > 13)).astype(np.float32)[..., None]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small set of each kind, as generate.py writes it: folder, images and annotations."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("written")
    z = rng.uniform(-1, 1, (COUNT, 3)).astype(np.float32)
    doubt = rng.uniform(0, 1, COUNT).astype(np.float32)
    masks = np.stack([ring(rng) for _ in range(COUNT)])
    masks[2] = 0
    given = {
        "landmarks": (coco_writer, {}, rng.uniform(0, 1, (COUNT, 5, 2)).astype(np.float32), 3),
        "mask": (mask_writer, {}, masks, 1),
        "attributes": (attribute_writer, {"names": NAMES}, rng.integers(0, 2, (COUNT, 2)).astype(np.float32), 3),
        "annotations": (array_writer, {}, rng.normal(size=(COUNT, 2, 3)).astype(np.float32), 3),
    }
    found = {}
    for kind, (writer, options, annotations, channels) in given.items():
        images = rng.integers(0, 256, (COUNT, HEIGHT, WIDTH, channels), np.uint8)
        with writer(root / kind, {"sampler": "uniform"}, **options) as write:
            write(z, images, annotations, doubt)
        found[kind] = (root / kind, images, annotations)
    return found


def converted(written, kind, name):
    folder, images, annotations = written[kind]
    (out,) = formats.convert(open_content(folder), [name])
    return out, images, annotations


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).reshape(HEIGHT, WIDTH, -1)


def in_pixels(landmarks):
    return landmarks * (WIDTH, HEIGHT) - 0.5


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools beside numpy 2
def test_coco_masks(written, capsys):
    out, images, masks = converted(written, "mask", "coco")
    coco = COCO(out / "annotations.json")
    capsys.readouterr()
    for i in range(COUNT):
        (image,) = coco.loadImgs(i)
        np.testing.assert_array_equal(pixels(out / "images" / image["file_name"]), images[i])
        found = coco.loadAnns(coco.getAnnIds(imgIds=i))
        assert len(found) == int(masks[i].any())
        for annotation in found:
            mask = coco.annToMask(annotation)
            np.testing.assert_array_equal(mask, masks[i, ..., 0])
            left, top, width, height = annotation["bbox"]
            assert mask[top : top + height, left : left + width].sum() == mask.sum() == annotation["area"]


def yolo_mask(lines):
    """Masks of lines of Ultralytics' segment format, filled as it fills them: in whole pixels, all pieces together."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for line in lines:
        number, *values = line.split()
        assert number == "0"
        polygon = np.array(values, np.float64).reshape(-1, 2) * (WIDTH, HEIGHT)
        piece = np.zeros_like(mask)
        cv2.fillPoly(piece, [polygon.astype(np.int32)], 1)
        mask |= piece
    return mask


def test_yolo(written):
    out, images, masks = converted(written, "mask", "yolo")
    for i in range(COUNT):
        lines = (out / "labels" / f"{i:06d}.txt").read_text().splitlines()
        np.testing.assert_array_equal(yolo_mask(lines), masks[i, ..., 0])
        np.testing.assert_array_equal(pixels(out / "images" / f"{i:06d}.png"), images[i])
    out, _, landmarks = converted(written, "landmarks", "yolo")
    assert (
        "kpt_shape: [5, 3]" in (out / "data.yaml").read_text()
        and "flip_idx: [1, 0, 2, 4, 3]" in (out / "data.yaml").read_text()
    )
    for i in range(COUNT):
        (line,) = (out / "labels" / f"{i:06d}.txt").read_text().splitlines()
        values = np.array(line.split(), float)
        assert len(values) == 5 + 3 * 5 and (values[1:] >= 0).all()
        x, y, w, h = values[1:5]
        assert 0 <= x - w / 2 <= x + w / 2 <= 1 and 0 <= y - h / 2 <= y + h / 2 <= 1
        np.testing.assert_allclose(values[5:].reshape(5, 3)[:, :2], landmarks[i], atol=2e-6)
        assert (values[7::3] == 2).all()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_polygons_filled_are_the_mask(seed, share):
    mask = (np.random.default_rng(seed).uniform(size=(HEIGHT, WIDTH)) < share).astype(np.uint8)
    # a cut to a hole may pass the corner of a pixel that is outside, so pieces are thickened
    mask = cv2.dilate(cv2.erode(mask, np.ones((2, 2), np.uint8)), np.ones((3, 3), np.uint8))
    lines = [" ".join(["0", *map(str, polygon)]) for polygon in polygons.of_mask(mask)]
    np.testing.assert_array_equal(yolo_mask(lines), mask)


@pytest.mark.parametrize("kind", ["landmarks", "mask", "attributes", "annotations"])
def test_hugging_face(written, kind, tmp_path):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets

    out, images, annotations = converted(written, kind, "huggingface")
    read = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path), split="train")
    assert len(read) == COUNT
    doubts = np.load(written[kind][0] / "doubt.npy")
    for i, row in enumerate(read):
        np.testing.assert_array_equal(np.asarray(row["image"]).reshape(images[i].shape), images[i])
        assert row["doubt"] == pytest.approx(doubts[i], abs=1e-6)
        if kind == "landmarks":
            np.testing.assert_allclose(row["landmarks"], in_pixels(annotations[i]), atol=1e-3)
            names = [f"images/{i:06d}.png" for i in range(COUNT)]
            again = match_landmarks(out / "train" / "metadata.jsonl", names, out).points
            np.testing.assert_allclose(again, in_pixels(annotations), atol=1e-3)
        elif kind == "mask":
            np.testing.assert_array_equal(np.asarray(row["mask"]) // 255, annotations[i, ..., 0])
        elif kind == "attributes":
            assert [row[name] for name in NAMES] == annotations[i].tolist()
        else:
            np.testing.assert_allclose(row["annotation"], annotations[i], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the reader leaves files open
@pytest.mark.parametrize("kind", ["landmarks", "mask", "attributes", "annotations"])
def test_web_dataset(written, kind, monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "SHARD", 2)
    folder, images, annotations = written[kind]
    formats.FORMATS["webdataset"].write(open_content(folder), tmp_path)
    shards = sorted(map(str, tmp_path.glob("*.tar")))
    assert len(shards) == 3
    read = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    assert [sample["__key__"] for sample in read] == [f"{i:06d}" for i in range(COUNT)]
    for i, sample in enumerate(read):
        picture = np.asarray(sample["png"].convert("L" if kind == "mask" else "RGB"))
        np.testing.assert_array_equal(picture.reshape(images[i].shape), images[i])
        if kind == "landmarks":
            np.testing.assert_allclose(sample["json"]["landmarks"], in_pixels(annotations[i]), atol=1e-3)
        elif kind == "mask":
            np.testing.assert_array_equal(np.asarray(sample["mask.png"].convert("L")) // 255, annotations[i, ..., 0])
        elif kind == "attributes":
            assert [sample["json"][name] for name in NAMES] == annotations[i].tolist()
    del read, sample
    gc.collect()


@pytest.mark.parametrize("kind", ["landmarks", "mask", "attributes", "annotations"])
def test_tfds(written, kind):
    out, images, annotations = converted(written, kind, "tfds")
    data = open_data(out)
    got = ordered(data.source("train"), 0, COUNT)
    np.testing.assert_array_equal(got["image"], images)
    np.testing.assert_allclose(got["annotation" if kind == "annotations" else kind], annotations, atol=1e-6)
    assert data.names == (NAMES if kind == "attributes" else ())


def test_tables_arrays_and_face_synthetics(written):
    out, images, landmarks = converted(written, "landmarks", "csv")
    ids = [f"{i:06d}.png" for i in range(COUNT)]
    found = match_landmarks(out / "landmarks.csv", ids, out).points
    np.testing.assert_allclose(found, in_pixels(landmarks), atol=1e-3)
    out, *_ = converted(written, "landmarks", "facesynthetics")
    for i in range(COUNT):
        np.testing.assert_allclose(np.loadtxt(out / f"{i:06d}_ldmks.txt"), in_pixels(landmarks[i]), atol=1e-3)
        np.testing.assert_array_equal(pixels(out / f"{i:06d}.png"), images[i])
    out, _, masks = converted(written, "mask", "facesynthetics")
    np.testing.assert_array_equal(pixels(out / "000001_seg.png"), masks[1])
    for kind in ("landmarks", "mask", "attributes", "annotations"):
        out, images, annotations = converted(written, kind, "npz")
        with np.load(out / "arrays.npz") as arrays:
            np.testing.assert_array_equal(arrays["images"], images)
            expected = in_pixels(annotations) if kind == "landmarks" else annotations
            np.testing.assert_allclose(arrays[kind], expected.reshape(arrays[kind].shape), atol=1e-5)
            np.testing.assert_array_equal(arrays["doubt"], np.load(written[kind][0] / "doubt.npy"))
            assert arrays["name"].tolist() == ids
    found = match_landmarks(converted(written, "landmarks", "npz")[0] / "arrays.npz", ids, out).points
    np.testing.assert_allclose(found, in_pixels(landmarks), atol=1e-5)


def test_formats_that_do_not_fit_are_refused_and_what_is_there_is_left(written, tmp_path):
    content = open_content(written["attributes"][0])
    with pytest.raises(InputError, match="--format yolo: is for landmarks and mask, not attributes; there are hu"):
        formats.convert(content, ["csv", "yolo"])
    with pytest.raises(InputError, match="--format voc: there are coco, yolo"):
        formats.convert(content, ["voc"])
    (out,) = formats.convert(content, ["csv"])
    before = (out / "attributes.csv").stat().st_mtime_ns
    assert formats.convert(content, ["csv"]) == [out] and (out / "attributes.csv").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"holds no data set of generate\.py"):
        open_content(tmp_path)
    assert json.loads((written["mask"][0] / "dataset.json").read_text())["count"] == COUNT


@pytest.mark.parametrize(("kind", "form"), [("landmarks", "webp"), ("mask", "webp"), ("landmarks", "jpeg")])
def test_pictures_of_other_forms_go_into_every_format(tmp_path, kind, form):
    rng, channels = np.random.default_rng(1), 3 if kind == "landmarks" else 1
    images = np.repeat(rng.integers(0, 256, (COUNT, 1, 1, channels), np.uint8), HEIGHT * WIDTH, 1)
    images = images.reshape(COUNT, HEIGHT, WIDTH, channels)
    images[:, :6] //= 2
    truth = rng.uniform(0, 1, (COUNT, 5, 2)) if kind == "landmarks" else np.stack([ring(rng)] * COUNT)
    writer = coco_writer if kind == "landmarks" else mask_writer
    with writer(tmp_path / "set", {"sampler": "uniform", "picture": form}) as write:
        write(np.zeros((COUNT, 3), np.float32), images, truth.astype(np.float32))
    content, ending = open_content(tmp_path / "set"), {"jpeg": ".jpg", "webp": ".webp"}[form]
    assert sorted(path.suffix for path in (tmp_path / "set" / "images").iterdir()) == [ending] * COUNT
    stored = np.stack([content.pixels(i) for i in range(COUNT)])
    assert np.abs(stored.astype(int) - images).max() <= (0 if form == "webp" else 6)
    if kind == "landmarks":
        told = json.loads((tmp_path / "set" / "annotations.json").read_text())
        assert [image["file_name"] for image in told["images"]] == [f"{i:06d}{ending}" for i in range(COUNT)]
    folders = dict(
        zip(names := ("tfds", "npz", "facesynthetics", "webdataset"), formats.convert(content, names), strict=True)
    )
    np.testing.assert_array_equal(ordered(open_data(folders["tfds"]).source("train"), 0, COUNT)["image"], stored)
    with np.load(folders["npz"] / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], stored)
    np.testing.assert_array_equal(pixels(folders["facesynthetics"] / "000001.png"), stored[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the reader's own
@pytest.mark.parametrize("kind", ["landmarks", "mask", "attributes", "annotations"])
def test_mlcroissant_reads_what_there_is(written, kind, tmp_path):
    folder, images, annotations = written[kind]
    path = folder / "croissant.json"
    path.write_text(json.dumps(croissant.document(open_content(folder), kind)))
    try:
        data = mlcroissant.Dataset(jsonld=str(path))
        assert not data.metadata.issues.errors
        pictures = list(data.records("images"))
        tables = [list(data.records(name)) for name in ("annotations", "masks", "attributes")
                  if name in {found.id for found in data.metadata.record_sets}]  # fmt: skip
    finally:
        path.unlink()
    assert [record["images/file_name"] for record in pictures] == [b"%06d.png" % i for i in range(COUNT)]
    for record, image in zip(pictures, images, strict=True):
        seen = record["images/picture"].convert("L" if image.shape[-1] == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(seen).reshape(image.shape), image)
    assert len(tables) == (kind != "annotations")
    if kind == "landmarks":
        for record, points in zip(*tables, annotations, strict=True):
            found = np.reshape(record["annotations/keypoints"], (-1, 3))[:, :2]
            np.testing.assert_allclose(found, in_pixels(points), atol=1e-3)
    elif kind == "mask":
        masks = np.stack([np.asarray(record["masks/picture"].convert("L")) for record in tables[0]])
        np.testing.assert_array_equal(masks // 255, annotations[..., 0])
    elif kind == "attributes":
        assert [[record[f"attributes/{name}"] for name in NAMES] for record in tables[0]] == annotations.tolist()

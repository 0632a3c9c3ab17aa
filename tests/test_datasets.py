"""The reader: what it opens and refuses, values against what was written.

The suite runs without TensorFlow, which is not among the requirements; so do all data sets here.
"""

import dataclasses
import io
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from began_jax.data.builder import write
from began_jax.data.datasets import open_data, ordered
from began_jax.errors import InputError
from began_jax.images import centre_crop, fit_landmarks, to_float, to_uint8

NAMES = ("Bald", "No, a comma", "Young")
CELEB_A_ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
POINTS = ["lefteye", "righteye", "nose", "leftmouth", "rightmouth"]


def example(i, annotation="landmarks", height=8, width=10):
    """Returns example i; the image's first pixel tells i."""
    rng = np.random.default_rng(i)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0] = i
    annotated = {
        "landmarks": {"landmarks": rng.random((4, 2), np.float32)},
        "mask": {"mask": rng.integers(0, 2, (height, width, 1), np.uint8)},
        "attributes": {"attributes": rng.integers(0, 2, 3).astype(np.float32)},
        "speed": {"speed": rng.random((2, 3), np.float32)},
        None: {},
    }
    return {"image": image, "id": f"n{i}"} | annotated[annotation]


def make(out, counts=(13, 4), annotation="landmarks", **size):
    """Writes a train and a test split and returns the folder."""
    height, width = size.get("height", 8), size.get("width", 10)
    train = [example(i, annotation, height, width) for i in range(counts[0])]
    test = [example(100 + i, annotation, height, width) for i in range(counts[1])]
    keypoints = 4 if annotation == "landmarks" else None
    write(
        out,
        {"train": train, "test": test},
        height=height,
        width=width,
        channels=3,
        annotation=annotation,
        keypoints=keypoints,
        names=NAMES if annotation == "attributes" else (),
        metadata={"landmark_units": "fraction of width and height"},
    )
    return out


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data") / "landmarks")


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data") / "masks", annotation="mask")


@pytest.mark.parametrize("annotation", ["landmarks", "mask", "attributes", "speed", None])
def test_reads_what_was_written(tmp_path, annotation):
    data = open_data(str(make(tmp_path / "out", annotation=annotation)))
    assert (data.height, data.width, data.channels, data.annotation) == (8, 10, 3, annotation)
    assert data.keypoints == (4 if annotation == "landmarks" else None)
    assert data.names == (NAMES if annotation == "attributes" else ())
    assert data.splits == {"train": 13, "test": 4}
    for split, start in (("train", 0), ("test", 100)):
        source = data.source(split)
        assert len(source) == data.splits[split]
        for i in range(len(source)):
            expected, got = example(start + i, annotation), source[i]
            assert got.keys() == expected.keys()
            assert got["id"] == expected["id"]
            np.testing.assert_array_equal(got["image"], expected["image"])
            np.testing.assert_array_equal(source.image(i), expected["image"])
            if annotation:
                np.testing.assert_array_equal(got[annotation], expected[annotation])
                np.testing.assert_array_equal(source.annotation(i), expected[annotation])
                assert got[annotation].shape == data.shape
                assert got[annotation].dtype == np.float32
    with pytest.raises(IndexError):
        data.source("train")[13]


def test_attributes_without_names_are_numbered_and_as_many_as_their_names(tmp_path):
    size = {"height": 8, "width": 10, "channels": 3, "annotation": "attributes"}
    write(tmp_path / "out", {"train": [example(0, "attributes")]}, **size)
    assert open_data(tmp_path / "out").names == ("attribute_1", "attribute_2", "attribute_3")
    with pytest.raises(InputError, match=r"2 names for attributes of shape \(3,\)"):
        write(tmp_path / "other", {"train": [example(0, "attributes")]}, **size, names=["a", "b"])
    assert not (tmp_path / "other").exists()


def test_tfds_itself_reads_it(landmarks):
    read = tfds.builder_from_directory(landmarks).as_data_source("test")[2]
    np.testing.assert_array_equal(read["image"], example(102)["image"])
    np.testing.assert_array_equal(read["landmarks"], example(102)["landmarks"])
    assert read["id"] == b"n102"


def test_order_and_ranges(landmarks):
    source = open_data(landmarks).source("train")
    got = ordered(source, 3, 7)
    assert got["id"] == ["n3", "n4", "n5", "n6"]
    assert got["image"].shape == (4, 8, 10, 3) and got["landmarks"].shape == (4, 4, 2)
    assert ordered(source, 10, 20)["id"] == ["n10", "n11", "n12"]
    with pytest.raises(InputError, match=r"13 to 20.*has 13"):
        ordered(source, 13, 20)


def test_several_shards_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr("began_jax.data.builder.EXAMPLES_PER_SHARD", 5)
    out = make(tmp_path / "out")
    assert len(list(out.glob("*train*"))) == 3
    assert ordered(open_data(out).source("train"), 0, 13)["id"] == [f"n{i}" for i in range(13)]


def test_fingerprint_tells_data_sets_apart(tmp_path, landmarks):
    fingerprint = open_data(landmarks).fingerprint
    assert open_data(make(tmp_path / "same")).fingerprint == fingerprint
    shutil.copytree(landmarks, tmp_path / "copy")
    assert open_data(tmp_path / "copy").fingerprint == fingerprint
    assert open_data(landmarks, height=4, width=4).fingerprint == fingerprint
    assert open_data(make(tmp_path / "fewer", (12, 4))).fingerprint != fingerprint
    moved = [example(i) for i in range(13)]
    for one in moved:
        one["landmarks"] = one["landmarks"] + np.float32(0.01)
    test = [example(100 + i) for i in range(4)]
    size = {"height": 8, "width": 10, "channels": 3, "annotation": "landmarks", "keypoints": 4}
    write(tmp_path / "moved", {"train": moved, "test": test}, **size)
    assert open_data(tmp_path / "moved").fingerprint != fingerprint


def test_another_size_is_cropped_and_averaged(landmarks, masks):
    # 8 rows x 10 columns asked for as 4 x 4: columns 1..9 stay
    source = open_data(landmarks, height=4, width=4).source("train")
    got = ordered(source, 0, 13)
    for i in range(13):
        expected = example(i)
        means = expected["image"][:, 1:9].reshape(4, 2, 4, 2, 3).mean((1, 3))
        assert np.abs(got["image"][i] - means).max() <= 1  # Pillow rounds each axis to 8 bits
        x, y = expected["landmarks"].T
        np.testing.assert_allclose(got["landmarks"][i], np.stack([(10 * x - 1) / 8, y], 1), atol=1e-6)
    np.testing.assert_array_equal(source.image(5), got["image"][5])
    got = ordered(open_data(masks, height=4).source("train"), 0, 13)
    assert got["image"].shape == (13, 4, 10, 3)
    got = ordered(open_data(masks, height=4, width=4).source("train"), 0, 13)
    means = np.stack([example(i, "mask")["mask"][:, 1:9].reshape(4, 2, 4, 2, 1).mean((1, 3)) for i in range(13)])
    np.testing.assert_array_equal(got["mask"], means >= 0.5)


@pytest.mark.parametrize("stored", [(280, 320), (218, 178), (128, 128), (7, 300)])
@pytest.mark.parametrize("wanted", [(96, 128), (64, 64), (128, 16)])
def test_crop_is_centred_and_has_the_ratio(stored, wanted):
    crop = centre_crop(stored, wanted)
    assert crop.height == stored[0] or crop.width == stored[1]
    assert crop.height <= stored[0] and crop.width <= stored[1]
    assert abs(crop.height * wanted[1] - crop.width * wanted[0]) <= max(wanted)  # less than a pixel
    assert abs(2 * crop.top + crop.height - stored[0]) <= 1
    assert abs(2 * crop.left + crop.width - stored[1]) <= 1
    centre = fit_landmarks(np.array([[0.5, 0.5]]), stored, wanted)
    np.testing.assert_allclose(centre, 0.5, atol=0.51 / min(crop.height, crop.width))


def test_iris_frame_is_the_papers():
    assert centre_crop((280, 320), (96, 128)) == (20, 0, 240, 320)


@pytest.mark.parametrize("xp", [np, jnp])
def test_float_and_uint8(xp):
    values = xp.arange(256, dtype="uint8")
    floats = to_float(values)
    assert floats.dtype == "float32" and float(floats[0]) == -1 and float(floats[255]) == 1
    assert isinstance(to_uint8(floats), type(values))
    np.testing.assert_array_equal(to_uint8(floats), values)
    np.testing.assert_array_equal(to_uint8(xp.array([-3.0, 3.0, 0.0])), [0, 255, 128])


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


class Fake(tfds.core.GeneratorBasedBuilder):
    """A data set with any features and records, laid out by tfds as name/version."""

    VERSION = tfds.core.Version("2.1.0")

    def __init__(self, features, records, **kwargs):
        self._features, self._records = features, records
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self._features))

    def _split_generators(self, dl_manager):
        return {"train": enumerate(self._records)}

    def _generate_examples(self):
        raise NotImplementedError  # abstract in tfds, and not called: the split is the records themselves


def fake(data_dir, features, *records, file_format="array_record"):
    builder = Fake(features, records, data_dir=data_dir, file_format=file_format)
    builder.download_and_prepare()
    return data_dir


def celeb_a(data_dir, nested=True):
    """Writes two records with exactly the features of tfds' celeb_a 2.1.0."""
    names = [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    fields = dict.fromkeys(names, np.int64)
    features = {"image": tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg")}
    features |= {"landmarks": fields} if nested else fields
    features |= {"attributes": dict.fromkeys(CELEB_A_ATTRIBUTES, np.bool_), "identity": {"Identity_No": np.int64}}
    buffer = io.BytesIO()
    Image.fromarray(np.full((218, 178, 3), (200, 120, 40), np.uint8)).save(buffer, "jpeg", quality=95)
    values = {name: 10 * i + 7 for i, name in enumerate(names)}
    record = {"image": buffer.getvalue(), "identity": {"Identity_No": 3}}
    record |= {"landmarks": values} if nested else values
    answers = np.random.default_rng(1).integers(0, 2, (2, 40)).astype(bool)
    records = [record | {"attributes": dict(zip(CELEB_A_ATTRIBUTES, map(bool, row), strict=True))} for row in answers]
    return fake(data_dir, features, *records), answers


@pytest.mark.parametrize("nested", [True, False])
def test_celeb_a(tmp_path, nested):
    folder, answers = celeb_a(tmp_path, nested)
    data = open_data(folder)
    assert (data.height, data.width, data.channels) == (218, 178, 3)
    assert (data.annotation, data.keypoints, data.splits) == ("landmarks", 5, {"train": 2})
    got = data.source("train")[1]
    assert got.keys() == {"image", "id", "landmarks"} and got["id"] == "train-000001"
    assert np.abs(got["image"] - np.float64([200, 120, 40])).max() < 4  # JPEG
    x, y = np.arange(7, 107, 20), np.arange(17, 107, 20)
    np.testing.assert_allclose(got["landmarks"], np.stack([(x + 0.5) / 178, (y + 0.5) / 218], 1), rtol=1e-6)
    small = open_data(tmp_path, height=64, width=64).source("train")[0]
    assert small["image"].shape == (64, 64, 3)
    np.testing.assert_allclose(small["landmarks"][:, 1], (y + 0.5 - 20) / 178, rtol=1e-5)

    of_attributes = open_data(f"{folder}#attributes", height=64, width=64)
    assert (of_attributes.annotation, of_attributes.shape) == ("attributes", (40,))
    assert of_attributes.names == CELEB_A_ATTRIBUTES
    got = ordered(of_attributes.source("train"), 0, 2)
    assert got.keys() == {"image", "id", "attributes"} and got["attributes"].dtype == np.float32
    np.testing.assert_array_equal(got["attributes"], answers)
    assert of_attributes.fingerprint != data.fingerprint


OTHER_UNITS = {
    "pixels later": ("landmarks", [np.zeros((2, 2)) + 0.5, np.full((2, 2), 9.0)], "landmarks reach 9"),
    "from -1": ("landmarks", [np.float32([[-0.9, 0.4], [-0.3, 0.8]])] * 2, "landmarks lie from -0.9 to 0.8"),
    "mark": ("landmarks", [np.float32([[0.1, 0.4], [-1, -1]])] * 2, "2 landmarks of some images lie at"),
    "answers": ("attributes", [np.float32([1, 1]), np.float32([-1, 1])], "attributes have the value -1"),
}


@pytest.mark.parametrize("case", OTHER_UNITS)
def test_units_are_looked_for_beyond_the_first_record(tmp_path, case):
    name, values, message = OTHER_UNITS[case]
    features = IMAGE | {name: tfds.features.Tensor(shape=values[0].shape, dtype=np.float32)}
    folder = fake(tmp_path, features, *(RECORD | {name: np.float32(value)} for value in values))
    with pytest.raises(InputError, match=message):
        open_data(folder)


def several(data_dir):
    """Writes a record with four annotations, which other tools may have made, and features that are none."""
    tensor = tfds.features.Tensor
    features = IMAGE | {
        "speed": tensor(shape=(2,), dtype=np.float64),
        "attributes": tensor(shape=(3,), dtype=np.bool_),
        "mask": tfds.features.Image(shape=(4, 4, 1)),
        "landmarks": tensor(shape=(2, 2), dtype=np.float32),
        "packed": tensor(shape=(2,), dtype=np.float32, encoding="zlib"),
        "box": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(num_classes=2),
        "words": tensor(shape=(2,), dtype=np.str_),
    }
    landmarks = np.float32([[0.1, 0.2], [0.3, 0.4]])
    record = RECORD | {"mask": png(np.eye(4, dtype=np.uint8)), "landmarks": landmarks, "speed": [1.5, -2]}
    record |= {"attributes": [True, False, True], "packed": np.zeros(2, np.float32), "label": 0, "words": ["a", "b"]}
    return fake(data_dir, features, record | {"box": tfds.features.BBox(0.0, 0.0, 1.0, 1.0)})


def test_one_of_several_annotations_is_picked_by_name(tmp_path, monkeypatch):
    folder = several(tmp_path / "#1")
    wanted = {
        "": ("landmarks", [[0.1, 0.2], [0.3, 0.4]]),
        "#landmarks": ("landmarks", [[0.1, 0.2], [0.3, 0.4]]),
        "#mask": ("mask", np.eye(4)[..., None]),
        "#attributes": ("attributes", [1, 0, 1]),
        "#speed": ("speed", [1.5, -2]),
    }
    prints = set()
    for fragment, (name, value) in wanted.items():
        data = open_data(f"{folder}{fragment}")
        got = data.source("train")[0]
        assert data.annotation == name and got.keys() == {"image", "id", name}
        np.testing.assert_array_equal(got[name], np.float32(value))
        prints.add(data.fingerprint)
    assert open_data(f"{folder}#attributes").names == ("attribute_1", "attribute_2", "attribute_3")
    assert len(prints) == 4
    monkeypatch.chdir(tmp_path)
    assert open_data("#1/#mask").annotation == "mask"
    with pytest.raises(InputError, match=r"has no annotation box; it has landmarks, mask, attributes, speed$"):
        open_data(f"{folder}#box")
    with pytest.raises(InputError, match=r"has no annotation landmarks; it has none$"):
        open_data(f"{fake(tmp_path / 'bare', IMAGE, RECORD)}#landmarks")


IMAGE = {"image": tfds.features.Image(shape=(4, 4, 3))}
RECORD = {"image": png(np.zeros((4, 4, 3), np.uint8))}
UNUSABLE = {
    "unknown size": ({"image": tfds.features.Image()}, RECORD, r"image is uint8 \(None, None, 3\)"),
    "no image": (
        {"text": tfds.features.Text()},
        {"text": "a"},
        "has no feature image; its features are text",
    ),
    "mask size": (
        IMAGE | {"mask": tfds.features.Image(shape=(2, 4, 1))},
        RECORD | {"mask": png(np.zeros((2, 4), np.uint8))},
        r"mask is \(2, 4, 1\), its image \(4, 4, 3\)",
    ),
    "pixels": (
        IMAGE | {"landmarks": tfds.features.Tensor(shape=(2, 2), dtype=np.float32)},
        RECORD | {"landmarks": np.full((2, 2), 3, np.float32)},
        "landmarks reach 3; they must be fractions",
    ),
    "whole landmarks": (
        IMAGE | {"landmarks": tfds.features.Tensor(shape=(2, 2), dtype=np.int64)},
        RECORD | {"landmarks": np.full((2, 2), 3)},
        r"its landmarks are int64 \[2, 2\]; they must be floats \[K, 2\], \(x, y\) as fractions",
    ),
    "a mask that is no picture": (
        IMAGE | {"mask": tfds.features.Tensor(shape=(4, 4, 1), dtype=np.uint8)},
        RECORD | {"mask": np.ones((4, 4, 1), np.uint8)},
        r"its mask are uint8 \[4, 4, 1\]; they must be a picture .*#none trains without",
    ),
    "a mask of classes": (
        IMAGE | {"mask": tfds.features.Image(shape=(4, 4, 1), encoding_format="png")},
        RECORD | {"mask": png(np.arange(16, dtype=np.uint8).reshape(4, 4))},
        "masks hold the values 0, 1, 2, 3; they must be two-valued",
    ),
    "signs": (
        IMAGE | {"attributes": tfds.features.Tensor(shape=(2,), dtype=np.int64)},
        RECORD | {"attributes": [1, -1]},
        "attributes have the value -1; they must be 0 or 1",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_features(tmp_path, case):
    features, record, message = UNUSABLE[case]
    with pytest.raises(InputError, match=message):
        open_data(fake(tmp_path, features, record))
    if case not in ("unknown size", "no image", "type"):
        assert open_data(f"{tmp_path}#none").annotation is None


def test_landmarks_of_any_float_are_read(tmp_path):
    features = IMAGE | {"landmarks": tfds.features.Tensor(shape=(2, 2), dtype=np.float64)}
    fake(tmp_path, features, RECORD | {"landmarks": np.float64([[0.25, 0.5], [np.nan, np.nan]])})
    got = open_data(tmp_path).source("train")[0]["landmarks"]
    np.testing.assert_array_equal(got, np.float32([[0.25, 0.5], [np.nan, np.nan]]))


def test_an_array_of_the_images_size_is_not_resized(tmp_path):
    features = IMAGE | {"depth": tfds.features.Tensor(shape=(4, 4, 1), dtype=np.float32)}
    fake(tmp_path, features, RECORD | {"depth": np.ones((4, 4, 1), np.float32)})
    assert open_data(tmp_path).source("train")[0]["depth"].shape == (4, 4, 1)
    with pytest.raises(InputError, match=r"its depth is an array \(4, 4, 1\).*prepare it at 2x2"):
        open_data(tmp_path, height=2, width=2).source("train").annotation(0)
    assert open_data(tmp_path, height=2, width=2).source("train").image(0).shape == (2, 2, 3)  # which needs none


def test_unknown_features_are_left_alone(tmp_path):
    features = IMAGE | {"depth": tfds.features.Image(), "scores": tfds.features.Sequence(np.float32)}
    record = RECORD | {"depth": b"cannot be decoded", "scores": [1, 2, 3]}
    source = open_data(fake(tmp_path, features, record)).source("train")
    assert source[0].keys() == {"image", "id"}


def test_folders_that_are_no_data_set(tmp_path, landmarks):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no TFDS data set"):
        open_data(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(landmarks, tmp_path / "two" / name)
    with pytest.raises(InputError, match=r"holds 2 data sets; give one of them, such as .*two/a"):
        open_data(tmp_path / "two")
    with pytest.raises(InputError, match="has no split valid; it has train, test"):
        open_data(landmarks).source("valid")
    (tmp_path / "two" / "a" / "features.json").write_text("{")
    with pytest.raises(InputError, match="description cannot be read"):
        open_data(tmp_path / "two" / "a")
    next((tmp_path / "two" / "b").glob("*test.array_record*")).unlink()
    with pytest.raises(InputError, match="test records cannot be read"):
        open_data(tmp_path / "two" / "b")
    shutil.copytree(landmarks, tmp_path / "other")
    info = json.loads((tmp_path / "other" / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    (tmp_path / "other" / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="stored as tfrecord, which has no random access"):
        open_data(tmp_path / "other")


def test_registered_names(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"tfds:celeb_a: not prepared in .*download_and_prepare"):
        open_data("tfds:celeb_a")
    with pytest.raises(InputError, match="tfds:no_such_set: cannot be opened"):
        open_data("tfds:no_such_set")
    _, answers = celeb_a(tmp_path)
    (tmp_path / "fake").rename(tmp_path / "celeb_a")
    for path in (tmp_path / "celeb_a" / "2.1.0").iterdir():
        path.rename(path.with_name(path.name.replace("fake", "celeb_a")))
    info = tmp_path / "celeb_a" / "2.1.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"fake"', '"celeb_a"'))
    data = open_data("tfds:celeb_a")
    assert (data.name, data.keypoints) == ("celeb_a", 5)
    attributes = open_data("tfds:celeb_a#attributes")
    assert attributes.source("train")[1]["attributes"].sum() == answers[1].sum()
    assert dataclasses.replace(data, height=10, width=10).source("train").image(0).shape == (10, 10, 3)

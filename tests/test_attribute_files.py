"""Attributes of pictures from tables: as they were meant, or one line that says what is wrong."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ways import call, done

from began_jax.data.attribute_files import match_attributes
from began_jax.data.datasets import open_data, ordered
from began_jax.errors import InputError
from began_jax.export.attributes import attribute_writer

IDS = ["a.png", "b/c.jpg", "d.png"]


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "file_name,Bald,Young\na.png,1,0\nb/c.jpg,0,0\nd.png,0,1\n"),
        ("t.csv", "\ufeffBald,image,Young\r\n1,a.png,-1\r\n-1,b\\c.jpg,-1\r\n-1,./d.png,1\r\n"),
        (
            "t.csv",
            'file_name,caption,Bald,Young\na.png,"a man,\nwithout hair",yes,no\nb/c.jpg,x,No,No\nd.png,y,no,YES\n',
        ),
        ("t.csv", "image_id,Bald,Young,age\na.png,1.0,0.0,70\nb/c.jpg,0.0,0.0,35\nd.png,0.0,1.0,20\n"),
        ("t.csv", ",id,file_name,Bald,Young,doubt\n0,7,a.png,1,0,0\n1,8,b/c.jpg,0,0,1\n2,9,d.png,0,1,0.5\n"),
        ("t.csv", "file_name;age;Bald;Young\na.png;70,5;1;0\nb/c.jpg;35,5;0;0\nd.png;2,5;0;1\n"),
        ("t.csv", '"image";Bald;Young\na.png;1;0\nb/c.jpg;0;0\nd.png;0;1\n'),
        ("t.csv", "file_name\tBald\tYoung\na.png\t1\t0\nb/c.jpg\t0\t0\nd.png\t0\t1\n"),
        ("t.txt", "3\nBald Young\na.png 1 -1\nb/c.jpg -1 -1\nd.png -1 1\n"),
        (
            "t.jsonl",
            '{"file_name": "a.png", "text": "x", "Bald": true, "Young": false}\n'
            '{"file_name": "b/c.jpg", "Bald": 0, "Young": 0}\n\n{"file_name": "d.png", "Bald": false, "Young": 1}\n',
        ),
    ],
)
def test_a_table_is_read_as_it_was_meant(tmp_path, name, text):
    found = match_attributes(table(tmp_path / name, text), IDS)
    assert found.names == ("Bald", "Young")
    np.testing.assert_array_equal(found.values, [[1, 0], [0, 0], [0, 1]])
    left = ("the one without a name, id, doubt",) if "doubt" in text else ()
    other = [*left] or [column for column in ("caption", "age", "text") if re.search(rf"\b{column}\b", text)]
    assert [note.partition(": ")[2] for note in found.notes] == other


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("t.csv", "file_name,Bald\na.png,1\nd.png,0\n", "2 of 3 images; the first missing is b/c.jpg"),
        ("t.csv", "file_name,Bald\na.png,1\nb/c.jpg,2\nd.png,0\n", "b/c.jpg has '2' in column Bald; it must be 0 or 1"),
        ("t.csv", "file_name,Bald\na.png,1\nb/c.jpg,\nd.png,0\n", "b/c.jpg has no value in column Bald"),
        ("t.csv", "file_name,Bald\na.png,1\na.png,1\nb/c.jpg,1\nd.png,0\n", "a.png is there twice"),
        ("t.csv", "file_name,Bald\na.png,1\nb/c.jpg,1\nd.png,0\ne.png,0\n", "1 names without an image"),
        ("t.csv", "file_name,Bald\na.png,1,0\n", "a.png has 3 values; there must be 2"),
        ("t.csv", "file_name,age\na.png,70\nb/c.jpg,35\nd.png,20\n", "no column has 0 or 1"),
        ("t.csv", "picture,Bald\na.png,1\n", "no column is called file_name"),
        ("t.csv", "file_name,Bald,Bald\na.png,1,1\n", "two columns are called Bald"),
        ("t.csv", "x.png,Bald\nz.png,1\n", "no column is called file_name"),
        ("t.csv", "", "holds no pictures"),
        ("t.jsonl", "[1]\n", "line 1 is no object"),
        ("t.jsonl", '["file_name"]\n', "line 1 is no object"),
        ("t.txt", "2\nBald\na.png 1\na.png -1\n", "a.png is there twice"),
        ("t.xml", "", "must be .csv, .jsonl"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, name, text, what):
    with pytest.raises(InputError) as refused:
        match_attributes(table(tmp_path / name, text), IDS)
    assert what in str(refused.value) and str(tmp_path / name) in str(refused.value)


@settings(max_examples=20)
@given(values=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=6))
def test_what_is_written_is_read_back(values, tmp_path_factory):
    out, answers = tmp_path_factory.mktemp("set") / "out", np.array(values, np.float32)
    answers[0], answers[1] = (0, 1), (1, 0)
    names = ("Wearing Hat, or so", "Young")
    with attribute_writer(out, {}, names) as write:
        write(np.zeros((len(values), 2), np.float32), np.zeros((len(values), 4, 4, 3), np.uint8), answers)
    found = match_attributes(out / "attributes.csv", [f"{i:06d}.png" for i in range(len(values))])
    assert found.names == names
    np.testing.assert_array_equal(found.values, answers)


def test_a_folder_becomes_a_data_set_with_some_of_its_pictures_annotated(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    lines = [json.dumps({"file_name": f"{i}.png", "Bald": i % 2, "text": "x"}) for i in range(4)]
    path = table(tmp_path / "pictures" / "metadata.jsonl", "\n".join(lines))
    options = ["--images", tmp_path / "pictures", "--attributes", path, "--height", 8, "--width", 8]
    status, _, err = call("prepare.py", None, *options, "--out", tmp_path / "data")
    assert status == 2 and "4 of 6 images" in err
    printed = done("prepare.py", None, *options, "--out", tmp_path / "data", "--partial")
    assert "with 1 attributes for 4 of them" in printed and "no attributes: text" in printed
    data = open_data(tmp_path / "data")
    assert data.names == ("Bald",) and data.annotation == "attributes"
    np.testing.assert_array_equal(data.annotated("train"), range(4))
    np.testing.assert_array_equal(ordered(data.source("train"), 0, 4)["attributes"], [[0], [1], [0], [1]])
    status, _, err = call("prepare.py", None, *options, "--landmarks", path, "--out", tmp_path / "no")
    assert status == 2 and "--landmarks and --attributes: a data set has one annotation" in err

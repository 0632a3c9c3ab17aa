"""Pictures and masks as people have them: each is read as it is meant, or refused, or left out and said."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pycocotools import mask as coco

import prepare
from began_jax.data.datasets import open_data, ordered
from began_jax.data.mask_files import inside, match_masks, read_mask
from began_jax.data.mask_shapes import match_shapes
from began_jax.data.pictures import list_pictures
from began_jax.errors import InputError
from began_jax.images import read_image


def disc(radius, height=96, width=128):
    y, x = np.mgrid[:height, :width]
    return np.hypot(x - width / 2, y - height / 2) < radius


def jpeg(mask, quality):
    buffer = io.BytesIO()
    mask.save(buffer, "jpeg", quality=quality)
    return Image.open(buffer)


def black_and_white(mask):
    return Image.fromarray(mask.astype(np.uint8) * 255)


def indexed(values, colours):
    picture = Image.fromarray(values.astype(np.uint8))
    picture = picture.convert("P") if picture.mode != "P" else picture
    picture.putpalette(np.ravel(colours).tolist())
    return picture


def stored(folder, **pictures):
    """Writes pictures as PNG by their names and returns their paths in order."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return sorted(folder.iterdir())


MASK = disc(30)
WHITE_FIRST = [[255, 255, 255], [0, 0, 0]]
CUT_OUT = np.dstack([np.full((*MASK.shape, 3), 30, np.uint8), MASK.astype(np.uint8) * 255])
TWO_VALUED = {
    "white": black_and_white(MASK),
    "one": Image.fromarray(MASK.astype(np.uint8)),
    "two": Image.fromarray(MASK.astype(np.uint8) + 1),
    "bits": Image.fromarray(MASK),
    "deep": Image.fromarray(MASK.astype(np.uint16) * 65535),
    "fractions": Image.fromarray(MASK.astype(np.float32)),
    "colour": Image.fromarray(np.where(MASK[..., None], [200, 0, 40], 0).astype(np.uint8)),
    "white in colour": black_and_white(MASK).convert("RGB"),
    "inverted palette": indexed(~MASK, WHITE_FIRST),
    "dark palette": indexed(MASK, [[9, 9, 9], [0, 0, 0]]),
    "classes palette": indexed(MASK, [[0, 0, 0], [128, 0, 0]]),
    "grey palette": indexed(~MASK, [[100] * 3, [0] * 3]),
    "red palette": indexed(~MASK, [[255, 0, 0], [0, 0, 0]]),
    "quantised": Image.fromarray(np.where(MASK[..., None], [0, 200, 0], 0).astype(np.uint8)).quantize(2),
    "cut out": Image.fromarray(CUT_OUT),
    "black cut out": Image.fromarray(CUT_OUT * np.uint8([0, 0, 0, 1])),
    "opaque": Image.fromarray(np.dstack([MASK.astype(np.uint8) * 255] * 3 + [np.full(MASK.shape, 255, np.uint8)])),
}


@pytest.mark.parametrize("name", TWO_VALUED)
def test_of_two_values_the_higher_or_brighter_is_inside(tmp_path, name):
    picture = TWO_VALUED[name]
    if picture.mode == "F":
        (path,) = [tmp_path / "m.tiff"]
        picture.save(path)
    else:
        (path,) = stored(tmp_path / "m", mask=picture)
    np.testing.assert_array_equal(read_mask(path, inside([path], "masks"))[..., 0], MASK)


def test_soft_and_jpeg_masks_are_cut_at_the_middle(tmp_path):
    white = black_and_white(MASK)
    soft = white.filter(ImageFilter.GaussianBlur(3))
    anti_aliased = black_and_white(disc(120, 384, 512)).resize((128, 96), Image.Resampling.BOX)
    pictures = {"crisp": white, "jpeg75": jpeg(white, 75), "jpeg40": jpeg(white, 40), "soft": soft, "aa": anti_aliased}
    for some in (pictures, *({name: picture} for name, picture in pictures.items())):
        paths = stored(tmp_path / "-".join(some), **some)
        values = inside(paths, "masks")
        for path in paths:
            found = read_mask(path, values)[..., 0]
            assert abs(found.mean() - MASK.mean()) < 0.01 and (found != MASK).mean() < 0.01
    (path,) = stored(tmp_path / "colour", jpeg=jpeg(white.convert("RGB"), 60))
    assert (read_mask(path, inside([path], "masks"))[..., 0] != MASK).mean() < 0.01


CLASSES = np.select([disc(10), disc(25), disc(40)], [3, 2, 1], 0).astype(np.uint8)
RING = np.where(disc(27) & ~disc(23), 255, disc(25)).astype(np.uint8)
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], *[[0, 0, 0]] * 251, [224, 224, 192]], np.uint8)


@pytest.mark.parametrize(
    ("picture", "given", "expected"),
    [
        (Image.fromarray(CLASSES), "2", CLASSES == 2),
        (Image.fromarray(CLASSES), "2,3", CLASSES >= 2),
        (Image.fromarray(CLASSES), "1-2", (CLASSES == 1) | (CLASSES == 2)),
        (Image.fromarray(CLASSES * 80), "160", CLASSES == 2),
        (indexed(RING, COLOURS), "1", RING == 1),
        (indexed(RING, COLOURS), "#800000", RING == 1),
        (Image.fromarray(COLOURS[CLASSES]), "#008000, #808000", CLASSES >= 2),
    ],
)
def test_several_classes_ask_which_are_inside(tmp_path, picture, given, expected):
    empty = np.zeros(CLASSES.shape, np.uint8)
    paths = stored(tmp_path, a=picture, b=indexed(empty, COLOURS) if picture.mode == "P" else Image.fromarray(empty))
    with pytest.raises(InputError, match=r"masks: the masks hold the (values|colours) .*--mask-values, such as"):
        inside(paths, "masks")
    values = inside(paths, "masks", given)
    np.testing.assert_array_equal(read_mask(paths[0], values)[..., 0], expected)
    assert not read_mask(paths[1], values).any()


def test_classes_are_seen_in_the_whole_set_and_in_jpeg(tmp_path):
    two = [Image.fromarray(np.where(value == CLASSES, value, 0).astype(np.uint8)) for value in (1, 2)]
    with pytest.raises(InputError, match=r"0 \(.*1 \(.*2 \("):
        inside(stored(tmp_path / "two", a=two[0], b=two[1]), "masks")
    with pytest.raises(InputError, match="--mask-values"):
        inside(stored(tmp_path / "jpeg", a=jpeg(Image.fromarray(CLASSES * 80), 80)), "masks")
    depth = np.random.default_rng(0).integers(0, 256, MASK.shape, np.uint8)
    with pytest.raises(InputError, match="nothing is clearly inside"):
        inside(stored(tmp_path / "depth", a=Image.fromarray(depth)), "masks")
    with pytest.raises(InputError, match=r"hold the value 0 \(100.0 %\) alone"):
        inside(stored(tmp_path / "empty", a=Image.fromarray(0 * CLASSES)), "masks")
    for given in ("7", "#123456"):
        with pytest.raises(InputError, match=f"no mask holds a value of --mask-values {given}"):
            inside(stored(tmp_path / "two"), "masks", given)
    with pytest.raises(InputError, match="must be values, ranges or colours"):
        inside(stored(tmp_path / "two"), "masks", "iris")


def test_a_mask_belongs_to_one_picture(tmp_path):
    for name in ("a.png", "b.png"):
        stored(tmp_path / "m", **{name[0]: black_and_white(MASK)})
    black_and_white(MASK).save(tmp_path / "m" / "c.bmp")
    found = match_masks(tmp_path / "m", ["a.jpg", "b.png", "c.jpg"], False).of
    assert [path.name for path in found.values()] == ["a.png", "b.png", "c.bmp"]
    with pytest.raises(InputError, match=r"a\.gif and a\.jpg would share the mask a\.png"):
        match_masks(tmp_path / "m", ["a.gif", "a.jpg"], False)
    black_and_white(MASK).save(tmp_path / "m" / "c.gif")
    with pytest.raises(InputError, match=r"c\.bmp and c\.gif may be the mask of c\.jpg"):
        match_masks(tmp_path / "m", ["c.jpg"], False)


def test_what_is_transparent_shows_white_whatever_it_hides(tmp_path):
    rng, inner = np.random.default_rng(0), disc(10, 32, 32)
    expected = np.where(inner[..., None], 120, 255)
    alpha = inner.astype(np.uint8) * 255
    for name, hidden in {"noise": rng.integers(0, 255, (32, 32, 3)), "black": 0, "white": 255}.items():
        colour = np.where(inner[..., None], 120, hidden).astype(np.uint8)
        stored(tmp_path / "p", **{name: Image.fromarray(np.dstack([colour, alpha]))})
    grey = np.where(inner, 120, rng.integers(0, 255, (32, 32))).astype(np.uint8)
    stored(tmp_path / "p", la=Image.fromarray(np.dstack([grey, alpha])))
    red = Image.fromarray(np.where(inner[..., None], [120] * 3, [255, 0, 0]).astype(np.uint8))
    red.save(tmp_path / "p" / "trns.png", transparency=(255, 0, 0))
    red.quantize(4).save(tmp_path / "p" / "palette.gif", transparency=int(np.asarray(red.quantize(4))[0, 0]))
    ids = list_pictures(tmp_path / "p").ids
    assert len(ids) == 6
    for name in ids:
        for channels in (1, 3):
            found = read_image(tmp_path / "p" / name, channels)
            np.testing.assert_array_equal(found, np.broadcast_to(expected, (32, 32, channels)), err_msg=name)
    half = np.dstack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 51, np.uint8)])
    (path,) = stored(tmp_path / "half", a=Image.fromarray(half))
    assert (read_image(path, 3) == 204).all()  # a fifth black, the rest white


def test_a_folder_is_listed_through_links_without_what_is_hidden(tmp_path):
    root, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    for folder in (root, root / "own", elsewhere, root / ".thumbnails", root / "@eaDir", root / "__MACOSX"):
        folder.mkdir(exist_ok=True, parents=True)
        picture.save(folder / "a.png")
    (root / "linked").symlink_to(elsewhere)
    (root / "own" / "b.png").symlink_to(elsewhere / "a.png")
    (elsewhere / "back").symlink_to(root)  # no circle
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("x.jfif", "x.gif", "x.ppm", "x.pgm", "x.tga", "x.jp2", "x.TIF"):
        (picture.convert("L") if name.endswith("pgm") else picture).save(root / name)
    picture.save(root / "pages.tif", save_all=True, append_images=[picture.rotate(90)])
    for name in ("notes.txt", "y.heic", "z.heic", ".DS_Store", "Thumbs.db", "x.jpg~", "._x.jpg"):
        (root / name).write_bytes(b"\0" * 40)
    found = list_pictures(root)
    here = ["x.jfif", "x.gif", "x.ppm", "x.pgm", "x.tga", "x.jp2", "x.TIF", "pages.tif", "a.png"]
    assert found.ids == sorted([*here, "own/a.png", "own/b.png", "linked/a.png"])
    skipped, several = found.notes
    assert "5 files (2 .heic, " in skipped and all(f"1 {kind}" in skipped for kind in (".txt", ".jpg~", "broken links"))
    assert several.startswith("1 files in") and "the first is taken" in several
    np.testing.assert_array_equal(read_image(root / "pages.tif", 3), np.asarray(picture))


def test_a_name_that_is_not_utf8_is_refused_in_one_line(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/Mu\xf1oz.jpg", "wb") as file:
            Image.new("RGB", (8, 8)).save(file, "jpeg")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    with pytest.raises(InputError, match=r"the name Mu\\xf1oz\.jpg is not UTF-8; rename"):
        list_pictures(tmp_path)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools beside numpy 2
def test_outlines_of_coco_are_the_masks_that_pycocotools_draws(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(4)]
    images = [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names)]
    masks = [(np.hypot(*(np.mgrid[:30, :40] - rng.uniform(10, 20, (2, 1, 1)))) < rng.uniform(4, 9)) for _ in range(2)]
    packed = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    rows = [{"size": [30, 40], "counts": packed[0]["counts"].decode()}]
    rows.append({"size": [30, 40], "counts": coco_runs(masks[1])})
    corners = [[5.2, 4.1, 30.7, 6.3, 22.4, 25.9], [31, 20, 39, 20, 39, 29, 31, 29]]
    found = [{"image_id": i, "category_id": 1, "segmentation": s} for i, s in enumerate([*rows, corners])]
    found.append({"image_id": 0, "category_id": 2, "segmentation": [[0, 0, 40, 0, 40, 30, 0, 30]]})
    document = {
        "images": images,
        "annotations": found,
        "categories": [{"id": 1, "name": "iris"}, {"id": 2, "name": "eye"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"holds shapes of iris \(4\), eye \(1\); say which are inside"):
        match_shapes(tmp_path / "a.json", names, False)
    shapes = match_shapes(tmp_path / "a.json", names, False, "iris")
    drawn = [shapes.read(name, 30, 40)[..., 0] for name in names]
    np.testing.assert_array_equal(drawn[0], masks[0])
    np.testing.assert_array_equal(drawn[1], masks[1])
    theirs = coco.decode(coco.merge(coco.frPyObjects(corners, 30, 40)))
    assert (drawn[2] & theirs).sum() / (drawn[2] | theirs).sum() > 0.95 and not drawn[3].any()
    np.testing.assert_array_equal(drawn[2][20:29, 31:39], 1)  # the square of whole pixels is exact
    assert match_shapes(tmp_path / "a.json", names, False, "iris,eye").read("0.png", 30, 40).all()
    with pytest.raises(InputError, match=r"shapes of 0\.png are drawn in 40x30, and 0\.png has 30x30 pixels"):
        shapes.read("0.png", 30, 30)


def coco_runs(mask):
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [-1]])
    return np.diff([0, *np.flatnonzero(np.diff(flat))]).tolist()


def test_ellipses_and_boxes_of_cvat_are_turned_clockwise(tmp_path):
    shape = {"ellipse": 'cx="30" cy="20" rx="15" ry="6"', "box": 'xtl="15" ytl="14" xbr="45" ybr="26"'}
    y, x = np.mgrid[:40, :60] + 0.5
    for degrees in (0, 30, 90, 200):
        along, across = (np.deg2rad(degrees + more) for more in (0, 90))  # y points down, so this turns clockwise
        u, v = ((x - 30) * np.cos(a) + (y - 20) * np.sin(a) for a in (along, across))
        inside = {"ellipse": (u / 15) ** 2 + (v / 6) ** 2 < 1, "box": (abs(u) < 15) & (abs(v) < 6)}
        for tag, where in shape.items():
            turned = f'rotation="{degrees}"' if degrees else ""
            (tmp_path / "a.xml").write_text(
                f'<annotations><image id="0" name="a.png" width="60" height="40"><{tag} label="iris" {where} {turned}/>'
                "</image></annotations>"
            )
            drawn = match_shapes(tmp_path / "a.xml", ["a.png"], False).read("a.png", 40, 60)[..., 0] > 0
            assert (drawn & inside[tag]).sum() / (drawn | inside[tag]).sum() > 0.98


def test_outlines_of_labelme_and_cvat(tmp_path):
    square = np.zeros((12, 16), bool)
    square[3:8, 2:9] = True
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a", "b"):
        Image.new("L", (16, 12)).save(images / f"{name}.png")
    shape = {"label": "iris", "points": [[2, 3], [9, 3], [9, 8], [2, 8]], "shape_type": "polygon"}
    label = {"version": "5", "shapes": [shape], "imagePath": "a.png", "imageWidth": 16, "imageHeight": 12}
    (images / "a.json").write_text(json.dumps(label))
    box = {"label": "iris", "points": [[2, 3], [9, 8]], "shape_type": "rectangle"}
    ball = {"label": "pupil", "points": [[8, 6], [11, 6]], "shape_type": "circle"}
    (images / "b.json").write_text(json.dumps(label | {"shapes": [box, ball]}))
    shapes = match_shapes(images, ["a.png", "b.png"], False, "iris")
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(shapes.read(name, 12, 16)[..., 0], square)
    found = match_shapes(images, ["a.png", "b.png"], False, "pupil").read("b.png", 12, 16)[..., 0]
    assert abs(found.sum() - np.pi * 9) < 4
    rle = f"0,{5 * 7}"
    (tmp_path / "cvat.xml").write_text(
        '<annotations><image id="0" name="a.png" width="16" height="12">'
        '<polygon label="iris" points="2,3;9,3;9,8;2,8"/></image>'
        '<image id="1" name="b.png" width="16" height="12">'
        f'<mask label="iris" rle="{rle}" left="2" top="3" width="7" height="5"/></image></annotations>'
    )
    shapes = match_shapes(tmp_path / "cvat.xml", ["a.png", "b.png"], False)
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(shapes.read(name, 12, 16)[..., 0], square)
    out = tmp_path / "out"
    prepare.main(
        [
            "--images",
            str(images),
            "--masks",
            str(images),
            "--mask-values",
            "iris",
            "--out",
            str(out),
            "--height",
            "12",
            "--width",
            "16",
        ]
    )
    got = ordered(open_data(out).source("train"), 0, 2)
    np.testing.assert_array_equal(got["mask"][..., 0], np.stack([square, square]))
    (images / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"--masks .*: cannot be read \(JSONDecodeError"):
        match_shapes(images, ["a.png", "b.png"], False)


def test_masks_of_several_kinds_of_cut_outs(tmp_path):
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 255, (*MASK.shape, 3), np.uint8)
    alpha = MASK.astype(np.uint8) * 255
    paths = stored(tmp_path / "photographs", a=Image.fromarray(np.dstack([photograph, alpha])))
    paths += stored(tmp_path / "grey", a=Image.fromarray(np.dstack([photograph[..., 0], alpha])))
    for path in paths:
        np.testing.assert_array_equal(read_mask(path, inside([path], "masks"))[..., 0], MASK)
    black = np.zeros((*MASK.shape, 3), np.uint8)
    full = Image.fromarray(np.dstack([black, np.full(MASK.shape, 255, np.uint8)]))
    both = stored(tmp_path / "black", a=Image.fromarray(np.dstack([black, alpha])), b=full)
    values = inside(both, "masks")
    assert (read_mask(both[0], values)[..., 0] == MASK).all() and read_mask(both[1], values).all()


def test_masks_that_are_not_alike_or_hold_several_pictures_are_refused(tmp_path):
    soft = black_and_white(MASK).filter(ImageFilter.GaussianBlur(3))
    low = Image.fromarray(MASK.astype(np.uint8))
    with pytest.raises(InputError, match="some masks hold values to 1 and others to 255; store them alike"):
        inside(stored(tmp_path / "mixed", a=soft, b=low), "masks")
    low.save(tmp_path / "pages.tif", save_all=True, append_images=[low])
    with pytest.raises(InputError, match="it holds several pictures"):
        inside([tmp_path / "pages.tif"], "masks")
    with pytest.raises(InputError, match="must be values or colours, not both"):
        inside([], "masks", "2,#ff0000")


def test_a_turned_mask_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    mask = np.zeros((12, 16), bool)
    mask[:3, :5] = True
    Image.fromarray(np.rot90(mask, 2)).convert("L").save(tmp_path / "a.png", exif=exif)
    path = tmp_path / "a.png"
    np.testing.assert_array_equal(read_mask(path, inside([path], "masks"))[..., 0], mask)


def test_sixteen_bits_that_are_not_used_are_no_black_picture(tmp_path):
    values = np.random.default_rng(0).integers(0, 1024, (8, 8)).astype(np.uint16)
    (path,) = stored(tmp_path / "p", a=Image.fromarray(values))
    with pytest.raises(InputError, match=r"16 bits a pixel and values to 10\d\d only; scale them to 65535"):
        read_image(path, 1)
    (tmp_path / "p.pgm").write_bytes(b"P5 8 8 65535 " + (values * 64).astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "p.pgm", 1)[..., 0], values * 64 // 257)


def test_links_to_themselves_are_broken_links(tmp_path):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    found = list_pictures(tmp_path)
    assert found.ids == ["a.png"] and "1 broken links" in found.notes[0]

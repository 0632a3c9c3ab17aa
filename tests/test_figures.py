import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from began_jax import figures
from began_jax.errors import InputError
from began_jax.images import to_uint8


def flat(*levels, height=20, width=30, channels=3):
    """Images of one level each."""
    return np.broadcast_to(np.float32(levels)[:, None, None, None], (len(levels), height, width, channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_places_images_row_by_row(channels):
    images = np.random.default_rng(0).uniform(-1, 1, (5, 20, 30, channels)).astype(np.float32)
    sheet = np.asarray(figures.grid(jnp.asarray(images), columns=3, scale=1)).reshape(44, 98, channels)
    for i, image in enumerate(to_uint8(images)):
        top, left = (i // 3) * 24, (i % 3) * 34
        np.testing.assert_array_equal(sheet[top : top + 20, left : left + 30], image)
    assert (sheet[24:, 68:] == 255).all()  # the place of the missing sixth


def test_grid_enlarges_small_images():
    assert figures.grid(flat(0, height=16, width=16)).size == (160, 160)
    assert figures.grid(flat(0, height=96, width=128)).size == (128, 96)


def test_landmark_is_drawn_at_its_pixel():
    images = flat(0, 0, height=64, width=128)
    points = np.float32([[[0.25, 0.75]], [[0.5, 0.5]]])
    sheet = np.asarray(figures.annotated_grid(images, points, columns=1, scale=2), np.int32)
    grey = int(to_uint8(np.zeros(1))[0])
    for top, (x, y) in ((0, (64, 96)), (132, (128, 64))):
        marked = np.abs(sheet[top : top + 128] - grey).max(axis=-1) > 0
        rows, columns = np.nonzero(marked)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], [x, y], atol=0.3)
        assert 4 <= np.ptp(rows) <= 8


def test_mask_is_tinted_inside_and_outlined():
    images, masks = flat(-0.5, channels=1, height=40, width=40), np.zeros((1, 40, 40, 1), np.float32)
    masks[0, 10:30, 10:30] = 1
    plain = np.asarray(figures.grid(images, scale=4).convert("RGB"), np.int32)
    change = np.abs(np.asarray(figures.annotated_grid(images, masks=masks, scale=4)) - plain).sum(axis=-1)
    assert (change[:36] == 0).all() and (change[:, 124:] == 0).all()
    assert (change[50:110, 50:110] > 0).all()
    across = change[80]  # strongest on the two borders, at 40 and 120
    assert abs(int(across[:80].argmax()) - 39.5) <= 1.5 and abs(int(across[80:].argmax()) + 80 - 119.5) <= 1.5


def test_reconstructions_stand_below_their_originals():
    levels = np.linspace(-1, 0, 5)
    sheet = np.asarray(figures.reconstructions(flat(*levels), flat(*-levels), columns=3, scale=1))
    tops = [0, 24, 56, 80]  # the second band stands apart
    seen = [[int(sheet[top + 10, left + 15, 0]) for left in (0, 34, 68)] for top in tops]
    up, down = to_uint8(levels).tolist(), to_uint8(-levels).tolist()
    assert seen == [up[:3], down[:3], [*up[3:], 255], [*down[3:], 255]]


def test_strip_is_one_row():
    assert figures.strip(flat(0, 0, 0), scale=1).size == (98, 20)


def test_gif_goes_forth_and_back(tmp_path):
    frames = [Image.new("RGB", (8, 8), (level, 0, 255 - level)) for level in (0, 80, 160)]
    path = tmp_path / "new" / "walk.gif"
    figures.save_gif(path, frames, seconds_per_frame=0.2)
    with Image.open(path) as gif:
        seen = []
        for i in range(gif.n_frames):
            gif.seek(i)
            assert gif.info["duration"] == 200
            seen.append(gif.convert("RGB").getpixel((3, 3))[0])
    np.testing.assert_allclose(seen, [0, 80, 160, 80], atol=2)
    assert [p.name for p in path.parent.iterdir()] == ["walk.gif"]


def test_save_image_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "er" / "grid.png"
    picture = figures.grid(flat(0.3))
    figures.save_image(path, picture)
    with Image.open(path) as again:
        assert np.array_equal(np.asarray(again), np.asarray(picture))
    before = path.read_bytes()

    def fail(self, where, **_):
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        figures.save_image(path, picture)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["grid.png"]
    with pytest.raises(InputError, match=r"\.png"):
        figures.save_image(tmp_path / "grid.what", picture)

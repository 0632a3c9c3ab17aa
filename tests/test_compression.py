"""Images as latents of few bits: how far rounding takes them, what a stage writes and draws again, codecs beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from ways import assert_refused, done, figures, train_options

from began_jax import compression
from began_jax.errors import InputError
from began_jax.run.folder import Run


@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 5), st.integers(0, 5))
def test_a_rounded_latent_is_at_most_half_a_step_away(bits, count, latent, seed):
    z = np.random.default_rng(seed).normal(0, 2, (count, latent)).astype(np.float32)
    packed = compression.pack(z, bits)
    step = (z.max(0) - z.min(0)) / (2**bits - 1)
    assert np.all(np.abs(compression.unpack(packed) - z) <= step / 2 + 1e-5)
    assert packed.codes.nbytes == -(-count * latent * bits // 8)
    again = compression.pack(compression.unpack(packed), bits)
    np.testing.assert_array_equal(again.codes, packed.codes)


def test_sixteen_bits_are_float16():
    z = np.random.default_rng(0).normal(0, 2, (3, 4)).astype(np.float32)
    np.testing.assert_array_equal(compression.unpack(compression.pack(z, 16)), z.astype(np.float16))


@pytest.mark.parametrize("bits", [0, 9, 12, 17])
def test_other_bits_are_refused(bits):
    with pytest.raises(InputError, match="1 to 8, or 16"):
        compression.pack(np.zeros((2, 2), np.float32), bits)


@pytest.mark.parametrize("form", compression.FORMATS)
@pytest.mark.parametrize("shape", [(5, 20, 24, 3), (3, 16, 16, 1)])
def test_a_sheet_gives_each_image_back_within_its_size(form, shape):
    rows = np.linspace(0, 200, shape[1])[None, :, None, None]
    images = np.broadcast_to(rows + 10 * np.arange(shape[0])[:, None, None, None], shape).astype(np.uint8)
    large = compression.of_size(images, form, 10**6)
    assert large.images.shape == shape and large.quality == 95 and compression.psnr_db(images, large.images) > 35
    small = compression.of_size(images, form, large.size // 2)
    assert small.size <= large.size // 2 or small.quality == 1
    assert compression.psnr_db(images, small.images) <= compression.psnr_db(images, large.images)


def test_a_sheet_is_no_larger_than_readers_take():
    assert compression.most(1024, 1024, 256) * 1024**2 <= 64_000_000 and compression.most(64, 64, 256) == 256
    assert compression.most(20_000, 20_000, 256) == 1


def test_a_run_is_packed_and_drawn_again(tiny_faces, tmp_path):
    run = tmp_path / "run"
    done("train.py", run, *train_options(tiny_faces), "--steps", 4)
    done("invert.py", run, "--steps", 3, "--shard-size", 8)
    printed = done("compress.py", run, "--out", tmp_path / "packed", "--bits", 6)
    assert printed.startswith("compress: 24 images, 8 numbers of 6 bits each")
    found, opened = figures(run), Run.open(run)
    with np.load(tmp_path / "packed" / "latents.npz") as file:
        packed = compression.Packed(**{name: file[name] for name in compression.Packed._fields})
    assert found["compress/bits_a_pixel"] == pytest.approx(8 * packed.size / (24 * 16 * 16))
    z = np.concatenate([opened.latents(split)["z"] for split in ("train", "test")])
    drawn = opened.inverted.pictures(compression.unpack(packed))
    images = np.stack([opened.data.source(s).image(i) for s, n in (("train", 20), ("test", 4)) for i in range(n)])
    assert found["compress/psnr_db"] == pytest.approx(compression.psnr_db(images, drawn))
    assert found["compress/unrounded_psnr_db"] == pytest.approx(
        compression.psnr_db(images, opened.inverted.pictures(z))
    )
    assert {f"compress/{form}_psnr_db" for form in compression.FORMATS} < found.keys()
    assert (run / "figures" / "compression.png").is_file()

    done("compress.py", run, "--unpack", tmp_path / "packed", "--out", tmp_path / "pictures")
    ids = (tmp_path / "packed" / "ids.txt").read_text().split()
    for name, wanted in zip(ids, drawn, strict=True):
        path = tmp_path / "pictures" / (name if name.endswith(".png") else f"{name}.png")
        np.testing.assert_array_equal(np.asarray(Image.open(path)), wanted)

    (tmp_path / "none").mkdir()
    for options, wanted in (
        (["--unpack", tmp_path / "none"], ["compressed.json"]),
        (["--unpack", tmp_path / "packed", "--out", tmp_path / "pictures"], ["not empty"]),
        (["--bits", 12], ["1 to 8, or 16"]),
        (["--unpack", tmp_path / "packed", "--bits", 6], ["goes without --unpack"]),
    ):
        assert_refused(run, "compress.py", run, "--out", tmp_path / "new", *options, wanted=wanted)
        assert not (tmp_path / "new").exists()
    told = (tmp_path / "packed" / "compressed.json").read_text().replace('"generator_step": 4', '"generator_step": 8')
    (tmp_path / "packed" / "compressed.json").write_text(told)
    wanted = ["generator step is 8, and that of", "is 4"]
    assert_refused(run, "compress.py", run, "--unpack", tmp_path / "packed", "--out", tmp_path / "new", wanted=wanted)

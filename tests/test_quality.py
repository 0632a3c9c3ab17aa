"""Measures of a generator: against loops over pairs and other libraries' formulas, and what must make them bad."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from PIL import Image, ImageFilter

from began_jax import features, quality
from began_jax.data.datasets import open_data
from began_jax.data.synthetic.dataset import write_synthetic
from began_jax.data.synthetic.faces import render
from began_jax.errors import InputError
from began_jax.images import to_float
from began_jax.run.measures import LEAST, Quality

FIGURES = ("precision", "recall", "density", "coverage", "frechet", "copies_percent")


def normal(seed, count=40, size=5, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (count, size))


@pytest.fixture(scope="module")
def faces():
    return np.stack([render(0, i, 32, 32)[0] for i in range(160)])


def blurred(images):
    return np.stack([np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(1.5))) for x in images])


def test_manifolds_equal_loops_over_all_pairs(monkeypatch):
    monkeypatch.setattr(quality, "BLOCK", 7)
    real, generated, k = normal(0, 30), normal(1, 25, mean=0.5), 3

    def reach(set_, i):
        return np.sort([np.linalg.norm(set_[i] - v) for j, v in enumerate(set_) if j != i])[k - 1]

    inside = np.array([[np.linalg.norm(r - g) < reach(real, i) for g in generated] for i, r in enumerate(real)])
    back = np.array([[np.linalg.norm(r - g) < reach(generated, j) for j, g in enumerate(generated)] for r in real])
    found = quality.manifolds(real, generated, k)
    np.testing.assert_array_equal(found.precision, inside.any(0))
    np.testing.assert_array_equal(found.recall, back.any(1))
    np.testing.assert_allclose(found.density, inside.sum(0) / k)
    np.testing.assert_array_equal(found.coverage, inside.any(1))


def test_one_image_again_and_again_covers_nothing_and_has_no_recall():
    real = normal(0, 200)
    found = quality.manifolds(real, np.repeat(real[:1], 200, axis=0))
    assert found.precision.mean() == 1 and found.coverage.mean() < 0.1 and found.recall.mean() == 0


def test_sets_no_larger_than_k_are_refused():
    with pytest.raises(ValueError, match="more than k = 5"):
        quality.manifolds(normal(0, 5), normal(1, 40))


@pytest.mark.parametrize(("count", "size"), [(40, 5), (6, 9)])
def test_frechet_distance_is_that_of_the_matrix_square_root(count, size):
    a, b = normal(0, count, size), normal(1, count + 3, size, mean=0.3)
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb + 1e-12 * np.eye(size)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    np.testing.assert_allclose(quality.frechet_distance(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(quality.frechet_distance(a, a), 0, atol=1e-9)


@pytest.mark.parametrize(("period", "octave"), [(2, 0), (3, 0), (6, 1), (12, 2), (24, 3)])
def test_a_wave_has_its_energy_in_the_octave_of_its_period(period, octave):
    _, x = np.mgrid[:48, :72]
    wave = np.cos(2 * np.pi * x / period)[None, ..., None]
    for images in (wave, np.swapaxes(wave[:, :, :48], 1, 2), np.repeat(wave, 3, axis=3)):
        energies = quality.octave_energies(images)[0]
        assert energies[octave] > 0.999 * energies.sum()


def test_energies_in_all_octaves_are_the_variance_but_for_the_corners():
    x = normal(0, 2 * 16 * 16).reshape(-1)[: 2 * 16 * 16].reshape(2, 16, 16, 1)
    power = np.abs(np.fft.fft2(x[..., 0] - x[..., 0].mean((1, 2), keepdims=True))) ** 2
    f = 2 * np.fft.fftfreq(16)
    corners = np.hypot(f[:, None], f[None]) > 1
    np.testing.assert_allclose(quality.octave_energies(x).sum(1), power[:, ~corners].sum(1), rtol=1e-5)


def test_nearest_equals_a_sort_and_finds_copies():
    queries, references = normal(0, 300), normal(1, 50)
    references[7] = queries[3]
    distance, which = quality.nearest(queries, references, 4)
    every = np.linalg.norm(queries[:, None] - references[None], axis=-1)
    np.testing.assert_array_equal(which, np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :4], atol=1e-6)
    assert which[3, 0] == 7 and distance[3, 0] < 1e-6


def test_jackknife_intervals_hold_the_true_mean_in_95_percent_of_the_cases():
    held = []
    for x in np.random.default_rng(0).normal(3, 1, (1000, 200)):
        half = quality.jackknife(lambda rows, x=x: {"mean": x[rows].mean()}, len(x))["mean"]
        held.append(abs(x.mean() - 3) < half)
    assert 0.93 < np.mean(held) < 0.97


def test_scattering_equals_its_definition_in_numpy(faces):
    x = to_float(faces[:2]).astype(np.float64)
    grey = x @ np.array([0.299, 0.587, 0.114])
    found = np.asarray(features.scattering(faces[:2]))
    bank = features.wavelets(32, 32)
    moduli = np.abs(np.fft.ifft2(np.fft.fft2(grey)[:, None] * bank))
    cells = moduli.reshape(2, len(bank), 4, 8, 4, 8).mean((3, 5))
    expected = np.log(np.moveaxis(cells, 1, -1) + 0.01).reshape(2, -1)
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, atol=1e-3)
    colours = x.reshape(2, 8, 4, 8, 4, 3).mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(found[:, expected.shape[1] :], colours, atol=1e-5)


def test_cells_may_cut_through_pixels_and_average_all_of_them():
    rows = features._cells(10, 4)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows.sum(0), 0.4, rtol=1e-6)


def test_a_grey_image_has_the_coefficients_of_its_copy_in_colour(faces):
    grey = faces[:2, ..., :1]
    alone, three = features.scattering(grey), features.scattering(jnp.repeat(grey, 3, axis=3))
    count = features.SCALES * features.DIRECTIONS * features.CELLS**2
    np.testing.assert_allclose(alone[:, :count], three[:, :count], atol=1e-4)


def test_blurred_faces_lie_apart_from_sharp_ones_in_every_measure(faces):
    real, others = faces[:80], faces[80:]
    raw = np.asarray(features.scattering(real))
    standard = lambda x: (np.asarray(features.scattering(x)) - raw.mean(0)) / raw.std(0)  # noqa: E731
    sharp, soft = (quality.manifolds(standard(real), standard(x)) for x in (others, blurred(others)))
    assert sharp.precision.mean() > 0.8 and soft.precision.mean() < 0.1
    assert sharp.coverage.mean() > 0.8 and soft.coverage.mean() < 0.1
    near, far = (quality.frechet_distance(standard(real), standard(x)) for x in (others, blurred(others)))
    assert far > 3 * near
    ratio = quality.octave_energies(to_float(blurred(others))).mean(0) / quality.octave_energies(to_float(others)).mean(
        0
    )
    assert ratio[0] < 0.3 and ratio[3] > 0.8


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """160 training faces and 80 held-out ones, 16x16, and the same training faces without a test split."""
    folder = tmp_path_factory.mktemp("sets")
    write_synthetic("synthetic-faces", folder / "both", 240, 1 / 3, 16, 16, 0)
    write_synthetic("synthetic-faces", folder / "all", 160, 0.0, 16, 16, 0)
    return open_data(folder / "both"), open_data(folder / "all")


def split(data, name):
    source = data.source(name)
    return np.stack([source.image(i) for i in range(len(source))])


def test_held_out_images_get_their_floor_and_copies_are_found(sets):
    data, _ = sets
    measures = Quality(data, 1000)
    assert measures.count == 80
    report = measures.report(split(data, "test"))
    for name in FIGURES:
        np.testing.assert_allclose(report[name], report[f"{name}_floor"], rtol=1e-5)
        assert report[f"{name}_interval"] >= 0
    for octave in range(1, 4):
        np.testing.assert_allclose(report[f"energy_octave_{octave}"], 1, rtol=1e-5)
    assert "energy_octave_4" not in report  # 16 pixels are too few for it
    assert report["copies_percent"] == 5 and (report["images"], report["training_images"]) == (80, 160)
    copies = split(data, "train")[:80]
    assert measures.measure(copies)["copies_percent"] == 100


def test_measures_see_blur_and_collapse_beside_the_floor(sets):
    data, _ = sets
    measures, test = Quality(data, 80), split(sets[0], "test")
    floor, soft = measures.measure(test), measures.measure(blurred(test))
    one = measures.measure(np.repeat(test[:1], 80, axis=0))
    assert soft["coverage"] < 0.5 * floor["coverage"] and soft["energy_octave_1"] < 0.3
    assert one["coverage"] < 0.3 * floor["coverage"] and one["recall"] == 0
    assert min(soft["frechet"], one["frechet"]) > 2 * floor["frechet"]


def test_without_a_test_split_every_second_training_image_is_held_out(sets):
    _, data = sets
    measures, images = Quality(data, 1000), split(sets[1], "train")
    assert measures.count == 80
    report = measures.report(images[1::2])
    assert report["precision"] == report["precision_floor"] < 1
    assert measures.measure(images[::2])["copies_percent"] == 100


def test_features_may_be_any_function_of_uint8_images(sets):
    data, _ = sets
    seen = []

    def means(images):
        seen.append((images.dtype, images.shape[1:]))
        return images.mean((1, 2))

    images = split(data, "test")[:60]
    report = Quality(data, 60, function=means, name="mine.py:means").report(images)
    train = split(data, "train")[np.linspace(0, 159, 60).astype(int)]
    np.testing.assert_allclose(report["frechet"], quality.frechet_distance(means(train), means(images)))  # as they are
    assert set(seen) == {(np.dtype("uint8"), (16, 16, 3))}
    assert report["features"] == "mine.py:means"


@pytest.mark.parametrize(
    "function", [lambda x: x[:7].mean((1, 2)), lambda x: x.mean((1, 2, 3)), lambda x: np.nan * x.mean((1, 2))]
)
def test_features_of_another_shape_or_not_finite_are_refused(sets, function):
    with pytest.raises(InputError, match=r"mine: .* for 100 images; features must be \[100, F\] and finite"):
        Quality(sets[0], 60, function=function, name="mine")


def test_the_picture_shows_the_nearest_training_images_below_the_suspects(sets):
    data, _ = sets
    copies = split(data, "train")[:60]
    picture = np.asarray(Quality(data, 60).picture(copies))
    tile = (picture.shape[1] + 4) // 12  # a grid's gaps are of 4 pixels
    np.testing.assert_array_equal(picture[: tile - 4], picture[tile : 2 * tile - 4])


def test_too_few_images_are_refused(tmp_path, tiny_faces):
    with pytest.raises(InputError, match=f"4 images are too few .* it takes {LEAST}"):
        Quality(open_data(tiny_faces), 1000)

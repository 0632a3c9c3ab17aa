import numpy as np
import pytest

from began_jax.data.synthetic import drawing
from began_jax.data.synthetic import faces as synthetic_faces
from began_jax.data.synthetic import factors as synthetic_factors
from began_jax.data.synthetic import irises as synthetic_irises

INDICES = range(12)
RENDERERS = pytest.mark.parametrize("render", [synthetic_faces.render, synthetic_irises.render])
BROWS, EYES = (slice(0, 5), slice(5, 10)), (slice(19, 25), slice(25, 31))
MOUTH = slice(31, 49)


def shrink(image, factor):
    height, width, channels = image.shape
    return image.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


def pixel(image, point):
    height, width, _ = image.shape
    return image[int(point[1] * height), int(point[0] * width)].astype(float)


def redness(image, point):
    red, green, blue = pixel(image, point)
    return red / (red + green + blue)


@RENDERERS
def test_same_seed_and_index_give_the_same_bytes(render):
    for first, second in zip(render(3, 5, 36, 48), render(3, 5, 36, 48), strict=True):
        assert first.tobytes() == second.tobytes()


@RENDERERS
@pytest.mark.parametrize("other", [(3, 6), (4, 5), (5, 3)])
def test_another_seed_or_index_gives_another_scene(render, other):
    for first, second in zip(render(3, 5, 36, 48), render(*other, 36, 48), strict=True):
        assert not np.array_equal(first, second)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 48), (64, 64), (40, 56)])
def test_faces_have_the_documented_types_and_ranges(height, width):
    for index in INDICES:
        image, landmarks = synthetic_faces.render(0, index, height, width)
        assert (image.dtype, image.shape) == (np.uint8, (height, width, 3))
        assert (landmarks.dtype, landmarks.shape) == (np.float32, (49, 2))
        assert landmarks.min() > 0
        assert landmarks.max() < 1
        assert image.std() > 10


@pytest.mark.parametrize(("height", "width"), [(36, 48), (48, 64), (96, 128), (32, 32)])
def test_irises_have_the_documented_types_and_ranges(height, width):
    for index in INDICES:
        image, mask = synthetic_irises.render(0, index, height, width)
        assert (image.dtype, image.shape) == (np.uint8, (height, width, 1))
        assert (mask.dtype, mask.shape) == (np.uint8, (height, width, 1))
        assert set(np.unique(mask)) == {0, 1}
        assert image.std() > 10


@RENDERERS
def test_the_scene_does_not_depend_on_the_size(render):
    for index in INDICES:
        (small, small_truth), (big, big_truth) = render(1, index, 48, 64), render(1, index, 192, 256)
        assert np.abs(shrink(big, 4) - small).mean() < 4
        if small_truth.dtype == np.float32:
            np.testing.assert_array_equal(small_truth, big_truth)
        else:
            assert np.mean((shrink(big_truth, 4) > 0.5) == small_truth) > 0.98


def test_landmarks_keep_the_order_of_a_face():
    for index in range(40):
        points = synthetic_faces.render(2, index, 8, 8)[1]
        x, y = points.T
        for brow, eye in zip(BROWS, EYES, strict=True):
            assert y[brow].mean() < y[eye].mean() < y[MOUTH].min()
            assert (np.diff(x[brow]) > 0).all()
        assert x[BROWS[0]].max() < x[BROWS[1]].min()
        assert x[EYES[0]].max() < x[EYES[1]].min()
        assert (np.diff(y[10:14]) > 0).all()
        assert (np.diff(x[14:19]) > 0).all()
        assert (np.diff(x[19:23]) > 0).all()
        assert (np.diff(x[25:29]) > 0).all()
        assert (np.diff(x[31:38]) > 0).all()
        assert (np.diff(x[37:43]) < 0).all()
        assert (np.diff(x[43:46]) > 0).all()
        assert (np.diff(x[46:49]) < 0).all()
        assert (y[[20, 21, 26, 27]] < y[[24, 23, 30, 29]]).all()
        assert y[34] < y[44] <= y[47] < y[40]


def test_lip_landmarks_lie_on_the_edge_of_the_red():
    for index in INDICES:
        image, points = synthetic_faces.render(0, index, 256, 256)
        cheek = redness(image, 0.5 * (points[24] + points[31]))
        assert redness(image, 0.5 * (points[34] + points[44])) > cheek
        assert redness(image, 0.5 * (points[40] + points[47])) > cheek
        down = (points[40] - points[34]) / np.linalg.norm(points[40] - points[34])
        for lip, inwards in ((33, down), (35, down), (39, -down), (40, -down), (41, -down)):
            step = 0.012 * inwards
            assert redness(image, points[lip] + step) > redness(image, points[lip] - step) + 0.01


def test_eye_landmarks_bracket_the_pupil():
    for index in INDICES:
        image, points = synthetic_faces.render(0, index, 256, 256)
        for eye in EYES:
            left, top = np.round(points[eye].min(0) * 256).astype(int)
            right, bottom = np.round(points[eye].max(0) * 256).astype(int)
            # Under the lashes nothing is as dark as the iris and its pupil.
            box = image[(2 * top + bottom) // 3 : bottom, left:right].mean(2)
            x = np.nonzero(box < np.percentile(box, 15))[1]
            assert 0.2 < x.mean() / (right - left) < 0.8


def test_brows_are_drawn_under_their_landmarks():
    darker = 0
    for index in INDICES:
        image, points = synthetic_faces.render(0, index, 256, 256)
        for brow in BROWS:
            middle, step = points[brow][2], np.array([0, 0.014], np.float32)
            darker += pixel(image, middle + step).mean() < pixel(image, middle - step).mean()
    assert darker > 1.5 * len(INDICES)


def test_hair_skin_and_sex_go_together():
    scenes = [synthetic_factors.draw_scene(0, index)[0] for index in range(1500)]

    def share(trait, among):
        chosen = [scene for scene in scenes if among(scene)]
        return np.mean([bool(trait(scene)) for scene in chosen])

    def blond(scene):
        return 0.7 < scene["hair_colour"] < 0.9

    assert share(blond, lambda s: s["skin_tone"] > 0.6) < 0.1 < share(blond, lambda s: s["skin_tone"] < 0.2)
    assert share(lambda s: s["hair_colour"] > 0.9, lambda s: s["age"] < 0.5) < 0.02
    assert share(lambda s: s["beard"] or s["moustache"], lambda s: s["feminine"]) == 0
    assert 0.3 < share(lambda s: s["moustache"], lambda s: not s["feminine"]) < 0.6
    assert 0.03 < share(lambda s: s["glasses"], lambda s: True) < 0.12


def test_layers_drawn_together_equal_layers_drawn_one_by_one():
    rng = np.random.default_rng(0)
    for blur in (0.0, 0.01):
        # The second layer reaches over the frame.
        layers = [[rng.uniform(0.2, 0.8, (5, 2)), rng.uniform(0.4, 0.9, (3, 2))], [rng.uniform(-0.2, 1.2, (4, 2))]]
        together = drawing.coverages(layers, 40, 56, blur)
        for layer, alpha in zip(layers, together, strict=True):
            difference = np.abs(alpha - drawing.coverage(layer, 40, 56, blur))
            # Edges that cross the frame are rounded to other samples.
            assert difference.max() < 0.3
            assert difference.mean() < 0.004


def test_a_layer_outside_the_frame_covers_nothing():
    outside = np.array([[1.3, 1.4], [1.9, 1.4], [1.9, 1.8]])
    for shift in (0.0, -3.0):
        assert not drawing.coverage([outside + shift], 20, 30).any()
        assert not drawing.coverages([[outside + shift]], 20, 30).any()


def test_a_curve_goes_through_its_knots():
    knots = np.random.default_rng(0).random((7, 2))
    for closed in (True, False):
        np.testing.assert_allclose(drawing.smooth_curve(knots, closed=closed)[::6], knots, atol=1e-12)


def test_iris_greys_are_ordered_as_under_near_infrared():
    for index in INDICES:
        image, mask = (plane[..., 0] for plane in synthetic_irises.render(0, index, 96, 128))
        iris = image[mask == 1].mean()
        assert np.percentile(image, 1) < 0.6 * iris
        assert iris < image[mask == 0].mean()


def test_the_pupil_is_a_dark_hole_in_the_mask():
    holes = 0
    for index in INDICES:
        image, mask = (plane[..., 0] for plane in synthetic_irises.render(0, index, 96, 128))
        columns = np.nonzero(mask.any(0))[0]
        middle = mask[:, (columns[0] + columns[-1]) // 2]
        inside = np.nonzero(middle)[0]
        hole = np.arange(inside[0], inside[-1])[middle[inside[0] : inside[-1]] == 0]
        if len(hole) > 4:
            holes += 1
            grey = image[hole, (columns[0] + columns[-1]) // 2]
            assert np.median(grey) < 0.7 * image[mask == 1].mean()
    assert holes > len(INDICES) // 2


def test_a_ring_of_highlights_lies_in_or_about_the_pupil():
    rings = 0
    for index in INDICES:
        image, mask = (plane[..., 0] for plane in synthetic_irises.render(0, index, 192, 256))
        rows, columns = np.nonzero(mask)
        box = np.s_[rows.min() : rows.max(), columns.min() : columns.max()]
        bright, dark = (image[box] > 225) & (mask[box] == 0), (image[box] < 70) & (mask[box] == 0)
        rings += bright.sum() > 8 * 4 and dark.sum() > bright.sum()
    assert rings > len(INDICES) // 2


def test_always_answering_the_mean_shape_is_a_poor_answer():
    points = np.stack([synthetic_faces.render(0, index, 4, 4)[1] for index in range(80)])
    errors = np.linalg.norm(points - points.mean(0), axis=2).mean(1)
    eyes = np.linalg.norm(points[:, 19] - points[:, 28], axis=1)
    assert 0.07 < (errors / eyes).mean() < 0.09


def test_always_answering_the_mean_mask_is_a_poor_answer():
    masks = np.stack([synthetic_irises.render(0, index, 24, 32)[1] for index in range(80)]) == 1
    mean = masks.mean(0) > 0.5
    axes = (1, 2, 3)
    assert 0.5 < ((masks & mean).sum(axes) / (masks | mean).sum(axes)).mean() < 0.65

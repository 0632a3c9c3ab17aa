"""Procedural faces, framed like the crop of a face detector, with 49 exact landmarks in iBUG order.

`factors` draws what varies, `shape` makes curves and landmarks of it, `skin` and
`hair` paint their part and this module the rest: features, clothes, background, glasses and the camera.

The landmarks are the projected knots of the curves that are filled, so they are exact at every image size.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from began_jax.data.synthetic.drawing import (
    blend,
    coverage,
    coverages,
    ellipse,
    noise,
    palette,
    pixel_centres,
    rgb,
    ribbon,
    smooth_curve,
    soften,
)
from began_jax.data.synthetic.factors import Scene, draw_scene
from began_jax.data.synthetic.hair import hair_colour, paint_beard, paint_hair
from began_jax.data.synthetic.shape import Points, Shape, View, make_shape, make_view, mirror, points
from began_jax.data.synthetic.skin import paint_folds, skin_colour, skin_light, skin_tone

Plane = Float[np.ndarray, "height width"]
Planes = Float[np.ndarray, "3 height width"]

_IRIS = "1d110a 3f2613 5d4a2a 5c6b4a 5d7d92"  # Hexadecimal colours.
# The drawn edges of a brow under its landmarks, from the temple inwards, in thicknesses.
_BROW_EDGES = np.array([[0.0, 0.1, 0.15, 0.15, 0.1], [0.75, 0.9, 1.05, 1.1, 0.95]])


def _background(s: Scene, height: int, width: int, blobs: Float[np.ndarray, "blobs 8"]) -> Planes:
    """Return shapes far out of focus, drawn small because nothing in them is sharp."""
    side = 32
    grey = s["background"] * (0.45 + 1.05 * blobs[:, 5])
    tint = 0.28 * (blobs[:, 6:8] - 0.5)
    colours = np.stack([grey + tint[:, 0], grey, grey + tint[:, 1]], axis=1)
    colours = np.clip(255 * colours, 0, 255).astype(int).tolist()
    picture = Image.new("RGB", (side, side), tuple(colours[0]))
    draw = ImageDraw.Draw(picture)
    centres, radii = side * blobs[:, 0:2], 2 + 9 * blobs[:, 2:4]
    boxes = np.concatenate([centres - radii, centres + radii], axis=1).tolist()
    for box, colour, number in zip(boxes[1:], colours[1:], blobs[1:, 4], strict=True):
        (draw.ellipse if number < 0.6 else draw.rectangle)(box, fill=tuple(colour))
    picture = soften(picture, s["background_blur"] * side).resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1)) / np.float32(255)


def _paint_body(s: Scene, view: View, planes: Planes, skin: np.ndarray, shade: Plane) -> None:
    """Paint shoulders, neck and ears."""
    height, width = shade.shape
    half = 0.3 if s["feminine"] else 0.36
    half_shoulders = points([0.2, half, 0.6, 1.0], [0.62, 0.5, 0.58, 0.75], [-0.2] * 4)
    shoulders = np.concatenate([half_shoulders, points([1.0], [1.2], [-0.2])])
    cloth = s["cloth"] + rgb(s["cloth_warmth"], 0.0, -s["cloth_warmth"])
    sides = np.concatenate([shoulders, mirror(shoulders)[::-1]])
    neck = points([-0.27, 0.27, half, -half], [0.2, 0.2, 0.8, 0.8], [-0.2] * 4)
    parts = [coverage([view.project(part)], height, width, blur=0.004) for part in (neck, sides)]
    blend(planes, skin * (0.62 * shade) * rgb(1.0, 0.94, 0.92), parts[0])
    blend(planes, np.clip(cloth, 0, 1) * (0.4 + 0.6 * shade), parts[1])
    if s["hair_length"] > 0:
        # Hair that falls beside the face covers the ears.
        return
    ears, hollows = [], []
    for side in (-1, 1):
        centre = np.array([side * 0.425 * s["face_width"], -0.03, -0.2])
        tilt = np.deg2rad(s["roll"] + side * 10)
        ears.append(ellipse(view.project(centre), 0.036, 0.095, tilt))
        hollows.append(ellipse(view.project(centre + np.array([side * 0.008, -0.01, 0])), 0.014, 0.055, tilt))
    blend(planes, skin * (0.85 * shade) * rgb(1.0, 0.9, 0.88), coverage(ears, height, width))
    blend(planes, planes * rgb(0.7, 0.6, 0.58), 0.8 * coverage(hollows, height, width, blur=0.006))


def _paint_eyes(s: Scene, view: View, planes: Planes, eyes: list[Points], skin: np.ndarray, shade: Plane) -> None:
    """Paint what is seen between the lids, the lids' rims with the lashes, creases and make-up."""
    height, width = shade.shape
    openings, shadows, lashes, lids, creases = [], [], [], [], []
    irises, inner_irises, pupils, glints = [], [], [], []
    radius = 0.0315 * s["scale"] * (0.5 + 0.5 * s["eye_size"])
    makeup = s["makeup"]
    for side, knots in zip((-1, 1), eyes, strict=True):
        flat = view.project(knots)
        upper, lower = smooth_curve(flat[:4]), smooth_curve(flat[[3, 4, 5, 0]])
        openings.append(np.concatenate([upper, lower[1:-1]]))
        shadows.append(ribbon(upper, 0.026))
        # Lashes are long towards the temple.
        outwards = np.linspace(1, 0.45, len(upper))[::-side]
        lashes.append(ribbon(upper + np.array([0, 0.002]), (0.012 + 0.007 * makeup) * outwards))
        lashes.append(ribbon(lower, 0.003 + 0.003 * makeup))
        fold = knots[:4] + points([0, 0, 0, 0], [-0.012, -0.022, -0.022, -0.012], [0, 0.01, 0.01, 0])
        fold = smooth_curve(view.project(fold))
        lids.append(np.concatenate([upper, fold[::-1]]))
        creases.append(ribbon(fold, 0.01 * np.sin(np.linspace(0.4, 2.7, len(fold)))))
        gaze = np.array([s["gaze_x"], s["gaze_y"] - 0.008, 0.0])
        centre = view.project(0.5 * (knots[0] + knots[3]) * [1, 1, 0] + gaze)
        irises.append(ellipse(centre, radius, radius))
        inner_irises.append(ellipse(centre + np.array([0, 0.1 * radius]), 0.76 * radius, 0.76 * radius))
        pupils.append(ellipse(centre, 0.42 * radius, 0.42 * radius, points=12))
        glint = centre + radius * np.array([0.3 * np.sign(s["light_x"]), -0.3])
        glints.append(ellipse(glint, 0.22 * radius, 0.22 * radius, points=10))
    opening, iris, pupil, glint = coverages([openings, irises, pupils, glints], height, width)
    layers = [creases, shadows, lashes, inner_irises] + ([lids] if makeup else [])
    crease, shadow, lash, inner_iris, *lid = coverages(layers, height, width, blur=0.003)
    if makeup:
        blend(planes, planes * (1 - np.float32(0.5 * makeup)) * rgb(0.94, 0.88, 0.88), 0.8 * lid[0])
    blend(planes, planes * rgb(0.62, 0.52, 0.48), 0.7 * crease)
    soft, colour = 0.4 + 0.5 * shade, palette(_IRIS, s["iris_colour"])
    blend(planes, rgb(0.9, 0.86, 0.84) * soft, opening)
    blend(planes, 0.55 * colour * soft, opening * iris)
    blend(planes, 1.1 * colour * soft, opening * inner_iris)
    blend(planes, np.float32(0.03), opening * pupil)
    blend(planes, planes * np.float32(0.4), 0.7 * opening * shadow)
    blend(planes, np.float32(0.95), 0.85 * opening * glint)
    blend(planes, skin * np.float32(0.14), (0.8 + 0.2 * makeup) * lash)


def _paint_brows(
    s: Scene, view: View, planes: Planes, brows: list[Points], skin: np.ndarray, shade: Plane, places: np.ndarray
) -> None:
    """Paint the brows under their landmarks, which run along the upper edge."""
    hair = hair_colour(s)
    colour = (np.minimum(hair, 0.3 + 0.35 * hair) * 0.75 + 0.08 * skin) * (0.5 + 0.5 * shade)
    strokes = []
    for brow in brows:
        edges = [np.stack([np.zeros(5), s["brow_thickness"] * low, np.zeros(5)], axis=1) for low in _BROW_EDGES]
        upper, lower = (smooth_curve(view.project(brow + edge)) for edge in edges)
        strokes.append(np.concatenate([upper, lower[::-1]]))
    hairs = np.clip(0.8 + 0.25 * noise(places, 80, *shade.shape), 0, 1)
    strength = np.float32(0.75 + 0.15 * (1 - s["feminine"]) - 0.3 * (s["hair_colour"] > 0.7))
    blend(planes, colour, strength * hairs * coverage(strokes, *shade.shape, blur=0.006))


def _paint_nose(s: Scene, view: View, planes: Planes, nose: Points, skin: np.ndarray, shade: Plane) -> None:
    height, width = shade.shape
    holes, wings = [], []
    for side, inner, corner in ((-1, nose[5], nose[4]), (1, nose[7], nose[8])):
        middle = view.project(inner + np.array([side * 0.003, -0.008, 0.0]))
        tilt = np.deg2rad(s["roll"] - side * 15)
        holes.append(ellipse(middle, 0.019 * s["nose_width"], 0.0085, tilt, points=14))
        wing = corner + points([-side * 0.006, side * 0.005, 0], [-0.045, -0.022, 0.002], [0, 0, 0])
        curve = smooth_curve(view.project(np.concatenate([wing, inner[None]])))
        wings.append(ribbon(curve, 0.012))
    wings.append(ribbon(smooth_curve(view.project(nose[4:])), 0.009))
    wing, hole = coverages([wings, holes], height, width, blur=0.0045)
    blend(planes, planes * rgb(0.6, 0.48, 0.44), 0.55 * wing)
    blend(planes, skin * rgb(0.26, 0.17, 0.15), 0.8 * hole)


def _paint_mouth(
    s: Scene, planes: Planes, outer: np.ndarray, inner: np.ndarray, skin: np.ndarray, shade: Plane, places: np.ndarray
) -> None:
    """Paint lips, the gap between them and teeth; `outer` and `inner` are already projected."""
    height, width = shade.shape
    lips = np.concatenate([smooth_curve(outer[:7])[:-1], smooth_curve(outer[[6, 7, 8, 9, 10, 11, 0]])[:-1]])
    colour = skin * rgb(0.85, 0.62, 0.61)
    red = np.float32(0.3 * s["lip_redness"] + 0.5 * s["lipstick"])
    colour += red * (rgb(0.95, 0.28, 0.32) * skin.mean() * np.float32(1 - 0.2 * s["lipstick"]) - colour)
    # The upper lip faces the ground and the lower one the sky.
    below = pixel_centres(height, width)[1] - np.float32(0.5 * (inner[2, 1] + inner[6, 1]))
    tilt = 1 + 0.13 * np.tanh(below / np.float32(0.02))
    tilt = tilt + np.float32(0.04) * noise(places, 48, height, width)
    gleam = np.exp(-(((below - np.float32(0.55 * (outer[9, 1] - inner[6, 1]))) / np.float32(0.012)) ** 2))
    tilt = tilt + np.float32(0.3 * s["shine"] + 0.25 * s["lipstick"]) * gleam
    upper, lower = smooth_curve(inner[:5]), smooth_curve(inner[[4, 5, 6, 7, 0]])
    opened = s["mouth_open"] > 0.05
    rim = upper if opened else np.concatenate([outer[:1], 0.5 * (upper + lower[::-1]), outer[6:7]])
    layers = [[lips], [ribbon(rim, 0.011)]]
    if opened:
        edge = upper + np.array([0, min(0.05, 0.075 * s["mouth_open"] + 0.012)])
        layers += [[np.concatenate([upper, lower[1:-1]])], [np.concatenate([upper, edge[::-1]])]]
    lip, line, *gap = coverages(layers, height, width, blur=0.0025)
    blend(planes, colour * (shade * tilt), lip)
    if opened:
        blend(planes, rgb(0.22, 0.07, 0.07), gap[0])
        # Teeth lie deeper, and darker, towards the corners.
        away = (pixel_centres(height, width)[0] - np.float32(inner[2, 0])) * np.float32(1 / 0.2)
        blend(planes, s["teeth"] * rgb(1.0, 0.97, 0.92) * (shade * (1 - 0.45 * away * away)), gap[0] * gap[1])
    blend(planes, colour * np.float32(0.36), 0.75 * line)


def _paint_glasses(s: Scene, view: View, planes: Planes, shape: Shape) -> None:
    height, width = planes.shape[1:]
    kind = s["glasses_shape"]
    turn = np.linspace(0, 2 * np.pi, 29)[:-1]
    # A superellipse: round at exponent 2, square above.
    power = 2 / (2 + 3 * kind)
    x, y = (np.sign(f) * np.abs(f) ** power for f in (np.cos(turn), np.sin(turn)))
    lenses, frames = [], []
    for knots in shape.eyes:
        centre = 0.5 * (knots[0] + knots[3]) * [1, 1, 0] + [0, 0.012, 0.07]
        rim = centre + np.stack([0.118 * x, (0.095 - 0.02 * kind) * y, -0.03 * np.abs(centre[0] + 0.1 * x)], axis=1)
        lenses.append(view.project(rim))
        closed = np.concatenate([lenses[-1], lenses[-1][:1]])
        frames.append(ribbon(closed, 0.011 + 0.009 * (s["cloth"] < 0.5)))
    height_of_eyes = shape.eyes[0][:, 1].mean()
    bridge = points([-0.07, 0.0, 0.07], [height_of_eyes, height_of_eyes - 0.016, height_of_eyes], [0.08] * 3)
    frames.append(ribbon(smooth_curve(view.project(bridge)), 0.013))
    for side in (-1, 1):
        temple = points([side * 0.3, side * 0.42], [height_of_eyes - 0.02, height_of_eyes - 0.03], [0.04, -0.2])
        frames.append(ribbon(view.project(temple), 0.014))
    blend(planes, np.float32(0.85), 0.07 * coverage(lenses, height, width))
    colour = palette("0b0b0d 3a2216 7d7468", float(s["cloth"] * 0.7 + 0.3 * kind))
    blend(planes, colour, 0.92 * coverage(frames, height, width))


def _photograph(s: Scene, planes: Planes, places: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """Return what a camera makes of the planes: defocus, colour cast, contrast, exposure and noise."""
    height, width = planes.shape[1:]
    grey = planes.mean(0)
    planes = grey + np.float32(s["saturation"]) * (planes - grey)
    planes = planes * (np.float32(s["exposure"]) * rgb(1 + s["warmth"], 1.0, 1 - s["warmth"]))
    planes = (planes - np.float32(0.45)) * np.float32(s["contrast"]) + np.float32(0.45)
    grain = noise(places[0:2], 128, height, width)
    chroma = noise(places[2:4], 64, height, width) * rgb(0.8, -0.3, -0.8)
    image = np.clip(planes * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    if s["defocus"] * width > 0.3:
        image = np.asarray(soften(Image.fromarray(np.ascontiguousarray(image)), s["defocus"] * width))
    noisy = image + (np.float32(255 * s["sensor_noise"]) * (grain + np.float32(0.5) * chroma)).transpose(1, 2, 0)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def render(
    seed: int, index: int, height: int, width: int
) -> tuple[UInt8[np.ndarray, "{height} {width} 3"], Float[np.ndarray, "49 2"]]:
    """Return face `index` as RGB and its 49 landmarks, float32 (x, y) fractions of the frame in [0, 1]."""
    s, places, blobs = draw_scene(seed, index)
    view, shape = make_view(s), make_shape(s)
    landmarks = view.project(shape.landmarks()).astype(np.float32)

    x, y = view.upright(*pixel_centres(height, width))
    shade, skin = skin_light(s, view, x, y), skin_colour(s)
    face = coverage([smooth_curve(view.project(shape.face), closed=True)], height, width, blur=0.003)
    hair, behind, before = paint_hair(s, view, x, y, places[:12])
    planes = _background(s, height, width, blobs)
    blend(planes, 0.7 * hair, 0.97 * behind)
    _paint_body(s, view, planes, skin, shade)
    # Light comes through the skin: its shadows are redder than its lights.
    lit = shade + np.clip(1 - shade, 0, 1) * rgb(0.06, -0.02, -0.05)
    blend(planes, skin * lit * skin_tone(s, view, x, y, places[12:18]), face)
    paint_folds(s, view, planes, shape, skin, shade)
    if s["moustache"]:
        paint_beard(s, view, planes, shape, face, shade, places[18:20])
    _paint_nose(s, view, planes, shape.nose, skin, shade)
    _paint_mouth(s, planes, view.project(shape.lips), view.project(shape.inner_lips), skin, shade, places[14:16])
    _paint_eyes(s, view, planes, shape.eyes, skin, shade)
    _paint_brows(s, view, planes, shape.brows, skin, shade, places[16:18])
    blend(planes, hair, before)
    if s["glasses"]:
        _paint_glasses(s, view, planes, shape)
    return _photograph(s, planes, places[8:12]), landmarks

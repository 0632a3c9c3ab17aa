"""What varies between the procedural faces, and with which distribution.

Geometry is in fractions of the frame about its centre, angles in degrees. Most factors are independent and uniform;
pose is normal; hair, skin, eyes, age, beard, make-up and expression depend on each other, as in `draw_scene`.
"""

import numpy as np

Scene = dict[str, float]

_UNIFORM = {
    # Identity: factors about 1, or offsets in fractions of the frame.
    "face_width": (0.94, 1.06),
    "jaw_width": (0.9, 1.06),
    "chin": (-0.02, 0.025),
    "eye_size": (0.92, 1.16),
    "eye_spacing": (0.94, 1.06),
    "eye_height": (-0.014, 0.014),
    "eye_slant": (-0.012, 0.006),
    "brow_height": (-0.018, 0.016),
    "brow_arch": (-0.012, 0.012),
    "nose_width": (0.82, 1.2),
    "nose_length": (-0.025, 0.025),
    "mouth_width": (0.86, 1.1),
    "mouth_height": (-0.016, 0.016),
    "lip_fullness": (0.7, 1.3),
    # Expression.
    "eye_open": (0.6, 1.2),
    "gaze_x": (-0.016, 0.016),
    "gaze_y": (-0.004, 0.005),
    # Appearance: positions along palettes, factors and directions.
    "skin_tint": (-0.3, 1),
    "mottling": (0.008, 0.03),
    "shine": (0.02, 0.18),
    "hair_volume": (0.0, 0.09),
    "hair_part": (-0.2, 0.2),
    "hair_sheen": (0.05, 0.3),
    "drape_left": (0.3, 0.44),
    "drape_right": (0.3, 0.44),
    "lip_redness": (0, 1),
    "light_x": (-0.5, 0.5),
    "light_y": (-0.75, -0.05),
    "ambient": (0.28, 0.6),
    "exposure": (0.84, 1.08),
    "contrast": (0.9, 1.2),
    "saturation": (0.88, 1.14),
    "warmth": (-0.035, 0.06),
    "defocus": (0.0, 0.0075),
    "sensor_noise": (0.002, 0.013),
    "teeth": (0.78, 0.95),
    "cloth": (0.05, 0.85),
    "cloth_warmth": (-0.2, 0.2),
}
_LOW, _HIGH = np.array(list(_UNIFORM.values()), np.float64).T
_SPAN = _HIGH - _LOW

# Normal, cut off at two deviations: mean and deviation.
_NORMAL = {
    "yaw": (0, 11.5),
    "pitch": (0, 5.5),
    "roll": (0, 5),
    "scale": (1, 0.045),
    "shift_x": (-0.002, 0.026),
    "shift_y": (-0.002, 0.024),
}
_MEAN, _DEVIATION = np.array(list(_NORMAL.values()), np.float64).T

# Further uniform numbers in [0, 1), one a decision below, and places in the noise and the locks' phases.
_DECISIONS = (
    "age",
    "skin",
    "pigment",
    "hair",
    "hair_shade",
    "iris",
    "sex",
    "cut",
    "curl",
    "hairline",
    "fringe",
    "smile",
    "open",
    "open_amount",
    "brow",
    "beard",
    "beard_density",
    "moustache",
    "makeup",
    "lipstick",
    "freckles",
    "glasses",
    "glasses_shape",
    "brow_thickness",
    "background",
    "background_blur",
)
PLACES = 20
# Shapes in the background, with what each needs: centre, radii, round or not, lightness, red and blue.
BLOBS, BLOB_NUMBERS = 8, 8

# Positions along the palette of hair.
BLACK, BROWN, AUBURN, BLOND, GREY = 0.04, 0.3, 0.6, 0.8, 1.0


def _pigments(u: Scene, age: float) -> Scene:
    """Return the colours of skin, hair and irises, darker hair and irises going with darker skin."""
    tone = u["skin"] ** 1.8
    light = max(1 - 1.6 * tone, 0.0)
    weights = np.array([0.18 + 1.2 * tone, 0.12 + 0.5 * light, 0.1 * light, 0.03 + 0.4 * light**1.5, 0.0])
    weights[4] = 2.5 * max(age - 0.6, 0) * weights.sum()
    kind = np.searchsorted(np.cumsum(weights / weights.sum()), u["hair"])
    hair = (BLACK, BROWN, AUBURN, BLOND, GREY)[min(kind, 4)] + 0.16 * (u["hair_shade"] - 0.5)
    # Blue and green irises are rare but with light skin and light hair.
    pale = light * (0.35 + 0.5 * (hair > 0.5))
    iris = 0.65 + 0.35 * u["iris"] / pale if u["iris"] < pale else 0.5 * u["pigment"]
    return {"skin_tone": tone, "hair_colour": min(max(hair, 0.0), 1.0), "iris_colour": iris, "light_skin": light}


def _cut(u: Scene, feminine: bool, age: float) -> Scene:
    """Return length, hairline, fringe and curl of the hair."""
    long, none, receding = (0.62, 0.0, 0.0) if feminine else (0.08, 0.1, 0.1 + 0.2 * age)
    bald = 1 - none < u["cut"]
    recede = not bald and 1 - none - receding < u["cut"]
    fringe = not bald and not recede and u["fringe"] < (0.3 if feminine else 0.15)
    length = 0.9 if u["cut"] < long else (0.22 if feminine and u["cut"] < long + 0.18 else -0.06)
    hairline = -0.42 + 0.07 * u["hairline"] - 0.1 * recede
    return {
        "bald": float(bald),
        "recede": float(recede),
        "hair_length": length,
        "hairline": -0.325 + 0.045 * u["hairline"] if fringe else hairline,
        "fringe": float(fringe),
        "curl": u["curl"] ** 2.5,
    }


def _face_hair(u: Scene, feminine: bool) -> Scene:
    """Return density and extent of beard and moustache."""
    kind = "none" if feminine or u["beard"] < 0.52 else ("stubble" if u["beard"] < 0.8 else "beard")
    density = {"none": 0.0, "stubble": 0.12 + 0.22 * u["beard_density"], "beard": 0.5 + 0.35 * u["beard_density"]}[kind]
    moustache = density or (0.6 if not feminine and u["moustache"] < 0.05 else 0.0)
    return {"beard": density, "moustache": moustache, "goatee": float(kind == "beard" and u["moustache"] > 0.6)}


def draw_scene(seed: int, index: int) -> tuple[Scene, np.ndarray, np.ndarray]:
    """Return the factors of face `index`, and numbers in [0, 1): [PLACES] of textures and [BLOBS, BLOB_NUMBERS]."""
    rng = np.random.default_rng([seed, index])
    s = dict(zip(_UNIFORM, (_LOW + _SPAN * rng.random(len(_SPAN))).tolist(), strict=True))
    normal = _MEAN + _DEVIATION * np.clip(rng.standard_normal(len(_NORMAL)), -2, 2)
    s |= dict(zip(_NORMAL, normal.tolist(), strict=True))
    u: Scene = dict(zip(_DECISIONS, rng.random(len(_DECISIONS)).tolist(), strict=True))
    places, blobs = rng.random(PLACES), rng.random((BLOBS, BLOB_NUMBERS))

    age, feminine = u["age"] ** 1.4, u["sex"] < 0.55
    s |= _pigments(u, age) | _cut(u, feminine, age) | _face_hair(u, feminine)
    smiling = u["smile"] > 0.45
    s["smile"] = (u["smile"] - 0.45) / 0.55 if smiling else -0.2 + 1.1 * u["smile"]
    shown = u["open"] < (0.65 if smiling else 0.25)
    s["mouth_open"] = (0.15 + (0.5 if smiling else 0.85) * u["open_amount"]) if shown else 0.0
    s["brow_raise"] = 0.022 * u["brow"] ** 2
    s["age"] = age
    s["feminine"] = float(feminine)
    s["makeup"] = max(0.0, u["makeup"] - 0.3) / 0.7 if feminine else 0.0
    s["lipstick"] = u["lipstick"] if s["makeup"] > 0.2 else 0.0
    s["lip_redness"] *= 1.0 if feminine else 0.35
    s["freckles"] = float(u["freckles"] < 0.15) * s["light_skin"]
    s["glasses"] = float(u["glasses"] < 0.06 + 0.04 * age)
    s["glasses_shape"] = u["glasses_shape"]
    s["brow_thickness"] = 0.018 + 0.017 * u["brow_thickness"] + (0.0 if feminine else 0.008)
    s["jaw_width"] += 0.0 if feminine else 0.035
    s["background"] = 0.08 + 0.75 * u["background"] ** 1.3
    s["background_blur"] = 0.03 + 0.08 * u["background_blur"]
    return s, places, blobs

import jax.numpy as jnp
import numpy as np
import pytest

from began_jax.errors import InputError
from began_jax.landmarks import CELEB_A_5, IBUG_49, OUTER_EYES, mirror, scheme

# iBUG 68 -> its mirror image, 0-based, as published for flipping the 300-W pictures.
PAIRS_68 = [
    (17, 26),
    (18, 25),
    (19, 24),
    (20, 23),
    (21, 22),
    (31, 35),
    (32, 34),
    (36, 45),
    (37, 44),
    (38, 43),
]
PAIRS_68 += [
    (39, 42),
    (40, 47),
    (41, 46),
    (48, 54),
    (49, 53),
    (50, 52),
    (55, 59),
    (56, 58),
    (61, 63),
    (65, 67),
]


def test_mirror_permutation_is_that_of_the_68_points():
    kept = [i for i in range(17, 68) if i not in (60, 64)]
    partner = dict(PAIRS_68) | {b: a for a, b in PAIRS_68}
    assert IBUG_49.mirrored == tuple(kept.index(partner.get(i, i)) for i in kept)
    assert CELEB_A_5.mirrored == (1, 0, 2, 4, 3)
    assert IBUG_49.mirrored[OUTER_EYES[0]] == OUTER_EYES[1]
    assert [IBUG_49.names[i] for i in OUTER_EYES] == ["left_eye_outer", "right_eye_outer"]


@pytest.mark.parametrize("known", [IBUG_49, CELEB_A_5])
def test_scheme_is_consistent(known):
    count = len(known.names)
    assert len(set(known.names)) == count
    assert sorted(i for part in known.parts.values() for i in part) == list(range(count))
    assert np.min(known.skeleton) == 1 and np.max(known.skeleton) == count
    edges = {frozenset(edge) for edge in known.edges}
    assert edges == {frozenset(known.mirrored[i] for i in edge) for edge in edges}


@pytest.mark.parametrize("count", [49, 5])
@pytest.mark.parametrize("xp", [np, jnp])
def test_mirror_twice_is_the_identity(count, xp):
    landmarks = xp.asarray(np.random.default_rng(0).uniform(size=(3, count, 2)).astype(np.float32))
    once = mirror(landmarks)
    assert type(once) is type(landmarks) and once.dtype == np.float32
    np.testing.assert_allclose(once[1, scheme(count).mirrored[0], 0], 1 - landmarks[1, 0, 0])
    np.testing.assert_allclose(mirror(once), landmarks, atol=1e-6)


def test_other_counts_have_names_only():
    known = scheme(3)
    assert known.names == ("point_1", "point_2", "point_3") and known.skeleton == []
    with pytest.raises(InputError, match="3 landmarks"):
        mirror(np.zeros((3, 2), np.float32))

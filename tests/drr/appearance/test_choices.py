"""Looks and exposures by name."""

from __future__ import annotations

import numpy as np
import pytest

from drr.appearance.choices import LOOKS, RANDOM, TYPICAL, Exposure, draw_physics, read_physics
from drr.appearance.detector import decode_lines, detector_response

RNG = np.random.default_rng(0)
SOFT = np.linspace(0, 8, 64 * 64, dtype=np.float32).reshape(64, 64)
BONE = np.where(np.arange(64) % 16 < 4, 0.4, 0).astype(np.float32)[None].repeat(64, 0)


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_is_one_mapping_for_all_bodies_of_an_exposure(look):
    shown = Exposure(look, SOFT, BONE, 1.0, np.random.default_rng(3))
    radiograph, soft, bone = shown.radiograph(SOFT, BONE), shown.soft(SOFT), shown.bone(BONE)
    for image in (radiograph, soft, bone):
        assert image.dtype == np.float32 and image.shape == SOFT.shape and np.abs(image).max() <= 1
    if look != "random":  # local processing apart, where there is no bone both are alike
        np.testing.assert_array_equal(radiograph[BONE == 0], soft[BONE == 0])
    brighter = np.median((radiograph - soft)[BONE > 0])
    assert brighter < 0 if look == "dark-bones" else brighter > 0


def test_values_of_looks():
    film = Exposure("film", SOFT, BONE, 1.0, RNG)
    np.testing.assert_allclose(film.radiograph(SOFT, BONE), detector_response(SOFT + BONE))
    longer = Exposure("film", SOFT, BONE, 1.0, RNG, exposure=0.5)
    np.testing.assert_allclose(longer.soft(SOFT), detector_response(SOFT, centre=4.5))
    raw = Exposure("raw", SOFT, BONE, 1.0, RNG).radiograph(SOFT, BONE)
    levels = np.rint((raw.astype(np.float64) + 1) * 32767.5).astype(np.uint16)
    np.testing.assert_allclose(decode_lines(levels), SOFT + BONE, atol=1.3 / 8192)
    even = Exposure("equalised", SOFT, BONE, 1.0, RNG).radiograph(SOFT, BONE)
    counts = np.histogram(even, 16)[0]
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.4 * counts.mean()
    with pytest.raises(ValueError, match="no look is called 'xray'; give one of film"):
        Exposure("xray", SOFT, BONE, 1.0, RNG)


def test_random_looks_differ_by_their_generator_alone():
    first, again, other = (
        Exposure("random", SOFT, BONE, 1.0, np.random.default_rng(seed)).radiograph(SOFT, BONE) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_physics_in_words():
    assert read_physics([]) is None and read_physics(["typical"]) == TYPICAL
    physics = read_physics(["typical", "photons=1e5"])
    assert physics.photons == 1e5 and physics.scatter == TYPICAL.scatter
    assert read_physics(["scatter=0.4"]).scatter == 0.4 and read_physics(["scatter=0.4"]).photons is None
    drawn = [draw_physics(["random", "scatter=0.1"], np.random.default_rng(seed)) for seed in range(20)]
    assert {one.scatter for one in drawn} == {0.1} and len({one.photons for one in drawn}) == 20
    assert all(RANDOM["photons"][0] <= one.photons <= RANDOM["photons"][1] for one in drawn)
    assert draw_physics([], RNG) is None

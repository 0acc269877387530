"""Vessels, nodules and devices drawn into line integrals."""

from __future__ import annotations

import numpy as np
import pytest

from drr.appearance.overlays import LUNG_LIGHTER, add_device, add_nodule_shadow, add_vessels, lung_pixels
from drr.projection.attenuation import MU_WATER_PER_MM


@pytest.fixture
def soft() -> np.ndarray:
    """A chest 240 of 256 pixels wide: 5 around two lungs of 2."""
    lines = np.zeros((256, 256), np.float32)
    lines[:, 8:248] = 5
    lines[60:200, 30:110] = lines[60:200, 146:226] = 2
    return lines


def test_lungs_are_the_lighter_half(soft):
    lungs = lung_pixels(soft)
    assert lungs[100, 50] and lungs[100, 200]
    assert not lungs[100, 128] and not lungs[10, 2]
    assert not lung_pixels(np.zeros((8, 8), np.float32)).any()


def test_a_nodule_is_a_ball_of_water_in_lung(soft):
    rng = np.random.default_rng(0)
    masses = []
    for _ in range(20):
        added = add_nodule_shadow(soft, 1.0, rng, diameter_mm=20) - soft
        peak = np.unravel_index(added.argmax(), added.shape)
        assert added.max() == pytest.approx(20 * MU_WATER_PER_MM * LUNG_LIGHTER, rel=0.2)
        assert lung_pixels(soft)[peak] or lung_pixels(soft)[np.clip(np.add(peak, 12), 0, 255)[0], peak[1]]
        if 15 < peak[0] < 240 and 15 < peak[1] < 240:
            masses.append(added.sum() / (MU_WATER_PER_MM * LUNG_LIGHTER * np.pi / 6 * 20**3))
    # an ellipse of axis ratio 0.75 to 1 whose outline is lobulated by a few per cent
    assert 0.7 < np.mean(masses) < 1.1


def test_vessels_brighten_lungs_alone_and_finely(soft):
    added = add_vessels(soft, 1.4, np.random.default_rng(1)) - soft
    lungs = lung_pixels(soft)
    assert added.min() >= 0 and added[lungs].mean() > 20 * added[:, :8].mean()
    assert 0.01 < (added > 0.02).mean() < 0.5
    assert added.max() < MU_WATER_PER_MM * np.pi * 3.2  # no wider than the widest tube


def test_devices_only_add(soft):
    rng = np.random.default_rng(2)
    for _ in range(10):
        added = add_device(soft, 1.4, rng) - soft
        assert added.min() == 0 and 0 < added.max() <= 2


def test_the_same_seed_draws_the_same(soft):
    one, two = (add_vessels(soft, 1.4, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, two)

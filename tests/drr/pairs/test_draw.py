"""Pairs drawn from layers."""

from __future__ import annotations

import numpy as np
import pytest

from drr.pairs.draw import FIRST_DEVICE, PairOptions, draw_pair, move_girdle, place
from drr.pairs.layers import GIRDLE, LAYERS, LUNG, RIBS, SOFT


@pytest.fixture(scope="module")
def layers() -> np.ndarray:
    """A body between rows 40 and 240 of 256, two lungs, ribs across them, a clavicle a side; pixels of 1.5 mm."""
    made = np.zeros((len(LAYERS), 256, 256), np.float16)
    made[SOFT, 40:240, 20:236] = 5
    for columns in (slice(50, 115), slice(141, 206)):
        made[SOFT, 60:220, columns] = 2
        made[LUNG, 60:220, columns] = 3
        for row in range(70, 210, 20):
            made[RIBS, row : row + 6, columns] = 0.15
    made[GIRDLE, 50:55, 40:120] = made[GIRDLE, 50:55, 136:216] = 0.3
    return made


def test_a_pair_differs_by_bone_alone(layers):
    ribs = np.zeros(2)
    for seed in range(6):
        pair = draw_pair(layers, 1.5, 96, PairOptions(pixel_mm=(1.5, 2.5)), np.random.default_rng(seed))
        for image in (pair.radiograph, pair.soft, pair.without, pair.soft_without):
            assert image.shape == (96, 96) and image.dtype == np.float32 and np.abs(image).max() <= 1
        assert pair.lungs.any()
        difference = pair.radiograph - pair.soft
        assert np.abs(difference).max() > 0.05
        ribs += [np.abs(difference[pair.lungs]).mean(), 1]
    assert ribs[0] / ribs[1] > 0.02


def test_without_bones_the_two_images_are_equal(layers):
    boneless = layers.copy()
    boneless[1:5] = 0
    pair = draw_pair(boneless, 1.5, 96, PairOptions(pixel_mm=(1.5, 2.5)), np.random.default_rng(1))
    np.testing.assert_allclose(pair.radiograph, pair.soft, atol=1e-5)


def test_objects_are_in_both_images_and_in_neither_twin(layers):
    options = PairOptions(pixel_mm=(1.5, 2.0), nodules=1.0)
    for seed in range(4):
        pair = draw_pair(layers, 1.5, 96, options, np.random.default_rng(seed))
        added, in_soft = pair.radiograph - pair.without, pair.soft - pair.soft_without
        assert added.max() > 0.02
        assert np.corrcoef(added.ravel(), in_soft.ravel())[0, 1] > 0.8  # the display's curve differs under a rib
    plain = PairOptions(pixel_mm=(1.5, 2.0), clutter=False)
    none = draw_pair(layers, 1.5, 96, plain, np.random.default_rng(0))
    np.testing.assert_array_equal(none.radiograph, none.without)
    np.testing.assert_array_equal(none.soft, none.soft_without)
    assert not none.objects.any()


def test_objects_are_numbered_where_they_lie(layers):
    options = PairOptions(pixel_mm=(1.5, 2.0), nodules=1.0)
    kinds = [0, 0]
    for seed in range(8):
        pair = draw_pair(layers, 1.5, 96, options, np.random.default_rng(seed))
        added = np.abs(pair.radiograph - pair.without)
        numbers = set(np.unique(pair.objects)) - {0}
        kinds[0] += any(number < FIRST_DEVICE for number in numbers)
        kinds[1] += any(number >= FIRST_DEVICE for number in numbers)
        assert added[pair.objects > 0].mean() > 5 * added[pair.objects == 0].mean()
    assert kinds[0] == 8 and 1 <= kinds[1] < 8


def test_the_seed_gives_the_pair(layers):
    one, two = (draw_pair(layers, 1.5, 64, PairOptions(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.radiograph, two.radiograph)


def test_pictures_stay_within_the_scan_and_show_lung(layers):
    for seed in range(30):
        placed, pixel_mm = place(layers, 1.5, 80, (1.0, 4.0), np.random.default_rng(seed))
        assert pixel_mm <= 1.5 * 200 / 80
        assert (placed[SOFT] < 0.05).mean() < 0.15
        assert (placed[LUNG] > 0.3).mean() > 0.15


def test_the_girdle_turns_about_the_clavicles_medial_ends(layers):
    girdle = layers[GIRDLE].astype(np.float32)
    lower = 0
    for seed in range(12):
        moved = move_girdle(girdle, 1.5, 40.0, np.random.default_rng(seed))
        for outer in (slice(0, 60), slice(196, 256)):
            rows = np.argwhere(moved[:, outer] > 0.1)[:, 0]
            lower += bool(rows.size and rows.mean() > 60)
    assert lower > 8  # of 24 halves: arms that hang


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="pixel_mm"):
        PairOptions(pixel_mm=(1.0, 0.5))

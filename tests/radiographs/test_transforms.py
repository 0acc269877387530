"""Augmentation: paired where it must be, on the input alone where it must be, and seeded."""

from __future__ import annotations

import albumentations as A
import numpy as np

from radiographs.transforms import PairTransform

PIXELS = np.random.default_rng(0).uniform(-0.9, 0.9, (45, 37)).astype(np.float32)


def test_geometry_and_intensity_are_the_same_for_both() -> None:
    transform = PairTransform(noise=[])
    changed = 0
    for seed in range(20):
        radiograph, soft = transform(PIXELS, PIXELS.copy(), seed)
        np.testing.assert_array_equal(radiograph, soft)
        assert radiograph.dtype == np.float32 and radiograph.shape == PIXELS.shape
        assert radiograph.min() >= -1 and radiograph.max() <= 1
        changed += not np.array_equal(radiograph, PIXELS)
    assert changed > 15


def test_noise_is_on_the_radiograph_alone() -> None:
    transform = PairTransform(paired=[], noise=[A.GaussNoise(std_range=(0.05, 0.05), p=1)])
    radiograph, soft = transform(PIXELS, PIXELS, seed=1)
    np.testing.assert_allclose(soft, PIXELS, atol=1e-6)
    assert abs(np.std(radiograph - PIXELS) - 0.1) < 0.01  # 0.05 of [0, 1] is 0.1 of [-1, 1]


def test_a_seed_gives_the_same_pair_whatever_came_before() -> None:
    first, second = PairTransform(), PairTransform()
    expected = first(PIXELS, -PIXELS, seed=5)
    for seed in range(7):
        second(PIXELS, PIXELS, seed)
    again = second(PIXELS, -PIXELS, seed=5)
    np.testing.assert_array_equal(expected[0], again[0])
    np.testing.assert_array_equal(expected[1], again[1])
    assert not np.array_equal(expected[0], second(PIXELS, -PIXELS, seed=6)[0])


def test_transforms_of_one_pipeline_draw_apart() -> None:
    halves = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    transform = PairTransform(paired=halves, noise=[])
    seen = set()
    for seed in range(40):
        corner = transform(PIXELS, PIXELS, seed)[1][0, 0]
        seen.add(round(float(corner), 5))
    assert len(seen) == 4  # neither, either and both

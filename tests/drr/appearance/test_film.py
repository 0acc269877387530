"""Noise, letters, borders and JPEG on finished radiographs."""

from __future__ import annotations

import numpy as np
import pytest

from drr.appearance.film import add_collimator, add_letters, jpeg_residual, quantum_noise


def test_noise_has_its_level_and_grows_with_thickness():
    lines = np.full((200, 200), 2.0, np.float32)
    lines[:, 100:] = 6.0
    noise = quantum_noise(lines, 0.02, 0.6, np.random.default_rng(0))
    thin, thick = noise[:, :95].std(), noise[:, 105:].std()
    assert thick / thin == pytest.approx(np.exp(0.35 * 4), rel=0.05)
    assert np.sqrt(thin * thick) == pytest.approx(0.02, rel=0.05)


def test_letters_and_borders_are_the_same_in_both_images():
    rng = np.random.default_rng(3)
    one, other = np.full((256, 256), -0.5, np.float32), np.full((256, 256), 0.2, np.float32)
    drawn = 0
    for _ in range(10):
        for add in (lambda images: add_letters(images, 1.0, rng), lambda images: add_collimator(images, rng)):
            first, second = add([one, other])
            # each is (1 - share) of the image plus the same drawing: their difference shrinks where something is drawn
            share = 1 - (second - first) / 0.7
            drawn += share.max() > 0.5
            assert share.min() > -1e-5 and share.max() < 1 + 1e-5
            np.testing.assert_array_equal(first[share < 1e-6], one[share < 1e-6])
    assert drawn >= 12


def test_jpeg_residual_is_what_a_reader_of_the_file_sees():
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(0, 0.4, (64, 64)), -1.2, 1.2).astype(np.float32)
    fine, coarse = (jpeg_residual(image, quality) for quality in (95, 30))
    levels = (image.clip(-1, 1) + coarse + 1) * 127.5
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert 0 < fine.std() < coarse.std()

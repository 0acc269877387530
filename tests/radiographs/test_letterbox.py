"""Fitting keeps the aspect, and undoing it gives back the size and the place of everything."""

from __future__ import annotations

import numpy as np
import pytest

from radiographs import fit, resize, unfit
from radiographs.letterbox import pad_to_multiple


@pytest.mark.parametrize("shape", [(64, 64), (65, 64), (63, 127), (1, 40), (301, 7), (100, 101)])
@pytest.mark.parametrize("multiple", [None, 8, 1])
def test_sizes_come_back(shape: tuple[int, int], multiple: int | None) -> None:
    pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    fitted, placed = fit(pixels, 64, multiple)
    step = multiple or 64
    assert fitted.dtype == np.float32 and all(side % step == 0 and side < 64 + step for side in fitted.shape)
    assert max(placed.scaled) == 64
    assert unfit(fitted, placed).shape == shape


def test_a_smooth_image_comes_back_in_its_place() -> None:
    y, x = np.mgrid[0:301, 0:201]
    pixels = (0.8 * np.sin(x / 31) * np.cos(y / 47)).astype(np.float32)
    fitted, placed = fit(pixels, 128)
    assert placed.scaled == (128, 85) and placed.corner == (0, 21)
    assert (fitted[:, :21] == -1).all() and (fitted[:, 106:] == -1).all()
    assert np.abs(unfit(fitted, placed) - pixels)[2:-2, 2:-2].max() < 0.01


def test_padding_is_even_and_exact() -> None:
    pixels = np.arange(15, dtype=np.float32).reshape(3, 5)
    padded, (top, left) = pad_to_multiple(pixels, 4, fill=-9)
    assert padded.shape == (4, 8) and (top, left) == (0, 1)
    np.testing.assert_array_equal(padded[:3, 1:6], pixels)
    assert (padded == -9).sum() == 32 - 15
    same, corner = pad_to_multiple(np.zeros((8, 4)), 4)
    assert same.shape == (8, 4) and corner == (0, 0)


def test_aspect_is_never_squashed() -> None:
    y, x = np.mgrid[0:400, 0:200]
    disc = (((x - 100) ** 2 + (y - 200) ** 2) < 80**2).astype(np.float32) * 2 - 1
    fitted, _ = fit(disc, 100)
    rows, columns = (np.flatnonzero((fitted > 0).any(axis=axis)) for axis in (1, 0))
    assert np.ptp(rows) == np.ptp(columns) == 39


def test_resize_to_the_same_size_changes_nothing() -> None:
    pixels = np.random.default_rng(0).normal(size=(9, 11)).astype(np.float32)
    assert resize(pixels, (9, 11)) is pixels

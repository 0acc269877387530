"""Gains over doing nothing against cases in closed form: nothing, the truth, a half, one band alone."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from evaluation.suppression.gains import BANDS, GainMeter, decibels, gain_offset, rib_band, split_bands

SIDE = 512


@pytest.fixture(scope="module")
def images():
    """A smooth truth, a bone pattern of the ribs' width without any correlation to it, and a mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    truth = 0.3 * np.sin(2 * np.pi * x / SIDE) + 0.05 * rng.normal(size=(SIDE, SIDE))
    bone = 0.2 * np.sin(2 * np.pi * y / 32)
    lungs = np.zeros((SIDE, SIDE), bool)
    lungs[128:384, 64:448] = True
    return truth.astype(np.float32), bone.astype(np.float32), lungs


def test_doing_nothing_gains_nothing_and_the_truth_everything(images):
    truth, bone, lungs = images
    meter = GainMeter(truth, truth + bone, lungs)
    nothing = meter(truth + bone)
    gains = [name for name in nothing if name not in ("remain", "rib_bsr")]
    assert len(gains) == 12 and all(nothing[name] == 0 for name in gains)
    assert nothing["remain"] == 1 and nothing["rib_bsr"] == 0
    perfect = meter(0.4 * truth + 0.1)  # another display
    assert all(perfect[name] == math.inf for name in gains)
    assert perfect["remain"] == pytest.approx(0, abs=1e-6) and perfect["rib_bsr"] == pytest.approx(1)


def test_a_part_of_the_bone_left_is_its_square_in_db(images):
    truth, bone, lungs = images
    figures = GainMeter(truth, truth + bone, lungs)(truth + 0.25 * bone)
    # the least-squares gain takes a little of the bone away before: error s b^2 / (s + b^2), s the truth's variance
    s, b = float(truth[lungs].var()), float(bone[lungs].var())
    expected = 10 * math.log10((s * b / (s + b)) / (s * b / 16 / (s + b / 16)))
    assert figures["lungs"] == pytest.approx(expected, abs=0.02)
    ribs = rib_band(truth)[lungs].var(), rib_band(bone)[lungs].var()
    left = [f * f * ribs[1] * ribs[0] / (ribs[0] + f * f * ribs[1]) for f in (1, 0.25)]
    assert figures["rib_bsr"] == pytest.approx(1 - left[1] / left[0], abs=0.01)


def test_remain_is_the_part_that_is_left(images):
    truth, bone, lungs = images
    loud = 100 * truth  # so that the fit cannot take bone away
    meter = GainMeter(loud, loud + bone, lungs)
    for part in (0.0, 0.5, 1.5):
        assert meter(loud + part * bone)["remain"] == pytest.approx(part, abs=0.02)


def test_bands_add_up_and_hold_what_they_should():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(512, 384)).astype(np.float32)
    bands = split_bands(image)
    np.testing.assert_allclose(sum(bands), image, atol=1e-5)
    x = np.arange(SIDE, dtype=np.float32)
    for number, period in enumerate((3, 10, 30, 90, 1500)):  # in pixels of 512: each is mostly in one band
        wave = np.cos(2 * np.pi * x / period)[None].repeat(SIDE, 0)
        powers = [float((band**2).mean()) for band in split_bands(wave)]
        assert int(np.argmax(powers)) == number


def test_an_error_in_one_band_is_seen_there_and_in_no_other(images):
    truth, _, lungs = images
    truth = 20 * truth  # so that the fit takes nothing away
    y = np.arange(SIDE, dtype=np.float32)[:, None]
    fine, coarse = 0.1 * np.sin(2 * np.pi * y / 24), 0.1 * np.sin(2 * np.pi * y / 512)
    both = np.zeros_like(truth) + fine + coarse
    figures = GainMeter(truth, truth + both, lungs)(truth + 0.5 * fine + coarse)
    assert figures[f"whole {BANDS[2]}"] == pytest.approx(20 * math.log10(2), abs=0.3)
    assert abs(figures[f"whole {BANDS[4]}"]) < 0.3
    shares = GainMeter(truth, truth + both, lungs).shares()
    assert sum(shares[f"whole {band}"] for band in BANDS) == pytest.approx(1)
    assert shares[f"whole {BANDS[4]}"] > 5 * shares[f"whole {BANDS[1]}"]


def test_larger_images_are_measured_at_512_and_the_finest_band_at_1024(images):
    truth, bone, lungs = images
    large = [cv2.resize(image, (1024, 1024), interpolation=cv2.INTER_NEAREST) for image in (truth, bone)]
    mask = cv2.resize(lungs.astype(np.uint8), (1024, 1024), interpolation=cv2.INTER_NEAREST) > 0
    small = GainMeter(truth, truth + bone, lungs)(truth + 0.3 * bone)
    figures = GainMeter(large[0], large[0] + large[1], mask)(large[0] + 0.3 * large[1])
    for name in ("whole", "lungs", "remain", "rib_bsr", *(f"lungs {band}" for band in BANDS[1:])):
        assert figures[name] == pytest.approx(small[name], abs=1e-4)
    checks = np.indices((1024, 1024)).sum(axis=0) % 2 * np.float32(0.1)  # gone at 512 pixels
    meter = GainMeter(large[0], large[0] + large[1] + checks, mask)
    figures = meter(large[0] + large[1])
    assert figures[f"whole {BANDS[0]}"] > 1 and abs(figures["whole"]) < 1e-3


def test_small_images_have_no_finest_band(images):
    truth, bone, _ = (image[::4, ::4] for image in images)
    figures = GainMeter(truth, truth + bone)(truth)
    assert math.isnan(figures["whole under 2"]) and figures["whole"] == math.inf
    assert "lungs" not in figures and "remain" not in figures


def test_decibels_and_fit_at_their_ends():
    assert decibels(1.0, 0.1) == pytest.approx(10) and decibels(0.5, 1.0) == pytest.approx(-3.0103)
    assert decibels(1.0, 0.0) == math.inf and math.isnan(decibels(0.0, 1.0)) and math.isnan(decibels(0.0, 0.0))
    assert gain_offset(np.full(9, 0.3), np.arange(9.0)) == (0.0, 4.0)
    assert gain_offset(np.arange(9.0), 3 - 2 * np.arange(9.0)) == pytest.approx((-2, 3))


def test_sizes_that_differ_and_empty_masks_are_refused(images):
    truth, bone, lungs = images
    with pytest.raises(ValueError, match="expected one size"):
        GainMeter(truth, bone[:100])
    with pytest.raises(ValueError, match="expected one size"):
        GainMeter(truth, bone)(bone[:100])
    with pytest.raises(ValueError, match="empty lung mask"):
        GainMeter(truth, bone, np.zeros_like(lungs))


def test_what_is_not_finite_is_refused_not_taken_for_the_truth(images):
    truth, bone, lungs = images
    broken = truth.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="prediction: 1 of 262144 pixels are not finite"):
        GainMeter(truth, truth + bone, lungs)(broken)
    with pytest.raises(ValueError, match="truth: 1 of"):
        GainMeter(broken, truth + bone)

"""The same look for both images of a pair."""

from __future__ import annotations

import numpy as np
import pytest

from drr.appearance.look import Look, blur, develop, render_pair, shown_bone


@pytest.fixture
def lines() -> tuple[np.ndarray, np.ndarray]:
    """A smooth body and a stripe of bone."""
    y, x = np.mgrid[:128, :160] / 128
    bone = np.zeros((128, 160), np.float32)
    bone[50:60, 30:130] = 0.3
    return (3 + np.sin(4 * x) * np.cos(3 * y)).astype(np.float32), bone


def test_without_bone_the_images_are_equal(lines):
    soft, bone = lines
    for seed in range(5):
        pair = render_pair(soft, 0 * bone, Look.random(np.random.default_rng(seed)))
        np.testing.assert_array_equal(*pair)


def test_range_and_brighter_bone(lines):
    soft, bone = lines
    for seed in range(5):
        look = Look.random(np.random.default_rng(seed))
        radiograph, soft_image = render_pair(soft, bone, look)
        assert radiograph.dtype == np.float32 and radiograph.min() >= -1 and radiograph.max() <= 1
        stripe = bone > 0
        assert (radiograph - soft_image)[stripe].mean() > 0.03
        assert (radiograph - soft_image)[stripe].mean() > 4 * np.abs((radiograph - soft_image)[100:]).mean()


def test_plain_look_is_a_stretch_of_the_line_integrals(lines):
    soft, bone = lines
    radiograph, soft_image = render_pair(soft, bone, Look())
    total = soft + bone
    low, high = total.min(), total.max()
    np.testing.assert_allclose(radiograph, (total - low) / (high - low) * 2 - 1, atol=1e-5)
    np.testing.assert_allclose(soft_image, np.clip((soft - low) / (high - low), 0, 1) * 2 - 1, atol=1e-5)


def test_air_that_rounding_left_below_zero_is_black_under_an_exposure():
    lines = np.full((32, 32), -1e-3, np.float32)  # as an interpolated picture has it beside the body
    lines[8:24, 8:24] = 6
    images = render_pair(lines, np.zeros_like(lines), Look(exposure=(4.0, 1.4), gamma=0.9))
    assert all(np.isfinite(image).all() and image[0, 0] == -1 for image in images)


def test_exposure_is_the_detector(lines):
    from drr.appearance.detector import detector_response

    soft, bone = lines
    radiograph, _ = render_pair(soft, bone, Look(exposure=(4.0, 1.4)))
    total = detector_response(soft + bone)
    low, high = total.min(), total.max()
    np.testing.assert_allclose(radiograph, (total - low) / (high - low) * 2 - 1, atol=1e-5)


def test_bone_strength_multiplies_the_bone(lines):
    soft, bone = lines
    three = render_pair(soft, bone, Look(bone_strength=3))
    np.testing.assert_allclose(three, render_pair(soft, 3 * bone, Look()), atol=1e-6)


def test_bone_saturation_holds_thick_bone_back_and_leaves_a_rib(lines):
    _, bone = lines
    look = Look(bone_saturation=5)
    np.testing.assert_allclose(shown_bone(bone / 3, look, 1.0), bone / 3, atol=1e-6)  # 0.1
    np.testing.assert_allclose(shown_bone(bone * 3, look, 1.0), bone * 3 * (1.5 / 5.5), atol=1e-6)  # 0.9


def test_compression_takes_the_blurred_image_away(lines):
    soft, _ = lines
    image = (soft - soft.min()) / (soft.max() - soft.min())
    expected = image - np.float32(0.8) * blur(image, 32 / 2.5)
    low, high = expected.min(), expected.max()
    look = Look(compression=0.8, compression_sigma_mm=32.0)
    radiograph, _ = render_pair(soft, 0 * soft, look, pixel_mm=2.5)
    np.testing.assert_allclose(radiograph, (expected - low) / (high - low) * 2 - 1, atol=1e-5)
    with pytest.raises(ValueError, match="compression"):
        Look(compression=1.0)


def test_equalisation_evens_out_the_radiographs_histogram_and_keeps_order(lines):
    soft, bone = lines
    radiograph, _ = render_pair(soft, bone, Look(equalisation=1.0, gamma=3.0))
    counts, _ = np.histogram(radiograph, 8, (-1, 1))
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.6 * counts.mean()
    rank = np.argsort(np.argsort((soft + bone).ravel()))
    assert np.corrcoef(rank, radiograph.ravel())[0, 1] > 0.999


def test_local_contrast_brings_quiet_parts_up():
    rng = np.random.default_rng(0)
    lines = rng.normal(0, 1, (160, 160)).astype(np.float32)
    lines[:, 80:] *= 0.1
    plain, evened = (
        render_pair(lines, 0 * lines, Look(local_contrast=amount, local_sigma_mm=8.0), pixel_mm=1.0)[0]
        for amount in (0.0, 0.8)
    )
    ratio, after = (image[:, :60].std() / image[:, 100:].std() for image in (plain, evened))
    assert ratio > 8 and after < 0.5 * ratio


def test_what_is_measured_on_the_radiograph_is_held_fast_for_every_other_image(lines):
    soft, bone = lines
    look = Look.random(np.random.default_rng(4))
    show = develop(soft + bone, look, 1.0)
    first = show(soft)
    show(soft + 3)
    np.testing.assert_array_equal(show(soft), first)


def test_seed_gives_the_look():
    assert Look.random(np.random.default_rng(1)) == Look.random(np.random.default_rng(1))
    assert Look.random(np.random.default_rng(1)) != Look.random(np.random.default_rng(2))


def test_wide_blur_is_close_to_the_exact_one():
    import cv2

    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.normal(size=(200, 240)).astype(np.float32), (0, 0), 4)
    exact = cv2.GaussianBlur(image, (0, 0), 12)
    error = np.abs(blur(image, 12) - exact)
    assert error[20:-20, 20:-20].max() < 0.04 * np.ptp(exact) and error.max() < 0.15 * np.ptp(exact)
    np.testing.assert_allclose(blur(np.full((50, 60), 0.7, np.float32), 9), 0.7, atol=1e-6)


def test_bad_input(lines):
    with pytest.raises(ValueError, match="window"):
        Look(window=(0.9, 0.1))
    with pytest.raises(ValueError, match="equal images"):
        render_pair(lines[0], lines[1][:5], Look())


@pytest.mark.parametrize("name", ["bone_sharpening", "latitude", "gamma", "middle"])
def test_numbers_that_are_not_finite_are_refused(name):
    with pytest.raises(ValueError, match="every number of a look must be finite"):
        Look(**{name: float("nan")})

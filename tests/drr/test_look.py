"""The same look for both images of a pair."""

from __future__ import annotations

import numpy as np
import pytest

from drr.look import Look, blur, render_pair


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
        assert (radiograph - soft_image)[stripe].mean() > 0.05
        assert np.abs((radiograph - soft_image)[100:]).max() < 0.12  # far from the bone: the coarse unsharp mask's halo


def test_plain_look_is_the_detector_and_a_stretch(lines):
    from drr.detector import detector_response

    soft, bone = lines
    radiograph, soft_image = render_pair(soft, bone, Look())
    total = detector_response(soft + bone)
    low, high = total.min(), total.max()
    np.testing.assert_allclose(radiograph, (total - low) / (high - low) * 2 - 1, atol=1e-5)
    expected = np.clip((detector_response(soft) - low) / (high - low), 0, 1) * 2 - 1
    np.testing.assert_allclose(soft_image, expected, atol=1e-5)


def test_bone_strength_multiplies_the_bone(lines):
    soft, bone = lines
    three = render_pair(soft, bone, Look(bone_strength=3))
    np.testing.assert_allclose(three, render_pair(soft, 3 * bone, Look()), atol=1e-6)


def test_bone_saturation_holds_thick_bone_back_and_leaves_a_rib(lines):
    soft, bone = lines
    rib, spine = bone / 3, bone * 3  # 0.1 and 0.9
    np.testing.assert_allclose(
        render_pair(soft, rib, Look(bone_saturation=5)), render_pair(soft, rib, Look()), atol=1e-6
    )
    held = render_pair(soft, spine, Look(bone_saturation=5))
    np.testing.assert_allclose(held, render_pair(soft, spine * (1.5 / 5.5), Look()), atol=1e-6)


def test_compression_takes_the_blurred_image_away(lines):
    from drr.detector import detector_response

    soft, _ = lines
    image = detector_response(soft)
    expected = image - np.float32(0.8) * blur(image, 0.2 * 160)
    low, high = expected.min(), expected.max()
    radiograph, _ = render_pair(soft, 0 * soft, Look(compression=0.8, compression_sigma=0.2))
    np.testing.assert_allclose(radiograph, (expected - low) / (high - low) * 2 - 1, atol=1e-5)
    with pytest.raises(ValueError, match="compression"):
        Look(compression=1.0)


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


@pytest.mark.parametrize("name", ["bone_sharpening", "width", "gamma", "centre"])
def test_numbers_that_are_not_finite_are_refused(name):
    with pytest.raises(ValueError, match="every number of a look must be finite"):
        Look(**{name: float("nan")})

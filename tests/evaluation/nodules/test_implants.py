"""Implanted nodules and detectability with methods whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from evaluation.nodules.detectability import ClutterRatio, clutter, template
from evaluation.nodules.implants import (
    APART_MM,
    CONTRAST_PER_MM,
    DIAMETERS_MM,
    EDGE_MM,
    contrast_per_mm,
    make_implant,
    measure_implants,
    put_in,
    scatter,
)

SIDE, MM = 512, 0.8


@pytest.fixture(scope="module")
def chest():
    """A radiograph with texture and "ribs", the same without the ribs, and a mask of two lungs."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 3)
    soft = texture / texture.std() * 0.05 - 0.2
    ribs = 0.15 * np.maximum(np.sin(2 * np.pi * np.arange(SIDE) / 40), 0)[:, None].astype(np.float32)
    lungs = np.zeros((SIDE, SIDE), bool)
    lungs[80:430, 70:220] = lungs[80:430, 290:440] = True
    return soft + ribs, soft, lungs


def measure(chest, suppress, count=14):
    radiograph, _, lungs = chest
    per_mm = contrast_per_mm(radiograph, lungs)
    groups = scatter(lungs, MM, per_mm, count, np.random.default_rng(1))
    return measure_implants(suppress, radiograph, lungs, groups, MM, per_mm)


def test_a_nodule_is_a_balls_chord_with_a_smooth_edge():
    implant = make_implant((400, 300), 200.0, 150.0, 20.0, 0.5, 0.01)
    image = put_in(np.zeros((400, 300), np.float32), [implant])
    assert image[200, 150] == pytest.approx(0.01 * 20, rel=0.01)
    assert image.sum() * 0.5**2 == pytest.approx(0.01 * np.pi / 6 * 20**3, rel=0.01)
    half = 0.01 * 20 * np.sqrt(1 - 0.5**2)  # chord at half of the radius, 5 mm out
    assert image[200, 160] == pytest.approx(half, rel=0.02) and image[200, 150 + 24] < 0.1 * image.max()
    assert EDGE_MM < 1 and image[200, 150 + 30] == 0
    corner = make_implant((400, 300), 0.0, 0.0, 20.0, 0.5, 0.01)
    quarter = implant.added[-29:, -29:]
    assert corner.box == (slice(0, 29), slice(0, 29)) and corner.added[3, 4] == pytest.approx(quarter[3, 4], rel=0.01)


def test_contrast_follows_the_displays_own(chest):
    radiograph, _, lungs = chest
    per_mm = contrast_per_mm(radiograph, lungs)
    band = cv2.GaussianBlur(radiograph, (0, 0), 1.2) - cv2.GaussianBlur(radiograph, (0, 0), 14)
    assert per_mm == pytest.approx(CONTRAST_PER_MM * band[lungs].std(), rel=0.02)
    assert contrast_per_mm(0.5 * radiograph + 0.1, lungs) == pytest.approx(0.5 * per_mm, rel=1e-4)
    large = cv2.resize(radiograph, (1024, 1024), interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(lungs.astype(np.uint8), (1024, 1024)) > 0
    assert contrast_per_mm(large, mask) == pytest.approx(per_mm, rel=0.05)
    with pytest.raises(ValueError, match="no contrast that a nodule could be given"):
        contrast_per_mm(np.zeros((SIDE, SIDE), np.float32), lungs)


def test_nodules_lie_over_the_lungs_apart_and_in_every_size(chest):
    lungs = chest[2]
    groups = list(scatter(lungs, MM, 0.01, 28, np.random.default_rng(0)))
    assert [len(group) for group in groups] == [4] * 7
    for group in groups:
        assert all(lungs[int(n.row), int(n.column)] for n in group)
        gaps = [np.hypot(a.row - b.row, a.column - b.column) * MM for a in group for b in group if a is not b]
        assert min(gaps) > APART_MM
    sizes = sorted(n.diameter_mm for group in groups for n in group)
    assert sizes == sorted(list(DIAMETERS_MM) * 4)
    again = list(scatter(lungs, MM, 0.01, 28, np.random.default_rng(0)))
    assert [n.row for g in again for n in g] == [n.row for g in groups for n in g]


def test_a_place_for_one_nodule_takes_one(chest):
    dot = np.zeros((SIDE, SIDE), bool)
    dot[200:210, 200:210] = True
    assert [len(group) for group in scatter(dot, MM, 0.01, 8, np.random.default_rng(0))] == [1, 1]


def test_doing_nothing_keeps_all_and_changes_no_detectability(chest):
    for row in measure(chest, lambda image: image):
        assert row.kept == pytest.approx(1, abs=1e-5) and row.detectability == pytest.approx(1, abs=1e-5)
        assert row.before > 0


@pytest.mark.parametrize("scale", [0.5, 0.9, -0.3])
def test_scaling_an_image_keeps_that_much_and_changes_no_detectability(chest, scale):
    for row in measure(chest, lambda image: scale * image + 0.1):
        assert row.kept == pytest.approx(scale, abs=1e-4)
        assert row.detectability == pytest.approx(np.sign(scale), abs=1e-3)


def test_a_method_that_takes_half_of_a_nodule_keeps_half(chest):
    radiograph, soft, _ = chest
    rows = measure(chest, lambda image: soft + 0.5 * (image - radiograph))
    np.testing.assert_allclose([row.kept for row in rows], 0.5, atol=1e-4)


def test_taking_the_ribs_alone_raises_detectability_and_taking_nodules_too_lowers_it(chest):
    radiograph, soft, lungs = chest
    whole = measure(chest, lambda image: soft + (image - radiograph))
    half = measure(chest, lambda image: soft + 0.5 * (image - radiograph))
    for full, part in zip(whole, half):
        ratio = clutter(radiograph, lungs, full.diameter_mm, MM) / clutter(soft, lungs, full.diameter_mm, MM)
        assert full.detectability == pytest.approx(ratio, rel=1e-3)
        assert part.detectability == pytest.approx(ratio / 2, rel=1e-3)
    assert np.median([row.detectability for row in whole]) > 1.5


def test_what_white_cuts_off_was_never_there(chest):
    radiograph, _, lungs = chest
    bright = (radiograph + 1.0).clip(-1, 1)
    per_mm = contrast_per_mm(radiograph, lungs)
    groups = list(scatter(lungs, MM, 4 * per_mm, 7, np.random.default_rng(2)))
    rows = measure_implants(lambda image: image, bright, lungs, groups, MM, per_mm)
    np.testing.assert_allclose([row.kept for row in rows], 1, atol=1e-6)


def test_detectability_before_is_the_matched_filters():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.1, (SIDE, SIDE)).astype(np.float32)
    lungs = np.ones((SIDE, SIDE), bool)
    kernel = template(12.0, MM)
    assert kernel.sum() == pytest.approx(0, abs=1e-3) and kernel.max() == pytest.approx(6, rel=0.1)
    # white noise of deviation s answers with s times the template's norm
    assert clutter(noise, lungs, 12.0, MM) == pytest.approx(0.1 * np.sqrt((kernel**2).sum()), rel=0.1)
    # so d' of a ball is its own norm off its mean, times contrast, over s
    index = ClutterRatio(noise, noise, lungs, MM).index(12.0, 0.01)
    assert index == pytest.approx(2 * 0.01 * np.sqrt((kernel**2).sum()) / 0.1, rel=0.1)


def test_detectability_does_not_depend_on_the_images_size(chest):
    radiograph, soft, lungs = chest
    large = [cv2.resize(image, (1536, 1536), interpolation=cv2.INTER_LINEAR) for image in (radiograph, soft)]
    mask = cv2.resize(lungs.astype(np.uint8), (1536, 1536), interpolation=cv2.INTER_NEAREST) > 0
    small = ClutterRatio(radiograph, soft, lungs, MM)(10.0)
    assert ClutterRatio(*large, mask, MM / 3)(10.0) == pytest.approx(small, rel=0.05)


@pytest.mark.parametrize("bad", [lambda image: image[1:], lambda image: image * np.nan])
def test_results_that_are_no_images_are_refused(chest, bad):
    with pytest.raises(ValueError, match="one finite image of the same size"):
        measure(chest, bad)

"""Nodules' survival with methods whose answer is known: the truth, an eraser, a blur, one that keeps 0.7, a painter."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from evaluation.nodules.blobs import Blobs, find_blobs
from evaluation.nodules.detectability import clutter
from evaluation.nodules.report import chosen_examples, survival_report, write_nodules
from evaluation.nodules.scenes import DIAMETERS_MM, render_scenes
from evaluation.nodules.survival import (
    NOTHING,
    OPERATING_POINTS,
    TRUTH,
    detection_threshold,
    evaluate_nodule_survival,
    false_nodules,
)
from evaluation.nodules.twins import AIMS


class Known:
    """A method that knows the scenes: `answer` of (the true soft image without a nodule, the one asked for)."""

    def __init__(self, scenes, answer):
        self.answer = answer
        self.pairs = {s.radiograph.tobytes(): (s.soft, s.soft) for s in scenes}
        self.pairs |= {n.radiograph.tobytes(): (s.soft, n.soft) for s in scenes for n in [*s.nodules, *s.twins]}

    def __call__(self, images):
        return np.stack([self.answer(*self.pairs[image.tobytes()]) for image in images])


def disc(shape, centre, radius, contrast=1.0):
    y, x = np.indices(shape)
    return contrast * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2).astype(np.float32)


@pytest.fixture(scope="module")
def scenes():
    return list(render_scenes(2, 256, seed=0))


@pytest.fixture(scope="module")
def result(scenes):
    methods = {
        "oracle": Known(scenes, lambda without, soft: soft),
        "eraser": Known(scenes, lambda without, soft: without),
        "part": Known(scenes, lambda without, soft: without + 0.7 * (soft - without)),
        "same": lambda images: images,
        "blur": lambda images: np.stack([cv2.GaussianBlur(image, (0, 0), 4) for image in images]),
    }
    return evaluate_nodule_survival(scenes, methods)


def column(result, method: str, name: str, diameter: float | None = None) -> np.ndarray:
    rows = [r for r in result.rows if r["method"] == method and diameter in (None, r["diameter_mm"])]
    return np.array([row[name] for row in rows], dtype=float)


def test_the_truth_keeps_everything_and_invents_nothing(result):
    for name in ("kept", "contrast_kept", "likeness"):
        values = column(result, "oracle", name)
        np.testing.assert_allclose(values[~np.isnan(values)], 1, atol=1e-5)
    np.testing.assert_array_equal(column(result, "oracle", "cnr"), column(result, TRUTH, "cnr"))
    assert all((result.false_nodules[point, "oracle"] == 0).all() for point in OPERATING_POINTS)


def test_an_eraser_and_a_method_that_keeps_a_part(result):
    np.testing.assert_allclose(column(result, "eraser", "kept"), 0, atol=1e-6)
    np.testing.assert_allclose(column(result, "part", "kept"), 0.7, atol=1e-4)
    np.testing.assert_allclose(column(result, "part", "likeness"), 1, atol=1e-4)


def test_detectability_is_the_signal_over_the_anatomys_own_answer(scenes, result):
    np.testing.assert_allclose(column(result, NOTHING, "detectability"), 1, atol=1e-5)
    np.testing.assert_allclose(column(result, "eraser", "detectability"), 0, atol=1e-6)
    oracle, part = (column(result, name, "detectability") for name in ("oracle", "part"))
    np.testing.assert_allclose(part, 0.7 * oracle, rtol=1e-3)
    np.testing.assert_array_equal(oracle, column(result, TRUTH, "detectability"))
    scene = scenes[0]
    row = next(r for r in result.rows if r["method"] == TRUTH and r["body"] == 0 and r["diameter_mm"] == 10)
    nodule = next(n for n in scene.nodules if n.diameter_mm == 10 and n.centre[0] == row["row"])
    before, after = (clutter(image, scene.lungs, 10.0, scene.pixel_mm) for image in (scene.radiograph, scene.soft))
    signals = [
        (a - b)[nodule.mask].mean() for a, b in ((nodule.soft, scene.soft), (nodule.radiograph, scene.radiograph))
    ]
    assert row["detectability"] == pytest.approx(signals[0] / signals[1] * before / after, rel=1e-3)


def test_vessels_and_devices_are_measured_as_twins(scenes, result):
    kinds = {row["kind"] for row in result.twins}
    assert kinds == set(AIMS) and all(len(scene.twins) == 5 for scene in scenes)

    def kept(method: str) -> np.ndarray:
        values = np.array([row["kept"] for row in result.twins if row["method"] == method], float)
        return values[~np.isnan(values)]

    assert len(kept("oracle")) >= 10
    np.testing.assert_allclose(kept("oracle"), 1, atol=1e-6)
    np.testing.assert_allclose(kept("part"), 0.7, atol=1e-4)
    np.testing.assert_allclose(kept("eraser"), 0, atol=1e-6)
    assert kept("blur").mean() < 0.9 and 0.8 < kept("same").mean() < 1.3
    table = next(t for t in survival_report(result, {}).tables if t.title == "Vessels and devices")
    rows = {(row[0], row[1]): row for row in table.rows}
    assert rows["lines and wires", "oracle"][4].value == 1 and rows["lines and wires", "part"][4].value == 0
    assert rows["vessels between ribs", "part"][3].value == pytest.approx(0.7, abs=1e-4)
    assert rows["vessels between ribs", "part"][5] == "95%"


def test_doing_nothing_keeps_nodules_and_leaves_blobs_of_bone(result):
    np.testing.assert_array_equal(column(result, "same", "kept"), column(result, NOTHING, "kept"))
    assert 0.9 < column(result, NOTHING, "kept").mean() < 1.2
    assert result.false_nodules["solid nodules", NOTHING].min() >= 5


def test_a_blur_loses_small_nodules_first(result):
    kept = [column(result, "blur", "kept", diameter).mean() for diameter in DIAMETERS_MM]
    assert kept == sorted(kept) and kept[0] < 0.25 and kept[-1] > 0.7


def test_a_painted_nodule_is_the_one_that_appears(scenes, result):
    spots = {scene.soft.tobytes(): _free_spot(scene, result.thresholds["all nodules"]) for scene in scenes}

    def paint(without, soft):
        y, x = np.indices(soft.shape)
        row, column = spots[without.tobytes()]
        # small: the dark ring that blobs see around a wide one would cut its neighbours in two
        return soft + 0.15 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 2.0**2)).astype(np.float32)

    painted = evaluate_nodule_survival(scenes, {"painter": Known(scenes, paint)})
    assert painted.thresholds == result.thresholds
    for point in OPERATING_POINTS:
        assert painted.false_nodules[point, "painter"].tolist() == [1, 1]


def _free_spot(scene, threshold: float) -> tuple[int, int]:
    """The place in the lungs that is farthest from their border and from every blob of the true image."""
    blobs = find_blobs(scene.soft, scene.lungs, [d / scene.pixel_mm for d in DIAMETERS_MM]).above(threshold)
    free = scene.lungs.astype(np.uint8)
    free[tuple(blobs.places.astype(int).T)] = 0
    depth = cv2.distanceTransform(free, cv2.DIST_L2, 5)
    return np.unravel_index(depth.argmax(), depth.shape)


def test_a_blob_answers_to_a_disc_as_theory_says():
    image = disc((128, 128), (50, 70), 8, contrast=0.3)
    blobs = find_blobs(image, np.ones((128, 128), bool), [8, 12, 16, 24, 32])
    best = blobs.response.argmax()
    assert tuple(blobs.places[best]) == (50, 70) and blobs.radii[best] == 8
    assert blobs.response[best] == pytest.approx(0.3 * 2 / np.e, rel=0.04)
    outside = find_blobs(image, disc((128, 128), (50, 70), 20) == 0, [16])
    assert outside.best_within((50, 70), 15) == -np.inf


def test_false_nodules_are_those_that_the_truth_lacks():
    truth = Blobs(np.array([[10.0, 10.0], [40, 40]]), np.array([4.0, 4]), np.array([0.5, 0.1]))
    ours = Blobs(np.array([[12.0, 11.0], [40, 41], [80, 80]]), np.array([3.0, 3, 3]), np.array([0.4, 0.4, 0.4]))
    assert false_nodules([ours], [truth], 0.05) == [1]
    assert false_nodules([ours], [truth], 0.3) == [2]  # at this threshold the truth has no blob at (40, 40)
    assert np.isnan(false_nodules([ours], [truth], float("nan"))).all()
    heap = Blobs(np.array([[5.0, 5], [7, 5], [40, 5]]), np.array([2.0, 4, 2]), np.array([0.2, 0.3, 0.1]))
    assert heap.distinct().response.tolist() == [0.3, 0.1]


def test_the_threshold_is_the_highest_that_finds_four_in_five():
    assert detection_threshold([float(i) for i in range(1, 11)]) == 3
    assert detection_threshold([2.0, 1.0, 3.0, 4.0, -np.inf]) == 1
    assert np.isnan(detection_threshold([1.0, -np.inf])) and np.isnan(detection_threshold([]))


@pytest.mark.parametrize(
    ("method", "says"), [(lambda x: x[:, :-1], "one finite image"), (lambda x: x * np.nan, "one finite image")]
)
def test_results_that_are_no_images(scenes, method, says):
    with pytest.raises(ValueError, match=says):
        evaluate_nodule_survival(scenes[:1], {"bad": method})
    with pytest.raises(ValueError, match="cannot name a method"):
        evaluate_nodule_survival(scenes[:1], {TRUTH: method})


def test_the_report_counts_what_vanishes_and_what_is_safe(result, tmp_path):
    report = survival_report(result, {})
    rows = {row[1]: row for row in report.tables[0].rows}
    shares = {name: (row[4].value, row[5].value) for name, row in rows.items()}
    assert shares["oracle"] == (0, 1) and shares["eraser"] == (1, 0) and shares["part"] == (0, 0)
    assert 0 < shares["blur"][0] < 1 and rows["oracle"][7].value == rows["oracle"][8].value
    assert report.tables[0].columns[-1] == "detectability"
    assert {row[0] for row in report.tables[-1].rows} == {f"{d:g} mm" for d in DIAMETERS_MM}
    assert [row[2] for row in report.tables[3].rows if row[1] == "blur"] == [20, 20]
    write_nodules(result, tmp_path / "nodules.csv")
    with open(tmp_path / "nodules.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 48 * 7 and float(written[-1]["kept"]) == pytest.approx(1)
    kept = [float(example.row["kept"]) for example in chosen_examples(result, "blur")]
    assert len(kept) == 6 and kept == sorted(kept)

"""Whether nodules survive bone suppression: what each keeps, how many vanish, and how many appear from nothing.

A scene (evaluation.nodules.scenes) shows one body with and without each nodule. With m the mask of a nodule, the signal
of a method is mean_m(with) - mean_m(without) of its two results, and `kept` is that over the same in the true
soft-tissue images: 1 keeps the nodule, 0 removes it. Anatomy cancels in it, so it is the cleanest measure; `likeness`
is the correlation of the two differences in mask and ring, which a smear of the same sum fails. The contrast and the
contrast-to-noise ratio against the ring are what a reader has, who sees one image. `detectability` is the nodule's
signal over the anatomy's own answer to its template (evaluation.nodules.detectability), over the same in the
radiograph.
Vessels and devices are measured as nodules are, by the projection of what each adds onto what it adds to the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from evaluation.nodules.blobs import Blobs, find_blobs
from evaluation.nodules.detectability import ClutterRatio
from evaluation.nodules.scenes import DIAMETERS_MM, Nodule, Scene
from evaluation.nodules.twins import Twin, twin_kept
from evaluation.suppression.contrast import preservation

NOTHING, TRUTH = "do nothing", "true soft tissue"
RELEVANT_MM = 8.0  # nodules of this size and more count in the rates
SENSITIVITY = 0.8  # the share of nodules in the true images at which the detector works
OPERATING_POINTS = ("solid nodules", "all nodules")  # those of RELEVANT_MM and more among which it has to find them
SMALLEST_SIGNAL = 1e-3  # of the grey range of 2: under it a ratio means nothing
CROP = 144  # pixels of an example
CROP_MM = 60.0
Suppress = Callable[[np.ndarray], np.ndarray]  # float32 (N, H, W) in [-1, 1] to the same, each image by itself


@dataclass(frozen=True, eq=False)
class Example:
    """Crops around a nodule.

    Attributes:
        row: Its figures.
        crops: uint8: radiograph, result, truth, and what the nodule adds to result and truth.
    """

    row: dict[str, str | float]
    crops: list[np.ndarray]


@dataclass
class SurvivalResult:
    """What was measured.

    Attributes:
        methods: The baseline, those evaluated, the truth.
        bodies: Numbers of the scenes.
        rows: One a nodule and method.
        thresholds: The detector's by OPERATING_POINTS; NaN if it cannot find SENSITIVITY of the nodules.
        true_blobs: {point: its finds in each body's true image without a nodule}.
        false_nodules: {(point, method): what it finds in each body's result that the true image does not have}.
        examples: Pictures of some nodules.
        missing: Nodules without a place, in words.
        twins: One row per method and kind of vessel or device in each view that has it.
    """

    methods: list[str]
    bodies: list[int]
    rows: list[dict[str, str | float]]
    thresholds: dict[str, float] = field(default_factory=dict)
    true_blobs: dict[str, np.ndarray] = field(default_factory=dict)
    false_nodules: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    twins: list[dict[str, str | float]] = field(default_factory=list)


def evaluate_nodule_survival(
    scenes: Iterable[Scene],
    methods: Mapping[str, Suppress],
    progress: Callable[[int], None] = lambda done: None,
) -> SurvivalResult:
    """Each method on each scene, beside doing nothing and the true soft-tissue image.

    Args:
        scenes: Of `render_scenes`.
        methods: {name: function (H, W) -> (H, W)}; a function has to treat the views with and without a nodule alike
            (the same noise).
        progress: Called with the number of scenes done.

    Returns:
        Rows, false nodules, examples.

    Raises:
        ValueError: A reserved name, or a result of another shape or with values that are not finite.
    """
    if {NOTHING, TRUTH} & set(methods):
        raise ValueError(f"'{NOTHING}' and '{TRUTH}' cannot name a method: choose another name")
    names = [NOTHING, *methods, TRUTH]
    result = SurvivalResult(names, [], [])
    blobs: dict[str, list[Blobs]] = {name: [] for name in names}
    found: dict[str, list[float]] = {point: [] for point in OPERATING_POINTS}
    for scene in scenes:
        sizes = [diameter / scene.pixel_mm for diameter in DIAMETERS_MM if diameter >= RELEVANT_MM]
        for name, (before, after, twins) in _results(scene, methods).items():
            blobs[name].append(find_blobs(before, scene.lungs, sizes))
            ratio = ClutterRatio(scene.radiograph, before, scene.lungs, scene.pixel_mm)
            result.twins += _twin_rows(scene, name, before, twins)
            for nodule, image in zip(scene.nodules, after):
                row = {"body": scene.body, "method": name, **_measure(scene, nodule, before, image, ratio)}
                result.rows.append(row)
                if name in methods:
                    result.examples.append(Example(row, _crops(scene, nodule, before, image)))
        for nodule in scene.nodules:
            if nodule.diameter_mm >= RELEVANT_MM:
                radius = nodule.diameter_mm / 2 / scene.pixel_mm
                response = find_blobs(nodule.soft, scene.lungs, sizes).best_within(nodule.centre, radius)
                for point in OPERATING_POINTS[0 if nodule.density == "solid" else 1 :]:
                    found[point].append(response)
        result.bodies.append(scene.body)
        result.missing += scene.missing
        progress(len(result.bodies))
    for point, responses in found.items():
        threshold = result.thresholds[point] = detection_threshold(responses)
        result.true_blobs[point] = np.array([len(b.above(threshold).distinct().response) for b in blobs[TRUTH]])
        for name in names:
            result.false_nodules[point, name] = false_nodules(blobs[name], blobs[TRUTH], threshold)
    return result


def detection_threshold(responses: list[float]) -> float:
    """The highest threshold that SENSITIVITY of the nodules' responses reach; NaN if that many were not found.

    Args:
        responses: The detector's answer at each nodule, -inf for one that it did not find.

    Returns:
        In the image's grey.
    """
    ordered = sorted(responses, reverse=True)
    needed = int(np.ceil(SENSITIVITY * len(ordered) - 1e-9))
    return ordered[needed - 1] if ordered and np.isfinite(ordered[needed - 1]) else float("nan")


def false_nodules(results: list[Blobs], truths: list[Blobs], threshold: float) -> np.ndarray:
    """What a detector finds in results and not in the truth.

    Args:
        results: Blobs of each body's result.
        truths: Blobs of its true image.
        threshold: Of both.

    Returns:
        (bodies,) counts; NaN without a threshold.
    """
    if np.isnan(threshold):
        return np.full(len(results), np.nan)
    new = (ours.above(threshold).without(true.above(threshold)) for ours, true in zip(results, truths))
    return np.array([len(blobs.distinct().response) for blobs in new], float)


Results = dict[str, tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]]


def _results(scene: Scene, methods: Mapping[str, Suppress]) -> Results:
    """{method: (image without a nodule, images with each, images with vessels or a device)}."""
    views: list[Nodule | Twin] = [*scene.nodules, *scene.twins]
    radiographs = np.stack([scene.radiograph, *(view.radiograph for view in views)])
    results = {NOTHING: radiographs}
    for name, suppress in methods.items():
        images = np.asarray(suppress(radiographs))
        if images.shape != radiographs.shape or not np.isfinite(images).all():
            raise ValueError(
                f"{name} made {images.shape} of radiographs {radiographs.shape}, or values that are not finite; "
                "expected one finite image of the same size for each"
            )
        results[name] = images
    results[TRUTH] = np.stack([scene.soft, *(view.soft for view in views)])
    end = 1 + len(scene.nodules)
    return {name: (images[0], list(images[1:end]), list(images[end:])) for name, images in results.items()}


def _twin_rows(scene: Scene, method: str, before: np.ndarray, images: list[np.ndarray]) -> list[dict[str, str | float]]:
    """One method's views with vessels and devices: what it keeps of each kind."""
    return [
        {
            "body": scene.body,
            "method": method,
            "kind": kind,
            "kept": twin_kept(image - before, twin.soft - scene.soft, mask),
        }
        for twin, image in zip(scene.twins, images)
        for kind, mask in twin.masks.items()
    ]


def _measure(
    scene: Scene, nodule: Nodule, before: np.ndarray, after: np.ndarray, ratio: ClutterRatio
) -> dict[str, str | float]:
    """What one method's pair of images, without and with the nodule, says of it."""
    inside = nodule.mask
    seen = preservation(after, nodule.soft, inside, nodule.around)
    added, true_added = after - before, nodule.soft - scene.soft
    signal, expected = float(added[inside].mean()), float(true_added[inside].mean())
    shown = float((nodule.radiograph - scene.radiograph)[inside].mean())
    return {
        "diameter_mm": nodule.diameter_mm,
        "density": nodule.density,
        "place": nodule.place,
        "bone_cover": nodule.bone_cover,
        "bone_lines": nodule.bone_lines,
        "row": nodule.centre[0],
        "column": nodule.centre[1],
        "contrast": seen["contrast"],
        "true_contrast": seen["reference_contrast"],
        "contrast_kept": seen["kept"],
        "cnr": _ratio(seen["contrast"], float(after[nodule.around].std()), 1e-6),
        "signal": signal,
        "true_signal": expected,
        "kept": _ratio(signal, expected, SMALLEST_SIGNAL),
        "likeness": preservation(added, true_added, inside, nodule.around)["likeness"],
        "detectability": _ratio(signal, shown, SMALLEST_SIGNAL) * ratio(nodule.diameter_mm),
    }


def _ratio(value: float, unit: float, smallest: float) -> float:
    return value / unit if abs(unit) > smallest else float("nan")


def _crops(scene: Scene, nodule: Nodule, before: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    """The first three share the truth's greys; in the last two black is nothing and white 1.5 times the true signal."""
    half = max(nodule.diameter_mm, CROP_MM) / 2 / scene.pixel_mm
    height, width = nodule.mask.shape
    (top, bottom), (left, right) = (
        (max(0, int(middle - half)), min(size, int(middle + half) + 1))
        for middle, size in zip(nodule.centre, (height, width))
    )
    box = slice(top, bottom), slice(left, right)
    low, high = np.quantile(nodule.soft[box], [0, 1])
    margin = 0.2 * (high - low) + 1e-3
    bright = 1.5 * max(float((nodule.soft - scene.soft)[nodule.mask].mean()), SMALLEST_SIGNAL)
    shown = [(image, low - margin, high + margin) for image in (nodule.radiograph, after, nodule.soft)]
    shown += [(difference, 0.0, bright) for difference in (after - before, nodule.soft - scene.soft)]
    return [_grey(image[box], *greys) for image, *greys in shown]


def _grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    grey = ((image - low) / (high - low)).clip(0, 1) * 255
    return cv2.resize(grey.astype(np.uint8), (CROP, CROP), interpolation=cv2.INTER_LINEAR)

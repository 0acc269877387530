"""Nodules implanted into radiographs of a folder, as rows: image by image, for a model and for the true soft tissue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation.nodules.detectability import ClutterRatio
from evaluation.nodules.implants import DIAMETERS_MM, Suppress, contrast_per_mm, measure_implants, scatter
from evaluation.suppression.gains import gain_offset
from radiographs import Radiograph, read_radiograph
from radiographs.folders import refuse
from radiographs.lungs import inner_lungs, pixel_mm_from_lungs
from radiographs.spacing import pixel_mm

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TRUTH = "true soft tissue"
ImplantRow = dict[str, str | float]


@dataclass
class ImplantResult:
    """What was measured.

    Attributes:
        methods: Their names.
        rows: One a nodule and method.
        images: That were measured.
        left_out: {image: why}, those without lungs.
    """

    methods: list[str]
    rows: list[ImplantRow] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def millimetres(source: Radiograph, lungs: Bool[np.ndarray, "height width"]) -> tuple[float, str]:
    """Side of a pixel in mm, and where it comes from.

    Args:
        source: The radiograph.
        lungs: bool (H, W).

    Returns:
        mm, and "header", or "lungs", whose height is then an assumption.
    """
    known = pixel_mm(source)
    return (pixel_mm_from_lungs(lungs), "lungs") if known is None else (known, "header")


def implant_rows(
    name: str,
    method: str,
    source: Radiograph,
    suppress: Suppress,
    lungs: Bool[np.ndarray, "height width"],
    count: int,
    seed: tuple[int, int],
    plain: Float[np.ndarray, "height width"] | None = None,
) -> list[ImplantRow]:
    """`count` nodules in one radiograph; see `evaluation.nodules.implants`.

    Args:
        name: Of the image, for the rows.
        method: Of the method, for the rows.
        source: The radiograph.
        suppress: The method, (H, W) to (H, W).
        lungs: bool (H, W).
        count: Nodules.
        seed: Of sizes and places, such as (seed, number of the image); every method sees the same nodules.
        plain: What the method makes of the radiograph itself, if it is known.

    Returns:
        A row a nodule: its place in pixels, its size in mm, the share that is kept (1: all), and its detectability.
    """
    mm, origin = millimetres(source, lungs)
    per_mm = contrast_per_mm(source.pixels, lungs)
    groups = scatter(lungs, mm, per_mm, count, np.random.default_rng(seed))
    found = measure_implants(suppress, source.pixels, lungs, groups, mm, per_mm, plain)
    return [
        {
            "image": name,
            "method": method,
            "row": kept.row,
            "column": kept.column,
            "diameter_mm": kept.diameter_mm,
            "kept": kept.kept,
            "detectability": kept.detectability,
            "detectability_before": kept.before,
            "detectability_after": kept.after,
            "pixel_mm": mm,
            "pixel_mm_from": origin,
        }
        for kept in found
    ]


def truth_rows(
    name: str, source: Radiograph, truth: Float[np.ndarray, "height width"], lungs: Bool[np.ndarray, "height width"]
) -> list[ImplantRow]:
    """What a method would reach that takes all bone and nothing else: one row for each diameter, kept being 1.

    The truth is brought to the radiograph's display by the least-squares gain in the lungs, so that a nodule would be
    as strong in it.

    Args:
        name: Of the image.
        source: The radiograph.
        truth: (H, W), its true soft tissue.
        lungs: bool (H, W).

    Returns:
        The rows.
    """
    mm, origin = millimetres(source, lungs)
    gain, offset = gain_offset(truth[lungs], source.pixels[lungs])
    ratio = ClutterRatio(source.pixels, gain * truth + offset, lungs, mm)
    shared: ImplantRow = {"image": name, "method": TRUTH, "kept": 1.0}
    scale: ImplantRow = {"pixel_mm": mm, "pixel_mm_from": origin}
    return [{**shared, "diameter_mm": d, "detectability": ratio(d), **scale} for d in DIAMETERS_MM]


def evaluate_implants(
    radiographs: Mapping[str, Path],
    methods: Mapping[str, Suppress],
    count: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImplantResult:
    """Every method on `count` nodules in each radiograph; those in which no lungs are found are left out and counted.

    Args:
        radiographs: {name: file}.
        methods: {name: function (H, W) -> (H, W)}, which treats equal images alike.
        count: Nodules an image, 1 or more.
        seed: Of their sizes and places.
        progress: Called with images done and of how many.

    Returns:
        The rows of all images that were measured, and why each of the others was left out.

    Raises:
        BadInputs: Files that cannot be read, all listed.
        ValueError: Lungs in no image at all, or a count below 1.
    """
    if count < 1:
        raise ValueError(f"{count} nodules an image: give 1 or more")
    result = ImplantResult(list(methods))
    problems = []
    for number, (name, path) in enumerate(radiographs.items()):
        try:
            source = read_radiograph(path)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        try:
            lungs = inner_lungs(source.pixels)
            contrast_per_mm(source.pixels, lungs)  # refuses lungs without texture
        except ValueError as error:
            result.left_out[name] = str(error)
            continue
        for method, suppress in methods.items():
            result.rows += implant_rows(name, method, source, suppress, lungs, count, (seed, number))
        result.images.append(name)
        progress(number + 1, len(radiographs))
    refuse("radiographs", problems)
    if not result.images:
        reasons = "; ".join(sorted(set(result.left_out.values())))
        raise ValueError(f"lungs were found in none of {len(radiographs)} radiographs: {reasons}")
    return result

"""The suppression protocol's result as a report: gains first, then papers' metrics, tests, findings, sliders, a CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.nodules.implant_report import implant_table
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Report, Slider, Table
from evaluation.reporting.statistics import bootstrap_mean, holm, paired_test
from evaluation.suppression.gain_report import NOTES as GAIN_NOTES
from evaluation.suppression.gain_report import gain_tables
from evaluation.suppression.protocol import BLUR, LEGACY, METRICS, NOTHING, SuppressionResult
from radiographs import atomic_path, read_radiograph, to_levels
from radiographs.folders import images_in

TITLES = {
    "mse": "MSE ↓",
    "psnr": "PSNR dB ↑",
    "ssim": "SSIM ↑",
    "ms_ssim": "MS-SSIM ↑",
    "lpips": "LPIPS ↓",
    "bsr_published": "BSR one-sided ↑",
    "bsr_two_sided": "BSR two-sided ↑",
}
NOTES = [
    "Means over the images with 95 % bootstrap intervals. Grey levels are floats; black is 0 and white 1 in the MSE.",
    "Two-sided BSR is 0 for doing nothing and 1 for the truth. The published one-sided BSR does not count bone that "
    f"was left behind; compare every method with the rows '{NOTHING}' and '{BLUR}'.",
    "Fitted: after the least-squares gain and offset of each image (and of the radiograph in the BSR) onto the truth.",
]
LOST = 0.5  # a finding that keeps less than this share of its contrast counts as lost


def suppression_report(
    result: SuppressionResult, settings: dict[str, Any], groups: Sequence[str] | None = None
) -> Report:
    """The result as a page.

    Args:
        result: Of `evaluate_suppression`.
        settings: The options.
        groups: Each image's patient, for intervals and tests over patients.

    Returns:
        The report, without sliders.
    """
    report = Report("Bone suppression", settings, notes=[*GAIN_NOTES, *NOTES])
    report.tables += gain_tables(result, groups)
    if result.implants:
        report.tables.append(implant_table(result.implants))
    for region in result.regions:
        for fitted in (False, True):
            metrics = [m for m in METRICS if (NOTHING, region, fitted, m) in result.scores]
            rows: list[list[Cell]] = []
            for method in result.methods:
                values = (result.scores[method, region, fitted, metric] for metric in metrics)
                rows.append([method, *(Interval(*bootstrap_mean(v, groups)) for v in values)])
            where = "Whole image" if region == "whole" else "Inside the lungs"
            title = f"{where}, {'after a gain and offset' if fitted else 'as it is'}"
            report.tables.append(Table(title, ["method", *(TITLES[m] for m in metrics)], rows))
    if any(np.isnan(values).any() for key, values in result.scores.items() if key[3] == "ms_ssim"):
        report.notes.append(
            "MS-SSIM is not defined for images under 176 pixels a side; those are left out of its mean."
        )
    report.tables.append(paired_table(result, groups))
    if result.legacy:
        report.tables.append(legacy_table(result))
    if result.lesions:
        report.tables.append(lesion_table(result))
    report.data = {
        "images": result.names,
        "scores": [
            {"method": k[0], "region": k[1], "fitted": k[2], "metric": k[3], "values": v}
            for k, v in result.scores.items()
        ],
        "gains": [{"method": k[0], "figure": k[1], "values": v} for k, v in result.gains.items()],
        "shares": result.shares,
        "without_lungs": result.without_lungs,
        "nodules": result.implants,
        "without_nodules": result.without_nodules,
        "findings": result.lesions,
    }
    return report


def paired_table(result: SuppressionResult, groups: Sequence[str] | None = None) -> Table:
    """Wilcoxon tests between all pairs of methods and against doing nothing; p corrected for all tests shown (Holm).

    Args:
        result: Of `evaluate_suppression`.
        groups: Each image's patient, or None if they are not known.

    Returns:
        A row for each pair, region and metric: the difference with its interval, and p before and after Holm.
    """
    methods = [m for m in result.methods if m not in (NOTHING, BLUR)]
    pairs = [*combinations(methods, 2), *((method, NOTHING) for method in methods)]
    rows: list[list[Cell]] = []
    p_values = []
    for region in result.regions:
        for metric in ("psnr", "ssim", "bsr_two_sided"):
            for a, b in pairs:
                ours, theirs = (result.scores[method, region, True, metric] for method in (a, b))
                test = paired_test(ours, theirs, groups)
                difference = Interval(test["difference"], test["low"], test["high"])
                rows.append([f"{a} − {b}", region, TITLES[metric], difference, int(test["units"])])
                p_values.append(test["p"])
    rows = [[*row, p, corrected] for row, p, corrected in zip(rows, p_values, holm(p_values))]
    columns = ["pair", "region", "metric (fitted)", "difference", "n", "p", "p (Holm)"]
    note = "Wilcoxon's signed-rank test over the images, or over patients where those are known."
    return Table("Paired tests", columns, rows, note)


def legacy_table(result: SuppressionResult) -> Table:
    """Means of the published numbers.

    Args:
        result: Of a protocol that measured them.

    Returns:
        A row a method, a column for each number that was measured; no intervals, since papers give none.
    """
    metrics = [metric for metric in LEGACY if (NOTHING, metric) in result.legacy]
    rows: list[list[Cell]] = [
        [m, *(float(np.mean(result.legacy[m, metric])) for metric in metrics)] for m in result.methods
    ]
    note = "BS-LDM's scripts: 1024x1024, 8 bits, and a PSNR whose subtraction wraps. For comparison with papers only."
    titles = dict(zip(LEGACY, ("PSNR dB (wraps)", "MSE", "BSR one-sided", "LPIPS (AlexNet, 0 to 1)")))
    return Table("As published", ["method", *(titles[metric] for metric in metrics)], rows, note)


def lesion_table(result: SuppressionResult) -> Table:
    """Contrast kept, share of findings lost and likeness, with intervals over images.

    Args:
        result: Of a protocol with findings.

    Returns:
        A row a method; a finding that the true image hardly shows counts neither as kept nor as lost.
    """
    rows: list[list[Cell]] = []
    for method in result.methods:
        mine = [row for row in result.lesions if row["method"] == method]
        images = [str(row["image"]) for row in mine]
        kept = np.array([row["kept"] for row in mine], dtype=float)
        likeness = np.array([row["likeness"] for row in mine], dtype=float)
        lost = np.where(np.isnan(kept), np.nan, kept < LOST)
        rows.append([method, len(mine), *(Interval(*bootstrap_mean(v, images)) for v in (kept, lost, likeness))])
    columns = ["method", "findings", "contrast kept", f"share keeping under {LOST:.0%}", "likeness"]
    return Table(
        "Known findings", columns, rows, "Against the true soft-tissue image: 1 keeps a finding, 0 removes it."
    )


def add_sliders(report: Report, result: SuppressionResult, method: str, folder: str, radiographs: str) -> None:
    """Add sliders of the worst, median and best image of a method, by its gain in the lungs, else in the whole image.

    Args:
        report: What they are added to.
        result: Of `evaluate_suppression`.
        method: Its name.
        folder: Of its results.
        radiographs: Folder of the radiographs.
    """
    region = result.regions[-1]
    gains = result.gains[method, region]
    order = np.argsort(gains)[: int((~np.isnan(gains)).sum())]
    if not len(order):
        return
    chosen = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
    before, after = images_in(radiographs), images_in(folder)
    seen: set[int] = set()
    for rank, index in chosen.items():
        if int(index) in seen:
            continue
        seen.add(int(index))
        name = result.names[index]
        total, soft = (to_levels(read_radiograph(paths[name]).pixels, 8) for paths in (before, after))
        title = f"{method}, {rank}: {name}, {gains[index]:+.2f} dB in {'the lungs' if region == 'lungs' else 'all'}"
        report.sliders.append(Slider(title, total, soft, ("radiograph", "bones suppressed")))


def write_scores(result: SuppressionResult, path: str | Path) -> None:
    """A CSV with one row per image, method, region and fit, and one column per metric.

    Args:
        result: Of `evaluate_suppression`; metrics that were not measured get no column.
        path: Replaced if it is there.
    """
    metrics = [metric for metric in METRICS if any(key[3] == metric for key in result.scores)]
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "method", "region", "fitted", *metrics])
        for method in result.methods:
            for region in result.regions:
                for fitted in (False, True):
                    columns = [result.scores[method, region, fitted, metric] for metric in metrics]
                    writer.writerows(
                        [name, method, region, fitted, *values] for name, *values in zip(result.names, *columns)
                    )

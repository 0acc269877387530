"""Gains over doing nothing as tables and a CSV: whole image, lungs, bands, what remains of the ribs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.nodules.implant_report import RELEVANT_MM, SUMMARY_COLUMNS, implant_summary
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Table
from evaluation.reporting.statistics import bootstrap_mean
from evaluation.suppression.gains import BANDS
from evaluation.suppression.protocol import SuppressionResult
from radiographs import atomic_path

REGIONS = {"whole": "whole image", "lungs": "inside the lungs"}
NAMES_SHOWN = 10
NOTES = [
    "Gain: how far the mean squared error against the true soft tissue falls below that of doing nothing, in dB, after "
    "one least-squares gain and offset of each image: 0 for doing nothing, infinite for the truth.",
    "Ribs that remain: of what lies between Gaussian sigmas of 1.2 and 14 pixels of 512 in the lungs, the part of "
    "(radiograph - truth) that is left, by regression: 1 for doing nothing, 0 for the truth. A difference of sharpness "
    "and noise is in it too, so a reader may call ribs gone at 0.6.",
]


def gain_tables(result: SuppressionResult, groups: Sequence[str] | None = None) -> list[Table]:
    """The leading table, and one of gains by band for each region.

    Args:
        result: Of `evaluate_suppression`.
        groups: Each image's patient, for intervals over patients.

    Returns:
        Tables in the order of the page; the lungs' bands come before the whole image's.
    """
    return [_leading(result, groups), *(_by_band(result, region, groups) for region in reversed(result.regions))]


def _leading(result: SuppressionResult, groups: Sequence[str] | None) -> Table:
    figures = {"whole": "whole image, dB ↑"}
    if "lungs" in result.regions:
        figures = {"lungs": "lungs, dB ↑", **figures, "remain": "ribs that remain ↓", "rib_bsr": "BSR of their band ↑"}
    rows: list[list[Cell]] = []
    for method in result.methods:
        cells = [Interval(*bootstrap_mean(result.gains[method, figure], groups)) for figure in figures]
        mine = [row for row in result.implants if row["method"] == method and float(row["diameter_mm"]) >= RELEVANT_MM]
        rows.append([method, *cells, *(implant_summary(mine)[1:] if result.implants else [])])
    columns = ["method", *figures.values()]
    note = _counted(result)
    if result.implants:
        columns += [f"nodules: {column}" for column in SUMMARY_COLUMNS[1:]]
        note += f" Nodules: of {RELEVANT_MM:g} mm and more, implanted into the radiographs."
    return Table("Gains over doing nothing", columns, rows, note)


def _counted(result: SuppressionResult) -> str:
    """How many images there are, and in how many there were lungs."""
    note = f"{len(result.names)} images"
    if result.without_lungs:
        named = ", ".join(list(result.without_lungs)[:NAMES_SHOWN])
        more = len(result.without_lungs) - NAMES_SHOWN
        note += (
            f"; no lungs were found in {len(result.without_lungs)} of them, which are left out of the lungs' means "
            f"({named}{f' and {more} more' if more > 0 else ''})"
        )
    if result.without_nodules:
        note += (
            f"; in {len(result.without_nodules)} no nodule could be put: {next(iter(result.without_nodules.values()))}"
        )
    return note + "."


def _by_band(result: SuppressionResult, region: str, groups: Sequence[str] | None) -> Table:
    names = [f"{region} {band}" for band in BANDS]
    rows: list[list[Cell]] = [
        [method, *(Interval(*bootstrap_mean(result.gains[method, name], groups)) for name in names)]
        for method in result.methods
    ]
    shares = (result.shares[name] for name in names)
    rows.append(["share of the error before", *(Interval(*bootstrap_mean(share, groups)) for share in shares)])
    note = "Between Gaussians of these sigmas in pixels of 1024; ribs and vessels lie within 2 to 24."
    return Table(f"Gains by band in dB, {REGIONS[region]}", ["method", *BANDS], rows, note)


def write_gains(result: SuppressionResult, path: str | Path) -> None:
    """A CSV with one row per image and method, and one column per figure of `GainMeter`.

    Args:
        result: Of `evaluate_suppression`.
        path: The file.
    """
    figures = list(dict.fromkeys(figure for _, figure in result.gains))
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "method", *(_unit(figure) for figure in figures)])
        missing = np.full(len(result.names), np.nan)
        for number, name in enumerate(result.names):
            for method in result.methods:
                values = (float(result.gains.get((method, figure), missing)[number]) for figure in figures)
                writer.writerow([name, method, *("" if np.isnan(value) else value for value in values)])


def _unit(figure: str) -> str:
    return figure if figure in ("remain", "rib_bsr") else f"{figure} dB"

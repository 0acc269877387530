"""CheXGenBench's result files with its column names.

image_generation_metrics.csv, img_text_alignment.csv, and the conditional_ ones with a row for each pathology.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from evaluation.distributions.prdc import PRDC
from radiographs import atomic_path

INCEPTION, RADDINO = "Inception", "RadDino"
Row = dict[str, float | str]


def metrics_row(data: dict[str, Any], extra: str) -> Row:
    """The row of image_generation_metrics.csv.

    Features named Inception fill FID, KID and Inception Score, others FID (NAME) and KID (NAME). Precision to Coverage
    are those of RadDino if it is there, as in the benchmark, else of the first features. Its Inception Score is taken
    of the features, not of the classes; its KID of all images at once, ours of many subsets: equal in expectation.

    Args:
        data: A synthesis report's, by the names of its features.
        extra: Text of the last column.

    Returns:
        {column: value}.
    """
    row: Row = {}
    names = [name for name, values in data.items() if isinstance(values, dict) and "FID" in values]
    names.sort(key=lambda name: name != INCEPTION)
    for metric in ("FID", "KID"):
        for name in names:
            row[metric if name == INCEPTION else f"{metric} ({name})"] = data[name][metric]
        if metric == "FID" and "Inception Score (CheXGenBench)" in data.get(INCEPTION, {}):
            row["Inception Score"] = data[INCEPTION]["Inception Score (CheXGenBench)"]
    if names:
        source = data[RADDINO if RADDINO in names else names[0]]
        row |= {key.capitalize(): source[key] for key in PRDC if key in source}
    row |= {title: data[title]["distance"] for title in ("FRD", "Radiomics distance") if title in data}
    return row | {"Extra Info": extra}


def write_benchmark_files(data: dict[str, Any], out: str | Path, extra: str) -> list[Path]:
    """Write the files for which there are numbers.

    Args:
        data: A synthesis report's.
        out: Folder.
        extra: Text of the last column.

    Returns:
        Their paths.
    """
    general = metrics_row(data, extra)
    files: dict[str, list[Row]] = {"image_generation_metrics.csv": [general] if len(general) > 1 else []}
    if "alignment" in data:
        files["img_text_alignment.csv"] = [{"Alignment_score": data["alignment"], "Extra Info": extra}]
    findings = data.get("by finding", {})
    files["conditional_image_generation_metrics.csv"] = [
        metrics_row(values, extra) | {"Pathology": finding} for finding, values in findings.items()
    ]
    files["conditional_img_text_alignment.csv"] = [
        {"Alignment_score": values["alignment"], "Extra Info": extra, "Pathology": finding}
        for finding, values in findings.items()
        if "alignment" in values
    ]
    return [_write(Path(out) / name, rows) for name, rows in files.items() if rows]


def _write(path: Path, rows: list[Row]) -> Path:
    columns = max((list(row) for row in rows), key=len)  # a finding of few images lacks some
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path

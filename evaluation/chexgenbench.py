"""CheXGenBench's result files: image_generation_metrics.csv and img_text_alignment.csv, with its column names."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from radiographs import atomic_path

INCEPTION, RADDINO = "Inception", "RadDino"


def metrics_row(data: dict[str, Any], extra: str) -> dict[str, float | str]:
    """The row of image_generation_metrics.csv, from a synthesis report's data by the names of its features.

    Features named Inception fill FID and KID, others FID (NAME) and KID (NAME). Precision to Coverage are those of
    RadDino if it is there, as in the benchmark, else of the first features.
    """
    row: dict[str, float | str] = {}
    names = [name for name, values in data.items() if isinstance(values, dict) and "FID" in values]
    for metric in ("FID", "KID"):
        for name in names:
            row[metric if name == INCEPTION else f"{metric} ({name})"] = data[name][metric]
    if names:
        source = data[RADDINO if RADDINO in names else names[0]]
        row |= {key.capitalize(): source[key] for key in ("precision", "recall", "density", "coverage")}
    if "radiomics" in data:
        row["Radiomics distance"] = data["radiomics"]["distance"]  # not the benchmark's FRD, which is pyradiomics'
    return row | {"Extra Info": extra}


def write_benchmark_files(data: dict[str, Any], out: str | Path, extra: str) -> list[Path]:
    """Write the files for which `data` has the numbers into `out`; return their paths."""
    files = {"image_generation_metrics.csv": metrics_row(data, extra)}
    if "alignment" in data:
        files["img_text_alignment.csv"] = {"Alignment_score": data["alignment"], "Extra Info": extra}
    written = []
    for name, row in files.items():
        if len(row) == 1:
            continue
        path = Path(out) / name
        with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
        written.append(path)
    return written

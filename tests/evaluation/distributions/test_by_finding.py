"""Distances by finding: each finding's images are shifted by a known amount."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from evaluation.distributions.by_finding import by_finding, finding_masks
from evaluation.inputs import read_set
from evaluation.synthesis.chexgenbench import write_benchmark_files
from radiographs import write_radiograph


def write_table(folder, columns, rows):
    for name, *_ in rows:
        write_radiograph(folder / name, np.zeros((8, 8), np.float32), 8)
    with open(folder / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", *columns], *rows])
    return read_set(folder / "t.csv")


def test_masks_from_labels_or_from_the_prompts_of_real_images(tmp_path):
    real = write_table(
        tmp_path / "real",
        ["prompt", "Edema", "Fracture"],
        [["a.png", "haze", 1, ""], ["b.png", "clear", 0, ""], ["c.png", "rib", "", 1]],
    )
    asked = write_table(tmp_path / "asked", ["prompt"], [["x.png", "rib"], ["y.png", "haze"], ["z.png", "haze"]])
    masks = finding_masks(real, asked, ["Edema", "Fracture"], "unknown")
    assert masks["Edema"][0].tolist() == [True, False, False] and masks["Edema"][1].tolist() == [False, True, True]
    assert masks["Fracture"][1].tolist() == [True, False, False]
    labelled = write_table(tmp_path / "labelled", ["Edema", "Fracture"], [["x.png", 1, 0]])
    assert finding_masks(real, labelled, ["Edema"], "unknown")["Edema"][1].tolist() == [True]
    with pytest.raises(ValueError, match="--by-finding needs labels"):
        finding_masks(real, write_table(tmp_path / "none", ["age"], [["x.png", 60]]), ["Edema"], "unknown")


def test_each_findings_distance_is_its_own(tmp_path):
    random = np.random.default_rng(0)
    real = random.normal(size=(60, 3)).astype(np.float32)
    synthetic = real.copy()
    first, second = np.arange(60) < 30, np.arange(60) >= 30
    synthetic[second] += 2
    masks = {"Edema": (first, first), "Fracture": (second, second), "Pneumonia": (first, np.zeros(60, bool))}
    table, found = by_finding(masks, {"RadDino": (real, synthetic)}, 5, 1000, 0, "cpu")
    assert found["Edema"]["RadDino"]["FID"] == pytest.approx(0, abs=1e-9)
    assert found["Fracture"]["RadDino"]["FID"] == pytest.approx(3 * 4, rel=1e-5)
    assert found["Fracture"]["RadDino"]["KID"] > 1 and found["Edema"]["RadDino"]["precision"] == 1
    assert [row[:3] for row in table.rows] == [["Edema", 30, 30], ["Fracture", 30, 30], ["Pneumonia", 30, 0]]
    found["Edema"]["alignment"] = 0.25
    files = {path.name: path for path in write_benchmark_files({"by finding": found}, tmp_path, "m")}
    assert set(files) == {"conditional_image_generation_metrics.csv", "conditional_img_text_alignment.csv"}
    rows = list(csv.DictReader(files["conditional_image_generation_metrics.csv"].read_text().splitlines()))
    assert [row["Pathology"] for row in rows] == ["Edema", "Fracture"]
    assert float(rows[1]["FID (RadDino)"]) == pytest.approx(12, rel=1e-5)
    text = list(csv.DictReader(files["conditional_img_text_alignment.csv"].read_text().splitlines()))
    assert text == [{"Alignment_score": "0.25", "Extra Info": "m", "Pathology": "Edema"}]

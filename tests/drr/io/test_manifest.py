"""The Parquet table of rendered images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from drr.io import manifest
from drr.io.manifest import image_row, write_manifest

BEAM = SimpleNamespace(
    source=np.array([0.0, 1760.5, 10.0]),
    origin=np.array([-170.0, -40.0, 170.0]),
    du=np.array([0.7, 0.0, 0.0]),
    dv=np.array([0.0, 0.0, -0.7]),
    shape=(480, 512),
)
REPORT = {"clinical_information": None, "technique": "CT", "findings": "Clear lungs.", "impression": None}


def records(count=1):
    for i in range(count):
        key = f"train_{i}_a_1"
        images = [
            image_row(f"{key}.png", "PA", material, f"train/PA/{key}_{material}.png", "ab" * 32, BEAM)
            for material in ("total", "bone")
        ]
        yield {"key": key, "images": images, "decision": "release 2", "notes": ["a note"], "version": "1.0"}


def test_a_row_holds_all_that_is_known(tmp_path):
    labels, reports = {"train_0_a_1": {"Cardiomegaly": 1, "Lung nodule": 0}}, {"train_0_a_1": REPORT}
    assert write_manifest(tmp_path / "m.parquet", records(), labels, reports) == 2
    rows = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert rows[1] == {
        "ImageName": "train_0_a_1.png",
        "view": "PA",
        "material": "bone",
        "file": "train/PA/train_0_a_1_bone.png",
        "sha256": "ab" * 32,
        "source": [0.0, 1760.5, 10.0],
        "origin": [-170.0, -40.0, 170.0],
        "du": [0.7, 0.0, 0.0],
        "dv": [0.0, 0.0, -0.7],
        "shape": [480, 512],
        "volume": "train_0_a_1",
        "labels": {"Cardiomegaly": 1, "Lung nodule": 0},
        "report": REPORT,
        "decision": "release 2",
        "notes": ["a note"],
        "version": "1.0",
    }


@pytest.mark.parametrize("group", [1, 2, 1000])
def test_groups_change_nothing_in_the_rows(tmp_path, monkeypatch, group):
    monkeypatch.setattr(manifest, "VOLUMES_PER_GROUP", group)
    labels = {"train_2_a_1": {"Cardiomegaly": 1}}
    assert write_manifest(tmp_path / "m.parquet", records(3), labels) == 6
    rows = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert [row["volume"] for row in rows] == [f"train_{i}_a_1" for i in (0, 0, 1, 1, 2, 2)]
    assert [row["labels"] for row in rows[::2]] == [None, None, {"Cardiomegaly": 1}]
    assert all(row["report"] is None for row in rows)


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_manifest(tmp_path / name, records(3), {"train_0_a_1": {"x": 1}}, {"train_1_a_1": REPORT})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_volume_gives_an_empty_table(tmp_path):
    assert write_manifest(tmp_path / "m.parquet", []) == 0
    assert pq.read_table(tmp_path / "m.parquet").num_rows == 0

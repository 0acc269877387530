"""`radiolucent evaluate lesions` with a real, small, untrained pipeline."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.nodule_scenes import render_scene
from radiolucent.cli import dispatch

SIZE = 32


def test_report_csv_and_examples(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--checkpoint", str(checkpoint), "--bodies", "1", "--size", "128", "--steps", "1", "--device", "cpu"]
    assert dispatch(["evaluate", "lesions", "--out", str(tmp_path), *words, "--seed", "7"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [table["title"] for table in report["tables"]][1] == "Nodules that appear"
    methods = [row[1] for row in report["tables"][0]["rows"]]
    assert methods == ["do nothing", "suppressed"] and report["settings"]["bodies"] == 1
    with open(tmp_path / "nodules.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    nodules = render_scene(0, 128, seed=7).nodules
    assert len(rows) == 3 * len(nodules) >= 66
    seen = [float(row["row"]) for row in rows if row["method"] == "suppressed"]
    np.testing.assert_allclose(seen, [nodule.centre[0] for nodule in nodules])
    kept = [float(row["kept"]) for row in rows if row["method"] == "suppressed"]
    assert np.nanstd(kept) > 0.01  # an untrained network does something to each
    assert Image.open(tmp_path / "examples.png").size == (5 * 148 - 4, 26 + 6 * 148 - 4)
    assert "data:image/png" in (tmp_path / "report.html").read_text() and "report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--bodies", "0"], "give 1 body or more"),
        (["--size", "64"], "128 pixels or more"),
        (["--steps", "0"], "steps is 0: it must be 1 or more"),
        (["--model-size", "33"], "needs a multiple of"),
    ],
)
def test_bad_options(words: list[str], says: str, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        dispatch(["evaluate", "lesions", "--checkpoint", str(checkpoint), "--out", str(tmp_path), *words])

"""`radiolucent evaluate nodules` with a real, small, untrained pipeline."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.nodules.scenes import render_scene
from radiographs import write_radiograph
from radiolucent.cli import dispatch

SIZE = 32


def test_report_csv_and_examples(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--checkpoint", str(checkpoint), "--bodies", "1", "--size", "128", "--steps", "1", "--device", "cpu"]
    assert dispatch(["evaluate", "nodules", "--out", str(tmp_path), *words, "--seed", "7"]) == 0
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


def test_nodules_implanted_into_radiographs_alone(checkpoint: Path, tmp_path: Path) -> None:
    for body in range(2):
        write_radiograph(tmp_path / "in" / f"{body}.png", render_scene(body, 128, seed=0).radiograph, 16)
    write_radiograph(tmp_path / "in" / "flat.png", np.zeros((128, 128), np.float32), 16)
    words = ["--checkpoint", str(checkpoint), "--bodies", "0", "--steps", "1", "--device", "cpu", "--nodules", "14"]
    words += ["--radiographs", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert dispatch(["evaluate", "nodules", *words]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [table["title"] for table in report["tables"]] == ["Nodules implanted into the radiographs, by size"]
    rows = {(row[0], row[1]): row for row in report["tables"][0]["rows"]}
    assert rows["8 mm and more", "suppressed"][2] == 2 * 12 and rows["6 mm", "suppressed"][2] == 2 * 2
    assert any("1 were left out: flat" in note for note in report["notes"])
    with open(tmp_path / "out" / "implants.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 28 and {row["image"] for row in written} == {"0", "1"}
    mean = np.mean([float(row["kept"]) for row in written if float(row["diameter_mm"]) >= 8])
    assert rows["8 mm and more", "suppressed"][3]["value"] == pytest.approx(mean)
    assert not (tmp_path / "out" / "nodules.csv").exists()
    (tmp_path / "in" / "0.png").unlink()
    (tmp_path / "in" / "1.png").unlink()
    with pytest.raises(ValueError, match="lungs were found in none of 1"):
        dispatch(["evaluate", "nodules", *words])


def test_the_old_name_is_accepted_with_a_note(checkpoint, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        dispatch(
            [
                "evaluate",
                "lesions",
                "--bodies",
                "1",
                "--checkpoint",
                str(tmp_path / "gone"),
                "--out",
                str(tmp_path / "o"),
            ]
        )
    assert "note: evaluate lesions is now called evaluate nodules" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--bodies", "0"], "give 1 body or more"),
        (["--size", "64"], "128 pixels or more"),
        (["--steps", "0"], "steps is 0: it must be 1 or more"),
        (["--model-size", "33"], "needs a multiple of"),
        (["--ct-labels", "labels.nii.gz"], "give that too"),
        (["--ct", "gone.nii.gz"], "no such file"),
        (["--radiographs", "gone"], "no such folder"),
    ],
)
def test_bad_options(words: list[str], says: str, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match=says):
        dispatch(["evaluate", "nodules", "--checkpoint", str(checkpoint), "--out", str(tmp_path), *words])

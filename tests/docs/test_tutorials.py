"""The tutorials run from their first cell to their last, on the packaged CT, and come out as their text says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"


def run_notebook(name: str) -> dict[str, Any]:
    """Run a notebook's code cells in order in the working directory; its names afterwards."""
    cells = json.loads((TUTORIALS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}.ipynb, cell {number}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="the tutorials draw with matplotlib")
    monkeypatch.chdir(tmp_path)


def test_suppress_and_judge():
    names = run_notebook("suppress_and_judge")
    assert names["figures"]["lungs"] > 1 and names["figures"]["remain"] < 0.8
    assert not names["result"].warnings and Path("without_bones.png").is_file()
    assert names["test"].summary()["12 mm"]["kept"] > 0.5


def test_ct_to_radiographs():
    names = run_notebook("ct_to_radiographs")
    assert names["status"] == 0
    assert len(list(Path("radiographs").rglob("*.png"))) == 6  # two views of three materials
    assert names["shift_mm"].grad.abs().max() > 1e-4


def test_train_and_adapt():
    names = run_notebook("train_and_adapt")
    assert names["status"] == 0
    before, after = names["report"]["before"], names["report"]["after"]
    assert after["whole"] > before["whole"]  # few steps, so few decibels


def test_synthesise_and_evaluate():
    names = run_notebook("synthesise_and_evaluate")
    assert names["status"] == 0 and any(Path("report").glob("*.html"))
    assert names["right"] > 0.9


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)

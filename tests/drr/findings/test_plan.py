"""findings.yaml: what it may say, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from drr.findings.lung import LOBES
from drr.findings.plan import CHANGES, MEASURES, parse_plan, read_plan
from drr.findings.report import Finding, amount, extent, gap_size
from drr.findings.scene import draw_findings

NONE = np.zeros((1, 1, 1), bool)


def test_all_that_can_be_said(tmp_path):
    path = tmp_path / "findings.yaml"
    path.write_text(
        "seed: 3\nstudies: 5\nbody_mm: 4\nfield: body\npose: {turn_degrees: 2, exposure: 0.1}\n"
        "known_absent: [pneumothorax]\nchanges: [grown, unchanged]\nfindings:\n"
        "  - {kind: nodule, probability: 0.5, count: [1, 2], place: [right upper lobe, left],\n"
        "     diameter_mm: [8, 9], hu: 40}\n"
        "  - pleural effusion\n"
    )
    plan = read_plan(path)
    nodule, effusion = plan.wishes
    assert (plan.seed, plan.studies, plan.body_mm, plan.field, plan.known_absent) == (
        3,
        5,
        4,
        "body",
        ("pneumothorax",),
    )
    assert (plan.pose.turn_degrees, plan.pose.exposure, plan.pose.shift_mm) == (2, 0.1, 0)
    assert (nodule.count, nodule.places, nodule.probability) == ((1, 2), ("right upper lobe", "left"), 0.5)
    assert nodule.measures == {"diameter_mm": (8, 9), "hu": (40, 40)}
    assert set(effusion.changes) == {"grown", "unchanged"} and effusion.probability == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["nodule"], "a list where options"),
        ({}, "findings: None where a list"),
        ({"findings": []}, "findings: [] where a list"),
        ({"findings": ["fracture"]}, "findings[0]: kind 'fracture'; give one of nodule"),
        ({"findings": [{"place": "left"}]}, "findings[0]: kind None"),
        ({"findings": ["nodule"], "sed": 1}, "no option is called sed; there are findings, seed"),
        ({"findings": [{"kind": "nodule", "volume_ml": 3}]}, "no option is called volume_ml"),
        ({"findings": [{"kind": "nodule", "diameter_mm": 90}]}, "diameter_mm: 90 where a number from 4 to 60"),
        ({"findings": [{"kind": "nodule", "diameter_mm": [20, 10]}]}, "the first end of a range is the lower one"),
        ({"findings": [{"kind": "nodule", "diameter_mm": [1, 2, 3]}]}, "the two ends of a range"),
        ({"findings": [{"kind": "nodule", "diameter_mm": "big"}]}, "'big' where a number"),
        ({"findings": [{"kind": "nodule", "probability": 2}]}, "probability: 2 where a number from 0 to 1"),
        ({"findings": [{"kind": "nodule", "probability": True}]}, "probability: True where a number"),
        ({"findings": [{"kind": "nodule", "place": "liver"}]}, "place: 'liver'; give right, left, right upper lobe"),
        ({"findings": [{"kind": "pleural effusion", "place": "right upper lobe"}]}, "give right, left"),
        ({"findings": [{"kind": "cardiomegaly", "place": "left"}]}, "it has none to choose"),
        ({"findings": [{"kind": "nodule", "severity": "huge"}]}, "severity: 'huge'"),
        ({"findings": [{"kind": "nodule", "severity": "small", "diameter_mm": 9}]}, "give one of them"),
        ({"findings": [{"kind": "pneumothorax", "count": 2}]}, "of a pneumothorax there is one"),
        ({"findings": [{"kind": "nodule", "changes": {"new": 0}}]}, "no weight is above 0"),
        ({"findings": [{"kind": "nodule", "changes": ["bigger"]}]}, "changes: 'bigger'"),
        ({"findings": ["nodule"], "studies": 0}, "studies: 0 where a whole number from 1"),
        ({"findings": ["nodule"], "studies": 1.5}, "studies: 1.5 where a whole number"),
        ({"findings": ["nodule"], "seed": -1}, "seed: -1"),
        ({"findings": ["nodule"], "field": "arm"}, "field: 'arm'; give chest or body"),
        ({"findings": ["nodule"], "pose": {"turn": 3}}, "pose: no option is called turn"),
        ({"findings": ["nodule"], "pose": 3}, "pose: 3 where the largest differences"),
        ({"findings": ["nodule"], "known_absent": ["edema"]}, "known_absent: 'edema'"),
        ({"findings": ["nodule"], "body_mm": float("nan")}, "body_mm: nan"),
    ],
)
def test_what_is_refused(values, said):
    with pytest.raises(ValueError) as error:
        parse_plan(values)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_plan(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("findings: [")
    with pytest.raises(ValueError, match=r"broken.yaml: no YAML"):
        read_plan(path)
    path.write_text("findings: [x]")
    with pytest.raises(ValueError, match=r"broken.yaml: findings\[0\]"):
        read_plan(path)


def test_a_severity_is_the_word_of_the_report():
    words = {
        "consolidation": (
            lambda size: extent(Finding("consolidation", "", "", NONE, size)),
            ("Patchy", "Patchy", "Extensive"),
        ),
        "pleural effusion": (
            lambda size: amount(Finding("pleural effusion", "", "", NONE, size)),
            ("Small", "Moderate", "Large"),
        ),
        "pneumothorax": (
            lambda size: gap_size(Finding("pneumothorax", "", "", NONE, size)),
            ("Small", "Small", "Large"),
        ),
    }
    for kind, (say, expected) in words.items():
        main, ranges, _ = MEASURES[kind]
        for word, name in zip(("small", "moderate", "large"), expected):
            assert {say({main: end}) for end in ranges[word]} == {name}


def test_how_often_where_and_how_severe():
    plan = parse_plan(
        {
            "findings": [
                {"kind": "nodule", "probability": 0.3, "place": "left", "diameter_mm": [10, 12], "count": [1, 3]},
                {"kind": "pleural effusion", "severity": "large"},
            ]
        }
    )
    drawn = [draw_findings(plan, np.random.default_rng(seed)) for seed in range(400)]
    with_nodule = [[one for one in study if one.kind == "nodule"] for study in drawn]
    assert sum(map(bool, with_nodule)) == pytest.approx(120, abs=30)
    assert {len(nodules) for nodules in with_nodule} == {0, 1, 2, 3}
    nodules = [one for study in with_nodule for one in study]
    assert {one.place for one in nodules} == {lobe for lobe in LOBES if lobe.startswith("left")}
    assert all(10 <= one.sizes["current"]["diameter_mm"] <= 12 for one in nodules)
    effusions = [one for study in drawn for one in study if one.kind == "pleural effusion"]
    assert len(effusions) == 400 and all(one.sizes["current"]["volume_ml"] > 1000 for one in effusions)
    again = draw_findings(plan, np.random.default_rng(7))
    assert again == draw_findings(plan, np.random.default_rng(7)) != draw_findings(plan, np.random.default_rng(8))


def test_changes_are_drawn_by_their_weights():
    for change in CHANGES:
        plan = parse_plan({"findings": [{"kind": "pneumothorax", "changes": [change]}]})
        (one,) = draw_findings(plan, np.random.default_rng(1), two_studies=True)
        sizes = {study: size["gap_mm"] for study, size in one.sizes.items()}
        assert set(sizes) == {"new": {"current"}, "resolved": {"prior"}}.get(change, {"prior", "current"})
        if change in ("grown", "shrunk", "unchanged"):
            ratio = sizes["current"] / sizes["prior"]
            assert {"grown": ratio > 1.2, "shrunk": ratio < 0.8, "unchanged": ratio == 1}[change]


def test_what_nobody_placed_hides_nothing():
    plan = parse_plan({"findings": ["pleural effusion", "pneumothorax", "nodule", "consolidation"]})
    for seed in range(60):
        places = {one.kind: one.place for one in draw_findings(plan, np.random.default_rng(seed))}
        assert places["nodule"] != places["consolidation"]
        assert "lower" not in places["nodule"] + places["consolidation"]
        assert places["pleural effusion"] != places["pneumothorax"]

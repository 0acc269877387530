"""Findings put in for one study or two: same place and shape, growth that holds what was, and reports that say it."""

from __future__ import annotations

import numpy as np
import pytest

from drr.anatomy.tissue import isolate_body
from drr.findings.comparison import compare, write_comparison
from drr.findings.lung import LOBES
from drr.findings.phrases import write_report
from drr.findings.plan import KINDS
from drr.findings.report import Finding
from drr.findings.scene import Planned, chest_box, cut_chest, paste_chest, put_in
from drr.findings.wording import DENIALS, is_lateral, technique
from drr.io.read import sample_ct
from drr.volume import Volume

BOTH = ("prior", "current")
NONE = np.zeros((1, 1, 1), bool)


@pytest.fixture(scope="module")
def chest() -> Volume:
    volume = isolate_body(sample_ct())
    return cut_chest(volume, chest_box(volume))


def nodule(prior: float | None, current: float | None, place: str = "left upper lobe", seed: int = 4) -> Planned:
    sizes = {"prior": prior, "current": current}
    return Planned(
        "nodule", place, {s: {"diameter_mm": d, "hu": 50.0, "spiculation": 0.0} for s, d in sizes.items() if d}, seed
    )


def test_a_nodule_grows_about_its_centre(chest):
    scenes = put_in(chest, [nodule(12.0, 24.0)], BOTH)
    before, now = (scenes[study].findings[0].mask for study in BOTH)
    assert not (before & ~now).any()  # the larger one holds the smaller one
    assert now.sum() / before.sum() == pytest.approx(8, rel=0.25)
    centres = [np.argwhere(mask).mean(axis=0) for mask in (before, now)]
    assert np.abs(centres[0] - centres[1]).max() < 1
    changed = scenes["current"].volume.hu != scenes["prior"].volume.hu
    assert changed.any() and not changed[~(now | before)].sum() > 0.5 * changed.sum()


def test_unchanged_is_the_same_voxel_for_voxel(chest):
    planned = [
        nodule(15.0, 15.0),
        Planned("pleural effusion", "right", {study: {"volume_ml": 400.0} for study in BOTH}, 1),
    ]
    scenes = put_in(chest, planned, BOTH)
    np.testing.assert_array_equal(scenes["prior"].volume.hu, scenes["current"].volume.hu)
    assert set(scenes["prior"].findings) == {0, 1}


def test_consolidation_grows_around_itself_even_where_the_heart_moves_its_lobe(chest):
    sizes = {"prior": {"lobe_fraction": 0.2, "density": 0.8}, "current": {"lobe_fraction": 0.5, "density": 0.8}}
    heart = Planned("cardiomegaly", "", {"current": {"cardiothoracic_ratio": 0.62}}, 1)
    scenes = put_in(chest, [heart, Planned("consolidation", "right upper lobe", sizes, 5)], BOTH)
    before, now = (scenes[study].findings[1].mask for study in BOTH)
    assert set(scenes["prior"].findings) == {1} and set(scenes["current"].findings) == {0, 1}
    assert (before & now).sum() > 0.9 * before.sum() and now.sum() > 2 * before.sum()


def test_what_has_no_room_is_left_out_with_a_note_and_the_rest_is_there(chest):
    scenes = put_in(chest, [nodule(None, 60.0, "right middle lobe"), nodule(None, 10.0)])
    assert set(scenes["current"].findings) == {1}
    assert "no room for a nodule of 60 mm" in scenes["current"].notes[0]


def test_nodules_of_one_lobe_keep_apart_and_air_holds_none(chest):
    air = Planned("pneumothorax", "left", {"current": {"gap_mm": 40.0}}, 1)
    scene = put_in(chest, [air, *(nodule(None, 14.0, seed=seed) for seed in range(4))])["current"]
    masks = [finding.mask for number, finding in scene.findings.items() if number]
    assert len(masks) == 4 and np.sum(masks, axis=0).max() == 1
    assert not (np.any(masks, axis=0) & scene.findings[0].mask).any()
    for mask in masks:
        assert mask.sum() * 2.5**3 == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.4)


def test_a_heart_that_is_no_larger_than_the_bodys_is_no_finding(chest):
    sizes = {"prior": {"cardiothoracic_ratio": 0.4}, "current": {"cardiothoracic_ratio": 0.65}}
    scenes = put_in(chest, [Planned("cardiomegaly", "", sizes, 0)], BOTH)
    assert not scenes["prior"].findings and "must exceed the volume's own" in scenes["prior"].notes[0]
    changes = compare(scenes["prior"].findings, scenes["current"].findings)
    assert [change.change for change in changes.values()] == ["new"]


def test_cut_and_paste_give_the_same_volume(chest):
    volume = isolate_body(sample_ct())
    box = chest_box(volume)
    np.testing.assert_array_equal(paste_chest(volume, cut_chest(volume, box), box).hu, volume.hu)
    point = np.array([10, 20, 30, 1])
    start = np.array([part.start for part in box[::-1]] + [0])
    np.testing.assert_allclose(chest.affine @ point, volume.affine @ (point + start))


def one(kind: str, main: float) -> Finding:
    side, place = ("", "heart") if kind == "cardiomegaly" else ("left", "left pleural space")
    if kind in ("nodule", "consolidation"):
        place = "left lower lobe"
    names = {
        "nodule": {"diameter_mm": main, "hu": 40, "spiculation": 0},
        "consolidation": {"lobe_fraction": main},
        "pleural effusion": {"volume_ml": main},
        "pneumothorax": {"gap_mm": main},
        "cardiomegaly": {"cardiothoracic_ratio": main},
    }
    return Finding(kind, side, place, NONE, names[kind])


SIZES = {"nodule": (10, 18), "consolidation": (0.2, 0.6), "pleural effusion": (200, 700), "pneumothorax": (15, 35)}
SIZES["cardiomegaly"] = (0.58, 0.68)
NAMED = {"nodule": "nodule", "consolidation": ("consolidation", "opaci"), "pleural effusion": ("effusion", "fluid")}
NAMED |= {"pneumothorax": ("pneumothorax", "pleural line"), "cardiomegaly": ("cardi", "heart")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_phrasing_names_the_finding_and_a_lateral_no_side(kind):
    texts = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        finding = one(kind, SIZES[kind][1])
        frontal = write_report({3: finding}, "PA", rng, known_absent=KINDS)
        lateral = write_report({3: finding}, "LL", rng)
        for written in (frontal, lateral):
            names = NAMED[kind] if isinstance(NAMED[kind], tuple) else (NAMED[kind],)
            assert any(name in written.findings.lower() for name in names)
            assert written.phrases[3] in written.findings and "{" not in written.text
            assert not any(denial in written.findings for denial in DENIALS[kind])
        if kind != "cardiomegaly":
            assert "left" in frontal.phrases[3].lower() and "left" not in lateral.text.lower()
        texts.add(frontal.phrases[3])
    assert len(texts) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_comparison_says_what_became_of_it(kind):
    small, large = (one(kind, size) for size in SIZES[kind])
    cases = {
        "new": ({}, {0: large}, ("new",)),
        "grown": ({0: small}, {0: large}, ("increased", "worsened")),
        "shrunk": ({0: large}, {0: small}, ("decreased", "improved")),
        "resolved": ({0: large}, {}, ("resolved", "resolution")),
        "unchanged": ({0: large}, {0: large}, ("unchanged", "stable")),
    }
    for change, (prior, current, words) in cases.items():
        changes = compare(prior, current)
        assert changes[0].change == change
        for seed in range(8):
            for view in ("PA", "LL"):
                written = write_comparison(changes, view, np.random.default_rng(seed))
                assert any(word in written.findings.lower() for word in words), written.findings
                assert "prior" in written.comparison.lower() and "{" not in written.text
                assert written.phrases[0] in written.findings
                if view == "LL" and kind != "cardiomegaly":
                    assert "left" not in written.findings.lower()
    if kind == "nodule":
        said = write_comparison(compare({0: small}, {0: large}), "PA", np.random.default_rng(0)).findings
        assert "from 10 to 18 mm" in said


def test_views_by_their_angle():
    assert is_lateral("LL") and is_lateral("RL") and is_lateral("PA", 80) and not is_lateral("LL", -50)
    assert not is_lateral("RAO") and technique("RAO") == "Right anterior oblique chest radiograph."
    assert technique("PA", -30) == "PA chest radiograph, turned by -30 degrees."
    assert all(place in LOBES for place in ("left lower lobe",))
    with pytest.raises(ValueError, match="no view is called 'XX'"):
        technique("XX")

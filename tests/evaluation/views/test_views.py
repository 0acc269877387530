"""The packaged view classifier: on bodies it never saw, turned, negative; and its report."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from drr import ConeBeam, Look, deform, project, render_pair, sample_ct, separate_bone
from drr.anatomy.chest import lung_box
from drr.anatomy.tissue import isolate_body
from drr.geometry import body_box
from evaluation.views.classifier import CLASSES, MODEL, SIDE, _verdict, judge_views, load_view_net, to_ranks
from radiographs import write_radiograph
from radiolucent.cli import dispatch

VIEWS = ("PA", "AP", "LL", "RL", "RAO", "LAO")


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[np.ndarray]]:
    """{view: three bodies of the sample CT that training did not see}."""
    volume = separate_bone(isolate_body(sample_ct()))
    found: dict[str, list[np.ndarray]] = {view: [] for view in VIEWS}
    for seed in (901, 902, 903):
        body = deform(volume, seed)
        low, high = lung_box(body)
        around = body_box(body)
        beams = [ConeBeam.preset(view, body, (128, 128), 360.0, around, (low + high) / 2) for view in VIEWS]
        lines = project(body, beams, ("soft", "bone"), "cpu").numpy()
        for view, (soft, bone) in zip(VIEWS, lines):
            found[view].append(render_pair(soft, bone, Look.random(np.random.default_rng(seed)), 3.0)[0])
    return found


def test_ranks():
    ramp = np.linspace(3, 900, 40 * 80).reshape(40, 80) ** 2
    ranks = to_ranks(ramp)
    assert (
        ranks.shape == (SIDE, SIDE)
        and ranks.min() == -1 + 1 / (48 * 96)
        and ranks[24:72].max() == pytest.approx(1, abs=1e-3)
    )
    np.testing.assert_allclose(to_ranks(np.sqrt(ramp))[24:72], ranks[24:72], atol=0.02)  # no matter which curve
    assert (to_ranks(np.zeros((9, 9))) == 0).all()


def test_views_of_bodies_it_never_saw(pictures):
    verdicts = {view: judge_views(images) for view, images in pictures.items()}
    for view in ("LL", "RL"):
        assert [one.view for one in verdicts[view]] == [view] * 3
    assert all(one.view in ("PA", "AP") for view in ("PA", "AP") for one in verdicts[view])
    assert sum(one.view == view for view in ("PA", "AP") for one in verdicts[view]) >= 5
    assert sum(one.view == "other" for view in ("RAO", "LAO") for one in verdicts[view]) >= 5
    everything = [one for some in verdicts.values() for one in some]
    assert not any(one.turn_degrees or one.negative for one in everything)
    assert all(sum(one.probabilities.values()) == pytest.approx(1, abs=1e-4) for one in everything)


def test_turned_and_negative(pictures):
    upright = [image for view in ("PA", "AP", "LL", "RL") for image in pictures[view]]
    for quarters in (1, 2, 3):
        verdicts = judge_views([np.rot90(image, quarters) for image in upright])
        assert sum(one.turn_degrees == 90 * quarters for one in verdicts) >= 11
    assert sum(one.negative for one in judge_views([-image for image in upright])) >= 11
    left, right = (judge_views([image[:, ::-1] for image in pictures[view]]) for view in ("LL", "RL"))
    assert {one.view for one in left} == {"RL"} and {one.view for one in right} == {"LL"}  # a mirrored lateral


def test_noise_is_no_chest():
    rng = np.random.default_rng(0)
    assert {one.view for one in judge_views([rng.normal(size=(80, 80)) for _ in range(3)])} == {"other"}


def test_pa_or_ap_may_be_unsure_and_is_then_no_disagreement():
    even, told = (_verdict((pa, ap, 0.1, 0.0, 0.0), (1, 0, 0, 0), -3.0, 0.95) for pa, ap in ((0.4, 0.5), (0.02, 0.88)))
    assert (even.view, even.unsure, even.frontal) == ("AP", True, pytest.approx(0.9))
    assert (told.view, told.unsure) == ("AP", False)
    assert [even.denies(view) for view in ("PA", "AP", "LL", "LATERAL")] == [False, False, True, True]
    assert [told.denies(view) for view in ("PA", "AP")] == [True, False]
    split = _verdict((0.28, 0.27, 0.45, 0.0, 0.0), (0.1, 0.9, 0, 0), 1.0, 0.3)
    assert (split.view, split.turn_degrees, split.negative) == ("PA", 90, True)  # frontal is likelier than LL
    left = _verdict((0.1, 0.0, 0.8, 0.1, 0.0), (1, 0, 0, 0), -3.0, 0.95)
    assert [left.denies(view) for view in ("LL", "LATERAL", "RL", "PA")] == [False, False, True, True]
    assert left.probability_of("LATERAL") == pytest.approx(0.9) and left.probability_of("RL") == 0.1
    assert told.probability_of("PA") == pytest.approx(0.9)  # frontal, whichever


def test_an_even_border_has_one_rank():
    picture = np.pad(np.random.default_rng(0).uniform(-1, 1, (100, 130)), 30, constant_values=0.2)
    assert len(np.unique(to_ranks(picture)[20:22, :])) == 1  # resizing rounds 0.2 to many numbers


def test_the_packaged_model_is_small_and_whole(tmp_path):
    weights = MODEL / "model.safetensors"
    assert weights.stat().st_size < 2_000_000 and (MODEL / "README.md").is_file()
    config = json.loads((MODEL / "config.json").read_text())
    assert config["classes"] == list(CLASSES) and config["held_out"]["PA and AP as one"] > 0.85
    copy = tmp_path / "model"
    shutil.copytree(MODEL, copy)
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    (copy / "model.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"not the weights that config.json names"):
        load_view_net(copy)
    (copy / "config.json").write_text(json.dumps({**config, "classes": ["PA"]}))
    with pytest.raises(ValueError, match="a classifier of"):
        load_view_net(copy)


def test_the_report_compares_with_what_was_asked_for(pictures, tmp_path):
    rows = [("a.png", "PA", pictures["PA"][0]), ("b.png", "LATERAL", pictures["RL"][0])]
    rows += [("c.png", "PA", pictures["LL"][1]), ("d.png", "", -pictures["PA"][1])]
    for name, _, image in rows:
        write_radiograph(tmp_path / "in" / name, image)
    with open(tmp_path / "asked.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "view"), *((name, view) for name, view, _ in rows)])
    out = tmp_path / "out"
    words = [
        "evaluate",
        "views",
        "--images",
        str(tmp_path / "asked.csv"),
        "--root",
        str(tmp_path / "in"),
        "--out",
        str(out),
    ]
    assert dispatch(words) == 0
    with open(out / "views.csv", newline="") as file:
        found = {row["image"]: row for row in csv.DictReader(file)}
    assert [found[name]["agrees"] for name in ("a.png", "b.png", "c.png", "d.png")] == ["1", "1", "0", ""]
    assert found["d.png"]["negative"] == "1" and found["c.png"]["view"] == "LL"
    assert "frontal" in found["c.png"]["suitability"] or "lateral" in found["c.png"]["suitability"]
    report = json.loads((out / "report.json").read_text())
    assert report["data"]["asked"] == 3 and report["data"]["agree"] == 2 and report["data"]["negative"] == 1
    assert "asked for and found" in (out / "report.html").read_text().lower()


def test_a_folder_without_a_table_and_what_is_refused(pictures, tmp_path):
    write_radiograph(tmp_path / "in" / "a.png", pictures["LL"][0])
    assert dispatch(["evaluate", "views", "--images", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    table = tmp_path / "asked.csv"
    table.write_text("filename,view\na.png,SIDEWAYS\n")
    words = [
        "evaluate",
        "views",
        "--images",
        str(table),
        "--root",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(ValueError, match=r"a.png has the view 'SIDEWAYS'; known are PA"):
        dispatch(words)

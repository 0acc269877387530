"""The protocol end to end on written files with known bones and findings."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
import torch

from evaluation.inputs import BadInputs
from evaluation.nodules.implant_protocol import TRUTH
from evaluation.suppression.contrast import lesions_from_mask, preservation, read_boxes, ring
from evaluation.suppression.gain_report import write_gains
from evaluation.suppression.gains import GainMeter
from evaluation.suppression.lpips import lpips
from evaluation.suppression.protocol import BLUR, NOTHING, SuppressionProtocol, evaluate_suppression
from evaluation.suppression.report import add_sliders, paired_table, suppression_report, write_scores
from radiographs import read_radiograph, write_radiograph
from radiographs.lungs import lung_mask
from vqgan.perceptual import VGGPerceptual

SIDE = 64


def chest(seed: int) -> np.ndarray:
    """Two dark lungs in a bright body, black air around, and texture."""
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = np.where((np.abs(columns) < 0.85), 0.4, -0.95)
    for side in (-0.4, 0.4):
        body[((columns - side) / 0.28) ** 2 + (rows / 0.7) ** 2 < 1] = -0.3
    texture = np.random.default_rng(seed).normal(0, 0.02, (SIDE, SIDE))
    return (body + texture).clip(-1, 1).astype(np.float32)


@pytest.fixture
def folders(tmp_path):
    bone = np.zeros((SIDE, SIDE), np.float32)
    bone[8:56:8] = 0.25
    for i in range(8):
        truth = chest(i)
        truth[30:35, 16:21] += 0.2  # a finding in the left lung
        images = {"truth": truth, "input": truth + bone, "half": truth + bone / 2, "good": truth + bone / 10}
        for folder, pixels in images.items():
            write_radiograph(tmp_path / folder / f"p{i // 2}_{i}.png", pixels.clip(-1, 1), 16)
    return tmp_path


def evaluate(folders, protocol=None, **methods):
    methods = methods or {"half": "half", "good": "good"}
    paths = {name: str(folders / folder) for name, folder in methods.items()}
    return evaluate_suppression(
        paths, str(folders / "truth"), str(folders / "input"), protocol or SuppressionProtocol()
    )


def test_scores_rows_intervals_and_files(folders):
    result = evaluate(folders, SuppressionProtocol(lungs="auto", legacy=True))
    assert result.methods == [NOTHING, BLUR, "half", "good"] and len(result.names) == 8
    whole = {m: result.scores[m, "whole", False, "bsr_two_sided"] for m in result.methods}
    assert np.allclose(whole[NOTHING], 0) and np.allclose(whole["half"], 0.75, atol=1e-3)
    assert np.allclose(whole["good"], 0.99, atol=1e-3)
    assert np.allclose(result.scores["half", "whole", False, "mse"], 6 / 64 * (0.125 / 2) ** 2, rtol=1e-2)
    assert np.isfinite(result.scores["half", "lungs", True, "psnr"]).all()
    report = suppression_report(result, {"truth": "t"}, groups=[name[:2] for name in result.names])
    titles = [table.title for table in report.tables]
    assert titles[:7] == [
        "Gains over doing nothing",
        "Gains by band in dB, inside the lungs",
        "Gains by band in dB, whole image",
        "Whole image, as it is",
        "Whole image, after a gain and offset",
        "Inside the lungs, as it is",
        "Inside the lungs, after a gain and offset",
    ]
    assert "As published" in titles and "Paired tests" in titles
    assert any("MS-SSIM is not defined" in note for note in report.notes)
    add_sliders(report, result, "good", str(folders / "good"), str(folders / "input"))
    assert len(report.sliders) == 3 and "dB in the lungs" in report.sliders[0].title
    write_scores(result, folders / "scores.csv")
    rows = list(csv.DictReader((folders / "scores.csv").read_text().splitlines()))
    assert len(rows) == 8 * 4 * 2 * 2 and float(rows[0]["bsr_two_sided"]) == pytest.approx(0, abs=1e-9)


def test_paired_tests_prefer_the_better_method(folders):
    table = paired_table(evaluate(folders))
    row = next(row for row in table.rows if row[0] == "half − good" and row[2] == "PSNR dB ↑")
    assert row[3].high < 0 and row[5] == pytest.approx(2 / 2**8) and row[6] > row[5]


def test_findings_from_masks_and_boxes_agree(folders):
    flat = np.full((SIDE, SIDE), -1, np.float32)
    for i in range(8):
        mask = flat.copy()
        mask[30:35, 16:21] = 1
        write_radiograph(folders / "masks" / f"p{i // 2}_{i}.png", mask, 8)
    (folders / "boxes.csv").write_text(
        "image,x,y,width,height,label\n" + "".join(f"p{i // 2}_{i}.png,16,30,4,4,nodule\n" for i in range(8))
    )
    # a method that wipes findings: the truth, smoothed over the finding
    for i in range(8):
        wiped = chest(i)
        write_radiograph(folders / "wiped" / f"p{i // 2}_{i}.png", wiped, 16)
    for source in ("masks", "boxes.csv"):
        result = evaluate(
            folders, SuppressionProtocol(lesions=str(folders / source)), wiped="wiped", truth_copy="truth"
        )
        kept = {m: np.mean([r["kept"] for r in result.lesions if r["method"] == m]) for m in ("wiped", "truth_copy")}
        assert kept["truth_copy"] == pytest.approx(1) and abs(kept["wiped"]) < 0.15
        report = suppression_report(result, {})
        table = next(t for t in report.tables if t.title == "Known findings")
        assert {row[0]: row[3].value for row in table.rows}["wiped"] == 1


def test_preservation_by_hand():
    reference = np.zeros((32, 32))
    mask = np.zeros((32, 32), bool)
    mask[12:18, 12:18] = True
    reference[mask] = 0.4
    around = ring(mask, mask)
    assert not (around & mask).any()
    values = preservation(0.5 * reference + 0.3, reference, mask, around)
    assert values["kept"] == pytest.approx(0.5) and values["likeness"] == pytest.approx(1)
    assert len(lesions_from_mask(mask | (np.arange(32) > 29)[None])) == 2


def test_boxes_that_are_outside_are_listed(tmp_path):
    (tmp_path / "b.csv").write_text("image,x,y,width,height\na.png,1,1,4,4\nz.png,1,1,4,4\na.png,30,1,4,4\n")
    with pytest.raises(ValueError, match=r"2 bad rows: line 3: z.png is none.*line 4: a box"):
        read_boxes(tmp_path / "b.csv", {"a": (32, 32)})


def test_negatives_and_missing_masks_are_refused_with_the_list(folders):
    write_radiograph(folders / "half" / "p0_0.png", -chest(0), 16)
    with pytest.raises(BadInputs, match="p0_0: half looks like a negative"):
        evaluate(folders)
    write_radiograph(folders / "lungs" / "p0_0.png", np.ones((SIDE, SIDE), np.float32), 8)
    with pytest.raises(BadInputs, match="7 bad: p0_1: no mask"):
        evaluate(folders, SuppressionProtocol(lungs=str(folders / "lungs")), good="good")


def test_lung_mask_finds_both_lungs_and_refuses_where_there_are_none():
    mask = lung_mask(chest(0))
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    true = np.any([((columns - s) / 0.28) ** 2 + (rows / 0.7) ** 2 < 1 for s in (-0.4, 0.4)], axis=0)
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.9
    with pytest.raises(ValueError, match="--lungs"):
        lung_mask(np.zeros((SIDE, SIDE), np.float32))


def test_lungs_that_run_out_through_a_thin_wall_are_cut_off(monkeypatch):
    pixels = chest(0)
    pixels[30:40, :] = np.where((pixels[30:40] > 0) & (np.abs(np.arange(SIDE) - 31.5) > 18), -0.2, pixels[30:40])
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    true = np.any([((columns - s) / 0.28) ** 2 + (rows / 0.7) ** 2 < 1 for s in (-0.4, 0.4)], axis=0)
    mask = lung_mask(pixels)
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.85
    monkeypatch.setattr("radiographs.lungs.STEP", 1000)  # Otsu's threshold alone,
    monkeypatch.setattr("radiographs.lungs.DROPS", ())  # and nothing that is darker than its surroundings
    with pytest.raises(ValueError, match="--lungs"):
        lung_mask(pixels)


def test_lpips_of_a_mask_counts_only_what_is_inside():
    torch.manual_seed(0)
    network = VGGPerceptual()
    a = torch.rand(1, 1, 64, 64) * 2 - 1
    b = a.clone()
    b[..., :16, :16] = 0
    everywhere = torch.ones_like(a)
    assert torch.allclose(lpips(network, b, a), network(b, a), rtol=1e-4)
    assert torch.allclose(lpips(network, b, a, everywhere), network(b, a), rtol=1e-4)
    inside = torch.zeros_like(a)
    inside[..., :16, :16] = 1
    assert lpips(network, b, a, inside) > 2 * network(b, a)


def test_gains_lead_and_are_written_for_each_image(folders):
    result = evaluate(folders, half="half", truth_copy="truth")
    leading = suppression_report(result, {}).tables[0]
    rows = {row[0]: row for row in leading.rows}
    assert list(rows) == [NOTHING, BLUR, "half", "truth_copy"]
    assert leading.columns[1:] == ["lungs, dB ↑", "whole image, dB ↑", "ribs that remain ↓", "BSR of their band ↑"]
    assert [cell.value for cell in rows[NOTHING][1:]] == pytest.approx([0, 0, 1, 0], abs=1e-9)
    assert rows["truth_copy"][1].value == rows["truth_copy"][2].value == np.inf
    assert rows["truth_copy"][3].value == pytest.approx(0, abs=1e-6)
    assert 4 < rows["half"][2].value < 7  # half of the bone is a quarter of the error, 6 dB, before the fit
    write_gains(result, folders / "gains.csv")
    written = list(csv.DictReader((folders / "gains.csv").read_text().splitlines()))
    assert len(written) == 8 * 4 and written[0]["image"] == "p0_0"
    found = {(row["image"], row["method"]): row for row in written}
    assert float(found["p3_7", "half"]["whole dB"]) == result.gains["half", "whole"][7]
    assert found["p3_7", "half"]["whole under 2 dB"] == ""  # not defined for 64 pixels


def test_an_image_without_lungs_is_left_out_of_their_means_and_counted(folders):
    flat = np.full((SIDE, SIDE), 0.2, np.float32)
    flat[20:30] = 0.6
    for folder, factor in (("truth", 1), ("input", 1.3), ("half", 1.1)):
        write_radiograph(folders / folder / "p0_1.png", (factor * flat).clip(-1, 1), 16)
    result = evaluate(folders, half="half")
    assert list(result.without_lungs) == ["p0_1"] and "lungs were expected" in result.without_lungs["p0_1"]
    for values in (result.gains["half", "lungs"], result.scores["half", "lungs", True, "psnr"]):
        assert np.isnan(values).tolist() == [False, True] + [False] * 6
    assert np.isfinite(result.scores["half", "whole", True, "psnr"]).all()
    report = suppression_report(result, {})
    assert "no lungs were found in 1 of them" in report.tables[0].note and "p0_1" in report.tables[0].note
    mean = report.tables[0].rows[2][1].value
    assert mean == pytest.approx(np.nanmean(result.gains["half", "lungs"])) and np.isfinite(mean)
    add_sliders(report, result, "half", str(folders / "half"), str(folders / "input"))
    assert len(report.sliders) == 3 and not any("p0_1" in slider.title for slider in report.sliders)


def test_without_any_lungs_the_whole_image_is_left(folders):
    ramp = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)[:, None].repeat(SIDE, 1)
    for folder, amount in (("truth", 0), ("input", 0.2), ("half", 0.1)):
        for path in (folders / folder).iterdir():
            write_radiograph(path, ramp + amount * (np.arange(SIDE) % 8 == 0), 16)
    result = evaluate(folders, half="half")
    assert result.regions == ["whole"] and len(result.without_lungs) == 8
    assert [t.title for t in suppression_report(result, {}).tables][:3] == [
        "Gains over doing nothing",
        "Gains by band in dB, whole image",
        "Whole image, as it is",
    ]


def test_a_model_is_scored_and_its_nodules_are_measured(folders):
    big = folders / "big"
    for i in range(2):
        truth = cv2.resize(chest(i), (256, 256), interpolation=cv2.INTER_CUBIC)
        bone = np.zeros_like(truth)
        bone[32:224:32] = bone[33:224:32] = bone[34:224:32] = 0.25
        write_radiograph(big / "truth" / f"{i}.png", truth.clip(-1, 1), 16)
        write_radiograph(big / "input" / f"{i}.png", (truth + bone).clip(-1, 1), 16)

    seen = []

    def debone(pixels):
        """Takes the known bone, and half of whatever else is not in the first image that it sees."""
        seen.append(pixels)
        index = 0 if np.abs(pixels - first[0]).mean() < np.abs(pixels - first[1]).mean() else 1
        return soft[index] + 0.5 * (pixels - first[index])

    first = [read_radiograph(big / "input" / f"{i}.png").pixels for i in range(2)]
    soft = [read_radiograph(big / "truth" / f"{i}.png").pixels for i in range(2)]
    protocol = SuppressionProtocol(nodules=8)
    result = evaluate_suppression({}, str(big / "truth"), str(big / "input"), protocol, {"model": debone})
    assert len(seen) == 2 * (1 + 2) and (result.gains["model", "lungs"] == np.inf).all()
    rows = [row for row in result.implants if row["method"] == "model"]
    assert len(rows) == 16 and {row["image"] for row in rows} == {"0", "1"}
    np.testing.assert_allclose([row["kept"] for row in rows], 0.5, atol=1e-3)
    truth = {(r["image"], r["diameter_mm"]): r["detectability"] for r in result.implants if r["method"] == TRUTH}
    for row in rows:  # the model leaves the true anatomy, and half of the nodule
        assert row["detectability"] == pytest.approx(truth[row["image"], row["diameter_mm"]] / 2, rel=0.15)
        assert row["pixel_mm_from"] == "lungs"
    leading = suppression_report(result, {}).tables[0]
    assert leading.columns[-4:] == ["nodules: kept", "nodules: ≥ 90%", "nodules: < 50%", "nodules: detectability ↑"]
    table = next(t for t in suppression_report(result, {}).tables if "implanted" in t.title)
    assert [row[:2] for row in table.rows[:2]] == [["8 mm and more", "model"], ["8 mm and more", TRUTH]]
    with pytest.raises(ValueError, match="no method to evaluate"):
        evaluate_suppression({}, str(big / "truth"), str(big / "input"), protocol)
    with pytest.raises(ValueError, match="cannot name a method, or names two"):
        evaluate_suppression({"m": str(big / "truth")}, str(big / "truth"), str(big / "input"), protocol, {"m": debone})


def test_results_of_another_size_are_refused_or_brought_to_the_truths(folders):
    for path in (folders / "half").iterdir():
        small = cv2.resize(read_radiograph(path).pixels, (32, 32), interpolation=cv2.INTER_AREA)
        write_radiograph(folders / "small" / path.name, small, 16)
        write_radiograph(folders / "bent" / path.name, small[:24], 16)
    with pytest.raises(BadInputs, match=r"sizes differ \(radiograph 64x64, truth 64x64, small 32x32\)"):
        evaluate(folders, small="small")
    with pytest.raises(BadInputs, match=r"sizes differ.*bent 24x32"):
        evaluate(folders, SuppressionProtocol(resize=True), bent="bent")
    result = evaluate(folders, SuppressionProtocol(resize=True), half="half", small="small")
    truth, radiograph, small = (
        read_radiograph(folders / role / "p0_0.png").pixels for role in ("truth", "input", "small")
    )
    enlarged = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    assert result.gains["small", "whole"][0] == GainMeter(truth, radiograph)(enlarged)["whole"]
    assert (result.gains["small", "whole"] < result.gains["half", "whole"]).all()  # detail is gone

"""The synthesis protocol on written images whose answer is known, and CheXGenBench's files."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.features.clip import Clip
from evaluation.features.extract import Extractor, Transform
from evaluation.inputs import BadInputs, read_set
from evaluation.reporting.report import render
from evaluation.synthesis.chexgenbench import metrics_row, write_benchmark_files
from evaluation.synthesis.protocol import SynthesisProtocol, evaluate_synthesis
from radiographs import write_radiograph

RAMP = np.linspace(-0.5, 0.5, 32, dtype=np.float32)[None].repeat(32, 0)


class Halves(nn.Module):
    """The means of the left and of the right half, as features or as logits."""

    def forward(self, x):
        return torch.stack([x[..., :16].mean((1, 2, 3)), x[..., 16:].mean((1, 2, 3))], dim=1)


def write_set(folder, count: int, seed: int, brighter: float = 0.0):
    """Images whose left half is brightened where the label Edema is 1; a CSV with prompts, labels and views."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        edema = i % 2
        pixels = RAMP + random.normal(0, 0.05) + brighter + random.normal(0, 0.02, RAMP.shape)
        pixels[:, :16] += 0.2 * edema
        write_radiograph(folder / f"{i}.png", pixels.astype(np.float32).clip(-1, 1), 16)
        rows.append([f"{i}.png", "edema" if edema else "clear lungs", edema, ("PA", "AP")[edema]])
    with open(folder.parent / f"{folder.name}.csv", "w", newline="") as file:
        csv.writer(file).writerows([["img_savename", "annotated_prompt", "Edema", "view"], *rows])
    return read_set(folder.parent / f"{folder.name}.csv", folder)


def extractor(name: str = "halves") -> Extractor:
    return Extractor(name, Halves(), Transform(32, channels=1, low=-1.0), name)


def column(table, name):
    return [row[list(table.columns).index(name)] for row in table.rows]


def test_distributions_text_labels_and_views(tmp_path, tiny_clip):
    real = write_set(tmp_path / "real", 40, seed=0)
    good, bad = write_set(tmp_path / "good", 40, seed=1), write_set(tmp_path / "bad", 40, seed=2, brighter=0.3)
    logits = Extractor("logit", nn.Sequential(Halves(), nn.Linear(2, 1)), Transform(32, channels=1, low=-1.0), "l")
    logits.network[1].load_state_dict({"weight": torch.tensor([[1.0, -1.0]]), "bias": torch.zeros(1)})
    views = Extractor("views", nn.Sequential(Halves(), nn.Linear(2, 2)), Transform(32, channels=1, low=-1.0), "v")
    # Left minus right is -0.5 without and -0.3 with the brightening: the bound lies between
    weight, bias = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), torch.tensor([-0.4, 0.4])
    views.network[1].load_state_dict({"weight": weight, "bias": bias})
    protocol = SynthesisProtocol(
        {"halves": extractor()},
        k=3,
        radiomics=False,
        clip=Clip(str(tiny_clip)),
        descriptors={"Edema": ["haze"]},
        classifier=logits,
        classes=["Edema"],
        view_classifier=views,
        views=["PA", "AP"],
    )
    reports = {name: evaluate_synthesis(real, images, protocol, {}) for name, images in (("good", good), ("bad", bad))}
    tables = {name: {t.title: t for t in report.tables} for name, report in reports.items()}
    near, floor = column(tables["good"]["Distributions"], "FID ↓")
    far = column(tables["bad"]["Distributions"], "FID ↓")[0]
    assert far == pytest.approx(2 * 0.3**2 + near, rel=0.4) and far > 10 * max(near, floor)
    assert (
        column(tables["bad"]["Distributions"], "coverage")[0]
        < 0.2
        < column(tables["good"]["Distributions"], "coverage")[0]
    )
    labels = tables["good"]["Labels found again by the classifier"]
    assert column(labels, "AUROC ↑")[0].value == 1 and column(labels, "positive")[0] == 20
    assert reports["good"].data["view accuracy"][0] == 1
    assert column(tables["good"]["Views"], "found PA") == [20, 0]
    assert set(tables["good"]) >= {"Image and text", "Findings by descriptive observations"}
    assert -1 <= reports["good"].data["alignment"] <= 1
    assert "<svg" in render(reports["good"])
    rows = write_benchmark_files(reports["good"].data, tmp_path / "out", "ours")
    assert [path.name for path in rows] == ["image_generation_metrics.csv", "img_text_alignment.csv"]
    row = next(csv.DictReader(rows[0].read_text().splitlines()))
    assert float(row["FID (halves)"]) == pytest.approx(near) and row["Extra Info"] == "ours"


def test_inception_score_is_of_the_classes_and_of_the_features(tmp_path):
    real, images = write_set(tmp_path / "real", 20, seed=0), write_set(tmp_path / "images", 20, seed=1)
    # Left minus right is -0.5 without and -0.3 with the brightening: far on either side of the bound, in its units
    sides = Extractor("sides", nn.Sequential(Halves(), nn.Linear(2, 2)), Transform(32, channels=1, low=-1.0), "s")
    weight, bias = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]]), torch.tensor([400.0, -400.0])
    sides.network[1].load_state_dict({"weight": weight, "bias": bias})
    inception = Extractor("Inception", sides.network, sides.transform, "s", head=torch.eye(2))
    report = evaluate_synthesis(real, images, SynthesisProtocol({"Inception": inception}, k=3), {})
    assert [t.title for t in report.tables] == ["Distributions", "Inception Score, Inception"]
    score = report.data["Inception"]["Inception Score"]
    assert 1.2 < score <= 2  # two sure classes, in parts of two images
    assert metrics_row(report.data, "")["Inception Score"] == pytest.approx(score)  # here the features are the classes


def test_findings_have_their_own_rows_and_files(tmp_path):
    real, bad = write_set(tmp_path / "real", 40, seed=0), write_set(tmp_path / "bad", 40, seed=2, brighter=0.3)
    protocol = SynthesisProtocol({"halves": extractor()}, k=3, by_finding=True, classes=["Edema"])
    report = evaluate_synthesis(real, bad, protocol, {})
    assert column(report.tables[-1], "real") == [20]
    assert report.data["by finding"]["Edema"]["halves"]["FID"] == pytest.approx(2 * 0.3**2, rel=0.4)
    with pytest.raises(ValueError, match="no column 'Fracture'"):
        evaluate_synthesis(real, bad, SynthesisProtocol({"x": extractor()}, by_finding=True, classes=["Fracture"]), {})
    with pytest.raises(ValueError, match="give some"):
        evaluate_synthesis(real, bad, SynthesisProtocol({}, radiomics=True, by_finding=True, classes=["Edema"]), {})


def test_entities_of_prompts_and_reports(tmp_path):
    def annotator(texts):
        """The package's structure, with every word as one observation."""
        return {
            str(i): {
                "text": text,
                "entities": {
                    str(j): {"tokens": word, "label": "OBS-DP", "start_ix": j, "end_ix": j, "relations": []}
                    for j, word in enumerate(text.split(), start=1)
                },
            }
            for i, text in enumerate(texts)
        }

    real, images = write_set(tmp_path / "real", 4, seed=0), write_set(tmp_path / "images", 4, seed=1)
    alone = evaluate_synthesis(real, images, SynthesisProtocol({}, radgraph=annotator), {})
    assert alone.tables[-1].rows == [["OBS-DP", 6, 0]]  # "clear lungs" and "edema", twice each
    assert any("No column 'report'" in note for note in alone.notes)
    for row in images.rows.values():
        row["report"] = row["annotated_prompt"].replace("clear", "hazy")
    report = evaluate_synthesis(real, images, SynthesisProtocol({}, radgraph=annotator), {})
    table = report.tables[-1]
    assert table.title == "RadGraph agreement" and [row[0] for row in table.rows] == ["RG_E", "RG_ER", "RG_ER strict"]
    assert column(table, "F1 ↑")[0].value == pytest.approx((0.5 + 1) / 2)
    assert report.data["RadGraph"]["F1"]["entities"].tolist() == [0.5, 1, 0.5, 1]


def test_radiomics_and_its_floor(tmp_path):
    real, bad = write_set(tmp_path / "real", 12, seed=0), write_set(tmp_path / "bad", 12, seed=2, brighter=0.3)
    report = evaluate_synthesis(real, bad, SynthesisProtocol({}, radiomics=True), {})
    assert report.data["Radiomics distance"]["distance"] > report.data["Radiomics distance"]["real against real"]


def test_benchmark_names():
    prdc = {"precision": 0.1, "recall": 0.2, "density": 0.3, "coverage": 0.4}
    data = {"Inception": {"FID": 1.0, "KID": 2.0, **prdc}, "RadDino": {"FID": 3.0, "KID": 4.0, **prdc, "recall": 0.9}}
    row = metrics_row(data, "x")
    assert row["FID"] == 1 and row["FID (RadDino)"] == 3 and row["KID (RadDino)"] == 4 and row["Recall"] == 0.9


def test_sets_that_cannot_be_compared_are_refused(tmp_path):
    real = write_set(tmp_path / "real", 20, seed=0)
    protocol = SynthesisProtocol({"halves": extractor()}, k=3)
    turned = write_set(tmp_path / "turned", 20, seed=1)
    write_radiograph(tmp_path / "turned" / "7.png", -RAMP, 16)
    write_radiograph(tmp_path / "turned" / "9.png", np.zeros((32, 40), np.float32), 16)
    with pytest.raises(BadInputs) as refused:
        evaluate_synthesis(real, turned, protocol, {})
    assert refused.value.problems == [
        "7.png: a negative among the others",
        "9.png: 32x40 pixels where most have 32x32",
    ]
    with pytest.raises(ValueError, match="nothing to compute"):
        evaluate_synthesis(real, turned, SynthesisProtocol({}), {})

"""`radiolucent evaluate`: each protocol from the command line, and what it refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from torch import nn

from radiographs import write_radiograph
from radiolucent.cli import dispatch

RAMP = np.linspace(-0.6, 0.6, 48, dtype=np.float32)[None].repeat(48, 0)


def write_set(folder, count: int, seed: int, suffix: str = ""):
    random = np.random.default_rng(seed)
    for i in range(count):
        pixels = RAMP + random.normal(0, 0.1) + random.normal(0, 0.05, RAMP.shape)
        write_radiograph(folder / f"p{seed}{i}{suffix}.png", pixels.astype(np.float32).clip(-1, 1), 16)
    return folder


class Pooled(nn.Module):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


@pytest.fixture
def network(tmp_path):
    torch.jit.script(Pooled()).save(str(tmp_path / "pooled.pt"))
    return str(tmp_path / "pooled.pt")


@pytest.fixture
def pairs(tmp_path):
    write_set(tmp_path / "truth", 4, 0)
    for i in range(4):
        name = f"p0{i}.png"
        truth = np.clip(RAMP + 0.1 * i, -1, 1)
        bone = np.zeros_like(RAMP)
        bone[::8] = 0.2
        for folder, image in (
            ("truth", truth),
            ("input", truth + bone),
            ("a", truth + bone / 2),
            ("b", truth + bone / 4),
        ):
            write_radiograph(tmp_path / folder / name, image.clip(-1, 1), 16)
    return tmp_path


def suppression(pairs, *words: str) -> list[str]:
    folders = ["--truth", str(pairs / "truth"), "--input", str(pairs / "input"), "--out", str(pairs / "out")]
    return ["evaluate", "suppression", *folders, "--device", "cpu", *words]


def test_suppression_of_two_methods(pairs, capsys):
    assert dispatch(suppression(pairs, "--pred", str(pairs / "a"), "--pred", f"quarter={pairs / 'b'}", "--legacy")) == 0
    report = json.loads((pairs / "out" / "report.json").read_text())
    assert report["tables"][0]["title"] == "Gains over doing nothing"
    rows = next(table["rows"] for table in report["tables"] if table["title"] == "Whole image, as it is")
    assert [row[0] for row in rows] == ["do nothing", "Gaussian blur", "a", "quarter"]
    assert rows[3][-1]["value"] == pytest.approx(1 - 1 / 16, abs=0.02)  # two-sided BSR; the bright rim is clipped
    assert {table["title"] for table in report["tables"]} >= {"Paired tests", "As published"}
    assert (pairs / "out" / "report.html").read_text().count('class="slider"') == 6
    assert len(list(csv.DictReader((pairs / "out" / "scores.csv").read_text().splitlines()))) == 4 * 4 * 2
    assert "report.html" in capsys.readouterr().out


def test_a_checkpoint_is_a_method_and_its_nodules_are_measured(checkpoint, tmp_path):
    from evaluation.nodules.scenes import render_scene

    for body in range(2):
        scene = render_scene(body, 128, seed=0)
        write_radiograph(tmp_path / "input" / f"{body}.png", scene.radiograph, 16)
        write_radiograph(tmp_path / "truth" / f"{body}.png", scene.soft, 16)
    words = ["--pred", f"same={tmp_path / 'input'}", "--checkpoint", f"model={checkpoint}", "--steps", "1"]
    assert dispatch(suppression(tmp_path, *words, "--nodules", "7")) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = {row[0]: row for row in report["tables"][0]["rows"]}
    assert list(rows) == ["do nothing", "Gaussian blur", "same", "model"]
    assert rows["same"][1]["value"] == 0 and rows["same"][3]["value"] == 1 and rows["same"][-1] is None
    nodules = list(csv.DictReader((tmp_path / "out" / "nodules.csv").read_text().splitlines()))
    mine = [float(row["kept"]) for row in nodules if row["method"] == "model"]
    assert len(mine) == 2 * 7 and np.std(mine) > 0.01  # an untrained network does something to each
    assert rows["model"][5]["value"] == pytest.approx(
        np.mean([float(r["kept"]) for r in nodules if r["method"] == "model" and float(r["diameter_mm"]) >= 8])
    )
    assert len(list(csv.DictReader((tmp_path / "out" / "gains.csv").read_text().splitlines()))) == 2 * 4
    page = (tmp_path / "out" / "images.html").read_text()
    assert page.count('class="compare"') == 2 and "<option selected>model</option>" in page
    assert 'href="images.html"' in (tmp_path / "out" / "report.html").read_text()


def test_nothing_to_evaluate_is_refused(pairs):
    with pytest.raises(ValueError, match=r"give --pred \[NAME=\]FOLDER, or --checkpoint"):
        dispatch(suppression(pairs))
    with pytest.raises(ValueError, match="--nodules -1"):
        dispatch(suppression(pairs, "--pred", str(pairs / "a"), "--nodules", "-1"))


def test_suppression_options_from_yaml(pairs):
    config = pairs / "evaluate.yaml"
    folders = {"truth": pairs / "truth", "input": pairs / "input", "out": pairs / "out", "pred": f"[{pairs / 'a'}]"}
    config.write_text("blur_sigma: 2.0\n" + "".join(f"{name}: {value}\n" for name, value in folders.items()))
    assert dispatch(["evaluate", "suppression", "--config", str(config), "--patients", "p0(.)"]) == 0
    assert json.loads((pairs / "out" / "report.json").read_text())["settings"]["blur_sigma"] == 2.0


def test_refusals_write_the_whole_list(pairs):
    (pairs / "a" / "p01.png").unlink()
    (pairs / "a" / "p02.png").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"2 bad: p01: not in .*refused.txt"):
        dispatch(suppression(pairs, "--pred", str(pairs / "a")))
    assert len((pairs / "out" / "refused.txt").read_text().splitlines()) == 2
    assert not (pairs / "out" / "report.html").exists()


def test_published_lpips_belongs_to_the_published_numbers(pairs):
    with pytest.raises(ValueError, match="add --legacy"):
        dispatch(suppression(pairs, "--pred", str(pairs / "a"), "--lpips-alex", "alexnet.pth"))
    with pytest.raises(FileNotFoundError, match="no such file of AlexNet's weights"):
        dispatch(suppression(pairs, "--pred", str(pairs / "a"), "--legacy", "--lpips-alex", "alexnet.pth"))


def test_another_programs_files_are_left_alone(pairs):
    for name, text in (("scores.csv", "theirs"), ("report.json", '{"title": "another"}')):
        (pairs / "out").mkdir(exist_ok=True)
        (pairs / "out" / name).write_text(text)
        with pytest.raises(ValueError, match=f"holds {name}, which no evaluation wrote: choose another --out"):
            dispatch(suppression(pairs, "--pred", str(pairs / "a")))
        assert (pairs / "out" / name).read_text() == text
        (pairs / "out" / name).unlink()


def test_two_methods_of_one_name(pairs):
    with pytest.raises(ValueError, match="give each its own name"):
        dispatch(suppression(pairs, "--pred", str(pairs / "a"), "--pred", f"a={pairs / 'b'}"))


def test_synthesis_writes_report_and_benchmark_files_and_keeps_features(tmp_path, network):
    real, synthetic = write_set(tmp_path / "real", 24, 1), write_set(tmp_path / "synthetic", 24, 2)
    with open(tmp_path / "prompts.csv", "w", newline="") as file:
        names = sorted(path.name for path in synthetic.iterdir())
        csv.writer(file).writerows([["annotated_prompt", "img_savename"], *(["clear", name] for name in names)])
    words = [
        "evaluate",
        "synthesis",
        "--real",
        str(real),
        "--synthetic",
        str(synthetic),
        "--out",
        str(tmp_path / "out"),
    ]
    words += ["--prompts", str(tmp_path / "prompts.csv"), "--features", f"RadDino={network}", "--transform", "unit"]
    assert dispatch([*words, "--extra-info", "ours"]) == 0
    row = next(csv.DictReader((tmp_path / "out" / "image_generation_metrics.csv").read_text().splitlines()))
    assert set(row) == {"FID (RadDino)", "KID (RadDino)", "Precision", "Recall", "Density", "Coverage", "Extra Info"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["RadDino: input"].startswith("Transform(size=224, channels=3")
    saved = sorted(path.stat().st_mtime_ns for path in (tmp_path / "out" / "features").iterdir())
    assert len(saved) == 2
    assert dispatch(words) == 0
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "out" / "features").iterdir()) == saved
    (synthetic / names[0]).unlink()
    with pytest.raises(ValueError, match=r"1 bad: .*no such file"):
        dispatch(words)


def test_privacy_shows_the_worst_offender(tmp_path, network):
    synthetic, train, heldout = (
        write_set(tmp_path / name, 6, i) for i, name in enumerate(("synthetic", "train", "held"))
    )
    (synthetic / "p00.png").write_bytes((train / "p13.png").read_bytes())
    words = ["evaluate", "privacy", "--synthetic", str(synthetic), "--train", str(train), "--heldout", str(heldout)]
    words += ["--features", network, "--transform", "unit", "--out", str(tmp_path / "out"), "--worst", "3"]
    assert dispatch(words) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    worst = next(table for table in report["tables"] if table["title"] == "Nearest to a training image")
    assert worst["rows"][0][:3] == ["p00.png", "p13.png", 0.0] and len(worst["rows"]) == 3
    assert (tmp_path / "out" / "worst.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="1 patients are in more than one split"):
        write_radiograph(heldout / "p13.png", RAMP, 16)
        dispatch([*words, "--patients", r"(p\d+)\.png"])


def test_utility_refuses_a_leak_of_patients(tmp_path):
    for name, seed in (("real", 1), ("synthetic", 2), ("test", 1)):
        folder = write_set(tmp_path / name, 3, seed, suffix=name[0])
        with open(folder / "labels.csv", "w", newline="") as file:
            csv.writer(file).writerows([["path", "Edema"], *([p.name, 1] for p in sorted(folder.glob("*.png")))])
    words = [
        "evaluate",
        "utility",
        "--out",
        str(tmp_path / "out"),
        "--classes",
        "Edema",
        "--patients",
        r"(p\d+)[rst]\.png",
    ]
    for name in ("real", "synthetic", "test"):
        words += [f"--{name}", str(tmp_path / name / "labels.csv")]
    with pytest.raises(ValueError, match="3 patients are in more than one split: p10"):
        dispatch(words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--features", "a=NETWORK"], "with --transform"),
        (["--features", "a=NETWORK", "--transform", "b=unit"], "--transform names b, which --features does not: a"),
        ([], "nothing to compute"),
        (["--by-finding", "--radiomics"], "give some"),
        (["--radgraph", "words"], "give one of radgraph, radgraph-xl"),
        (["--view-classifier", "NETWORK", "--views", "PA"], r"gives \(1, 4\) for one image where 1 classes"),
    ],
)
def test_bad_options_of_synthesis(words, says, tmp_path, network):
    real, synthetic = write_set(tmp_path / "real", 2, 1), write_set(tmp_path / "synthetic", 2, 2)
    start = [
        "evaluate",
        "synthesis",
        "--real",
        str(real),
        "--synthetic",
        str(synthetic),
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(ValueError, match=says):
        dispatch([*start, *(word.replace("NETWORK", network) for word in words)])

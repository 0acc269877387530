"""The proof's own code at tiny scale: reports say what was put in, agreement counts right, the chain runs."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import proof_data
from benchmarks.prompt_agreement import choose_prompts, main
from benchmarks.proof_classifier import agreement, balanced_accuracy, mirror, train_classifier, truth
from benchmarks.proof_data import KINDS, SIDED, VIEWS, Scene, render_scene, scene_report
from benchmarks.proof_detector import iou, placement, train_detector
from drr import Finding
from radiographs import read_radiograph, write_radiograph
from radiographs.regions import Region, format_regions, mask_region, parse_masks, parse_regions

NONE = np.zeros((1, 1, 1), bool)
EFFUSION = Finding("pleural effusion", "left", "left pleural space", NONE, {"volume_ml": 800.0})
HEART = Finding("cardiomegaly", "", "heart", NONE, {"cardiothoracic_ratio": 0.66})


def row(view: str, **labels: str) -> dict[str, str]:
    return {"view": view, "labels": json.dumps({name.replace("_", " "): side for name, side in labels.items()})}


def test_a_report_says_each_finding_denies_none_of_them_and_never_names_the_view():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        frontal, lateral = (scene_report([EFFUSION, HEART], view, rng) for view in ("PA", "LL"))
        assert "left" in frontal and "left" not in lateral
        for text in (frontal, lateral):
            said = text.lower()
            assert ("fluid" in said or "effusion" in said) and ("cardiac silhouette" in said or "cardiomegaly" in said)
            denials = [*proof_data.ABSENT["pleural effusion"], *proof_data.ABSENT["cardiomegaly"]]
            assert not any(denial in text for denial in denials)
            assert not re.search(r"\b(PA|AP|LL|RL|Lateral|(lateral|frontal) (chest )?(x-ray|radiograph|view))\b", text)
    texts = {scene_report([EFFUSION], "PA", np.random.default_rng(seed)) for seed in range(40)}
    assert len(texts) > 20 and any("No pneumothorax." in text for text in texts)


def test_findings_lie_where_none_hides_another():
    seen = set()
    for seed in range(60):
        places = proof_data.choose_places(KINDS, np.random.default_rng(seed))
        lump, patch = places["nodule"], places["consolidation"]
        assert lump != patch and lump != "right middle lobe" and f"{places['pleural effusion']} lower lobe" != lump
        seen |= {lump, patch}
        alone = proof_data.choose_places({"consolidation"}, np.random.default_rng(seed))
        seen.add(alone["consolidation"])
    assert seen == set(proof_data.LOBES)


def test_a_scene_is_rendered_once_and_the_same_again(tmp_path):
    job = Scene(3, "train", ("PA", "LL"), tmp_path, 48, 7)
    rows = render_scene(job)
    first = (tmp_path / "CXR" / rows[0]["image"]).read_bytes()
    assert [r["view"] for r in rows] == ["PA", "LL"] and {r["patient"] for r in rows} == {"scene00003"}
    pixels = [read_radiograph(tmp_path / kind / rows[0]["image"]).pixels for kind in ("CXR", "BS")]
    assert pixels[0].std() > 0.2 and (pixels[0] - pixels[1]).mean() > 0.02  # without bone it is darker
    (tmp_path / "CXR" / rows[0]["image"]).unlink()
    assert render_scene(job) == rows and not (tmp_path / "CXR" / rows[0]["image"]).exists()
    (tmp_path / "scenes/00003.json").unlink()
    assert render_scene(job) == rows and (tmp_path / "CXR" / rows[0]["image"]).read_bytes() == first


class Told(nn.Module):
    """Answers that were written into the images' first pixels."""

    def forward(self, images):
        return images[:, 0, 0].split([len(VIEWS), len(KINDS), len(SIDED)], dim=1)


def test_agreement_is_100_and_half_of_it_for_shuffled_labels_when_every_image_shows_what_was_asked():
    rows = [row(VIEWS[i % 4], **({"pneumothorax": "left"} if i < 40 else {"nodule": "right"})) for i in range(80)]
    view, findings, left = truth(rows)
    images = torch.zeros(80, 1, 1, 13)
    images[torch.arange(80), 0, 0, view] = 1.0
    images[:, 0, 0, 4:9] = findings * 2 - 1
    images[:, 0, 0, 9:] = left.nan_to_num(0) * 2 - 1
    found = agreement(Told(), images, rows, 0)
    assert found["views"] == 1 and found["by_view"] == dict.fromkeys(VIEWS, 1.0)
    sides = found["sides"]
    assert (sides["asked"], sides["right"]) == (40, 1.0)  # the frontal half of them
    assert sides["by_finding"]["pneumothorax"] == sides["by_finding"]["nodule"] == 1
    assert np.isnan(sides["by_finding"]["consolidation"])  # of which none was asked for
    for kind in ("pneumothorax", "nodule"):
        assert found["findings"][kind]["balanced_accuracy"] == 1 == found["findings"][kind]["auroc"]
        assert found["findings"][kind]["shuffled"] == pytest.approx(0.5, abs=0.02)
        assert found["findings"][kind]["points"] == pytest.approx(50, abs=2)
    images[:20, 0, 0, 4:9] *= -1  # half of the pneumothoraces are missed, and are nodules instead
    missed = agreement(Told(), images, rows, 0)["findings"]["pneumothorax"]
    assert missed["balanced_accuracy"] == 0.75 and missed["auroc"] == 0.75


def test_balanced_accuracy():
    label = np.array([True, True, True, True, False])
    assert balanced_accuracy(label, np.ones(5, bool)) == 0.5
    assert balanced_accuracy(label, np.array([True, False, False, False, False])) == (0.25 + 1) / 2
    assert np.isnan(balanced_accuracy(np.ones(3, bool), np.ones(3, bool)))


def test_a_classifier_learns_a_side_and_a_finding(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(64):
        pixels = rng.normal(0, 0.1, (32, 32)).astype(np.float32)
        side = ("left", "right", "")[i % 3]
        if side:
            pixels[8:20, slice(18, 28) if side == "left" else slice(4, 14)] += 0.8
        write_radiograph(tmp_path / f"{i}.png", pixels.clip(-1, 1), 8)
        rows.append(row("PA", **({"consolidation": side} if side else {})) | {"image": f"{i}.png"})
    model = train_classifier(tmp_path, rows, 20, 0, batch=16)
    images = torch.stack([torch.from_numpy(read_radiograph(tmp_path / r["image"]).pixels)[None] for r in rows])
    found = agreement(model, images, rows, 0)
    assert found["findings"]["consolidation"]["balanced_accuracy"] > 0.9 and found["sides"]["right"] > 0.9


def test_a_mirror_image_of_a_left_lateral_is_a_right_one_and_left_is_right():
    rows = [row(view, nodule="left") for view in VIEWS for _ in range(25)]
    view, _, left = truth(rows)
    images = torch.linspace(-1, 1, 8).expand(100, 1, 8, 8)
    seen, seen_view, seen_left = mirror(images, view, left, torch.Generator().manual_seed(0))
    flipped = seen[:, 0, 0, 0] > 0
    assert 30 < flipped.sum() < 70
    assert torch.equal(seen[flipped], images[flipped].flip(3)) and torch.equal(seen[~flipped], images[~flipped])
    swapped = {"PA": "PA", "AP": "AP", "LL": "RL", "RL": "LL"}
    for before, after, turned in zip(view, seen_view, flipped):
        assert VIEWS[after] == (swapped[VIEWS[before]] if turned else VIEWS[before])
    frontal, nodule = view < 2, SIDED.index("nodule")
    assert torch.equal(seen_left[frontal, nodule], 1 - flipped[frontal].float())
    assert torch.equal(seen_left.isnan(), left.isnan())


def test_a_scene_tells_where_its_findings_are(tmp_path):
    """The picture with the findings differs from the one without them inside of their masks, hardly elsewhere."""
    rows = [one for n in range(4) for one in render_scene(Scene(n, "train", ("PA",), tmp_path, 64, 5))]
    with_findings = [row for row in rows if row["boxes"]]
    assert len(with_findings) >= 2
    for found in with_findings:
        boxes, masks = parse_regions(found["boxes"]), parse_masks(found["masks"], tmp_path)
        assert {one.kind for one in boxes} == set(json.loads(found["labels"]))
        for box, mask in zip(boxes, masks):
            assert box.kind == mask.kind and np.abs(np.subtract(box.box, mask.box)).max() < 1e-4
        side = json.loads(found["labels"])
        for one in boxes:
            middle = (one.box[0] + one.box[2]) / 2
            assert side[one.kind] in ("", "left" if middle > 0.5 else "right")  # the patient's left is on the right


def test_a_detector_finds_what_lies_where_it_was_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "CXR").mkdir()
    rows = []
    for i in range(48):
        pixels, mask = rng.normal(0, 0.1, (192, 192)).astype(np.float32), np.zeros((192, 192), np.uint8)
        x, y = rng.integers(0, 192 - 64, 2)
        mask[y : y + 64, x : x + 64] = 255
        pixels[mask > 0] += 0.8
        write_radiograph(tmp_path / "CXR" / f"{i}.png", pixels.clip(-1, 1), 8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), mask)
        box = format_regions([mask_region("nodule", mask > 0)])
        rows.append({"image": f"{i}.png", "boxes": box, "masks": f"nodule {i}.png"})
    model = train_detector(tmp_path, rows[:32], 12, 0, batch=8)
    images = torch.stack([torch.from_numpy(read_radiograph(tmp_path / "CXR" / r["image"]).pixels)[None] for r in rows])
    found = placement(model, images[32:], rows[32:], 0)
    assert found["iou"]["nodule"] > 0.7 and found["found"]["nodule"] == 1 and found["shuffled_iou"]["nodule"] < 0.5
    nothing = placement(model, torch.zeros(16, 1, 192, 192), rows[32:], 0)
    assert nothing["mean_iou"] < 0.3


def test_iou_of_boxes():
    one = Region("nodule", (0.0, 0.0, 0.5, 0.5))
    assert iou(one, one) == 1 and iou(None, one) == 0 and iou(one, Region("nodule", (0.5, 0.5, 1, 1))) == 0
    assert iou(one, Region("nodule", (0.25, 0, 0.75, 0.5))) == pytest.approx(1 / 3)


def test_prompts_are_of_each_view_in_turn():
    rows = [row(view) for view in VIEWS for _ in range(3)]
    assert [r["view"] for r in choose_prompts(rows, 8)] == [view for view in VIEWS for _ in range(2)]
    with pytest.raises(ValueError, match="render more scenes"):
        choose_prompts(rows, 40)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: synthesis)")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "pleural", "effusion", "right", "left", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 384}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **small)).save_pretrained(folder)
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return str(folder)


def test_the_chain_runs_and_skips_what_is_there(bert, tmp_path, capsys):
    counts = ["--scenes=6", "--poses=1", "--prompts=4", "--workers=0"]
    lengths = ["--vqgan-epochs=1", "--steps=2", "--sampling-steps=1", "--classifier-epochs=1", "--detector-epochs=1"]
    main([f"--out={tmp_path}", f"--text-encoder={bert}", *counts, *lengths])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["drawn"]["images"] == results["rendered"]["images"] == 4 and results["train_images"] == 24
    assert len(list((tmp_path / "drawn/images").glob("*.png"))) == 4 and (tmp_path / "montage.png").stat().st_size > 0
    aside = len(proof_data.read_rows(tmp_path / "data/reports.csv", "test")) - 4
    assert results["drawn_aside"]["images"] == aside > 0
    assert set(results["boxes"]) == {"rendered", "with_boxes", "words"} and (tmp_path / "boxes.png").is_file()
    assert results["distances"]["frechet"] > 0
    told = capsys.readouterr().out
    assert "radiolucent fit --config" in told and "radiolucent synthesize --prompts" in told
    main([f"--out={tmp_path}", f"--text-encoder={bert}", *counts, *lengths])
    assert "radiolucent fit" not in capsys.readouterr().out
    again = json.loads((tmp_path / "results.json").read_text())["drawn"]
    assert json.dumps(again) == json.dumps(results["drawn"])  # NaN where too few were asked for
    for stage in ("vqgan", "diffusion"):  # a model that is given is judged without any training
        (tmp_path / stage / "done").unlink()
    given = [f"--out={tmp_path}", f"--text-encoder={bert}", f"--model={tmp_path / 'diffusion/model'}"]
    main([*given, *counts, *lengths])
    assert "radiolucent fit" not in capsys.readouterr().out

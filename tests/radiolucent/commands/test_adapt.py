"""`radiolucent adapt` on a site made of known pairs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion.networks.bone_unet import BoneUNet
from diffusion.networks.site_unet import SiteUNet
from diffusion.pipelines.regression import BoneRegressionPipeline
from lightning_modules.data.adaptation import SiteDataset, answered, load_site_pair, whole_pair
from radiographs import Pair, read_radiograph, write_radiograph
from radiolucent.cli import dispatch


def site_pair(seed: int, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A chest: bright walls and middle, two dark lungs with texture; in the radiograph ribs, and another tone."""
    import cv2

    rng = np.random.default_rng(seed)
    soft = np.full((side, side), 0.5, np.float32)
    soft[:4] = soft[:, :6] = soft[:, -6:] = -0.9
    for left, right in ((16, 42), (54, 80)):
        soft[14:80, left:right] = -0.5
    soft = cv2.GaussianBlur(soft, (0, 0), 2) + cv2.GaussianBlur(rng.normal(0, 0.3, soft.shape), (0, 0), 1.5).astype(
        "f4"
    )
    ribs = np.zeros_like(soft)
    for row in range(18, 80, 10):
        ribs[row : row + 4, 12:84] = 0.35
    return np.clip(soft + cv2.GaussianBlur(ribs, (0, 0), 0.7), -1, 1), np.clip(0.6 * soft + 0.2, -1, 1)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for number in range(4):
        for kind, image in zip(("CXR", "BS"), site_pair(number)):
            write_radiograph(folder / kind / f"{number}.png", image, 16)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    BoneRegressionPipeline(BoneUNet((8, 16), sigma=8.0), 2, 48).save_pretrained(folder)
    return folder


def test_adapting_gains_on_the_pair_held_out_and_says_so(site, start, tmp_path, capsys):
    out = tmp_path / "adapted"
    words = ["--checkpoint", str(start), "--out", str(out), "--steps", "24", "--lr", "1e-2"]
    assert dispatch(["adapt", str(site), *words]) == 0
    report = json.loads((out / "adaptation.json").read_text())
    assert report["pairs"] == 4 and len(report["held_out"]) == 1 and report["refitted_on_all"]
    assert abs(report["before"]["whole"]) < 0.2  # an untrained network takes nothing away
    assert report["after"]["whole"] > 1.5 and report["after"]["lungs"] > 1.0
    assert "adapted" in capsys.readouterr().out
    assert dispatch(["suppress", str(site / "CXR"), "--checkpoint", str(out), "--out", str(tmp_path / "soft")]) == 0
    radiograph, soft, result = (
        read_radiograph(path).pixels.ravel()
        for path in (site / "CXR" / "2.png", site / "BS" / "2.png", tmp_path / "soft" / "2.png")
    )
    left = [np.polyfit(image, soft, 1, full=True)[1][0] for image in (radiograph, result)]
    assert left[1] < 0.6 * left[0]


def test_a_training_that_ends_before_its_first_validation_is_measured_all_the_same(site, start, tmp_path):
    out = tmp_path / "adapted"
    assert dispatch(["adapt", str(site), "--checkpoint", str(start), "--out", str(out), "--steps", "3"]) == 0
    report = json.loads((out / "adaptation.json").read_text())
    assert report["steps"] == 3 and np.isfinite(report["after"]["whole"])


def test_what_is_no_pair_is_left_out_with_its_reason_and_negatives_are_turned(site, start, tmp_path, capsys):
    for kind, pictures in (("CXR", [0, 1, 2, 3]), ("BS", [0, 1, 2, 2])):
        for number, body in enumerate(pictures):
            image = site_pair(body)[kind == "BS"]
            image = np.roll(image, 9, axis=1) if (kind, number) == ("BS", 1) else image
            write_radiograph(tmp_path / "pairs" / kind / f"{number}.png", -image if number == 2 else image, 16)
    write_radiograph(tmp_path / "pairs/BS/3.png", site_pair(3)[0] * 0.8, 16)
    out = tmp_path / "out"
    words = ["--checkpoint", str(start), "--out", str(out), "--steps", "2", "--refit", "false"]
    assert dispatch(["adapt", str(tmp_path / "pairs"), *words]) == 1
    report = json.loads((out / "adaptation.json").read_text())
    assert report["pairs"] == 2 and set(report["skipped"]) == {"1.png", "3.png"}
    assert "register" in report["skipped"]["1.png"] and "radiograph itself" in report["skipped"]["3.png"]
    assert "skipped 1.png: its soft tissue lies 37 mm to the right" in capsys.readouterr().err
    turned, plain = (
        load_site_pair(Pair("", *(root / kind / "2.png" for kind in ("CXR", "BS"))))
        for root in (tmp_path / "pairs", site)
    )
    np.testing.assert_allclose(turned.radiograph, plain.radiograph, atol=1e-4)
    np.testing.assert_allclose(turned.soft, plain.soft, atol=1e-3)


def half(radiograph: np.ndarray) -> np.ndarray:
    """A model that finds a fifth of everything to be bone."""
    return 0.2 * radiograph


def test_what_is_missing_and_the_bone_make_the_soft_tissue_with_nodules_in_both(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    variants = answered(pair, half, 96, 3, 96, np.random.default_rng(0))
    assert len(variants) == 3
    for one in variants:
        np.testing.assert_allclose(one.radiograph_without, pair.radiograph, atol=1e-6)
        soft = [one.radiograph - one.bone - one.missing, pair.soft + one.added]
        clear = np.abs(soft[1]) < 0.95  # where nothing is cut off at white or black
        np.testing.assert_allclose(soft[0][clear], soft[1][clear], atol=1e-5)
        assert one.added.max() > 0.01
    assert not np.array_equal(variants[0].added, variants[1].added)


def test_items_are_turned_alike_and_depend_on_their_number_alone(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    data = SiteDataset([answered(pair, half, 96, 2, 96, np.random.default_rng(0))], 64, seed=0, length=8)
    for index in range(4):
        item = data[0, index]
        assert item["radiograph"].shape == (1, 64, 64) and item["objects"].max() > 0
        scale = torch.stack([item["radiograph_without"].flatten(), item["bone_without"].flatten()])
        assert torch.corrcoef(scale)[0, 1] > 0.99  # the bone is a fifth of it, under the same turn
        added = item["radiograph"] - item["radiograph_without"]
        assert added[item["objects"] > 0].mean() > 5 * added[item["objects"] == 0].abs().mean()
        assert torch.equal(item["missing"], data[0, index]["missing"])
    assert not torch.equal(data[0, 0]["radiograph"], data[1, 0]["radiograph"])


def test_a_soft_image_takes_the_radiographs_tone(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    expected = site_pair(0)[1]
    gain, offset = np.polyfit(expected.ravel(), pair.radiograph.ravel(), 1)
    np.testing.assert_allclose(pair.soft, gain * expected + offset, atol=1e-3)
    assert gain > 1.3  # the soft images were made with 0.6 of the radiograph's contrast


def test_a_whole_pair_lies_on_the_models_square(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    batch = whole_pair(replace(pair, **{n: getattr(pair, n)[:72] for n in ("radiograph", "soft", "lungs")}), half, 80)
    assert batch["radiograph"].shape == batch["soft"].shape == batch["lungs"].shape == (1, 1, 80, 80)
    assert torch.allclose(batch["bone"], 0.2 * batch["radiograph"])
    assert (batch["radiograph"][0, 0, :8] == -1).all() and not batch["lungs"][0, 0, :8].any()


def test_a_sites_model_is_refused_as_a_start(site, tmp_path):
    network = BoneUNet((8, 16), sigma=8.0)
    BoneRegressionPipeline(network, 2, 64, site=SiteUNet((8, 16), 32)).save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="is a site's already"):
        dispatch(["adapt", str(site), "--checkpoint", str(tmp_path / "ours"), "--out", str(tmp_path / "out")])


def test_what_cannot_be_adapted_is_refused(site, start, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out"), "--checkpoint", str(start)]
    few = tmp_path / "few"
    for number in range(1):
        for kind, image in zip(("CXR", "BS"), site_pair(number)):
            write_radiograph(few / kind / f"{number}.png", image, 8)
    with pytest.raises(ValueError, match="1 pairs; at least 2 are needed"):
        dispatch(["adapt", str(few), *out])
    with pytest.raises(ValueError, match="give PAIRS"):
        dispatch(["adapt", str(few), "--softs", str(few), *out])
    with pytest.raises(ValueError, match="--hold-out 4 of 4"):
        dispatch(["adapt", str(site), "--hold-out", "4", *out])
    with pytest.raises(ValueError, match="not empty"):
        dispatch(["adapt", str(site), "--checkpoint", str(start), "--out", str(site)])
    negative = tmp_path / "negative"
    for number in range(3):
        radiograph, soft = site_pair(number)
        write_radiograph(negative / "CXR" / f"{number}.png", radiograph, 8)
        write_radiograph(negative / "BS" / f"{number}.png", -soft, 8)
    with pytest.raises(ValueError, match="0 of 3 pairs can be used"):
        dispatch(["adapt", str(negative), *out])
    assert capsys.readouterr().err.count("do not go together") == 3

"""`radiolucent adapt` on a site made of known pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from diffusion.networks.bone_unet import BoneUNet
from diffusion.pipelines.regression import BoneRegressionPipeline
from lightning_modules.data.adaptation import SitePairDataset, load_site_pair, whole_pair
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
    BoneRegressionPipeline(BoneUNet((8, 16), sigma=8.0), 2, 64).save_pretrained(folder)
    return folder


def test_adapting_gains_on_the_pair_held_out_and_says_so(site, start, tmp_path, capsys):
    out = tmp_path / "adapted"
    words = ["--checkpoint", str(start), "--out", str(out), "--steps", "100", "--lr", "4e-3", "--workers", "0"]
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


def test_crops_differ_by_bone_alone_and_hold_nodules_in_both(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    data = SitePairDataset([pair], None, 0.0, 64, 96, seed=0, length=8)
    seen = 0
    for index in range(8):
        item = data[0, index]
        assert item["radiograph"].shape == (1, 64, 64) and bool(item["complete"])
        added, in_soft = (item[a] - item[b] for a, b in (("radiograph", "without"), ("soft", "soft_without")))
        if item["objects"].any():
            seen += 1
            inside = item["objects"] > 0
            assert added[inside].mean() > 3 * added[~inside].abs().mean()
            assert torch.corrcoef(torch.stack([added[inside], in_soft[inside]]))[0, 1] > 0.8
        assert torch.equal(item["radiograph"], data[0, index]["radiograph"])
    assert seen >= 4


def test_a_soft_image_takes_the_radiographs_tone(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    expected = site_pair(0)[1]
    gain, offset = np.polyfit(expected.ravel(), pair.radiograph.ravel(), 1)
    np.testing.assert_allclose(pair.soft, gain * expected + offset, atol=1e-3)
    assert gain > 1.3  # the soft images were made with 0.6 of the radiograph's contrast


def test_a_whole_pair_is_padded_to_what_the_network_divides(site):
    pair = load_site_pair(Pair("0.png", site / "CXR" / "0.png", site / "BS" / "0.png"))
    batch = whole_pair(pair, 80)
    assert batch["radiograph"].shape == batch["soft"].shape == (1, 1, 128, 128)


def test_what_cannot_be_adapted_is_refused(site, start, tmp_path):
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
    with pytest.raises(ValueError, match="do not go together"):
        dispatch(["adapt", str(negative), *out])

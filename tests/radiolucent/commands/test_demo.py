"""The demo, short: held-out bodies are new, the scores are what they say, the saved model suppresses any PNG."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from evaluation import suppression_scores
from radiographs import read_radiograph
from radiolucent.cli import dispatch
from radiolucent.commands.demo import SIZE, read_pairs
from radiolucent.rendering.demo_pairs import POSES_PER_BODY


def test_results_hold_every_score_and_stage(quick_demo):
    results = json.loads((quick_demo / "results.json").read_text())
    for method in ("do_nothing", "autoencoder_ceiling", "suppressed"):
        for metric in ("psnr", "psnr_fit", "ssim", "bsr_two_sided"):
            assert isinstance(results[f"{metric}_{method}"], float)
    stages = ("render", "train_vqgan", "train_diffusion", "suppress")
    assert all(results[f"seconds_{stage}"] > 0 for stage in stages)
    assert results["pairs_train"] == 2 * POSES_PER_BODY and results["pairs_held_out"] == POSES_PER_BODY


def test_held_out_bodies_are_new_and_doing_nothing_scores_what_the_pairs_say(quick_demo):
    pairs = quick_demo / "pairs"
    train, test = ((pairs / f"{name}_set.txt").read_text().split() for name in ("train", "test"))
    assert not {name.split("_")[0] for name in train} & {name.split("_")[0] for name in test}
    radiograph, soft = read_pairs(pairs, test)
    assert radiograph.shape == (POSES_PER_BODY, 1, SIZE, SIZE)
    assert (radiograph - soft).mean() > 0.01  # bone is bright
    scores = suppression_scores(radiograph, soft, radiograph)
    results = json.loads((quick_demo / "results.json").read_text())
    assert results["psnr_do_nothing"] == pytest.approx(scores["psnr"], abs=1e-3)


def test_montage_and_saved_model(quick_demo, tmp_path):
    with Image.open(quick_demo / "montage.png") as picture:
        assert picture.width > 4 * 2 * SIZE
    odd = tmp_path / "odd.png"
    Image.fromarray((torch.rand(90, 131) * 255).byte().numpy()).save(odd)
    checkpoint = str(quick_demo / "diffusion/model")
    assert (
        dispatch(["suppress", str(odd), "--checkpoint", checkpoint, "--out", str(tmp_path / "out"), "--steps", "2"])
        == 0
    )
    result = read_radiograph(tmp_path / "out/odd.png")
    assert result.pixels.shape == (90, 131) and result.bits == 8

"""`radiolucent synthesize --filter` with a CLIP, made here with random weights."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radiolucent.cli import dispatch

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: synthesis)")


@pytest.fixture(scope="module")
def clip(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP's folder for 32 x 32 pixels, a token a letter, that is quick to judge."""
    torch.manual_seed(0)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(stable_diffusion / "tokenizer")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(tokenizer), "max_position_embeddings": 40, "eos_token_id": len(tokenizer) - 1}
    config = transformers.CLIPConfig(
        text_config=text,
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        logit_scale_init_value=5.0,
    )
    folder = tmp_path_factory.mktemp("judge") / "clip"
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


def probability(clip: Path, picture: Path, descriptors: list[str]) -> float:
    """Of a finding, by transformers' own CLIP: the geometric mean over descriptors of a softmax of two sentences."""
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip)
    processor = transformers.CLIPImageProcessor.from_pretrained(clip)
    pixels = processor(Image.open(picture).convert("RGB"), return_tensors="pt")["pixel_values"]
    logs = []
    for text in descriptors:
        words = [f"There is {text}.", f"There is no {text}."]
        tokens = tokenizer(words, padding=True, truncation=True, max_length=40, return_tensors="pt")
        with torch.no_grad():
            logs.append(model(pixel_values=pixels, **tokens).logits_per_image[0].log_softmax(0)[0].item())
    return float(np.exp(np.mean(logs)))


def test_a_clip_judges_and_what_it_drops_is_listed(stable_diffusion: Path, clip: Path, tmp_path: Path) -> None:
    from evaluation.features.clip import DESCRIPTORS

    finding = "Pleural Effusion"
    lines = [f"effusion{'s' * i},{i}.png,\"{{'{finding}': {i % 2}, 'Enlarged hilum': 1}}\"\n" for i in range(6)]
    (tmp_path / "p.csv").write_text("prompt,name,labels_dict\n" + "".join(lines))
    out = tmp_path / "out"
    given = ["synthesize", "--prompts", str(tmp_path / "p.csv"), "--checkpoint", str(stable_diffusion), "--steps", "2"]
    assert dispatch([*given, "--out", str(out)]) == 0
    seen = {i: probability(clip, out / "images" / f"{i}.png", DESCRIPTORS[finding]) for i in range(6)}
    scores = {f"{i}.png": p if i % 2 else 1 - p for i, p in seen.items()}
    threshold = round(float(np.mean(sorted(scores.values())[2:4])), 4)
    words = ["--filter", str(clip), "--filter-threshold", str(threshold)]
    assert dispatch([*given, "--out", str(out), *words]) == 0
    with open(out / "dropped.csv", newline="") as file:
        dropped = {row["filename"]: row for row in csv.DictReader(file)}
    assert set(dropped) == {name for name, score in scores.items() if score < threshold} and len(dropped) == 3
    for name, row in dropped.items():
        assert float(row["score"]) == pytest.approx(scores[name], abs=1e-3)
        assert row["label"] == finding and row["wanted"] == str(int(name[0]) % 2)
        assert (out / "dropped" / name).is_file() and not (out / "images" / name).exists()
    with open(out / "metadata.csv", newline="") as file:
        kept = {row["filename"]: float(row["agreement"]) for row in csv.DictReader(file)}
    assert kept == pytest.approx({name: score for name, score in scores.items() if score >= threshold}, abs=1e-3)
    assert "3 of 6 images were dropped, since clip" in (out / "README.md").read_text()

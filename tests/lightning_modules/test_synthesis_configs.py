"""The tiny recipes of synthesis train from a CSV with a small text encoder; the folder they leave draws images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion import SynthesisPipeline, TextEncoder
from radiographs import write_radiograph
from radiolucent.cli import dispatch
from vqgan import VQGAN

transformers = pytest.importorskip("transformers")
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "synthesis"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "clear", "lungs", "nodule", "."]


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """Radiographs with reports and views, two a study; a text encoder; a VQ-GAN."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    with open(folder / "reports.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "report", "view", "patient", "study"])
        for i in range(8):
            image = rng.uniform(-0.9, 0.9, (4, 5)).repeat(16, 0).repeat(16, 1).astype(np.float32)
            write_radiograph(folder / f"{i}.png", image)
            report = "clear lungs ." if i % 4 < 2 else "nodule . " * 40
            table.writerow([f"{i}.png", report, ("PA", "LL")[i % 2], i // 2, i // 2])
    torch.manual_seed(0)
    bert = transformers.BertConfig(
        vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(bert).save_pretrained(folder / "bert")
    (folder / "bert" / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer.from_pretrained(folder / "bert").save_pretrained(folder / "bert")
    size = {"channels": 32, "channel_multipliers": (1,), "patch": 4, "residual_blocks": 1, "latent_channels": 4}
    VQGAN(**size, codebook_size=16, norm_groups=8).save_pretrained(folder / "vqgan")
    return folder


def fit(name, given, folder, *options) -> None:
    model, data = "--model.init_args", "--data.init_args"
    options = [
        f"{model}.text_encoder.init_args.source={given / 'bert'}",
        f"{model}.text_encoder.init_args.cache={folder / 'text'}",
        f"{model}.conditioner.init_args.text_width=16",
        f"{data}.root={given}",
        f"{data}.table={given / 'reports.csv'}",
        f"--trainer.default_root_dir={folder}",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        *options,
    ]
    assert dispatch(["fit", "--config", str(CONFIGS / name), *options]) == 0


@pytest.fixture(scope="module")
def teacher(given, tmp_path_factory) -> Path:
    """The folder of tiny.yaml's model."""
    folder = tmp_path_factory.mktemp("teacher")
    fit("tiny.yaml", given, folder, f"--model.init_args.vqgan={given / 'vqgan'}")
    return folder / "model"


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*tiny.yaml")))
def test_tiny_recipe_trains_and_its_folder_draws(name, given, teacher, tmp_path):
    distilled = name.startswith("consistency")
    fit(
        name,
        given,
        tmp_path,
        f"--model.init_args.vqgan={teacher / 'vqgan' if distilled else given / 'vqgan'}",
        *([f"--model.init_args.teacher={teacher}"] if distilled else []),
    )
    assert len(list((tmp_path / "text").rglob("*.safetensors"))) == 2
    pipe = SynthesisPipeline.from_pretrained(tmp_path / "model")
    pipe.set_progress_bar_config(disable=True)
    config = pipe.conditioner.config
    encoder = TextEncoder(config.text_encoder, config.text_length)
    assert encoder.fingerprint == config.text_fingerprint
    asked = encoder(["clear lungs .", "nodule ."])
    images = pipe(["PA", "LL"], *asked, num_inference_steps=1 if distilled else 2, seeds=[1, 2]).images
    assert images.shape == (2, 1, 64, 64)
    assert images.isfinite().all() and images.std() > 0.01
    assert not distilled or pipe.config.num_inference_steps == 4

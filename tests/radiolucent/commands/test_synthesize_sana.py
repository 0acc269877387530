"""Sana, the strongest in CheXGenBench, as a small random pipeline: Gemma2, DC-AE, a linear-attention transformer."""

from __future__ import annotations

import csv
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radiographs import read_radiograph
from radiolucent.cli import dispatch

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: synthesis)")
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def sana(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SanaPipeline's folder, 32 x 32 pixels, a token a letter."""
    from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler, SanaPipeline, SanaTransformer2DModel

    torch.manual_seed(0)
    tokenizer = letters()
    gemma = transformers.Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        head_dim=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    blocks = ("ResBlock", "EfficientViTBlock")
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=16,
        patch_size=1,
    )
    folder = tmp_path_factory.mktemp("model") / "sana"
    encoder = transformers.Gemma2Model(gemma)
    SanaPipeline(tokenizer, encoder, vae, transformer, FlowMatchEulerDiscreteScheduler(shift=3.0)).save_pretrained(
        folder
    )
    return folder


def letters() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {text: i for i, text in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *string.ascii_lowercase, "▁"])}
    tokenizer = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
    )


def synthesize(rows: list[str], checkpoint: Path, out: Path, *words: str) -> int:
    prompts = out.with_suffix(".csv")
    prompts.write_text("annotated_prompt,img_savename,seed\n" + "".join(f"{row}\n" for row in rows))
    given = ["--prompts", str(prompts), "--checkpoint", str(checkpoint), "--out", str(out), "--steps", "2"]
    return dispatch(["synthesize", *given, *words])


def test_sana_draws_what_diffusers_draws_whatever_the_batch(sana: Path, tmp_path: Path) -> None:
    from diffusers import SanaPipeline

    rows = ["edema,a.png,1", "edema,b.png,2", "clear lungs,c.png,3", "effusion,d.png,4", "nodule,e.png,5"]
    found = []
    for size in ("1", "3", "8"):
        assert synthesize(rows, sana, tmp_path / size, "--batch-size", size, "--bits", "16") == 0
        found.append({path.name: path.read_bytes() for path in (tmp_path / size / "images").iterdir()})
    assert found[0] == found[1] == found[2] and len(set(found[0].values())) == 5
    assert "| guidance | text 4.5 |" in (tmp_path / "1" / "README.md").read_text()
    pipeline = SanaPipeline.from_pretrained(sana)
    for name, text, seed in (("b", "edema", 2), ("c", "clear lungs", 3)):
        colour = pipeline(
            text,
            num_inference_steps=2,
            height=32,
            width=32,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            use_resolution_binning=False,
        ).images[0]
        pixels = read_radiograph(tmp_path / "1" / "images" / f"{name}.png").pixels
        np.testing.assert_allclose(pixels, colour @ LUMA * 2 - 1, atol=1e-4)


def test_a_text_longer_than_sana_reads_is_set_aside(sana: Path, tmp_path: Path) -> None:
    rows = [f"{'a' * 297},fits,1", f"{'a' * 298},long,1"]  # with the beginning and the space in front, 299 and 300
    assert synthesize(rows, sana, tmp_path / "out") == 1
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        (error,) = csv.DictReader(file)
    assert error["input"] == "long.png" and "300 tokens and the encoder takes 299" in error["reason"]
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["fits.png"]


def test_lora_on_sana(sana: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    from diffusers import SanaPipeline
    from peft.utils import get_peft_model_state_dict

    pipeline = SanaPipeline.from_pretrained(sana)
    pipeline.transformer.add_adapter(
        peft.LoraConfig(r=2, target_modules=["to_q", "to_v", "to_out.0"], init_lora_weights=False)
    )
    SanaPipeline.save_lora_weights(
        tmp_path / "lora", transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer)
    )
    (weights,) = (tmp_path / "lora").glob("*.safetensors")
    pictures = []
    for name, words in {"without": [], "nothing": ["--lora-scale", "0"], "with": []}.items():
        lora = [] if name == "without" else ["--lora", str(weights)]
        assert synthesize(["edema,a,1"], sana, tmp_path / name, *lora, *words) == 0
        pictures.append(read_radiograph(tmp_path / name / "images" / "a.png").pixels)
    without, nothing, changed = pictures
    assert np.abs(nothing - without).max() <= 2.01 / 255
    assert np.abs(changed - without).max() > 4 / 255

"""Text-to-image folders of diffusers as the generator of `radiolucent synthesize`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from radiographs import read_radiograph
from radiolucent.cli import dispatch


def write_prompts(path: Path, rows: list[dict[str, Any]]) -> str:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def synthesize(prompts: str, checkpoint: Path, out: Path, *words: str) -> int:
    given = ["--prompts", prompts, "--checkpoint", str(checkpoint), "--out", str(out), "--steps", "2"]
    return dispatch(["synthesize", *given, *words])


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_text_is_encoded_once_per_distinct_prompt(stable_diffusion: Path) -> None:
    from radiolucent.synthesis.diffusers_generator import DiffusersGenerator
    from radiolucent.synthesis.generators import GeneratorOptions
    from radiolucent.synthesis.prompts import Row

    generator = DiffusersGenerator(GeneratorOptions(str(stable_diffusion), 1, (("", 2.0),), template="{view} {prompt}"))
    calls: list[int] = []
    generator.pipeline.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    rows = [Row(f"{i}.png", "edema.", "PA" if i < 3 else "AP", i) for i in range(5)]
    images = np.concatenate([generator.generate(rows[:2]), generator.generate(rows[2:])])
    assert len(calls) == 4  # "PA edema." and "AP edema.", each beside the empty negative prompt
    assert images.shape == (5, 32, 32) and -1 <= images.min() < images.max() <= 1


def test_pixart_and_its_longer_texts(pixart: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a" * 250, "name": "a"}, {"prompt": "a" * 400, "name": "b"}, {"prompt": "edema", "name": "c"}]
    prompts = write_prompts(tmp_path / "p.csv", rows)
    assert synthesize(prompts, pixart, tmp_path / "out") == 1
    (error,) = table(tmp_path / "out" / "errors.csv")
    assert error["input"] == "b.png" and "the encoder takes 300" in error["reason"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| guidance | text 4.5 |" in card and "| model | pixart |" in card
    assert read_radiograph(tmp_path / "out" / "images" / "c.png").pixels.shape == (16, 16)


def test_lora_changes_the_images_by_its_scale(stable_diffusion: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    pipeline = StableDiffusionPipeline.from_pretrained(stable_diffusion)
    pipeline.unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "lora", unet_lora_layers=get_peft_model_state_dict(pipeline.unet), safe_serialization=True
    )
    (weights,) = (tmp_path / "lora").glob("*.safetensors")
    prompts = write_prompts(tmp_path / "p.csv", [{"prompt": "edema.", "name": "a"}])
    pictures = {}
    for name, words in {
        "without": [],
        "nothing": ["--lora", str(weights), "--lora-scale", "0"],
        "with": ["--lora", str(weights)],
    }.items():
        assert synthesize(prompts, stable_diffusion, tmp_path / name, *words) == 0
        pictures[name] = np.array(Image.open(tmp_path / name / "images" / "a.png")).astype(int)
    assert np.abs(pictures["nothing"] - pictures["without"]).max() <= 1
    assert np.abs(pictures["with"] - pictures["without"]).max() > 3


def test_a_lora_some_of_which_has_no_place_is_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="PEFT is not installed")
    from safetensors.torch import load_file, save_file

    lora = {}
    for key, value in load_file(next((stable_diffusion / "unet").glob("*.safetensors"))).items():
        if key.endswith("to_q.weight"):
            layer = f"unet.{key.removesuffix('.weight')}"
            lora |= {f"{layer}.lora_A.weight": torch.randn(2, value.shape[1])}
            lora |= {f"{layer}.lora_B.weight": torch.randn(value.shape[0], 2)}
    count, first = len(lora), next(iter(lora))
    half = dict(list(lora.items())[: count // 2])
    others = {
        "peft": ({f"base_model.model.{k}": v for k, v in lora.items()}, f"{count} of its {count} tensors"),
        "layers": (half | {k.replace("unet.", "unet.more."): v for k, v in lora.items()}, f"{count} of its"),
        "text": (
            lora | {k.replace("unet.", "text_encoder_2."): v for k, v in lora.items()},
            f"{count} of its {2 * count}",
        ),
        "size": (lora | {first: torch.randn(2, 5)}, "it does not fit this StableDiffusionPipeline"),
        "nan": ({k: v * float("nan") for k, v in lora.items()}, "not finite numbers"),
    }
    prompts = write_prompts(tmp_path / "p.csv", [{"prompt": "edema.", "name": "a"}])
    for name, (tensors, message) in others.items():
        save_file({key: value.clone() for key, value in tensors.items()}, tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=message):
            synthesize(prompts, stable_diffusion, tmp_path / name, "--lora", str(tmp_path / f"{name}.safetensors"))
        assert not (tmp_path / name / "images").exists()


def test_the_picture_is_what_diffusers_draws(stable_diffusion: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    rows = [{"prompt": "edema.", "filename": "a.jpg", "seed": 7}, {"prompt": "edema.", "filename": "b", "seed": 8}]
    prompts = write_prompts(tmp_path / "p.csv", rows)
    assert synthesize(prompts, stable_diffusion, tmp_path / "out", "--guidance", "3", "--bits", "16") == 0
    pipeline = StableDiffusionPipeline.from_pretrained(stable_diffusion)
    images = pipeline(
        ["edema."] * 2,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)],
        output_type="np",
    ).images
    for name, colour in zip("ab", images):
        grey = colour @ np.array([0.299, 0.587, 0.114])
        found = read_radiograph(tmp_path / "out" / "images" / f"{name}.png")
        assert found.bits == 16
        np.testing.assert_allclose(found.pixels, grey * 2 - 1, atol=1e-4)
    assert np.abs(images[0] - images[1]).max() > 0.05  # the seeds


def test_pickled_weights_and_other_pipelines_are_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.csv", [{"prompt": "a"}])
    shutil.copytree(stable_diffusion, tmp_path / "pickled")
    weights = tmp_path / "pickled" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match="pickled"):
        synthesize(prompts, tmp_path / "pickled", tmp_path / "out")
    for name, message in {
        "BoneSuppressionPipeline": "neither a SynthesisPipeline nor one of diffusers'",
        "StableDiffusionUpscalePipeline": "does not draw images from text alone",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_index.json").write_text(json.dumps({"_class_name": name}))
        with pytest.raises(ValueError, match=message):
            synthesize(prompts, tmp_path / name, tmp_path / "out")

"""Alignment and descriptive observations: known embeddings, and a CLIP made here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evaluation.features.clip import Clip, alignment, observations
from evaluation.features.extract import Reading
from evaluation.inputs import read_set
from radiographs import write_radiograph


def test_alignment_of_known_embeddings():
    axes = np.eye(8)
    prompts = [f"prompt {i}" for i in range(8)]
    found = alignment(axes, axes, prompts)
    assert (found["own"] == 1).all() and (found["others"] == 0).all() and found["first"].all()
    rolled = alignment(axes, np.roll(axes, 1, axis=0), prompts)
    assert (rolled["own"] == 0).all() and not rolled["first"].any()
    assert rolled["others"] == pytest.approx(np.full(8, 1 / 7))
    twice = alignment(axes[[0, 0, 1]], axes[[0, 0, 1]], ["a", "a", "b"])
    assert twice["first"].all()  # the same prompt of another image is no competitor


def test_observations_are_geometric_means_of_softmaxes():
    def embed(texts):
        return np.array([[0.3 if " no " in t else 0.4, 1.0] for t in texts])

    images = np.array([[1.0, 0.0], [-1.0, 0.0]])
    found = observations(images, embed, {"Edema": ["haze", "Kerley lines"]}, scale=10)
    assert found["Edema"] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


def test_clip_embeds_as_transformers_does(tmp_path, tiny_clip):
    import transformers

    ramp = np.linspace(-1, 1, 32, dtype=np.float32)[None].repeat(32, 0)
    for i in range(3):
        write_radiograph(tmp_path / "set" / f"{i}.png", ramp * (i - 1), 16)
    clip = Clip(str(tiny_clip))
    images = clip.images(read_set(tmp_path / "set"), Reading(batch_size=2))
    texts = clip.texts(["clear lungs.", "edema, and a very long report " * 10])
    model = transformers.CLIPModel.from_pretrained(tiny_clip).eval()
    pixels = (
        torch.from_numpy((ramp + 1) / 2).expand(1, 3, 32, 32)
        - torch.tensor(transformers.image_utils.OPENAI_CLIP_MEAN)[:, None, None]
    ) / torch.tensor(transformers.image_utils.OPENAI_CLIP_STD)[:, None, None]
    tokens = transformers.CLIPTokenizer.from_pretrained(tiny_clip)(["clear lungs."], return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=pixels.float(), **tokens)
    assert np.allclose(images[2], output.image_embeds[0], atol=1e-3)  # 16-bit levels
    assert np.allclose(texts[0], output.text_embeds[0], atol=1e-5)
    assert np.allclose(np.linalg.norm(texts, axis=1), 1)


def test_open_clip_embeds_as_it_does_itself(tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed (extra: evaluation)")
    folder = tmp_path / "open"
    folder.mkdir()
    vision = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    asked = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": asked}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.CLIP(**config["model_cfg"]).eval()
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    ramp = np.linspace(-1, 1, 32, dtype=np.float32)[None].repeat(32, 0)
    write_radiograph(tmp_path / "set" / "0.png", ramp, 16)
    clip = Clip(str(folder))
    pixels = (torch.from_numpy((ramp + 1) / 2) - torch.tensor(asked["mean"])[:, None, None]) / torch.tensor(
        asked["std"]
    )[:, None, None]
    with torch.no_grad():
        image = model.encode_image(pixels[None].float(), normalize=True)
        words = model.encode_text(open_clip.tokenize(["edema of the lungs"], 16), normalize=True)
    assert np.allclose(clip.images(read_set(tmp_path / "set")), image, atol=1e-3)  # 16-bit levels
    assert np.allclose(clip.texts(["edema of the lungs"]), words, atol=1e-5)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match="open_clip could not load it"):
        Clip(str(folder))


def test_a_model_without_text_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: evaluation)")

    config = transformers.Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="Dinov2Model has no text tower"):
        Clip(str(tmp_path / "m"))

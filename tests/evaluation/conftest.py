"""Small networks with random weights, saved as users have them."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import torch


@pytest.fixture
def tiny_clip(tmp_path) -> Path:
    """A CLIP's folder, with a letter-by-letter tokenizer."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: evaluation)")
    folder = tmp_path / "clip"
    folder.mkdir()
    letters = list(string.ascii_lowercase + ".,")
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    names = str(folder / "vocab.json"), str(folder / "merges.txt")
    transformers.CLIPTokenizer(*names, model_max_length=40).save_pretrained(folder)
    end = len(tokens) - 1
    text = {"vocab_size": len(tokens), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 40, "eos_token_id": end, "bos_token_id": end - 1}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**sizes).save_pretrained(folder)
    return folder

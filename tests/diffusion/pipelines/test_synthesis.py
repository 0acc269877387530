"""SynthesisPipeline: guidance, seeds, batches of any size, folders."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel

from diffusion import Conditioner, LatentDiT, SynthesisPipeline, ThresholdedDDIMScheduler

VIEWS = ["PA", "AP", "LL", "LATERAL", None, "PA", "AP", "RL"]


def build(autoencoder, kind: str, images: int = 0, regions: int = 0) -> SynthesisPipeline:
    torch.manual_seed(0)
    conditioner = Conditioner(width=16, text_width=6, text_length=5, demographics=True, images=images, regions=regions)
    if kind == "unet":
        network = UNet2DConditionModel(
            sample_size=8,
            in_channels=4 * (1 + images) + regions,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
            norm_num_groups=4,
            cross_attention_dim=16,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=16,
        )
        scheduler = ThresholdedDDIMScheduler(prediction_type="v_prediction")
    else:
        network = LatentDiT(4, 4 * images + regions, width=16, depth=2, heads=2, cross_attention_dim=16)
        for parameter in network.parameters():  # a new one starts as zero
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    pipe = SynthesisPipeline(autoencoder, network, scheduler, conditioner, image_size=16)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call(pipe, rows, **options):
    """The images of some rows of one fixed table of eight, each by its own seed."""
    generator = torch.Generator().manual_seed(3)
    embeddings, mask = torch.randn(8, 4, 6, generator=generator), torch.rand(8, 4, generator=generator) < 0.6
    others = torch.rand(8, 2, 1, 16, 16, generator=generator) * 2 - 1
    views = [["PA", None], [None, None], ["LL", "AP"], [None, "RL"]] * 2
    has_images = pipe.conditioner.config.images > 0
    return pipe(
        [VIEWS[i] for i in rows],
        embeddings[rows],
        mask[rows],
        [{"age": 10.0 * i, "sex": "FM"[i % 2]} for i in rows],
        others[rows] if has_images else None,
        [views[i] for i in rows] if has_images else None,
        **{"num_inference_steps": 3, "guidance": {"view": 2, "report": 3}, "seeds": [100 + i for i in rows], **options},
    ).images


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_an_image_depends_on_its_row_and_seed_alone(autoencoder, kind, images):
    pipe = build(autoencoder, kind, images)
    whole = call(pipe, list(range(8)))
    assert whole.std() > 0.05
    one_by_one = torch.cat([call(pipe, [i]) for i in range(8)])
    in_threes = torch.cat([call(pipe, rows) for rows in ([6, 7, 0], [1, 2, 3], [4, 5])])
    assert torch.equal(whole, one_by_one)
    assert torch.equal(whole[[6, 7, 0, 1, 2, 3, 4, 5]], in_threes)


def test_a_fuller_lot_gives_the_same_image_but_for_rounding(autoencoder):
    pipe = build(autoencoder, "unet")
    one, three = call(pipe, [0, 1, 2, 3]), call(pipe, [0, 1, 2, 3], micro_batch=3)
    assert torch.allclose(one, three, atol=1e-4)


@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_guidance_one_is_conditional_and_zero_unconditional(autoencoder, kind):
    pipe = build(autoencoder, kind, images=2)
    names = pipe.conditioner.conditions
    assert names == ("image", "view", "demographics", "report")
    conditional = call(pipe, [0, 2], guidance=None)
    assert torch.equal(call(pipe, [0, 2], guidance=dict.fromkeys(names, 1)), conditional)
    unconditional = pipe([None, None], num_inference_steps=3, seeds=[100, 102]).images
    assert torch.equal(call(pipe, [0, 2], guidance=dict.fromkeys(names, 0)), unconditional)
    assert (conditional - unconditional).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_every_condition_and_the_seed_reach_the_image(autoencoder, kind):
    pipe = build(autoencoder, kind, images=2)
    usual = call(pipe, [0], guidance=None)
    for name in pipe.conditioner.conditions:
        changed = call(pipe, [0], guidance=dict.fromkeys(("image", "view", "demographics", "report"), 1) | {name: 4})
        assert (changed - usual).abs().max() > 1e-5, name
    assert (call(pipe, [0], seeds=[7]) - usual).abs().max() > 1e-2


def test_folder_gives_the_same_image(autoencoder, tmp_path):
    pipe = build(autoencoder, "dit", images=2)
    pipe.save_pretrained(tmp_path)
    again = SynthesisPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.size_multiple == 4
    assert again.config.image_size == 16
    assert torch.equal(call(again, [2, 3]), call(pipe, [2, 3]))


def test_any_size_that_the_networks_divide(autoencoder):
    pipe = build(autoencoder, "unet")
    assert pipe(["PA"], num_inference_steps=2, size=(24, 32)).images.shape == (1, 1, 24, 32)
    assert pipe([], num_inference_steps=2).images.shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ["XX"]}, "the view is 'XX'; expected one of PA, AP"),
        ({"seeds": [1, 2]}, "1 images were asked for with 2 seeds"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"size": (18, 16)}, "the size is 18 x 16; this model needs multiples of 4"),
        ({"guidance": {"text": 2}}, "guidance names text"),
        ({"images": torch.zeros(1, 2, 1, 8, 8)}, r"expected \(B, K, 1, 16, 16\)"),
        ({"images": torch.full((1, 2, 1, 16, 16), 255.0)}, r"values run from 255 to 255; expected \[-1, 1\]"),
    ],
)
def test_bad_calls_are_said(autoencoder, options, message):
    with pytest.raises(ValueError, match=message):
        build(autoencoder, "unet")(**{"views": ["PA"], **options})


def test_bad_folders_and_parts_are_said(autoencoder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        SynthesisPipeline.from_pretrained(tmp_path)
    pipe = build(autoencoder, "dit")
    pipe.save_pretrained(tmp_path)
    (tmp_path / "conditioner" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"conditioner lacks \*\.safetensors"):
        SynthesisPipeline.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"16 wide .* and the conditioner makes them 8 wide"):
        SynthesisPipeline(autoencoder, pipe.unet, pipe.scheduler, Conditioner(width=8))
    with pytest.raises(ValueError, match=r"takes 0 channels .* with 1 other views and 0 maps of .* take 4"):
        SynthesisPipeline(autoencoder, pipe.unet, pipe.scheduler, Conditioner(width=16, images=1))


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_places_of_findings_change_their_image_alone(autoencoder, kind, images):
    pipe = build(autoencoder, kind, images, regions=5)
    maps = torch.zeros(3, 5, 4, 4)
    maps[1, 0, 2:, 2:] = 1
    nowhere, somewhere = call(pipe, [0, 1, 2]), call(pipe, [0, 1, 2], regions=maps)
    assert torch.equal(nowhere[[0, 2]], somewhere[[0, 2]]) and not torch.allclose(nowhere[1], somewhere[1], atol=1e-3)
    finer = torch.nn.functional.interpolate(maps, scale_factor=4)
    assert torch.allclose(somewhere, call(pipe, [0, 1, 2], regions=finer), atol=1e-5)
    strong = call(pipe, [0, 1, 2], regions=maps, guidance={"region": 3})
    assert not torch.allclose(strong[1], call(pipe, [0, 1, 2], regions=maps, guidance={})[1], atol=1e-3)


def test_places_that_cannot_be_are_refused(autoencoder):
    with pytest.raises(ValueError, match="this model takes none"):
        call(build(autoencoder, "unet"), [0], regions=torch.zeros(1, 5, 4, 4))
    pipe = build(autoencoder, "unet", regions=5)
    for maps, said in ((torch.zeros(2, 5, 4, 4), "needs"), (torch.full((1, 5, 4, 4), 2.0), "expected .0, 1.")):
        with pytest.raises(ValueError, match=said):
            call(pipe, [0], regions=maps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 3}, r"seeds is 3; expected a list"),
        ({"seeds": [-1]}, r"seeds is \[-1\]; expected a list with a whole number from 0"),
        ({"seeds": [2**63]}, "expected a list with a whole number"),
        ({"seeds": [0.5]}, "expected a list with a whole number"),
        ({"guidance": "much"}, "guidance is 'much'; expected {condition: scale}"),
        ({"guidance": [3.0]}, r"guidance is \[3.0\]; expected"),
        ({"guidance": {"view": float("nan")}}, "with finite numbers"),
        ({"guidance": {"view": "3"}}, "with finite numbers"),
        ({"regions": [[0.0]]}, "regions is a list; expected a tensor, or a numpy array"),
        ({"images": "film.png"}, "images is a str; expected a tensor"),
        ({"embeddings": [1.0]}, "embeddings is a list; expected a tensor"),
        ({"size": 16}, r"size is 16; expected \(height, width\)"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5 .* whole numbers"),
        ({"micro_batch": "1"}, "whole numbers of 1 or more"),
        ({"views": 3}, "view is 3; expected a text, or a list"),
        ({"prompt": 3}, "prompt is 3; expected a text, or a list"),
        ({"prompt": [3]}, "prompt is .3.; expected a text, or a list"),
    ],
)
def test_slips_of_the_pen_are_said(autoencoder, options, message):
    with pytest.raises(ValueError, match=message):
        build(autoencoder, "unet")(**{"views": ["PA"], **options})


def test_a_number_is_the_reports_guidance_and_arrays_are_taken(autoencoder):
    pipe = build(autoencoder, "unet", images=2, regions=5)
    regions = torch.zeros(1, 5, 4, 4)
    regions[0, 1, 1:3, 1:3] = 1
    expected = call(pipe, [0], guidance={"report": 3.0}, regions=regions)
    found = call(pipe, [0], guidance=3.0, regions=regions.double().numpy(), seeds=torch.tensor([100]))
    assert torch.equal(found, expected)
    assert not torch.equal(call(pipe, [0], guidance=1, regions=regions), expected)
    made = SynthesisPipeline(pipe.vqgan, pipe.unet, pipe.scheduler, pipe.conditioner, guidance=3.0)
    assert made.config["guidance"] == {"report": 3.0}
    with pytest.raises(ValueError, match="guidance is 'much'"):
        SynthesisPipeline(pipe.vqgan, pipe.unet, pipe.scheduler, pipe.conditioner, guidance="much")

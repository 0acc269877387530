"""VQGAN: learns, saves and loads as a folder alone and inside a pipeline, and says what is wrong with an input."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DModel

from vqgan import VQGAN, HybridLoss

TINY = {"channels": 32, "channel_multipliers": (1, 2), "residual_blocks": 1, "codebook_size": 64, "norm_groups": 8}


class SmallPipeline(DiffusionPipeline):
    def __init__(self, vqgan, scheduler):
        super().__init__()
        self.register_modules(vqgan=vqgan, scheduler=scheduler)


def smooth_images(count: int, side: int) -> torch.Tensor:
    """Slowly varying images in [-1, 1], each different."""
    torch.manual_seed(1)
    coarse = torch.rand(count, 1, 4, 4) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(-1, 1)


def test_overfits_one_batch():
    images = smooth_images(4, 32)
    torch.manual_seed(0)
    model, loss = VQGAN(**TINY | {"channel_multipliers": (1,)}, patch=4, usage_decay=0.9), HybridLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(100):
        reconstruction, codebook_loss, _ = model(images)
        total, parts = loss(reconstruction, images, codebook_loss)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    spread = (images - images.mean()).abs().mean().item()
    assert parts["pixel"].item() < 0.15 * spread


@pytest.mark.parametrize(
    ("patch", "multipliers", "f"), [(1, (1,), 1), (1, (1, 2), 2), (2, (1, 2), 4), (2, (1, 2, 4), 8)]
)
def test_downsampling(patch, multipliers, f):
    model = VQGAN(**TINY | {"channel_multipliers": multipliers}, patch=patch, latent_channels=3)
    assert model.downsampling == f
    z = model.encode(torch.zeros(1, 1, 32, 16))
    assert z.shape == (1, 3, 32 // f, 16 // f)
    assert model.decode(z).shape == (1, 1, 32, 16)


def test_attention_equals_taming():
    from taming.modules.diffusionmodules.model import AttnBlock

    from vqgan.encoder_decoder import Attention

    torch.manual_seed(0)
    ours, theirs = Attention(32), AttnBlock(32)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 32, 5, 7)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_attention_is_taken_out_unless_asked_for():
    def attentions(**options) -> int:
        return sum("Attention" in type(module).__name__ for module in VQGAN(**TINY, **options).modules())

    assert attentions() == 0
    assert attentions(attention=True) == 2
    assert attentions(attention=True, attention_resolutions=(16,), resolution=32) == 2 + 1 + 2


def test_building_prints_nothing(capsys):
    VQGAN(**TINY)
    assert capsys.readouterr().out == ""


def test_a_saved_folder_gives_the_same_outputs(tmp_path):
    torch.manual_seed(0)
    model = VQGAN(**TINY, scaling_factor=0.7).train()
    x = torch.randn(1, 1, 32, 32)
    model(x)  # the first batch sets the codebook
    model.eval().save_pretrained(tmp_path)
    loaded = VQGAN.from_pretrained(tmp_path)
    for ours, theirs in zip(model(x), loaded(x)):
        assert torch.equal(ours, theirs)
    assert loaded.config.scaling_factor == 0.7
    assert torch.equal(loaded.quantizer.usage, model.quantizer.usage)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["config.json", "diffusion_pytorch_model.safetensors"]


@pytest.mark.parametrize("shortcut", [False, True])
def test_half_precision_weights_give_nearly_the_same_image(shortcut):
    torch.manual_seed(0)
    model = VQGAN(**TINY, shortcut=shortcut)
    image = smooth_images(1, 32)
    with torch.no_grad():
        model(image)  # the first batch sets the codebook
        z = model.eval().encode(image)
        expected = model.decode(z)
        half = model.to(torch.bfloat16)
        assert half(image.bfloat16())[0].dtype == torch.bfloat16
        error = (half.decode(z).float() - expected).abs().max()
    assert error < 0.03 * expected.abs().max()


def test_saves_and_loads_inside_a_pipeline(tmp_path):
    torch.manual_seed(0)
    model = VQGAN(**TINY).eval()
    SmallPipeline(model, DDIMScheduler()).save_pretrained(tmp_path)
    loaded = SmallPipeline.from_pretrained(tmp_path).vqgan
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(loaded(x)[0], model(x)[0])


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 3, 32, 32), r"shape \(1, 3, 32, 32\), expected \(B, 1, H, W\)"),
        ((1, 32, 32), r"shape \(1, 32, 32\), expected"),
        ((1, 1, 30, 33), r"30x33 pixels, but both sides must be multiples of 2"),
    ],
)
def test_a_wrong_image_is_named(shape, says):
    with pytest.raises(ValueError, match=says):
        VQGAN(**TINY).encode(torch.zeros(shape))


def test_wrong_channels_and_groups_are_named():
    with pytest.raises(ValueError, match="channels=48 and norm_groups=32"):
        VQGAN(channels=48)
    with pytest.raises(ValueError, match="channels=32 and norm_groups=5"):
        VQGAN(channels=32, norm_groups=5)


def test_a_folder_of_another_model_is_named(tmp_path):
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
    )
    unet.save_pretrained(tmp_path / "unet")
    with pytest.raises(ValueError, match="holds a UNet2DModel, not a VQGAN"):
        VQGAN.from_pretrained(tmp_path / "unet")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with pytest.raises(FileNotFoundError, match=r"is neither a folder with a config\.json"):
            VQGAN.from_pretrained(tmp_path / name)

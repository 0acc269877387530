"""Whole pickled modules (BS-LDM, GL-LCM, DeBoneDiT, BS-Diff's dict): our outputs against the foreign module's."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "foreign"))

from foreign_guided_unet import UNetModel
from foreign_sit import SiT

from diffusion import BoneSuppressionPipeline, LatentDiT, PixelSpace
from diffusion.networks.multihead import MultiheadUNet
from radiolucent import __version__
from radiolucent.cli import dispatch
from vqgan.vqvae import ConvolutionalVQVAE

TIMES = torch.tensor([3, 720])


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every floating parameter drawn anew, so that zero-initialised layers count; norms near their usual values."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                spread = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn_like(parameter) * spread + (parameter.ndim < 2) * 0.5)
    return module.eval()


def vqvae(codes: int = 16) -> torch.nn.Module:
    nets = pytest.importorskip("generative.networks.nets", reason="monai-generative is not installed")
    return randomise(
        nets.VQVAE(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            num_channels=(8, 16),
            num_res_channels=12,
            num_res_layers=2,
            downsample_parameters=((2, 4, 1, 1),) * 2,
            upsample_parameters=((2, 4, 1, 1, 0),) * 2,
            num_embeddings=codes,
            embedding_dim=4,
        )
    )


def unet(**options) -> UNetModel:
    """BS-LDM's U-Net, small: 8 heads at 32 and at 64 channels, which no single head size gives."""
    return randomise(
        UNetModel(
            image_size=16,
            in_channels=8,
            model_channels=32,
            out_channels=8,
            num_res_blocks=2,
            attention_resolutions=(64, 2, 4),
            channel_mult=(1, 1, 2),
            num_heads=8,
            use_scale_shift_norm=True,
            resblock_updown=True,
            **options,
        )
    )


def convert(*words) -> None:
    assert dispatch(["convert-checkpoint", *map(str, words)]) == 0


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max().clamp(min=1)), rtol=0)


def compare_autoencoder(ours, theirs, size: int = 32) -> None:
    torch.manual_seed(1)
    image = torch.rand(2, 1, size, size) * 2 - 1
    with torch.no_grad():
        z = theirs.encode(image)
        close(ours.encode(image), z)
        close(ours.quantize(z)[0], theirs.quantize(z)[0])
        close(ours.decode(theirs.quantize(z)[0]), theirs.decode(theirs.quantize(z)[0]))
    assert torch.equal(ours.quantizer.usage, torch.full_like(ours.quantizer.usage, 1 / len(ours.quantizer.usage)))


@torch.no_grad()
def compare_unet(ours, theirs, channels: int = 8, size: int = 16) -> None:
    torch.manual_seed(2)
    x = torch.randn(2, channels, size, size)
    close(ours(x, TIMES).sample, theirs(x, TIMES)[:, : channels // 2])


def test_bs_ldm_becomes_a_pipeline(tmp_path, capsys):
    theirs = vqvae()
    torch.save(theirs, tmp_path / "2024-02-13-VQGAN.pth")
    torch.save(unet(), tmp_path / "ldm-final.pth")
    convert(tmp_path / "2024-02-13-VQGAN.pth", "--kind", "bs-ldm", "--allow-pickle", "--out", tmp_path / "vq")
    compare_autoencoder(ConvolutionalVQVAE.from_pretrained(tmp_path / "vq"), theirs)
    out = tmp_path / "model"
    convert(
        *(tmp_path / "ldm-final.pth", "--kind", "bs-ldm", "--allow-pickle"), *("--vqgan", tmp_path / "vq", "--out", out)
    )
    assert "pipeline" in capsys.readouterr().out
    pipeline = BoneSuppressionPipeline.from_pretrained(out)
    assert isinstance(pipeline.unet, MultiheadUNet)
    assert pipeline.unet.config["sample_size"] == 16
    assert pipeline.config["condition_scaling"] == "legacy"
    compare_unet(pipeline.unet, unet())
    soft = pipeline(torch.zeros(1, 1, 32, 32), num_inference_steps=2).soft
    assert soft.shape == (1, 1, 32, 32) and soft.std() > 0
    origin = json.loads((out / "converted_from.json").read_text())
    sha = hashlib.sha256((tmp_path / "ldm-final.pth").read_bytes()).hexdigest()
    assert origin == {
        "source": "ldm-final.pth",
        "sha256": sha,
        "kind": "bs-ldm",
        "read": "restricted unpickler",
        "radiolucent": __version__,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2024-02-13-VQGAN.pth", "ldm-final.pth", "model", "vq"]


def test_gl_lcm_splits_the_attention_in_the_new_order(tmp_path):
    theirs = unet(use_new_attention_order=True)
    torch.save(torch.nn.DataParallel(theirs), tmp_path / "lcm.pth")
    convert(tmp_path / "lcm.pth", "--kind", "gl-lcm", "--allow-pickle", "--out", tmp_path / "out")
    compare_unet(MultiheadUNet.from_pretrained(tmp_path / "out"), theirs)


@pytest.mark.parametrize("kind", ["bs-ldm", "gl-lcm"])
def test_a_state_dict_needs_no_flag_and_is_read_as_published(tmp_path, kind):
    theirs = unet(use_new_attention_order=kind == "gl-lcm")
    torch.save(theirs.state_dict(), tmp_path / "ldm.pth")
    convert(tmp_path / "ldm.pth", "--kind", kind, "--out", tmp_path / "out")
    compare_unet(MultiheadUNet.from_pretrained(tmp_path / "out"), theirs)


def test_debonedit_on_the_difference_of_the_latents(tmp_path):
    """Theirs gives the noise of x_t = y - d_t; ours, of the same weights, that of d_t, which is its negative."""
    theirs = randomise(SiT())
    torch.save(theirs, tmp_path / "dit.pth")
    convert(tmp_path / "dit.pth", "--kind", "debonedit", "--allow-pickle", "--out", tmp_path / "out")
    ours = LatentDiT.from_pretrained(tmp_path / "out")
    torch.manual_seed(2)
    difference, radiograph = torch.randn(2, 2, 4, 8, 8)
    with torch.no_grad():
        noise = ours(torch.cat([difference, radiograph], 1), TIMES).sample
        close(-noise, theirs(torch.cat([radiograph - difference, radiograph], 1), TIMES)[:, :4])
    with torch.no_grad():
        theirs.pos_embed += 0.1
    torch.save(theirs.state_dict(), tmp_path / "learnt.pth")
    with pytest.raises(ValueError, match="position embedding is not the fixed one"):
        convert(tmp_path / "learnt.pth", "--kind", "debonedit", "--out", tmp_path / "no")


def test_bs_diff_becomes_a_pixel_pipeline(tmp_path):
    nets = pytest.importorskip("generative.networks.nets", reason="monai-generative is not installed")
    theirs = randomise(
        nets.DiffusionModelUNet(
            spatial_dims=2,
            in_channels=2,
            out_channels=2,
            num_res_blocks=2,
            num_channels=[32, 64, 96],
            attention_levels=[False, True, True],
            num_head_channels=[0, 64, 96],
            transformer_num_layers=3,
        )
    )
    optimizer = torch.optim.AdamW(theirs.parameters())
    theirs(torch.zeros(1, 2, 16, 16), TIMES[:1]).sum().backward()
    optimizer.step()
    randomise(theirs)
    state = {"model": theirs.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(state, tmp_path / "Aug_Final_ctrain.pth")
    convert(tmp_path / "Aug_Final_ctrain.pth", "--kind", "bs-diff", "--out", tmp_path / "out")
    pipeline = BoneSuppressionPipeline.from_pretrained(tmp_path / "out")
    assert isinstance(pipeline.vqgan, PixelSpace)
    compare_unet(pipeline.unet, theirs, channels=2)


@pytest.mark.parametrize(
    ("kind", "build"), [("monai", vqvae), ("bs-ldm", unet), ("debonedit", lambda: randomise(SiT()))]
)
def test_auto_tells_the_kind(tmp_path, capsys, kind, build):
    torch.save(build().state_dict(), tmp_path / "weights.pth")
    convert(tmp_path / "weights.pth", "--out", tmp_path / "out")
    assert f"({kind})" in capsys.readouterr().out


def test_what_does_not_fit_is_named(tmp_path):
    state = unet().state_dict()
    del state["middle_block.0.in_layers.0.weight"]
    state["extra.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "ldm.pth")
    with pytest.raises(
        ValueError, match=r"1 missing \(mid_block.resnets.0.norm1.weight\); 1 left over \(extra.weight\)"
    ):
        convert(tmp_path / "ldm.pth", "--kind", "bs-ldm", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="not of kind debonedit"):
        convert(tmp_path / "ldm.pth", "--kind", "debonedit", "--out", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        convert(tmp_path / "none.pth", "--out", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="is there already"):
        convert(tmp_path / "ldm.pth", "--out", tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "ldm.pth"]


def test_an_autoencoder_that_does_not_fit_the_network(tmp_path):
    torch.save(vqvae().state_dict(), tmp_path / "vq.pth")
    convert(tmp_path / "vq.pth", "--kind", "bs-ldm", "--out", tmp_path / "vq")
    torch.save(randomise(SiT(in_channels=4)).state_dict(), tmp_path / "dit.pth")
    with pytest.raises(ValueError, match="4 latent channels, but the network takes 4, two latents"):
        convert(
            *(tmp_path / "dit.pth", "--kind", "debonedit"), *("--vqgan", tmp_path / "vq", "--out", tmp_path / "out")
        )

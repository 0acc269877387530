from __future__ import annotations

import pytest
import torch

from diffusion import BoneSuppressionPipeline, LatentDiT, PixelSpace, ThresholdedDDIMScheduler, denoising_loss


def test_published_size():
    """SiT-S/2 of DeBoneDiT on 8 channels, counted from the architecture, without class labels."""
    with torch.device("meta"):
        network = LatentDiT()
    d = 384
    block = 3 * d * d + 3 * d + d * d + d + 8 * d * d + 5 * d + 6 * d * d + 6 * d
    expected = 12 * block + (4 * 8 * d + d) + (256 * d + d + d * d + d) + (2 * d * d + 2 * d) + (16 * d + 16)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_starts_as_zero_and_learns_a_position():
    """A target that only depends on where it is can only be learnt through the position embedding, in its order."""
    torch.manual_seed(0)
    network = LatentDiT(width=32, depth=1, heads=2)
    rows = torch.linspace(-1, 1, 8)[:, None].expand(8, 12)
    x0 = torch.stack([rows, -rows, torch.linspace(-1, 1, 12).expand(8, 12), rows]).repeat(4, 1, 1, 1)
    nothing, noise = torch.zeros_like(x0), torch.randn(4, 4, 8, 12)
    assert network(torch.randn(4, 8, 8, 12), torch.tensor(3)).sample.abs().max() == 0
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    late = torch.full((4,), 999)
    for _ in range(150):
        loss = denoising_loss(network, scheduler, x0, nothing, noise, late)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.03


def test_in_a_pipeline_of_pixels_and_its_folder(tmp_path):
    torch.manual_seed(0)
    network = LatentDiT(latent_channels=1, condition_channels=1, width=16, depth=1, heads=1, patch=4)
    torch.nn.init.normal_(network.out.weight)
    pipeline = BoneSuppressionPipeline(PixelSpace(), network, ThresholdedDDIMScheduler(prediction_type="v_prediction"))
    pipeline.set_progress_bar_config(disable=True)
    radiograph = torch.rand(1, 1, 8, 12)
    before = pipeline(radiograph, num_inference_steps=2).soft
    pipeline.save_pretrained(tmp_path)
    loaded = BoneSuppressionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(loaded(radiograph, num_inference_steps=2).soft, before)
    assert loaded.size_multiple == 4
    with pytest.raises(ValueError, match="divisible by 4"):
        loaded(torch.zeros(1, 1, 8, 10))
    with pytest.raises(ValueError, match="width is 30"):
        LatentDiT(width=30)


def test_guidance_goes_beyond_the_condition(tmp_path):
    """A network that answers its condition: without it 0, so guidance w gives w times the condition."""

    class Echo(torch.nn.Module):
        dtype = torch.float32

        def forward(self, inputs, timestep):
            return type("Output", (), {"sample": inputs[:, 1:]})()

    from diffusion import sample

    condition = torch.full((1, 1, 4, 4), 0.5)
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample", threshold_start=9.0)
    for guidance in (0.0, 1.0, 1.5):
        x0 = sample(Echo(), scheduler, condition, 3, [0], channels=1, guidance_scale=guidance)
        torch.testing.assert_close(x0, guidance * condition, atol=1e-5, rtol=0)

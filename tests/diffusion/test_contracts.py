"""Our parts, and those of diffusers that are served, are what the contracts say."""

from __future__ import annotations

import diffusers
import pytest
import torch

from diffusion import BrownianBridgeScheduler, PixelSpace, ThresholdedDDIMScheduler, ThresholdedDDPMScheduler
from diffusion.contracts import Autoencoder, AutoencoderModel, NoiseSchedule
from diffusion.latents import decode, encode
from diffusion.networks.tiles import TiledAutoencoder
from diffusion.pipelines.sampler import denoise
from diffusion.schedulers.served import SERVED
from vqgan import VQGAN


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=32).eval()


def test_autoencoders_keep_the_contract(vqgan):
    image = torch.rand(2, 1, 32, 32) * 2 - 1
    for autoencoder in (vqgan, PixelSpace(scaling_factor=0.5), TiledAutoencoder(vqgan, 32, 2)):
        assert isinstance(autoencoder, Autoencoder)
        f, scale = autoencoder.downsampling, autoencoder.config.scaling_factor
        with torch.no_grad():
            latent = encode(autoencoder, image, "continuous")
            torch.testing.assert_close(latent, autoencoder.encode(image) * scale)
            assert latent.shape[2:] == (32 // f, 32 // f)
            torch.testing.assert_close(decode(autoencoder, latent), autoencoder.decode(latent / scale))
        assert isinstance(autoencoder, AutoencoderModel) == isinstance(autoencoder, torch.nn.Module)
    assert not isinstance(torch.nn.Identity(), Autoencoder)


@pytest.mark.parametrize("name", [*SERVED, "bridge", "flow", "ddim", "ddpm"])
def test_schedules_keep_the_contract_and_find_what_a_perfect_network_knows(name):
    ours = {
        "bridge": lambda: BrownianBridgeScheduler(),
        "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
        "ddim": lambda: ThresholdedDDIMScheduler(prediction_type="sample"),
        "ddpm": lambda: ThresholdedDDPMScheduler(prediction_type="sample"),
    }
    schedule = ours[name]() if name in ours else getattr(diffusers, name)()
    assert isinstance(schedule, NoiseSchedule)
    assert not isinstance(torch.nn.Identity(), NoiseSchedule)
    if schedule.config.get("prediction_type") == "sample":
        x0 = torch.full((1, 1, 4, 4), 0.3)
        noise = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        found = denoise(lambda x, t: x0, schedule, noise, 5, [torch.Generator().manual_seed(1)])
        torch.testing.assert_close(found, x0, atol=0.02, rtol=0)

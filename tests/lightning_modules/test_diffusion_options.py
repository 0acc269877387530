"""What a YAML file asks of training and sampling is what is computed: objectives, noise levels, samplers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

import diffusion
from diffusion import encode, offset_noise, sample
from lightning_modules.latent_diffusion_module import LatentDiffusionModule
from vqgan import VQGAN

TINY = Path(__file__).resolve().parents[2] / "configs/suppression/tiny.yaml"
SCHEDULER = "model.init_args.scheduler.init_args"


def from_yaml(*options: str) -> LatentDiffusionModule:
    """The module of tiny.yaml and options of the command line, on a small autoencoder."""
    torch.manual_seed(0)
    words = ["--config", str(TINY), "--trainer.logger=false", "--trainer.accelerator=cpu"]
    module = LightningCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        run=False,
        args=words + [f"--{option}" for option in options],
    ).model
    module.vqgan = VQGAN(channels=32, channel_multipliers=(1,), patch=4, residual_blocks=1, norm_groups=8).eval()
    return module


def batch() -> dict:
    torch.manual_seed(3)
    return {
        "radiograph": torch.rand(4, 1, 32, 32) * 2 - 1,
        "soft": torch.rand(4, 1, 32, 32) * 2 - 1,
        "name": list("abcd"),
    }


@pytest.mark.parametrize(
    ("prediction", "gamma", "zero_snr", "strength", "scaling"),
    [
        ("epsilon", None, False, 0.1, "clean"),
        ("epsilon", 5.0, False, 0.0, "legacy"),
        ("v_prediction", 5.0, True, 0.3, "clean"),
        ("sample", None, True, 0.0, "scaled"),
    ],
)
def test_the_loss_is_the_one_that_the_yaml_asks_for(prediction, gamma, zero_snr, strength, scaling):
    module = from_yaml(
        f"{SCHEDULER}.prediction_type={prediction}",
        f"{SCHEDULER}.rescale_betas_zero_snr={zero_snr}",
        f"model.init_args.min_snr_gamma={'null' if gamma is None else gamma}",
        f"model.init_args.offset_noise_strength={strength}",
        f"model.init_args.condition_scaling={scaling}",
    )
    images = batch()
    condition, x0 = (encode(module.vqgan, images[key], module.latent) for key in ("radiograph", "soft"))
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([0, 0, 0, 0, 0]).generate_state(1)[0]))
    noise = offset_noise(x0.shape, strength, generator)
    timesteps = torch.randint(0, 1000, (4,), generator=generator)
    alpha_bar = module.scheduler.alphas_cumprod[timesteps].reshape(4, 1, 1, 1)
    assert (module.scheduler.alphas_cumprod[-1] == 0) == zero_snr
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    seen = torch.cat([a * x0 + s * noise, condition if scaling == "clean" else a * condition], dim=1)
    wanted = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - s * x0}[prediction]
    with torch.no_grad():
        error = (module.unet(seen, timesteps).sample - wanted).square().mean(dim=(1, 2, 3))
        loss = module._loss(images, module.unet, 0, 0)
    snr = (alpha_bar / (1 - alpha_bar)).flatten()
    share = {"epsilon": snr, "sample": torch.ones(4), "v_prediction": snr + 1}[prediction]  # of an error in x0
    weight = 1 if gamma is None else snr.clamp(max=gamma) / share
    torch.testing.assert_close(loss, (weight * error).mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "DPMSolver", "LCM", "BrownianBridge"])
def test_each_sampler_is_chosen_by_its_name(name, tmp_path):
    kind = "BrownianBridgeScheduler" if name == "BrownianBridge" else f"Thresholded{name}Scheduler"
    part, more = "sampler", ["model.init_args.sampler.init_args.beta_schedule=squaredcos_cap_v2"]
    if name == "BrownianBridge":  # its own process, for training too
        part, more = "scheduler", ["model.init_args.target=bone", "model.init_args.sampler=null"]
    module = from_yaml(f"model.init_args.{part}=diffusion.{kind}", *more)
    radiograph = batch()["radiograph"]
    drawn = module.pipeline()(radiograph, 3).soft
    scheduler = getattr(diffusion, kind).from_config(module.sampler.config)
    assert type(module.pipeline().scheduler).__name__ == kind
    condition = encode(module.vqgan, radiograph, module.latent)
    with torch.no_grad():
        x0 = sample(module.ema.module, scheduler, condition, 3, range(4), 4)
        soft = condition - x0 if name == "BrownianBridge" else x0
        expected = module.vqgan.decode(soft / module.vqgan.config.scaling_factor).clamp(-1, 1)
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=0)

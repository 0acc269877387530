from __future__ import annotations

import pytest
import torch
from diffusers.training_utils import compute_snr
from torch import nn

from diffusion import (
    ThresholdedDDIMScheduler,
    denoising_loss,
    min_snr_weights,
    noise_levels,
    predicted_x0,
    prediction_target,
    sample,
)

T = torch.tensor([10, 400, 900])


def scheduler_for(prediction: str, **options) -> ThresholdedDDIMScheduler:
    return ThresholdedDDIMScheduler(prediction_type=prediction, **options)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction", "difference"])
def test_targets_are_their_closed_forms_and_invert(prediction):
    x0, noise = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5)
    alpha, sigma = noise_levels(scheduler_for("sample"), T)
    noisy = alpha * x0 + sigma * noise
    closed = {"epsilon": noise, "sample": x0, "v_prediction": alpha * noise - sigma * x0, "difference": noisy - x0}
    target = prediction_target(prediction, x0, noise, alpha, sigma)
    torch.testing.assert_close(target, closed[prediction])
    torch.testing.assert_close(predicted_x0(prediction, target, noisy, alpha, sigma), x0, atol=1e-4, rtol=1e-4)


def test_noising_and_velocity_are_diffusers_own():
    scheduler = scheduler_for("v_prediction")
    x0, noise = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5)
    alpha, sigma = noise_levels(scheduler, T)
    torch.testing.assert_close(alpha * x0 + sigma * noise, scheduler.add_noise(x0, noise, T))
    velocity = prediction_target("v_prediction", x0, noise, alpha, sigma)
    torch.testing.assert_close(velocity, scheduler.get_velocity(x0, noise, T))


def test_min_snr_weights_ask_the_same_of_x0_whatever_is_predicted():
    """An error d in x0 is d, d*sqrt(SNR) in epsilon and d*sqrt(1 + SNR) in v: the weighted squares must agree."""
    levels = noise_levels(scheduler_for("sample"), T)
    snr = compute_snr(scheduler_for("sample"), T)
    assert snr[0] > 5 > snr[1]
    expected = snr.clamp(max=5.0)
    torch.testing.assert_close(min_snr_weights("sample", *levels, 5.0), expected)
    torch.testing.assert_close(min_snr_weights("epsilon", *levels, 5.0) * snr, expected)
    torch.testing.assert_close(min_snr_weights("v_prediction", *levels, 5.0) * (snr + 1), expected)


def test_zero_terminal_snr_leaves_nothing_of_x0_at_the_last_step():
    scheduler = scheduler_for("v_prediction", rescale_betas_zero_snr=True, beta_schedule="scaled_linear")
    alpha, sigma = noise_levels(scheduler, torch.tensor([999]))
    assert alpha == 0 and sigma == 1
    assert min_snr_weights("v_prediction", alpha, sigma, 5.0).item() == 0


class Recorder(nn.Module):
    """Answers zero and keeps what it was given."""

    def forward(self, inputs, timesteps):
        self.inputs = inputs
        return type("Output", (), {"sample": torch.zeros_like(inputs)})()


def test_only_the_target_is_noised_and_legacy_scales_the_condition():
    scheduler, unet = scheduler_for("epsilon"), Recorder()
    x0, noise, condition = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5)
    a = scheduler.alphas_cumprod[T].reshape(-1, 1, 1, 1)
    loss = denoising_loss(unet, scheduler, x0, condition, noise, T)
    torch.testing.assert_close(loss, noise.square().mean())  # the further four output channels do not count
    torch.testing.assert_close(unet.inputs, torch.cat([a.sqrt() * x0 + (1 - a).sqrt() * noise, condition], dim=1))
    # BS-LDM's code: both noised together, the condition with zero noise
    denoising_loss(unet, scheduler, x0, condition, noise, T, condition_scaling="legacy")
    both = scheduler.add_noise(torch.cat([x0, condition], 1), torch.cat([noise, torch.zeros_like(noise)], 1), T)
    torch.testing.assert_close(unet.inputs, both)


def test_min_snr_multiplies_each_images_error():
    scheduler = scheduler_for("sample")
    x0, noise = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5)
    loss = denoising_loss(Recorder(), scheduler, x0, x0, noise, T, min_snr_gamma=5.0)
    expected = (x0.square().mean(dim=(1, 2, 3)) * min_snr_weights("sample", *noise_levels(scheduler, T), 5.0)).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("prediction", "error"), [("sample", 0.05), ("v_prediction", 0.3)])
def test_overfits_one_batch_and_samples_it_back(tiny_unet, prediction, error):
    """Two latents of 8x8 (rms 0.58), told apart by their conditions alone, come back out of noise."""
    torch.manual_seed(0)
    grid = torch.linspace(-1, 1, 8)
    x0 = torch.stack([grid.expand(4, 8, 8), -grid[:, None].expand(4, 8, 8)])
    condition = torch.stack([torch.full((4, 8, 8), 0.5), torch.full((4, 8, 8), -0.5)])
    batch = (x0.repeat(4, 1, 1, 1), condition.repeat(4, 1, 1, 1))
    scheduler = scheduler_for(prediction, beta_schedule="linear", beta_start=1e-4)
    optimizer = torch.optim.AdamW(tiny_unet.parameters(), lr=4e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=200)
    for _ in range(200):
        loss = denoising_loss(tiny_unet, scheduler, *batch, torch.randn(8, 4, 8, 8), torch.randint(0, 1000, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    back = sample(tiny_unet.eval(), scheduler, condition, 10, seeds=[3, 4], channels=4)
    assert (back - x0).square().mean().sqrt() < error

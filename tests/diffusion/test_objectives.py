from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion import (
    ThresholdedDDIMScheduler,
    denoising_loss,
    min_snr_weights,
    predicted_x0,
    prediction_target,
    sample,
)

T = torch.tensor([10, 400, 900])


def scheduler_for(prediction: str, **options) -> ThresholdedDDIMScheduler:
    return ThresholdedDDIMScheduler(prediction_type=prediction, **options)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_targets_are_their_closed_forms_and_invert(prediction):
    scheduler = scheduler_for(prediction)
    x0, noise = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5)
    a = scheduler.alphas_cumprod[T].reshape(-1, 1, 1, 1)
    closed = {"epsilon": noise, "sample": x0, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * x0}[prediction]
    target = prediction_target(scheduler, x0, noise, T)
    torch.testing.assert_close(target, closed)
    noisy = a.sqrt() * x0 + (1 - a).sqrt() * noise
    torch.testing.assert_close(predicted_x0(scheduler, target, noisy, T), x0, atol=1e-4, rtol=1e-4)


def test_min_snr_weights_ask_the_same_of_x0_whatever_is_predicted():
    """An error d in x0 is d, d*sqrt(SNR) in epsilon and d*sqrt(1 + SNR) in v: the weighted squares must agree."""
    snr = scheduler_for("sample").alphas_cumprod[T]
    snr = snr / (1 - snr)
    assert snr[0] > 5 > snr[1]
    expected = snr.clamp(max=5.0)
    torch.testing.assert_close(min_snr_weights(scheduler_for("sample"), T, 5.0), expected)
    torch.testing.assert_close(min_snr_weights(scheduler_for("epsilon"), T, 5.0) * snr, expected)
    torch.testing.assert_close(min_snr_weights(scheduler_for("v_prediction"), T, 5.0) * (snr + 1), expected)


def test_zero_terminal_snr_leaves_nothing_of_x0_at_the_last_step():
    scheduler = scheduler_for("v_prediction", rescale_betas_zero_snr=True, beta_schedule="scaled_linear")
    assert scheduler.alphas_cumprod[-1] == 0
    last = torch.tensor([999])
    noise = torch.randn(1, 1, 2, 2)
    assert torch.equal(scheduler.add_noise(torch.full((1, 1, 2, 2), 50.0), noise, last), noise)
    torch.testing.assert_close(prediction_target(scheduler, noise * 3, noise, last), noise * -3)
    assert min_snr_weights(scheduler, last, 5.0).item() == 0


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
    expected = (x0.square().mean(dim=(1, 2, 3)) * min_snr_weights(scheduler, T, 5.0)).mean()
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

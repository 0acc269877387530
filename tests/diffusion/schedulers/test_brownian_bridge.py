from __future__ import annotations

import pytest
import torch

from diffusion import BoneSuppressionPipeline, BrownianBridgeScheduler, denoising_loss, noise_levels, sample


def test_marginals_are_the_papers():
    """x_t = y - d_t has the mean (1 - m) x_0 + m y and the variance 2 s (m - m^2), m = t / T."""
    scheduler = BrownianBridgeScheduler(variance_scale=0.7)
    t = torch.tensor([0, 250, 500, 900])
    alpha, sigma = noise_levels(scheduler, t)
    x0, y, epsilon = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    m = (t / 1000).reshape(-1, 1, 1, 1)
    x_t = (1 - m) * x0 + m * y - (2 * 0.7 * (m - m**2)).sqrt() * epsilon
    torch.testing.assert_close(y - (alpha * (y - x0) + sigma * epsilon), x_t)
    assert sigma[0] == 0 and sigma[2].square().item() == pytest.approx(0.35)


def test_a_step_is_the_papers_posterior():
    """BBDM eq. 9 and 10 in x, with delta_t|r = delta_t - delta_r (1 - m_t)^2 / (1 - m_r)^2, over many draws."""
    s, t, r = 1.3, 600, 199
    scheduler = BrownianBridgeScheduler(variance_scale=s, prediction_type="sample")
    scheduler.timesteps = torch.tensor([t, r])
    x_t, x0, y = 0.8, -0.5, 0.3
    m_t, m_r = t / 1000, r / 1000
    delta_t, delta_r = (2 * s * (m - m**2) for m in (m_t, m_r))
    transition = delta_t - delta_r * (1 - m_t) ** 2 / (1 - m_r) ** 2
    mean = (
        delta_r / delta_t * (1 - m_t) / (1 - m_r) * x_t
        + (1 - m_r) * transition / delta_t * x0
        + (m_r - m_t * (1 - m_t) / (1 - m_r) * delta_r / delta_t) * y
    )
    variance = transition * delta_r / delta_t
    shape = (1, 1, 400, 400)
    drawn = scheduler.step(
        torch.full(shape, y - x0), t, torch.full(shape, y - x_t), torch.Generator().manual_seed(0)
    ).prev_sample
    x_r = y - drawn.double()
    assert x_r.mean().item() == pytest.approx(mean, abs=4 * variance**0.5 / 400)
    assert x_r.var().item() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("prediction", ["difference", "epsilon", "sample"])
def test_a_perfect_network_leads_to_the_target(prediction):
    """Whatever is predicted, the exact answer brings d from nothing to d_0 in any number of steps."""
    d0 = torch.randn(2, 4, 6, 6)
    scheduler = BrownianBridgeScheduler(prediction_type=prediction)

    class Perfect(torch.nn.Module):
        dtype = torch.float32

        def forward(self, inputs, timestep):
            alpha, sigma = noise_levels(scheduler, timestep)
            d_t = inputs[:, :4]
            answers = {"difference": d_t - d0, "sample": d0, "epsilon": (d_t - alpha * d0) / sigma}
            return type("Output", (), {"sample": answers[prediction]})()

    for steps in (1, 7):
        back = sample(Perfect(), scheduler, torch.zeros(2, 4, 6, 6), steps, seeds=[0, 1], channels=4)
        torch.testing.assert_close(back, d0, atol=1e-3, rtol=0)


def test_the_target_of_training_is_the_papers_difference():
    """BBDM eq. 11: x_t - x_0 = m_t (y - x_0) + sqrt(delta_t) epsilon; in d both signs turn."""
    scheduler = BrownianBridgeScheduler()
    d0, noise, t = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor([100, 700])
    m = (t / 1000).reshape(-1, 1, 1, 1)
    expected = -(m * d0 - (2 * (m - m**2)).sqrt() * noise)

    class Zero(torch.nn.Module):
        def forward(self, inputs, timesteps):
            return type("Output", (), {"sample": torch.zeros_like(inputs)})()

    loss = denoising_loss(Zero(), scheduler, d0, torch.zeros_like(d0), noise, t)
    torch.testing.assert_close(loss, expected.square().mean())


def test_in_a_pipeline_and_its_folder(autoencoder, tiny_unet, tmp_path):
    parts = (autoencoder, tiny_unet, BrownianBridgeScheduler(variance_scale=0.5))
    with pytest.raises(ValueError, match="set it to bone"):
        BoneSuppressionPipeline(*parts)
    BoneSuppressionPipeline(*parts, target="bone").save_pretrained(tmp_path)
    loaded = BoneSuppressionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.scheduler.config.variance_scale == 0.5
    x = torch.rand(2, 1, 16, 16)
    together = loaded(x, num_inference_steps=3, seeds=[4, 5]).soft
    torch.testing.assert_close(loaded(x[1:], num_inference_steps=3, seeds=[5]).soft, together[1:], atol=1e-5, rtol=0)

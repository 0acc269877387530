"""The sampling loop under every scheduler that is served: Gaussian images, whose ODE has a closed solution."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from diffusion.noise import seeded_generators, seeded_noise
from diffusion.pipelines.sampler import denoise, signal_level
from diffusion.schedulers.served import SERVED, check_served
from diffusion.training.objectives import check_scheduler, prediction_target
from diffusion.training.synthesis_objective import check_synthesis_scheduler

MEAN, DEVIATION = 0.3, 0.4
NOISY = ("DDPMScheduler", "EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
PAIRS = [(name, kind) for name, kinds in SERVED.items() for kind in kinds if name != "LCMScheduler"]


def trained_with(prediction: str, **options: Any) -> diffusers.DDIMScheduler:
    """The noise schedule that a network was trained with."""
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0205}
    known = {"prediction_type": prediction, "clip_sample": False, "timestep_spacing": "trailing", **schedule}
    return diffusers.DDIMScheduler(**known | options)


def draw(scheduler: Any, noise: Tensor, steps: int) -> Tensor:
    """What a network that knows the Gaussian draws: it answers from the posterior mean of x0."""

    def answer(noisy: Tensor, timestep: Tensor) -> Tensor:
        alpha = signal_level(scheduler, timestep)
        sigma = (1 - alpha.square()).sqrt()
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        x0 = MEAN + gain * (noisy - alpha * MEAN)
        epsilon = (noisy - alpha * x0) / sigma
        return prediction_target(scheduler.config.prediction_type, x0, epsilon, alpha, sigma)

    return denoise(answer, scheduler, noise, steps, seeded_generators(range(len(noise))))


@pytest.mark.parametrize(("name", "prediction"), PAIRS)
def test_each_scheduler_draws_from_the_gaussian(name: str, prediction: str) -> None:
    training = trained_with(prediction)
    scheduler = getattr(diffusers, name).from_config(training.config)
    check_served(scheduler)
    noise = seeded_noise(seeded_generators(range(2)), (1, 64, 64), "cpu")
    found = draw(scheduler, noise, 200)
    if name in NOISY:
        assert found.mean().item() == pytest.approx(MEAN, abs=0.03)
        assert found.std().item() == pytest.approx(DEVIATION, abs=0.03)
        assert torch.equal(draw(scheduler, noise, 200), found)
        return
    alpha = training.alphas_cumprod[-1].sqrt()  # the ODE keeps an image's place in its marginal distribution
    place = (noise - alpha * MEAN) / (alpha**2 * DEVIATION**2 + 1 - alpha**2).sqrt()
    assert (found - (MEAN + DEVIATION * place)).abs().mean() < 0.015


def test_one_call_of_a_consistency_sampler_is_the_networks_x0() -> None:
    scheduler = diffusers.LCMScheduler.from_config(trained_with("sample").config)
    noise = seeded_noise(seeded_generators([0]), (1, 64, 64), "cpu")
    assert draw(scheduler, noise, 1).mean().item() == pytest.approx(MEAN, abs=0.02)


def test_between_two_timesteps_the_level_lies_between_theirs() -> None:
    scheduler = diffusers.EulerDiscreteScheduler.from_config(trained_with("epsilon").config)
    exact = scheduler.alphas_cumprod[[500, 501]].sqrt()
    low, middle, high = (signal_level(scheduler, torch.tensor(t)).item() for t in (501.0, 500.5, 500.0))
    assert (low, high) == pytest.approx((exact[1].item(), exact[0].item()), rel=1e-5)
    assert low < middle < high
    assert signal_level(scheduler, torch.tensor(500)).item() == pytest.approx(high, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "prediction", "message"),
    [
        ("HeunDiscreteScheduler", "sample", "HeunDiscreteScheduler does not sample .* 'sample': take one of DDIM"),
        ("PNDMScheduler", "sample", "PNDMScheduler does not sample"),
        ("TCDScheduler", "epsilon", "TCDScheduler is no scheduler that this model"),
        ("EDMEulerScheduler", "epsilon", "EDMEulerScheduler is no scheduler"),
        ("IPNDMScheduler", "", "IPNDMScheduler is no scheduler"),
        ("DDIMInverseScheduler", "epsilon", "DDIMInverseScheduler is no scheduler"),
        ("FlowMatchHeunDiscreteScheduler", "", "FlowMatchHeunDiscreteScheduler is no scheduler"),
    ],
)
def test_others_are_refused_by_name(name: str, prediction: str, message: str) -> None:
    kind = getattr(diffusers, name)
    known = {"prediction_type": prediction} if prediction else {}
    for check in (lambda one: check_scheduler(one, "soft"), check_synthesis_scheduler):
        with pytest.raises(ValueError, match=message):
            check(kind(**known))


def test_a_schedule_that_the_scheduler_passes_over_is_refused() -> None:
    config = trained_with("v_prediction", rescale_betas_zero_snr=True).config
    for name in ("DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"):
        check_served(getattr(diffusers, name).from_config(config))
    with pytest.raises(ValueError, match="rescale_betas_zero_snr, which HeunDiscreteScheduler passes over"):
        check_served(diffusers.HeunDiscreteScheduler.from_config(config))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_each_step_of_flow_matching_walks_as_far_as_the_others(steps):
    """Between pure noise and none, by equal parts of the time before it is shifted; none is wasted at the end."""
    scheduler, noise, seen = diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0), torch.full((1, 1, 2, 2), 3.0), []

    def answer(noisy, timestep):
        seen.append((float(timestep) / 1000, float(noisy.mean())))
        return noise - 1.0  # the velocity towards x0 = 1

    x0 = denoise(answer, scheduler, noise, steps, [])
    before = torch.linspace(1, 1 / steps, steps)
    torch.testing.assert_close(torch.tensor([time for time, _ in seen]), 2 * before / (1 + before))
    for time, mean in seen:
        assert mean == pytest.approx(1 + 2 * time, abs=1e-5)
    torch.testing.assert_close(x0, torch.ones_like(x0))

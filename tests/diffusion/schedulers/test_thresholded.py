from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from diffusion import (
    ThresholdedDDIMScheduler,
    ThresholdedDDPMScheduler,
    ThresholdedDPMSolverScheduler,
    ThresholdedLCMScheduler,
)

ALL = [ThresholdedDDPMScheduler, ThresholdedDDIMScheduler, ThresholdedDPMSolverScheduler]


def clipped_x0(scheduler, step: int) -> float:
    """The largest |x0| that the scheduler makes of a network that answers x0 = 100, at the given sampling step."""
    sample, answer = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 100.0)
    if isinstance(scheduler, ThresholdedDPMSolverScheduler):
        scheduler._step_index = step
        scheduler._threshold = scheduler.threshold_at(scheduler.timesteps[step])
        return scheduler.convert_model_output(answer, sample=sample).max().item()
    return scheduler.step(answer, scheduler.timesteps[step], sample).pred_original_sample.max().item()


@pytest.mark.parametrize("scheduler_class", ALL)
@pytest.mark.parametrize(("step", "bound"), [(0, 1.4), (1, 1.403), (500, 2.9), (999, 4.397)])
def test_x0_is_clipped_to_the_published_bound(scheduler_class, step, bound):
    scheduler = scheduler_class(prediction_type="sample")
    scheduler.set_timesteps(1000)
    assert clipped_x0(scheduler, step) == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("scheduler_class", ALL)
def test_few_steps_count_steps_or_training_timesteps(scheduler_class):
    by_step = scheduler_class(prediction_type="sample", threshold_start=2.0, threshold_rate=0.025)
    by_step.set_timesteps(50)
    assert clipped_x0(by_step, 10) == pytest.approx(2.25, abs=1e-6)
    by_time = scheduler_class(prediction_type="sample", threshold_count="timestep")
    by_time.set_timesteps(50)  # trailing: 999, 979, ...
    assert clipped_x0(by_time, 10) == pytest.approx(1.4 + 0.003 * 200, abs=1e-6)


@pytest.mark.parametrize("scheduler_class", ALL)
def test_the_bound_holds_in_a_whole_sampling_and_can_be_turned_off(scheduler_class):
    def final(**options):
        scheduler = scheduler_class(prediction_type="sample", **options)
        scheduler.set_timesteps(20)
        x = torch.zeros(1, 1, 2, 2)
        for timestep in scheduler.timesteps:
            x = scheduler.step(torch.full_like(x, 100.0), timestep, x, return_dict=False)[0]
        return x.max().item()

    assert final() == pytest.approx(1.4 + 0.003 * 19, abs=0.02)  # the last x0, but for DDPM's last noise
    assert final(thresholding=False) > 50


@pytest.mark.parametrize("scheduler_class", ALL)
def test_parameters_survive_a_folder_and_a_change_of_sampler(scheduler_class, tmp_path, caplog):
    scheduler = scheduler_class(
        threshold_start=2.5, threshold_rate=0.01, threshold_count="timestep", beta_schedule="linear"
    )
    scheduler.save_pretrained(tmp_path)
    for other in (scheduler_class.from_pretrained(tmp_path), *(c.from_config(scheduler.config) for c in ALL)):
        config = other.config
        assert (config.threshold_start, config.threshold_rate, config.threshold_count) == (2.5, 0.01, "timestep")
        assert config.thresholding and config.beta_schedule == "linear"
        assert torch.equal(other.alphas_cumprod, scheduler.alphas_cumprod)
    assert "will be ignored" not in caplog.text


def test_a_timestep_that_was_not_set_is_refused():
    scheduler = ThresholdedDDPMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="timestep 5 is not one of this scheduler's"):
        scheduler.step(torch.zeros(1, 1, 2, 2), 5, torch.zeros(1, 1, 2, 2))


def test_ddim_step_is_the_known_one_with_x0_clipped():
    """Song et al. (2021), eq. 12 with sigma = 0."""
    scheduler = ThresholdedDDIMScheduler(prediction_type="epsilon", threshold_start=0.5, threshold_rate=0.0)
    scheduler.set_timesteps(10)
    x, epsilon = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    a, b = scheduler.alphas_cumprod[499], scheduler.alphas_cumprod[399]
    x0 = ((x - (1 - a).sqrt() * epsilon) / a.sqrt()).clamp(-0.5, 0.5)
    expected = b.sqrt() * x0 + (1 - b).sqrt() * epsilon
    torch.testing.assert_close(scheduler.step(epsilon, 499, x).prev_sample, expected)


def test_ddpm_step_is_the_posterior_mean_and_variance():
    """Ho et al. (2020), eq. 7, over many draws of its noise."""
    scheduler = ThresholdedDDPMScheduler(prediction_type="sample", threshold_start=10.0)
    scheduler.set_timesteps(1000)
    t, x, x0 = 300, 0.7, -0.4
    a, previous = scheduler.alphas_cumprod[t].double(), scheduler.alphas_cumprod[t - 1].double()
    beta = 1 - a / previous
    mean = previous.sqrt() * beta / (1 - a) * x0 + (1 - beta).sqrt() * (1 - previous) / (1 - a) * x
    variance = (1 - previous) / (1 - a) * beta
    shape = (1, 1, 400, 400)
    draws = scheduler.step(
        torch.full(shape, x0), t, torch.full(shape, x), generator=torch.Generator().manual_seed(0)
    ).prev_sample.double()
    assert draws.mean().item() == pytest.approx(mean.item(), abs=4 * (variance / 160_000).sqrt().item())
    assert draws.var().item() == pytest.approx(variance.item(), rel=0.02)


def test_with_a_wide_bound_they_are_diffusers_own():
    x, answer = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    for ours_class, theirs_class in (
        (ThresholdedDDIMScheduler, DDIMScheduler),
        (ThresholdedDDPMScheduler, DDPMScheduler),
    ):
        ours = ours_class(prediction_type="v_prediction", threshold_start=1e6)
        theirs = theirs_class.from_config(ours.config, thresholding=False)
        results = []
        for scheduler in (ours, theirs):
            scheduler.set_timesteps(10)
            results.append(scheduler.step(answer, 499, x, generator=torch.Generator().manual_seed(0)).prev_sample)
        assert torch.equal(*results)


def test_lcm_clips_by_gl_lcms_values():
    scheduler = ThresholdedLCMScheduler(prediction_type="sample")
    scheduler.set_timesteps(50)
    scheduler._step_index = 10
    step = scheduler.step(torch.full((1, 1, 2, 2), 100.0), scheduler.timesteps[10], torch.zeros(1, 1, 2, 2))
    assert step.denoised.max().item() == pytest.approx(2.25, abs=1e-5)
    assert ThresholdedLCMScheduler.from_config(ThresholdedDDPMScheduler().config).config.threshold_start == 1.4

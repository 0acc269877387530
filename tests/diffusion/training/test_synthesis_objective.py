"""The losses of synthesis against closed forms."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffusion import Conditioner, LatentDiT, ThresholdedDDIMScheduler
from diffusion.training.synthesis_objective import (
    check_synthesis_scheduler,
    flow_times,
    place_weights,
    plan_loss,
    synthesis_loss,
    training_times,
)


@pytest.fixture
def asked():
    """A network that has not learnt anything: its answer is zero."""
    conditioner = Conditioner(width=8, text_width=0)
    given = conditioner.prepare(["PA", "LL"])
    return LatentDiT(4, 0, width=8, depth=1, heads=1, cross_attention_dim=8), given, conditioner(given)


def test_flow_matching_of_a_network_that_answers_zero(asked):
    network, given, context = asked
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    loss = synthesis_loss(
        network, FlowMatchEulerDiscreteScheduler(), x0, given, context, noise, torch.tensor([3.0, 900])
    )
    assert loss.item() == pytest.approx((noise - x0).square().mean().item())


def test_v_prediction_of_a_network_that_answers_zero(asked):
    network, given, context = asked
    scheduler = ThresholdedDDIMScheduler(prediction_type="v_prediction")
    torch.manual_seed(0)
    x0, noise, times = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4), torch.tensor([10, 700])
    alpha_bar = scheduler.alphas_cumprod[times].reshape(-1, 1, 1, 1)
    errors = (alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0).square().mean(dim=(1, 2, 3))
    snr = (alpha_bar / (1 - alpha_bar)).flatten()
    loss = synthesis_loss(network, scheduler, x0, given, context, noise, times)
    assert loss.item() == pytest.approx(errors.mean().item(), rel=1e-5)
    weighted = synthesis_loss(network, scheduler, x0, given, context, noise, times, min_snr_gamma=5.0)
    assert weighted.item() == pytest.approx((errors * snr.clamp(max=5) / (snr + 1)).mean().item(), rel=1e-5)


def test_the_flow_that_is_learnt_is_the_one_that_the_scheduler_walks():
    """From pure noise, Euler steps along noise - x0 = (x_t - x0) / sigma end at x0 exactly."""
    torch.manual_seed(0)
    x0, x = torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(7)
    for timestep in scheduler.timesteps:
        x = scheduler.step((x - x0) / (timestep / 1000), timestep, x, return_dict=False)[0]
    assert torch.allclose(x, x0, atol=1e-5)


def test_times_of_training():
    generator = torch.Generator().manual_seed(0)
    sigma = flow_times(20000, generator)
    assert sigma.median().item() == pytest.approx(0.5, abs=0.01)
    assert torch.logit(sigma).std().item() == pytest.approx(1.0, abs=0.02)
    assert flow_times(20000, generator, shift=3.0).median().item() == pytest.approx(0.75, abs=0.01)
    steps = training_times(ThresholdedDDIMScheduler(), 5000, generator)
    assert steps.min() < 5 and steps.max() > 994 and not steps.is_floating_point()


def test_schedulers_that_cannot_be_sampled_are_refused():
    with pytest.raises(ValueError, match="use_dynamic_shifting or invert_sigmas is not supported"):
        check_synthesis_scheduler(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True))


def test_a_plan_is_measured_where_there_is_a_report():
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, :2] = 1
    logits = torch.full((2, 1, 2, 2), -20.0)
    logits[0, 0, 0] = 20
    there = torch.tensor([True, False])
    assert plan_loss(logits, maps, there) < 1e-6
    assert plan_loss(-logits, maps, there) == pytest.approx(20)
    assert plan_loss(-logits, maps, ~there) == pytest.approx(20) and plan_loss(logits, maps, there & False) == 0


def test_a_small_finding_counts_as_much_as_a_large_one():
    maps = torch.zeros(3, 2, 20, 20)
    maps[0, 0, :10] = 1  # half of the picture
    maps[1, 1, :10, :4] = 1  # a tenth of it
    weight = place_weights(maps, (10, 10), 0.5)
    assert weight.shape == (3, 1, 10, 10) and weight.mean().item() == pytest.approx(1, rel=1e-6)
    alone = weight[2, 0, 0, 0]  # nothing is there
    added = (weight - alone).sum(dim=(1, 2, 3)) / alone
    assert added.tolist() == pytest.approx([50, 50, 0], rel=1e-5)  # of 100 pixels
    maps[1, 1], maps[1, 1, :2, :2] = 0, 1  # one of 100 pixels: no more for each than if it were three
    smallest = place_weights(maps, (10, 10), 0.5)
    assert (smallest[1, 0, 0, 0] / smallest[2, 0, 0, 0]).item() == pytest.approx(1 + 0.5 / 0.03, rel=1e-5)
    assert torch.equal(place_weights(maps, (10, 10), 0), torch.ones(3, 1, 10, 10))


def test_the_error_is_weighed_by_place(asked):
    network, given, context = asked
    torch.manual_seed(0)
    x0, noise, weight = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4), torch.rand(2, 1, 4, 4)
    flow = (FlowMatchEulerDiscreteScheduler(), x0, given, context, noise, torch.tensor([3.0, 900]))
    loss = synthesis_loss(network, *flow, weight=weight)
    assert loss.item() == pytest.approx((weight * (noise - x0).square()).mean().item())
    scheduler = ThresholdedDDIMScheduler(prediction_type="epsilon")
    loss = synthesis_loss(network, scheduler, *flow[1:5], torch.tensor([3, 900]), weight=weight)
    assert loss.item() == pytest.approx((weight * noise.square()).mean().item(), rel=1e-5)

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import LCMScheduler
from torch import nn

from diffusion import (
    ThresholdedDDIMScheduler,
    ThresholdedLCMScheduler,
    boundary_scalings,
    consistency_function,
    ddim_step,
    distillation_loss,
    noise_levels,
    sample,
    solver_timesteps,
)
from diffusion.training.distillation import check_solver


class Affine(nn.Module):
    """Answers x0 = gain * (first four channels) + offset, with `sample` prediction."""

    dtype = torch.float32

    def __init__(self, gain: float, offset: float) -> None:
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.tensor(gain)), nn.Parameter(torch.tensor(offset))

    def forward(self, inputs, timesteps):
        return type("Output", (), {"sample": self.gain * inputs[:, :4] + self.offset})()


def test_boundary_condition_and_scalings_are_lcms():
    lcm = LCMScheduler()
    for t in (0, 19, 999):
        skip, out = boundary_scalings(torch.tensor(t))
        expected = lcm.get_scalings_for_boundary_condition_discrete(torch.tensor(t))
        torch.testing.assert_close(
            torch.stack([skip, out]), torch.stack([torch.as_tensor(e) for e in expected]).float()
        )
    x = torch.randn(2, 4, 3, 3)
    at_zero = consistency_function(
        Affine(3.0, 7.0), ThresholdedDDIMScheduler(prediction_type="sample"), x, x, torch.tensor([0, 0]), "clean"
    )
    assert torch.equal(at_zero, x)


def test_grid_is_lcms():
    lcm = LCMScheduler(original_inference_steps=50)
    lcm.set_timesteps(50)
    assert solver_timesteps(1000, 50)[1:].flip(0).tolist() == lcm.timesteps.tolist()
    assert solver_timesteps(1000, 50)[0] == 0


def test_a_grid_that_tells_a_noise_predictor_nothing_is_refused():
    with pytest.raises(ValueError, match=r"50 steps begins at timestep 999, where the image counts 5e-05.*such as 51"):
        check_solver(ThresholdedDDIMScheduler(prediction_type="epsilon"), 50)
    check_solver(ThresholdedDDIMScheduler(prediction_type="epsilon"), 51)
    check_solver(ThresholdedDDIMScheduler(prediction_type="v_prediction"), 50)
    check_solver(ThresholdedLCMScheduler(), 50)  # GL-LCM's schedule leaves 0.068
    assert solver_timesteps(1000, 51)[-1] == 968
    lcm = LCMScheduler(original_inference_steps=51)
    lcm.set_timesteps(51)
    assert solver_timesteps(1000, 51)[1:].flip(0).tolist() == lcm.timesteps.tolist()


def test_ddim_step_is_diffusers_own():
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample", threshold_start=1e6)
    scheduler.set_timesteps(10)
    x, x0 = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    expected = scheduler.step(x0, 499, x).prev_sample
    step = ddim_step(scheduler, x0, x, torch.tensor([499, 499]), torch.tensor([399, 399]))
    torch.testing.assert_close(step, expected)


def test_loss_is_its_closed_form_and_moves_the_student_only():
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    student, target, teacher = Affine(0.1, 0.2), Affine(0.3, -0.1), Affine(0.5, 0.4)
    x0, noise, condition = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    loss = distillation_loss(student, target, teacher, scheduler, x0, condition, noise, torch.tensor([0, 24]))
    later, earlier = torch.tensor([19, 499]), torch.tensor([0, 479])
    (a, s), (b, r) = noise_levels(scheduler, later), noise_levels(scheduler, earlier)
    x = a * x0 + s * noise
    seen = 0.5 * x + 0.4
    led = b * seen + r * (x - a * seen) / s
    wanted = 0.3 * led + -0.1
    wanted[0] = led[0]  # the boundary condition
    said = 0.1 * x + 0.2  # c_skip is 6e-6 and c_out 1 - 3e-6 already at t = 19
    torch.testing.assert_close(loss, (said - wanted).abs().mean(), atol=2e-3, rtol=0)
    loss.backward()
    assert student.gain.grad is not None
    assert target.gain.grad is None and teacher.gain.grad is None


class TwoPoints(nn.Module):
    """The exact network for one latent value that is 1 or -1 with equal chance: x0 = tanh(alpha x / sigma^2)."""

    dtype = torch.float32

    def __init__(self, scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    def forward(self, inputs, timesteps):
        alpha, sigma = noise_levels(self.scheduler, timesteps)
        return type("Output", (), {"sample": torch.tanh(alpha * inputs[:, :1] / sigma**2)})()


class Learner(nn.Module):
    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, inputs, timesteps):
        x = inputs[:, 0, 0, 0]
        answer = self.net(torch.stack([x, (timesteps / 1000.0).expand_as(x)], dim=1))
        return type("Output", (), {"sample": answer[..., None, None]})()


def test_a_distilled_network_does_in_few_calls_what_its_teacher_does_in_many():
    """A call of the teacher gives the mean of the two values, its trajectory one of them; so must the student's."""
    torch.manual_seed(0)
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.02, "prediction_type": "sample"}
    scheduler = ThresholdedDDIMScheduler(**betas)
    teacher, student = TwoPoints(scheduler), Learner()
    target = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=1000)
    nothing = torch.zeros(256, 1, 1, 1)
    for _ in range(1000):
        x0, noise = torch.randint(0, 2, (256, 1, 1, 1)) * 2.0 - 1, torch.randn(256, 1, 1, 1)
        index = torch.randint(0, 8, (256,))
        loss = distillation_loss(student, target, teacher, scheduler, x0, nothing, noise, index, steps=8, huber=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        torch._foreach_lerp_(list(target.parameters()), list(student.parameters()), 0.2)
    lcm = LCMScheduler(**betas, original_inference_steps=8)

    def drawn(network, sampler, count):
        return sample(network, sampler, nothing, count, range(256), channels=1).flatten()

    many = drawn(teacher, scheduler, 8)
    assert many.abs().mean() > 0.9
    assert drawn(teacher, scheduler, 1).abs().mean() < 0.1
    for count in (1, 2, 4):
        assert drawn(student, lcm, count).abs().mean() > 0.75
    assert (
        drawn(student, lcm, 1).sign() == many.sign()
    ).float().mean() > 0.95  # the same noise leads to the same value

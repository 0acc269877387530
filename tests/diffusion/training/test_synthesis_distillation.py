"""Consistency distillation of synthesis against an exact teacher, with its guidance."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler
from torch import nn

from diffusion import Conditioner, LatentDiT, PixelSpace, SynthesisPipeline, ThresholdedDDIMScheduler
from diffusion.guidance import guidance_terms
from diffusion.networks.conditions import view_index
from diffusion.training.distillation import ddim_step, solver_timesteps
from diffusion.training.objectives import noise_levels
from diffusion.training.synthesis_distillation import check_teacher, guided_x0, synthesis_distillation_loss

SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.02, "prediction_type": "sample"}
POINTS = {None: (-0.9, -0.3, 0.3, 0.9), "PA": (-0.9, 0.3), "LL": (-0.3, 0.9)}  # a view's pixel is one of two values
TERMS = guidance_terms(("view",), {"view": 1.5})
GRID = 8


class Exact(nn.Module):
    """The exact network for POINTS: the posterior mean of x0, by the view that the conditioner's vector tells."""

    dtype = torch.float32
    config = {"class_embed_type": "projection"}  # noqa: RUF012

    def __init__(self, scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    def forward(self, noisy, timestep, tokens, class_labels, encoder_attention_mask):
        alpha, sigma = noise_levels(self.scheduler, timestep)
        of_view = {view_index(view, 5): values for view, values in POINTS.items()}
        points = torch.tensor([(values * 2)[:4] for values in map(of_view.get, class_labels[:, 0].int().tolist())])
        points = points.reshape(len(noisy), 4, 1, 1)
        near = torch.softmax(-((noisy - alpha * points) ** 2) / (2 * sigma**2), dim=1)
        return type("Output", (), {"sample": (near * points).sum(1, keepdim=True)})()


def exact_teacher(scheduler):
    conditioner = Conditioner(width=4, text_width=0).requires_grad_(False)
    conditioner.view.weight[:] = torch.arange(6.0)[:, None]
    return {"unet": Exact(scheduler), "conditioner": conditioner}


def new_student():
    torch.manual_seed(0)
    network = LatentDiT(1, 0, width=32, depth=1, heads=2, patch=1, cross_attention_dim=16)
    return nn.ModuleDict({"unet": network, "conditioner": Conditioner(width=16, text_width=0)})


def teacher_draws(teacher, scheduler, views, steps, x):
    """Its guided DDIM samples in some of the grid's steps."""
    given = teacher["conditioner"].prepare(views)
    times = solver_timesteps(1000, GRID)[:: GRID // steps].flip(0).tolist()
    for later, earlier in pairwise(times):
        later, earlier = (torch.full((len(x),), t) for t in (later, earlier))
        x = ddim_step(scheduler, guided_x0(teacher, scheduler, x, later, given, TERMS), x, later, earlier)
    return x.flatten()


def distance(a, b):
    """Energy distance of two samples of numbers: 0 for the same distribution."""
    across, within = ((x[:, None] - y).abs().mean() for x, y in ((a, b), (a, a)))
    return (2 * across - within - (b[:, None] - b).abs().mean()).item()


def train(student, teacher, scheduler, updates):
    target = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=4e-3)
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=updates)
    given = teacher["conditioner"].prepare(["PA", "LL"] * 32)
    values = torch.tensor([POINTS[view] for view in ("PA", "LL")] * 32)
    for _ in range(updates):
        x0 = values.gather(1, torch.randint(0, 2, (64, 1))).reshape(64, 1, 1, 1)
        noise, index = torch.randn_like(x0), torch.randint(0, GRID, (64,))
        options = {"teacher_terms": TERMS, "steps": GRID, "huber": 0.1}
        loss = synthesis_distillation_loss(student, target, teacher, scheduler, x0, given, noise, index, **options)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        torch._foreach_lerp_(list(target.parameters()), list(student.parameters()), 0.2)


def test_few_steps_of_the_student_are_nearer_to_the_teacher_than_its_own_few_steps():
    scheduler = ThresholdedDDIMScheduler(**SCHEDULE)
    teacher, student = exact_teacher(scheduler), new_student()
    torch.manual_seed(1)
    train(student, teacher, scheduler, 350)
    sampler = LCMScheduler(**SCHEDULE, original_inference_steps=GRID, clip_sample=False)
    pipe = SynthesisPipeline(PixelSpace(), student["unet"], sampler, student["conditioner"], image_size=1)
    pipe.set_progress_bar_config(disable=True)
    for view in ("PA", "LL"):
        views, seeds = [view] * 256, range(256)
        x = torch.stack([torch.randn(1, 1, 1, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        many = teacher_draws(teacher, scheduler, views, GRID, x)
        for steps in (1, 2, 4):
            own = distance(teacher_draws(teacher, scheduler, views, steps, x), many)
            few = pipe(views, num_inference_steps=steps, seeds=seeds, micro_batch=256).images.flatten()
            assert own > 0.08
            assert distance(few, many) < own / 2
        one = pipe(views, num_inference_steps=1, seeds=seeds, micro_batch=256).images.flatten()
        assert (one - many).abs().median() < 0.05  # the same noise leads to the same value


def test_the_boundary_condition_and_guidance_are_in_the_loss():
    """At the grid's first step the target is where the guided teacher leads, whatever the target network says."""
    scheduler = ThresholdedDDIMScheduler(**SCHEDULE)
    teacher, student = exact_teacher(scheduler), new_student()
    for parameter in student.parameters():  # a new network says zero, which is x0 here
        nn.init.normal_(parameter, std=0.1)
    given = student["conditioner"].prepare(["PA", "LL"])
    x0, noise, later = torch.randn(2, 1, 1, 1), torch.randn(2, 1, 1, 1), torch.full((2,), 1000 // GRID - 1)
    alpha, sigma = noise_levels(scheduler, later)
    noisy = alpha * x0 + sigma * noise
    conditional, unconditional = (
        guided_x0(teacher, scheduler, noisy, later, one, [(1.0, ())]) for one in (given, given.without("view"))
    )
    guided = unconditional + 1.5 * (conditional - unconditional)
    wanted = ddim_step(scheduler, guided, noisy, later, torch.zeros(2, dtype=torch.long))
    said = guided_x0(student, scheduler, noisy, later, given, [(1.0, ())])  # c_skip is below 1e-6 here
    index = torch.zeros(2, dtype=torch.long)
    for target in (new_student(), student):
        loss = synthesis_distillation_loss(
            student, target, teacher, scheduler, x0, given, noise, index, TERMS, GRID, huber=1e-4
        )
        torch.testing.assert_close(loss, (said - wanted).abs().mean(), atol=2e-4, rtol=0)
    assert (conditional - unconditional).abs().max() > 0.05


def test_teachers_of_another_form_are_refused():
    def pipe(scheduler, latent="continuous", **conditioner):
        student = new_student()
        network = Conditioner(width=16, text_width=0, **conditioner)
        return SynthesisPipeline(PixelSpace(), student["unet"], scheduler, network, image_size=1, latent=latent)

    scheduler = ThresholdedDDIMScheduler(**SCHEDULE)
    check_teacher(pipe(scheduler, text_fingerprint="a"), scheduler, "continuous", "a")
    for teacher, message in {
        pipe(FlowMatchEulerDiscreteScheduler()): "not for flow matching",
        pipe(ThresholdedDDIMScheduler(**{**SCHEDULE, "prediction_type": "v_prediction"})): "make them the same",
        pipe(ThresholdedDDIMScheduler(**{**SCHEDULE, "beta_end": 0.01})): "the teacher's betas",
        pipe(scheduler, "quantized"): "'latent': 'quantized'",
        pipe(scheduler, text_fingerprint="b"): "another text encoder",
    }.items():
        with pytest.raises(ValueError, match=message):
            check_teacher(teacher, scheduler, "continuous", "a")

"""Consistency distillation for synthesis, with the teacher's guidance folded in.

Guided distillation (Meng et al., arXiv 2210.03142) in the form of latent consistency models (Luo et al., arXiv
2310.04378, algorithm 1) at fixed scales: the teacher's step is its guided one, so that the student draws in one call a
step what the teacher draws in two or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffusion.contracts import NoiseSchedule, VarianceSchedule
from diffusion.guidance import Terms, weighted_sum
from diffusion.networks.conditions import Conditions
from diffusion.parametrization import predicted_x0
from diffusion.training.distillation import SeesX0, consistency_loss
from diffusion.training.objectives import noise_levels
from diffusion.training.synthesis_objective import ask

if TYPE_CHECKING:
    from diffusion.pipelines.synthesis import SynthesisPipeline

Networks = Mapping[str, Any]  # "unet" and "conditioner"; also an nn.ModuleDict


def check_teacher(pipeline: SynthesisPipeline, scheduler: NoiseSchedule, latent: str, fingerprint: str | None) -> None:
    """Check that a SynthesisPipeline can teach a student.

    Args:
        pipeline: The teacher.
        scheduler: The student's.
        latent: `quantized` or `continuous`, the student's.
        fingerprint: Of the student's text encoder; None: not known.

    Raises:
        ValueError: Schedule, prediction type, latent or text encoder are others, or one of them is for flow matching.
    """
    theirs = pipeline.scheduler
    if isinstance(theirs, FlowMatchEulerDiscreteScheduler) or isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        raise ValueError("consistency distillation is for noise schedules (epsilon, sample, v), not for flow matching")
    told = {"predicts": theirs.config.prediction_type, "latent": pipeline.config["latent"]}
    ours = {"predicts": scheduler.config.prediction_type, "latent": latent}
    if told != ours:
        raise ValueError(f"the teacher has {told}, this model {ours}: make them the same")
    alpha_bar = cast(VarianceSchedule, scheduler).alphas_cumprod
    if theirs.alphas_cumprod.shape != alpha_bar.shape or not theirs.alphas_cumprod.allclose(alpha_bar, atol=1e-6):
        raise ValueError("the teacher's noise schedule is another one: give `scheduler` the teacher's betas")
    if fingerprint is not None and pipeline.conditioner.config["text_fingerprint"] not in (None, fingerprint):
        raise ValueError("the teacher was trained with another text encoder: give `text_encoder` that one")


def guided_x0(
    networks: Networks, scheduler: NoiseSchedule, noisy: Tensor, timesteps: Tensor, given: Conditions, terms: Terms
) -> Tensor:
    """The x0 that networks see in a noisy latent under guidance.

    Args:
        networks: Conditioner and denoising network.
        scheduler: Their schedule and prediction type.
        noisy: x_t, (B, C, h, w).
        timesteps: (B,) in [0, T).
        given: Conditions of the B images.
        terms: See diffusion.guidance.guidance_terms.

    Returns:
        (B, C, h, w), float32.
    """
    answers = []
    for weight, left_out in terms:
        part = given
        for name in left_out:
            part = part.without(name)
        part, _ = networks["conditioner"].planned(part)
        answers.append((weight, ask(networks["unet"], noisy, timesteps, part, networks["conditioner"](part))))
    alpha, sigma = noise_levels(scheduler, timesteps)
    return predicted_x0(scheduler.config.prediction_type, weighted_sum(answers), noisy, alpha, sigma)


def synthesis_distillation_loss(
    student: Networks,
    target: Networks,
    teacher: Networks,
    scheduler: NoiseSchedule,
    x0: Tensor,
    given: Conditions,
    noise: Tensor,
    index: Tensor,
    teacher_terms: Terms,
    steps: int = 50,
    huber: float = 0.001,
) -> Tensor:
    """`consistency_loss` of a guided teacher and a student that needs no guidance.

    Args:
        student: The networks that are trained.
        target: Their moving average.
        teacher: The trained model's.
        scheduler: Their noise schedule.
        x0: (B, C, h, w).
        given: Conditions of the B images.
        noise: White, of the shape of x0.
        index: n, (B,) in [0, steps).
        teacher_terms: The teacher's guidance, see diffusion.guidance.guidance_terms.
        steps: Of the grid.
        huber: c of the pseudo-Huber distance.

    Returns:
        A scalar.
    """

    def sees(networks: Networks, terms: Terms) -> SeesX0:
        return lambda noisy, timesteps: guided_x0(networks, scheduler, noisy, timesteps, given, terms)

    alone: Terms = [(1.0, ())]
    return consistency_loss(
        sees(student, alone),
        sees(target, alone),
        sees(teacher, teacher_terms),
        scheduler,
        x0,
        noise,
        index,
        steps,
        huber,
    )

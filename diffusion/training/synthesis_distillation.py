"""Consistency distillation for synthesis, with the teacher's guidance folded in.

Guided distillation (Meng et al., arXiv 2210.03142) in the form of latent consistency models (Luo et al., arXiv
2310.04378, algorithm 1) at fixed scales: the teacher's step is its guided one, so that the student draws in one call a
step what the teacher draws in two or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffusion.guidance import Terms, weighted_sum
from diffusion.networks.conditioning import Conditions
from diffusion.parametrization import predicted_x0
from diffusion.training.distillation import SeesX0, consistency_loss
from diffusion.training.objectives import noise_levels
from diffusion.training.synthesis_objective import ask

Networks = Mapping[str, Any]  # "unet" and "conditioner"; also an nn.ModuleDict


def check_teacher(pipeline: Any, scheduler: Any, latent: str, fingerprint: str | None) -> None:
    """Raise ValueError unless a SynthesisPipeline can teach a student of this schedule, latent and text encoder."""
    theirs = pipeline.scheduler
    if isinstance(theirs, FlowMatchEulerDiscreteScheduler) or isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        raise ValueError("consistency distillation is for noise schedules (epsilon, sample, v), not for flow matching")
    told = {"predicts": theirs.config.prediction_type, "latent": pipeline.config["latent"]}
    ours = {"predicts": scheduler.config.prediction_type, "latent": latent}
    if told != ours:
        raise ValueError(f"the teacher has {told}, this model {ours}: make them the same")
    if theirs.alphas_cumprod.shape != scheduler.alphas_cumprod.shape or not theirs.alphas_cumprod.allclose(
        scheduler.alphas_cumprod, atol=1e-6
    ):
        raise ValueError("the teacher's noise schedule is another one: give `scheduler` the teacher's betas")
    if fingerprint is not None and pipeline.conditioner.config["text_fingerprint"] not in (None, fingerprint):
        raise ValueError("the teacher was trained with another text encoder: give `text_encoder` that one")


def guided_x0(
    networks: Networks, scheduler: Any, noisy: Tensor, timesteps: Tensor, given: Conditions, terms: Terms
) -> Tensor:
    """The x0 (B, C, h, w), float32, that networks see in `noisy` at timesteps (B,) under guidance (guidance_terms)."""
    answers = []
    for weight, left_out in terms:
        part = given
        for name in left_out:
            part = part.without(name)
        answers.append((weight, ask(networks["unet"], noisy, timesteps, part, networks["conditioner"](part))))
    alpha, sigma = noise_levels(scheduler, timesteps)
    return predicted_x0(scheduler.config.prediction_type, weighted_sum(answers), noisy, alpha, sigma)


def synthesis_distillation_loss(
    student: Networks,
    target: Networks,
    teacher: Networks,
    scheduler: Any,
    x0: Tensor,
    given: Conditions,
    noise: Tensor,
    index: Tensor,
    teacher_terms: Terms,
    steps: int = 50,
    huber: float = 0.001,
) -> Tensor:
    """diffusion.training.distillation.consistency_loss of a teacher guided by `teacher_terms` and a student without
    guidance.

    x0, noise (B, C, h, w); index (B,) in [0, steps).
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

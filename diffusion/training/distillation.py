"""Consistency distillation: a network that leads any x_t of a teacher's trajectory to its x_0 in one call.

Song et al., arXiv 2303.01469, algorithm 2, in the discrete form of latent consistency models (Luo et al., arXiv
2310.04378): on a grid of timesteps, the student at t_n+1 must say what the target network, its moving average, says at
t_n, where the teacher's DDIM step from t_n+1 has led. diffusers' LCMScheduler samples the student.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from diffusion.contracts import NoiseSchedule
from diffusion.networks.concatenation import ConditionScaling, concatenate_condition
from diffusion.parametrization import predicted_x0
from diffusion.training.objectives import noise_levels

if TYPE_CHECKING:
    from diffusion.pipelines.suppression import BoneSuppressionPipeline

SIGMA_DATA = 0.5  # of LCMScheduler
TIMESTEP_SCALING = 10.0
SMALLEST_ALPHA = 0.01  # of x0 in the noisiest x_t of a grid, where the noise is predicted
SeesX0 = Callable[[Tensor, Tensor], Tensor]


def boundary_scalings(timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Weights by which f(x_0, 0) = x_0 holds whatever the network says.

    c_skip = sigma_data^2 / ((s t)^2 + sigma_data^2), c_out = s t / sqrt((s t)^2 + sigma_data^2), as in LCMScheduler.

    Args:
        timesteps: Of any shape, in [0, T).

    Returns:
        c_skip and c_out, each of that shape: 1 and 0 at t = 0.

    Reference:
        Song et al., arXiv:2303.01469, appendix C.
    """
    scaled = TIMESTEP_SCALING * timesteps.float()
    return SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2), scaled / (scaled**2 + SIGMA_DATA**2).sqrt()


def solver_timesteps(num_train_timesteps: int, steps: int) -> Tensor:
    """The grid 0, t_1, ..., t_steps with t_n = n T / steps - 1; that of LCMScheduler(original_inference_steps=steps).

    Args:
        num_train_timesteps: T.
        steps: At most T.

    Returns:
        (steps + 1,), int64, increasing.
    """
    grid = torch.arange(1, steps + 1) * (num_train_timesteps // steps) - 1
    return torch.cat([torch.zeros(1, dtype=grid.dtype), grid])


def check_solver(scheduler: NoiseSchedule, steps: int) -> None:
    """Refuse a grid whose noisiest step holds next to nothing of x0, for a network that predicts noise.

    There x0 is its answer's error over alpha: at t = 999 of the squared cosine, 20,000 times that error.

    Args:
        scheduler: The teacher's and student's.
        steps: Of the grid.

    Raises:
        ValueError: The grid is such a one.
    """
    last = solver_timesteps(scheduler.config.num_train_timesteps, steps)[-1:]
    alpha = noise_levels(scheduler, last)[0].item()
    if scheduler.config.prediction_type == "epsilon" and alpha < SMALLEST_ALPHA:
        raise ValueError(
            f"a grid of {steps} steps begins at timestep {last.item()}, where the image counts {alpha:.1g}, so a "
            f"network that predicts noise cannot tell it: take another number, such as {steps + 1}, in solver_steps "
            "and original_inference_steps"
        )


def check_teacher(pipeline: BoneSuppressionPipeline, form: dict[str, Any], prediction: str) -> None:
    """Check that a BoneSuppressionPipeline can teach a model, or that its training can go on from there.

    Args:
        pipeline: The teacher.
        form: What the model's config has, by the names of the pipeline's config.
        prediction: The model's prediction type.

    Raises:
        ValueError: The teacher has another form or predicts something else.
    """
    theirs = {name: pipeline.config[name] for name in form}
    predicts = pipeline.scheduler.config.prediction_type
    if form != theirs or prediction != predicts:
        raise ValueError(
            f"the teacher has {theirs}, predicting {predicts}; this model has {form}, predicting {prediction}: make "
            "them the same"
        )


def network_x0(
    network: ModelMixin,
    scheduler: NoiseSchedule,
    noisy: Tensor,
    condition: Tensor,
    timesteps: Tensor,
    scaling: ConditionScaling,
) -> Tensor:
    """The x0 that a network sees in a noisy latent.

    Args:
        network: See diffusion.networks.
        scheduler: Its schedule and prediction type.
        noisy: x_t, (B, C, H, W).
        condition: (B, Cc, H, W).
        timesteps: (B,) in [0, T).
        scaling: See diffusion.networks.conditioning.

    Returns:
        (B, C, H, W), float32, not clipped.
    """
    alpha, sigma = noise_levels(scheduler, timesteps)
    output = network(concatenate_condition(noisy, condition, alpha, scaling, training=False), timesteps).sample
    output = output[:, : noisy.shape[1]].float()
    return predicted_x0(scheduler.config.prediction_type, output, noisy, alpha, sigma)


def consistency_function(
    network: ModelMixin,
    scheduler: NoiseSchedule,
    noisy: Tensor,
    condition: Tensor,
    timesteps: Tensor,
    scaling: ConditionScaling,
) -> Tensor:
    """f(x_t, t) = c_skip(t) x_t + c_out(t) x0(x_t, t), the student's answer.

    Args:
        network: See diffusion.networks.
        scheduler: Its schedule and prediction type.
        noisy: x_t, (B, C, H, W).
        condition: (B, Cc, H, W).
        timesteps: (B,) in [0, T).
        scaling: See diffusion.networks.conditioning.

    Returns:
        (B, C, H, W), float32.
    """
    return _consistent(lambda x, t: network_x0(network, scheduler, x, condition, t, scaling), noisy, timesteps)


def _consistent(sees: SeesX0, noisy: Tensor, timesteps: Tensor) -> Tensor:
    skip, out = (scale.reshape(-1, 1, 1, 1) for scale in boundary_scalings(timesteps))
    return skip * noisy + out * sees(noisy, timesteps)


def ddim_step(scheduler: NoiseSchedule, x0: Tensor, noisy: Tensor, timesteps: Tensor, previous: Tensor) -> Tensor:
    """One deterministic DDIM step.

    Args:
        scheduler: The noise schedule.
        x0: What is seen in `noisy`, (B, C, H, W).
        noisy: x_t, (B, C, H, W).
        timesteps: t, (B,).
        previous: The earlier timesteps to go to, (B,).

    Returns:
        x at `previous`, (B, C, H, W).

    Reference:
        Song et al., arXiv:2010.02502, eq. 12 with sigma = 0.
    """
    alpha, sigma = noise_levels(scheduler, timesteps)
    alpha_previous, sigma_previous = noise_levels(scheduler, previous)
    return alpha_previous * x0 + sigma_previous * (noisy - alpha * x0) / sigma


def consistency_loss(
    student: SeesX0,
    target: SeesX0,
    teacher: SeesX0,
    scheduler: NoiseSchedule,
    x0: Tensor,
    noise: Tensor,
    index: Tensor,
    steps: int = 50,
    huber: float = 0.001,
) -> Tensor:
    """Distance between the student at t_n+1 and the target network at t_n, where the teacher's step leads.

    Only the student gets a gradient.

    Args:
        student: (x_t (B, C, H, W), timesteps (B,)) -> the x0 that it sees in x_t, float32.
        target: The same, of the student's moving average.
        teacher: The same, of the trained diffusion model.
        scheduler: Their noise schedule.
        x0: (B, C, H, W).
        noise: White, of the same shape.
        index: n, (B,) in [0, steps).
        steps: Of the grid, see `solver_timesteps`.
        huber: c of the pseudo-Huber distance sqrt(d^2 + c^2) - c.

    Returns:
        A scalar.

    Reference:
        Song et al., arXiv:2303.01469, algorithm 2; Luo et al., arXiv:2310.04378.
    """
    grid = solver_timesteps(scheduler.config.num_train_timesteps, steps).to(x0.device)
    later, earlier = grid[index + 1], grid[index]
    alpha, sigma = noise_levels(scheduler, later)
    noisy = alpha * x0 + sigma * noise
    with torch.no_grad():
        led = ddim_step(scheduler, teacher(noisy, later), noisy, later, earlier)
        wanted = _consistent(target, led, earlier)
    said = _consistent(student, noisy, later)
    return ((said - wanted).square() + huber**2).sqrt().sub(huber).mean()


def distillation_loss(
    student: ModelMixin,
    target: ModelMixin,
    teacher: ModelMixin,
    scheduler: NoiseSchedule,
    x0: Tensor,
    condition: Tensor,
    noise: Tensor,
    index: Tensor,
    steps: int = 50,
    condition_scaling: ConditionScaling = "clean",
    huber: float = 0.001,
) -> Tensor:
    """`consistency_loss` of networks that see their condition beside the noisy target.

    Args:
        student: The network that is trained.
        target: Its moving average.
        teacher: The trained diffusion model's network.
        scheduler: Their noise schedule.
        x0: (B, C, H, W).
        condition: (B, Cc, H, W).
        noise: White, of the shape of x0.
        index: n, (B,) in [0, steps).
        steps: Of the grid, see `solver_timesteps`.
        condition_scaling: See diffusion.networks.conditioning.
        huber: c of the pseudo-Huber distance.

    Returns:
        A scalar.
    """

    def sees(network: ModelMixin) -> SeesX0:
        return lambda noisy, timesteps: network_x0(network, scheduler, noisy, condition, timesteps, condition_scaling)

    return consistency_loss(sees(student), sees(target), sees(teacher), scheduler, x0, noise, index, steps, huber)

"""Brownian bridge diffusion (BBDM, Li et al., arXiv 2205.07680), the process of DeBoneDiT, as a diffusers scheduler.

BBDM runs from x_0, the soft-tissue latent, to y, the radiograph's: x_t = (1 - m_t) x_0 + m_t y + sqrt(sigma_t) epsilon
with m_t = t / T and sigma_t = 2 s (m_t - m_t^2) (its eq. 4 to 6). In the difference d = y - x, which is what target
`bone` diffuses, the end is nought and y drops out:

    d_t = (1 - m_t) d_0 + sqrt(sigma_t) epsilon,    d_T = 0,

and the posterior of its eq. 9 is that of a Brownian bridge: given d_t and d_0, at r < t,

    d_r ~ N(m_r / m_t d_t + (1 - m_r / m_t) d_0,  2 s m_r (m_t - m_r) / m_t).

Sampling so starts from the radiograph itself and each step takes bone away; the network learns only the difference.
(DeBoneDiT's code takes another step, which keeps nothing of x_t in the mean: (1 - m_r) x_0 + m_r y.)
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from diffusion.parametrization import predicted_x0


class BrownianBridgeScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Bridge between the difference of two latents (t = 0) and nothing (t = T); for target `bone`.

    Args:
        num_train_timesteps: T.
        variance_scale: s, 0 or more; the variance is greatest half way, s / 2.
        prediction_type: What the network answers: `difference` is BBDM's own, x_t - x_0 (its eq. 11); `epsilon` is
            DeBoneDiT's; `sample` is d_0.

    Raises:
        ValueError: variance_scale is negative.

    Reference:
        Li et al., arXiv:2205.07680, eq. 4 to 9.
    """

    order = 1
    init_noise_sigma = 0.0  # the first sample is d_T = 0, the radiograph

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        variance_scale: float = 1.0,
        prediction_type: Literal["difference", "epsilon", "sample"] = "difference",
    ) -> None:
        if variance_scale < 0:
            raise ValueError(f"variance_scale is {variance_scale}; it must be 0 or more")
        self.config: Any
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1)

    def levels(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What d_0 and epsilon are multiplied by in d_t.

        Args:
            timesteps: In [0, T), of any shape.

        Returns:
            1 - m_t and sqrt(sigma_t), each of that shape, float32.
        """
        m = timesteps.double() / self.config.num_train_timesteps
        return (1 - m).float(), (2 * self.config.variance_scale * (m - m**2)).sqrt().float()

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Choose the timesteps of sampling, evenly spaced from T - 1 down; the last of them leads to t = 0.

        Args:
            num_inference_steps: 1 to T.
            device: Where `timesteps` is put.

        Raises:
            ValueError: Another number of steps.
        """
        last = self.config.num_train_timesteps
        if not 1 <= num_inference_steps <= last:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; expected 1 to {last}")
        steps = np.linspace(last - 1, 0, num_inference_steps + 1)[:-1].round().astype(np.int64)
        self.timesteps = torch.from_numpy(steps).to(device)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor]:
        """From d_t to d_r of the next timestep r by the posterior; after the last timestep, the predicted d_0.

        Args:
            model_output: The network's answer (B, C, h, w).
            timestep: t, one of those that set_timesteps made.
            sample: d_t, (B, C, h, w).
            generator: Where the noise comes from, one for all or one an image; None: torch's own.
            return_dict: Whether the result comes as an object instead of a tuple.

        Returns:
            d_r as `.prev_sample`, or as the only item of a tuple.

        Raises:
            ValueError: The timestep is not one of this scheduler's.
        """
        index = (self.timesteps == int(timestep)).nonzero()
        if not len(index):
            raise ValueError(f"timestep {int(timestep)} is not one of this scheduler's; call set_timesteps first")
        alpha, sigma = (level.to(sample.device) for level in self.levels(torch.as_tensor(int(timestep))))
        d0 = predicted_x0(self.config.prediction_type, model_output, sample, alpha, sigma)
        following = int(index[0]) + 1
        if following == len(self.timesteps):
            previous = d0
        else:
            m_t, m_r = (int(t) / self.config.num_train_timesteps for t in (timestep, self.timesteps[following]))
            variance = 2 * self.config.variance_scale * m_r * (m_t - m_r) / m_t
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            previous = m_r / m_t * sample + (1 - m_r / m_t) * d0 + variance**0.5 * noise
        return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)

    def __len__(self) -> int:
        return self.config.num_train_timesteps

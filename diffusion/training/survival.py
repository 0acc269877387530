"""What nodules and devices lose in training: a hinge on the part of each one's signal that goes with the bone.

A twin is the same radiograph without its nodules and devices. What a network's answer changes between the two,
projected onto what they add to the radiograph, is what it takes of them. Punishing every change makes a model timid; a
hinge asks nothing of an object that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from diffusion.contracts import NoiseSchedule
from diffusion.networks.concatenation import ConditionScaling
from diffusion.parametrization import predicted_x0
from diffusion.training.objectives import denoising_errors, noise_levels, training_answer

# Sum of squares of what a nodule or device adds, in units of the deviation, from where on it counts.
SMALLEST_OBJECT = 0.6  # in pixels
SMALLEST_IN_LATENTS = 3.0  # of local contrast: about the same objects


def lost_signal(
    bone: Tensor, without: Tensor, added: Tensor, numbers: Tensor, smallest: float = SMALLEST_OBJECT
) -> Tensor:
    """The part of each object's signal that goes with the bone: its change projected onto the object.

    Args:
        bone: The predicted bone less the true one, with the objects, (B, C, H, W).
        without: The same without the objects.
        added: What they add to the radiograph, (B, C, H, W), in units of its deviation.
        numbers: Which object lies there, integers (B, 1, H, W), 0 for none. One with hardly any signal is left out.
        smallest: Sum of squares of what an object adds, from where on it counts.

    Returns:
        (N,), 0 for an object that is kept and 1 for one that is gone.
    """
    places = numbers.long().expand_as(added).flatten(1)
    count = int(places.max()) + 1
    places = (places + count * torch.arange(len(places), device=places.device)[:, None]).flatten()
    sums = [image.flatten().new_zeros(count * len(bone)) for image in (bone, added)]
    signal, power = (
        total.index_add(0, places, image.flatten())
        for total, image in zip(sums, ((bone - without) * added, added.square()))
    )
    kept = power > smallest
    kept[::count] = False  # where there is none
    return signal[kept] / power[kept]


def hinge_loss(lost: Tensor, margin: float) -> Tensor:
    """What objects lose beyond a margin, in the mean.

    Args:
        lost: Of each object, (N,), see `lost_signal`.
        margin: Part of its signal that an object may lose.

    Returns:
        A scalar, 0 without objects.
    """
    return mean_lost((lost - margin).clamp(min=0))


def mean_lost(lost: Tensor) -> Tensor:
    """The mean of what objects lose; processes whose batch has none log it too.

    Args:
        lost: Of each object, (N,), see `lost_signal`.

    Returns:
        A scalar, 0 without objects.
    """
    return lost.sum() / max(len(lost), 1)


@dataclass(frozen=True)
class SurvivalHinge:
    """What is asked of nodules and devices while latent diffusion is trained, on CTPairDataModule's batches with twins.

    Attributes:
        weight: Of the lost signal beside the denoising loss.
        margin: Part of an object's signal that may be lost.
        twin_share: Part of a batch that is seen without its objects too, in (0, 1].
    """

    weight: float = 1.0
    margin: float = 0.03
    twin_share: float = 0.5

    def __post_init__(self) -> None:
        if self.weight <= 0 or not 0 < self.twin_share <= 1:
            raise ValueError(
                f"survival hinge of weight {self.weight} and twin_share {self.twin_share}: give a weight above 0 and a "
                "share in (0, 1], or null for none"
            )

    def with_twins(self, batch: dict[str, Any]) -> tuple[dict[str, Any], Tensor]:
        """A batch with the twins of its first images behind it.

        Args:
            batch: With "radiograph", "soft", "without", "soft_without" and "objects", each (B, 1, H, W).

        Returns:
            "radiograph" and "soft", each (B + N, 1, H, W), and the objects of the first N, (N, 1, H, W).

        Raises:
            ValueError: The batch has no twins.
        """
        if "without" not in batch:
            raise ValueError("the survival hinge needs twins, as CTPairDataModule gives them: set it to null")
        count = max(1, round(self.twin_share * len(batch["soft"])))
        pairs = (("radiograph", "without"), ("soft", "soft_without"))
        both = {name: torch.cat([batch[name], batch[twin][:count]]) for name, twin in pairs}
        return both, batch["objects"][:count]


def protected_denoising_loss(
    network: nn.Module,
    scheduler: NoiseSchedule,
    x0: Tensor,
    condition: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    objects: Tensor,
    hinge: SurvivalHinge,
    taken: float = 1.0,
    condition_scaling: ConditionScaling = "clean",
    min_snr_gamma: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`denoising_loss` and the hinge on what the objects lose, in latents, at whatever noise level.

    Args:
        network: Its output channels beyond C are not used.
        scheduler: Its schedule and prediction type.
        x0: (B + N, C, h, w): the last N rows are the twins of the first N.
        condition: The radiographs' latents, (B + N, C, h, w).
        noise: Of the shape of x0, a twin's like its original's.
        timesteps: (B + N,) in [0, T), a twin's like its original's.
        objects: Which object lies where, integers (N, 1, H, W), 0 for none.
        hinge: Weight and margin.
        taken: What a unit of x0 takes away from the condition: 1 / residual_scale of target `bone`, -1 of
            `soft`.
        condition_scaling: See diffusion.networks.concatenation.
        min_snr_gamma: See `denoising_loss`.

    Returns:
        The loss and what an object loses in the mean, two scalars.
    """
    count = len(objects)
    output, noisy = training_answer(network, scheduler, x0, condition, noise, timesteps, condition_scaling)
    loss = denoising_errors(output, scheduler, x0, noise, timesteps, min_snr_gamma).mean()
    alpha, sigma = noise_levels(scheduler, timesteps)
    wrong = taken * (predicted_x0(scheduler.config.prediction_type, output, noisy, alpha, sigma) - x0)
    added = condition[:count] - condition[-count:]
    places = max_pool2d(objects.float(), objects.shape[-1] // x0.shape[-1])
    lost = lost_signal(wrong[:count], wrong[-count:], added, places, SMALLEST_IN_LATENTS)
    return loss + hinge.weight * hinge_loss(lost, hinge.margin), mean_lost(lost)

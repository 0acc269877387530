"""What nodules and devices lose, and the hinge on it in latents."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion import ThresholdedDDIMScheduler
from diffusion.training.objectives import denoising_loss
from diffusion.training.survival import (
    SurvivalHinge,
    hinge_loss,
    lost_signal,
    mean_lost,
    protected_denoising_loss,
)


def test_lost_signal_is_the_part_of_each_nodule_that_goes_with_the_bone():
    nodules, numbers = torch.zeros(3, 1, 16, 16), torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    for image, number, rows, height in ((0, 1, 2, 2.0), (0, 2, 10, 0.5), (1, 1, 4, 0.3)):
        nodules[image, 0, rows : rows + 4, 2:6] = height
        numbers[image, 0, rows : rows + 4, 2:6] = number
    part = torch.zeros_like(nodules)
    part[0, 0, :8], part[0, 0, 8:], part[1] = 0.5, 0.04, -0.2  # large and small ones count for themselves
    taken = part * nodules
    taken[2] = 1.0  # no nodule there
    elsewhere = torch.zeros_like(nodules)
    elsewhere[..., 9] = 3.0  # a change off the nodules takes nothing of them
    lost = lost_signal(taken + elsewhere, torch.zeros_like(taken), nodules, numbers)
    torch.testing.assert_close(lost, torch.tensor([0.5, 0.04, -0.2]))
    torch.testing.assert_close(lost_signal(taken + 7, 0 * taken + 7, nodules, numbers), lost)
    faint = lost_signal(taken, 0 * taken, 0.01 * nodules, numbers)
    assert not len(faint)


def test_the_hinge_asks_nothing_of_what_is_kept_nor_of_pictures_without_objects():
    lost = torch.tensor([0.5, 0.02, -3.0])
    assert hinge_loss(lost, 0.1).item() == pytest.approx(0.4 / 3)
    assert hinge_loss(lost[1:], 0.1) == 0
    assert hinge_loss(lost[:0], 0.1) == 0 and mean_lost(lost[:0]) == 0  # and no NaN, which would end a training


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"twin_share": 0.0}, {"twin_share": 1.1}])
def test_a_hinge_that_does_nothing_is_refused(options):
    with pytest.raises(ValueError, match="weight above 0 and a share in"):
        SurvivalHinge(**options)


def test_twins_follow_their_originals_and_must_be_there():
    batch = {name: torch.full((4, 1, 2, 2), float(k)) for k, name in enumerate(("radiograph", "soft"))}
    with pytest.raises(ValueError, match="needs twins"):
        SurvivalHinge().with_twins(batch)
    twins = {"without": torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2), "soft_without": batch["soft"] + 7}
    twins["objects"] = torch.arange(4).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    both, objects = SurvivalHinge(twin_share=0.5).with_twins({**batch, **twins})
    assert both["radiograph"][:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 1]
    assert both["soft"][:, 0, 0, 0].tolist() == [1, 1, 1, 1, 8, 8]
    assert objects[:, 0, 0, 0].tolist() == [0, 1]


class Takes(nn.Module):
    """Answers the truth and a part of the nodule, whatever the noise; `condition` is the input's second half."""

    def __init__(self, x0: torch.Tensor, nodule: torch.Tensor, part: float) -> None:
        super().__init__()
        self.x0, self.nodule, self.part = x0, nodule, part

    def forward(self, inputs, timesteps):
        class Answer:
            sample = self.x0 + self.part * self.nodule

        return Answer


@pytest.mark.parametrize(("target", "taken", "sign"), [("bone", 0.5, 2.0), ("soft", -1.0, -1.0)])
def test_what_a_latent_answer_takes_of_a_nodule_counts_beyond_the_margin(target, taken, sign):
    torch.manual_seed(0)
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    condition, x0, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    nodule = torch.zeros(3, 4, 8, 8)
    nodule[0, :, 2:4, 2:4] = torch.randn(4, 2, 2) + 2
    condition[2] = condition[0] - nodule[0]  # the twin of the first of two pictures
    objects = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    objects[:, :, 8:16, 8:16] = 3
    told = (scheduler, x0, condition, noise, torch.tensor([900, 10, 900]))
    hinge = SurvivalHinge(weight=5.0, margin=0.1)
    for part, beyond in ((0.4, 0.3), (0.05, 0.0), (-0.4, 0.0)):  # a unit of x0 takes `taken` of the condition
        network = Takes(x0, nodule, part * sign)
        plain = denoising_loss(network, *told)
        loss, lost = protected_denoising_loss(network, *told, objects, hinge, taken)
        assert lost.item() == pytest.approx(part, abs=1e-5)
        assert (loss - plain).item() == pytest.approx(5.0 * beyond, abs=1e-4)

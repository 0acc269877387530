from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion import concatenate_condition, offset_noise, seeded_generators, seeded_noise, warmed_up_ema


def test_offset_noise_adds_one_constant_per_image_and_channel():
    noise = offset_noise((400, 4, 16, 16), 0.5, torch.Generator().manual_seed(0))
    white = offset_noise((400, 4, 16, 16), 0.0, torch.Generator().manual_seed(0))
    constant = (noise - white).mean(dim=(2, 3))
    torch.testing.assert_close(noise - white, constant[..., None, None].expand_as(noise), atol=1e-5, rtol=0)
    assert constant.std().item() == pytest.approx(0.5, rel=0.06)
    # the variance of an image's mean: offset^2 + 1/256
    assert noise.mean(dim=(2, 3)).var().item() == pytest.approx(0.25 + 1 / 256, rel=0.12)


def test_seeded_noise_depends_on_the_seed_alone():
    three = seeded_noise(seeded_generators([4, 5, 6]), (2, 3, 3), "cpu")
    assert torch.equal(seeded_noise(seeded_generators([5]), (2, 3, 3), "cpu")[0], three[1])
    assert not torch.equal(three[0], three[1])


def test_scaled_condition_is_scaled_in_sampling_and_legacy_is_not():
    noisy, condition, alpha = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2), torch.tensor(0.5).reshape(1, 1, 1, 1)
    for scaling, expected in (("clean", 1.0), ("legacy", 1.0), ("scaled", 0.5)):
        assert concatenate_condition(noisy, condition, alpha, scaling, training=False)[:, 1].unique() == expected


def test_ema_ramps_up_to_its_decay():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=warmed_up_ema(0.9))
    averaged.update_parameters(model)
    nn.init.ones_(model.weight)
    expected = 0.0
    for update in range(1, 200):
        averaged.update_parameters(model)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay)
        assert averaged.module.weight.item() == pytest.approx(expected, abs=1e-5)

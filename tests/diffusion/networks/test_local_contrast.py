"""A radiograph in local contrast, and its pair."""

from __future__ import annotations

import pytest
import torch

from diffusion.networks.bone_network import fine_part
from diffusion.networks.local_contrast import to_local_contrast, to_local_pair

SIGMA = 8.0


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of noise, and the same without a ladder of narrow stripes and a wide shade."""
    torch.manual_seed(0)
    soft = torch.rand(1, 1, 96, 96) * 0.4 - 0.4
    stripes = (torch.arange(96) % 12 < 4).float()[:, None] * 0.3
    return soft + stripes + 0.2, soft


def test_it_is_blind_to_the_displays_contrast_and_offset(pair):
    seen, unit = to_local_contrast(pair[0], SIGMA)
    other, smaller = to_local_contrast(0.4 * pair[0] + 0.3, SIGMA)
    torch.testing.assert_close(other, seen, atol=1e-4, rtol=0)
    torch.testing.assert_close(smaller, 0.4 * unit, atol=1e-5, rtol=1e-3)
    assert seen.abs().max() <= 1 and seen.std() == pytest.approx(1 / 3, rel=0.2)


def test_the_pairs_difference_in_grey_levels_is_the_bones_fine_part(pair):
    radiograph, soft = pair
    seen, without = to_local_pair(radiograph, soft, SIGMA)
    unit = to_local_contrast(radiograph, SIGMA)[1]
    assert torch.equal(seen, to_local_contrast(radiograph, SIGMA)[0])
    torch.testing.assert_close((seen - without) * unit, fine_part(radiograph - soft, SIGMA, 0.9), atol=1e-5, rtol=0)

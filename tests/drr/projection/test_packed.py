"""Packed voxels against the formulas of attenuation, for every int16 and every kind of bone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drr.projection.attenuation import MU_WATER_PER_MM, bone_per_mm, mu_per_mm
from drr.projection.packed import Packed, pack

EVERY_HU = torch.arange(-32768, 32768).to(torch.int16)


def fields(voxels: Packed, words: torch.Tensor) -> list[torch.Tensor]:
    """q and excess as the kernels read them, in words' order, without the zeros behind."""
    if words.is_floating_point():
        parts = list(words.double().view(-1, voxels.second))
    else:
        word = words.long()
        parts = [word & 0xFFFF, word >> 16][: 1 + voxels.with_bone]
    count = int(np.prod(voxels.shape))
    assert all(len(part) >= count + voxels.shape[1] * voxels.shape[2] and not part[count:].any() for part in parts)
    return [part[:count].double() for part in parts]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float64])
def test_every_value_and_kind_of_bone_is_kept(dtype):
    hu = EVERY_HU.repeat(3).view(3, 256, 256)
    bone = torch.arange(3, dtype=torch.uint8)[:, None, None].expand(3, 256, 256).contiguous()
    expected = [mu_per_mm(hu.double()), bone_per_mm(hu.double(), bone)]
    for count, voxels in ((1, pack(hu.to(dtype), None)), (2, pack(hu.to(dtype), bone))):
        assert voxels.words.dtype == {1: torch.int16, 2: torch.int32}[count] or dtype != torch.int16
        for field, mu in zip(fields(voxels, voxels.words), expected[:count], strict=True):
            torch.testing.assert_close(field * MU_WATER_PER_MM / 1000, mu.reshape(-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_the_turned_copy_has_rows_along_y(dtype):
    hu = torch.arange(2 * 3 * 4).view(2, 3, 4).to(dtype)
    voxels = pack(hu, torch.full(hu.shape, 2, dtype=torch.uint8))
    turned = hu.transpose(1, 2).reshape(-1).double()
    plain = voxels.words.clone()
    assert voxels.turn() and not voxels.turn()
    assert voxels.turned_at == len(plain) and torch.equal(voxels.words[: len(plain)], plain)
    for field, add in zip(fields(voxels, voxels.words[len(plain) :]), (1000, -50), strict=True):
        assert torch.equal(field, turned + add)


def test_the_box_holds_what_is_not_air_and_bone_in_air():
    hu = torch.full((6, 7, 8), -1000, dtype=torch.int16)
    hu[2:4, 1:5, 3] = 40
    assert pack(hu, None, keep=True).box.tolist() == [[3, 3], [1, 4], [2, 3]]
    assert pack(hu, None).box.tolist() == [[0, 7], [0, 6], [0, 5]]
    bone = torch.zeros(hu.shape, dtype=torch.uint8)
    bone[5, 6, 7] = 2  # attenuates less than nothing there, as by the specification
    assert pack(hu, bone, keep=True).box.tolist() == [[3, 7], [1, 6], [2, 5]]
    assert pack(torch.full_like(hu, -1024), None, keep=True).box.tolist() == [[0, 7], [0, 6], [0, 5]]

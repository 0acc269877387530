"""The published formulas, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from evaluation.suppression.legacy import bsr_one_sided, mse_published, pixel_distance_wrapping, psnr_wrapping
from evaluation.suppression.legacy_lpips import AlexNetLPIPS, load_alexnet, lpips_published


def flat(level: int) -> np.ndarray:
    return np.full((64, 64), level, np.uint8)


def test_psnr_wraps_as_published():
    # 10 - 210 = -200, which is 56 modulo 256; 56^2 = 3136, which is 64 modulo 256
    assert psnr_wrapping(flat(210), flat(10)) == pytest.approx(20 * math.log10(255 / math.sqrt(64)))
    # 16 levels apart the square is 256, which wraps to 0: a perfect score for a visible error
    assert psnr_wrapping(flat(26), flat(10)) == 100.0
    assert psnr_wrapping(flat(13), flat(10)) == pytest.approx(20 * math.log10(255 / 3))


def test_mse_does_not_wrap():
    assert mse_published(flat(210), flat(10)) == pytest.approx((200 / 255) ** 2)


def test_bsr_of_truth_and_of_the_radiograph():
    truth, radiograph = flat(100), flat(100)
    radiograph[:32] = 140  # bone on half of the image
    assert bsr_one_sided(truth, truth, radiograph) == pytest.approx(1)
    # after the shift by its mean (20) the other half lacks 20 where the bone is 40 on half of the image: 1 - 1/4
    assert bsr_one_sided(radiograph, truth, radiograph) == pytest.approx(0.75, abs=2e-3)  # the edge is resized


def test_pixel_distance_wraps():
    assert pixel_distance_wrapping(flat(10), flat(11)) == pytest.approx(255)
    assert pixel_distance_wrapping(flat(11), flat(10)) == pytest.approx(1)


@pytest.fixture
def alexnet(tmp_path) -> str:
    torch.manual_seed(0)
    state = torchvision.models.alexnet(weights=None).features.state_dict()
    save_file({f"features.{name}": tensor for name, tensor in state.items()}, tmp_path / "alexnet.safetensors")
    return str(tmp_path / "alexnet.safetensors")


def test_lpips_of_alexnet_is_that_of_torchmetrics(alexnet):
    from torchmetrics.functional.image.lpips import _LPIPS

    network = load_alexnet(alexnet)
    theirs = _LPIPS(net="alex", pnet_rand=True)
    theirs.net.load_state_dict(
        {
            f"slice{k}.{i}.{kind}": network.features[i].state_dict()[kind]
            for k, layers in enumerate((range(2), range(2, 5), range(5, 8), range(8, 10), range(10, 12)), start=1)
            for i in layers
            for kind in network.features[i].state_dict()
        }
    )
    a, b = torch.rand(2, 2, 3, 70, 70, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert torch.allclose(network(a, b), theirs(a, b).flatten(), rtol=1e-3)
    assert torch.equal(network(a, a), torch.zeros(2))


def test_published_lpips_takes_grey_levels_from_0_to_1(alexnet):
    network = load_alexnet(alexnet)
    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (128, 1))
    found = lpips_published(network, ramp, 255 - ramp)
    unit = torch.from_numpy(ramp / 255).float()[None, None]
    large = torch.nn.functional.interpolate(unit, (1024, 1024), mode="bilinear")
    assert found == pytest.approx(network(large, 1 - large).item(), rel=0.02)


def test_files_that_are_not_alexnet(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of AlexNet's weights"):
        load_alexnet(tmp_path / "none.pth")
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="does not hold AlexNet's convolutions"):
        load_alexnet(tmp_path / "x.safetensors")
    assert all(not parameter.requires_grad for parameter in AlexNetLPIPS().parameters())

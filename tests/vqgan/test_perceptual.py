"""LPIPS: weights from files, against torchmetrics' network with the same weights; refusals."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchmetrics.functional.image.lpips import _LPIPS

from vqgan.perceptual import load_perceptual


@pytest.fixture(scope="module")
def reference():
    """torchmetrics' LPIPS with its own heads on a random backbone."""
    torch.manual_seed(0)
    return _LPIPS(pretrained=True, net="vgg", pnet_rand=True).eval()


@pytest.fixture(scope="module")
def backbone(reference):
    """The backbone's weights under torchvision's names."""
    state = reference.net.state_dict()  # slice1.0.weight -> features.0.weight
    return {"features." + name.split(".", 1)[1]: value.clone() for name, value in state.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_equals_torchmetrics_with_the_same_weights(reference, backbone, tmp_path, suffix):
    path = tmp_path / f"vgg{suffix}"
    save_file(backbone, path) if suffix == ".safetensors" else torch.save(backbone, path)
    network = load_perceptual(path)
    a, b = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(network(a, b), reference(a, b).flatten(), rtol=1e-4, atol=1e-6)
    assert network(a, a).abs().max() == 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_grey_images_and_a_gradient(backbone, tmp_path):
    save_file(backbone, tmp_path / "vgg.safetensors")
    network = load_perceptual(tmp_path / "vgg.safetensors")
    a = torch.rand(1, 1, 32, 32).requires_grad_()
    network(a, torch.zeros(1, 1, 32, 32)).sum().backward()
    assert a.grad.abs().max() > 0
    grey = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(network(a, grey), network(a.expand(-1, 3, -1, -1), grey.expand(-1, 3, -1, -1)))


def test_a_heads_file_wins_over_the_packaged_heads(backbone, tmp_path):
    heads = {f"lin{i}.model.1.weight": torch.zeros(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))}
    save_file(backbone | heads, tmp_path / "all.safetensors")
    network = load_perceptual(tmp_path / "all.safetensors")
    assert network(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)).item() == 0


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle ran code",))


def test_bad_files_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="hf://owner names no file on the hub"):
        load_perceptual("hf://owner")
    with pytest.raises(FileNotFoundError, match="No file of perceptual weights"):
        load_perceptual(tmp_path / "none.pth")
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"features.0.weight": Bomb()}))
    torch.save({"features.0.weight": Bomb()}, tmp_path / "zip.pth")
    (tmp_path / "text.safetensors").write_text("no tensors here, only text")
    for name in ("bomb.pth", "zip.pth", "text.safetensors"):
        with pytest.raises(ValueError, match="is no file of tensors"):
            load_perceptual(tmp_path / name)
    save_file({"other.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"does not hold VGG-16's convolutions"):
        load_perceptual(tmp_path / "other.safetensors")

"""LPIPS on VGG-16 features (Zhang et al. 2018, arXiv:1801.03924, eq. 1), its weights read from a file."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchmetrics
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

STAGES = (slice(0, 4), slice(4, 9), slice(9, 16), slice(16, 23), slice(23, 30))  # each ends after a ReLU
STAGE_CHANNELS = (64, 128, 256, 512, 512)
HUB = "hf://"


class VGGPerceptual(nn.Module):
    """Distance between two images in VGG-16 features, weighted by LPIPS' linear heads; all parameters are frozen.

    Reference:
        Zhang et al. 2018, arXiv:1801.03924, eq. 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = make_layers(cfgs["D"], batch_norm=False)[:30]
        self.heads = nn.ParameterList(torch.ones(channels) for channels in STAGE_CHANNELS)
        # ImageNet's mean and deviation for an image in [-1, 1]
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)
        self.requires_grad_(False)

    def stages(self, image: Tensor) -> list[Tensor]:
        """Features of VGG-16's five stages.

        Args:
            image: (B, 1 or 3, H, W) in [-1, 1].

        Returns:
            Five tensors (B, C_i, H_i, W_i), each of unit length over the channels.
        """
        x = (image.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        outputs = []
        for stage in STAGES:
            x = self.features[stage](x)
            outputs.append(x * (x.square().sum(1, keepdim=True) + 1e-8).rsqrt())
        return outputs

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Perceptual distance of each pair of images.

        Args:
            reconstruction: (B, 1 or 3, H, W) in [-1, 1], 16 pixels a side or more.
            target: Of the same shape.

        Returns:
            Distances (B,), 0 for equal images.
        """
        pairs = zip(self.stages(reconstruction), self.stages(target), self.heads)
        return torch.stack([((a - b).square() * head[:, None, None]).sum(1).mean((1, 2)) for a, b, head in pairs]).sum(
            0
        )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"No file of perceptual weights at {path}: give a .safetensors or .pth file of VGG-16.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is no file of tensors: give a .safetensors or .pth file of VGG-16's state."
        ) from error


def load_perceptual(source: str | os.PathLike) -> VGGPerceptual:
    """Build the network with weights from a local file, or from the hub.

    Args:
        source: A .safetensors or .pth file, or hf://owner/name/file. It holds a VGG-16 state with torchvision's names
            (features.0.weight, ...); LPIPS' heads (lin0.model.1.weight, ...) are taken from it if it has them, else
            from torchmetrics.

    Returns:
        The network, on the CPU.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file holds no tensors, or not VGG-16's; or the hub's name is incomplete.
    """
    text = os.fspath(source)
    if text.startswith(HUB):
        from huggingface_hub import hf_hub_download

        if text.count("/") < 4:
            raise ValueError(f"{text} names no file on the hub: write {HUB}owner/name/file.")
        owner, name, file = text.removeprefix(HUB).split("/", 2)
        text = hf_hub_download(f"{owner}/{name}", file)
    tensors = _read_tensors(Path(text))
    heads = [f"lin{i}.model.1.weight" for i in range(len(STAGE_CHANNELS))]
    if heads[0] not in tensors:
        lpips = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/vgg.pth"
        tensors = tensors | _read_tensors(lpips)
    network = VGGPerceptual()
    state = {name: tensors[name] for name in network.state_dict() if name in tensors}
    state |= {f"heads.{i}": tensors[name].flatten() for i, name in enumerate(heads)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{text} does not hold VGG-16's convolutions under the names features.N.weight.") from error
    return network

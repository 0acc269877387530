"""LPIPS as BS-LDM's scripts compute it: AlexNet (the lpips package's default), on images in 0 .. 1.

LPIPS expects [-1, 1]; half of that range at half the contrast gives smaller distances. For comparison with papers only.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torchmetrics
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from evaluation.suppression.legacy import resized

STAGES = (slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 10), slice(10, 12))  # each ends after a ReLU
CHANNELS = (64, 192, 384, 256, 256)


class AlexNetLPIPS(nn.Module):
    """LPIPS 0.1 on AlexNet, frozen.

    Reference:
        Zhang et al. 2018, arXiv:1801.03924, eq. 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = torchvision.models.alexnet(weights=None).features[:12]
        self.heads = nn.ParameterList(torch.ones(channels) for channels in CHANNELS)
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)
        self.requires_grad_(False)

    def stages(self, image: Tensor) -> list[Tensor]:
        """Features (B, C, h, w) of the five stages of images (B, 1 or 3, H, W), of unit length over the channels.

        Args:
            image: In the range that the scripts give it, 0 .. 1; one channel is repeated.

        Returns:
            From the first stage to the last.
        """
        x = (image.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        outputs = []
        for stage in STAGES:
            x = self.features[stage](x)
            outputs.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return outputs

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (B,) of images (B, 1 or 3, H, W), 31 pixels a side or more.

        Args:
            a: In 0 .. 1.
            b: In 0 .. 1.

        Returns:
            0 for equal images.
        """
        pairs = zip(self.stages(a), self.stages(b), self.heads)
        return sum(((x - y).square() * head[:, None, None]).sum(1).mean((1, 2)) for x, y, head in pairs)  # type: ignore


def load_alexnet(path: str | Path) -> AlexNetLPIPS:
    """Load the network.

    Args:
        path: torchvision's AlexNet weights (features.0.weight, ...; .safetensors or .pth); torchmetrics brings the
            heads.

    Returns:
        The network, on the CPU.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It does not hold AlexNet's weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of AlexNet's weights (.safetensors or .pth)")
    try:
        safe = path.suffix == ".safetensors"
        tensors = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError):
        raise ValueError(f"{path} is no file of tensors: give torchvision's AlexNet as .safetensors or .pth") from None
    heads = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"
    lines = torch.load(heads, map_location="cpu", weights_only=True)
    network = AlexNetLPIPS()
    state = {name: tensors[name] for name in network.state_dict() if name in tensors}
    state |= {f"heads.{i}": lines[f"lin{i}.model.1.weight"].flatten() for i in range(len(CHANNELS))}
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise ValueError(f"{path} does not hold AlexNet's convolutions under the names features.N.weight") from None
    return network.eval()


def lpips_published(network: AlexNetLPIPS, prediction: np.ndarray, truth: np.ndarray) -> float:
    """BS-LDM's LPIPS: resized to 1024 x 1024, grey levels 0 to 1.

    Args:
        network: Of `load_alexnet`.
        prediction: uint8 (H, W).
        truth: uint8 (H, W).

    Returns:
        The distance.
    """
    images = (torch.from_numpy(resized(image))[None, None].float() / 255 for image in (prediction, truth))
    device = network.mean.device
    with torch.inference_mode():
        return network(*(image.to(device) for image in images)).item()

"""Siamese networks that tell whether two radiographs are of one patient: TorchScript, or CheXGenBench's checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from torch import Tensor, nn

from evaluation.features.extract import TRANSFORMS, Extractor
from evaluation.features.networks import load_extractor

FEATURES = 128


class SiameseResNet(nn.Module):
    """Tells from the difference of two ResNet-50 codes (B, 128) whether two radiographs are of one patient.

    Reference:
        Packhaeuser et al. 2022, arXiv:2103.08562.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = torchvision.models.resnet50(weights=None)
        self.model.fc = nn.Linear(self.model.fc.in_features, FEATURES)
        self.fc_end = nn.Linear(FEATURES, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare two batches.

        Args:
            a: Images (B, 3, S, S) in [0, 1].
            b: Images of the same shape.

        Returns:
            Logits (B, 1), high for one patient.
        """
        return self.fc_end((self.model(a).sigmoid() - self.model(b).sigmoid()).abs())


def load_siamese(path: str, transform: str | None = None) -> Extractor:
    """A siamese network from a file.

    Args:
        path: TorchScript (a, b) -> logit, or a state of `SiameseResNet` (CheXGenBench's ResNet-50 checkpoint).
        transform: As in `load_extractor`; the checkpoint's is "unit", ImageNet's normalisation otherwise.

    Returns:
        The network in evaluation mode, of two batches of images, to a logit of being one patient.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is neither of the two.
    """
    try:
        return load_extractor(path, transform or "imagenet")
    except ValueError:
        state = _tensors(Path(path))
    network = SiameseResNet()
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise ValueError(
            f"{path} holds neither TorchScript nor the tensors of CheXGenBench's siamese ResNet-50 (model.*, fc_end.*)"
        ) from None
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Extractor(Path(path).name, network.eval(), TRANSFORMS[transform or "unit"], digest)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of torch.save; none for anything else."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError):
        return {}
    return found if isinstance(found, dict) else {}

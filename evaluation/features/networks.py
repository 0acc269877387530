"""Feature networks by name: TorchScript files, Hugging Face models, torch-fidelity's Inception."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.features.extract import HUB, TRANSFORMS, Extractor, Transform

INCEPTION = "inception:"


def load_extractor(source: str, transform: str | None = None, size: int | None = None) -> Extractor:
    """A feature network by name.

    Args:
        source: A TorchScript file; a Hugging Face folder or hf://owner/name; or inception:WEIGHTS, torch-fidelity's
            network.
        transform: One of `TRANSFORMS`. A TorchScript file needs one; a Hugging Face model brings its own.
        size: Side of the input in pixels, instead of the transform's.

    Returns:
        The network in evaluation mode, with its transform and the sha256 of its weights.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: It is no such network, or lacks a transform.
    """
    if transform is not None and transform not in TRANSFORMS:
        raise ValueError(f"--transform {transform}: choose one of {', '.join(TRANSFORMS)}")
    head = None
    if source.startswith(INCEPTION):
        network, digest, chosen, head = _inception(Path(source.removeprefix(INCEPTION)))
    elif source.startswith(HUB) or Path(source).is_dir():
        network, digest, chosen = _hugging_face(source.removeprefix(HUB))
    else:
        network, digest, chosen = _torchscript(Path(source), transform)
    chosen = chosen if transform is None else TRANSFORMS[transform]
    if size is not None:
        chosen = Transform(size, chosen.channels, chosen.low, chosen.high, chosen.mean, chosen.std)
    return Extractor(Path(source).name, network.eval(), chosen, digest, head)


def load_torchscript(path: Path) -> nn.Module:
    """Load a TorchScript module.

    Args:
        path: The file.

    Returns:
        The module in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no TorchScript.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such TorchScript file or Hugging Face folder")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own advice to use another format
            return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError:
        raise ValueError(
            f"{path} is no TorchScript file: save the network with torch.jit.script(...).save(...)"
        ) from None


def _torchscript(path: Path, transform: str | None) -> tuple[nn.Module, str, Transform]:
    network = load_torchscript(path)
    if transform is None:
        raise ValueError(f"{path}: say what its input is with --transform, one of {', '.join(TRANSFORMS)}")
    return network, hashlib.sha256(path.read_bytes()).hexdigest(), TRANSFORMS[transform]


def _hugging_face(name: str) -> tuple[nn.Module, str, Transform]:
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise ValueError("Hugging Face models need transformers: pip install 'radiolucent[evaluation]'") from None
    from diffusion.complete import whole_transformer

    model, transform = whole_transformer(AutoModel, name), from_processor(AutoImageProcessor.from_pretrained(name))
    digest = hashlib.sha256(repr(model.config).encode())
    for _, tensor in sorted(model.state_dict().items()):
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return model, digest.hexdigest(), transform


def from_processor(processor: Any) -> Transform:
    """A Hugging Face image processor's size, mean and standard deviation as a Transform.

    Args:
        processor: With image_mean, image_std, and a crop_size or else a size; each names a height or a shortest edge.

    Returns:
        For pixels in 0 .. 1, three channels.
    """
    size = getattr(processor, "crop_size", None) or processor.size
    side = size.get("height") or size.get("shortest_edge")
    return Transform(side, mean=tuple(processor.image_mean), std=tuple(processor.image_std))


class _Inception(nn.Module):
    """torch-fidelity's pool3 features (B, 2048) of images (B, 3, H, W) in 0 .. 255."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.round().to(torch.uint8))[0]


def _inception(weights: Path) -> tuple[nn.Module, str, Transform, Tensor]:
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file of weights (torch-fidelity's weights-inception-2015-12-05)")
    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except ImportError:
        raise ValueError("Inception needs torch-fidelity: pip install 'radiolucent[evaluation]'") from None
    network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return _Inception(network), digest, TRANSFORMS["inception"], network.fc.weight.detach()

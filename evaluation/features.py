"""Features of images by any network: TorchScript files, Hugging Face models, torch-fidelity's Inception.

Each network gets the input that it was trained on; the transform is part of what is reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from evaluation.inputs import ImageSet, refuse, thumbnail
from radiographs import atomic_path, read_radiograph

CHUNK = 1024  # images between two saves
INCEPTION, HUB = "inception:", "hf://"


@dataclass(frozen=True)
class Transform:
    """Squash to (size, size), bilinear, antialiased; black becomes `low` and white `high`; then (x - mean) / std."""

    size: int
    channels: int = 3
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """float32 (H, W) in [-1, 1] -> float32 (channels, size, size)."""
        image = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        scaled = (self.low + (image[0].clamp(-1, 1) + 1) / 2 * (self.high - self.low)).expand(self.channels, -1, -1)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (scaled - mean) / std


TRANSFORMS = {
    "imagenet": Transform(224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "unit": Transform(224),
    "symmetric": Transform(224, low=-1.0),
    "torchxrayvision": Transform(224, channels=1, low=-1024.0, high=1024.0),
    "inception": Transform(299, high=255.0),
}


@dataclass(frozen=True)
class Extractor:
    """A network (B, C, S, S) -> features (B, D), its input, and a digest of its weights."""

    name: str
    network: nn.Module
    transform: Callable[[np.ndarray], Tensor]
    digest: str


def load_extractor(source: str, transform: str | None = None, size: int | None = None) -> Extractor:
    """A TorchScript file; a Hugging Face folder or hf://owner/name; or inception:WEIGHTS, torch-fidelity's network.

    transform: one of `TRANSFORMS`. A TorchScript file needs one; a Hugging Face model brings its own. size: instead of
    the transform's. Raises ValueError or FileNotFoundError.
    """
    if transform is not None and transform not in TRANSFORMS:
        raise ValueError(f"--transform {transform}: choose one of {', '.join(TRANSFORMS)}")
    if source.startswith(INCEPTION):
        network, digest, chosen = _inception(Path(source.removeprefix(INCEPTION)))
    elif source.startswith(HUB) or Path(source).is_dir():
        network, digest, chosen = _hugging_face(source.removeprefix(HUB))
    else:
        network, digest, chosen = _torchscript(Path(source), transform)
    chosen = chosen if transform is None else TRANSFORMS[transform]
    if size is not None:
        chosen = Transform(size, chosen.channels, chosen.low, chosen.high, chosen.mean, chosen.std)
    return Extractor(Path(source).name, network.eval(), chosen, digest)


def load_torchscript(path: Path) -> nn.Module:
    """A TorchScript module; ValueError if the file is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such TorchScript file or Hugging Face folder")
    try:
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
    model, transform = AutoModel.from_pretrained(name), from_processor(AutoImageProcessor.from_pretrained(name))
    digest = hashlib.sha256(repr(model.config).encode())
    for _, tensor in sorted(model.state_dict().items()):
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return model, digest.hexdigest(), transform


def from_processor(processor: Any) -> Transform:
    """A Hugging Face image processor's size, mean and standard deviation as a Transform."""
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


def _inception(weights: Path) -> tuple[nn.Module, str, Transform]:
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file of weights (torch-fidelity's weights-inception-2015-12-05)")
    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except ImportError:
        raise ValueError("Inception needs torch-fidelity: pip install 'radiolucent[evaluation]'") from None
    network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
    return _Inception(network), hashlib.sha256(weights.read_bytes()).hexdigest(), TRANSFORMS["inception"]


def as_features(output: object) -> Tensor:
    """A network's output as (B, D): the pooled output of a transformer, the mean over a map (B, D, H, W)."""
    if isinstance(output, dict):  # transformers' ModelOutput is one
        pooled = output.get("pooler_output")
        output = output["last_hidden_state"][:, 0] if pooled is None else pooled
    if isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the feature network gave {what} where (B, D) or (B, D, H, W) was expected")
    return output.mean(dim=(2, 3)) if output.ndim == 4 else output


class _Files(Dataset):
    def __init__(self, paths: Sequence[Path], transform: Callable[[np.ndarray], Tensor]) -> None:
        self.paths, self.transform = list(paths), transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, np.ndarray, tuple[int, int]] | str:
        try:
            pixels = read_radiograph(self.paths[index]).pixels
        except (ValueError, OSError) as error:
            return str(error)
        return self.transform(pixels), thumbnail(pixels), (pixels.shape[0], pixels.shape[1])


@dataclass(frozen=True)
class Extracted:
    """features (N, D) float32, thumbnails (N, 32, 32) for checks, and sizes (N, 2) of the files."""

    features: np.ndarray
    thumbnails: np.ndarray
    sizes: np.ndarray


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Reading:
    """How images are read. cache: folder in which every 1024 images' features are saved and found again later.

    workers: processes that decode. progress: called with what is being done, how many are done, and of how many.
    """

    batch_size: int = 32
    workers: int = 0
    device: str = "cpu"
    cache: str | Path | None = None
    progress: Callable[[str, int, int], None] = _silent


def read_batches(paths: Sequence[Path], transform: Callable[[np.ndarray], Tensor], reading: Reading) -> DataLoader:
    """Batches of (tensor, thumbnail, size) or, for an unreadable file, the reason as a string."""
    return DataLoader(_Files(paths, transform), reading.batch_size, num_workers=reading.workers, collate_fn=list)


def extract(images: ImageSet, extractor: Extractor, reading: Reading = Reading(), what: str = "") -> Extracted:
    """Features of all images; `what` names them for the progress. BadInputs with the list of unreadable files."""
    network, cache = extractor.network.to(reading.device), reading.cache
    paths = list(images.paths.values())
    chunks, problems = [], []
    for start in range(0, len(paths), CHUNK):
        part = paths[start : start + CHUNK]
        saved = None if cache is None else Path(cache) / f"{_digest(part, extractor)}.npz"
        if saved is not None and saved.is_file():
            with np.load(saved, allow_pickle=False) as arrays:
                chunks.append(Extracted(arrays["features"], arrays["thumbnails"], arrays["sizes"]))
            reading.progress(what, start + len(part), len(paths))
            continue
        features, thumbnails, sizes = [], [], []
        for batch in read_batches(part, extractor.transform, reading):
            problems += [item for item in batch if isinstance(item, str)]
            good = [item for item in batch if not isinstance(item, str)]
            if good:
                with torch.inference_mode():
                    output = as_features(network(torch.stack([item[0] for item in good]).to(reading.device)))
                features.append(output.float().cpu().numpy())
                thumbnails += [item[1] for item in good]
                sizes += [item[2] for item in good]
            reading.progress(what, start + len(sizes), len(paths))
        if problems:
            continue  # go on for the whole list
        chunk = Extracted(np.concatenate(features), np.stack(thumbnails), np.array(sizes))
        if saved is not None:
            with atomic_path(saved) as temporary:
                np.savez(temporary, features=chunk.features, thumbnails=chunk.thumbnails, sizes=chunk.sizes)
        chunks.append(chunk)
    refuse(images.source, problems)
    arrays = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("features", "thumbnails", "sizes"))
    whole = Extracted(*arrays)
    broken = ~np.isfinite(whole.features).all(axis=1)
    refuse(images.source, [f"{name}: features that are not finite" for name, bad in zip(images.names, broken) if bad])
    return whole


def _digest(paths: Sequence[Path], extractor: Extractor) -> str:
    digest = hashlib.sha256(f"{extractor.digest} {extractor.transform}".encode())
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]

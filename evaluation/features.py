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
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        half = (self.high - self.low) / 2
        scaled = image[0].clamp(-1, 1) * (half / std) + (self.low + half - mean) / std
        return scaled.expand(self.channels, -1, -1)  # equal channels are a view: less for workers to hand over


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


def loader_options(workers: int) -> dict[str, Any]:
    """Worker processes do not start threads of OpenCV's, which forked ones cannot rely on."""
    return {"num_workers": workers, "worker_init_fn": _one_thread if workers else None}


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)


def extract(images: ImageSet, extractor: Extractor, reading: Reading = Reading(), what: str = "") -> Extracted:
    """Features of all images; `what` names them for the progress. BadInputs with the list of unreadable files."""
    paths = list(images.paths.values())
    starts = range(0, len(paths), CHUNK)
    saved = {start: _saved(paths[start : start + CHUNK], extractor, reading.cache) for start in starts}
    todo = [start for start, path in saved.items() if path is None or not path.is_file()]
    batches = [
        list(range(first, min(first + reading.batch_size, start + CHUNK, len(paths))))
        for start in todo
        for first in range(start, min(start + CHUNK, len(paths)), reading.batch_size)
    ]
    loader = DataLoader(
        _Files(paths, extractor.transform), batch_sampler=batches, collate_fn=list, **loader_options(reading.workers)
    )
    network = extractor.network.to(reading.device)
    found: dict[int, Extracted] = {}
    problems: list[str] = []
    rows: list[Extracted] = []
    for indices, batch in zip(batches, loader):
        problems += [item for item in batch if isinstance(item, str)]
        if not problems:  # else only the list matters
            with torch.inference_mode():
                output = as_features(network(torch.stack([item[0] for item in batch]).to(reading.device)))
            thumbnails, sizes = (np.stack([item[i] for item in batch]) for i in (1, 2))
            rows.append(Extracted(output.float().cpu().numpy(), thumbnails, sizes))
            if (indices[-1] + 1) % CHUNK == 0 or indices[-1] + 1 == len(paths):
                start = indices[0] // CHUNK * CHUNK
                found[start] = _join(rows)
                _save(found[start], saved[start])
                rows = []
        reading.progress(what, indices[-1] + 1, len(paths))
    refuse(images.source, problems)
    whole = _join([found[start] if start in found else _load(saved[start]) for start in starts])
    broken = ~np.isfinite(whole.features).all(axis=1)
    refuse(images.source, [f"{name}: features that are not finite" for name, bad in zip(images.names, broken) if bad])
    return whole


def _join(parts: Sequence[Extracted]) -> Extracted:
    names = ("features", "thumbnails", "sizes")
    return Extracted(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _save(part: Extracted, path: Path | None) -> None:
    if path is not None:
        with atomic_path(path) as temporary:
            np.savez(temporary, features=part.features, thumbnails=part.thumbnails, sizes=part.sizes)


def _load(path: Path | None) -> Extracted:
    with np.load(str(path), allow_pickle=False) as arrays:
        return Extracted(arrays["features"], arrays["thumbnails"], arrays["sizes"])


def _saved(paths: Sequence[Path], extractor: Extractor, cache: str | Path | None) -> Path | None:
    """Where the features of these files are kept, by the network, its input, and the files' sizes and times."""
    if cache is None:
        return None
    digest = hashlib.sha256(f"{extractor.digest} {extractor.transform}".encode())
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    return Path(cache) / f"{digest.hexdigest()[:32]}.npz"

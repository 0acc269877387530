"""Features of images by any network (`evaluation.features.networks`), read once, checked and kept.

Each network gets the input that it was trained on; the transform is part of what is reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from evaluation.inputs import ImageSet, thumbnail
from radiographs import atomic_path, read_radiograph
from radiographs.folders import refuse

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int

CHUNK = 1024  # images between two saves
HUB = "hf://"


@dataclass(frozen=True)
class Transform:
    """How an image becomes a network's input: squashed to a square, bilinear, antialiased, then normalised.

    Attributes:
        size: Side of the square in pixels.
        channels: Copies of the grey channel.
        low: What black becomes.
        high: What white becomes.
        mean: Subtracted afterwards, one for all channels or one each.
        std: Divided by afterwards, one for all channels or one each.
    """

    size: int
    channels: int = 3
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """float32 (H, W) in [-1, 1] to float32 (channels, size, size)."""
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
    """A network with the input that it was trained on.

    Attributes:
        name: For reports.
        network: (B, C, S, S) -> features (B, D).
        transform: Image (H, W) -> (C, S, S).
        digest: Of the weights; part of the cache's name.
        head: (classes, D), by which features become logits, for an Inception Score; None if there are no classes.
    """

    name: str
    network: nn.Module
    transform: Callable[[np.ndarray], Tensor]
    digest: str
    head: Tensor | None = None


def as_features(output: object) -> Tensor:
    """A network's output as one vector an image.

    Args:
        output: A tensor (B, D), a map (B, D, H, W), which is averaged, or a transformer's output, of which the pooled
            part is taken.

    Returns:
        (B, D).

    Raises:
        ValueError: It is something else.
    """
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

    def __getitem__(self, index: int) -> tuple[Tensor, np.ndarray, tuple[int, ...]] | str:
        path = self.paths[index]
        try:
            pixels = read_radiograph(path).pixels
            return self.transform(pixels), thumbnail(pixels), pixels.shape
        except (ValueError, OSError) as error:
            return str(error) if str(error).startswith(str(path)) else f"{path}: {error}"


@dataclass(frozen=True)
class _Batch:
    """What a worker hands over: few large arrays, since each array costs a file of shared memory.

    images: (B, 1, S, S) to be seen as `channels` equal ones, or (B, C, S, S). None where there are problems.
    """

    problems: list[str]
    images: Tensor | None = None
    channels: int = 0
    thumbnails: Tensor | None = None
    sizes: Tensor | None = None


def _batch(items: list[tuple[Tensor, np.ndarray, tuple[int, ...]] | str]) -> _Batch:
    problems = [item for item in items if isinstance(item, str)]
    if problems:
        return _Batch(problems)
    images, thumbnails, sizes = zip(*items)
    channels = 0
    if images[0].ndim == 3 and all(image.stride(0) == 0 for image in images):
        channels, images = images[0].shape[0], [image[:1] for image in images]
    small = torch.from_numpy(np.stack(thumbnails))
    return _Batch([], torch.stack(images), channels, small, torch.tensor(sizes))


@dataclass(frozen=True)
class Extracted:
    """What was read off N images.

    Attributes:
        features: (N, D) float32.
        thumbnails: (N, 32, 32), for checks.
        sizes: (N, 2), height and width of the files.
    """

    features: Float32[np.ndarray, "count dimensions"]
    thumbnails: Float[np.ndarray, "count 32 32"]
    sizes: Int[np.ndarray, "count 2"]


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        batch_size: Images that go through a network at once.
        workers: Processes that decode.
        device: Where networks compute.
        cache: Folder in which every 1024 images' features are saved and found again later.
        progress: Called with what is being done, how many are done, and of how many.
    """

    batch_size: int = 32
    workers: int = 0
    device: str = "cpu"
    cache: str | Path | None = None
    progress: Callable[[str, int, int], None] = _silent


def loader_options(workers: int) -> dict[str, Any]:
    """Options of a DataLoader whose workers do not start threads of OpenCV's, which forked ones cannot rely on.

    Args:
        workers: Processes that read images; 0 reads them in this one.

    Returns:
        Keyword arguments of a DataLoader.
    """
    return {"num_workers": workers, "worker_init_fn": _one_thread if workers else None}


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)


def extract(images: ImageSet, extractor: Extractor, reading: Reading = Reading(), what: str = "") -> Extracted:
    """Features of all images, read once and kept.

    Args:
        images: N images.
        extractor: Network and transform.
        reading: How they are read.
        what: Names the images for the progress.

    Returns:
        Features, thumbnails and sizes.

    Raises:
        BadInputs: Files that cannot be read, all listed.
    """
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
        _Files(paths, extractor.transform), batch_sampler=batches, collate_fn=_batch, **loader_options(reading.workers)
    )
    network = extractor.network.to(reading.device)
    found: dict[int, Extracted] = {}
    problems: list[str] = []
    rows: list[Extracted] = []
    for indices, batch in zip(batches, loader):
        problems += batch.problems
        if not problems:  # else only the list matters
            pixels = batch.images.to(reading.device)
            if batch.channels:
                pixels = pixels.expand(-1, batch.channels, -1, -1)
            with torch.inference_mode():
                output = as_features(network(pixels))
            rows.append(Extracted(output.float().cpu().numpy(), batch.thumbnails.numpy(), batch.sizes.numpy()))
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

"""AdaptationData: a site's own pairs, cropped, turned and given nodules, with drawn pairs mixed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from evaluation.nodules.implants import contrast_per_mm, put_in, scatter
from lightning_modules.data.ct_pairs import CTPairDataset
from lightning_modules.data.resumable import ResumableLoader, epoch_loader
from radiographs import read_together, resize
from radiographs.lungs import lung_mask
from radiographs.pairs import Pair

SIDE = 1024  # longest side that is kept in memory
FIELD_MM = 400.0  # of a chest radiograph, where nothing else is known
NODULES = 8  # put into a radiograph at a time, apart from each other
CLOSE_UP = 0.25  # of the crops at about twice the size


@dataclass(frozen=True, eq=False)
class SitePair:
    """One pair in memory.

    radiograph, soft: float32 (H, W) in [-1, 1]; the soft tissue has the gain and offset that fit the radiograph best.
    lungs: bool (H, W), or None where none were found.
    """

    name: str
    radiograph: np.ndarray
    soft: np.ndarray
    lungs: np.ndarray | None

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, as if the longer side were 400 mm."""
        return FIELD_MM / max(self.radiograph.shape)


def load_site_pair(pair: Pair) -> SitePair:
    """Read a pair at 1024 pixels or less.

    Raises:
        ValueError: Unreadable images, of two sizes, or a soft tissue that shows no part of the radiograph.
    """
    images = read_together({"radiograph": pair.radiograph, "soft": pair.soft})
    radiograph, soft = (image.pixels for image in images.values())
    scale = min(1.0, SIDE / max(radiograph.shape))
    shape = tuple(round(side * scale) for side in radiograph.shape)
    radiograph, soft = (resize(image, shape) for image in (radiograph, soft))
    gain, offset = np.polyfit(soft.ravel(), radiograph.ravel(), 1)
    if not np.isfinite(gain) or gain <= 0:
        raise ValueError(
            f"{pair.name}: its soft tissue and its radiograph do not go together (best gain {gain:.2f}): is one a "
            "negative, or of another patient?"
        )
    try:
        lungs = lung_mask(radiograph)
    except ValueError:
        lungs = None
    return SitePair(pair.name, radiograph, (gain * soft + offset).astype(np.float32), lungs)


class SitePairDataset(Dataset):
    """Crops with the keys of CTPairDataset's items and "complete", bool (): whether coarse parts are known.

    Args:
        pairs: The site's. drawn: pairs drawn from a CT, of which `share` of the items come.
        size: Side of the crops. whole: the side at which the network sees whole radiographs.
        length: Items an epoch.
    """

    def __init__(
        self,
        pairs: Sequence[SitePair],
        drawn: CTPairDataset | None,
        share: float,
        size: int,
        whole: int,
        seed: int,
        length: int,
    ) -> None:
        self.pairs, self.drawn, self.share = list(pairs), drawn, share
        self.size, self.whole, self.seed, self.length = size, whole, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.drawn is not None and rng.random() < self.share:
            return {**self.drawn[epoch, index], "complete": torch.tensor(False)}
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        images = self._crop(pair, rng)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(image))[None] for name, image in images.items()}
        return {**tensors, "complete": torch.tensor(True), "name": f"{pair.name}_{epoch}_{index}"}

    def _crop(self, pair: SitePair, rng: np.random.Generator) -> dict[str, np.ndarray]:
        added = np.zeros_like(pair.radiograph)
        if pair.lungs is not None:
            per_mm = contrast_per_mm(pair.radiograph, pair.lungs) * rng.uniform(0.5, 1.5)
            for group in scatter(pair.lungs, pair.pixel_mm, per_mm, NODULES, rng):
                added = put_in(added - 1, group) + 1  # from black upwards
        matrix = self._geometry(pair.radiograph.shape, rng)
        gamma = np.float32(np.exp(rng.normal(0, 0.15)))

        def placed(image: np.ndarray) -> np.ndarray:
            shown = ((image.clip(-1, 1) + 1) / 2) ** gamma * 2 - 1
            return _warp(shown.astype(np.float32), matrix, self.size)

        lungs = np.zeros(added.shape, bool) if pair.lungs is None else pair.lungs
        return {
            "radiograph": placed(pair.radiograph + added),
            "soft": placed(pair.soft + added),
            "without": placed(pair.radiograph),
            "soft_without": placed(pair.soft),
            "objects": _numbers(_warp(added, matrix, self.size)),
            "lungs": _warp(lungs.astype(np.float32), matrix, self.size) > 0.5,
        }

    def _geometry(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """(2, 3) matrix from the crop's pixels to the pair's: enlarged, turned a little, shifted, mirrored."""
        zoom = rng.uniform(1.5, 2.2) if rng.random() < CLOSE_UP else rng.uniform(0.85, 1.3)
        step = max(shape) / self.whole / zoom
        turn, flip = np.deg2rad(rng.normal(0, 3)), rng.choice([-1.0, 1.0])
        cosine, sine = np.cos(turn) * step, np.sin(turn) * step
        matrix = np.array([[cosine * flip, -sine, 0], [sine * flip, cosine, 0]])
        size = np.array(shape[::-1])
        free = np.maximum(size - self.size * step, 0)
        matrix[:, 2] = size / 2 + rng.uniform(-0.5, 0.5, 2) * free - matrix[:, :2] @ np.full(2, self.size / 2)
        return matrix


def _warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """(size, size) of an image under a matrix, blurred first where that shrinks it."""
    step = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if step > 1.2:
        image = cv2.GaussianBlur(image, (0, 0), 0.35 * step)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)


class AdaptationData(LightningDataModule):
    """Training crops of a site's pairs, and whole held-out pairs to validate on.

    Args:
        pairs: To train on. held_out: To validate on; may be empty.
        drawn: Pairs drawn from a CT, mixed in so that nodules stay as safe as before.
        share: Of the training items that are drawn.
        image_size: Side of the crops. whole: the side at which the network sees whole radiographs.
        epoch_size: Crops between two validations.
    """

    def __init__(
        self,
        pairs: Sequence[SitePair],
        held_out: Sequence[SitePair],
        drawn: CTPairDataset | None,
        share: float = 0.25,
        image_size: int = 256,
        whole: int = 512,
        batch_size: int = 4,
        epoch_size: int = 200,
        workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = SitePairDataset(pairs, drawn, share, image_size, whole, seed, epoch_size)
        self.held_out, self.whole = list(held_out), whole
        self.batch_size, self.workers, self.seed = batch_size, workers, seed

    def train_dataloader(self) -> ResumableLoader:
        """Crops, new ones every epoch."""
        return epoch_loader(self.train, self.trainer, True, self.batch_size, self.workers, self.seed)

    def val_dataloader(self) -> DataLoader | list:
        """The held-out pairs, each whole and alone, on the network's grid."""
        batches: Any = [whole_pair(pair, self.whole) for pair in self.held_out]
        return DataLoader(batches, batch_size=None) if batches else []


def _numbers(added: np.ndarray) -> np.ndarray:
    """uint8 (H, W): 0, or which nodule lies there, by what they add (H, W)."""
    seen = added > 0.02 * max(float(added.max()), 1e-6)
    return cv2.connectedComponents(seen.astype(np.uint8))[1].astype(np.uint8)


def whole_pair(pair: SitePair, size: int) -> dict[str, Any]:
    """A batch of one: the pair with its longer side scaled to `size` and padded at its edges to a multiple of 64."""
    scale = size / max(pair.radiograph.shape)
    shape = tuple(max(1, round(side * scale)) for side in pair.radiograph.shape)
    border = [(0, -side % 64) for side in shape]

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.pad(resize(image, shape), border, mode="edge"))[None, None]

    batch: dict[str, Any] = {"radiograph": tensor(pair.radiograph), "soft": tensor(pair.soft), "name": [pair.name]}
    if pair.lungs is not None:
        batch["lungs"] = tensor(pair.lungs.astype(np.float32)) > 0.5
    return batch

"""AdaptationData: a site's own pairs and what the packaged model makes of them, turned, mirrored and given nodules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from diffusion.networks.site_regions import convex_hull
from evaluation.nodules.implants import contrast_per_mm, put_in, scatter
from lightning_modules.data.resumable import ResumableLoader, epoch_loader
from radiographs import fit, read_together, resize
from radiographs.lungs import lung_mask
from radiographs.pair_check import why_no_pair
from radiographs.pairs import Pair
from radiographs.suitability import assess

SIDE = 1024  # longest side that is kept in memory
FIELD_MM = 400.0  # of a chest radiograph, where nothing else is known
NODULES = 12  # put into a radiograph at a time
OVERSAMPLED = 2  # prepared images are this many times as large as the grid they are drawn on
Bone = Callable[[np.ndarray], np.ndarray]  # radiograph float32 (S, S) in [-1, 1] to the bone in it


@dataclass(frozen=True, eq=False)
class SitePair:
    """One pair in memory.

    Attributes:
        name: Of the pair.
        radiograph: float32 (H, W) in [-1, 1].
        soft: float32 (H, W) in [-1, 1], with the gain and offset that fit the radiograph best.
        lungs: bool (H, W), or None if none were found.
    """

    name: str
    radiograph: np.ndarray
    soft: np.ndarray
    lungs: np.ndarray | None

    @property
    def chest(self) -> np.ndarray | None:
        """The lungs and what lies between them, bool (H, W), or None if no lungs were found."""
        return None if self.lungs is None else convex_hull(self.lungs)

    @property
    def between(self) -> np.ndarray | None:
        """What lies between the lungs and 3 mm from them, bool (H, W), or None if no lungs were found."""
        if self.lungs is None or self.chest is None:
            return None
        rim = 2 * round(3 / self.pixel_mm) + 1
        return self.chest & (cv2.dilate(self.lungs.astype(np.uint8), np.ones((rim, rim), np.uint8)) == 0)

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, as if the longer side were 400 mm."""
        return FIELD_MM / max(self.radiograph.shape)


def load_site_pair(pair: Pair) -> SitePair:
    """Read a pair at 1024 pixels or less; one of certain negatives is turned, as `radiolucent suppress` turns them.

    Args:
        pair: Its files.

    Returns:
        The pair.

    Raises:
        ValueError: Unreadable images, of two sizes, or no radiograph and the soft tissue of the same exposure.
    """
    images = read_together({"radiograph": pair.radiograph, "soft": pair.soft})
    radiograph, soft = (image.pixels for image in images.values())
    scale = min(1.0, SIDE / max(radiograph.shape))
    shape = tuple(round(side * scale) for side in radiograph.shape)
    radiograph, soft = (resize(image, shape) for image in (radiograph, soft))
    against = why_no_pair(radiograph, soft)
    if against:
        raise ValueError(f"{pair.name}: {against}")
    if assess(radiograph).inverted:
        radiograph, soft = -radiograph, -soft
    gain, offset = np.polyfit(soft.ravel(), radiograph.ravel(), 1)
    try:
        lungs = lung_mask(radiograph)
    except ValueError:
        lungs = None
    return SitePair(pair.name, radiograph, (gain * soft + offset).astype(np.float32), lungs)


@dataclass(frozen=True, eq=False)
class Answered:
    """A pair on the model's square, with and without nodules, and what the packaged model takes away from it.

    Attributes:
        radiograph: float32 (S, S), with nodules, as all that is not said to be without.
        bone: What the model takes away.
        missing: What that lacks of the true one, radiograph - bone - soft.
        radiograph_without: Without nodules.
        bone_without: Without nodules.
        missing_without: Without nodules.
        added: What the nodules add to radiograph and soft tissue alike.
    """

    radiograph: np.ndarray
    bone: np.ndarray
    missing: np.ndarray
    radiograph_without: np.ndarray
    bone_without: np.ndarray
    missing_without: np.ndarray
    added: np.ndarray


def answered(
    pair: SitePair, bone: Bone, size: int, variants: int, grid: int, rng: np.random.Generator
) -> list[Answered]:
    """A pair as the packaged model sees it, once plain or several times with other nodules, for training.

    Args:
        pair: The pair.
        bone: The packaged model's.
        size: Side in pixels at which it is asked.
        variants: How many times with nodules; 0: once without.
        grid: Side in pixels of what is kept.
        rng: Of the nodules.

    Returns:
        One or `variants` of them.
    """

    def small(image: np.ndarray) -> np.ndarray:
        return resize(image, (grid, grid))

    def asked(added: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        radiograph, soft = (fit(image + added, size)[0] for image in (pair.radiograph, pair.soft))
        found = bone(radiograph)
        return small(radiograph), small(found), small(radiograph - found - soft)

    nothing = np.zeros_like(pair.radiograph)
    plain = asked(nothing)
    if pair.lungs is None or not variants:
        return [Answered(*plain, *plain, np.zeros((grid, grid), np.float32))]
    made = []
    for _ in range(variants):
        seen = asked(nodules_for(pair, rng))
        made.append(Answered(*seen, *plain, seen[0] - plain[0]))
    return made


def nodules_for(pair: SitePair, rng: np.random.Generator) -> np.ndarray:
    """What NODULES nodules in the lungs and between them add to a pair's radiograph and soft tissue.

    Args:
        pair: One whose lungs were found.
        rng: Of their places, sizes and contrast.

    Returns:
        float32 (H, W), of a pair without lungs zeros.
    """
    added = np.zeros_like(pair.radiograph)
    if pair.lungs is None or pair.chest is None:
        return added
    per_mm = contrast_per_mm(pair.radiograph, pair.lungs) * rng.uniform(0.7, 1.5)
    for group in scatter(pair.chest, pair.pixel_mm, per_mm, NODULES, rng):
        added = put_in(added - 1, group) + 1  # from black upwards
    return added


class SiteDataset(Dataset):
    """Items of tensors (1, S, S) with the names of Answered's images, and "objects", the nodules' numbers.

    Args:
        pairs: For each pair of the site what `answered` gives.
        size: Side of the items in pixels.
        seed: Of everything that is drawn.
        length: Items an epoch; each is asked for by (epoch, index) and depends on these and the seed alone.
    """

    def __init__(self, pairs: Sequence[Sequence[Answered]], size: int, seed: int, length: int) -> None:
        self.pairs, self.size, self.seed, self.length = list(pairs), size, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, *key])
        variants = self.pairs[int(rng.integers(len(self.pairs)))]
        chosen = variants[int(rng.integers(len(variants)))]
        matrix = self._geometry(chosen.radiograph.shape[0], rng)
        images = {name: _warp(image, matrix, self.size) for name, image in vars(chosen).items()}
        added = images.pop("added")
        noise = rng.normal(0, 0.02 * images["radiograph"].std(), added.shape).astype(np.float32)
        for name in ("radiograph", "radiograph_without"):
            images[name] = images[name] + noise
        images["objects"] = _numbers(added)
        return {name: torch.from_numpy(np.ascontiguousarray(image))[None] for name, image in images.items()}

    def _geometry(self, side: int, rng: np.random.Generator) -> np.ndarray:
        """(2, 3) matrix from the item's pixels to the pair's: enlarged, stretched, turned, shifted, mirrored."""
        step = side / self.size / np.exp(rng.uniform(-0.25, 0.25))
        aspect, turn, flip = rng.uniform(0.9, 1.1), np.deg2rad(rng.normal(0, 4)), rng.choice([-1.0, 1.0])
        cosine, sine = np.cos(turn) * step, np.sin(turn) * step
        matrix = np.array([[cosine * flip * aspect, -sine, 0], [sine * flip * aspect, cosine, 0]])
        centre = side / 2 + rng.normal(0, 0.04 * side, 2)
        matrix[:, 2] = centre - matrix[:, :2] @ np.full(2, self.size / 2)
        return matrix


def _warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """(size, size) of an image under a matrix, blurred first as far as that shrinks it."""
    step = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    image = cv2.GaussianBlur(image, (0, 0), 0.35 * step)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _numbers(added: np.ndarray) -> np.ndarray:
    """uint8 (H, W): 0, or which nodule lies there, by what they add (H, W)."""
    seen = added > 0.02 * max(float(added.max()), 1e-6)
    return cv2.connectedComponents(seen.astype(np.uint8))[1].astype(np.uint8)


def whole_pair(pair: SitePair, bone: Bone, size: int) -> dict[str, Any]:
    """A batch of one to validate on: the pair on the model's square, as `radiolucent suppress` lays it there.

    Args:
        pair: The pair.
        bone: The packaged model's.
        size: Side of the square in pixels.

    Returns:
        Tensors by name.
    """
    radiograph, soft = (fit(image, size)[0] for image in (pair.radiograph, pair.soft))
    images = {"radiograph": radiograph, "soft": soft, "bone": bone(radiograph)}
    if pair.lungs is not None:
        images["lungs"] = fit(pair.lungs.astype(np.float32), size)[0] > 0.5
    return {name: torch.from_numpy(np.ascontiguousarray(image))[None, None] for name, image in images.items()}


class AdaptationData(LightningDataModule):
    """Training items of a site's pairs, and whole held-out pairs to validate on.

    Args:
        pairs: For each pair what `answered` gives.
        held_out: What `whole_pair` gives of others; may be empty.
        size: Side of the training items in pixels.
        batch_size: Items of a batch.
        epoch_size: Items between two validations.
        workers: Data processes.
        seed: Of everything that is drawn.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[Answered]],
        held_out: Sequence[dict[str, Any]],
        size: int = 128,
        batch_size: int = 4,
        epoch_size: int = 400,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = SiteDataset(pairs, size, seed, epoch_size)
        self.held_out: Any = list(held_out)
        self.batch_size, self.workers, self.seed = batch_size, workers, seed

    def train_dataloader(self) -> ResumableLoader:
        """What the correction is trained on.

        Returns:
            A loader of `epoch_size` items, new ones every epoch.
        """
        return epoch_loader(self.train, self.trainer, True, self.batch_size, self.workers, self.seed)

    def val_dataloader(self) -> DataLoader | list:
        """What the correction is judged by.

        Returns:
            A loader of the held-out pairs, each whole and alone, on the model's grid; [] if there are none.
        """
        return DataLoader(self.held_out, batch_size=None) if self.held_out else []

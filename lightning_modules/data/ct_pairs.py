"""CTPairDataModule: pairs of radiograph and soft tissue drawn on the fly from CTs, without any patient's radiograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from diffusion.networks.local_contrast import to_local_pair
from drr.pairs.draw import PairOptions, draw_pair
from lightning_modules.data.ct_bodies import Projections, cast_missing
from lightning_modules.data.resumable import ResumableLoader, epoch_loader

IMAGES = ("radiograph", "soft", "without", "soft_without", "objects", "lungs")


class CTPairDataset(Dataset):
    """Pairs {"radiograph", "soft", "without", "soft_without"}: (1, size, size) float32 in [-1, 1], bones bright.

    "objects": uint8, "lungs": bool (1, size, size), see `drr.pairs.draw.Pair`; "name": str. An item is asked for by
    (epoch, index) and depends on the seed and that alone; what is drawn at random in it: see `drr.pairs.draw`.

    Args:
        files: The cached bodies with the side of their pixels in mm.
        size: Side of the pictures in pixels.
        options: What is drawn into pairs.
        seed: Of everything that is drawn.
        vary: False gives every epoch the same items.
        length: Items an epoch.
        contrast_sigma: See CTPairDataModule.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, float]],
        size: int,
        options: PairOptions,
        seed: int,
        vary: bool,
        length: int,
        contrast_sigma: float | None = None,
    ) -> None:
        self.contrast_sigma = contrast_sigma
        self.files, self.size, self.options = list(files), size, options
        self.seed, self.vary, self.length = seed, vary, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch if self.vary else 0, index])
        file, cached_mm = self.files[int(rng.integers(len(self.files))) if self.vary else index % len(self.files)]
        poses = np.load(file, mmap_mode="r")
        pose = int(rng.integers(len(poses)))
        pair = draw_pair(poses[pose], cached_mm, self.size, self.options, rng)
        images = {name: getattr(pair, name) for name in IMAGES}
        name = f"{file.parent.name}_{file.stem}_{pose}_{epoch}_{index}"
        item: dict[str, Any] = {
            key: torch.from_numpy(np.ascontiguousarray(image))[None] for key, image in images.items()
        }
        if self.contrast_sigma is not None:
            for radiograph, soft in (("radiograph", "soft"), ("without", "soft_without")):
                local = to_local_pair(item[radiograph][None], item[soft][None], self.contrast_sigma)
                item[radiograph], item[soft] = (image[0] for image in local)
        return {**item, "name": name}


class CTPairDataModule(LightningDataModule):
    """Batches of CTPairDataset's items, (B, 1, S, S) each, drawn from CTs.

    Args:
        projections: One CT's settings, or several CTs'; null: the packaged sample CT's.
        held_out: Settings of the CT that is validated on and never trained on; without it, the last
            `validation_bodies` of each CT are.
        bodies: Random deformations of each CT that are cast, once, into `cache` (line integrals in layers, 16 bit); a
            stopped run resumes with those that are missing.
        validation_bodies: How many of them are validated on.
        cache: Folder of the cast bodies.
        image_size: Side S of the square pairs in pixels.
        pairs: What is drawn into training pairs and how large they are; null: the defaults of `drr.pairs.draw`.
        validation_pairs: The same for validation.
        batch_size: Pairs of a batch.
        epoch_size: Pairs an epoch, all different.
        validation_size: Pairs that are validated on.
        workers: Data processes; casting uses them too (at least one).
        seed: Of everything that is drawn.
        contrast_sigma: Width in pixels of what is local, to give pairs in local contrast (see
            diffusion.networks.local_contrast), for the autoencoder of a model that sees that; null: as they are.

    Raises:
        ValueError: Options that do not go together.
    """

    def __init__(
        self,
        projections: Projections | list[Projections] | None = None,
        held_out: Projections | None = None,
        bodies: int = 10,
        validation_bodies: int = 1,
        cache: str = "data/ct_pairs",
        image_size: int = 256,
        pairs: PairOptions | None = None,
        validation_pairs: PairOptions | None = None,
        batch_size: int = 8,
        epoch_size: int = 1000,
        validation_size: int = 32,
        workers: int = 0,
        seed: int = 0,
        contrast_sigma: float | None = None,
    ) -> None:
        super().__init__()
        if held_out is None and not 0 < validation_bodies < bodies:
            raise ValueError(f"bodies {bodies}, validation_bodies {validation_bodies}: give 0 < validation < bodies")
        for name, value in (("image_size", image_size), ("batch_size", batch_size), ("epoch_size", epoch_size)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        given = projections if isinstance(projections, list) else [projections or Projections()]
        if held_out is not None and held_out.ct in [settings.ct for settings in given]:
            raise ValueError(
                f"held_out is {held_out.ct or 'the sample CT'}, which is trained on: take it out of projections"
            )
        self.projections, self.held_out, self.bodies, self.validation_bodies = (
            given,
            held_out,
            bodies,
            validation_bodies,
        )
        self.cache, self.image_size, self.batch_size, self.epoch_size = Path(cache), image_size, batch_size, epoch_size
        self.pairs, self.validation_pairs = pairs or PairOptions(), validation_pairs or pairs or PairOptions()
        self.validation_size, self.workers, self.seed = validation_size, workers, seed
        self.contrast_sigma = contrast_sigma

    def prepare_data(self) -> None:
        """Cast every body that is not yet in the cache."""
        cast_missing(self.projections, self.bodies, self.cache, self.workers)
        if self.held_out is not None:
            cast_missing([self.held_out], self.validation_bodies, self.cache, self.workers)

    def _files(self, training: bool) -> list[tuple[Path, float]]:
        if self.held_out is not None and not training:
            chosen, of = range(self.validation_bodies), [self.held_out]
        elif self.held_out is not None:
            chosen, of = range(self.bodies), self.projections
        else:
            edge = self.bodies - self.validation_bodies
            chosen, of = range(edge) if training else range(edge, self.bodies), self.projections
        return [(settings.file(self.cache, n), settings.pixel_mm) for n in chosen for settings in of]

    def _loader(self, training: bool) -> ResumableLoader:
        dataset = CTPairDataset(
            self._files(training),
            self.image_size,
            self.pairs if training else self.validation_pairs,
            self.seed + (0 if training else 1),
            training,
            self.epoch_size if training else self.validation_size,
            self.contrast_sigma,
        )
        return epoch_loader(dataset, self.trainer, training, self.batch_size, self.workers, self.seed)

    def train_dataloader(self) -> ResumableLoader:
        """Pairs of the training bodies.

        Returns:
            A loader of `epoch_size` pairs, new ones every epoch.
        """
        return self._loader(True)

    def val_dataloader(self) -> ResumableLoader:
        """Pairs of the validation bodies.

        Returns:
            A loader of `validation_size` pairs, the same ones every time.
        """
        return self._loader(False)

    def test_dataloader(self) -> ResumableLoader:
        """The pairs of validation once more.

        Returns:
            As `val_dataloader`.
        """
        return self._loader(False)

    def predict_dataloader(self) -> ResumableLoader:
        """The pairs of validation once more.

        Returns:
            As `val_dataloader`.
        """
        return self._loader(False)

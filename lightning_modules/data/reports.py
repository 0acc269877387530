"""ReportDataModule: radiographs with views and reports, for training synthesis."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from lightning_modules.data.resumable import ResumableLoader, epoch_loader
from radiographs.io import radiograph_size, read_radiograph
from radiographs.letterbox import centre_crop, fit
from radiographs.readable import unreadable
from radiographs.readers.base import Reading, ReportedImage, joined
from radiographs.readers.registry import READERS, RENAMED
from radiographs.regions import framed, region_map
from radiographs.splits import refuse_overlap, split_by_patient
from radiographs.vocabulary import SPLITS, VIEWS

logger = logging.getLogger(__name__)
Framing = Literal["crop", "pad"]


class ReportDataset(Dataset):
    """One image with its report, and other views of its study.

    An item is a dict: radiograph (1, S, S) in [-1, 1], name, view, report, demographics, and of the other views images
    (K, 1, S, S), image_views and image_names, None if the study has no further one. It is asked for by (epoch, index).
    Which other views it gets, if there are more, depends on seed, epoch and index alone. With `priors` the image's
    prior, where it has one, is the first of them, image_priors says which is one, and the report ends with what changed
    since.

    Args:
        images: Files with what is known about them.
        size: Side S in pixels.
        framing: `crop` or `pad`.
        others: K.
        seed: Of the choice of other views.
        region_size: Side of the maps of boxes and masks, `regions` (5, r, r) in the item (`radiographs.regions`); 0:
            none. Where an image has both, seed, epoch and index choose.
        priors: Whether priors come along.
    """

    def __init__(
        self,
        images: Sequence[ReportedImage],
        size: int,
        framing: Framing,
        others: int,
        seed: int,
        region_size: int = 0,
        priors: bool = False,
    ) -> None:
        self.region_size, self.priors = region_size, priors
        self.images, self.size, self.framing, self.others, self.seed = list(images), size, framing, others, seed
        self.named = {image.name: index for index, image in enumerate(self.images)}
        self.studies: dict[str, list[int]] = {}
        for index, image in enumerate(self.images):
            self.studies.setdefault(image.study, []).append(index)

    def __len__(self) -> int:
        return len(self.images)

    def _pixels(self, image: ReportedImage) -> torch.Tensor:
        pixels = read_radiograph(image.path).pixels
        square = centre_crop(pixels, self.size) if self.framing == "crop" else fit(pixels, self.size)[0]
        return torch.from_numpy(square).unsqueeze(0)

    def _regions(self, image: ReportedImage, rng: np.random.Generator) -> torch.Tensor:
        if image.masks and (not image.boxes or rng.random() < 0.5):
            return torch.from_numpy(region_map(image.masks, self.region_size, self.framing))
        boxes = framed(image.boxes, radiograph_size(image.path), self.framing) if image.boxes else ()
        return torch.from_numpy(region_map(boxes, self.region_size))

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        image = self.images[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        siblings = [i for i in self.studies[image.study] if i != index]
        prior = self.named.get(image.prior) if self.priors else None
        order = [*([] if prior is None else [prior]), *rng.permutation([i for i in siblings if i != prior])]
        chosen: list[ReportedImage | None] = [self.images[i] for i in order[: self.others]]
        chosen += [None] * (self.others - len(chosen))
        black = torch.full((1, self.size, self.size), -1.0)
        pictures = [black if other is None else self._pixels(other) for other in chosen]
        return {
            **({"regions": self._regions(image, rng)} if self.region_size else {}),
            "radiograph": self._pixels(image),
            "name": image.name,
            "view": image.view,
            "report": joined(image.report, image.comparison) if self.priors else image.report,
            "demographics": {"age": image.age, "sex": image.sex},
            "images": torch.stack(pictures) if pictures else torch.empty(0, 1, self.size, self.size),
            "image_views": [None if other is None else other.view for other in chosen],
            "image_names": [None if other is None else other.name for other in chosen],
            **({"image_priors": [prior is not None and i == 0 for i in range(self.others)]} if self.priors else {}),
        }


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tensors stacked, everything else as lists.

    Args:
        items: Of the dataset, one at least, all with the keys of the first.

    Returns:
        {key: tensor (B, ...) or list of length B}.
    """
    columns = {key: [item[key] for item in items] for key in items[0]}
    return {key: torch.stack(column) if torch.is_tensor(column[0]) else column for key, column in columns.items()}


class ReportDataModule(LightningDataModule):
    """Batches of radiograph (B, 1, S, S), view, report, demographics and name, and other views (see ReportDataset).

    Args:
        root: Folder of the images, as the data set's reader in radiographs.readers.registry takes it.
        table: As that reader takes it.
        dataset: table (CSV or Parquet of image, report, view), mimic_cxr, chexpert, open_i or manifest (that of
            `radiolucent drr`; its old name, ct_rate, is accepted until version 0.3). Images that the reader skips, and
            those that cannot be read, are counted in the log.
        image_size: Side S in pixels.
        framing: `crop` cuts the middle square out, `pad` keeps all and pads with black.
        other_views: How many other images of the same study come along.
        batch_size: Of training; measuring uses the same.
        workers: Data processes.
        seed: Of the splits, the order and the choice of other views.
        validation_fraction: Of the patients, dealt by hash; if the data set names every image's split, that is taken.
        test_fraction: Of the patients. A patient in two splits is refused.
        table_encoding: Of a CSV of one's own that is not UTF-8, such as cp1252.
        region_size: Side of the maps of the table's boxes and masks, `regions` (B, 5, r, r) in the batch; 0: none.
        priors: Whether the table's prior_image comes along as the first of other_views, with image_priors (B, K) in
            the batch, and its comparison at the report's end.

    Raises:
        ValueError: A size below 1, no table for a data set that needs one, an encoding for one that needs none, or
            priors without other_views.
    """

    transform = None  # an image is the same in every epoch, so that its latent may be cached

    def __init__(
        self,
        root: str,
        table: str | None = None,
        dataset: Literal["table", "mimic_cxr", "chexpert", "open_i", "manifest", "ct_rate"] = "table",
        image_size: int = 512,
        framing: Framing = "crop",
        other_views: int = 0,
        batch_size: int = 8,
        workers: int = 0,
        seed: int = 0,
        validation_fraction: float = 0.02,
        test_fraction: float = 0.02,
        table_encoding: str | None = None,
        region_size: int = 0,
        priors: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("image_size", image_size), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        if region_size < 0:
            raise ValueError(f"region_size is {region_size}: it must be 1 or more, or 0 for no maps")
        if priors and other_views < 1:
            raise ValueError(f"priors take a place of other_views, which is {other_views}: make it 1 or more")
        self.region_size, self.priors = region_size, priors
        if dataset in RENAMED:
            logger.warning("the data set %s is now called %s", dataset, RENAMED[dataset])
            dataset = RENAMED[dataset]  # type: ignore[assignment]
        if table is None and dataset in ("table", "open_i"):
            raise ValueError(f"the data set {dataset} needs `table`: see radiographs.readers.reports")
        if table_encoding is not None and dataset != "table":
            raise ValueError(f"table_encoding {table_encoding}: the data set {dataset} is UTF-8; leave it out")
        self.root, self.table, self.dataset = Path(root), None if table is None else Path(table), dataset
        self.image_size, self.framing, self.other_views = image_size, framing, other_views
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.table_encoding = table_encoding
        self.splits: dict[str, list[ReportedImage]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the table and deal the patients; later calls do nothing.

        Args:
            stage: Without effect: all splits are made at once.

        Raises:
            ValueError: No image, an image that is listed twice, a prior of another patient, or a patient in two splits.
        """
        if self.splits:
            return
        reading = self._read()
        if reading.set_aside:
            logger.warning("skipped images: %s", reading.skipped())
        images = {image.name: image for image in reading.images}
        if not images:
            raise ValueError(f"no image in {self.root} to train on ({reading.skipped() or 'the table is empty'})")
        if len(images) < len(reading.images):
            raise ValueError(
                f"{len(reading.images) - len(images)} images of {self.root} are listed twice: keep one row"
            )
        patients = {name: image.patient for name, image in images.items()}
        for image in images.values():
            if patients.get(image.prior, image.patient) != image.patient:
                raise ValueError(f"the prior of {image.name}, {image.prior}, is of another patient: mend the table")
        names = self._split(images, patients)
        refuse_overlap(names, patients)
        self.splits = {split: [images[name] for name in chosen] for split, chosen in names.items()}

    @property
    def trained_views(self) -> list[str] | None:
        """Views of the images to train on; None where none has one, or the table has not been read yet."""
        found = {image.view for image in self.splits.get("train", ())}
        return [view for view in VIEWS if view in found] or None

    def _read(self) -> Reading:
        """What the data set's reader finds, without the images that cannot be read: an epoch would end at the first."""
        encoding = () if self.table_encoding is None else (self.table_encoding,)
        reading = READERS[self.dataset](self.root, self.table, *encoding)
        bad = unreadable(list(dict.fromkeys(image.path for image in reading.images)))
        reading.images = [image for image in reading.images if image.path not in bad]
        for problem in bad.values():
            reading.skip("the image cannot be read", problem)
        return reading

    def _split(self, images: Mapping[str, ReportedImage], patients: Mapping[str, str]) -> dict[str, list[str]]:
        if all(image.split is not None for image in images.values()):
            return {split: [name for name, image in images.items() if image.split == split] for split in SPLITS}
        without = [name for name, image in images.items() if image.split is None]
        if len(without) < len(images):
            raise ValueError(
                f"{len(without)} of {len(images)} images have no split, such as {without[0]}, and the others have one: "
                "a test patient could be trained on; give every image's split or none"
            )
        rest = 1 - self.validation_fraction - self.test_fraction
        fractions = {"train": rest, "validation": self.validation_fraction, "test": self.test_fraction}
        return split_by_patient(list(images), patients, fractions, self.seed)

    def _loader(self, split: str) -> ResumableLoader:
        self.setup()
        images = self.splits[split]
        if not images:
            raise ValueError(f"no images for {split} in {self.root}: change the split's fraction or the seed")
        train = split == "train"
        options = (self.image_size, self.framing, self.other_views, self.seed, self.region_size, self.priors)
        dataset = ReportDataset(images, *options)
        return epoch_loader(dataset, self.trainer, train, self.batch_size, self.workers, self.seed, collate)

    def train_dataloader(self) -> ResumableLoader:
        """The training images.

        Returns:
            A loader that shuffles by seed and epoch; an incomplete last batch is left out.
        """
        return self._loader("train")

    def val_dataloader(self) -> ResumableLoader | list:
        """The validation images.

        Returns:
            A loader in the order of the table; [] if no image is for validation.
        """
        self.setup()
        return self._loader("validation") if self.splits["validation"] else []

    def test_dataloader(self) -> ResumableLoader:
        """The test images.

        Returns:
            A loader in the order of the table.
        """
        return self._loader("test")

    def predict_dataloader(self) -> ResumableLoader:
        """The test images, whose views and reports are to be drawn.

        Returns:
            As `test_dataloader`.
        """
        return self._loader("test")

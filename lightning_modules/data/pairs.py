"""PairDataModule: folders of pairs of radiograph and soft-tissue image, for training and for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from lightning_modules.data.resumable import ResumableLoader, epoch_loader
from radiographs.folders import images_in, refuse
from radiographs.io import read_together
from radiographs.letterbox import fit
from radiographs.lungs import blacken, read_lungs
from radiographs.pairs import RADIOGRAPHS, SOFTS, TEST_LIST, TRAIN_LIST, Pair, find_pairs, read_list, select
from radiographs.splits import patients_from_csv, patients_from_names, refuse_overlap, split_by_patient
from radiographs.transforms import PairTransform


class PairDataset(Dataset):
    """Pairs as {"radiograph": (1, size, size), "soft": (1, size, size), "name": str}, float32 in [-1, 1], bones bright.

    Images are scaled with their aspect kept and padded with black to a square. An item is asked for by (epoch, index);
    its augmentation depends on the seed, the epoch and the index, not on workers or order.

    Args:
        pairs: Files.
        size: Side in pixels.
        transform: Augments; None: images stay as they are.
        seed: Of the augmentation.
        masks: A lung mask a pair (see radiographs.lungs.read_lungs). All pairs then come a second time, named
            lungs/..., with all but the lungs black in both images, as GL-LCM trains.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        size: int,
        transform: PairTransform | None,
        seed: int,
        masks: Sequence[str | Path] = (),
    ) -> None:
        self.pairs, self.size, self.transform, self.seed = list(pairs), size, transform, seed
        self.masks = list(masks)

    def __len__(self) -> int:
        return len(self.pairs) + len(self.masks)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        again, place = divmod(index, len(self.pairs))
        pair = self.pairs[place]
        images = read_together({"radiograph": pair.radiograph, "soft": pair.soft})
        pixels = images["radiograph"].pixels
        radiograph, soft = (fit(image.pixels, self.size)[0] for image in images.values())
        if again:
            lungs = read_lungs(self.masks[place], pixels, self.size)
            radiograph, soft = blacken(radiograph, lungs), blacken(soft, lungs)
        if self.transform is not None:
            seed = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
            radiograph, soft = self.transform(radiograph, soft, seed)
        return {
            "radiograph": torch.from_numpy(radiograph).unsqueeze(0),
            "soft": torch.from_numpy(soft).unsqueeze(0),
            "name": f"lungs/{pair.name}" if again else pair.name,
        }


class PairDataModule(LightningDataModule):
    """Batches {"radiograph": (B, 1, S, S), "soft": (B, 1, S, S), "name": list[str]} from folders of pairs.

    Args:
        root: The BS-LDM layout (CXR/ and BS/ with images of the same name). If train_set.txt and test_set.txt lie
            there, they are taken as they are, and validation patients come out of the training list; otherwise patients
            are dealt to training, validation and test by `validation_fraction` and `test_fraction`.
        radiographs: Folder of radiographs, instead of or within `root`.
        softs: Folder of soft-tissue images, instead of or within `root`.
        image_size: Side S of the square that images are fitted to, in pixels.
        batch_size: Of training; measuring uses the same.
        workers: Data processes.
        seed: Of the splits, the order and the augmentation.
        validation_fraction: Of the patients.
        test_fraction: Of the patients.
        patient_pattern: A regular expression whose first group is the patient in a file name. Without it and
            patients_csv every image counts as its own patient.
        patients_csv: A table that says whose an image is.
        name_column: Its column of file names.
        patient_column: Its column of patients.
        augment: Apply `transform` to training pairs.
        transform: Null: `PairTransform()`.
        masks: A folder, in `root` if there is one, of lung masks named as the radiographs, or "auto" for plain ones of
            frontal radiographs (radiographs.lungs): training and validation then have each pair a second time, with all
            but the lungs black, for `radiolucent suppress --lungs`. Not with `augment`, which would change the black.

    Raises:
        ValueError: Options that do not go together.
    """

    def __init__(
        self,
        root: str | None = None,
        radiographs: str | None = None,
        softs: str | None = None,
        image_size: int = 256,
        batch_size: int = 4,
        workers: int = 0,
        seed: int = 0,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        patient_pattern: str | None = None,
        patients_csv: str | None = None,
        name_column: str = "name",
        patient_column: str = "patient",
        augment: bool = True,
        transform: PairTransform | None = None,
        masks: str | None = None,
    ) -> None:
        super().__init__()
        if root is None and (radiographs is None or softs is None):
            raise ValueError("PairDataModule needs `root` (a folder with CXR and BS) or both `radiographs` and `softs`")
        for name, value in (("image_size", image_size), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        if masks is not None and augment:
            raise ValueError("masks do not go with augment, which would change the black around the lungs: give false")
        self.root = None if root is None else Path(root)
        base = self.root or Path()
        self.radiographs = base / (radiographs or RADIOGRAPHS)
        self.softs = base / (softs or SOFTS)
        self.image_size, self.batch_size, self.workers, self.seed = image_size, batch_size, workers, seed
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.patient_pattern, self.patients_csv = patient_pattern, patients_csv
        self.name_column, self.patient_column = name_column, patient_column
        self.masks = masks if masks in (None, "auto") else base / str(masks)
        self.transform = (transform or PairTransform()) if augment else None
        self.splits: dict[str, list[Pair]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Find and check the pairs and split them; later calls do nothing.

        Args:
            stage: Without effect: all splits are made at once.

        Raises:
            ValueError: Images without a partner, unreadable or of another size than their partner, names of a list
                without a pair, all listed; or patients in two splits.
        """
        if self.splits:
            return
        pairs = find_pairs(self.radiographs, self.softs)
        names = [pair.name for pair in pairs]
        if self.patients_csv is not None:
            patients = patients_from_csv(names, self.patients_csv, self.name_column, self.patient_column)
        else:
            patients = patients_from_names(names, self.patient_pattern)
        splits = self._split(pairs, patients)
        refuse_overlap(splits, patients)
        self.splits = {split: select(pairs, chosen, split) for split, chosen in splits.items()}

    def _split(self, pairs: list[Pair], patients: dict[str, str]) -> dict[str, list[str]]:
        lists = [self.root / name for name in (TRAIN_LIST, TEST_LIST)] if self.root else []
        if not lists or not any(path.exists() for path in lists):
            rest = 1 - self.validation_fraction - self.test_fraction
            fractions = {"train": rest, "validation": self.validation_fraction, "test": self.test_fraction}
            return split_by_patient([pair.name for pair in pairs], patients, fractions, self.seed)
        missing = [path for path in lists if not path.exists()]
        if missing:
            raise FileNotFoundError(f"{missing[0]}: not there, but {TRAIN_LIST} and {TEST_LIST} belong together")
        train, test = ([pair.name for pair in select(pairs, read_list(path), str(path))] for path in lists)
        refuse_overlap({TRAIN_LIST: train, TEST_LIST: test}, patients)
        fractions = {"train": 1 - self.validation_fraction, "validation": self.validation_fraction}
        return {**split_by_patient(train, patients, fractions, self.seed), "test": test}

    def _find_masks(self, pairs: list[Pair]) -> Sequence[str | Path]:
        """A mask for each pair, or none at all; ValueError lists the pairs without one."""
        if self.masks is None:
            return []
        if self.masks == "auto":
            return ["auto"] * len(pairs)
        found = images_in(str(self.masks))
        refuse(str(self.masks), [f"{pair.name}: no mask" for pair in pairs if Path(pair.name).stem not in found])
        return [found[Path(pair.name).stem] for pair in pairs]

    def _loader(self, split: str) -> ResumableLoader:
        self.setup()
        pairs = self.splits[split]
        if not pairs:
            raise ValueError(f"no pairs for {split} in {self.radiographs}: change the split's fraction or the seed")
        train = split == "train"
        masks = [] if split == "test" else self._find_masks(pairs)
        dataset = PairDataset(pairs, self.image_size, self.transform if train else None, self.seed, masks)
        return epoch_loader(dataset, self.trainer, train, self.batch_size, self.workers, self.seed)

    def train_dataloader(self) -> ResumableLoader:
        """The training pairs.

        Returns:
            A loader that shuffles by seed and epoch; an incomplete last batch is left out.
        """
        return self._loader("train")

    def val_dataloader(self) -> ResumableLoader | list:
        """The validation pairs.

        Returns:
            A loader in the order of the names; [] when `validation_fraction` is 0.
        """
        return [] if self.validation_fraction == 0 else self._loader("validation")

    def test_dataloader(self) -> ResumableLoader:
        """The test pairs.

        Returns:
            A loader in the order of test_set.txt, or of the names.
        """
        return self._loader("test")

    def predict_dataloader(self) -> ResumableLoader:
        """The test pairs, to be suppressed.

        Returns:
            As `test_dataloader`.
        """
        return self._loader("test")

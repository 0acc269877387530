"""PredictionWriter: what `radiolucent predict` draws, as one 16-bit PNG a radiograph."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_modules.processes import of_all_processes, own_images
from radiographs.io import FORMATS, write_radiograph

FOLDER = "predictions"


class PredictionWriter(Callback):
    """Writes what predict_step returns, images (B, 1, H, W) in [-1, 1], as NAME.png of 16 bits.

    An image keeps its name in the batch, folders included, and the size that the network sees.

    Args:
        folder: Where; null: predictions under the trainer's default_root_dir.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.written: dict[str, str] = {}  # file: the name of its image

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch.

        Args:
            trainer: For the folder.
            module: Its class is named in the files.
            outputs: Images (B, 1, H, W) in [-1, 1].
            batch: With the "name" of each image; images that only fill up a process's share are left out.
            batch_idx: Not used.
            dataloader_idx: Not used.

        Raises:
            ValueError: Two images would be written as one file.
        """
        batch, count = own_images(batch)
        if not count:
            return
        images: Tensor = outputs[:count].float().cpu()
        note = f"Drawn by Radiolucent's {type(module).__name__}"
        for name, image in zip(batch["name"], images):
            file = picture_name(name)
            if self.written.setdefault(file, name) != name:
                raise ValueError(f"{self.written[file]} and {name} would both be written as {file}: rename one")
            write_radiograph(self._path(trainer) / file, image[0].numpy(), 16, description=note)

    def on_predict_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Say how many images were written.

        Args:
            trainer: For the folder; its first process says it.
            module: Not used.
        """
        count = sum(of_all_processes(len(self.written)))
        if trainer.is_global_zero:
            print(f"{count} images written to {self._path(trainer)}")

    def _path(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / FOLDER if self.folder is None else Path(self.folder)


def picture_name(name: str) -> str:
    """NAME.png of an image's name, a picture's suffix replaced.

    Args:
        name: A path within the data's folder, with forward slashes.

    Returns:
        A path within the folder of the results.

    Raises:
        ValueError: An absolute path, one that leads out of the folder, or no name at all.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"'{name}' is no name for a picture within a folder")
    return str(path.with_suffix(".png") if path.suffix.lower() in FORMATS else path.with_name(f"{path.name}.png"))

"""Callbacks of both modules: pictures to TensorBoard, and the model as a folder beside every checkpoint."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.utils import make_grid


def image_grid(columns: list[Tensor]) -> Tensor:
    """Grid (3, H', W') in [0, 1] with one row an image, from columns (N, 1, H, W) in [-1, 1]."""
    cells = torch.stack(columns, dim=1).flatten(0, 1).float().cpu()
    return make_grid(cells.clamp(-1, 1) / 2 + 0.5, nrow=len(columns), padding=2)


class ImageGrid(Callback):
    """Logs the first validation batch to TensorBoard: radiograph, the module's image, the truth, their difference.

    truth: "soft" for bone suppression, "radiograph" for an autoencoder. images: rows. every_n_epochs: how often.
    The image is what validation_step returned, else predict_step's.
    """

    def __init__(self, truth: Literal["soft", "radiograph"] = "soft", images: int = 4, every_n_epochs: int = 1) -> None:
        self.truth, self.images, self.every_n_epochs = truth, images, every_n_epochs

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if batch_idx or dataloader_idx or not loggers or trainer.current_epoch % self.every_n_epochs:
            return
        first = {key: value[: self.images] for key, value in batch.items()}
        image = outputs[: self.images] if torch.is_tensor(outputs) else module.predict_step(first, batch_idx)
        truth = first[self.truth][: len(image)]
        columns = [first["radiograph"][: len(image)], image, truth, image - truth]
        for logger in loggers:
            logger.experiment.add_image(
                f"val/radiograph, result, {self.truth}, difference", image_grid(columns), trainer.global_step
            )


def replace_folder(model: Any, folder: Path) -> None:
    """model.save_pretrained(folder), so that `folder` is at any moment the old model or the new one, whole."""
    new, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(new)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


class FolderExport(Callback):
    """Writes the model as a folder with every checkpoint and at the end of training: `radiolucent` loads it from there.

    A module with `pipeline()` gives a diffusers pipeline with its averaged network, any other its `vqgan`.
    folder: where; a relative path lies under the trainer's default_root_dir.
    """

    def __init__(self, folder: str = "model") -> None:
        self.folder = folder

    @rank_zero_only
    def _export(self, trainer: Trainer, module: Any) -> None:
        model = module.pipeline() if hasattr(module, "pipeline") else module.vqgan
        folder = Path(trainer.default_root_dir) / self.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(model, folder)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._export(trainer, module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._export(trainer, module)

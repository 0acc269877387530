"""Callbacks of all modules: pictures to TensorBoard, an end to what has diverged, and the model as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor
from torchvision.utils import make_grid

from lightning_modules.measured import refuse_diverged
from lightning_modules.model_folder import (
    RECORD,
    Savable,
    best_checkpoint,
    exported_model,
    is_better,
    monitored_checkpoint,
    refuse_foreign_folder,
    replace_folder,
)

MODEL_CONFIG = "model_config"  # in a checkpoint: YAML of how its module is built


def image_grid(columns: list[Tensor]) -> Tensor:
    """A picture with one row an image.

    Args:
        columns: Each (N, 1, H, W) in [-1, 1].

    Returns:
        Grid (3, H', W') in [0, 1].
    """
    cells = torch.stack(columns, dim=1).flatten(0, 1).float().cpu()
    return make_grid(cells.clamp(-1, 1) / 2 + 0.5, nrow=len(columns), padding=2)


class ImageGrid(Callback):
    """Logs the first validation batch to TensorBoard: radiograph, the module's image, the truth, their difference.

    The image is what validation_step returned, else predict_step's.

    Args:
        truth: "soft" for bone suppression, "radiograph" for an autoencoder.
        images: Rows.
        every_n_epochs: How often.
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
        """Draw the first batch.

        Args:
            trainer: Its TensorBoard loggers take the picture.
            module: Draws the images if `outputs` are none.
            outputs: What validation_step returned, images (B, 1, H, W) in [-1, 1] or None.
            batch: With "radiograph" and what `truth` names.
            batch_idx: Number of the batch.
            dataloader_idx: Number of its loader.
        """
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


class FiniteWeights(Callback):
    """Ends a training that has diverged, before a checkpoint is written over with weights that are not finite.

    The weights are looked at before every checkpoint and validation, at every epoch's end, and when a logged training
    loss is not finite. (One such loss alone ends nothing: mixed precision skips its step.)
    """

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look at the weights before they are saved.

        Args:
            trainer: For the epoch and step, in the message.
            module: Whose weights.
            checkpoint: Not used.
        """
        refuse_diverged(trainer, module)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the weights.

        Args:
            trainer: For the epoch and step, in the message.
            module: Whose weights.
        """
        refuse_diverged(trainer, module)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the weights, within a training.

        Args:
            trainer: Says whether it is one.
            module: Whose weights.
        """
        if trainer.state.fn == TrainerFn.FITTING:
            refuse_diverged(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the weights if a logged loss is not finite.

        Args:
            trainer: With the logged loss.
            module: Whose weights.
            outputs: Not used.
            batch: Not used.
            batch_idx: Number of the batch; the loss is looked at as often as it is logged.
        """
        if batch_idx % max(1, trainer.log_every_n_steps) == 0:  # type: ignore[attr-defined]
            loss = trainer.callback_metrics.get("train/loss")
            if loss is not None and not loss.isfinite():
                refuse_diverged(trainer, module)


class ModelConfig(Callback):
    """Keeps in every checkpoint, as "model_config", how its module is built, so that a folder can be made of it alone.

    Args:
        config: The `model` section of the YAML: {"class_path": ..., "init_args": {...}}.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the configuration into the checkpoint.

        Args:
            trainer: Not used.
            module: Not used.
            checkpoint: Takes it, as YAML.
        """
        checkpoint[MODEL_CONFIG] = yaml.safe_dump(self.config, sort_keys=False)


class FolderExport(Callback):
    """Writes the model as a folder that `radiolucent` loads.

    If a ModelCheckpoint monitors a metric, the folder holds the best model by it, like that checkpoint's best file,
    over resumed runs too; if none does, that of the last checkpoint and, in the end, of the last step. The folder's
    training.yaml says which it is. A model with weights that are not finite is not written: ValueError.

    Args:
        folder: Where; a relative path lies under the trainer's default_root_dir.
    """

    def __init__(self, folder: str = "model") -> None:
        self.folder = folder
        self.best: tuple[str, float | None] = (
            "",
            None,
        )  # the monitored checkpoint's best file and its score, as last seen
        self.written = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the folder and the ModelCheckpoint before the first step, so that no work is lost by them.

        Args:
            trainer: Its checkpoint callbacks say which model is the best.
            module: Its model is what will be written.

        Raises:
            ValueError: The folder holds what something else has written, or a ModelCheckpoint saves weights only, so
                that its best cannot be followed.
        """
        monitored = monitored_checkpoint(trainer)
        if monitored is not None and monitored.save_weights_only:
            raise ValueError(
                "FolderExport does not see the checkpoints of a ModelCheckpoint with save_weights_only, so the folder "
                "would not hold the best: set save_weights_only to false"
            )
        self.best, self.written = best_checkpoint(trainer), False
        refuse_foreign_folder(self._path(trainer), type(exported_model(module)).__name__)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the model if this checkpoint is the best, or if none is monitored.

        Args:
            trainer: Says which is the best.
            module: With the model.
            checkpoint: Not used.
        """
        refuse_diverged(trainer, module)
        monitored = monitored_checkpoint(trainer)
        if monitored is None:
            self._export(trainer, module, {})
        elif best_checkpoint(trainer) != self.best:  # ModelCheckpoint notes a new best before it saves that
            self.best = best_checkpoint(trainer)
            score = {"monitor": monitored.monitor, "mode": monitored.mode, "score": self.best[1]}
            if not (trainer.ckpt_path and is_better(self._path(trainer) / RECORD, score)):
                self._export(trainer, module, score)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the last model if none is monitored, and say what the folder holds.

        Args:
            trainer: Of the run that has ended.
            module: With the model.
        """
        refuse_diverged(trainer, module)
        kept = trainer.ckpt_path and (self._path(trainer) / RECORD).is_file()  # the best of the run that was resumed
        if monitored_checkpoint(trainer) is None or not (self.written or kept):
            self._export(trainer, module, {})
        record = self._path(trainer) / RECORD
        if trainer.is_global_zero and record.is_file():
            held = ", ".join(f"{key} {value}" for key, value in yaml.safe_load(record.read_text()).items())
            rank_zero_info(f"{record.parent} holds the model of {held}")

    def _path(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / self.folder

    def _export(self, trainer: Trainer, module: LightningModule, score: dict[str, Any]) -> None:
        self.written = True
        record = {"epoch": trainer.current_epoch, "step": trainer.global_step, **score}
        self._write(exported_model(module), self._path(trainer), record)

    @staticmethod
    @rank_zero_only
    def _write(model: Savable, folder: Path, record: dict[str, Any]) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(model, folder, record)

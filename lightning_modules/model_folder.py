"""The folder that a training writes: which of its models is put there, whole at any moment, and over what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol, cast

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from diffusion.folders import class_name
from radiographs.files import PART, atomic_folder, read_json

RECORD = "training.yaml"  # in a folder that training wrote: which epoch and step it is of, and its score


class Savable(Protocol):
    """A pipeline or a network of diffusers."""

    def save_pretrained(self, save_directory: Path) -> None:
        """Write it.

        Args:
            save_directory: A folder, which is made.
        """


def replace_folder(model: Savable, folder: Path, record: dict[str, Any] | None = None) -> None:
    """model.save_pretrained(folder), so that `folder` is at any moment the old model or the new one, whole.

    Args:
        model: A pipeline or a network of diffusers.
        folder: Where.
        record: What is written beside it, as training.yaml.
    """
    for end in ("", ".old"):  # of a training that was killed here
        for leftover in folder.parent.glob(f"{PART}{'?' * 12}-{folder.name}{end}"):
            shutil.rmtree(leftover, ignore_errors=True)
    with atomic_folder(folder, replace=True) as part:
        model.save_pretrained(part)
        if record is not None:
            (part / RECORD).write_text(yaml.safe_dump(record, sort_keys=False))


def exported_model(module: LightningModule) -> Savable:
    """What a training is for.

    Args:
        module: A LightningModule.

    Returns:
        The pipeline of a module that has one, with its averaged networks; else its VQ-GAN.
    """
    pipeline = getattr(module, "pipeline", None)
    return cast(Savable, module.vqgan) if pipeline is None else pipeline()


def refuse_foreign_folder(folder: Path, kind: str) -> None:
    """Refuse a folder that is there and is not what a training wrote, which may be replaced.

    Args:
        folder: Where the model will be written.
        kind: The model's class; a folder of it without training.yaml is of an earlier version.

    Raises:
        ValueError: It is such a folder.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())) or (folder / RECORD).is_file():
        return
    about = [folder / name for name in ("model_index.json", "config.json")]
    if any(class_name(read_json(path)) == kind for path in about if path.is_file()):
        return
    raise ValueError(
        f"{folder} is there and is no {kind} that a training wrote, and would be replaced: rename it, or set another "
        "trainer.default_root_dir or FolderExport.folder"
    )


def monitored_checkpoint(trainer: Trainer) -> ModelCheckpoint | None:
    """The first ModelCheckpoint that keeps the best by a metric; None where none does.

    Args:
        trainer: Its callbacks are looked at in their order.

    Returns:
        One with a `monitor` and a save_top_k other than 0.
    """
    found = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    return next((one for one in found if one.monitor is not None and one.save_top_k), None)


def best_checkpoint(trainer: Trainer) -> tuple[str, float | None]:
    """File and score of the best that `monitored_checkpoint` has seen.

    Args:
        trainer: Of the run, before or after it has saved anything.

    Returns:
        ("", None) if nothing is monitored or nothing was saved yet.
    """
    monitored = monitored_checkpoint(trainer)
    score = None if monitored is None else monitored.best_model_score
    return ("" if monitored is None else monitored.best_model_path, None if score is None else float(score))


def is_better(record: Path, score: dict[str, Any]) -> bool:
    """Whether a folder's model is better than a new score.

    Args:
        record: The folder's training.yaml.
        score: {"monitor", "mode", "score"} of the new model.

    Returns:
        False also if the folder's score is by another metric, or there is none.
    """
    known = yaml.safe_load(record.read_text()) if record.is_file() else None
    if not isinstance(known, dict) or known.get("monitor") != score["monitor"] or "score" not in known:
        return False
    return known["score"] < score["score"] if score["mode"] == "min" else known["score"] > score["score"]

"""`radiolucent fit | validate | test | predict --config configs/...`: a LightningCLI over this project's modules.

`--model` and `--data` take class paths, so any LightningModule and DataModule can be named in the YAML. TensorBoard
logs and checkpoints lie under `trainer.default_root_dir`; `--ckpt_path last` goes on from the last checkpoint.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def last_checkpoint(folder: str | Path) -> str:
    """The newest last.ckpt under a training's `default_root_dir`; each run has its own version folder in it.

    FileNotFoundError: there is none.
    """
    found = sorted(Path(folder).rglob("last*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: no last.ckpt lies under {folder}; start without it, or set trainer.default_root_dir to "
            "the folder of the run that is to go on"
        )
    return str(found[-1])


def main(argv: list[str]) -> int:
    """Run the LightningCLI on `argv` (subcommand first). A wrong option or key raises ValueError in one sentence."""
    from jsonargparse import ArgumentError
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.cli import LightningCLI

    class CommandLine(LightningCLI):
        def before_instantiate_classes(self) -> None:
            """Lightning itself looks for the last checkpoint in the new run's folder alone, which has none."""
            settings: Any = self.config[self.subcommand]
            if settings.get("ckpt_path") == "last":
                settings.ckpt_path = last_checkpoint(settings.trainer.default_root_dir or ".")

    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # the frozen networks
    try:
        CommandLine(
            model_class=LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "radiolucent", "exit_on_error": False},
            auto_configure_optimizers=False,
            args=argv,
        )
    except ArgumentError as error:
        raise ValueError(f"{error}; see `radiolucent {argv[0]} --help` and configs/ for complete examples") from None
    return 0

"""`radiolucent fit | validate | test | predict --config configs/...`: a LightningCLI over this project's modules.

`--model` and `--data` take class paths, so any LightningModule and DataModule can be named in the YAML. TensorBoard
logs and checkpoints lie under `trainer.default_root_dir`; `--ckpt_path last` resumes from the last checkpoint.
`predict` writes one 16-bit PNG a radiograph, of the size that the network sees, to `--predictions FOLDER`, by default
predictions under that folder.
"""

from __future__ import annotations

import re
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from radiolucent.precision import BFLOAT16, FLOAT32, training_precision

RENAMED = {  # configs by their old names, which are accepted until version 0.3
    "vqgan/box.yaml": "vqgan/ct_pairs.yaml",
    "suppression/box.yaml": "suppression/ct_pairs.yaml",
}
LAID_OVER = {  # configs that say only what differs from another one, which is read first whether named or not
    "suppression/ct_pairs_protected.yaml": "suppression/ct_pairs.yaml",
    "suppression/regression_protected.yaml": "suppression/regression.yaml",
    "synthesis/prior.yaml": "synthesis/ldm_512.yaml",
    "synthesis/prior_rendered.yaml": "synthesis/rendered.yaml",
    "synthesis/prior_tiny.yaml": "synthesis/tiny.yaml",
    "synthesis/viewxgen.yaml": "synthesis/ldm_512.yaml",
    "synthesis/viewxgen_tiny.yaml": "synthesis/tiny.yaml",
}
SLOW = (
    f"radiolucent: note: bfloat16 is slow on this processor, so trainer.precision is {FLOAT32}, not {BFLOAT16}; "
    f"give --trainer.precision {BFLOAT16} to have it nevertheless"
)
UNTRAINED = (
    "radiolucent: warning: no --ckpt_path, so {subcommand} takes the weights that the config builds, which are random "
    "where it names no trained ones: give --ckpt_path FILE, or last"
)


def last_checkpoint(folder: str | Path) -> str:
    """The newest last.ckpt of a training; each run has its own version folder.

    Args:
        folder: The training's `default_root_dir`.

    Returns:
        The file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several trainings, none of them in `folder` itself.
    """
    found = sorted(Path(folder).rglob("last*.ckpt"), key=lambda path: path.stat().st_mtime)
    trainings = {path: _training(path.relative_to(folder)) for path in found}
    own = [path for path in found if trainings[path] == "."]
    if not own and len(set(trainings.values())) > 1:
        raise ValueError(
            f"--ckpt_path last: several trainings lie under {folder} ({', '.join(sorted(set(trainings.values())))}): "
            "set trainer.default_root_dir to the folder of the one that is to be resumed, or give the checkpoint's file"
        )
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: no last.ckpt lies under {folder}; start without it, or set trainer.default_root_dir to "
            "the folder of the run that is to go on"
        )
    return str((own or found)[-1])


def _training(checkpoint: Path) -> str:
    """The folder of a training, without what Lightning puts between it and a checkpoint."""
    folder = checkpoint.parent
    while folder.name in ("checkpoints", "lightning_logs") or re.fullmatch(r"version_\d+", folder.name):
        folder = folder.parent
    return folder.as_posix()


def with_new_names(argv: list[str]) -> list[str]:
    """The command line with configs under their present names; a note says so.

    Args:
        argv: As given.

    Returns:
        As many words.
    """
    return [_new_name(word) for word in argv]


def _new_name(word: str) -> str:
    name = word.removeprefix("--config=")
    for old, new in RENAMED.items():
        if _is_shipped(name, old) and not Path(name).exists():
            print(f"radiolucent: note: configs/{old} is now called configs/{new}", file=sys.stderr)
            return word[: -len(old)] + new
    return word


def with_bases(argv: list[str]) -> list[str]:
    """The command line with each config of LAID_OVER behind its base.

    Args:
        argv: As given, with the subcommand.

    Returns:
        The same, with `--config BASE` added where the base was not named.
    """
    words: list[str] = []
    for word in argv:
        path = word.removeprefix("--config=")
        base = next((path[: -len(over)] + under for over, under in LAID_OVER.items() if _is_shipped(path, over)), None)
        if base is not None and base not in {one.removeprefix("--config=") for one in words}:
            words += [f"--config={base}"] if word.startswith("--config=") else [base, "--config"]
        words.append(word)
    return words


def _is_shipped(path: str, name: str) -> bool:
    return Path(path).as_posix().endswith(f"configs/{name}")


def refuse_missing_configs(words: list[str]) -> None:
    """Refuse a config that is not there as jsonargparse does, before Lightning is imported, which takes seconds.

    Args:
        words: Of the command line. What has a colon may be YAML, or an address, and is left to the LightningCLI.

    Raises:
        jsonargparse.ArgumentError: There is no such file.
    """
    from jsonargparse import ArgumentParser

    named = [after for word, after in pairwise(words) if word in ("-c", "--config")]
    named += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    for path in named:
        if path and ":" not in path and not Path(path).exists():
            parser.parse_args([f"--config={path}"])


def asked_for(option: str, words: list[str]) -> bool:
    """Whether the command line itself gives an option, as `--option VALUE` or `--option=VALUE`.

    Args:
        option: With its dashes.
        words: Of the command line.

    Returns:
        Whether it does; a config that gives it does not count.
    """
    return any(word.partition("=")[0] == option for word in words)


def _device(accelerator: object) -> str:
    """Where Lightning computes that is told of this accelerator: the CPU is "cpu"."""
    import torch

    return "cpu" if accelerator == "auto" and not torch.accelerator.is_available() else str(accelerator)


def main(argv: list[str]) -> int:
    """Run the LightningCLI.

    Args:
        argv: The words of the command line, the subcommand first.

    Returns:
        0.

    Raises:
        ValueError: A wrong option or key, in one sentence.
    """
    from jsonargparse import ArgumentError

    words = with_bases(with_new_names(argv))
    try:
        refuse_missing_configs(words)
        _run(words)
    except ArgumentError as error:
        raise ValueError(f"{error}; see `radiolucent {argv[0]} --help` and configs/ for complete examples") from None
    return 0


def _run(words: list[str]) -> None:
    """The LightningCLI, with what fit and predict add to it.

    Raises:
        jsonargparse.ArgumentError: A wrong option or key.
    """
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.utilities import rank_zero_only

    from lightning_modules.callbacks import FiniteWeights, ModelConfig
    from lightning_modules.predictions import PredictionWriter

    class CommandLine(LightningCLI):
        def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
            parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
            if subcommand == "predict":
                parser.add_argument(
                    "--predictions",
                    type=str | None,
                    default=None,
                    help="folder for the images (default: predictions under trainer.default_root_dir)",
                )
            return parser

        def before_instantiate_classes(self) -> None:
            """Settle what depends on this machine and on earlier runs.

            Lightning itself looks for the last checkpoint in the new run's folder alone, which has none.
            """
            settings: Any = self.config[self.subcommand]
            if settings.trainer.precision == BFLOAT16 and not asked_for("--trainer.precision", words):
                settings.trainer.precision = training_precision(_device(settings.trainer.accelerator))
                if settings.trainer.precision != BFLOAT16:
                    rank_zero_only(print)(SLOW, file=sys.stderr)
            if settings.get("ckpt_path") == "last":
                settings.ckpt_path = last_checkpoint(settings.trainer.default_root_dir or ".")
            if self.subcommand != "fit" and not settings.get("ckpt_path"):
                rank_zero_only(print)(UNTRAINED.format(subcommand=self.subcommand), file=sys.stderr)
            if self.subcommand == "predict" and settings.return_predictions is None:
                settings.return_predictions = False  # they are written, and would fill the memory

        def before_fit(self) -> None:
            settings: Any = self.config[self.subcommand]
            written = self._parser(self.subcommand).dump(settings, skip_none=False, format="yaml")
            self.trainer.callbacks.append(ModelConfig(yaml.safe_load(written)["model"]))  # type: ignore[attr-defined]

        def before_predict(self) -> None:
            settings: Any = self.config[self.subcommand]
            self.trainer.callbacks.append(PredictionWriter(settings.predictions))  # type: ignore[attr-defined]

    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # the frozen networks
    CommandLine(
        model_class=LightningModule,
        datamodule_class=LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"callbacks": [FiniteWeights()]},
        parser_kwargs={"prog": "radiolucent", "exit_on_error": False},
        auto_configure_optimizers=False,
        args=words,
    )

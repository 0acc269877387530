"""The folder of a training's checkpoint: `radiolucent export CHECKPOINT --out FOLDER`.

CHECKPOINT: any .ckpt that `radiolucent fit` wrote, such as the last one or one of an earlier epoch. The folder is what
training itself writes as `model`: a pipeline with the averaged networks, or a VQ-GAN. How the model is built is read
from the checkpoint, or from the config.yaml beside it. Research use only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

CONFIG = "config.yaml"  # in the folder of a run, which holds the folder of its checkpoints


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent export`.

    Args:
        parser: Takes them.
    """
    parser.add_argument("checkpoint", type=str, help="a checkpoint (.ckpt) of `radiolucent fit`")
    parser.add_argument("--out", type=str, required=True, help="folder to write; it must not exist or be empty")
    parser.add_argument(
        "--model-config",
        type=str,
        help="YAML with the training's `model` section (default: what the checkpoint holds, or config.yaml of its run)",
    )
    parser.add_argument("--vqgan", type=str, help="where the training's VQ-GAN folder lies now, if it was moved")


def run(args: Namespace) -> int:
    """Write the folder.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0.

    Raises:
        ValueError: The output folder holds something, or the checkpoint does not fit its configuration.
    """
    out, source = Path(args.out), Path(args.checkpoint)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already: choose another folder, or remove it")
    checkpoint = read_checkpoint(source)
    module = build_module(model_config(source, checkpoint, args.model_config), args.vqgan)
    load_weights(module, checkpoint, source)
    what = write(module, checkpoint, out)
    print(f"{what} of epoch {checkpoint['epoch']}, step {checkpoint['global_step']} written to {out}")
    return 0


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A Lightning checkpoint, on the CPU; none of what a pickle asks for is run.

    Args:
        path: The file.

    Returns:
        Its contents.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint of Lightning, or holds more than tensors and plain values.
    """
    from pickle import UnpicklingError

    import torch

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[:1]
        raise ValueError(
            f"{path}: no file of torch.save with nothing but tensors and plain values, as `radiolucent fit` writes it "
            f"({''.join(reason) or type(error).__name__})"
        ) from None
    if not isinstance(checkpoint, dict) or not {"state_dict", "epoch", "global_step"} <= checkpoint.keys():
        raise ValueError(
            f"{path}: no checkpoint of Lightning; for a file of weights alone see `radiolucent convert-checkpoint`"
        )
    return checkpoint


def model_config(path: Path, checkpoint: dict[str, Any], given: str | None) -> dict[str, Any]:
    """The `model` section of the training's YAML.

    Args:
        path: Of the checkpoint.
        checkpoint: Its contents.
        given: A YAML that holds the section, or None.

    Returns:
        {"class_path": ..., "init_args": ...}.

    Raises:
        FileNotFoundError: It is nowhere.
        ValueError: The file holds none.
    """
    import yaml

    from lightning_modules.callbacks import MODEL_CONFIG

    if given is None and MODEL_CONFIG in checkpoint:
        return yaml.safe_load(checkpoint[MODEL_CONFIG])
    beside = [folder / CONFIG for folder in path.resolve().parents[:2]]
    file = next((one for one in beside if one.is_file()), None) if given is None else Path(given)
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"{file or path}: {'there is no such file' if file else 'it does not say how its model is built'}, "
            "give --model-config FILE, the YAML of its training (config.yaml in the run's folder)"
        )
    try:
        config = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: no YAML ({' '.join(str(error).split())})") from None
    config = config.get("model", config) if isinstance(config, dict) else None
    if not isinstance(config, dict) or "class_path" not in config:
        raise ValueError(f"{file}: no `model` section with a class_path and init_args; give the YAML of the training")
    return config


def build_module(config: dict[str, Any], vqgan: str | None) -> Any:
    """The LightningModule of a `model` section, with the folders that it names read, as for prediction.

    Args:
        config: The section.
        vqgan: Folder in place of the one in the section, or None.

    Returns:
        The module, with random weights.

    Raises:
        ValueError: The section does not fit the class.
    """
    from jsonargparse import ArgumentError
    from lightning.pytorch import LightningModule
    from lightning.pytorch.cli import LightningArgumentParser

    if vqgan is not None:
        config = {**config, "init_args": {**(config.get("init_args") or {}), "vqgan": vqgan}}
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    try:
        module = parser.instantiate_classes(parser.parse_object({"model": config})).model
    except ArgumentError as error:
        raise ValueError(f"the model of this checkpoint cannot be built: {error}") from None
    module.setup("predict")
    return module


def load_weights(module: Any, checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights and scales into its module.

    Args:
        module: Of `build_module`.
        checkpoint: Its contents.
        path: For messages.

    Raises:
        ValueError: They are another model's.
    """
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{path} holds another model than a {type(module).__name__} of this config: {reason}"
        ) from None


def write(module: Any, checkpoint: dict[str, Any], out: Path) -> str:
    """Save the model in a folder beside `out`, which becomes `out` when it is whole.

    Args:
        module: With its weights.
        checkpoint: For epoch and step.
        out: The folder.

    Returns:
        Name of the model's class.

    Raises:
        ValueError: There is nothing that a folder could hold, or weights that are not finite.
    """
    import yaml
    from diffusers.utils import logging

    from diffusion.finite import refuse_broken
    from lightning_modules.model_folder import RECORD, exported_model
    from radiographs.files import atomic_folder

    logging.disable_progress_bar()
    if not (hasattr(module, "pipeline") or hasattr(module, "vqgan")):
        raise ValueError(
            f"a {type(module).__name__} has neither a pipeline() nor a vqgan, so there is no folder to write"
        )
    refuse_broken({"model": module}, "the checkpoint")
    model = exported_model(module)
    record = {"epoch": checkpoint["epoch"], "step": checkpoint["global_step"]}
    with atomic_folder(out) as part:
        model.save_pretrained(part)
        (part / RECORD).write_text(yaml.safe_dump(record, sort_keys=False))
    return type(model).__name__

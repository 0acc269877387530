"""Where a pipeline's folder lies, and the index in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

INDEX = "model_index.json"
MODULE = "_pipeline_module"  # in model_index.json: where the pipeline's class is defined
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_OPTIONS = ("cache_dir", "revision", "token", "local_files_only", "force_download", "proxies")
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.md")  # neither pickles nor anything else


def read_model_index(path: Path) -> dict[str, Any]:
    """Read a pipeline's model_index.json.

    Args:
        path: The file.

    Returns:
        Its contents.

    Raises:
        ValueError: It is no JSON object; the error names the file.
        OSError: It cannot be read.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON, or damaged ({error}): copy the folder again") from None
    if not isinstance(index, dict):
        raise ValueError(f"{path}: no index of a pipeline: give the folder that training wrote")
    return index


def read_index(folder: str | Path) -> dict[str, Any]:
    """Read the index of a pipeline's folder.

    Args:
        folder: On this machine.

    Returns:
        The contents of its model_index.json.

    Raises:
        FileNotFoundError: It has none, so that it is no pipeline's.
        ValueError: The index is damaged.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {INDEX}, so it is no pipeline folder; give the one that training or save_pretrained wrote"
        )
    return read_model_index(path)


def class_name(index: dict[str, Any]) -> str | None:
    """The class of the pipeline that a model_index.json describes.

    Args:
        index: The file's contents. diffusers writes "CLASS" for its own pipelines and [MODULE, CLASS] for any other.

    Returns:
        CLASS; None if none is named.
    """
    name = index.get("_class_name")
    if isinstance(name, list) and len(name) == 2:
        name = name[1]
    return name if isinstance(name, str) else None


def is_hub_name(name: str | Path) -> bool:
    """Whether something that is no folder here could be OWNER/NAME on the Hugging Face hub.

    Args:
        name: What a user gave as a model.

    Returns:
        True for two parts that begin with a letter or a digit; the hub is not asked.
    """
    return HUB_NAME.fullmatch(str(name)) is not None


def pipeline_folder(name: str | Path, options: dict[str, Any] | None = None) -> Path:
    """The folder itself, or where a model of the Hugging Face hub was downloaded to.

    Args:
        name: A folder, or OWNER/NAME. What is neither is given back as it is, for its reader to refuse.
        options: As from_pretrained takes them; those about the hub are removed from it (cache_dir, revision, token,
            local_files_only, force_download, proxies).

    Returns:
        A folder on this machine.

    Raises:
        FileNotFoundError: The hub cannot be reached, or has no such model, and none was downloaded before.
    """
    options = {} if options is None else options
    given = {key: options.pop(key) for key in HUB_OPTIONS if key in options}
    folder = Path(name)
    if folder.exists() or not is_hub_name(name):
        return folder
    from huggingface_hub import snapshot_download

    given.pop("proxies", None)  # huggingface_hub takes them from the environment
    try:
        return Path(snapshot_download(str(name), allow_patterns=list(HUB_FILES), **given))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(
            f"{name} is no folder here, and no model of that name came from the Hugging Face hub ({reason}): check the "
            "name, or download it where there is a network"
        ) from None

"""The configurations that foreign weights come with: YAML or JSON of taming, CompVis and MONAI's bundles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def model_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """What a taming or CompVis YAML says of the model.

    Args:
        config: The whole YAML.

    Returns:
        Its `model: params:`; {} if there are none.
    """
    return config.get("model", {}).get("params", {})


def read_config(path: Path) -> dict[str, Any]:
    """A YAML or JSON file's mapping.

    Args:
        path: The file.

    Returns:
        Its contents.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither YAML nor JSON, or holds something else than a mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; give the model's YAML or JSON")
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no mapping; give the model's YAML or JSON")
    return config


def monai_options(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The arguments of a MONAI class in a bundle's configuration, `@key` resolved if it names a value.

    Args:
        config: The bundle's.
        name: Of the class.

    Returns:
        {argument: value}.
    """

    def nodes(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if str(value.get("_target_", "")).rpartition(".")[2] == name:
                yield value
            for item in value.values():
                yield from nodes(item)
        elif isinstance(value, list):
            for item in value:
                yield from nodes(item)

    node = next(nodes(config), {})
    resolved = {k: config.get(v[1:]) if isinstance(v, str) and v.startswith("@") else v for k, v in node.items()}
    return {key: value for key, value in resolved.items() if value is not None and not key.startswith("_")}

"""Weights that are not all there: diffusers draws at random what a file lacks, and leaves out what it has too many."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.models.modeling_utils import ModelMixin


def refuse_incomplete(networks: Mapping[str, Any], folder: Path) -> None:
    """Refuse networks whose files hold fewer weights than they have, or more.

    Args:
        networks: By the name of their part of the folder; what diffusers did not read from safetensors there is passed
            over.
        folder: A saved pipeline's.

    Raises:
        ValueError: One of them was read from such files.
    """
    from safetensors import safe_open

    for part, network in networks.items():
        files = sorted((folder / part).glob("*.safetensors")) if isinstance(network, ModelMixin) else []
        stored: set[str] = set()
        for file in files:
            with safe_open(file, "pt") as weights:
                stored |= set(weights.keys())
        odd = sorted(stored ^ network.state_dict().keys()) if files else []
        if odd:
            raise ValueError(
                f"{folder / part}: {len(odd)} weights are missing, or more than its config.json asks for, such as "
                f"{odd[0]}: the folder is damaged, or weights and config are not of one training; copy it again"
            )

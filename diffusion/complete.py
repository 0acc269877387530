"""Weights that are not all there: diffusers and transformers draw at random what a file lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

POOLER = "pooler."  # which many encoders are saved without


def whole_transformer(kind: Any, source: str, **options: Any) -> Any:
    """A transformers model all of whose weights are in its files.

    Args:
        kind: Class such as transformers.AutoModel.
        source: A folder, or a name on the Hub.
        **options: As its `from_pretrained` takes them.

    Returns:
        The model; without its pooling layer if the files lack that alone.

    Raises:
        ValueError: Other weights are missing.
    """
    model, info = kind.from_pretrained(source, **options, output_loading_info=True)
    missing = sorted(info["missing_keys"])
    lost = [name for name in missing if not name.startswith(POOLER)]
    if lost:
        raise ValueError(
            f"{source}: {len(lost)} weights of its {type(model).__name__} are missing, such as {lost[0]}: the folder "
            "is damaged, or holds a model of another kind"
        )
    if missing:
        model.pooler = None
    return model


def refuse_incomplete(networks: Mapping[str, Any], folder: Path) -> None:
    """Refuse networks whose files hold fewer weights than they have, or more.

    Args:
        networks: By the name of their part of the folder; what diffusers did not read from safetensors there is passed
            over.
        folder: A saved pipeline's.

    Raises:
        ValueError: One of them was read from such files.
    """
    from diffusers.models.modeling_utils import ModelMixin
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

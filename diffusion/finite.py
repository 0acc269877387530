"""Weights that are no longer numbers, as a training that diverged leaves them: found, and not used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn


def broken_tensors(network: nn.Module) -> list[str]:
    """Tensors of a network that are no longer usable.

    Args:
        network: Any module.

    Returns:
        Names of the parameters that hold a NaN or an infinity, and of the buffers that hold a NaN (a buffer may hold an
        infinity on purpose).
    """
    weights = [name for name, value in network.named_parameters() if not value.isfinite().all()]
    return weights + [name for name, value in network.named_buffers() if value.isnan().any()]


def refuse_broken(networks: Mapping[str, Any], source: str | Path) -> None:
    """Refuse networks with weights that are not finite.

    Args:
        networks: By name; what is no `nn.Module` is passed over.
        source: Where they come from.

    Raises:
        ValueError: One of them holds such weights.
    """
    modules = {name: network for name, network in networks.items() if isinstance(network, nn.Module)}
    broken = [f"{part}.{name}" for part, network in modules.items() for name in broken_tensors(network)]
    if broken:
        raise ValueError(
            f"{source}: {len(broken)} of its tensors hold values that are not finite numbers, such as {broken[0]}: the "
            "training has diverged; take an earlier checkpoint (`radiolucent export` makes a folder of one)"
        )

"""Conditions left out now and then in training, so that a network also answers without them, for guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from diffusion.networks.conditions import CONDITIONS, Conditions

USUAL = 0.1


def dropout_rates(
    dropout: Mapping[str, float] | None, unconditional: float, conditions: Sequence[str]
) -> dict[str, float]:
    """How often each condition is left out.

    Args:
        dropout: {condition: rate} in [0, 1]; USUAL for those that are not named.
        unconditional: Rate at which all are, in [0, 1].
        conditions: Those that the model has.

    Returns:
        {condition: rate} of those.

    Raises:
        ValueError: An unknown condition, or a rate out of [0, 1].
    """
    rates = dict.fromkeys(CONDITIONS, USUAL) | dict(dropout or {})
    unknown = set(rates) - set(CONDITIONS)
    if unknown or not all(0 <= rate <= 1 for rate in (*rates.values(), unconditional)):
        raise ValueError(
            f"dropout is {dict(dropout or {})}, unconditional {unconditional}; expected rates from 0 to 1 of "
            f"{', '.join(CONDITIONS)}"
        )
    return {name: rates[name] for name in conditions}


def drop_conditions(
    given: Conditions, rates: Mapping[str, float], unconditional: float, generator: torch.Generator
) -> Conditions:
    """Leave conditions out at random; of regions also each kind alone, since a user may say where one finding is.

    Args:
        given: Of B images.
        rates: Of `dropout_rates`.
        unconditional: Rate at which an image loses all of them.
        generator: On the CPU.

    Returns:
        New Conditions of B images.

    Reference:
        Ho and Salimans, arXiv:2207.12598, algorithm 1, for each condition by itself.
    """
    everything = torch.rand(len(given.view), generator=generator) < unconditional
    for name, rate in rates.items():
        alone = torch.rand(len(given.view), generator=generator) < rate
        given = given.without(name, alone | everything)
    if rates.get("region"):
        kept = torch.rand(given.region.shape[:2], generator=generator) >= rates["region"]
        given = replace(given, region=given.region * kept[..., None, None].to(given.region))
    return given

"""Classifier-free guidance with a scale of its own for each condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

Terms = list[tuple[float, tuple[str, ...]]]


def guidance_scales(given: Any) -> dict[str, float]:
    """Scales of guidance as a caller gives them.

    Args:
        given: {condition: scale}, or a number alone, which is the report's, as `radiolucent synthesize --guidance N`.

    Returns:
        {condition: scale}.

    Raises:
        ValueError: It is something else, or a scale is no finite number.
    """
    scales = dict(given) if isinstance(given, Mapping) else {"report": given}
    for scale in scales.values():
        if not isinstance(scale, (int, float)) or not math.isfinite(scale):
            raise ValueError(
                f"guidance is {given!r}; expected {{condition: scale}}, such as {{'report': 3.0}}, with finite numbers,"
                " or one number, which is the report's"
            )
    return scales


def guidance_terms(order: Sequence[str], scales: Mapping[str, float] | float) -> Terms:
    """Which answers of the network classifier-free guidance needs, and their weights.

    For conditions c_1, c_2, ... in `order` the guided answer is e() + s_1 (e(c_1) - e()) + s_2 (e(c_1, c_2) - e(c_1)) +
    ..., here gathered by answer, without those of weight 0. So all scales 1 is the conditional answer alone, all 0 the
    unconditional one, and equal scales cost two answers.

    Args:
        order: Names of the conditions; the last is left out first.
        scales: Scale of each condition; 1 for one that is not named. A number alone is the report's.

    Returns:
        [(weight, conditions left out)]; the weights sum to 1.

    Raises:
        ValueError: A name is not in `order`, or see `guidance_scales`.

    Example:
        >>> guidance_terms(["report"], {"report": 3.0})
        [(-2.0, ('report',)), (3.0, ())]

    Reference:
        Brooks et al., arXiv:2211.09800, eq. 3, for any number of conditions.
    """
    scales = guidance_scales(scales)
    unknown = set(scales) - set(order)
    if unknown:
        raise ValueError(
            f"guidance names {', '.join(sorted(unknown))}; this model's conditions are {', '.join(order) or 'none'}"
        )
    steps = [1.0, *(float(scales.get(name, 1.0)) for name in order), 0.0]
    weights = [here - following for here, following in pairwise(steps)]
    return [(weight, tuple(order[given:])) for given, weight in enumerate(weights) if weight]


def weighted_sum(answers: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The sum of weight * answer.

    Args:
        answers: Pairs of a weight and a tensor, all of one shape.

    Returns:
        The sum; an answer of weight 1 that stands alone comes out bit for bit.
    """
    (weight, total), *others = answers
    total = total if weight == 1 else weight * total
    for weight, answer in others:
        total = total + weight * answer
    return total

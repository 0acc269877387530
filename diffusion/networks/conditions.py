"""What is asked of images as tensors: view, demographics, report, places of findings, other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from radiographs.vocabulary import SEXES, VIEWS

# in the order of guidance: what a box says holds while a report is followed more strongly than it
CONDITIONS = ("image", "view", "demographics", "region", "report")
Demographics = Mapping[str, Any]


@dataclass(frozen=True)
class Conditions:
    """What is asked of B images; whatever is absent is zero, in training's dropout as in sampling.

    Attributes:
        view: (B,) int, 0 for none, else 1 + its place in VIEWS.
        report: Embeddings (B, T, D) of the reports' tokens.
        report_mask: (B, T) bool, true where there is a token.
        demographics: (B, 4): age in centuries, whether it is known, female, male.
        image: (B, K, C, h, w), scaled latents of other images: views of the study, or of an earlier one.
        image_view: (B, K) int as `view`, 0 for no image.
        image_prior: (B, K) int, 1 for an image of an earlier study.
        region: (B, R, h, w) in [0, 1], where findings shall be, a map for each kind (`radiographs.regions`).
    """

    view: Tensor
    report: Tensor
    report_mask: Tensor
    demographics: Tensor
    image: Tensor
    image_view: Tensor
    image_prior: Tensor
    region: Tensor

    def without(self, name: str, rows: Tensor | None = None) -> Conditions:
        """The same with one condition left out.

        Args:
            name: One of CONDITIONS.
            rows: (B,) bool, of which images it is left out; None: of all.

        Returns:
            New Conditions.
        """
        fields = {"image": ("image", "image_view", "image_prior"), "report": ("report", "report_mask")}
        changed = {}
        for field in fields.get(name, (name,)):
            value = getattr(self, field)
            gone = value.new_ones(len(value), dtype=torch.bool) if rows is None else rows.to(value.device)
            changed[field] = value.masked_fill(gone.reshape(-1, *[1] * (value.ndim - 1)), 0)
        return replace(self, **changed)

    def rows(self, rows: Sequence[int]) -> Conditions:
        """Those of some images, in the order given.

        Args:
            rows: Indices in [0, B).

        Returns:
            Conditions of len(rows) images.
        """
        return Conditions(*(getattr(self, field)[list(rows)] for field in self.__dataclass_fields__))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Conditions:
        """On another device, the floating-point ones in another precision.

        Args:
            device: Of all tensors.
            dtype: Of report, demographics, image and region.

        Returns:
            New Conditions.
        """
        values = (getattr(self, field) for field in self.__dataclass_fields__)
        return Conditions(*(v.to(device, dtype if v.is_floating_point() else v.dtype) for v in values))


def view_index(view: str | None, known: int) -> int:
    """The number by which a model knows a view.

    Args:
        view: A name in VIEWS; None for none.
        known: How many of VIEWS, from the first, the model knows.

    Returns:
        1 + the view's place in VIEWS; 0 for None.

    Raises:
        ValueError: Any other name than the first `known` of VIEWS.
    """
    if view is None:
        return 0
    if view not in VIEWS[:known]:
        raise ValueError(f"the view is '{view}'; expected one of {', '.join(VIEWS[:known])}")
    return 1 + VIEWS.index(view)


def demographics_row(given: Demographics | None) -> list[float]:
    """The four numbers of Conditions.demographics.

    Args:
        given: {"age": years, "sex": "F" or "M"}, both optional; None for nothing known.

    Returns:
        Age in centuries, whether it is known, female, male.

    Raises:
        ValueError: Another key, an impossible age, or another sex.
    """
    given = given or {}
    age, sex = given.get("age"), given.get("sex")
    if set(given) - {"age", "sex"}:
        raise ValueError(f"demographics are {', '.join(sorted(given))}; expected age and sex, no more")
    if age is not None and not 0 <= float(age) <= 120:
        raise ValueError(f"the age is {age}; expected years from 0 to 120, or none")
    if sex is not None and sex not in SEXES:
        raise ValueError(f"the sex is '{sex}'; expected F, M or none")
    return [0.0 if age is None else float(age) / 100, float(age is not None), float(sex == "F"), float(sex == "M")]

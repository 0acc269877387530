"""What a batch of ReportDataModule asks of a synthesis model: of its conditioner in training, later of its pipeline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion.networks.conditions import Demographics
from diffusion.networks.text import TextEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """Of B images; None for a condition that the model does not have.

    Attributes:
        views: Of each image.
        text: Embeddings (B, T, D) of the reports and their mask (B, T), or twice None.
        demographics: Of each image.
        images: (B, K, 1, S, S) in [-1, 1], other images.
        image_views: The view of each of them.
        image_priors: Which of them are of an earlier study.
        regions: (B, 5, r, r), maps of where findings are.
    """

    views: Sequence[str | None]
    text: tuple[Tensor | None, Tensor | None]
    demographics: Sequence[Demographics] | None
    images: Tensor | None
    image_views: Sequence[Sequence[str | None]] | None
    image_priors: Sequence[Sequence[bool]] | None
    regions: Tensor | None


def asked_for(batch: dict[str, Any], config: Any, text_encoder: TextEncoder | None) -> Asked:
    """Pick out of a batch what a model knows.

    Args:
        batch: Of ReportDataModule.
        config: Of the model's Conditioner.
        text_encoder: For the reports; None for a model without them.

    Returns:
        What is asked for.

    Raises:
        ValueError: The model takes maps of regions, or priors, and the data give none.
    """
    if config.regions and "regions" not in batch:
        raise ValueError(
            "the conditioner takes maps of regions and the data give none: set the data's region_size to the latents' "
            "side"
        )
    if config.priors and "image_priors" not in batch:
        raise ValueError("the conditioner tells priors apart and the data give none: set the data's priors to true")
    return Asked(
        batch["view"],
        (None, None) if text_encoder is None else embed_reports(batch, text_encoder),
        batch["demographics"] if config.demographics else None,
        batch["images"] if config.images else None,
        batch["image_views"] if config.images else None,
        batch["image_priors"] if config.priors else None,
        batch["regions"] if config.regions else None,
    )


def embed_reports(batch: dict[str, Any], text_encoder: TextEncoder) -> tuple[Tensor, Tensor]:
    """Embeddings and mask of a batch's reports; what is cut off is said in the log.

    Args:
        batch: Of ReportDataModule.
        text_encoder: Which remembers what it has read.

    Returns:
        (B, T, D) and (B, T) bool.
    """
    before = len(text_encoder.truncated)
    embedded = text_encoder(batch["report"], batch["name"])
    cut = len(text_encoder.truncated)
    if cut > before:
        logger.warning("%d reports so far were cut at %d tokens", cut, text_encoder.limit)
    return embedded


def check_text_width(text_encoder: TextEncoder | None, config: Any) -> None:
    """Check that a conditioner takes the embeddings of a text encoder.

    Args:
        text_encoder: None for a model without reports.
        config: Of the model's Conditioner.

    Raises:
        ValueError: The embeddings are not as wide as it expects.
    """
    width = 0 if text_encoder is None else text_encoder.width
    if width != config["text_width"]:
        raise ValueError(
            f"the text encoder's embeddings are {width} wide and the conditioner's text_width {config['text_width']}"
        )

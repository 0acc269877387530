"""The weights with which training of synthesis begins: those of a trained model, which may know fewer conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from diffusion.contracts import NoiseSchedule
from diffusion.networks.conditioning import Conditioner

if TYPE_CHECKING:
    from diffusion.pipelines.synthesis import SynthesisPipeline

FIRST_LAYERS = ("unet.conv_in.weight", "unet.patchify.weight")  # of a U-Net and of a LatentDiT
ADDED = ("image_view", "image_place", "image_prior", "person")  # what is added to the time's embedding


def check_start(pipeline: SynthesisPipeline, scheduler: NoiseSchedule, latent: str, fingerprint: str | None) -> None:
    """Check that a model's weights mean the same in another training.

    Args:
        pipeline: The SynthesisPipeline to begin with.
        scheduler: The new training's.
        latent: `quantized` or `continuous`, the new training's.
        fingerprint: Of the new training's text encoder; None: not known.

    Raises:
        ValueError: It was trained for another kind of schedule, prediction, latent or text encoder.
    """
    theirs, ours = (
        {"schedule": type(one).__name__, "predicts": one.config.get("prediction_type", "velocity"), "latent": kind}
        for one, kind in ((pipeline.scheduler, pipeline.config["latent"]), (scheduler, latent))
    )
    if theirs != ours:
        raise ValueError(f"`start` has {theirs}, this model {ours}: make them the same")
    if fingerprint is not None and pipeline.conditioner.config["text_fingerprint"] not in (None, fingerprint):
        raise ValueError("`start` was trained with another text encoder: give `text_encoder` that one")


def first_weights(pipeline: SynthesisPipeline, networks: nn.ModuleDict) -> dict[str, Tensor]:
    """A trained pipeline's weights for networks that may know more conditions.

    What they know beyond it begins as if it were not there: new channels of the network's input have weights of 0, and
    so have other images and demographics in the conditioner; a report or a planner that is new keeps its random ones.

    Args:
        pipeline: A SynthesisPipeline, see `check_start`.
        networks: "unet" and "conditioner".

    Returns:
        Their state dict. Networks of another kind or size do not load it.

    Raises:
        ValueError: The pipeline knows conditions that the networks do not.
    """
    wanted = networks.state_dict()
    parts = {"unet": pipeline.unet, "conditioner": pipeline.conditioner}
    weights = {f"{part}.{name}": value for part, one in parts.items() for name, value in one.state_dict().items()}
    old, new = (
        {name: one.config[name] for name in ("images", "regions")}
        for one in (pipeline.conditioner, cast(Conditioner, networks["conditioner"]))
    )
    known, asked = (
        {_condition(name) for name in names if name.startswith("conditioner.")} for names in (weights, wanted)
    )
    if known - asked or any(old[name] > new[name] for name in old):
        lost = f" and has no {', '.join(sorted(known - asked))}" if known - asked else ""
        raise ValueError(
            f"`start` takes {old}; this model's conditioner takes {new}{lost}: it must know as much or more"
        )
    for name, value in wanted.items():
        if name.startswith("conditioner.") and _condition(name) not in known:
            weights[name] = torch.zeros_like(value) if _condition(name) in ADDED else value
    for name in FIRST_LAYERS:
        if name in weights:
            weights[name] = _widened(weights[name], old, new)
    if old["images"]:
        name = "conditioner.image_place"
        weights[name] = torch.cat([weights[name], torch.zeros_like(wanted[name][old["images"] :])])
    return weights


def _condition(name: str) -> str:
    """The part of a weight's name that says which condition it embeds."""
    return name.split(".")[1]


def _widened(weight: Tensor, old: dict[str, int], new: dict[str, int]) -> Tensor:
    """The first layer's weights (out, in, ...), with zeros for other images and for maps of regions that are new.

    The noisy latent comes first, then the other images' latents, then the maps.
    """
    latents = weight.shape[1] - old["regions"]
    channels = latents // (1 + old["images"])  # of one latent
    counts = (channels * (new["images"] - old["images"]), new["regions"] - old["regions"])
    images, regions = (weight.new_zeros(len(weight), count, *weight.shape[2:]) for count in counts)
    return torch.cat([weight[:, :latents], images, weight[:, latents:], regions], dim=1)

"""The conditioner: a view, demographics, a report and other images as tokens to attend to, and where findings are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.functional import interpolate

from diffusion.networks.conditions import CONDITIONS, Conditions, Demographics, demographics_row, view_index
from diffusion.networks.planner import RegionPlanner


class Conditioner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Turns Conditions into what a network attends to and what is added to its time embedding.

    The tokens, for cross-attention: the view, demographics where `demographics`, one for each other image, whether
    there is a report, and the report's own. The vector, their sum with the report's mean, is added to the time's
    embedding.

    Args:
        width: Of tokens and vector.
        text_width: D, of the report's embeddings; 0 for a model without reports.
        text_length: T, tokens that every report is padded to.
        demographics: Whether the model knows age and sex.
        images: K, other images that the model sees: views of the study and, with `priors`, of an earlier one.
        latent_channels: Of the other views' latents.
        text_encoder: Folder or hub name of the encoder that the reports went through (diffusion.networks.text), kept
            for whoever samples.
        text_fingerprint: sha256 of that encoder's weights.
        views: How many of VIEWS, from the first, the model knows; folders that do not say so know five.
        plan_side: Side of the maps in which the model plans from the report where findings are, see `planned`; 0: none.
        priors: Whether the model tells the other images of an earlier study from those of the same one.
        regions: R, of how many of radiographs.vocabulary.FINDINGS, from the first, it may be given the place; 0: none.
    """

    @register_to_config
    def __init__(
        self,
        width: int = 768,
        text_width: int = 768,
        text_length: int = 256,
        demographics: bool = False,
        images: int = 0,
        latent_channels: int = 4,
        text_encoder: str | None = None,
        text_fingerprint: str | None = None,
        views: int = 5,
        regions: int = 0,
        priors: bool = False,
        plan_side: int = 0,
    ) -> None:
        super().__init__()
        if plan_side and not (regions and text_width):
            raise ValueError("plan_side needs reports and regions: text_width and regions must be 1 or more")
        if priors and not images:
            raise ValueError("priors need a place among the other images: images must be 1 or more")
        self.view = nn.Embedding(1 + views, width)
        self.person = nn.Linear(4, width) if demographics else None
        self.image_view = nn.Embedding(1 + views, width) if images else None
        self.image_place = nn.Parameter(torch.randn(images, width)) if images else None
        self.image_prior = nn.Embedding(2, width) if priors else None
        self.planner = RegionPlanner(text_width, views, regions, plan_side) if plan_side else None
        self.has_report = nn.Embedding(2, width) if text_width else None
        # normalized (Imagen: Saharia et al. 2022, section 2.4), so that small differences such as left and right count
        self.report = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width)) if text_width else None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **options: Any) -> Conditioner:
        """Load a conditioner, and refuse an incomplete one.

        Args:
            pretrained_model_name_or_path: As diffusers' ModelMixin takes it.
            **options: As diffusers' ModelMixin takes them.

        Returns:
            The conditioner.

        Raises:
            ValueError: The weights are not all there; diffusers would fill the gaps with random ones.
        """
        options = {"low_cpu_mem_usage": False, "use_safetensors": True, **options, "output_loading_info": True}
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, **options)
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise ValueError(
                f"{pretrained_model_name_or_path} lacks weights of its conditioner: {', '.join(missing)}; "
                "an older version wrote them, or the file is damaged: train again, or use that version"
            )
        return model

    @property
    def conditions(self) -> tuple[str, ...]:
        """Which of CONDITIONS this model has."""
        config: Any = self.config
        absent = {"image": config.images, "demographics": config.demographics, "report": config.text_width}
        absent["region"] = config.regions
        return tuple(name for name in CONDITIONS if absent.get(name, True))

    def prepare(
        self,
        views: Sequence[str | None],
        embeddings: Tensor | None = None,
        mask: Tensor | None = None,
        demographics: Sequence[Demographics | None] | None = None,
        image: Tensor | None = None,
        image_views: Sequence[Sequence[str | None]] | None = None,
        region: Tensor | None = None,
        image_priors: Sequence[Sequence[bool]] | None = None,
    ) -> Conditions:
        """Conditions of B images, checked and padded to fixed sizes.

        Args:
            views: Of each image; None for none.
            embeddings: Of the reports' tokens, (B, T, D); None without reports.
            mask: (B, T) bool, true where there is a token; None: everywhere. An image without a token has no report.
            demographics: Of each image, see `demographics_row`.
            image: (B, K, C, h, w), scaled latents of other images.
            image_views: The view of each of them; None where there is no image.
            region: (B, R, h, w) in [0, 1], maps of where findings shall be, 0 where nothing is said.
            image_priors: Which of them are of an earlier study; None: none.

        Returns:
            Conditions of B images.

        Raises:
            ValueError: Unknown views, lists of other lengths, or sizes or conditions that are not this model's.
        """
        config: Any = self.config
        count = len(views)
        report, kept = self._pad_report(count, embeddings, mask)
        if demographics is not None and (not config.demographics or len(demographics) != count):
            has = "has" if config.demographics else "has no"
            raise ValueError(f"{len(demographics)} demographics for {count} images; this model {has} demographics")
        people = torch.tensor([demographics_row(row) for row in demographics or [None] * count]).reshape(count, 4)
        others = self._pad_images(count, image, image_views, image_priors)
        view = torch.tensor([view_index(view, config.views) for view in views], dtype=torch.long)
        return Conditions(view, report, kept, people, *others, self._checked_region(count, region))

    def with_images(
        self,
        given: Conditions,
        image: Tensor,
        image_views: Sequence[Sequence[str | None]] | None,
        image_priors: Sequence[Sequence[bool]] | None = None,
    ) -> Conditions:
        """The same with other images.

        Args:
            given: Of B images.
            image: As in `prepare`.
            image_views: As in `prepare`.
            image_priors: As in `prepare`.

        Returns:
            New Conditions.

        Raises:
            ValueError: As `prepare`.
        """
        found = self._pad_images(len(given.view), image, image_views, image_priors)
        return replace(given, **dict(zip(("image", "image_view", "image_prior"), found)))

    def _checked_region(self, count: int, region: Tensor | None) -> Tensor:
        kinds = self.config["regions"]
        if region is None:
            return torch.zeros(count, kinds, 0, 0)
        if not kinds:
            raise ValueError("places of findings were given, but this model takes none (regions is 0)")
        if region.ndim != 4 or region.shape[:2] != (count, kinds):
            raise ValueError(f"places of findings are {tuple(region.shape)}; this model needs ({count}, {kinds}, h, w)")
        return region

    def _pad_report(self, count: int, embeddings: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        config: Any = self.config
        length, width = (config.text_length, config.text_width) if config.text_width else (0, 0)
        report, kept = torch.zeros(count, length, width), torch.zeros(count, length, dtype=torch.bool)
        if embeddings is None:
            return report, kept
        if mask is None:
            mask = torch.ones(embeddings.shape[:2], dtype=torch.bool)
        if embeddings.ndim != 3 or len(embeddings) != count or embeddings.shape[2] != width:
            raise ValueError(
                f"the reports' embeddings are {tuple(embeddings.shape)} for {count} images; this model needs "
                f"({count}, up to {length} tokens, {width})"
            )
        if mask.shape != embeddings.shape[:2]:
            raise ValueError(f"the mask is {tuple(mask.shape)} for embeddings {tuple(embeddings.shape)}")
        mask = mask.cpu().bool()
        used = int(mask.any(0).nonzero().max()) + 1 if mask.any() else 0
        if used > length:
            raise ValueError(f"a report has {used} tokens and this model takes {length}: shorten it, or truncate it")
        kept[:, :used] = mask[:, :used]
        report[:, :used] = embeddings[:, :used].cpu().float()
        return report.masked_fill(~kept.unsqueeze(-1), 0), kept

    def _pad_images(
        self,
        count: int,
        image: Tensor | None,
        views: Sequence[Sequence[str | None]] | None,
        priors: Sequence[Sequence[bool]] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        config: Any = self.config
        places = (count, config.images)
        if image is None:
            nothing = torch.zeros(places, dtype=torch.long)
            return torch.zeros(*places, 0, 0, 0), nothing, nothing
        if not config.images:
            raise ValueError("other images were given, but this model takes none (images is 0)")
        given = [] if views is None else [[view_index(view, config.views) for view in row] for row in views]
        earlier = [[False] * config.images] * count if priors is None else [list(map(bool, row)) for row in priors]
        lengths = [config.images] * count
        if image.ndim != 5 or image.shape[:2] != places or not lengths == [*map(len, given)] == [*map(len, earlier)]:
            raise ValueError(
                f"other images are {tuple(image.shape)} with views {views} and priors {priors}; this model needs "
                f"({count}, {config.images}, C, h, w) and the view of each, None where there is none"
            )
        if any(map(any, earlier)) and not config.priors:
            raise ValueError("an image of an earlier study was given, but this model knows none (priors is false)")
        view = torch.tensor(given, dtype=torch.long)
        prior = torch.tensor(earlier, dtype=torch.long) * (view > 0)
        return image.masked_fill((view == 0).reshape(*places, 1, 1, 1).to(image.device), 0), view, prior

    def planned(self, given: Conditions) -> tuple[Conditions, Tensor | None]:
        """Places for the kinds of findings of which nothing is said, as the report has them.

        Args:
            given: Of B images.

        Returns:
            The conditions that the network is to see, and the logits (B, R, s, s) of the plan; as they are, and None,
            for a model that does not plan. Without a report nothing is planned.
        """
        if self.planner is None:
            return given, None
        logits = self.planner(given.report, given.report_mask, given.view)
        plan = logits.detach().sigmoid() * given.report_mask.any(1)[:, None, None, None]
        if not given.region.numel():
            return replace(given, region=plan), logits
        said = given.region.flatten(2).amax(2)[..., None, None] > 0
        plan = interpolate(plan, size=given.region.shape[2:], mode="bilinear", align_corners=False)
        return replace(given, region=torch.where(said, given.region, plan)), logits

    def forward(self, given: Conditions) -> tuple[Tensor, Tensor, Tensor]:
        """Embed what is asked.

        Args:
            given: Of B images.

        Returns:
            Tokens (B, N, width), their mask (B, N) bool, and the vector (B, width).
        """
        view = self.view(given.view)
        tokens, vector = [view.unsqueeze(1)], view
        if self.person is not None:
            people = self.person(given.demographics)
            tokens.append(people.unsqueeze(1))
            vector = vector + people
        if self.image_view is not None:
            others = self.image_view(given.image_view) + self.image_place
            if self.image_prior is not None:
                others = others + self.image_prior(given.image_prior)
            tokens.append(others)
            vector = vector + others.mean(1)
        mask = given.report_mask.new_ones(len(view), sum(part.shape[1] for part in tokens))
        if self.report is not None and self.has_report is not None:
            there = self.has_report(given.report_mask.any(1).long())
            words = self.report(given.report) * given.report_mask.unsqueeze(-1)
            tokens += [there.unsqueeze(1), words]
            vector = vector + there + words.sum(1) / given.report_mask.sum(1, keepdim=True).clamp(min=1)
            mask = torch.cat([mask, mask[:, :1], given.report_mask], dim=1)
        return torch.cat(tokens, dim=1), mask, vector

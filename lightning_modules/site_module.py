"""SiteModule: training of a SiteUNet, what one site's soft tissue lacks beside a packaged model's bone."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from diffusion.networks.site_unet import SiteUNet
from diffusion.training.survival import hinge_loss, lost_signal, mean_lost
from evaluation.suppression.metrics import fit_gain_offset, mse
from lightning_modules.averaged import AveragedModule


class SiteModule(AveragedModule):
    """Training of a SiteUNet, on AdaptationData's batches of "radiograph", "bone" and "missing", each (B, 1, S, S).

    What its weighted bands take away is fitted before, and belongs to "bone".

    The loss is the mean absolute error of the correction in units of the radiograph's deviation, `focus` times more on
    nodules. With `survival_weight` the batch is seen without its nodules too, and what each nodule loses beyond
    `survival_margin` of its signal counts.

    Args:
        unet: The network.
        focus: How many times more the error on nodules counts.
        survival_weight: Of the lost signal; 0: nodules are not looked after.
        survival_margin: Part of a nodule's signal that may be lost.
        ema_decay: Of the averaged network, which validation uses.
        optimizer: AdamW at 2e-3 by default.
        lr_scheduler: Of the optimizer's rate, each step; null: constant.
    """

    def __init__(
        self,
        unet: SiteUNet,
        focus: float = 4.0,
        survival_weight: float = 1.0,
        survival_margin: float = 0.0,
        ema_decay: float = 0.98,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.focus = unet, focus
        self.survival_weight, self.survival_margin = survival_weight, survival_margin
        self.average(ema_decay)
        self.learn_by(optimizer, lr_scheduler)

    @property
    def trained(self) -> nn.Module:
        """The network that the optimizer changes."""
        return self.unet

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of a batch.

        Args:
            batch: See the class; with "objects", (B, 1, S, S), above 0 on nodules, and with `survival_weight` the
                same three without them, as NAME_without.
            batch_idx: Not used.

        Returns:
            A scalar.
        """
        keys = ("radiograph", "bone", "missing")
        radiograph, bone, missing = (batch[key] for key in keys)
        count = len(radiograph)
        if self.survival_weight:
            plain = (batch[f"{key}_without"] for key in keys)
            radiograph, bone, missing = (torch.cat(both) for both in zip((radiograph, bone, missing), plain))
        unit = radiograph.std(dim=(2, 3), keepdim=True)
        wrong = (self.unet.learned(radiograph, bone) - missing) / unit
        weight = 1 + self.focus * (batch["objects"] > 0).float()
        weight = torch.cat([weight] * (len(radiograph) // count))
        loss = (weight * wrong.abs()).mean()
        measured = {"train/error": wrong.abs().mean()}
        if self.survival_weight:
            added = (radiograph[:count] - radiograph[count:]) / unit[:count]
            lost = lost_signal(wrong[:count], wrong[count:], added, batch["objects"])
            loss = loss + self.survival_weight * hinge_loss(lost, self.survival_margin)
            measured["train/lost"] = mean_lost(lost)
        self.log_step({"train/loss": loss, **measured})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Gains in dB over doing nothing on a whole pair that is held out, after the best gain and offset.

        Args:
            batch: One pair: "radiograph", "soft" and "bone", and "lungs" if they were found.
            batch_idx: Not used.
        """
        radiograph, soft, bone = (batch[name] for name in ("radiograph", "soft", "bone"))
        predicted = radiograph - bone - cast(SiteUNet, self.ema.module).learned(radiograph, bone)
        for region in ("whole", "lungs"):
            if region == "lungs" and "lungs" not in batch:
                continue
            mask = batch["lungs"].double() if region == "lungs" else None
            before, after = (mse(fit_gain_offset(image, soft, mask), soft, mask) for image in (radiograph, predicted))
            self.means.add(f"val/gain_{region}", (10 * (before / after).log10()).mean(), len(radiograph))

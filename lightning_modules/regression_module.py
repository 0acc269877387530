"""RegressionModule: training of a U-Net that predicts the bone of a radiograph in one call."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diffusion.ema import warmed_up_ema
from diffusion.regression import BoneRegressionPipeline, predict_bone
from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import own_images


def edge_loss(error: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of an error image (B, 1, H, W): left-over edges of ribs."""
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def survival_loss(change: Tensor, added: Tensor, weights: Tensor) -> Tensor:
    """What goes with the bone of the nodules of an image, as a part of what they add to it; the mean over images.

    change, added: by how much nodules change the predicted bone and the radiograph, (B, 1, H, W) in the same units.
    weights: (B, 1, H, W), 1 in sum over each nodule. A part p under 0.1 counts 5 p^2, else p - 0.05 (Huber), so that
    small ones do not hold back the rest. An image without nodules counts 0.
    """
    taken, whole = ((weights * image.abs()).sum(dim=(1, 2, 3)) for image in (change, added))
    part = taken / whole.clamp(min=0.02)
    return nn.functional.smooth_l1_loss(part, torch.zeros_like(part), beta=0.1)


class RegressionModule(MeasuredModule):
    """Batches are dicts with "radiograph" and "soft", each (B, 1, H, W) in [-1, 1], and "name".

    The loss is L1 of the bone in the standardised radiograph's units plus `edge_weight` times `edge_loss` plus, where
    batches have twins (see CTPairDataModule), `survival_weight` times `survival_loss`: the predicted bone must be the
    same with and without a nodule.
    start: folder of a BoneRegressionPipeline whose weights training starts from.
    unet, patch, image_size: see diffusion.regression. ema_decay: of the averaged network, which validation and the
    saved pipeline use. optimizer: AdamW at 5e-4 by default. lr_scheduler: of its rate, stepped each `lr_interval`.
    """

    def __init__(
        self,
        unet: nn.Module,
        patch: int = 2,
        image_size: int = 256,
        edge_weight: float = 1.0,
        survival_weight: float = 0.0,
        start: str | None = None,
        ema_decay: float = 0.995,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=5e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "step",
    ) -> None:
        super().__init__()
        self.unet, self.patch, self.image_size = unet, patch, image_size
        self.edge_weight, self.survival_weight = edge_weight, survival_weight
        if start is not None:
            unet.load_state_dict(BoneRegressionPipeline.from_pretrained(start).unet.state_dict())
        self.ema = AveragedModel(unet, multi_avg_fn=warmed_up_ema(ema_decay)).requires_grad_(False).eval()
        self.optimizer, self.lr_scheduler, self.lr_interval = optimizer, lr_scheduler, lr_interval
        self.pipeline()  # a network of another form is told here

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.unet.parameters())
        if self.lr_scheduler is None:
            return optimizer
        return [optimizer], [{"scheduler": self.lr_scheduler(optimizer), "interval": self.lr_interval}]

    def pipeline(self) -> BoneRegressionPipeline:
        """The model as it stands, with the averaged network."""
        return BoneRegressionPipeline(cast(nn.Module, self.ema.module), self.patch, self.image_size)

    def _loss(self, batch: dict[str, Any], network: nn.Module) -> Tensor:
        radiograph, soft = batch["radiograph"], batch["soft"]
        deviation = radiograph.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
        seen = [radiograph]
        if self.survival_weight:
            if "without_nodules" not in batch:
                raise ValueError("survival_weight needs twins: give CTPairDataModule `twins: true`, or set it to 0")
            seen.append(batch["without_nodules"])
        bones = [bone / deviation for bone in predict_bone(network, torch.cat(seen), self.patch).chunk(len(seen))]
        error = torch.cat([bone - (radiograph - soft) / deviation for bone in bones])
        loss = error.abs().mean() + self.edge_weight * edge_loss(error)
        if self.survival_weight:
            added = (radiograph - seen[1]) / deviation
            # both bones learn from it: with one held fast, the other could only become less wherever a nodule may be
            lost = survival_loss(bones[0] - bones[1], added, batch["nodules"])
            if network is self.unet:
                self.log_step({"train/lost": lost})
            else:
                self.means.add("val/lost", lost, len(soft))
            loss = loss + self.survival_weight * lost
        return loss

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, self.unet)
        self.log_step({"train/loss": loss})
        return loss

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        self.ema.update_parameters(self.unet)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        return self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: dict[str, Any], stage: str) -> Tensor | None:
        """Measure the averaged network's loss and its PSNR in dB beside that of doing nothing; the images."""
        batch, count = own_images(batch)
        if not count:
            return None
        self.means.add(f"{stage}/loss", self._loss(batch, cast(nn.Module, self.ema.module)), count)
        predicted = self.predict_step(batch, 0)
        self.measure_psnr(stage, batch["soft"], psnr=predicted, psnr_do_nothing=batch["radiograph"])
        return predicted

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Soft-tissue images (B, 1, H, W)."""
        return self.pipeline()(batch["radiograph"]).soft

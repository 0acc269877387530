"""RegressionModule: training of a BoneUNet that predicts the bone of a radiograph in one call."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from diffusion.networks.bone_unet import BoneUNet, fine_part
from diffusion.pipelines.regression import BoneRegressionPipeline
from diffusion.training.edges import edge_loss
from diffusion.training.survival import hinge_loss, lost_signal, mean_lost
from drr.pairs.draw import FIRST_DEVICE
from evaluation.suppression.metrics import fit_gain_offset, mse
from lightning_modules.averaged import AveragedModule
from lightning_modules.processes import own_images

GAINS = {"whole": None, "lungs": "lungs"}


class RegressionModule(AveragedModule):
    """Training of a BoneUNet, on batches of "radiograph" and "soft", (B, 1, H, W) in [-1, 1], and "name".

    The loss is the mean absolute error of the bone's fine part in units of the radiograph's local deviation, plus
    `edge_weight` times `edge_loss`. With `survival_weight` the first `twin_share` of a batch is seen without its
    nodules and devices too, and what each loses beyond `survival_margin` of its signal counts: nothing is asked of one
    that is kept. CTPairDataModule gives such batches.

    Args:
        unet: The network.
        image_size: Side in pixels of the whole radiographs that the saved pipeline is for.
        edge_weight: Of the loss on left-over edges.
        survival_weight: Of the lost signal; 0: nodules and devices are not looked after.
        survival_margin: Part of an object's signal that may be lost.
        twin_share: Part of a batch that is seen without its objects too, in [0, 1].
        focus: How many times more the error on nodules and devices counts.
        lung_weight: How many times more the error in the lungs counts, if batches have "lungs".
        start: Folder of a BoneRegressionPipeline whose weights training starts from.
        ema_decay: Of the averaged network, which validation and the saved pipeline use.
        optimizer: AdamW at 1.5e-3 by default.
        lr_scheduler: Of the optimizer's rate; null: constant.
        lr_interval: What lr_scheduler is stepped by.
    """

    def __init__(
        self,
        unet: BoneUNet,
        image_size: int = 512,
        edge_weight: float = 0.5,
        survival_weight: float = 0.0,
        survival_margin: float = 0.05,
        twin_share: float = 0.5,
        focus: float = 0.0,
        lung_weight: float = 0.0,
        start: str | None = None,
        ema_decay: float = 0.995,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1.5e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "step",
    ) -> None:
        super().__init__()
        self.unet, self.image_size, self.edge_weight, self.focus = unet, image_size, edge_weight, focus
        self.lung_weight, self.start = lung_weight, start
        self.survival_weight, self.survival_margin, self.twin_share = survival_weight, survival_margin, twin_share
        self.average(ema_decay)
        self.learn_by(optimizer, lr_scheduler, lr_interval)

    @property
    def trained(self) -> nn.Module:
        """The network that the optimizer changes."""
        return self.unet

    def setup(self, stage: str) -> None:
        """Take the weights of `start`, before training; a checkpoint that is resumed brings its own after that.

        Args:
            stage: Lightning's; "fit" alone takes them.
        """
        if stage == "fit" and self.start is not None:
            weights = BoneRegressionPipeline.from_pretrained(self.start).unet.state_dict()
            for network in (self.unet, cast(BoneUNet, self.ema.module)):
                network.load_state_dict(weights)

    def pipeline(self) -> BoneRegressionPipeline:
        """The model as it stands.

        Returns:
            A pipeline with the averaged network.
        """
        network = cast(BoneUNet, self.ema.module)
        return BoneRegressionPipeline(network, network.config["patch"], self.image_size, flips=True)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of a batch.

        Args:
            batch: See the class.
            batch_idx: Not used.

        Returns:
            A scalar.

        Raises:
            ValueError: The batch has no twins and `survival_weight` needs them.
        """
        radiograph, soft = batch["radiograph"], batch["soft"]
        twins = round(self.twin_share * len(soft)) if self.survival_weight else 0
        if twins and "without" not in batch:
            raise ValueError("survival_weight needs twins, as CTPairDataModule gives them: set it to 0 for other data")
        added = radiograph - batch["without"] if "without" in batch else torch.zeros_like(soft)
        if twins:
            radiograph = torch.cat([radiograph, batch["without"][:twins]])
            soft = torch.cat([soft, batch["soft_without"][:twins]])
            added = torch.cat([added, added[:twins]])
        with torch.no_grad():
            deviation = self.unet.deviation(radiograph)
        wrong = self._wrong(radiograph, soft)
        error = wrong / deviation
        weight = 1 + self.focus * (added.abs() > 0.03 * radiograph.std(dim=(2, 3), keepdim=True)).float()
        if self.lung_weight and "lungs" in batch:
            lungs = batch["lungs"].float()
            weight = weight + self.lung_weight * (torch.cat([lungs, lungs[:twins]]) if twins else lungs)
        loss = (weight * error.abs()).mean() + self.edge_weight * edge_loss(error)
        measured = {"train/error": error.abs().mean()}
        if twins:
            unit = radiograph[:twins].std(dim=(2, 3), keepdim=True)
            count = len(soft) - twins
            objects = batch["objects"][:twins]
            lost = lost_signal(wrong[:twins] / unit, wrong[count:] / unit, added[:twins] / unit, objects)
            loss = loss + self.survival_weight * hinge_loss(lost, self.survival_margin)
            measured["train/lost"] = mean_lost(lost)
        self.log_step({"train/loss": loss, **measured})
        return loss

    def _wrong(self, radiograph: Tensor, soft: Tensor) -> Tensor:
        """The predicted bone less the true one, (B, 1, H, W), without the coarse part, which is the display's."""
        return self.unet(radiograph) - fine_part(radiograph - soft, self.unet.sigma, self.unet.coarse_share)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Measure the averaged network.

        Args:
            batch: See the class.
            batch_idx: Not used.

        Returns:
            Its images (B, 1, H, W); None if the batch only fills up a process's share.
        """
        return self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """As `validation_step`, logged as "test".

        Args:
            batch: See the class.
            batch_idx: Not used.

        Returns:
            As `validation_step`.
        """
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: dict[str, Any], stage: str) -> Tensor | None:
        """Measure the gain in dB over doing nothing, after the best fit, and what objects lose; the images."""
        batch, count = own_images(batch)
        if not count:
            return None
        predicted = self.predict_step(batch, 0)
        radiograph, soft = batch["radiograph"].float(), batch["soft"].float()
        for region, key in GAINS.items():
            if key and key not in batch:
                continue
            mask = batch[key].double() if key else None
            before, after = (mse(fit_gain_offset(image, soft, mask), soft, mask) for image in (radiograph, predicted))
            gain = 10 * (before / after).log10()
            gain = gain[gain.isfinite()]
            if len(gain):
                self.means.add(f"{stage}/gain_{region}", gain.mean(), len(gain))
        if "objects" in batch:
            plain = self.predict_step({"radiograph": batch["without"]}, 0)
            unit = radiograph.std(dim=(2, 3), keepdim=True)
            added = (radiograph - batch["without"]) / unit
            # the change of the answer is the objects' own less what was taken away with the bone
            wrong = ((soft - predicted) / unit, (batch["soft_without"] - plain) / unit)
            for kind, lowest, below in (("nodules", 0, FIRST_DEVICE), ("devices", FIRST_DEVICE, 256)):
                objects = batch["objects"]
                lost = lost_signal(*wrong, added, objects * ((objects >= lowest) & (objects < below)))
                if len(lost):
                    self.means.add(f"{stage}/{kind}_lost", lost.mean(), len(lost))
                    self.means.add(f"{stage}/{kind}_kept_90", (lost < 0.1).float().mean(), len(lost))
        return predicted

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Suppress a batch.

        Args:
            batch: With "radiograph".
            batch_idx: Not used.

        Returns:
            Soft-tissue images (B, 1, H, W) in [-1, 1].
        """
        return self.pipeline()(batch["radiograph"]).soft

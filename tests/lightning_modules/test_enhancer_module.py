"""EnhancerModule: its loss in closed form, what it learns, and the folder that it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchvision.transforms.functional import gaussian_blur

from diffusion import BoneSuppressionPipeline, PixelSpace, ThresholdedDDIMScheduler, build_unet
from diffusion.pipelines.enhancement import build_enhancer, enhance
from lightning_modules.callbacks import FolderExport
from lightning_modules.enhancer_module import EnhancerModule
from vqgan import HybridLoss, PatchDiscriminator
from vqgan.losses import ms_ssim_loss


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory) -> str:
    torch.manual_seed(0)
    unet = build_unet(1, 1, 8, (1, 2), 1, (), scale_shift=False, norm_groups=4, mid_attention=False, sample_size=32)
    folder = tmp_path_factory.mktemp("first")
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    BoneSuppressionPipeline(PixelSpace(), unet, scheduler, num_inference_steps=2).save_pretrained(folder)
    return str(folder)


def pairs() -> list[dict]:
    """Sharp truths, and a first stage that drew them blurred and too bright."""
    torch.manual_seed(2)
    truth = torch.nn.functional.interpolate(torch.rand(4, 1, 8, 8) * 1.6 - 0.8, size=32)
    drawn = gaussian_blur(truth, [5, 5], [1.2, 1.2]) * 0.9 + 0.1
    return [{"radiograph": d, "soft": t, "name": str(i)} for i, (d, t) in enumerate(zip(drawn, truth, strict=True))]


def module(first_stage: str, **options) -> EnhancerModule:
    torch.manual_seed(1)
    enhancer = build_enhancer((8, 16), 1, 4, (), norm_groups=4)
    loss = HybridLoss(ms_ssim_weight=1.0, adversarial_weight=0.01)
    critic = PatchDiscriminator(channels=8, layers=1)
    return EnhancerModule(first_stage, enhancer, loss, critic, **options)


def trainer(root: Path, epochs: int, **options) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=root, **quiet, **options)


def test_a_step_takes_the_published_sum(first_stage, tmp_path):
    model = module(first_stage)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loader = DataLoader(pairs(), batch_size=4)
    running = trainer(tmp_path, 1, enable_checkpointing=False)
    running.fit(model, loader)
    logged = {name: value.item() for name, value in running.callback_metrics.items()}
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"enhancer", "discriminator"}

    again, batch = module(first_stage), next(iter(loader))
    seed = int(np.random.SeedSequence([0, 0, 0, 0]).generate_state(1)[0])
    drawn = enhance(again.enhancer, batch["radiograph"], torch.Generator().manual_seed(seed))
    l1 = (drawn - batch["soft"]).abs().mean()
    fooled = (again.discriminator(drawn) - 1).square().mean()
    expected = l1 + ms_ssim_loss(drawn, batch["soft"]) + 0.01 * fooled
    assert logged["train/loss"] == pytest.approx(expected.item(), rel=1e-4)
    real, fake = again.discriminator(batch["soft"]), again.discriminator(drawn)
    assert logged["train/discriminator"] == pytest.approx(
        0.5 * ((real - 1).square().mean() + fake.square().mean()).item(), rel=0.05
    )


def test_it_learns_to_undo_the_first_stages_blur_and_leaves_both_stages(first_stage, tmp_path):
    model = module(first_stage, optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3))
    loader = DataLoader(pairs(), batch_size=2)
    running = trainer(tmp_path, 40, callbacks=[FolderExport()], check_val_every_n_epoch=40)
    running.fit(model, loader, loader)
    scores = {name: value.item() for name, value in running.callback_metrics.items()}
    drawn, truth = (torch.stack([pair[key] for pair in pairs()]) for key in ("radiograph", "soft"))
    before = peak_signal_noise_ratio(drawn, truth, data_range=2.0)
    assert scores["val/psnr_first_stage"] == pytest.approx(before.item(), abs=0.5)
    assert scores["val/psnr"] > scores["val/psnr_first_stage"] + 2
    pipeline = BoneSuppressionPipeline.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(enhance(pipeline.enhancer, drawn), enhance(model.enhancer, drawn))
    assert pipeline.config["num_inference_steps"] == 2  # the first stage's


def test_what_does_not_go_together_is_told(first_stage, tmp_path):
    network = build_enhancer((8, 16), 1, 4, (), norm_groups=4)
    for loss, message in (
        (HybridLoss(adversarial_weight=0.01), "no discriminator"),
        (HybridLoss(perceptual_weight=0.001), "give perceptual_weights"),
        (HybridLoss(adaptive=True), "no adaptive weight"),
    ):
        with pytest.raises(ValueError, match=message):
            EnhancerModule(first_stage, network, loss)
    with pytest.raises(FileNotFoundError, match="pipeline folder"):
        EnhancerModule(str(tmp_path / "gone"), network, HybridLoss()).setup("fit")

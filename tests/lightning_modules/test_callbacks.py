"""Pictures in TensorBoard and model folders beside checkpoints, for both modules."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from diffusion import BoneSuppressionPipeline, ThresholdedDDIMScheduler, build_unet
from lightning_modules.callbacks import FolderExport, ImageGrid, image_grid, refuse_foreign_folder, replace_folder
from lightning_modules.latent_diffusion_module import LatentDiffusionModule
from lightning_modules.vqgan_module import VQGANModule
from vqgan import VQGAN, HybridLoss

RADIOGRAPHS = torch.nn.functional.interpolate(torch.rand(4, 2, 5, 5) * 1.8 - 0.9, size=32, mode="bilinear")
PAIRS = [{"radiograph": pair[:1], "soft": pair[1:], "name": str(k)} for k, pair in enumerate(RADIOGRAPHS)]


@pytest.fixture
def vqgan() -> VQGAN:
    return VQGAN(channels=32, channel_multipliers=(1,), patch=4, residual_blocks=1, codebook_size=16, norm_groups=8)


def run(module, root, **grid):
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        default_root_dir=root,
        callbacks=[ImageGrid(images=2, **grid), FolderExport("export/model"), ModelCheckpoint(root, save_last=True)],
        logger=TensorBoardLogger(root, name="log", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(module, DataLoader(PAIRS, batch_size=2), DataLoader(PAIRS, batch_size=2))
    events = EventAccumulator(str(root / "log")).Reload()
    return events.Images(events.Tags()["images"][0])


def test_a_grid_shows_black_as_0_and_white_as_1():
    grid = image_grid([torch.full((2, 1, 4, 4), -1.0), torch.full((2, 1, 4, 4), 3.0)])
    assert grid.shape == (3, 2 * 6 + 2, 2 * 6 + 2)
    assert grid[:, 2:6, 2:6].unique() == 0 and grid[:, 8:12, 8:12].unique() == 1


def test_diffusion_logs_samples_and_exports_its_averaged_pipeline(vqgan, tmp_path):
    unet = build_unet(
        base_channels=16, multipliers=(1, 2), residual_blocks=1, attention_levels=(), norm_groups=8, mid_attention=False
    )
    module = LatentDiffusionModule(vqgan, unet, ThresholdedDDIMScheduler(), sampling_steps=2)
    images = run(module, tmp_path)
    assert [image.step for image in images] == [2, 4]
    assert (images[0].width, images[0].height) == (4 * 34 + 2, 2 * 34 + 2)
    loaded = BoneSuppressionPipeline.from_pretrained(tmp_path / "export" / "model")
    averaged = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["ema.module.conv_in.weight"]
    assert torch.equal(loaded.unet.conv_in.weight, averaged)
    assert loaded.vqgan.config.scaling_factor == vqgan.config.scaling_factor != 1
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["model"]


def test_autoencoder_logs_reconstructions_and_exports_its_folder(vqgan, tmp_path):
    images = run(VQGANModule(vqgan, HybridLoss(adversarial_weight=0, ms_ssim_weight=0)), tmp_path, truth="radiograph")
    assert len(images) == 2
    loaded = VQGAN.from_pretrained(tmp_path / "export" / "model", low_cpu_mem_usage=False)
    assert all(torch.equal(value, vqgan.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert loaded.config.scaling_factor == vqgan.config.scaling_factor


def test_a_failed_export_leaves_the_old_folder(tmp_path):
    class Model:
        def __init__(self, text, fails=False):
            self.text, self.fails = text, fails

        def save_pretrained(self, folder):
            folder.mkdir()
            (folder / "a").write_text(self.text)
            if self.fails:
                raise OSError("disk full")

    folder = tmp_path / "model"
    replace_folder(Model("one"), folder)
    with pytest.raises(OSError, match="disk full"):
        replace_folder(Model("two", fails=True), folder)
    assert (folder / "a").read_text() == "one"
    replace_folder(Model("three"), folder)
    assert (folder / "a").read_text() == "three"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_no_model_of_a_training_is_not_replaced(tmp_path):
    folder = tmp_path / "model"
    refuse_foreign_folder(folder, "VQGAN")
    folder.mkdir()
    refuse_foreign_folder(folder, "VQGAN")  # empty
    (folder / "network.py").write_text("code")
    for content in ("", "{}", '{"_class_name": "UNet2DModel"}'):
        if content:
            (folder / "config.json").write_text(content)
        with pytest.raises(ValueError, match="is no VQGAN that a training wrote, and would be replaced"):
            refuse_foreign_folder(folder, "VQGAN")
    (folder / "config.json").write_text('{"_class_name": "VQGAN"}')
    refuse_foreign_folder(folder, "VQGAN")  # of an earlier version
    (folder / "config.json").unlink()
    (folder / "training.yaml").write_text("epoch: 1")
    refuse_foreign_folder(folder, "VQGAN")

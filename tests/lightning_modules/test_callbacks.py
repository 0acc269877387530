"""Pictures in TensorBoard and model folders beside checkpoints, for both modules."""

from __future__ import annotations

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from diffusion import BoneSuppressionPipeline, ThresholdedDDIMScheduler, build_unet
from lightning_modules.callbacks import FiniteWeights, FolderExport, ImageGrid, image_grid
from lightning_modules.latent_diffusion_module import LatentDiffusionModule
from lightning_modules.model_folder import RECORD, refuse_foreign_folder, replace_folder
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
            folder.mkdir(exist_ok=True)  # as diffusers' does
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


class Scored(LightningModule):
    """One weight, 1 more after each epoch, and val/score as told for each epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.vqgan = VQGAN(channels=32, channel_multipliers=(1,), patch=4, residual_blocks=1, norm_groups=8)
        self.scores, self.automatic_optimization = scores, False

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            self.vqgan.quant_conv.bias.fill_(self.current_epoch + 1)
        self.optimizers().step()

    def validation_step(self, batch, batch_idx):
        self.log("val/score", self.scores[self.current_epoch], batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def train_scored(root, scores, version, callbacks=(), checkpoint=None, **saving):
    saving = {"monitor": "val/score", "mode": "max", "filename": "best", "save_last": True, **saving}
    trainer = Trainer(
        max_epochs=len(scores),
        accelerator="cpu",
        default_root_dir=root,
        callbacks=[FolderExport(), FiniteWeights(), ModelCheckpoint(root / version, **saving), *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader = DataLoader(PAIRS, batch_size=4)
    trainer.fit(Scored(scores), loader, loader, ckpt_path=checkpoint, weights_only=True)


def exported(root):
    """(the epoch whose weights the folder holds, counted from 0, what its record says)."""
    bias = VQGAN.from_pretrained(root / "model").quant_conv.bias
    return round(bias[0].item()) - 1, yaml.safe_load((root / "model" / RECORD).read_text())


def test_the_folder_is_the_best_by_the_monitored_metric(tmp_path):
    train_scored(tmp_path, [1.0, 3.0, 2.0], "first")
    best = {"epoch": 1, "step": 2, "monitor": "val/score", "mode": "max", "score": 3.0}
    assert exported(tmp_path) == (1, best)
    # a resumed run, whose ModelCheckpoint begins anew, keeps it until it is better
    train_scored(tmp_path, [1.0, 3.0, 2.0, 2.5], "second", checkpoint=tmp_path / "first" / "last.ckpt")
    assert exported(tmp_path) == (1, best)
    train_scored(tmp_path, [1.0, 3.0, 2.0, 4.0], "third", checkpoint=tmp_path / "first" / "last.ckpt")
    assert exported(tmp_path)[0] == 3 and exported(tmp_path)[1]["score"] == 4.0
    # another training in the same place is not measured against it
    train_scored(tmp_path, [0.5], "fourth")
    assert exported(tmp_path)[0] == 0 and exported(tmp_path)[1]["score"] == 0.5
    train_scored(tmp_path, [5.0, 1.0, 2.0], "fifth", mode="min")
    assert exported(tmp_path)[0] == 1


def test_without_a_monitor_the_folder_is_the_last(tmp_path):
    train_scored(tmp_path, [1.0, 3.0, 2.0], "run", monitor=None)
    assert exported(tmp_path) == (2, {"epoch": 3, "step": 3})
    with pytest.raises(ValueError, match="set save_weights_only to false"):
        train_scored(tmp_path, [1.0], "weights", save_weights_only=True)


class Diverge(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2:
            with torch.no_grad():
                module.vqgan.decoder.conv_out.weight.fill_(float("inf"))


@pytest.mark.parametrize("saving", [{}, {"monitor": None}, {"monitor": None, "every_n_train_steps": 1}])
def test_what_has_diverged_is_not_written(tmp_path, saving):
    with pytest.raises(ValueError, match=r"diverged: at epoch \d, step \d, 1 tensors .* vqgan.decoder.conv_out.weight"):
        train_scored(tmp_path, [1.0, 2.0, 3.0, 4.0], "run", callbacks=[Diverge()], **saving)
    assert exported(tmp_path)[0] == 1
    for path in (tmp_path / "run").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 2

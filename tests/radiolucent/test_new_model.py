"""docs/how-to/new-model.md, done: a GAN in one file with its pipeline and its module, two YAMLs, and every command."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from radiographs import read_radiograph, write_radiograph
from radiolucent import Suppressor
from radiolucent.cli import dispatch

PIPELINE = '''
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffusion import SuppressionPipeline


class Generator(ModelMixin, ConfigMixin):
    """The bone of a radiograph (B, 1, H, W)."""

    @register_to_config
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 5, padding=2), nn.ReLU(), nn.Conv2d(channels, 1, 5, padding=2)
        )

    def forward(self, radiograph: Tensor) -> Tensor:
        return self.layers(radiograph)


class GanPipeline(SuppressionPipeline):
    def __init__(self, generator: Generator, trained_size: int = 64) -> None:
        super().__init__()
        self.register_modules(generator=generator.eval())
        self.register_to_config(trained_size=trained_size)

    def predict(self, radiograph: Tensor) -> Tensor:
        return radiograph - self.generator(radiograph)
'''
MODULE = """
from typing import Any

import torch
from torch import Tensor, nn

from lab_gan_pipeline import GanPipeline, Generator
from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import own_images


class GanModule(MeasuredModule):
    def __init__(self, generator: Generator, image_size: int, adversarial_weight: float = 0.01, lr: float = 2e-3):
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.image_size, self.lr = generator, image_size, lr
        self.adversarial_weight = adversarial_weight
        self.critic = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 2, 1))

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=self.lr) for part in (self.generator, self.critic)]

    def pipeline(self) -> GanPipeline:
        return GanPipeline(self.generator, self.image_size)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        generator, critic = self.optimizers()
        soft = batch["radiograph"] - self.generator(batch["radiograph"])
        loss = (soft - batch["soft"]).abs().mean() + self.adversarial_weight * (self.critic(soft) - 1).square().mean()
        generator.zero_grad()
        self.manual_backward(loss)
        generator.step()
        wrong = (self.critic(batch["soft"]) - 1).square().mean() + self.critic(soft.detach()).square().mean()
        critic.zero_grad()
        self.manual_backward(wrong)
        critic.step()
        self.log_step({"train/loss": loss, "train/critic": wrong})

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        batch, count = own_images(batch)
        if not count:
            return None
        soft = self.predict_step(batch, batch_idx)
        self.measure_psnr("val", batch["soft"], psnr=soft)
        return soft

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self.pipeline()(batch["radiograph"]).soft
"""
BASE = """
seed_everything: 0
trainer:
  max_epochs: 40
  accelerator: cpu
  default_root_dir: runs/gan
  log_every_n_steps: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true}
    - class_path: lightning_modules.callbacks.FolderExport
model:
  class_path: lab_gan_module.GanModule
  init_args:
    generator:
      class_path: lab_gan_pipeline.Generator
      init_args: {channels: 8}
    image_size: 64
data:
  class_path: lightning_modules.data.pairs.PairDataModule
  init_args:
    root: data/pairs
    image_size: 64
    batch_size: 2
    validation_fraction: 0.25
    test_fraction: 0.0
    augment: false
"""
TINY = """
trainer: {max_epochs: 30}
model:
  init_args:
    lr: 0.01
    generator:
      init_args: {channels: 4}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two files of code, the two YAMLs and pairs with straight ribs."""
    (tmp_path / "lab_gan_pipeline.py").write_text(PIPELINE)
    (tmp_path / "lab_gan_module.py").write_text(MODULE)
    (tmp_path / "gan.yaml").write_text(BASE)
    (tmp_path / "gan_tiny.yaml").write_text(TINY)
    monkeypatch.syspath_prepend(str(tmp_path))
    rng = np.random.default_rng(0)
    for i in range(8):
        soft = np.full((64, 64), -0.3, np.float32) + rng.normal(0, 0.02, (64, 64)).astype(np.float32)
        bone = np.zeros((64, 64), np.float32)
        bone[i::12] = bone[i + 1 :: 12] = 0.4
        write_radiograph(tmp_path / f"pairs/BS/{i}.png", soft)
        write_radiograph(tmp_path / f"pairs/CXR/{i}.png", soft + bone)
    yield tmp_path
    for name in ("lab_gan_pipeline", "lab_gan_module"):
        sys.modules.pop(name, None)


def test_a_new_model_trains_suppresses_and_is_evaluated(lab: Path) -> None:
    configs = ["--config", str(lab / "gan.yaml"), "--config", str(lab / "gan_tiny.yaml")]
    where = [f"--trainer.default_root_dir={lab / 'run'}", f"--data.init_args.root={lab / 'pairs'}"]
    assert dispatch(["fit", *configs, *where]) == 0
    model = lab / "run" / "model"
    assert json.loads((model / "generator" / "config.json").read_text())["channels"] == 4  # the experiment's
    assert json.loads((model / "model_index.json").read_text())["trained_size"] == 64  # the base's

    for name in ("lab_gan_pipeline", "lab_gan_module"):  # as in another process, which has not imported them
        sys.modules.pop(name)
    suppress = ["suppress", str(lab / "pairs/CXR"), "--checkpoint", str(model), "--out", str(lab / "suppressed")]
    with pytest.raises(ValueError, match=r"holds a GanPipeline, whose code lies in the folder.*--trust-remote-code"):
        dispatch(suppress)
    assert dispatch([*suppress, "--trust-remote-code", "--samples", "2", "--strip"]) == 0
    before, after, truth = (
        read_radiograph(lab / folder / "0.png").pixels for folder in ("pairs/CXR", "suppressed", "pairs/BS")
    )
    assert np.abs(after - truth).mean() < 0.8 * np.abs(before - truth).mean()
    assert read_radiograph(lab / "suppressed" / "0_std.png").pixels.max() > -1

    result = Suppressor(model, trust_remote_code=True)(before)
    np.testing.assert_allclose(result.soft + result.bone, before, atol=1e-6)

    words = ["--checkpoint", f"gan={model}", "--trust-remote-code", "--nodules", "0", "--lungs", "none"]
    folders = ["--truth", str(lab / "pairs/BS"), "--input", str(lab / "pairs/CXR"), "--out", str(lab / "report")]
    assert dispatch(["evaluate", "suppression", *words, *folders]) == 0
    rows = list(csv.DictReader((lab / "report" / "gains.csv").read_text().splitlines()))
    assert "gan" in {value for row in rows for value in row.values()}

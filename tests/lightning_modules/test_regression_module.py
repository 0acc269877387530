"""Training of the regression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from diffusion import build_unet
from lightning_modules.regression_module import RegressionModule, edge_loss


def module(**options):
    torch.manual_seed(0)
    unet = build_unet(
        4, 0, 16, (1, 2), 1, (), mid_attention=False, residual_resampling=False, scale_shift=False, norm_groups=4
    )
    options = {"optimizer": lambda p: torch.optim.AdamW(p, lr=3e-3), "image_size": 32, "ema_decay": 0.9, **options}
    return RegressionModule(unet, **options)


def pairs():
    """Soft tissue that is a ramp, with a bright bar as bone."""
    soft = torch.linspace(-0.8, 0, 32).expand(32, 32)[None]
    radiograph = soft.clone()
    radiograph[:, 10:14] += 0.5
    return [{"radiograph": radiograph, "soft": soft, "name": str(n)} for n in range(4)]


def test_one_batch_is_learnt(tmp_path):
    made = module()
    trainer = Trainer(
        max_steps=150, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        default_root_dir=tmp_path, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(pairs(), batch_size=4)
    trainer.fit(made, loader)
    (scores,) = trainer.test(made, loader, verbose=False)
    assert scores["test/psnr_do_nothing"] < 22
    assert scores["test/psnr"] > scores["test/psnr_do_nothing"] + 12


def test_edges_of_the_error_count():
    error = torch.zeros(1, 1, 4, 4)
    assert edge_loss(error + 3) == 0
    error[0, 0, :, 2:] = 1
    assert edge_loss(error).item() == pytest.approx(1 / 3)
    batch = {key: value[None] if torch.is_tensor(value) else [value] for key, value in pairs()[0].items()}
    made = module(edge_weight=0.0)
    plain = made._loss(batch, made.unet)
    made.edge_weight = 1.0
    assert made._loss(batch, made.unet) > plain


def test_nodules_weigh_more():
    batch = {key: value[None] if torch.is_tensor(value) else [value] for key, value in pairs()[0].items()}
    made = module(edge_weight=0.0, nodule_weight=3.0)
    with pytest.raises(ValueError, match="needs batches with a mask of nodules"):
        made._loss(batch, made.unet)
    everywhere = made._loss({**batch, "nodules": torch.ones(1, 1, 32, 32)}, made.unet)
    nowhere = made._loss({**batch, "nodules": torch.zeros(1, 1, 32, 32)}, made.unet)
    assert everywhere.item() == pytest.approx(4 * nowhere.item(), rel=1e-5)


def test_training_starts_from_a_folder(tmp_path):
    one = module()
    with torch.no_grad():
        one.ema.module.conv_in.weight.add_(1)
    one.pipeline().save_pretrained(tmp_path)
    for network in (module(start=str(tmp_path)).unet, module(start=str(tmp_path)).ema.module):
        assert torch.equal(network.conv_in.weight, one.ema.module.conv_in.weight)


def test_the_averaged_network_is_saved():
    made = module()
    with torch.no_grad():
        for parameter in made.unet.parameters():
            parameter.add_(1)
    saved = made.pipeline().unet.state_dict()
    assert not any(torch.equal(saved[name], value) for name, value in made.unet.state_dict().items())


def test_the_tiny_config_trains_on_the_sample_ct_and_suppresses(tmp_path):
    from radiographs import read_radiograph, write_radiograph
    from radiolucent.cli import dispatch

    config = Path(__file__).resolve().parents[2] / "configs/suppression/regression_tiny.yaml"
    options = [f"--trainer.default_root_dir={tmp_path}", f"--data.init_args.cache={tmp_path / 'cache'}"]
    options += ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    dispatch(["fit", "--config", str(config), *options])
    image = np.linspace(-1, 1, 50 * 70, dtype=np.float32).reshape(50, 70)
    write_radiograph(tmp_path / "in" / "one.png", image, 16)
    checkpoint = ["--checkpoint", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert dispatch(["suppress", str(tmp_path / "in"), *checkpoint]) == 0
    assert read_radiograph(tmp_path / "out" / "one.png").pixels.shape == (50, 70)

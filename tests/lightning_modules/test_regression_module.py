"""Training of the regression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from diffusion import build_unet
from lightning_modules.regression_module import RegressionModule, edge_loss, survival_loss


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


def test_survival_loss_is_the_part_that_goes_with_the_bone():
    added = torch.zeros(3, 1, 4, 4)
    added[:2, 0, 1:3, 1:3] = torch.tensor([2.0, 0.5])[:, None, None]
    weights = (added > 0) / 4.0
    change = -torch.tensor([0.5, 0.04, 1.0])[:, None, None, None] * torch.where(added > 0, added, 1.0)
    expected = (0.5 - 0.05) + 5 * 0.04**2 + 0  # the third has no nodule
    assert survival_loss(change, added, weights).item() == pytest.approx(expected / 3, rel=1e-5)
    assert survival_loss(change * 0, added, weights) == 0


def test_equal_twins_cost_what_one_image_costs_and_a_lost_nodule_more():
    batch = {key: value[None] if torch.is_tensor(value) else [value] for key, value in pairs()[0].items()}
    made = module(survival_weight=3.0)
    with pytest.raises(ValueError, match="survival_weight needs twins"):
        made._loss(batch, made.unet)
    twin = batch["radiograph"].clone()
    twin[..., 20:24, 20:24] -= 0.3
    weights = (twin != batch["radiograph"]) / 16.0
    same = made._loss({**batch, "without_nodules": batch["radiograph"], "nodules": weights}, made.unet)
    made.survival_weight = 0.0
    torch.testing.assert_close(same, made._loss(batch, made.unet))  # a batch of two is summed in another order
    with_twin = {**batch, "without_nodules": twin, "nodules": weights}
    made.survival_weight = 3.0
    assert made._loss(with_twin, made.unet) > same


def test_training_with_twins_keeps_the_nodule(tmp_path):
    def bright_spots():
        made = []
        for pair, row in zip(pairs(), (4, 18, 22, 26)):  # over the bone and off it
            spot = torch.zeros(1, 32, 32)
            spot[:, row : row + 4, 12:16] = 0.5
            weights = (spot > 0) / 16.0
            with_nodule = {"radiograph": pair["radiograph"] + spot, "soft": pair["soft"] + spot, "nodules": weights}
            made.append({**pair, **with_nodule, "without_nodules": pair["radiograph"]})
        return made

    lost = {}
    for weight in (0.0, 1.0):
        made = module(survival_weight=weight)
        trainer = Trainer(
            max_steps=40, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            default_root_dir=tmp_path, enable_model_summary=False,
        )  # fmt: skip
        loader = DataLoader(bright_spots(), batch_size=4)
        trainer.fit(made, loader)
        made.survival_weight = 1.0
        (scores,) = trainer.test(made, loader, verbose=False)
        lost[weight] = scores["val/lost"]
    assert lost[1.0] < 0.6 * lost[0.0]


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

"""Training of the regression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from diffusion.networks.bone_unet import BoneUNet
from diffusion.training.edges import edge_loss
from lightning_modules.regression_module import RegressionModule


def module(**options):
    torch.manual_seed(0)
    unet = BoneUNet((16, 32), sigma=8.0, coarse_share=0.5, tone_jitter=0.0)
    options = {"optimizer": lambda p: torch.optim.AdamW(p, lr=3e-3), "image_size": 32, "ema_decay": 0.9, **options}
    return RegressionModule(unet, **options)


def pairs(nodule: float = 0.0):
    """Soft tissue that is a ramp with some texture, a bright bar as bone, and a nodule somewhere else in each."""
    made = []
    rng = np.random.default_rng(0)
    for n in range(4):
        texture = torch.from_numpy(rng.normal(0, 0.02, (1, 32, 32)).astype(np.float32))
        plain = torch.linspace(-0.8, 0, 32).expand(32, 32)[None] + texture
        spot = torch.zeros(1, 32, 32)
        spot[:, 4 + 6 * n : 9 + 6 * n, 10 + n : 15 + n] = nodule
        bar = torch.zeros(1, 32, 32)
        bar[:, 10:14] = 0.4
        soft = plain + spot
        made.append(
            {
                "radiograph": soft + bar,
                "soft": soft,
                "without": plain + bar,
                "soft_without": plain,
                "objects": (spot > 0).to(torch.uint8),
                "lungs": torch.ones(1, 32, 32, dtype=torch.bool),
                "name": str(n),
            }
        )
    return made


def train(made, data, steps, folder):
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        default_root_dir=folder, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(data, batch_size=4)
    trainer.fit(made, loader)
    return trainer.test(made, loader, verbose=False)[0]


def test_one_batch_is_learnt(tmp_path):
    scores = train(module(), pairs(), 150, tmp_path)
    assert scores["test/gain_whole"] > 6 and scores["test/gain_lungs"] == pytest.approx(scores["test/gain_whole"])


def test_edges_of_the_error_count():
    error = torch.zeros(1, 1, 4, 4)
    assert edge_loss(error + 3) == 0
    error[0, 0, :, 2:] = 1
    assert edge_loss(error).item() == pytest.approx(1 / 3)


def test_nodules_in_training_keep_more_where_their_loss_counts(tmp_path):
    lost = {
        weight: train(module(survival_weight=weight), pairs(0.5), 40, tmp_path)["test/nodules_lost"]
        for weight in (0.0, 3.0)
    }
    assert lost[3.0] < 0.7 * lost[0.0]


def test_survival_needs_twins():
    batch = {key: value[None] if torch.is_tensor(value) else [value] for key, value in pairs()[0].items()}
    del batch["without"]
    with pytest.raises(ValueError, match="survival_weight needs twins"):
        module(survival_weight=1.0, twin_share=1.0).training_step(batch, 0)


def test_training_starts_from_a_folder(tmp_path):
    one = module()
    with torch.no_grad():
        one.ema.module.first.weight.add_(1)
    one.pipeline().save_pretrained(tmp_path)
    other = module(start=str(tmp_path))
    assert not torch.equal(other.unet.first.weight, one.ema.module.first.weight)
    other.setup("fit")
    for network in (other.unet, other.ema.module):
        assert torch.equal(network.first.weight, one.ema.module.first.weight)


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

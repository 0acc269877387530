"""VQGANModule in a Trainer: both optimisers, warm-up, logs, resuming, configs."""

from __future__ import annotations

import math
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from torchvision.models.vgg import cfgs, make_layers

from lightning_modules.vqgan_module import VQGANModule
from vqgan import VQGAN, HybridLoss, PatchDiscriminator


def pairs(count: int = 4, side: int = 32) -> list[dict]:
    torch.manual_seed(7)
    images = torch.nn.functional.interpolate(torch.rand(count, 2, 5, 5) * 1.8 - 0.9, size=side, mode="bilinear")
    return [{"radiograph": pair[:1], "soft": pair[1:], "name": str(k)} for k, pair in enumerate(images)]


def build(**options) -> VQGANModule:
    torch.manual_seed(0)
    model = VQGAN(
        channels=32,
        channel_multipliers=(1,),
        patch=4,
        residual_blocks=1,
        codebook_size=16,
        norm_groups=8,
        usage_decay=0.5,
    )
    loss = HybridLoss(adversarial_weight=0.01, adversarial_start=3, ms_ssim_weight=0.1)
    return VQGANModule(model, loss, PatchDiscriminator(channels=8, layers=2), **options)


class Losses(Callback):
    """Every logged training loss in the order of the updates."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")})


def fit(module: VQGANModule, root: Path, epochs: int, checkpoint: Path | None = None, **options):
    losses = Losses()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=root,
        callbacks=[losses],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    loader = DataLoader(pairs(), batch_size=2)
    trainer.fit(module, loader, loader, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return trainer, losses.seen


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    root = tmp_path_factory.mktemp("unbroken")
    module = build(scheduler=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8))
    trainer, seen = fit(module, root, epochs=4)
    return module, trainer, seen


def test_logs_every_part_and_the_discriminator_after_the_warm_up(unbroken):
    _, trainer, seen = unbroken
    always = {"loss", "pixel", "ms_ssim", "codebook", "perplexity", "codebook_usage"}
    assert set(seen[2]) == {f"train/{name}" for name in always}
    assert set(seen[3]) == {f"train/{name}" for name in always | {"adversarial", "discriminator"}}
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/psnr", "val/pixel", "val/ms_ssim", "val/perplexity", "val/codebook_usage"} <= set(metrics)
    assert 1 <= metrics["val/perplexity"] <= 16 and 0 < metrics["val/codebook_usage"] <= 1


def test_validation_measures_psnr_and_the_latents_deviation(unbroken):
    module, trainer, _ = unbroken
    images = torch.stack([pair[kind] for pair in pairs() for kind in ("radiograph", "soft")])
    with torch.no_grad():
        errors = (module.vqgan.eval()(images)[0] - images).square().mean((1, 2, 3))
    expected = torch.stack([10 * torch.log10(4 / error) for error in errors]).mean().item()
    assert float(trainer.callback_metrics["val/psnr"]) == pytest.approx(expected, abs=1e-3)
    with torch.no_grad():
        deviation = module.vqgan.encode(images).std().item()
    assert module.vqgan.config.scaling_factor == pytest.approx(1 / deviation, rel=0.05)


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(unbroken, tmp_path):
    def schedule(optimizer):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)

    expected = unbroken[2]
    trainer, first = fit(build(scheduler=schedule), tmp_path, epochs=2)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    torch.manual_seed(99)  # nothing may depend on the state of the global generator
    fresh = build(scheduler=schedule)
    torch.manual_seed(99)
    _, second = fit(fresh, tmp_path, epochs=4, checkpoint=tmp_path / "stopped.ckpt")
    assert [step["train/loss"] for step in first + second] == [step["train/loss"] for step in expected]
    assert second[-1] == expected[-1]


def test_the_discriminator_learns_only_after_the_warm_up(tmp_path):
    module = build()
    before = [parameter.clone() for parameter in module.discriminator.parameters()]
    module.loss.adversarial_start = 4
    fit(module, tmp_path, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(before, module.discriminator.parameters()))
    module.loss.adversarial_start = 0
    fit(module, tmp_path, epochs=1)
    assert not any(torch.equal(a, b) for a, b in zip(before, module.discriminator.parameters()))


def test_gradients_are_clipped(tmp_path):
    module = build(gradient_clip=1e-3, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0))
    parts = (module.vqgan.encoder, module.vqgan.decoder)
    before = [parameter.clone() for part in parts for parameter in part.parameters()]
    fit(module, tmp_path, epochs=1)  # two updates of at most 1e-3 each
    after = [parameter for part in parts for parameter in part.parameters()]
    moved = math.sqrt(sum((a - b).square().sum().item() for a, b in zip(after, before)))
    assert 1e-3 < moved <= 2e-3 * 1.0001


def test_bfloat16_learns_on_the_cpu(tmp_path):
    _, seen = fit(
        build(optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-3)), tmp_path, 8, precision="bf16-mixed"
    )
    assert math.isfinite(seen[-1]["train/loss"])
    assert seen[-1]["train/pixel"] < 0.5 * seen[0]["train/pixel"]


def test_the_perceptual_network_is_read_when_a_run_starts(tmp_path):
    torch.manual_seed(0)
    layers = make_layers(cfgs["D"], batch_norm=False).state_dict()
    save_file({f"features.{name}": value for name, value in layers.items()}, tmp_path / "vgg.safetensors")
    model = VQGAN(channels=32, channel_multipliers=(1,), patch=4, residual_blocks=1, codebook_size=16)
    module = VQGANModule(model, HybridLoss(perceptual_weight=0.1), perceptual_weights=str(tmp_path / "vgg.safetensors"))
    assert module.loss.perceptual is None
    _, seen = fit(module, tmp_path, epochs=1)
    assert all(step["train/perceptual"] > 0 for step in seen)


def test_missing_parts_are_named():
    model = VQGAN(channels=32, channel_multipliers=(1,))
    with pytest.raises(ValueError, match="there is no discriminator"):
        VQGANModule(model, HybridLoss(adversarial_weight=0.01))
    with pytest.raises(ValueError, match="give perceptual_weights or set the weight to 0"):
        VQGANModule(model, HybridLoss(perceptual_weight=0.01))
    module = VQGANModule(model, HybridLoss(perceptual_weight=0.01), perceptual_weights="nowhere.pth")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        module.setup("fit")


def test_channels_last_has_the_same_losses(unbroken, tmp_path):
    expected = unbroken[2]
    module = build(scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8), channels_last=True)
    _, seen = fit(module, tmp_path, epochs=4)
    assert [step["train/loss"] for step in seen] == pytest.approx([s["train/loss"] for s in expected], rel=1e-3)
    for network in (module.vqgan, module.discriminator):
        weights = [p for p in network.parameters() if p.ndim == 4 and p.shape[2] > 1 and p.shape[1] > 1]
        assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_compiled_networks_have_the_same_losses_and_names(unbroken, tmp_path, monkeypatch):
    """Traced and split into forward and backward; that C++ comes of it is for test_latent_diffusion_module to show."""
    expected = unbroken[2]
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="aot_eager"))
    module = build(scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8), compile=True)
    torch.compiler.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    _, seen = fit(module, tmp_path, epochs=4, limit_val_batches=0)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before  # it was compiled indeed
    assert [step["train/loss"] for step in seen] == pytest.approx([s["train/loss"] for s in expected], rel=1e-3)
    assert list(module.state_dict()) == list(unbroken[0].state_dict())
    module.vqgan.save_pretrained(tmp_path / "model")
    images = torch.stack([pair["radiograph"] for pair in pairs()])
    with torch.no_grad():
        difference = VQGAN.from_pretrained(tmp_path / "model")(images)[0] - module.vqgan.eval()(images)[0]
    assert difference.abs().max() < 1e-4


def test_compile_refuses_an_adaptive_weight():
    model = VQGAN(channels=32, channel_multipliers=(1,))
    with pytest.raises(ValueError, match="set compile or adaptive to false"):
        VQGANModule(model, HybridLoss(adversarial_weight=0.1, adaptive=True), PatchDiscriminator(), compile=True)

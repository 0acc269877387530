"""LatentDiffusionModule in a Trainer: resuming, averaged weights, latents, configs."""

from __future__ import annotations

from pathlib import Path
from shutil import which

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from diffusion import BoneSuppressionPipeline, LatentDiT, ThresholdedDDIMScheduler, ThresholdedLCMScheduler, build_unet
from diffusion.latents import encode_pairs
from diffusion.networks.local_contrast import to_local_pair
from diffusion.training.survival import SurvivalHinge
from lightning_modules.data.ct_pairs import CTPairDataModule
from lightning_modules.data.latent_cache import refuse_random_images
from lightning_modules.latent_diffusion_module import LatentDiffusionModule
from vqgan import VQGAN


@pytest.fixture
def vqgan() -> VQGAN:
    torch.manual_seed(1)
    return VQGAN(
        channels=32,
        channel_multipliers=(1,),
        patch=4,
        residual_blocks=1,
        latent_channels=4,
        codebook_size=16,
        norm_groups=8,
    )


@pytest.fixture
def pairs() -> list[dict]:
    torch.manual_seed(7)
    images = torch.nn.functional.interpolate(torch.rand(6, 2, 5, 5) * 1.8 - 0.9, size=32, mode="bilinear")
    return [{"radiograph": pair[:1], "soft": pair[1:], "name": str(k)} for k, pair in enumerate(images)]


def build(vqgan, **options) -> LatentDiffusionModule:
    torch.manual_seed(0)
    unet = build_unet(
        base_channels=16, multipliers=(1, 2), residual_blocks=1, attention_levels=(), norm_groups=8, mid_attention=False
    )
    options = {"sampling_steps": 2, "validation_images": 2, **options}
    return LatentDiffusionModule(vqgan, unet, ThresholdedDDIMScheduler(prediction_type="sample"), **options)


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.seen.append(outputs["loss"].item())


def fit(module, pairs, root: Path, epochs: int, checkpoint: Path | None = None, callbacks=(), **options):
    losses = Losses()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=root,
        callbacks=[losses, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"enable_checkpointing": False, **options},
    )
    loader = DataLoader(pairs, batch_size=2)
    trainer.fit(module, loader, loader, ckpt_path=checkpoint, weights_only=True)
    return losses.seen, trainer


@pytest.mark.parametrize("target", ["soft", "bone"])
def test_a_resumed_run_has_the_losses_of_one_that_was_not_stopped(vqgan, pairs, tmp_path, target):
    folder = tmp_path / "vqgan"
    vqgan.save_pretrained(folder)
    options = {"target": target, "lr_scheduler": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3], 0.1)}
    whole, _ = fit(build(str(folder), **options), pairs, tmp_path / "a", 4)
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    first, _ = fit(build(str(folder), **options), pairs, tmp_path / "b", 2, callbacks=[keep], enable_checkpointing=True)
    rest, _ = fit(build(str(folder), **options), pairs, tmp_path / "b", 4, tmp_path / "last.ckpt")
    assert len(whole) == 12
    assert first + rest == pytest.approx(whole, abs=1e-6)
    assert len(set(whole)) == 12


def test_local_contrast_is_what_the_networks_see_and_the_pipeline_gives_grey_levels(vqgan, pairs, tmp_path):
    module = build(vqgan, contrast_sigma=4.0, image_size=64, target="bone", latent="continuous")
    fit(module, pairs, tmp_path, 1)
    batch = {key: torch.stack([pair[key] for pair in pairs[:2]]) for key in ("radiograph", "soft")}
    seen, soft = to_local_pair(batch["radiograph"], batch["soft"], 4.0)
    for latent, picture in zip(module.latents(batch), (seen, soft)):
        torch.testing.assert_close(latent, vqgan.encode(picture) * vqgan.config.scaling_factor, atol=1e-4, rtol=0)
    assert module.pipeline().config["contrast_sigma"] == 4.0 and module.pipeline().trained_size == 64
    predicted = module.predict_step({"radiograph": batch["radiograph"]}, 0)
    assert predicted.shape == batch["soft"].shape and predicted.isfinite().all()


def with_nodules(pairs: list[dict]) -> list[dict]:
    """The same pairs, darker, without a bright nodule and with it: (1, 32, 32) each."""
    numbers = torch.zeros(1, 32, 32, dtype=torch.uint8)
    numbers[:, 8:16, 8:16] = 1
    made = []
    for pair in pairs:
        radiograph, soft = (0.4 * pair[name] - 0.5 for name in ("radiograph", "soft"))
        seen = {"radiograph": radiograph + (numbers > 0), "soft": soft + (numbers > 0), "objects": numbers}
        made.append({**pair, **seen, "without": radiograph, "soft_without": soft})
    return made


class Lost(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if "train/lost" in trainer.callback_metrics:
            self.seen.append(trainer.callback_metrics["train/lost"].item())


def test_nodules_lose_less_where_a_hinge_protects_them(vqgan, pairs, tmp_path):
    options = {"target": "soft", "latent": "continuous", "optimizer": lambda p: torch.optim.AdamW(p, lr=3e-3)}
    lost = {}
    for weight in (1e-6, 3.0):
        watch = Lost()
        module = build(vqgan, protection=SurvivalHinge(weight=weight, twin_share=1.0), **options)
        fit(module, with_nodules(pairs), tmp_path, 20, callbacks=[watch])
        assert len(watch.seen) == 60
        lost[weight] = sum(watch.seen[-6:]) / 6
    assert lost[3.0] < lost[1e-6] - 0.2


def test_protection_needs_new_pairs(vqgan):
    for options in ({"mirror": True}, {"cache_latents": True}, {"teacher": "folder"}):
        with pytest.raises(ValueError, match="protection needs new pairs with their twins"):
            build(vqgan, protection=SurvivalHinge(), **options)


def test_training_starts_from_a_folder_of_the_same_form(vqgan, pairs, tmp_path):
    fit(build(vqgan, target="bone"), pairs, tmp_path, 1)
    one = build(vqgan, target="bone")
    one.measured, one.residual_scale = True, 3.0
    with torch.no_grad():
        one.ema.module.conv_in.weight.add_(1)
    one.pipeline().save_pretrained(tmp_path / "model")
    other = build(vqgan, target="bone", start=str(tmp_path / "model"))
    other.setup("fit")
    for network in (other.unet, other.ema.module):
        assert torch.equal(network.conv_in.weight, one.ema.module.conv_in.weight)
    assert other.residual_scale == 3.0 and other.measured
    with pytest.raises(ValueError, match=r"this model has .*'soft'"):
        build(vqgan, target="soft", start=str(tmp_path / "model")).setup("fit")


def test_averaged_weights_are_saved_sampled_and_resumed(vqgan, pairs, tmp_path):
    module = build(vqgan, ema_decay=0.9)
    start = module.unet.conv_in.weight.detach().clone()
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    fit(module, pairs, tmp_path, 2, callbacks=[keep], enable_checkpointing=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    current, averaged = state["unet.conv_in.weight"], state["ema.module.conv_in.weight"]
    assert state["ema.n_averaged"] == 6
    assert not torch.equal(current, averaged) and not torch.equal(averaged, start)
    assert torch.equal(module.pipeline().unet.conv_in.weight, averaged)
    # the network that is trained has no part in a sample
    batch = {"radiograph": pairs[0]["radiograph"][None]}
    before = module.predict_step(batch, 0)
    torch.nn.init.zeros_(module.unet.conv_out.weight)
    assert torch.equal(module.predict_step(batch, 0), before)
    resumed = build(vqgan, ema_decay=0.9)
    fit(resumed, pairs, tmp_path, 2, tmp_path / "last.ckpt")  # already at its end: loads, trains nothing
    assert torch.equal(resumed.ema.module.conv_in.weight, averaged)


def test_latents_are_measured_to_unit_deviation(vqgan, pairs, tmp_path):
    module = build(vqgan, target="bone")
    frozen = {name: value.clone() for name, value in vqgan.state_dict().items()}
    fit(module, pairs, tmp_path, 1)
    batch = {key: torch.stack([pair[key] for pair in pairs[:2]]) for key in ("radiograph", "soft")}
    condition, soft = module.latents({**batch, "name": ["0", "1"]})
    assert torch.cat([condition, soft]).std().item() == pytest.approx(1, abs=1e-4)
    assert ((condition - soft) * module.residual_scale).std().item() == pytest.approx(1, abs=1e-4)
    assert module.pipeline().config.residual_scale == module.residual_scale
    assert all(torch.equal(value, frozen[name]) for name, value in vqgan.state_dict().items())


def test_cached_latents_give_the_same_losses_and_encode_once(vqgan, pairs, tmp_path):
    plain, _ = fit(build(vqgan), pairs, tmp_path, 3)
    vqgan.register_to_config(scaling_factor=1.0)
    calls = []
    vqgan.encoder.register_forward_hook(lambda *_: calls.append(1))
    cached, _ = fit(build(vqgan, cache_latents=True), pairs, tmp_path, 3)
    assert cached == pytest.approx(plain, abs=1e-5)
    assert len(calls) == 2 * (1 + 3) + 3  # measuring, three batches of pairs; each epoch's sampled validation batch


def test_training_lowers_the_loss_and_validation_logs_psnr(vqgan, pairs, tmp_path):
    module = build(vqgan, target="bone", optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3))
    losses, trainer = fit(module, pairs, tmp_path, 25)
    assert sum(losses[-6:]) < 0.6 * sum(losses[:6])
    metrics = trainer.callback_metrics
    assert metrics["val/psnr"] != metrics["val/psnr_do_nothing"]
    doing_nothing = torch.stack(
        [10 * torch.log10(4 / (p["radiograph"] - p["soft"]).square().mean()) for p in pairs[:2]]
    ).mean()
    assert metrics["val/psnr_do_nothing"].item() == pytest.approx(doing_nothing.item(), abs=1e-3)


def test_bad_options_are_refused(vqgan, tmp_path):
    with pytest.raises(ValueError, match="condition_scaling is 'loud'"):
        build(vqgan, condition_scaling="loud")
    with pytest.raises(ValueError, match="target is 'ribs'"):
        build(vqgan, target="ribs")


def test_a_student_starts_as_its_teacher_and_learns_from_it(vqgan, pairs, tmp_path):
    teacher = build(vqgan)
    fit(teacher, pairs, tmp_path / "teacher", 2)
    teacher.pipeline().save_pretrained(tmp_path / "model")
    sampler = ThresholdedLCMScheduler(prediction_type="sample", beta_schedule="squaredcos_cap_v2")
    options = {"teacher": str(tmp_path / "model"), "sampler": sampler, "solver_steps": 10}
    student = build(str(tmp_path / "model" / "vqgan"), **options)
    student.setup("fit")
    weights = teacher.ema.module.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in student.unet.state_dict().items())
    assert student.vqgan.config.scaling_factor == vqgan.config.scaling_factor
    _, trainer = fit(student, pairs, tmp_path / "student", 2)
    assert all(torch.equal(value, weights[name]) for name, value in student.teacher.state_dict().items())
    assert not torch.equal(student.unet.conv_in.weight, weights["conv_in.weight"])
    assert not torch.equal(student.ema.module.conv_in.weight, weights["conv_in.weight"])
    assert trainer.callback_metrics["val/psnr"].isfinite()
    with pytest.raises(ValueError, match="make them the same"):
        build(vqgan, target="bone", **options).setup("fit")
    other = build(vqgan, **options)
    other.unet = build_unet(base_channels=32, multipliers=(1,), residual_blocks=1, attention_levels=(), norm_groups=8)
    with pytest.raises(ValueError, match="of another size"):
        other.setup("fit")


def test_a_condition_left_out_is_seen_in_training_only(vqgan, pairs, tmp_path):
    seen = []
    module = build(vqgan, condition_dropout=0.5)
    module.unet.register_forward_pre_hook(lambda _, inputs: seen.extend((inputs[0][:, 4:] == 0).all(dim=(1, 2, 3))))
    fit(module, pairs, tmp_path, 6)
    assert len(seen) == 36 and 6 < sum(seen) < 30


def test_mirrored_latents_are_those_of_the_mirrored_images(vqgan, pairs):
    radiograph, soft = (torch.stack([pair[key] for pair in pairs]) for key in ("radiograph", "soft"))
    mirrored = torch.tensor([True, False, False, True, True, False])
    expected = [vqgan.encode(image.flip(-1)) for image in (radiograph, soft)]
    plain = [vqgan.encode(image) for image in (radiograph, soft)]
    batch = {"radiograph": radiograph, "soft": soft, "name": [pair["name"] for pair in pairs]}
    calls = []
    vqgan.encoder.register_forward_hook(lambda *_: calls.append(1))
    for options in ({}, {"cache_latents": True}):
        module = build(vqgan, latent="continuous", **options)
        for _ in range(2):
            for k, latents in enumerate(module.latents(batch, mirrored)):
                assert torch.allclose(latents[mirrored], expected[k][mirrored], atol=1e-5)
                assert torch.allclose(latents[~mirrored], plain[k][~mirrored], atol=1e-5)
    assert len(calls) == 2 * (2 + 1)
    flipped = encode_pairs(vqgan, radiograph, soft, "continuous").flip(-1)[:, 0]
    assert (flipped - expected[0]).abs().max() > 1e-2  # so that encoding the mirror image is needed


def test_mirrored_training_is_the_same_with_and_without_cache_and_encodes_each_image_once(vqgan, pairs, tmp_path):
    plain, _ = fit(build(vqgan), pairs, tmp_path, 6, limit_val_batches=0)
    vqgan.register_to_config(scaling_factor=1.0)
    mirrored, _ = fit(build(vqgan, mirror=True), pairs, tmp_path, 6, limit_val_batches=0)
    vqgan.register_to_config(scaling_factor=1.0)
    seen = []
    vqgan.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    module = build(vqgan, mirror=True, cache_latents=True)
    cached, _ = fit(module, pairs, tmp_path, 6, limit_val_batches=0)
    assert cached == pytest.approx(mirrored, abs=1e-5)
    assert mirrored != pytest.approx(plain, abs=1e-3)
    kept = module.cache.kept
    assert {name for name, _ in kept} == {pair["name"] for pair in pairs}
    assert {turned for _, turned in kept} == {False, True}
    assert sum(seen) == 4 + 2 * len(kept)  # measuring, and two images a pair


class Data(LightningDataModule):
    def __init__(self, pairs, transform) -> None:
        super().__init__()
        self.loader, self.transform = DataLoader(pairs, batch_size=2), transform

    def train_dataloader(self) -> DataLoader:
        return self.loader


def test_a_cache_refuses_images_that_change(vqgan, pairs, tmp_path):
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    with pytest.raises(ValueError, match=r"Data draws its training images anew every epoch.*with augment false"):
        trainer.fit(build(vqgan, cache_latents=True), datamodule=Data(pairs, transform=abs))
    with pytest.raises(ValueError, match="CTPairDataModule draws its training images anew"):  # it has no fixed images
        refuse_random_images(CTPairDataModule())
    trainer.fit(build(vqgan, cache_latents=True, mirror=True), datamodule=Data(pairs, transform=None))
    assert trainer.global_step == 3
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(build(vqgan, mirror=True), datamodule=Data(pairs, transform=abs))
    assert trainer.global_step == 3


def test_channels_last_has_the_same_losses_and_the_same_files(vqgan, pairs, tmp_path):
    plain, _ = fit(build(vqgan), pairs, tmp_path, 3)
    vqgan.register_to_config(scaling_factor=1.0)
    module = build(vqgan, channels_last=True)
    turned, _ = fit(module, pairs, tmp_path, 3)
    assert turned == pytest.approx(plain, rel=1e-4)
    for network in (module.unet, module.ema.module, module.vqgan):
        weights = [p for p in network.parameters() if p.ndim == 4 and p.shape[2] == 3 and p.shape[1] > 1]
        assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    module.pipeline().save_pretrained(tmp_path / "model")
    read = BoneSuppressionPipeline.from_pretrained(tmp_path / "model")
    radiograph = pairs[0]["radiograph"][None]
    assert torch.allclose(read(radiograph, 2).soft, module.pipeline()(radiograph, 2).soft, atol=1e-5)


@pytest.mark.parametrize("before", [False, True])
def test_a_fused_optimizer_resumes_in_another_memory_format(vqgan, pairs, tmp_path, before):
    options = {"optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, fused=True)}
    whole, _ = fit(build(vqgan, channels_last=before, **options), pairs, tmp_path, 4)
    vqgan.register_to_config(scaling_factor=1.0)
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    fit(build(vqgan, channels_last=before, **options), pairs, tmp_path, 2, callbacks=[keep], enable_checkpointing=True)
    rest, _ = fit(build(vqgan, channels_last=not before, **options), pairs, tmp_path, 4, tmp_path / "last.ckpt")
    assert rest == pytest.approx(whole[6:], rel=1e-4)


@pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_has_the_same_losses_names_and_averages(vqgan, pairs, tmp_path):
    def transformer(**options) -> LatentDiffusionModule:
        torch.manual_seed(0)
        scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
        options = {"cache_latents": True, "measure_latents": False, "sampling_steps": 2, **options}
        return LatentDiffusionModule(vqgan, LatentDiT(width=16, depth=1, heads=2), scheduler, **options)

    plain, compiled = transformer(), transformer(compile=True)
    names = list(plain.state_dict())
    expected, _ = fit(plain, pairs, tmp_path, 2)
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    torch.compiler.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    losses, _ = fit(compiled, pairs, tmp_path, 2, callbacks=[keep], enable_checkpointing=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before  # it was compiled indeed
    assert losses == pytest.approx(expected, abs=1e-5)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert list(saved) == names
    assert all(torch.allclose(value, saved[name], atol=1e-5) for name, value in plain.state_dict().items())
    compiled.pipeline().save_pretrained(tmp_path / "model")
    read = BoneSuppressionPipeline.from_pretrained(tmp_path / "model").unet.state_dict()
    assert read.keys() == plain.unet.state_dict().keys()
    assert all(torch.equal(value, compiled.ema.module.state_dict()[name]) for name, value in read.items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what is said where there is no CUDA device")
def test_xformers_without_cuda_is_refused(vqgan, pairs, tmp_path):
    with pytest.raises(ValueError, match="needs a CUDA device"):
        fit(build(vqgan, xformers=True), pairs, tmp_path, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_xformers_computes_the_same_attention():
    pytest.importorskip("xformers")
    from diffusion.networks.attention import use_xformers

    torch.manual_seed(0)
    unet = build_unet(base_channels=64, multipliers=(1, 2), residual_blocks=1, attention_levels=(1,)).cuda()
    x, t = torch.randn(2, 8, 16, 16, device="cuda"), torch.tensor([3, 700], device="cuda")
    with torch.no_grad():
        expected = unet(x, t).sample
        use_xformers(unet)
        assert torch.allclose(unet(x, t).sample, expected, atol=1e-3)
    with pytest.raises(ValueError, match="LatentDiT has no attention that xformers"):
        use_xformers(LatentDiT(width=16, depth=1, heads=2))

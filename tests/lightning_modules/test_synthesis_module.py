"""SynthesisModule in a Trainer: the view is obeyed, runs are resumed, what is dropped, what is cached."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler, UNet2DConditionModel
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from diffusion import Conditioner, LatentDiT, PixelSpace, SynthesisPipeline, ThresholdedDDIMScheduler
from diffusion.training.condition_dropout import drop_conditions
from diffusion.training.synthesis_objective import ask
from lightning_modules.callbacks import FolderExport
from lightning_modules.data.reports import collate
from lightning_modules.synthesis_module import SynthesisModule

VIEWS = ("PA", "AP", "LL", "LATERAL")
PATTERNS = torch.stack([pattern(torch.linspace(-1, 1, 8)) for pattern in (
    lambda x: x[:, None].expand(8, 8),
    lambda x: x.expand(8, 8),
    lambda x: (x[:, None] * x).sign(),
    lambda x: 1 - 1.9 * (x[:, None] ** 2 + x**2).clamp(max=1),
)]).unsqueeze(1)  # fmt: skip


def item(i: int) -> dict:
    """Every image of a view is the view's pattern; its other view is the next one's."""
    other = (i + 1) % 4
    return {
        "radiograph": PATTERNS[i % 4],
        "name": f"{i}.png",
        "view": VIEWS[i % 4],
        "report": "",
        "demographics": {"age": 50.0, "sex": "F"},
        "images": PATTERNS[other : other + 1],
        "image_views": [VIEWS[other] if i % 2 else None],
        "image_names": [f"{other}.png" if i % 2 else None],
    }


def build(kind: str = "dit", images: int = 0, regions: int = 0, priors: bool = False, **options) -> SynthesisModule:
    torch.manual_seed(0)
    conditioner = Conditioner(
        width=32, text_width=0, images=images, demographics=True, latent_channels=1, regions=regions, priors=priors
    )
    if kind == "dit":
        network = LatentDiT(1, images + regions, width=32, depth=2, heads=2, patch=2, cross_attention_dim=32)
        scheduler = FlowMatchEulerDiscreteScheduler()
    else:
        network = UNet2DConditionModel(
            sample_size=8,
            in_channels=1 + images + regions,
            out_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
            norm_num_groups=4,
            cross_attention_dim=32,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=32,
        )
        scheduler = ThresholdedDDIMScheduler(prediction_type="v_prediction")
    settings = {"image_size": 8, "ema_decay": 0.95, "sampling_steps": 8, "validation_images": 0}
    settings["optimizer"] = lambda parameters: torch.optim.AdamW(parameters, lr=3e-3)
    return SynthesisModule(
        PixelSpace(), network, options.pop("scheduler", scheduler), conditioner, **{**settings, **options}
    )


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.seen.append(outputs["loss"].item())


def fit(module, root: Path, epochs: int, images: int = 16, checkpoint: Path | None = None, callbacks=(), **options):
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
    loader = DataLoader([item(i) for i in range(images)], batch_size=8, collate_fn=collate)
    trainer.fit(module, loader, loader, ckpt_path=checkpoint, weights_only=True)
    return losses.seen


@pytest.mark.parametrize(("kind", "epochs"), [("dit", 300), ("unet", 60)])
def test_a_tiny_model_obeys_the_view(kind, epochs, tmp_path):
    """From seeds never seen, every image is the pattern of the view that was asked for, also from the folder."""
    quick = {
        "ema_decay": 0.9,
        "optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=6e-3),
        "lr_scheduler": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=2 * epochs),
        "lr_interval": "step",
    }
    module = build(kind, cache_latents=True, **quick)
    losses = fit(module, tmp_path, epochs, callbacks=[FolderExport("model")], limit_val_batches=0)
    assert sum(losses[-20:]) < sum(losses[:20]) / 2
    pipe = SynthesisPipeline.from_pretrained(tmp_path / "model")
    pipe.set_progress_bar_config(disable=True)
    asked = [view for view in VIEWS for _ in range(2)]
    images = pipe(asked, num_inference_steps=6, seeds=range(1000, 1008), guidance={"view": 1.5}, micro_batch=8).images
    distances = (images.unsqueeze(1) - PATTERNS.unsqueeze(0)).square().mean(dim=(2, 3, 4))
    assert [VIEWS[i] for i in distances.argmin(1)] == asked
    assert distances.min(1).values.max() < 0.35  # two patterns are 0.86 apart or more


def test_a_tiny_model_draws_a_finding_where_it_shall_be(tmp_path):
    """A bright quarter on black, of the kind and place that the maps say; a kind left out of them is drawn nowhere."""
    quarters = [(slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)) for row in (0, 1) for column in (0, 1)]
    items = []
    for i in range(16):
        maps, picture = torch.zeros(5, 8, 8), torch.full((1, 8, 8), -1.0)
        maps[2][quarters[i % 4]], picture[0][quarters[i % 4]] = 1, 1
        items.append({**item(i), "radiograph": picture, "regions": maps})
    rate = {"optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=6e-3), "ema_decay": 0.9}
    module = build("unet", regions=5, **rate)
    with pytest.raises(ValueError, match="set the data's region_size"):
        fit(module, tmp_path, 1)
    trainer = Trainer(
        max_epochs=80, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, DataLoader(items, batch_size=16, collate_fn=collate))
    maps = torch.stack([one["regions"] for one in items[:4]])
    drawn = module.pipeline()([None] * 4, regions=maps, num_inference_steps=8, seeds=range(100, 104)).images
    inside = torch.stack([drawn[i, 0][quarters[i]].mean() for i in range(4)])
    outside = (drawn.sum(dim=(1, 2, 3)) - 16 * inside) / 48
    assert (inside - outside).min() > 1.2  # of 2 in the truth


def test_the_error_counts_more_where_a_finding_lies():
    batch = collate([{**item(i), "regions": torch.zeros(5, 8, 8)} for i in range(4)])
    batch["regions"][:, 2, :2, :2] = 1
    plain, weighed = (build("unet", regions=5, dropout={"region": 1}, place_weight=weight) for weight in (0, 0.5))
    losses = [module._loss(batch, module.networks, 0, 0).item() for module in (plain, weighed)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    measured = [module._loss(batch, module.networks, 1, 0).item() for module in (plain, weighed)]
    assert measured[0] == measured[1]  # so that validation can be compared


def test_a_tiny_model_keeps_a_prior_and_turns_another_view(tmp_path):
    """With a prior the image is the prior's pattern, with another view of the same study its opposite."""
    items = []
    for i in range(16):
        prior, shown = bool(i % 2), PATTERNS[i // 2 % 4]
        picture = shown if prior else -shown
        one = {**item(i), "radiograph": picture, "images": shown[None], "image_views": ["PA"], "view": None}
        items.append({**one, "image_names": [f"p{i // 2 % 4}.png"], "image_priors": [prior]})
    rate = {"optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=6e-3), "ema_decay": 0.9}
    module = build("unet", images=1, priors=True, **rate)
    trainer = Trainer(
        max_epochs=150, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, DataLoader(items, batch_size=16, collate_fn=collate))
    given = torch.stack([one["images"] for one in items[:8]])
    views, priors = [["PA"]] * 8, [one["image_priors"] for one in items[:8]]
    asked = {"images": given, "image_views": views, "image_priors": priors}
    drawn = module.pipeline()([None] * 8, **asked, num_inference_steps=8, seeds=range(100, 108)).images
    truth = torch.stack([one["radiograph"] for one in items[:8]])
    assert (drawn - truth).square().mean(dim=(1, 2, 3)).max() < 0.35  # of 1 and more for the opposite
    batch = collate([{key: value for key, value in one.items() if key != "image_priors"} for one in items])
    with pytest.raises(ValueError, match="set the data's priors to true"):
        module.conditions(batch, torch.zeros(16, 1, 8, 8))


def test_a_resumed_run_has_the_losses_of_one_that_was_not_stopped(tmp_path):
    whole = fit(build(images=1), tmp_path / "a", 4)
    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    first = fit(build(images=1), tmp_path / "b", 2, callbacks=[keep], enable_checkpointing=True)
    rest = fit(build(images=1), tmp_path / "c", 4, checkpoint=tmp_path / "last.ckpt")
    assert first + rest == pytest.approx(whole, rel=1e-5)


def test_dropout_rates_are_met():
    module = build(images=1, dropout={"view": 0.2, "image": 0.5, "demographics": 0.0}, unconditional=0.1)
    batch = collate([item(2 * i + 1) for i in range(2000)])
    given = module.conditions(batch, torch.zeros(2000, 1, 8, 8))
    dropped = drop_conditions(given, module.dropout, module.unconditional, torch.Generator().manual_seed(0))
    gone = {
        "view": (dropped.view == 0),
        "image": (dropped.image_view == 0).all(1),
        "demographics": (dropped.demographics == 0).all(1),
    }
    rates = {name: rows.float().mean().item() for name, rows in gone.items()}
    assert rates == pytest.approx({"view": 0.28, "image": 0.55, "demographics": 0.1}, abs=0.03)
    everything = torch.stack(list(gone.values())).all(0).float().mean().item()
    assert everything == pytest.approx(0.1, abs=0.02)


def test_other_views_are_given_as_their_latents_and_absent_ones_as_zero():
    module = build(images=1)
    batch = collate([item(i) for i in range(4)])
    x0 = module.latents(batch["radiograph"], batch["name"])
    given = module.conditions(batch, x0)
    assert torch.equal(given.image[1, 0], PATTERNS[2]) and torch.equal(given.image[3, 0], PATTERNS[0])
    assert not given.image[0].any() and given.image_view[:, 0].tolist() == [0, 3, 0, 1]


def test_cached_latents_are_scaled_to_unit_deviation_and_encoded_once(tmp_path):
    module = build(cache_latents=True)
    encoded = []
    encode = module.vqgan.encode
    module.vqgan.encode = lambda x: encoded.append(len(x)) or encode(x)
    fit(module, tmp_path, 3)
    # the first batch is encoded to be measured, and again at the new scale
    assert sum(encoded) == 16 + 8
    first = torch.cat([PATTERNS, PATTERNS])
    assert module.vqgan.config.scaling_factor == pytest.approx(1 / first.std().item(), rel=1e-3)


class Words:
    """A text encoder that sees reports of four words, each its own embedding, and cuts what is longer."""

    width, limit, source, fingerprint = 4, 4, "words", "0"

    def __init__(self) -> None:
        self.truncated: dict[str, int] = {}

    def components(self):
        return None, None  # neither a network nor a tokenizer that a folder could hold

    def __call__(self, texts, names=None):
        embeddings, mask = torch.zeros(len(texts), 4, 4), torch.zeros(len(texts), 4).bool()
        for row, text in enumerate(texts):
            words = text.split()
            if len(words) > 4:
                self.truncated[text] = len(words)
            mask[row, : len(words)] = True
            embeddings[row] = torch.eye(4)
        return embeddings, mask


def test_cut_reports_are_said_and_the_folder_names_the_encoder(caplog):
    module = build()
    module.text_encoder = Words()
    with pytest.raises(ValueError, match="embeddings are 4 wide and the conditioner's text_width 0"):
        module.setup("fit")
    torch.manual_seed(0)
    network = LatentDiT(1, 0, width=8, depth=1, heads=1, cross_attention_dim=8)
    conditioner = Conditioner(width=8, text_width=4, text_length=4)
    module = SynthesisModule(
        PixelSpace(), network, FlowMatchEulerDiscreteScheduler(), conditioner, Words(), image_size=8
    )
    module.setup("fit")
    batch = collate([{**item(i), "report": "a b" if i else "one two three four five"} for i in range(2)])
    with caplog.at_level(logging.WARNING):
        given = module.conditions(batch, torch.zeros(2, 1, 8, 8))
    assert given.report_mask.sum(1).tolist() == [4, 2]
    assert "1 reports so far were cut at 4 tokens" in caplog.text
    assert module.pipeline().conditioner.config.text_encoder == "words"


def test_a_student_starts_as_its_teacher_and_learns_alone(tmp_path):
    teacher = build("unet")
    teacher.vqgan.register_to_config(scaling_factor=2.0)
    teacher.pipeline().save_pretrained(tmp_path / "teacher")
    options = {"teacher": str(tmp_path / "teacher"), "teacher_guidance": {"view": 2.0}, "solver_steps": 10}
    schedule = {"beta_start": 0.0008, "beta_end": 0.02, "beta_schedule": "squaredcos_cap_v2"}
    sampler = LCMScheduler(**schedule, prediction_type="v_prediction", original_inference_steps=10, clip_sample=False)
    student = build("unet", sampler=sampler, sampling_steps=4, **options)
    for parameter in student.networks.parameters():
        parameter.data += 0.1
    student.setup("fit")
    before = {name: value.clone() for name, value in teacher.networks.state_dict().items()}
    for networks in (student.networks, student.ema.module):
        assert all(torch.equal(before[name], value) for name, value in networks.state_dict().items())
    fit(student, tmp_path, 1, limit_val_batches=0)
    assert student.vqgan.config.scaling_factor == 2.0
    assert all(torch.equal(before[name], value) for name, value in student.teacher.state_dict().items())
    assert not all(torch.equal(before[name], value) for name, value in student.networks.state_dict().items())
    student.pipeline().save_pretrained(tmp_path / "student")
    pipe = SynthesisPipeline.from_pretrained(tmp_path / "student")
    pipe.set_progress_bar_config(disable=True)
    assert torch.equal(pipe(["PA"], seeds=[3]).images, pipe(["PA"], num_inference_steps=4, seeds=[3]).images)
    with pytest.raises(ValueError, match="of other sizes"):
        build("dit", scheduler=teacher.scheduler, **options).setup("fit")


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_training_begins_with_a_model_that_knows_fewer_conditions(kind, tmp_path):
    """At first it draws the same, whatever the new conditions are."""
    known = build(kind, regions=2)
    for parameter in known.ema.module["unet"].parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # also where a network begins with zeros
    known.pipeline().save_pretrained(tmp_path / "model")
    start = {"start": str(tmp_path / "model")}
    more = build(kind, regions=3, images=1, priors=True, **start)
    more.setup("fit")
    weights = ("conv_in" if kind == "unet" else "patchify") + ".weight"
    before, after = (one.ema.module["unet"].state_dict()[weights] for one in (known, more))
    assert torch.equal(after[:, [0, 2, 3]], before) and not after[:, [1, 4]].any()  # noise, image, regions
    noisy, times = torch.randn(2, 1, 8, 8), torch.tensor([300.0, 700.0])
    regions = torch.rand(2, 3, 8, 8)
    old = known.ema.module["conditioner"].prepare(["PA", "AP"], region=regions[:, :2])
    shown = {"image": torch.randn(2, 1, 1, 8, 8), "image_views": [["PA"], ["LL"]], "image_priors": [[True], [False]]}
    new = more.ema.module["conditioner"].prepare(["PA", "AP"], region=regions, **shown)
    contexts = [one.ema.module["conditioner"](given) for one, given in ((known, old), (more, new))]
    assert torch.equal(contexts[0][2], contexts[1][2])
    drawn = [
        ask(one.ema.module["unet"], noisy, times, given, contexts[0]) for one, given in ((known, old), (more, new))
    ]
    assert torch.allclose(*drawn, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(more.networks.parameters(), more.ema.module.parameters()))
    with pytest.raises(ValueError, match=r"takes \{'images': 0, 'regions': 1\}.*must know as much or more"):
        build(kind, regions=1, **start).setup("fit")
    with pytest.raises(ValueError, match=r"this model .*: make them the same"):
        build("unet" if kind == "dit" else "dit", regions=2, **start).setup("fit")


def test_the_images_size_comes_from_the_data_and_stays_with_the_checkpoint(tmp_path):
    """The number stands once in a config; a folder made of the checkpoint alone knows it too."""
    module = build(image_size=None)

    class Data(LightningDataModule):
        image_size = 8

        def train_dataloader(self) -> DataLoader:
            return DataLoader([item(i) for i in range(8)], batch_size=8, collate_fn=collate)

    trainer = Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, logger=False)
    trainer.fit(module, datamodule=Data())
    assert module.pipeline().config["image_size"] == 8
    alone = build(image_size=None)
    alone.setup("predict")
    alone.on_load_checkpoint(torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True))
    assert alone.pipeline().config["image_size"] == 8
    without = build(image_size=None)  # of an earlier version
    without.on_load_checkpoint({"scaling_factor": 1.0})
    assert without.pipeline().config["image_size"] == 512


def test_bad_settings_are_said():
    with pytest.raises(ValueError, match=r"dropout is \{'text': 0.1\}"):
        build(dropout={"text": 0.1})
    for settings in ({"regions": 5, "place_weight": -1}, {"place_weight": 0.5}):
        with pytest.raises(ValueError, match=r"place_weight is .* with a conditioner that has regions"):
            build(**settings)
    with pytest.raises(ValueError, match="the images are 8 x 8 and image_size is 16"):
        build(image_size=16).latents(PATTERNS, ["a", "b", "c", "d"])


def test_the_folder_says_which_views_were_trained_on(tmp_path):
    class Data(LightningDataModule):
        image_size = 8
        trained_views = ("PA", "RL")

        def train_dataloader(self) -> DataLoader:
            return DataLoader([item(0) for _ in range(8)], batch_size=8, collate_fn=collate)

    module = build()
    trainer = Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, logger=False)
    trainer.fit(module, datamodule=Data())
    assert module.pipeline().known_views == ("PA", "RL")
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    alone = build()
    alone.setup("predict")
    alone.on_load_checkpoint(saved)
    assert alone.pipeline().known_views == ("PA", "RL")
    del saved["trained_views"]  # of an earlier version
    alone.on_load_checkpoint(saved)
    assert alone.pipeline().config["trained_views"] is None

"""Training of a packaged model on a site's own pairs, and what it does to pairs held out; see radiolucent.adapt."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusion.pipelines.contract import SuppressionPipeline
    from lightning_modules.adaptation_data import SitePair
    from lightning_modules.ct_pair_data import CTPairDataset

BODIES = 3  # of the sample CT, from which drawn pairs are made
EPOCH = 50  # steps between two validations
PATIENCE = 3  # validations without a better one, after which training stops
NODULES = 24  # implanted into each held-out radiograph


@dataclass(frozen=True)
class Figures:
    """What a model does on held-out pairs: gains over doing nothing in dB after the best gain and offset; of implanted
    nodules of 8 mm and more, the mean signal that is kept and the part that keeps 90% of it."""

    whole: float
    lungs: float
    nodules: int
    kept: float
    kept_90: float


@dataclass(frozen=True)
class Course:
    """How training goes: at most `steps` steps and `minutes` minutes, at a rate that falls from `lr` to zero."""

    steps: int
    minutes: float
    lr: float
    survival_weight: float
    workers: int
    seed: int
    device: str


def starting_pipeline(folder: str, trust_remote_code: bool = False) -> SuppressionPipeline:
    """The model in a folder.

    Raises:
        ValueError: One that cannot be adapted.
    """
    from radiolucent.suppress_model import load_pipeline

    pipeline: Any = load_pipeline(folder, "cpu", trust_remote_code)
    if pipeline.adaptable_network() is None:
        kind = type(getattr(pipeline, "unet", pipeline)).__name__
        raise ValueError(
            f"{folder}: its network is a {kind}, which cannot be adapted; adapt works on models like the packaged one, "
            "a BoneUNet"
        )
    return pipeline


def crop_size(pipeline: SuppressionPipeline) -> int:
    """Side of the training crops in pixels: half of what the network sees of a whole radiograph."""
    return max(pipeline.trained_size // 2, pipeline.size_multiple)


def drawn_pairs(cache: Path, size: int) -> CTPairDataset:
    """Pairs drawn from the sample CT and deformations of it, as the packaged model was trained on."""
    from drr.pairs import PairOptions
    from lightning_modules.ct_bodies import Projections, cast_missing
    from lightning_modules.ct_pair_data import CTPairDataset

    settings = Projections()
    cast_missing([settings], BODIES, cache, 1)
    files = [(settings.file(cache, body), settings.pixel_mm) for body in range(BODIES)]
    return CTPairDataset(files, size, PairOptions(nodules=1.0), 0, True, 1)


def train(
    start: SuppressionPipeline,
    pairs: list[SitePair],
    held_out: list[SitePair],
    drawn: CTPairDataset,
    course: Course,
    folder: Path,
    steps: int | None = None,
) -> tuple[SuppressionPipeline, int]:
    """Fine-tune a copy of the network.

    Args:
        held_out: Pairs by which training stops early; without them it takes `steps` steps.

    Returns:
        The model that was best on the pairs held out (or the last one), and after how many steps. What it takes away is
        its site's: it needs no strength of an image's own, and no second look at twice the size.
    """
    import torch
    from lightning.pytorch import Trainer, seed_everything
    from lightning.pytorch.callbacks import EarlyStopping

    from lightning_modules.adaptation_data import AdaptationData
    from lightning_modules.regression_module import RegressionModule

    seed_everything(course.seed, verbose=False)
    most = course.steps if steps is None else steps
    begin = time.monotonic()

    def left(step: int) -> float:
        """The part of the training that is left, by steps or by time: what the rate falls with."""
        return max(0.0, 1 - max(step / most, (time.monotonic() - begin) / (60 * course.minutes)))

    trained = start.adaptable_network()
    module = RegressionModule(
        trained,
        image_size=start.trained_size,
        survival_weight=course.survival_weight,
        survival_margin=0.03,
        twin_share=0.5,
        focus=8.0 if course.survival_weight else 0.0,
        ema_decay=0.98,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=course.lr, weight_decay=1e-4),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, left),
    )
    data = AdaptationData(
        pairs,
        held_out,
        drawn,
        image_size=crop_size(start),
        whole=start.trained_size,
        epoch_size=4 * EPOCH,
        workers=course.workers,
        seed=course.seed,
    )
    best = keep_best()
    callbacks: list[Any] = [best]
    if held_out:
        callbacks.append(EarlyStopping("val/gain_whole", mode="max", patience=PATIENCE))
    trainer = Trainer(
        max_steps=most,
        max_time={"seconds": math.ceil(60 * course.minutes)},
        accelerator=course.device if course.device != "cuda" else "gpu",
        devices=1,
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, data)
    state, after = (best.state, best.step) if held_out else (module.ema.module.state_dict(), trainer.global_step)
    trained.load_state_dict(state)
    return start.adapted(trained), after


def keep_best() -> Any:
    """A callback that keeps the averaged weights of the best validation, `state`, and after which `step` that was."""
    from lightning.pytorch import Callback

    class Keep(Callback):
        gain, step, state = -math.inf, 0, None

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            gain = sum(float(trainer.callback_metrics.get(name, 0)) for name in ("val/gain_whole", "val/gain_lungs"))
            if gain > self.gain:
                self.gain, self.step = gain, trainer.global_step
                self.state = {name: value.clone() for name, value in module.ema.module.state_dict().items()}

    return Keep()


def measure(pipeline: SuppressionPipeline, pairs: list[SitePair], seed: int) -> Figures:
    """The figures of a model on whole pairs, as `radiolucent suppress` would use it."""
    import numpy as np

    from evaluation.gains import LUNGS, WHOLE, GainMeter
    from evaluation.implants import contrast_per_mm, measure_implants, scatter
    from radiolucent.suppressor import Suppressor

    suppressor = Suppressor.of(pipeline)
    gains, kept = [], []
    for pair in pairs:
        soft = suppressor.suppress(pair.radiograph).soft
        gains.append(GainMeter(pair.soft, pair.radiograph, pair.lungs)(soft))
        if pair.lungs is not None:
            per_mm = contrast_per_mm(pair.radiograph, pair.lungs)
            groups = scatter(pair.lungs, pair.pixel_mm, per_mm, NODULES, np.random.default_rng(seed))
            of = measure_implants(
                lambda image: suppressor.suppress(image).soft,
                pair.radiograph,
                pair.lungs,
                groups,
                pair.pixel_mm,
                per_mm,
                soft,
            )
            kept += [nodule.kept for nodule in of if nodule.diameter_mm >= 8]
    return Figures(
        float(np.mean([gain[WHOLE] for gain in gains])),
        float(np.mean([gain[LUNGS] for gain in gains if LUNGS in gain] or [np.nan])),
        len(kept),
        float(np.mean(kept or [np.nan])),
        float(np.mean([float(value >= 0.9) for value in kept] or [np.nan])),
    )

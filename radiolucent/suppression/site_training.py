"""Training of a packaged model on a site's own pairs; see radiolucent.commands.adapt."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.precision import training_precision
from radiolucent.suppression.site_bands import WIDTHS, fit_bands

if TYPE_CHECKING:
    import numpy as np

    from diffusion.networks.site_unet import SiteUNet
    from diffusion.pipelines.contract import SuppressionModel
    from lightning_modules.data.adaptation import Answered, Bone, SitePair

EPOCH = 50  # steps between two validations
PATIENCE = 12  # validations without a better one, after which training stops
VARIANTS = 24  # of nodules, of all pairs together; each pair has at least one


@dataclass(frozen=True)
class Course:
    """How training goes, at a rate that falls to zero.

    Attributes:
        steps: At most.
        minutes: At most.
        lr: First rate.
        survival_weight: Of the nodules' lost signal.
        workers: Data processes.
        seed: Of everything that is drawn.
        device: Where it runs, "cpu" or "cuda".
        size: Side in pixels at which the packaged model is asked.
        grid: Side in pixels of the correction, and of what it is trained on.
    """

    steps: int
    minutes: float
    lr: float
    survival_weight: float
    workers: int
    seed: int
    device: str
    size: int
    grid: int


def starting_model(folder: str, trust_remote_code: bool = False) -> SuppressionModel:
    """The model in a folder.

    Args:
        folder: A saved pipeline's.
        trust_remote_code: Whether code that lies in it may run.

    Returns:
        A model that can be adapted, on the CPU.

    Raises:
        ValueError: It cannot be adapted, or does not say on which image size it was trained.
    """
    from radiolucent.suppression.model import load_pipeline

    pipeline = load_pipeline(folder, "cpu", trust_remote_code)
    if pipeline.not_adaptable is not None:
        raise ValueError(f"{folder}: {pipeline.not_adaptable}")
    if pipeline.trained_size is None:
        raise ValueError(f"{folder} does not say on which image size it was trained: start from the packaged model")
    return pipeline


def bone_of(model: SuppressionModel, site: SiteUNet | None = None) -> Bone:
    """What a model takes away from a radiograph, with a site's weighted bands, if there are any.

    Args:
        model: Any suppression model.
        site: The site's correction, of which only the bands count; None: the model alone.

    Returns:
        A function from a radiograph (S, S) in [-1, 1] to the bone in it, (S, S).
    """
    import torch

    def bone(radiograph: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(radiograph)[None, None]
        found = seen - model(seen).soft
        return (found if site is None else found + site.weighted_bands(seen, found))[0, 0].numpy()

    return bone


def new_site(start: SuppressionModel, pairs: list[SitePair], course: Course) -> SiteUNet:
    """A correction whose bands are fitted to pairs and whose network is untrained.

    Args:
        start: The model that it corrects.
        pairs: Those that may be trained on.
        course: Its sizes and seed.

    Returns:
        The correction, in evaluation mode.
    """
    import numpy as np

    from diffusion.networks.site_unet import SiteUNet

    site = SiteUNet(size=course.grid, widths=WIDTHS)
    rng = np.random.default_rng(course.seed)
    weights, frame = fit_bands(bone_of(start), pairs, course.size, course.survival_weight, rng)
    site.weights.copy_(weights)
    site.frame_weights.copy_(frame)
    return site.eval()


def prepare(bone: Bone, pairs: list[SitePair], course: Course) -> list[list[Answered]]:
    """What a model makes of each pair with several sets of nodules in it, at twice the grid's size.

    Args:
        bone: As `bone_of` gives it.
        pairs: At least one.
        course: Its sizes and seed.

    Returns:
        Of each pair equally many variants, one to six.
    """
    import numpy as np
    from rich.progress import track

    from lightning_modules.data.adaptation import OVERSAMPLED, answered

    variants = min(6, max(1, VARIANTS // len(pairs)))
    rng = np.random.default_rng(course.seed)
    kept = min(OVERSAMPLED * course.grid, course.size)
    return [
        answered(pair, bone, course.size, variants, kept, rng) for pair in track(pairs, "what the packaged model finds")
    ]


def train(
    start: SuppressionModel,
    fitted: SiteUNet,
    pairs: list[list[Answered]],
    held_out: list[SitePair],
    course: Course,
    folder: Path,
    steps: int | None = None,
) -> tuple[SuppressionModel, int]:
    """Train a SiteUNet beside the pipeline's network, which stays as it is.

    Args:
        start: The pipeline.
        fitted: As `new_site` gives it.
        pairs: As `prepare` gives them.
        held_out: Pairs by which training stops early; without them it takes `steps` steps.
        course: How training goes.
        folder: For checkpoints and logs.
        steps: How many, without `held_out`.

    Returns:
        The pipeline with the correction that was best on the pairs held out (or the last one), and after how many
        steps.
    """
    import torch
    from lightning.pytorch import Trainer, seed_everything
    from lightning.pytorch.callbacks import EarlyStopping

    from diffusion.networks.site_unet import SiteUNet
    from lightning_modules.data.adaptation import AdaptationData, whole_pair
    from lightning_modules.site_module import SiteModule

    seed_everything(course.seed, verbose=False)
    most = course.steps if steps is None else steps
    begin = time.monotonic()

    def rate(step: int) -> float:
        """Of the learning rate: rising for 30 steps, then falling to zero with the steps or the time that are left."""
        left = 1 - max(step / most, (time.monotonic() - begin) / (60 * course.minutes))
        return max(0.0, left) * min(1.0, (step + 1) / 30)

    module = SiteModule(
        SiteUNet.from_config(fitted.config),
        survival_weight=course.survival_weight,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=course.lr, weight_decay=1e-3),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, rate),
    )
    bone = bone_of(start, fitted)
    whole = [whole_pair(pair, bone, course.size) for pair in held_out]
    data = AdaptationData(pairs, whole, course.grid, 4, 4 * EPOCH, course.workers, course.seed)
    best = keep_best()
    callbacks: list[Any] = [best]
    if held_out:
        callbacks.append(EarlyStopping("val/gain_whole", mode="max", patience=PATIENCE, check_on_train_epoch_end=False))
    trainer = Trainer(
        max_steps=most,
        max_time={"seconds": math.ceil(60 * course.minutes)},
        accelerator=course.device if course.device != "cuda" else "gpu",
        devices=1,
        precision=training_precision(course.device),  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, data)
    if held_out:
        trainer.validate(module, data, verbose=False)  # the end may lie between two validations
    state, after = (best.state, best.step) if held_out else (module.ema.module.state_dict(), trainer.global_step)
    site = SiteUNet.from_config(fitted.config)
    site.load_state_dict({**state, "weights": fitted.weights, "frame_weights": fitted.frame_weights})
    return start.adapted(site), after


def keep_best() -> Any:
    """A callback that remembers the best validation.

    Returns:
        A Callback with `state`, the averaged weights of the validation with the highest gains (None before the first),
        and `step`, after which step that was.
    """
    from lightning.pytorch import Callback

    class Keep(Callback):
        gain, step, state = -math.inf, 0, None

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            gain = sum(float(trainer.callback_metrics.get(name, 0)) for name in ("val/gain_whole", "val/gain_lungs"))
            if gain > self.gain:
                self.gain, self.step = gain, trainer.global_step
                self.state = {name: value.clone() for name, value in module.ema.module.state_dict().items()}

    return Keep()

"""Fit the packaged model to a site: `radiolucent adapt PAIRS --out FOLDER`.

PAIRS: a folder in BS-LDM's layout (CXR/ and BS/ with images of the same names) of a site's own dual-energy pairs, two
to some hundreds; or two folders, --radiographs and --softs. The pairs that are held out say when to stop and what the
site gains; then all pairs train once more for as long. FOLDER is a pipeline for `radiolucent suppress --checkpoint`;
adaptation.json in it has the figures. Research use only.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from diffusion.bone_unet import BoneUNet
    from diffusion.regression import BoneRegressionPipeline
    from lightning_modules.adaptation_data import SitePair
    from lightning_modules.ct_pair_data import CTPairDataset
    from radiographs import Pair

FEWEST = 2
BODIES = 3  # of the sample CT, from which drawn pairs are made
EPOCH = 50  # steps between two validations
PATIENCE = 3  # validations without a better one, after which training stops
NODULES = 24  # implanted into each held-out radiograph
REPORT = "adaptation.json"


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


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent adapt`."""
    parser.add_argument("pairs", type=str, nargs="?", help="folder with CXR/ and BS/")
    parser.add_argument("--radiographs", type=str, help="folder of radiographs, instead of PAIRS")
    parser.add_argument("--softs", type=str, help="folder of their soft-tissue images, of the same names")
    parser.add_argument(
        "--out", type=str, required=True, help="folder for the adapted model; must not exist, or be empty"
    )
    parser.add_argument("--checkpoint", type=str, help="model to start from (default: the packaged one)")
    parser.add_argument("--hold-out", type=int, help="pairs that are held out (default: a tenth, at least one)")
    parser.add_argument(
        "--refit",
        type=bool,
        default=True,
        help="train once more on all pairs, for as long as was best on those held out",
    )
    parser.add_argument("--steps", type=int, default=600, help="most steps of each training")
    parser.add_argument("--minutes", type=float, default=5.0, help="most minutes of each training")
    parser.add_argument("--lr", type=float, default=4e-4, help="learning rate at the beginning")
    parser.add_argument(
        "--survival-weight", type=float, default=1.0, help="how much the signal counts that nodules lose; 0: not at all"
    )
    parser.add_argument("--workers", type=int, default=1, help="data processes")
    parser.add_argument("--seed", type=int, default=0, help="of the held-out pairs, the crops and the nodules")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where training runs")


def run(args: Namespace) -> int:
    """Adapt, report, and write the model; 0."""
    import tempfile

    from lightning_modules.adaptation_data import load_site_pair
    from lightning_modules.callbacks import replace_folder
    from radiolucent.suppress_model import model_folder

    pairs = find_site_pairs(args)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: it is there already and not empty; choose another folder")
    held = choose_held_out(len(pairs), args.hold_out, args.seed)
    start = starting_pipeline(model_folder(args.checkpoint))
    loaded = [load_site_pair(pair) for pair in pairs]
    training = [pair for place, pair in enumerate(loaded) if place not in held]
    aside = [loaded[place] for place in held]
    course = Course(args.steps, args.minutes, args.lr, args.survival_weight, args.workers, args.seed, args.device)
    print(f"{len(training)} pairs to train on, {len(aside)} held out: {', '.join(pair.name for pair in aside)}")
    before = measure(start, aside, args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        drawn = drawn_pairs(Path(scratch), crop_size(start))
        best, steps = train(start, training, aside, drawn, course, Path(scratch) / "first")
        after = measure(best, aside, args.seed)
        if args.refit:
            print(f"once more on all {len(loaded)} pairs, for {steps} steps")
            best, _ = train(start, loaded, [], drawn, course, Path(scratch) / "all", steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(best, out)
    report = {
        "note": "Research use only. The figures are those of the pairs held out, before they were trained on.",
        "pairs": len(loaded),
        "held_out": [pair.name for pair in aside],
        "steps": steps,
        "refitted_on_all": args.refit,
        "before": asdict(before),
        "after": asdict(after),
    }
    (out / REPORT).write_text(json.dumps(report, indent=1))
    show(before, after, len(aside))
    print(f"radiolucent suppress INPUT --checkpoint {out} --out DIR")
    return 0


def find_site_pairs(args: Namespace) -> list[Pair]:
    """The pairs that the command line names, checked.

    Raises:
        ValueError: No or two ways of naming them, fewer than three, or images without a partner.
    """
    from radiographs import find_pairs
    from radiographs.pairs import RADIOGRAPHS, SOFTS

    two = args.radiographs is not None and args.softs is not None
    if (args.pairs is None) != two or (args.pairs is not None and (args.radiographs or args.softs)):
        raise ValueError("give PAIRS, a folder with CXR/ and BS/, or both --radiographs and --softs")
    folders = (args.radiographs, args.softs) if two else (Path(args.pairs) / RADIOGRAPHS, Path(args.pairs) / SOFTS)
    for name in ("steps", "minutes", "lr"):
        if args[name] <= 0:
            raise ValueError(f"--{name} {args[name]}: it must be more than 0")
    pairs = find_pairs(*folders)
    if len(pairs) < FEWEST:
        raise ValueError(f"{folders[0]}: {len(pairs)} pairs; at least {FEWEST} are needed, one of which is held out")
    return pairs


def choose_held_out(pairs: int, wanted: int | None, seed: int) -> list[int]:
    """Places of the pairs that are held out, in order; by default a tenth of them, at least one.

    Raises:
        ValueError: So many that fewer than one would train.
    """
    import numpy as np

    count = max(1, pairs // 10) if wanted is None else wanted
    if not 1 <= count < pairs:
        raise ValueError(f"--hold-out {count} of {pairs} pairs: give at least 1, and leave at least 1 to train on")
    return sorted(np.random.default_rng(seed).choice(pairs, count, replace=False).tolist())


def starting_pipeline(folder: str) -> BoneRegressionPipeline:
    """The regression in a folder.

    Raises:
        ValueError: A model of another kind.
    """
    from diffusion.bone_unet import BoneUNet
    from radiolucent.suppress_model import load_pipeline

    pipeline = load_pipeline(folder, "cpu")
    if not isinstance(getattr(pipeline, "unet", None), BoneUNet):
        kind = type(getattr(pipeline, "unet", pipeline)).__name__
        raise ValueError(f"{folder}: its network is a {kind}; adapt works on the packaged regression's kind, BoneUNet")
    return pipeline


def crop_size(pipeline: BoneRegressionPipeline) -> int:
    """Side of the training crops in pixels: half of what the network sees of a whole radiograph."""
    return max(pipeline.trained_size // 2, pipeline.size_multiple)


def complete_network(network: BoneUNet) -> BoneUNet:
    """A copy with the same weights that predicts coarse parts too: a site's pairs know the display's tone."""
    from diffusion.bone_unet import BoneUNet

    copy = BoneUNet.from_config({**network.config, "coarse_share": 0.0})
    copy.load_state_dict(network.state_dict())
    return copy.float()


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
    start: BoneRegressionPipeline,
    pairs: list[SitePair],
    held_out: list[SitePair],
    drawn: CTPairDataset,
    course: Course,
    folder: Path,
    steps: int | None = None,
) -> tuple[BoneRegressionPipeline, int]:
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

    from diffusion.regression import BoneRegressionPipeline
    from lightning_modules.adaptation_data import AdaptationData
    from lightning_modules.regression_module import RegressionModule

    seed_everything(course.seed, verbose=False)
    most = course.steps if steps is None else steps
    begin = time.monotonic()

    def left(step: int) -> float:
        """The part of the training that is left, by steps or by time: what the rate falls with."""
        return max(0.0, 1 - max(step / most, (time.monotonic() - begin) / (60 * course.minutes)))

    module = RegressionModule(
        complete_network(start.unet),
        image_size=start.trained_size,
        survival_weight=course.survival_weight,
        survival_margin=0.03,
        twin_share=1.0,
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
    trained = complete_network(start.unet)
    trained.load_state_dict(state)
    return BoneRegressionPipeline(trained, trained.config["patch"], start.trained_size, flips=True), after


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


def measure(pipeline: BoneRegressionPipeline, pairs: list[SitePair], seed: int) -> Figures:
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


def show(before: Figures, after: Figures, held_out: int) -> None:
    """A table of both."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{held_out} pairs held out: gains over doing nothing, and {after.nodules} implanted nodules")
    for column in ("", "whole, dB", "lungs, dB", "nodules' signal kept", "keep 90%"):
        table.add_column(column)
    for name, figures in (("before", before), ("adapted", after)):
        table.add_row(
            name, f"{figures.whole:+.2f}", f"{figures.lungs:+.2f}", f"{figures.kept:.0%}", f"{figures.kept_90:.0%}"
        )
    Console().print(table)

"""The whole chain on the packaged CT: pairs -> VQ-GAN -> latent diffusion -> bones suppressed on held-out bodies.

Each stage is what a user would run: the pairs lie in the BS-LDM layout, both trainings are `radiolucent fit` on
configs/vqgan/demo.yaml and configs/suppression/demo.yaml, and the result comes from the saved pipeline folder.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from radiolucent.rendering.demo_pairs import render_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from jsonargparse import ArgumentParser, Namespace
    from torch import Tensor

SIZE = 128  # pixels
BATCH = 2  # pairs, of the VQ-GAN
MONTAGE_ROWS = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Options of the demo.

    Args:
        parser: Takes them.
    """
    parser.add_argument("--out", type=str, required=True, help="folder for pairs, models, results.json and montage.png")
    parser.add_argument("--bodies", type=int, default=40, help="body shapes to render, 8 poses each")
    parser.add_argument("--held-out", type=int, default=4, help="bodies kept for the test")
    parser.add_argument("--vqgan-epochs", type=int, default=3, help="passes of the VQ-GAN over the pairs")
    parser.add_argument("--diffusion-steps", type=int, default=700, help="optimisation steps of the diffusion model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that render")


@contextmanager
def stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Print the stage's name, and keep its wall-clock seconds.

    Args:
        name: Of the stage, also its key in `seconds`.
        seconds: Takes the stage's duration, to a tenth, unless the stage fails.

    Yields:
        Nothing.
    """
    print(f"\n== {name} ==", flush=True)
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 1)


def fit(config: str, out: Path, overrides: dict[str, object]) -> None:
    """`radiolucent fit --config configs/... --key value ...`, printed as a user would type it.

    Args:
        config: Below configs/.
        out: The training's folder.
        overrides: {key: value}.
    """
    from radiolucent.commands.fit import main

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    options = [f"--{key}={value}" for key, value in overrides.items()]
    path = files("configs").joinpath(config)
    print(f"radiolucent fit --config configs/{config} {' '.join(options)}", flush=True)
    main(["fit", "--config", str(path), f"--trainer.default_root_dir={out}", *options])


def read_pairs(folder: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """Radiographs and their soft-tissue images as tensors (N, 1, H, W) in [-1, 1].

    Args:
        folder: In the BS-LDM layout: CXR/NAME and BS/NAME.
        names: Of the pairs, with their suffix; all of one size.

    Returns:
        Radiographs and soft tissue, float32, bones bright, in the order of the names.
    """
    import torch

    from radiographs import read_radiograph

    radiograph, soft = (
        torch.stack([torch.from_numpy(read_radiograph(folder / kind / name).pixels)[None] for name in names])
        for kind in ("CXR", "BS")
    )
    return radiograph, soft


def score(radiograph: Tensor, soft: Tensor, suppressed: Tensor, reconstructed: Tensor) -> dict[str, float]:
    """Scores of doing nothing, of the autoencoder alone, and of the model.

    Args:
        radiograph: (N, 1, H, W) in [-1, 1].
        soft: (N, 1, H, W), the truth.
        suppressed: (N, 1, H, W), the model's.
        reconstructed: (N, 1, H, W), the truth by way of the autoencoder.

    Returns:
        psnr_*, psnr_fit_*, ssim_* and bsr_two_sided_* of each.
    """
    from evaluation import suppression_scores

    methods = {"do_nothing": radiograph, "autoencoder_ceiling": reconstructed, "suppressed": suppressed}
    results = {}
    for method, image in methods.items():
        for metric, value in suppression_scores(image, soft, radiograph).items():
            results[f"{metric}_{method}"] = round(value, 4)
    return results


def draw(out: Path, names: list[str], radiograph: Tensor, suppressed: Tensor, soft: Tensor) -> Path:
    """Write montage.png: input, result, truth and difference of the first held-out poses, enlarged twice.

    Args:
        out: Folder.
        names: Of the images.
        radiograph: (N, 1, H, W) in [-1, 1].
        suppressed: (N, 1, H, W).
        soft: (N, 1, H, W), the truth.

    Returns:
        The file.
    """
    from evaluation.reporting.montage import montage, to_grey

    def enlarged(image: Tensor, span: float = 1.0) -> np.ndarray:
        return to_grey(image[0].numpy(), -span, span).repeat(2, axis=0).repeat(2, axis=1)

    rows = [
        [enlarged(radiograph[i]), enlarged(suppressed[i]), enlarged(soft[i]), enlarged(suppressed[i] - soft[i], 0.5)]
        for i in range(min(MONTAGE_ROWS, len(names)))
    ]
    titles = ["radiograph", "bones suppressed", "truth", "difference, 2x contrast"]
    return montage(rows, titles, out / "montage.png", row_labels=names)


def print_table(results: dict[str, float]) -> None:
    """The scores, a method a row.

    Args:
        results: As `score` returns them, {METRIC_METHOD: mean over the held-out bodies}.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "PSNR (dB)", "PSNR after fit (dB)", "SSIM", "two-sided BSR", title="held-out bodies")
    for method, label in (
        ("do_nothing", "doing nothing"),
        ("suppressed", "bones suppressed"),
        ("autoencoder_ceiling", "autoencoder alone (ceiling)"),
    ):
        values = (results[f"{metric}_{method}"] for metric in ("psnr", "psnr_fit", "ssim", "bsr_two_sided"))
        table.add_row(label, *(f"{value:.2f}" if i < 2 else f"{value:.3f}" for i, value in enumerate(values)))
    Console().print(table)


def run(args: Namespace) -> int:
    """Run every stage, and write the scores, the picture and both models below --out.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0.
    """
    import torch

    from diffusion import BoneSuppressionPipeline

    out = Path(args.out)
    pairs = out / "pairs"
    seconds: dict[str, float] = {}
    with stage("render", seconds):
        trained_on, held_out = render_pairs(pairs, args.bodies, args.held_out, SIZE, args.seed, args.workers)
        print(f"{trained_on} pairs to train on, {held_out} held out, {SIZE}x{SIZE}, in {pairs}")
    shared = {"seed_everything": args.seed, "data.init_args.root": pairs}
    with stage("train_vqgan", seconds):
        fit("vqgan/demo.yaml", out / "vqgan", {**shared, "trainer.max_epochs": args.vqgan_epochs})
    with stage("train_diffusion", seconds):
        trained = {"trainer.max_steps": args.diffusion_steps, "model.init_args.vqgan": out / "vqgan/model"}
        fit("suppression/demo.yaml", out / "diffusion", {**shared, **trained})
    with stage("suppress", seconds):
        names = (pairs / "test_set.txt").read_text().split()
        radiograph, soft = read_pairs(pairs, names)
        pipeline = BoneSuppressionPipeline.from_pretrained(out / "diffusion/model")
        suppressed = pipeline(radiograph, num_inference_steps=10).soft
        with torch.no_grad():
            reconstructed = pipeline.vqgan(soft)[0].clamp(-1, 1)
    results = score(radiograph, soft, suppressed, reconstructed)
    results |= {f"seconds_{name}": value for name, value in seconds.items()}
    results |= {"seconds_total": round(sum(seconds.values()), 1), "pairs_train": trained_on, "pairs_held_out": held_out}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    picture = draw(out, names, radiograph, suppressed, soft)
    print_table(results)
    print(f"look at {picture}; then: radiolucent suppress IMAGE --checkpoint {out}/diffusion/model --out suppressed")
    return 0

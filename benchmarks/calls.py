"""Quality against network calls: `python -m benchmarks.calls --pairs FOLDER --teacher MODEL --student MODEL`.

--teacher: a pipeline's folder, sampled by DDIM and by DPM-Solver++ in 1, 2, 4, 10 and 50 calls. --student: the folder
of its distilled network (diffusion.training.distillation), sampled by its own scheduler in 1, 2 and 4. All start from
the same noise, image i from seed i. On the pairs that test_set.txt names, one JSON line a case, means over the images:
PSNR in dB and SSIM against the truth; PSNR in dB against the teacher's 50 calls of DDIM, which is what the student
learns (two noises of the teacher's own are as far apart as the case `teacher, other noise` says); sharpness, the edge
energy (mean squared difference of neighbouring pixels) over the truth's: below 1 is a blur, above 1 noise.
--strip: a picture of some pairs, each case beside the truth.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion import BoneSuppressionPipeline, ThresholdedDDIMScheduler, ThresholdedDPMSolverScheduler
from evaluation.reporting.montage import montage, to_grey
from evaluation.suppression.metrics import psnr, ssim
from radiolucent.commands.demo import read_pairs

CALLS, FEW = (1, 2, 4, 10, 50), (1, 2, 4)
SAMPLERS = {"ddim": ThresholdedDDIMScheduler, "dpm-solver++": ThresholdedDPMSolverScheduler}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder in the BS-LDM layout")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True)
    parser.add_argument("--strip", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 3, 12], help="pairs of the strip")
    options = parser.parse_args()
    names = (options.pairs / "test_set.txt").read_text().split()
    radiograph, soft = read_pairs(options.pairs, names)
    teacher, student = (BoneSuppressionPipeline.from_pretrained(path) for path in (options.teacher, options.student))
    cases = [("teacher", teacher, kind, calls) for kind in SAMPLERS for calls in CALLS]
    cases += [("student", student, "lcm", calls) for calls in FEW]
    images = {}
    for who, pipeline, kind, calls in cases:
        pipeline.set_progress_bar_config(disable=True)
        if kind in SAMPLERS:
            pipeline.scheduler = SAMPLERS[kind].from_config(pipeline.scheduler.config)
        start = time.perf_counter()
        images[who, kind, calls] = pipeline(radiograph, num_inference_steps=calls).soft, time.perf_counter() - start
    wanted = images["teacher", "ddim", max(CALLS)][0]
    start, teacher.scheduler = time.perf_counter(), SAMPLERS["ddim"].from_config(teacher.scheduler.config)
    other = teacher(radiograph, max(CALLS), seeds=range(len(names), 2 * len(names))).soft
    images["teacher, other noise", "ddim", max(CALLS)] = other, time.perf_counter() - start
    for (who, kind, calls), (image, seconds) in images.items():
        row = {"benchmark": "calls", "network": who, "sampler": kind, "calls": calls}
        print(json.dumps(row | scores(image, soft, wanted) | {"seconds": round(seconds, 2)}), flush=True)
    nothing = {"benchmark": "calls", "network": "none", "sampler": "none", "calls": 0}
    print(json.dumps(nothing | scores(radiograph, soft, wanted)))
    if options.strip:
        draw(options.strip, options.rows, radiograph, soft, {key: image for key, (image, _) in images.items()})


def scores(image: Tensor, truth: Tensor, wanted: Tensor) -> dict[str, float]:
    """Means over images (B, 1, H, W): psnr, ssim, psnr_to_teacher and sharpness."""
    values = {"psnr": psnr(image, truth), "ssim": ssim(image, truth), "sharpness": edges(image) / edges(truth)}
    if not torch.equal(image, wanted):
        values["psnr_to_teacher"] = psnr(image, wanted)
    return {name: round(value.mean().item(), 3) for name, value in values.items()}


def edges(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels (B,) of images (B, 1, H, W)."""
    return sum(image.diff(dim=dim).square().mean(dim=(1, 2, 3)) for dim in (2, 3))  # type: ignore[return-value]


def draw(path: Path, rows: list[int], radiograph: Tensor, soft: Tensor, images: dict[Any, Tensor]) -> None:
    """Radiograph, truth, the teacher's most calls, its fewest, and the student's, a pair a row."""
    shown = [("teacher", "ddim", calls) for calls in (max(CALLS), *FEW)] + [("student", "lcm", calls) for calls in FEW]
    columns = [radiograph, soft, *(images[key] for key in shown)]
    titles = ["radiograph", "truth", *(f"{who}, {calls}" for who, _, calls in shown)]
    grey = [[to_grey(column[i, 0].numpy()).repeat(2, 0).repeat(2, 1) for column in columns] for i in rows]
    montage(grey, titles, path)


if __name__ == "__main__":
    main()

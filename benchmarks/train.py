"""A training step of ours against the published one: `python -m benchmarks.train [--scale published] [--cases all]`.

Published: BS-LDM's step written out plainly. The frozen VQ-GAN encodes the radiograph and then the soft-tissue image,
noise goes on both latents (none on the condition), attention is a softmax of a matrix product; float32, AdamW, averaged
weights parameter by parameter. Ours: LatentDiffusionModule with the options of the case, the same networks with the
same weights, on the same batch. One JSON line a case: both are stepped in turns; medians in seconds, the ratio
published / ours (the median over the turns; on a CPU also in CPU seconds, for a machine that is shared), and the
seconds that ours took for its first step, which compiles.
--scale published (the default on CUDA) is BS-LDM's sizes: 1024 x 1024 images in batches of 4, 383 million parameters.
reduced (the default on a CPU) is 256 x 256, a VQ-GAN of a quarter of the channels and a U-Net of 8.5 million.
Steps with cached latents are those after the first epoch, which encodes.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from diffusion import ThresholdedDDPMScheduler, build_unet
from lightning_modules.latent_diffusion_module import LatentDiffusionModule
from vqgan import VQGAN

Batch = dict[str, Any]
Step = Callable[[Batch], None]

SCALES: dict[str, dict[str, Any]] = {
    "published": {"image": 1024, "batch": 4, "vqgan": {"channels": 128, "patch": 2}, "unet": {}},
    "reduced": {
        "image": 256,
        "batch": 4,
        "vqgan": {"channels": 32, "patch": 2},
        "unet": {
            "base_channels": 64,
            "multipliers": (1, 1, 2, 2),
            "residual_blocks": 2,
            "attention_levels": (3,),
            "attention_head_dim": 32,
        },
    },
}
EVERYTHING = ("channels_last", "bf16", "compile", "cached", "fused")
CASES: dict[str, tuple[str, ...]] = {
    "none": (),
    **{option: (option,) for option in EVERYTHING},
    "all_but_compile": tuple(option for option in EVERYTHING if option != "compile"),
    "all": EVERYTHING,
}


def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SCALES), default="published" if cuda else "reduced")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--batch-size", type=int, help="instead of the scale's")
    parser.add_argument("--repeats", type=int, default=7, help="steps of each, after two that are not timed")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*self.log.*")  # there is no Trainer here
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    device = torch.device("cuda" if cuda else "cpu")
    scale = SCALES[options.scale]
    batch = random_batch(scale["image"], options.batch_size or scale["batch"], device)
    torch.manual_seed(0)
    vqgan: Any = VQGAN(**scale["vqgan"])
    unet: Any = build_unet(**scale["unet"])
    vqgan, unet = vqgan.to(device), unet.to(device)
    theirs = published_step(vqgan, copy.deepcopy(unet))
    described = {
        "benchmark": "train",
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "scale": options.scale,
        "image": scale["image"],
        "batch": len(batch["name"]),
        "unet_parameters": sum(parameter.numel() for parameter in unet.parameters()),
    }
    for name in options.cases:
        ours = our_step(copy.deepcopy(vqgan), copy.deepcopy(unet), CASES[name])
        times = alternate(theirs, ours, batch, options.repeats)
        print(json.dumps({**described, "case": name, "options": CASES[name], **times}), flush=True)
        torch.compiler.reset()


def random_batch(side: int, size: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(size, 1, side, side, generator=generator).mul(2).sub(1).to(device) for _ in range(2)]
    return {"radiograph": images[0], "soft": images[1], "name": [str(number) for number in range(size)]}


def published_step(vqgan: VQGAN, unet: Any) -> Step:
    """BS-LDM's step (see ../shared/bs-ldm-spec.md), with its EMA as torch_ema computes it."""
    vqgan.requires_grad_(False).eval()
    for module in unet.train().modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
    scheduler: Any = ThresholdedDDPMScheduler()
    averages = [parameter.detach().clone() for parameter in unet.parameters()]
    optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-4)

    def encode(image: Tensor) -> Tensor:
        return vqgan.quantize(vqgan.encode(image))[0]

    def step(batch: Batch) -> None:
        with torch.no_grad():
            condition, soft = encode(batch["radiograph"]), encode(batch["soft"])
        noise = torch.randn_like(soft) + 0.1 * torch.randn(*soft.shape[:2], 1, 1, device=soft.device)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(soft),), device=soft.device)
        latents, noises = torch.cat([soft, condition], dim=1), torch.cat([noise, torch.zeros_like(noise)], dim=1)
        output = unet(scheduler.add_noise(latents, noises, timesteps), timesteps).sample
        loss = torch.nn.functional.mse_loss(output[:, : soft.shape[1]], noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(averages, unet.parameters()):
                average.sub_((1 - 0.995) * (average - parameter))

    return step


def our_step(vqgan: VQGAN, unet: Any, options: tuple[str, ...]) -> Step:
    """LatentDiffusionModule's, as a Trainer drives it."""
    device = unet.device
    module = LatentDiffusionModule(
        vqgan,
        unet.train(),
        ThresholdedDDPMScheduler(),
        measure_latents=False,
        cache_latents="cached" in options,
        channels_last="channels_last" in options,
        compile="compile" in options,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=2e-4, fused="fused" in options or None),
    )
    module.setup("fit")
    module.to(device)  # so that module.device is known
    optimizer = module.configure_optimizers()

    def step(batch: Batch) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in options):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.ema.update_parameters(module.unet)

    return step


def alternate(theirs: Step, ours: Step, batch: Batch, repeats: int) -> dict[str, float]:
    """Seconds of both and the ratios, after each has been stepped twice."""
    first, _ = seconds(ours, batch)
    for step in (theirs, theirs, ours):
        step(batch)
    turns = [(*seconds(theirs, batch), *seconds(ours, batch)) for _ in range(repeats)]
    found = {
        "published_s": round(statistics.median(turn[0] for turn in turns), 4),
        "ours_s": round(statistics.median(turn[2] for turn in turns), 4),
        "times_published": round(statistics.median(turn[0] / turn[2] for turn in turns), 2),
        "first_step_s": round(first, 2),
    }
    if not torch.cuda.is_available():
        found["times_published_cpu"] = round(statistics.median(turn[1] / turn[3] for turn in turns), 2)
    return found


def seconds(step: Step, batch: Batch) -> tuple[float, float]:
    """Wall clock and CPU seconds of a step."""
    synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    step(batch)
    synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

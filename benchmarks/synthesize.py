"""Where `radiolucent synthesize` spends its time: `python -m benchmarks.synthesize [--checkpoint DIR] [--steps 4 20]`.

One batch of rows is drawn and written by the command's own work function, with the model already loaded. One JSON line
for each number of steps: images a second, and the shares of the wall time in the denoising network, in the text encoder
and in the decoder, which works beside the network, as writing does (so the shares may add up to more than 1); the rest
is the sampler and the noise. Without a checkpoint: a latent diffusion model of 256 x 256 pixels with random weights,
views alone (2 conditions, guidance 3); a student of consistency distillation is timed as `--guidance view=1`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radiolucent.commands.synthesize import draw_rows
from radiolucent.synthesis.generators import GeneratorOptions, load_generator, pipeline_class, read_guidance
from radiolucent.synthesis.prompts import Row


def save_random_model(folder: Path) -> None:
    """A SynthesisPipeline of 256 x 256 pixels: f = 8, a U-Net of 64 to 256 channels."""
    from diffusers import UNet2DConditionModel

    from diffusion import Conditioner, SynthesisPipeline, ThresholdedDDIMScheduler
    from vqgan import VQGAN

    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128, 256),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
        cross_attention_dim=128,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=128,
    )
    vqgan = VQGAN(channels=32, channel_multipliers=(1, 1, 2, 2), residual_blocks=1, resolution=256)
    scheduler = ThresholdedDDIMScheduler(prediction_type="v_prediction")
    SynthesisPipeline(vqgan, unet, scheduler, Conditioner(128, 0), image_size=256).save_pretrained(folder)


class Clock:
    """Wall seconds inside a module's forward, or inside a function that it has."""

    def __init__(self, cuda: bool) -> None:
        self.cuda, self.spans = cuda, list[float]()

    def time(self, owner: Any, name: str) -> None:
        """Time every call of `owner.name` from now on."""
        inner = getattr(owner, name)

        def timed(*given: Any, **named: Any) -> Any:
            start = self._now()
            result = inner(*given, **named)
            self.spans.append(self._now() - start)
            return result

        setattr(owner, name, timed)

    def _now(self) -> float:
        if self.cuda:
            torch.cuda.current_stream().synchronize()  # of this thread; the other one decodes
        return time.perf_counter()


def add_clocks(generator: Any, cuda: bool) -> dict[str, Clock]:
    """Clocks on the network, the text encoders and the decoder."""
    pipeline = generator.pipeline
    clocks = {name: Clock(cuda) for name in ("network", "text", "decoder")}
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    autoencoder = getattr(pipeline, "vqgan", None) or pipeline.vae
    clocks["network"].time(network, "forward")
    clocks["decoder"].time(autoencoder, "decode")
    texts = [value for name, value in pipeline.components.items() if name.startswith("text_encoder")]
    for encoder in (text for text in texts if isinstance(text, nn.Module)):
        clocks["text"].time(encoder, "forward")
    if getattr(generator, "encoder", None) is not None:
        clocks["text"].time(generator.encoder.parts[0], "forward")
    return clocks


def measure(options: GeneratorOptions, rows: list[Row]) -> dict[str, Any]:
    """Draw and write the rows once."""
    generator = load_generator(options)
    clocks = add_clocks(generator, options.device == "cuda")
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        draw_rows(rows, out=out, options=options, bits=8, settings="benchmark")
        wall = time.perf_counter() - start
    return {
        "benchmark": "synthesize",
        "steps": options.steps,
        "images_per_s": round(len(rows) / wall, 3),
        **{f"{name}_share": round(sum(clock.spans) / wall, 3) for name, clock in clocks.items()},
        "device": options.device,
        "micro_batch": options.micro_batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 10, 20, 50])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--guidance", nargs="*")
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.checkpoint is None:
            save_random_model(Path(folder))
        checkpoint = given.checkpoint or folder
        own = pipeline_class(checkpoint) == "SynthesisPipeline"
        scales = given.guidance or (["view=3"] if own else ["4.5"])
        options = GeneratorOptions(
            checkpoint,
            1,
            read_guidance(scales, own),
            micro_batch=given.micro_batch,
            dtype=given.dtype,
            device=given.device,
        )
        rows = [Row(f"{i}.png", f"Report number {i}.", ("PA", "LL")[i % 2], i) for i in range(given.images)]
        for steps in given.steps:
            print(json.dumps(measure(dataclasses.replace(options, steps=steps), rows)), flush=True)


if __name__ == "__main__":
    main()

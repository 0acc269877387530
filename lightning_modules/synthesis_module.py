"""SynthesisModule: training of a latent diffusion model from views, reports, demographics and other views."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diffusion.guidance import guidance_terms
from diffusion.latents import Latent, check_latent_options, encode
from diffusion.networks.conditioning import CONDITIONS, Conditioner, Conditions
from diffusion.networks.text import TextEncoder
from diffusion.noise import offset_noise, seeded_generators
from diffusion.pipelines.synthesis import SynthesisPipeline
from diffusion.training.ema import warmed_up_ema
from diffusion.training.synthesis_distillation import check_teacher, synthesis_distillation_loss
from diffusion.training.synthesis_objective import (
    check_networks,
    check_synthesis_scheduler,
    synthesis_loss,
    training_times,
)
from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import Spread, among_first, image_seeds, own_images, unit_scale
from lightning_modules.schedules import build_schedule
from vqgan.model import VQGAN

logger = logging.getLogger(__name__)


class SynthesisModule(MeasuredModule):
    """Batches are those of lightning_modules.data.reports.ReportDataModule.

    vqgan: a trained VQ-GAN, or the folder of one (read when a run starts), or diffusion.PixelSpace; it stays frozen.
    unet: UNet2DConditionModel or a LatentDiT with cross_attention_dim. conditioner: of the same width.
    scheduler: FlowMatchEulerDiscreteScheduler for flow matching, else the noise schedule and what is predicted.
    sampler: scheduler of validation and of the saved pipeline, the same one where none is given.
    text_encoder: for the reports; None for a conditioner without them (text_width 0).
    teacher: a SynthesisPipeline's folder to distil (diffusion.training.synthesis_distillation), `teacher_guidance`
        folded in, on a grid of `solver_steps`: `vqgan` and the first weights are its, and `ema` is the target.
    image_size: side S of the batches' images in pixels; latent: see diffusion.latents.
    offset_noise_strength: see diffusion.noise; min_snr_gamma: see diffusion.training.objectives, not for flow matching.
    dropout: {condition: how often training leaves it out}, 0.1 where none is given; unconditional: how often all are.
    measure_latents: before the first step, set vqgan.config.scaling_factor so that the first batch's latents, of all
        processes, have standard deviation 1 (Rombach et al., arXiv 2112.10752, appendix G).
    cache_latents: keep each image's latent, by name, as float16 in the CPU's memory.
    ema_decay: of the averaged networks, `ema`, which validation, prediction and the pipeline use.
    optimizer: AdamW at 1e-4 by default. lr_scheduler: of its rate, stepped each `lr_interval`.
    validation_images: images, the first ones, that validation samples, in `sampling_steps` steps with `guidance`.
    seed: of noise, times and dropout. In training they depend on it, the epoch and the batch's number alone; in
        measuring and in prediction on it and the image's name, whatever the batches and processes.
    """

    def __init__(
        self,
        vqgan: ModelMixin | str,
        unet: ModelMixin,
        scheduler: SchedulerMixin,
        conditioner: Conditioner,
        text_encoder: TextEncoder | None = None,
        sampler: SchedulerMixin | None = None,
        image_size: int = 512,
        latent: Latent = "continuous",
        offset_noise_strength: float = 0.0,
        min_snr_gamma: float | None = None,
        dropout: dict[str, float] | None = None,
        unconditional: float = 0.05,
        measure_latents: bool = True,
        cache_latents: bool = False,
        ema_decay: float = 0.9999,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "epoch",
        validation_images: int = 4,
        sampling_steps: int = 50,
        guidance: dict[str, float] | None = None,
        teacher: str | None = None,
        teacher_guidance: dict[str, float] | None = None,
        solver_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_latent_options("soft", latent)
        check_networks(unet, conditioner)
        for one in (scheduler, sampler or scheduler):
            check_synthesis_scheduler(one)
        self.dropout = _check_dropout(dropout, unconditional, conditioner.conditions)
        self.unconditional = unconditional
        self.vqgan: Any
        self.vqgan_folder = vqgan if isinstance(vqgan, str) else None
        if not isinstance(vqgan, str):
            self.vqgan = vqgan.requires_grad_(False).eval()
        self.networks = nn.ModuleDict({"unet": unet, "conditioner": conditioner})
        self.ema = AveragedModel(self.networks, multi_avg_fn=warmed_up_ema(ema_decay)).requires_grad_(False).eval()
        self.scheduler: Any = scheduler
        self.sampler: Any = sampler or scheduler
        self.text_encoder = text_encoder
        self.image_size, self.latent = image_size, latent
        self.offset_noise_strength, self.min_snr_gamma = offset_noise_strength, min_snr_gamma
        self.measured = not measure_latents
        self.cache: dict[str, Tensor] | None = {} if cache_latents else None
        self.optimizer, self.lr_scheduler, self.lr_interval = optimizer, lr_scheduler, lr_interval
        self.validation_images, self.sampling_steps = validation_images, sampling_steps
        self.guidance, self.seed = guidance or {}, seed
        self.teacher_folder, self.solver_steps = teacher, solver_steps
        self.teacher_terms = guidance_terms(conditioner.conditions, teacher_guidance or {})
        self.teacher: Any = None

    def setup(self, stage: str) -> None:
        if self.vqgan_folder is not None and not hasattr(self, "vqgan"):
            vqgan = VQGAN.from_pretrained(self.vqgan_folder, low_cpu_mem_usage=False)
            self.vqgan = vqgan.requires_grad_(False).eval()
        if self.teacher_folder is not None and self.teacher is None:
            self._learn_from(SynthesisPipeline.from_pretrained(self.teacher_folder))
        width = 0 if self.text_encoder is None else self.text_encoder.width
        conditioner: Any = self.networks["conditioner"]
        wanted = conditioner.config["text_width"]
        if width != wanted:
            raise ValueError(
                f"the text encoder's embeddings are {width} wide and the conditioner's text_width {wanted}"
            )

    def _learn_from(self, pipeline: SynthesisPipeline) -> None:
        """Start as the teacher, between the same latents. ValueError for a teacher of another form."""
        fingerprint = None if self.text_encoder is None else self.text_encoder.fingerprint
        check_teacher(pipeline, self.scheduler, self.latent, fingerprint)
        self.vqgan, self.measured = pipeline.vqgan.requires_grad_(False), True
        self.teacher = nn.ModuleDict({"unet": pipeline.unet, "conditioner": pipeline.conditioner}).requires_grad_(False)
        for networks in (self.networks, self.ema.module):
            try:
                networks.load_state_dict(self.teacher.state_dict())
            except RuntimeError:
                raise ValueError("the teacher's networks are of other sizes: give these its options") from None

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.networks.parameters())
        if self.lr_scheduler is None:
            return optimizer
        schedule = build_schedule(self.lr_scheduler, optimizer, self, self.lr_interval)
        return [optimizer], [{"scheduler": schedule, "interval": self.lr_interval}]

    def pipeline(self) -> SynthesisPipeline:
        """The model as it stands, with the averaged networks and the text encoder, which its conditioner names too."""
        unet, conditioner = (self.ema.module[name] for name in ("unet", "conditioner"))  # type: ignore[index]
        if self.text_encoder is not None:
            conditioner.register_to_config(
                text_encoder=self.text_encoder.source, text_fingerprint=self.text_encoder.fingerprint
            )
        text = () if self.text_encoder is None else self.text_encoder.components()
        parts = (self.vqgan, unet, self.sampler, conditioner)
        pipeline = SynthesisPipeline(*parts, self.image_size, self.latent, self.sampling_steps, *text)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @torch.no_grad()
    def latents(self, images: Tensor, names: Sequence[str]) -> Tensor:
        """Scaled latents (B, C, h, w), float32, of images (B, 1, S, S) that are known by name."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"the images are {images.shape[-2]} x {images.shape[-1]} and image_size is {self.image_size}: make the "
                "model's image_size the data's"
            )
        if self.cache is None:
            return encode(self.vqgan, images, self.latent).float()
        missing = [i for i, name in enumerate(names) if name not in self.cache]
        if missing:
            new = encode(self.vqgan, images[missing], self.latent).half().cpu()
            self.cache.update(zip([names[i] for i in missing], new))
        return torch.stack([self.cache[name] for name in names]).to(self.device).float()

    def conditions(self, batch: dict[str, Any], x0: Tensor) -> Conditions:
        """What a batch's images are described by; x0 (B, C, h, w) are its latents."""
        conditioner: Any = self.networks["conditioner"]
        embeddings, mask = self._embed(batch)
        image = None
        if conditioner.config.images:
            image = x0.new_zeros(len(x0), conditioner.config.images, *x0.shape[1:])
            there = [(b, k) for b, row in enumerate(batch["image_names"]) for k, name in enumerate(row) if name]
            if there:
                rows, places = map(list, zip(*there))
                names = [batch["image_names"][b][k] for b, k in there]
                image[rows, places] = self.latents(batch["images"][rows, places], names)
        return conditioner.prepare(
            batch["view"],
            embeddings,
            mask,
            batch["demographics"] if conditioner.config.demographics else None,
            image,
            batch["image_views"] if image is not None else None,
        ).to(self.device, torch.float32)

    def _embed(self, batch: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        if self.text_encoder is None:
            return None, None
        before = len(self.text_encoder.truncated)
        embedded = self.text_encoder(batch["report"], batch["name"])
        cut = len(self.text_encoder.truncated)
        if cut > before:
            logger.warning("%d reports so far were cut at %d tokens", cut, self.text_encoder.limit)
        return embedded

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        if self.measured:
            return
        spread = Spread()
        spread.add(self.latents(batch["radiograph"], batch["name"]))
        self.vqgan.register_to_config(scaling_factor=unit_scale(self.vqgan.config.scaling_factor, spread.collect()))
        if self.cache is not None:
            self.cache.clear()
        self.measured = True

    def _loss(self, batch: dict[str, Any], networks: Any, stage: int, batch_idx: int) -> Tensor:
        generators = self._generators(batch, stage, batch_idx)
        x0 = self.latents(batch["radiograph"], batch["name"])
        given = self.conditions(batch, x0)
        if stage == 0:
            given = self._drop(given, generators[0])
        each = len(x0) // len(generators)
        shape = (each, *x0.shape[1:])
        noise = torch.cat([offset_noise(shape, self.offset_noise_strength, one) for one in generators]).to(x0.device)
        if self.teacher is not None:
            index = torch.cat([torch.randint(0, self.solver_steps, (each,), generator=one) for one in generators])
            index = index.to(x0.device)
            target: Any = self.ema.module
            given_to = (self.scheduler, x0, given, noise, index, self.teacher_terms, self.solver_steps)
            return synthesis_distillation_loss(networks, target, self.teacher, *given_to)
        times = torch.cat([training_times(self.scheduler, each, one) for one in generators]).to(x0.device)
        context = networks["conditioner"](given)
        return synthesis_loss(networks["unet"], self.scheduler, x0, given, context, noise, times, self.min_snr_gamma)

    def _generators(self, batch: dict[str, Any], stage: int, batch_idx: int) -> list[torch.Generator]:
        """One for a batch of training (stage 0), one an image for measuring, which asks the same of every epoch."""
        if stage:
            return seeded_generators(image_seeds(batch, self.seed, stage))
        seeds = [self.seed, stage, self.global_rank, self.current_epoch, batch_idx]
        return seeded_generators(np.random.SeedSequence(seeds).generate_state(1).tolist())

    def _drop(self, given: Conditions, generator: torch.Generator) -> Conditions:
        everything = torch.rand(len(given.view), generator=generator) < self.unconditional
        for name, rate in self.dropout.items():
            alone = torch.rand(len(given.view), generator=generator) < rate
            given = given.without(name, alone | everything)
        return given

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, self.networks, 0, batch_idx)
        self.log_step({"train/loss": loss})
        return loss

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        self.ema.update_parameters(self.networks)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        return self._evaluate(batch, batch_idx, "val", self.validation_images)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        return self._evaluate(batch, batch_idx, "test", 0)

    def _evaluate(self, batch: dict[str, Any], batch_idx: int, stage: str, images: int) -> Tensor | None:
        """Measure the averaged networks' loss; the first `images` are sampled and returned."""
        batch, count = own_images(batch)
        if not count:
            return None
        self.means.add(f"{stage}/loss", self._loss(batch, self.ema.module, 1, batch_idx), count)
        sampled = among_first(batch, batch_idx, images)
        return self.predict_step({key: value[:sampled] for key, value in batch.items()}, batch_idx) if sampled else None

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Images (B, 1, S, S) of a batch's views and reports; each depends on `seed` and its name, not on its batch."""
        embeddings, mask = self._embed(batch)
        config: Any = self.networks["conditioner"].config
        images = self.pipeline()(
            batch["view"],
            embeddings,
            mask,
            batch["demographics"] if config.demographics else None,
            batch["images"] if config.images else None,
            batch["image_views"] if config.images else None,
            num_inference_steps=self.sampling_steps,
            guidance=self.guidance,
            seeds=image_seeds(batch, self.seed),
        ).images
        return images.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["scaling_factor"] = self.vqgan.config.scaling_factor

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.vqgan.register_to_config(scaling_factor=checkpoint["scaling_factor"])
        self.measured = True


def _check_dropout(
    dropout: Mapping[str, float] | None, unconditional: float, conditions: Sequence[str]
) -> dict[str, float]:
    """The rate of each condition that the model has."""
    rates = dict.fromkeys(CONDITIONS, 0.1) | dict(dropout or {})
    unknown = set(rates) - set(CONDITIONS)
    if unknown or not all(0 <= rate <= 1 for rate in (*rates.values(), unconditional)):
        raise ValueError(
            f"dropout is {dict(dropout or {})}, unconditional {unconditional}; expected rates from 0 to 1 of "
            f"{', '.join(CONDITIONS)}"
        )
    return {name: rates[name] for name in conditions}

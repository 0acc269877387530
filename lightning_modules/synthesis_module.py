"""SynthesisModule: training of a latent diffusion model from views, reports, demographics and other views."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from diffusion.guidance import guidance_terms
from diffusion.latents import Latent, check_latent_options
from diffusion.networks.conditioning import Conditioner
from diffusion.networks.conditions import Conditions
from diffusion.networks.text import TextEncoder
from diffusion.noise import offset_noise
from diffusion.pipelines.synthesis import SynthesisPipeline
from diffusion.training.condition_dropout import drop_conditions, dropout_rates
from diffusion.training.synthesis_distillation import check_teacher, synthesis_distillation_loss
from diffusion.training.synthesis_objective import (
    check_networks,
    check_synthesis_scheduler,
    place_weights,
    plan_loss,
    synthesis_loss,
    training_times,
)
from diffusion.training.warm_start import check_start, first_weights
from lightning_modules.data.asked import asked_for, check_text_width
from lightning_modules.named_latent_module import UNSAVED_SIZE, NamedLatentModule
from lightning_modules.processes import image_seeds


class SynthesisModule(NamedLatentModule):
    """Training of synthesis, on the batches of lightning_modules.data.reports.ReportDataModule.

    Args:
        vqgan: A trained VQ-GAN, or the folder of one (read when a run starts), or diffusion.PixelSpace; it stays
            frozen.
        unet: UNet2DConditionModel or a LatentDiT with cross_attention_dim.
        scheduler: FlowMatchEulerDiscreteScheduler for flow matching, else the noise schedule and what is predicted.
        conditioner: Of the network's width.
        text_encoder: For the reports; null for a conditioner without them (text_width 0).
        sampler: Scheduler of validation and of the saved pipeline; null: the same one.
        image_size: Side S of the batches' images in pixels; null: as the DataModule has it.
        latent: `quantized` or `continuous`, see diffusion.latents.
        offset_noise_strength: Of the constant that is added to the noise, see diffusion.noise.
        min_snr_gamma: Bound on the signal-to-noise ratio in the loss's weights, see diffusion.training.objectives;
            without effect in flow matching.
        place_weight: How much more the error counts where findings lie: what each adds, however small it is, in units
            of the whole picture's weight (diffusion.training.synthesis_objective.place_weights). It needs maps of
            regions in the batches, and has no effect with a teacher.
        dropout: {condition: how often training leaves it out}, in [0, 1]; 0.1 for those that are not named.
        unconditional: How often training leaves all conditions out.
        measure_latents: Before the first step, set vqgan.config.scaling_factor so that the first batch's latents, of
            all processes, have standard deviation 1 (Rombach et al., arXiv:2112.10752, appendix G).
        cache_latents: Keep each image's latent, by name, as float16 in the CPU's memory.
        ema_decay: Of the averaged networks, `ema`, which validation, prediction and the pipeline use.
        optimizer: AdamW at 1e-4 by default.
        lr_scheduler: Of the optimizer's rate; null: constant.
        lr_interval: What lr_scheduler is stepped by.
        validation_images: Images, the first ones, that validation samples.
        sampling_steps: Steps of that sampling, of prediction and of the saved pipeline.
        guidance: {condition: scale} of sampling, see diffusion.guidance; 1 for those that are not named.
        teacher: A SynthesisPipeline's folder to distil (diffusion.training.synthesis_distillation): `vqgan` and the
            first weights are its, and `ema` is the target.
        teacher_guidance: {condition: scale} of the teacher, folded in.
        solver_steps: Steps of the grid on which a teacher is distilled.
        start: A SynthesisPipeline's folder whose `vqgan` and weights training begins with; it may know fewer
            conditions (diffusion.training.warm_start). A resumed checkpoint brings its own.
        seed: Of noise, times and dropout. In training they depend on it, the epoch and the batch's number alone; in
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
        image_size: int | None = None,
        latent: Latent = "continuous",
        offset_noise_strength: float = 0.0,
        min_snr_gamma: float | None = None,
        place_weight: float = 0.0,
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
        start: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_latent_options("soft", latent)
        check_networks(unet, conditioner)
        if place_weight < 0 or (place_weight and not conditioner.config["regions"]):
            raise ValueError(
                f"place_weight is {place_weight}: it must be 0, or above with a conditioner that has regions"
            )
        for one in (scheduler, sampler or scheduler):
            check_synthesis_scheduler(one)
        self.dropout = dropout_rates(dropout, unconditional, conditioner.conditions)
        self.unconditional = unconditional
        self.keep_vqgan(vqgan)
        self.networks = nn.ModuleDict({"unet": unet, "conditioner": conditioner})
        self.average(ema_decay)
        self.scheduler: Any = scheduler
        self.sampler: Any = sampler or scheduler
        self.text_encoder = text_encoder
        self.image_size = image_size
        self.latent = latent
        self.offset_noise_strength, self.min_snr_gamma = offset_noise_strength, min_snr_gamma
        self.place_weight = place_weight
        self.measured = not measure_latents
        self.cache: dict[str, Tensor] | None = {} if cache_latents else None
        self.learn_by(optimizer, lr_scheduler, lr_interval)
        self.validation_images, self.sampling_steps = validation_images, sampling_steps
        self.guidance, self.seed = guidance or {}, seed
        self.teacher_folder, self.solver_steps, self.start = teacher, solver_steps, start
        self.teacher_terms = guidance_terms(conditioner.conditions, teacher_guidance or {})
        self.teacher: Any = None
        self.trained_views = None

    def setup(self, stage: str) -> None:
        """Read what was given as folders.

        Args:
            stage: "fit", "validate", "test" or "predict".

        Raises:
            ValueError: The text encoder's embeddings are not as wide as the conditioner expects.
        """
        self.read_vqgan()
        if self.image_size is None and self._trainer is not None:
            self.image_size = getattr(self.trainer.datamodule, "image_size", None)  # type: ignore[attr-defined]
        if stage == "fit" and self._trainer is not None:
            self.trained_views = getattr(self.trainer.datamodule, "trained_views", None)  # type: ignore[attr-defined]
        fingerprint = None if self.text_encoder is None else self.text_encoder.fingerprint
        if self.teacher_folder is not None and self.teacher is None:
            pipeline = SynthesisPipeline.from_pretrained(self.teacher_folder)
            check_teacher(pipeline, self.scheduler, self.latent, fingerprint)
            parts = {"unet": pipeline.unet, "conditioner": pipeline.conditioner}
            self.teacher = nn.ModuleDict(parts).requires_grad_(False)
            self._begin(pipeline, self.teacher.state_dict())
        if self.start is not None and stage == "fit":
            pipeline = SynthesisPipeline.from_pretrained(self.start)
            check_start(pipeline, self.scheduler, self.latent, fingerprint)
            self._begin(pipeline, first_weights(pipeline, self.networks))
        check_text_width(self.text_encoder, self.networks["conditioner"].config)

    def _begin(self, pipeline: SynthesisPipeline, weights: dict[str, Tensor]) -> None:
        """Begin between a pipeline's latents, with weights. ValueError for those of other networks."""
        self.vqgan, self.measured = pipeline.vqgan.requires_grad_(False).eval(), True
        for networks in (self.networks, self.ema.module):
            try:
                networks.load_state_dict(weights)
            except RuntimeError:
                raise ValueError("the networks to begin with are of other sizes: give these their options") from None

    @property
    def trained(self) -> nn.Module:
        """The networks that the optimizer changes."""
        return self.networks

    def pipeline(self) -> SynthesisPipeline:
        """The model as it stands.

        Returns:
            With the averaged networks and the text encoder, which its conditioner names too.
        """
        unet, conditioner = (self.ema.module[name] for name in ("unet", "conditioner"))  # type: ignore[index]
        if self.text_encoder is not None:
            conditioner.register_to_config(
                text_encoder=self.text_encoder.source, text_fingerprint=self.text_encoder.fingerprint
            )
        text = () if self.text_encoder is None else self.text_encoder.components()
        parts = (self.vqgan, unet, self.sampler, conditioner, self.image_size or UNSAVED_SIZE)
        pipeline = SynthesisPipeline(*parts, self.latent, self.sampling_steps, *text)
        pipeline.register_to_config(trained_views=self.trained_views)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def conditions(self, batch: dict[str, Any], x0: Tensor) -> Conditions:
        """What a batch's images are described by.

        Args:
            batch: Of ReportDataModule.
            x0: Its latents (B, C, h, w).

        Returns:
            Conditions, on the module's device.
        """
        conditioner: Any = self.networks["conditioner"]
        asked = asked_for(batch, conditioner.config, self.text_encoder)
        given = conditioner.prepare(asked.views, *asked.text, asked.demographics, region=asked.regions)
        if asked.images is not None:
            image = x0.new_zeros(len(x0), conditioner.config.images, *x0.shape[1:])
            there = [(b, k) for b, row in enumerate(batch["image_names"]) for k, name in enumerate(row) if name]
            if there:
                rows, places = map(list, zip(*there))
                names = [batch["image_names"][b][k] for b, k in there]
                image[rows, places] = self.latents(asked.images[rows, places], names)
            given = conditioner.with_images(given, image, asked.image_views, asked.image_priors)
        return given.to(self.device, torch.float32)

    def _loss(self, batch: dict[str, Any], networks: Any, stage: int, batch_idx: int) -> Tensor:
        generators = self._generators(batch, stage, batch_idx)
        x0 = self.latents(batch["radiograph"], batch["name"])
        given = self.conditions(batch, x0)
        if stage == 0:
            given = drop_conditions(given, self.dropout, self.unconditional, generators[0])
        each = len(x0) // len(generators)
        shape = (each, *x0.shape[1:])
        noise = torch.cat([offset_noise(shape, self.offset_noise_strength, one) for one in generators]).to(x0.device)
        if self.teacher is not None:
            indices = [torch.randint(0, self.solver_steps, (each,), generator=one) for one in generators]
            index = torch.cat(indices).to(x0.device)
            given_to = (self.scheduler, x0, given, noise, index, self.teacher_terms, self.solver_steps)
            return synthesis_distillation_loss(networks, self.ema.module, self.teacher, *given_to)  # type: ignore[arg-type]
        times = torch.cat([training_times(self.scheduler, each, one) for one in generators]).to(x0.device)
        given, plan = networks["conditioner"].planned(given)
        context = networks["conditioner"](given)
        weight = None
        if self.place_weight and stage == 0:
            weight = place_weights(batch["regions"].to(x0), x0.shape[2:], self.place_weight)
        options = (self.min_snr_gamma, weight)
        loss = synthesis_loss(networks["unet"], self.scheduler, x0, given, context, noise, times, *options)
        return loss if plan is None else loss + plan_loss(plan, batch["regions"].to(plan), given.report_mask.any(1))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Measure the averaged networks' loss; nothing is sampled.

        Args:
            batch: Of ReportDataModule.
            batch_idx: Its number.

        Returns:
            None.
        """
        return self._evaluate(batch, batch_idx, "test", 0)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Draw what a batch's views and reports ask for.

        Args:
            batch: Of ReportDataModule.
            batch_idx: Not used: an image depends on `seed` and its name, not on its batch.

        Returns:
            (B, 1, S, S) in [-1, 1].
        """
        conditioner: Any = self.networks["conditioner"]
        asked = asked_for(batch, conditioner.config, self.text_encoder)
        pipeline = self.pipeline()
        pipeline.register_to_config(trained_views=None)  # held-out data may ask for a view that training had none of
        output: Any = pipeline(
            asked.views,
            *asked.text,
            asked.demographics,
            asked.images,
            asked.image_views,
            num_inference_steps=self.sampling_steps,
            guidance=self.guidance,
            seeds=image_seeds(batch, self.seed),
            regions=asked.regions,
            image_priors=asked.image_priors,
        )
        return output.images.to(self.device)

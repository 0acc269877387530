"""LatentDiffusionModule: training of a conditional latent diffusion model between a frozen VQ-GAN's latents."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from diffusion.contracts import NoiseSchedule
from diffusion.latents import Latent, Target, check_latent_options, to_x0
from diffusion.networks.attention import use_xformers
from diffusion.networks.concatenation import ConditionScaling, check_condition_scaling
from diffusion.noise import offset_noise
from diffusion.pipelines.suppression import BoneSuppressionPipeline
from diffusion.training.distillation import check_solver, check_teacher, distillation_loss
from diffusion.training.objectives import check_scheduler, denoising_loss
from diffusion.training.survival import SurvivalHinge, protected_denoising_loss
from lightning_modules.data.latent_cache import LatentCache, refuse_random_images
from lightning_modules.pair_latent_module import PairLatentModule
from lightning_modules.processes import image_seeds


class LatentDiffusionModule(PairLatentModule):
    """Training of conditional latent diffusion, on batches of "radiograph", "soft" (B, 1, H, W) in [-1, 1] and "name".

    A checkpoint's `state_dict` holds the current network as `unet.*` and the averaged one as `ema.module.*`.

    Args:
        vqgan: A trained VQ-GAN, or the folder of one (read when a run starts), or diffusion.PixelSpace; it stays
            frozen.
        unet: diffusion.build_unet's or a diffusion.LatentDiT.
        scheduler: The noise schedule and what the network predicts.
        sampler: Scheduler of validation and of the saved pipeline; null: the same one.
        condition_scaling: How the condition is scaled, see diffusion.networks.conditioning; `clean` leaves it as it is.
        target: What is diffused, the soft tissue (`soft`) or the difference (`bone`), see diffusion.latents.
        latent: `quantized` as BS-LDM, or `continuous`.
        contrast_sigma: Width in pixels of what is local, to show the networks local contrast (see
            diffusion.networks.local_contrast); null: images as they are.
        image_size: Side in pixels of the whole radiographs that the saved pipeline is for, where training sees crops;
            null: the training images'.
        offset_noise_strength: Of the constant that is added to the noise, see diffusion.noise.
        min_snr_gamma: Bound on the signal-to-noise ratio in the loss's weights, see diffusion.training.objectives; null
            weighs all steps alike.
        condition_dropout: How often training leaves the condition out, in [0, 1], for guidance.
        teacher: A pipeline's folder to distil (diffusion.training.distillation) into this network: `vqgan` and the
            weights then come from it, `unet` and `scheduler` must be of its form, and `ema` is the target.
        solver_steps: Steps of the grid on which a teacher is distilled.
        start: A pipeline's folder whose `vqgan` and weights training starts from; a resumed checkpoint brings its own.
        protection: What is asked of nodules and devices; null: nothing. It needs batches with twins.
        measure_latents: Before the first step, set vqgan.config.scaling_factor, and for target `bone` the residual
            scale, so that the first batch's latents, of all processes, have standard deviation 1 (Rombach et al.,
            arXiv:2112.10752, appendix G).
        mirror: Train on each pair or on its mirror image, drawn anew each time.
        cache_latents: Encode each named pair, and its mirror image, once, and keep the latents in the CPU's memory.
            Refused if the DataModule augments; `mirror` goes with it.
        channels_last: Keep weights and features in that memory format.
        compile: Let torch.compile translate what a training step runs: the U-Net, the teacher, and the encoder unless
            latents are cached. The averaged network, checkpoints and folders stay as they are.
        xformers: Let it compute the U-Net's attention in training, on CUDA (diffusion.networks.attention).
        ema_decay: Of the averaged network, `ema`, which validation, prediction and the pipeline use.
        optimizer: AdamW at 2e-4 by default.
        lr_scheduler: Of the optimizer's rate; null: constant.
        lr_interval: What lr_scheduler is stepped by.
        validation_images: Pairs, the first ones, that validation samples.
        sampling_steps: Steps of that sampling, of prediction and of the saved pipeline.
        guidance_scale: Of sampling, see diffusion.pipelines.sampler; 1 is none.
        seed: Of noise and timesteps. In training they depend on it, the epoch and the batch's number alone; in
            measuring and in prediction on it and the image's name, so that a metric is the same whatever the batches
            and processes.
    """

    def __init__(
        self,
        vqgan: ModelMixin | str,
        unet: ModelMixin,
        scheduler: SchedulerMixin,
        sampler: SchedulerMixin | None = None,
        condition_scaling: ConditionScaling = "clean",
        target: Target = "soft",
        latent: Latent = "quantized",
        contrast_sigma: float | None = None,
        image_size: int | None = None,
        offset_noise_strength: float = 0.1,
        min_snr_gamma: float | None = None,
        condition_dropout: float = 0.0,
        teacher: str | None = None,
        solver_steps: int = 50,
        start: str | None = None,
        protection: SurvivalHinge | None = None,
        measure_latents: bool = True,
        mirror: bool = False,
        cache_latents: bool = False,
        channels_last: bool = False,
        compile: bool = False,
        xformers: bool = False,
        ema_decay: float = 0.995,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=2e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "epoch",
        validation_images: int = 4,
        sampling_steps: int = 50,
        guidance_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_condition_scaling(condition_scaling)
        check_latent_options(target, latent)
        for one in (scheduler, sampler or scheduler):
            check_scheduler(one, target)
        self.keep_vqgan(vqgan)
        self.unet = unet
        self.average(ema_decay)
        self.scheduler = cast(NoiseSchedule, scheduler)
        self.sampler = cast(NoiseSchedule, sampler or scheduler)
        self.condition_scaling, self.target, self.latent = condition_scaling, target, latent
        self.contrast_sigma, self.image_size = contrast_sigma, image_size
        self.offset_noise_strength, self.min_snr_gamma = offset_noise_strength, min_snr_gamma
        self.residual_scale, self.measured = 1.0, not measure_latents
        self.trained_size: int | None = None  # longest side of the training images in pixels
        self.mirror, self.cache = mirror, LatentCache() if cache_latents else None
        self.channels_last, self.compiled, self.xformers = channels_last, compile, xformers
        self.learn_by(optimizer, lr_scheduler, lr_interval)
        self.condition_dropout, self.guidance_scale = condition_dropout, guidance_scale
        self.teacher_folder, self.solver_steps = teacher, solver_steps
        self.teacher: ModelMixin | None = None
        self.start, self.protection = start, protection
        if protection is not None and (teacher is not None or mirror or cache_latents):
            raise ValueError(
                "protection needs new pairs with their twins: set teacher to null, mirror and cache_latents to false"
            )
        self.validation_images, self.sampling_steps, self.seed = validation_images, sampling_steps, seed

    def setup(self, stage: str) -> None:
        """Read what was given as folders, and prepare the networks.

        Args:
            stage: Lightning's; `start`, xformers and compile are for "fit" alone.
        """
        self.read_vqgan()
        if self.teacher_folder is not None and self.teacher is None:
            check_solver(self.scheduler, self.solver_steps)
            pipeline = BoneSuppressionPipeline.from_pretrained(self.teacher_folder)
            self._take(pipeline)
            self.teacher = pipeline.unet.requires_grad_(False)
        if self.start is not None and stage == "fit":
            self._take(BoneSuppressionPipeline.from_pretrained(self.start))
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if stage == "fit":
            self._quicken()

    def _quicken(self) -> None:
        """Prepare what a training step runs, in place: names, weights and the averaged network do not change."""
        if self.xformers:
            use_xformers(self.unet)
        if self.compiled:
            encoder = None if self.cache is not None else getattr(self.vqgan, "encoder", None)  # pixels have none
            for network in (self.unet, self.teacher, encoder):
                if network is not None:
                    network.compile()

    def on_fit_start(self) -> None:
        """Refuse to cache the latents of images that change from epoch to epoch."""
        if self.cache is not None:
            refuse_random_images(self.trainer.datamodule)  # type: ignore[attr-defined]

    def _take(self, pipeline: BoneSuppressionPipeline) -> None:
        """Go on from a pipeline, between the same latents. ValueError if it has another form."""
        form = {name: getattr(self, name) for name in ("condition_scaling", "target", "latent", "contrast_sigma")}
        check_teacher(pipeline, form, self.scheduler.config.prediction_type)
        self.vqgan = pipeline.vqgan.requires_grad_(False)
        weights = pipeline.unet.state_dict()
        try:
            self.unet.load_state_dict(weights)
        except RuntimeError:
            raise ValueError("the teacher's network is of another size: give `unet` the teacher's options") from None
        self.ema.module.load_state_dict(weights)
        self.residual_scale, self.measured = pipeline.config["residual_scale"], True

    @property
    def trained(self) -> nn.Module:
        """The network that the optimizer changes."""
        return self.unet

    def pipeline(self) -> BoneSuppressionPipeline:
        """The model as it stands.

        Returns:
            A pipeline with the averaged network.
        """
        pipeline = BoneSuppressionPipeline(
            self.vqgan,
            cast(ModelMixin, self.ema.module),
            self.sampler,
            condition_scaling=self.condition_scaling,
            target=self.target,
            latent=self.latent,
            residual_scale=self.residual_scale,
            num_inference_steps=self.sampling_steps,
            trained_size=self.image_size or self.trained_size,
            contrast_sigma=self.contrast_sigma,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _loss(self, batch: dict[str, Any], network: ModelMixin, stage: int, batch_idx: int) -> Tensor:
        generators = self._generators(batch, stage, batch_idx)
        each, mirrored = len(batch["radiograph"]) // len(generators), None
        if self.mirror and stage == 0:
            mirrored = torch.rand(each, generator=generators[0]) < 0.5
        hinge = self.protection if stage == 0 else None
        if hinge is not None:
            batch, objects = hinge.with_twins(batch)
        condition, soft = self.latents(batch, mirrored)
        x0 = to_x0(soft, condition, self.target, self.residual_scale)
        rows = torch.arange(len(x0), device=x0.device) % (each * len(generators))  # a twin has its original's noise
        shape = (each, *x0.shape[1:])
        noise = torch.cat([offset_noise(shape, self.offset_noise_strength, one) for one in generators]).to(x0.device)
        if self.condition_dropout and stage == 0:
            kept = torch.rand(each, 1, 1, 1, generator=generators[0]) >= self.condition_dropout
            condition = condition * kept.to(condition)[rows]
        times = self.scheduler.config.num_train_timesteps if self.teacher is None else self.solver_steps
        times = torch.cat([torch.randint(0, times, (each,), generator=one) for one in generators]).to(x0.device)
        told = (self.scheduler, x0, condition, noise[rows], times[rows])
        if self.teacher is not None:
            target = cast(ModelMixin, self.ema.module)
            steps, scaling = self.solver_steps, self.condition_scaling
            return distillation_loss(network, target, self.teacher, *told, steps=steps, condition_scaling=scaling)
        options: Any = {"condition_scaling": self.condition_scaling, "min_snr_gamma": self.min_snr_gamma}
        if hinge is None:
            return denoising_loss(network, *told, **options)
        taken = 1 / self.residual_scale if self.target == "bone" else -1.0
        loss, lost = protected_denoising_loss(network, *told, objects, hinge, taken, **options)
        self.log_step({"train/lost": lost})
        return loss

    def _judge(self, stage: str, batch: dict[str, Any], sampled: Tensor) -> None:
        self.measure_psnr(stage, batch["soft"], psnr=sampled, psnr_do_nothing=batch["radiograph"])

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Suppress a batch; an image depends on `seed` and its name, not on its batch.

        Args:
            batch: With "radiograph" and "name".
            batch_idx: Not used.

        Returns:
            Soft-tissue images (B, 1, H, W) in [-1, 1].
        """
        steps, guidance, seeds = self.sampling_steps, self.guidance_scale, image_seeds(batch, self.seed)
        return self.pipeline()(batch["radiograph"], steps, seeds, guidance).soft

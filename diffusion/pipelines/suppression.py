"""BoneSuppressionPipeline: radiograph in, soft-tissue image out; saved and loaded as a diffusers folder."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from diffusion.contracts import Autoencoder, AutoencoderModel, Denoiser, NoiseSchedule
from diffusion.folders import class_name, pipeline_folder, read_index
from diffusion.latents import check_latent_options, decode, encode, from_x0
from diffusion.networks.concatenation import check_condition_scaling
from diffusion.networks.local_contrast import to_local_contrast
from diffusion.networks.tiles import TiledAutoencoder, TiledNetwork, tiled
from diffusion.networks.unet import size_multiple
from diffusion.pipelines.checks import check_radiograph
from diffusion.pipelines.contract import BoneSuppressionOutput, SuppressionPipeline
from diffusion.pipelines.enhancement import enhance, enhancer_multiple
from diffusion.pipelines.lung_fusion import LocalGuidance, check_lungs, fuse, lungs_only
from diffusion.pipelines.sampler import sample
from diffusion.training.objectives import check_scheduler

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

COMPONENTS = ("vqgan", "unet", "scheduler")


class BoneSuppressionPipeline(SuppressionPipeline):
    """Conditional latent diffusion from a radiograph to its soft-tissue image.

    Args:
        vqgan: The autoencoder, see diffusion.contracts; it and the network are set to evaluation.
        unet: build_unet's or a LatentDiT.
        scheduler: Of diffusion.schedulers.thresholded, or one of diffusers' that diffusion.schedulers.served names; to
            exchange it, `pipeline.scheduler = Other.from_config(pipeline.scheduler.config)` (with thresholding=False
            for diffusers' own).
        condition_scaling: See diffusion.networks.conditioning.
        target: What is diffused, `soft` or `bone`; see diffusion.latents.
        latent: `quantized` or `continuous`; see diffusion.latents.
        residual_scale: Factor of the difference that is diffused; see diffusion.latents.
        num_inference_steps: Sampling steps if a call gives none.
        enhancer: A second stage on the image (BS-Diff's, see diffusion.pipelines.enhancement), or none.
        trained_size: Side in pixels of the images that it was trained on; None if only the U-Net's sample_size may say.
        contrast_sigma: Width in pixels of what is local, if the model sees radiographs in local contrast (see
            diffusion.networks.local_contrast); None: it sees them as they are.

    Example:
        >>> pipeline = BoneSuppressionPipeline.from_pretrained("FOLDER or OWNER/NAME")  # doctest: +SKIP
        >>> soft = pipeline(radiograph, steps=50, seeds=[0]).soft  # doctest: +SKIP

    Reference:
        Sun et al. (BS-LDM), arXiv:2412.15670.
    """

    stochastic: ClassVar[bool] = True
    method: ClassVar[str] = "sampling"
    _optional_components = ["enhancer"]  # noqa: RUF012 (diffusers' own name, read by its save and load)

    def __init__(
        self,
        vqgan: AutoencoderModel,
        unet: ModelMixin,
        scheduler: NoiseSchedule,
        condition_scaling: str = "clean",
        target: str = "soft",
        latent: str = "quantized",
        residual_scale: float = 1.0,
        num_inference_steps: int = 50,
        enhancer: AutoencoderKL | None = None,
        trained_size: int | None = None,
        contrast_sigma: float | None = None,
    ) -> None:
        super().__init__()
        check_condition_scaling(condition_scaling)
        check_latent_options(target, latent)
        check_scheduler(scheduler, target)
        self.register_modules(vqgan=vqgan.eval(), unet=unet.eval(), scheduler=scheduler)
        self.register_modules(enhancer=None if enhancer is None else enhancer.eval())
        self.register_to_config(
            condition_scaling=condition_scaling,
            target=target,
            latent=latent,
            residual_scale=residual_scale,
            num_inference_steps=num_inference_steps,
            trained_size=trained_size,
            contrast_sigma=contrast_sigma,
        )

    @property
    def takes_lungs(self) -> bool:  # type: ignore[override]
        """Whether a call takes lung masks: not in local contrast, where a picture blackened around them is another."""
        return self.config["contrast_sigma"] is None

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        multiple = self.vqgan.downsampling * size_multiple(self.unet)
        return multiple if self.enhancer is None else math.lcm(multiple, enhancer_multiple(self.enhancer))

    @property
    def trained_size(self) -> int | None:
        """Side in pixels of the images that the network was trained on; None where no configuration says."""
        if self.config["trained_size"] is not None:
            return self.config["trained_size"]
        latent = self.unet.config.get("sample_size")
        return None if latent is None else latent * self.vqgan.downsampling

    @torch.no_grad()
    def __call__(
        self,
        radiograph: Float[Tensor, "batch 1 height width"],
        num_inference_steps: int | None = None,
        seeds: Sequence[int] | None = None,
        guidance_scale: float = 1.0,
        tile: int | None = None,
        lungs: Bool[Tensor, "batch 1 height width"] | None = None,
        local_guidance: float | None = None,
        local_threshold: float = 3.5,
        *,
        steps: int | None = None,
    ) -> BoneSuppressionOutput:
        """Suppress the bones of a batch.

        Args:
            radiograph: float (B, 1, H, W) in [-1, 1], bones bright; H and W divisible by `size_multiple`.
            num_inference_steps: Diffusers' name for `steps`.
            seeds: One an image (None: 0, 1, ...); the image depends on its own seed, not on its batch.
            guidance_scale: See diffusion.pipelines.sampler; 1 is none.
            tile: Side in pixels, a multiple of `size_multiple`, of the tiles in which a larger image is encoded,
                denoised step by step and decoded, see diffusion.networks.tiles; None: in one pass. `trained_size` is
                the tile to take.
            lungs: bool (B, 1, H, W), for GL-LCM's second path inside them and its fusion, see
                diffusion.pipelines.lung_fusion.
            local_guidance: Scale of that path's guidance; by default GL-LCM's 3 if the network predicts the noise, the
                only networks it is for, else 1, none.
            local_threshold: Where that path's clipping of x0 starts.
            steps: Of sampling; None: as the pipeline records.

        Returns:
            `.soft`, (B, 1, H, W) float32 in [-1, 1], on the radiograph's device.

        Raises:
            ValueError: Another shape, size or range, not one seed an image, two numbers of steps, or local guidance for
                a network that does not predict the noise.
        """
        check_radiograph(radiograph, self.size_multiple)
        if steps is not None and num_inference_steps not in (None, steps):
            raise ValueError(f"steps is {steps} and num_inference_steps {num_inference_steps}: give one of them")
        options: Any = self.config
        check_scheduler(self.scheduler, options.target)
        steps = num_inference_steps if steps is None else steps
        steps = options.num_inference_steps if steps is None else steps
        seeds = range(len(radiograph)) if seeds is None else seeds
        vqgan, network = self.vqgan, self.unet
        if tile is not None:
            vqgan = TiledAutoencoder(vqgan, tile, self.size_multiple)
            network = TiledNetwork(network, tile // self.vqgan.downsampling, size_multiple(network))
        if lungs is None:
            soft = self._sample(radiograph, vqgan, network, self.scheduler, steps, seeds, guidance_scale)
            return BoneSuppressionOutput(soft=self._enhance(soft, tile))
        if not self.takes_lungs:
            raise ValueError("this model sees local contrast and has no second path in the lungs: leave `lungs` out")
        check_lungs(lungs, radiograph)
        scheduler: Any = self.scheduler
        epsilon = scheduler.config.prediction_type == "epsilon"
        local_guidance = (3.0 if epsilon else 1.0) if local_guidance is None else local_guidance
        if local_guidance != 1 and not epsilon:
            raise ValueError(
                f"local_guidance is {local_guidance:g}, but this network predicts "
                f"{self.scheduler.config.prediction_type}: the guidance is for epsilon prediction, give 1"
            )
        soft = self._sample(radiograph, vqgan, network, scheduler, steps, seeds, guidance_scale)
        if "threshold_start" in scheduler.config:
            scheduler = type(scheduler).from_config(scheduler.config, threshold_start=local_threshold)
        if local_guidance != 1:
            network = LocalGuidance(network, local_guidance, seeds)
        inside = lungs_only(radiograph, lungs)
        local = self._sample(inside, vqgan, network, scheduler, steps, seeds, guidance_scale)
        return BoneSuppressionOutput(soft=self._enhance(fuse(soft, local, lungs).clamp(-1, 1), tile))

    def _enhance(self, soft: Tensor, tile: int | None) -> Tensor:
        """The second stage's image (B, 1, H, W) of the first's, or that itself where there is no second."""
        enhancer = self.enhancer
        if enhancer is None:
            return soft
        size = max(soft.shape[2:]) if tile is None else tile
        better = tiled(functools.partial(enhance, enhancer), soft.to(self.device), size, self.size_multiple)
        return better.clamp(-1, 1).to(soft.device)

    def _sample(
        self,
        radiograph: Tensor,
        vqgan: Autoencoder,
        network: Denoiser,
        scheduler: NoiseSchedule,
        steps: int,
        seeds: Sequence[int],
        guidance_scale: float,
    ) -> Tensor:
        """Soft-tissue images (B, 1, H, W) by way of an autoencoder and a network like this pipeline's."""
        options: Any = self.config
        seen = radiograph.to(self.device)
        if options.contrast_sigma is not None:
            seen, unit = to_local_contrast(seen, options.contrast_sigma)
        condition = encode(vqgan, seen.to(self.vqgan.dtype), options.latent).float()
        x0 = sample(
            network,
            scheduler,
            condition,
            steps,
            seeds,
            channels=condition.shape[1],
            condition_scaling=options.condition_scaling,
            guidance_scale=guidance_scale,
            progress=self.progress_bar,
        )
        soft = from_x0(x0, condition, options.target, options.residual_scale)
        image = decode(vqgan, soft.to(self.vqgan.dtype)).float()
        if options.contrast_sigma is not None:  # what the autoencoder loses is lost in both, and stays
            bone = decode(vqgan, condition.to(self.vqgan.dtype)).float() - image
            image = radiograph.to(self.device).float() - bone * unit
        return image.clamp(-1, 1).to(radiograph.device)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **options: Any) -> BoneSuppressionPipeline:
        """Load a folder that `save_pretrained` wrote, or a model of the Hugging Face hub.

        Args:
            pretrained_model_name_or_path: A folder, or OWNER/NAME.
            **options: As diffusers takes them (dtype, scheduler=..., revision, ...).

        Returns:
            The pipeline, on the CPU.

        Raises:
            FileNotFoundError: The folder or a part of it is missing.
            ValueError: It is of another kind, or its weights are not finite.
        """
        folder = pipeline_folder(os.fspath(pretrained_model_name_or_path), options)
        index = _read_index(folder, cls.__name__)
        weights = {"vqgan", "unet"} | ({"enhancer"} if any(index.get("enhancer", [])) else set())
        needed = sorted({*COMPONENTS, *weights} - options.keys())
        missing = [name for name in needed if not (folder / name).is_dir()]
        if missing:
            raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; copy the whole folder that training wrote")
        for name in weights - options.keys():
            if not list((folder / name).glob("*.safetensors*")):
                raise FileNotFoundError(f"{folder / name} holds no safetensors weights; copy the whole pipeline folder")
        options = {"low_cpu_mem_usage": False, **options}
        return super().from_pretrained(folder, **options)


def _read_index(folder: Path, kind: str) -> dict[str, Any]:
    """model_index.json of a pipeline folder, checked to be of class `kind`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give the pipeline folder that training wrote")
    index = read_index(folder)
    if class_name(index) != kind:
        raise ValueError(f"{folder} holds a {class_name(index)}, not a {kind}; give a bone suppression folder")
    return index

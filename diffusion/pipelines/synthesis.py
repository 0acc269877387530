"""SynthesisPipeline: view, report, demographics and other views in, radiographs out; a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from diffusion.contracts import AutoencoderModel, NoiseSchedule
from diffusion.finite import refuse_broken
from diffusion.folders import class_name, pipeline_folder, read_index
from diffusion.guidance import Terms, guidance_scales, guidance_terms, weighted_sum
from diffusion.latents import check_latent_options, decode, encode
from diffusion.networks.conditioning import Conditioner
from diffusion.networks.conditions import Conditions, Demographics
from diffusion.networks.text import TextEncoder
from diffusion.noise import seeded_generators, seeded_noise
from diffusion.pipelines.folder import SavedPipeline
from diffusion.pipelines.requests import (
    Prompt,
    SynthesisOutput,
    View,
    as_tensor,
    asked_for,
    check_output_type,
    check_request,
    check_trained_views,
    checked_other_views,
    checked_regions,
    given_back,
    height_width,
    seeds_from,
)
from diffusion.pipelines.sampler import denoise
from diffusion.training.synthesis_objective import ask, check_networks, check_synthesis_scheduler, network_multiple
from radiographs.vocabulary import VIEWS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

COMPONENTS = ("vqgan", "unet", "scheduler", "conditioner")


class SynthesisPipeline(SavedPipeline):
    """Latent diffusion from a view and a report to a radiograph.

    Args:
        vqgan: The autoencoder, see diffusion.latents.
        unet: UNet2DConditionModel or a LatentDiT with cross attention, of the conditioner's width.
        scheduler: FlowMatchEulerDiscreteScheduler, or one of diffusion.schedulers.served.
        conditioner: Makes tokens and a vector of what is asked.
        image_size: Side in pixels of the images that it was trained on.
        latent: `quantized` or `continuous`; see diffusion.latents.
        num_inference_steps: Of sampling, if a call does not say.
        guidance: {condition: scale} (diffusion.guidance), if a call does not say; None: 1 for all.
        about: One sentence on what it was trained on, for the cards and files of what it draws.
        text_encoder: transformers' model for prompts; None: loaded by the name that the conditioner records when the
            first prompt comes.
        tokenizer: The text encoder's.
        trained_views: The views that were in its training; others are refused. None: all that the conditioner encodes.

    Raises:
        ValueError: The parts do not go together.

    Example:
        >>> pipeline = SynthesisPipeline.from_pretrained("FOLDER or OWNER/NAME")  # doctest: +SKIP
        >>> pipeline(prompt="Small left effusion.", view="PA", output_type="pil").images[0]  # doctest: +SKIP
    """

    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers' own name, read by its save and load)

    def __init__(
        self,
        vqgan: AutoencoderModel,
        unet: ModelMixin,
        scheduler: NoiseSchedule,
        conditioner: Conditioner,
        image_size: int = 512,
        latent: str = "continuous",
        num_inference_steps: int = 50,
        text_encoder: Any = None,
        tokenizer: Any = None,
        guidance: dict[str, float] | None = None,
        about: str = "",
        trained_views: list[str] | None = None,
    ) -> None:
        super().__init__()
        check_latent_options("soft", latent)
        check_synthesis_scheduler(scheduler)
        check_networks(unet, conditioner)
        check_trained_views(trained_views, conditioner.config["views"])
        self.register_modules(vqgan=vqgan.eval(), unet=unet.eval(), scheduler=scheduler, conditioner=conditioner.eval())
        self.register_modules(text_encoder=text_encoder, tokenizer=tokenizer)
        self._reader: TextEncoder | None = None  # of prompts: it remembers what it has read
        guidance = None if guidance is None else guidance_scales(guidance)
        guidance_terms(conditioner.conditions, guidance or {})
        self.register_to_config(image_size=image_size, latent=latent, num_inference_steps=num_inference_steps)
        self.register_to_config(guidance=guidance, about=about, trained_views=trained_views)

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        return self.vqgan.downsampling * network_multiple(self.unet)

    @property
    def known_views(self) -> tuple[str, ...]:
        """The views that it draws, in the order of radiographs.vocabulary.VIEWS."""
        trained = self.config["trained_views"]
        encoded = VIEWS[: self.conditioner.config["views"]]
        return encoded if trained is None else tuple(view for view in encoded if view in trained)

    @torch.no_grad()
    def __call__(
        self,
        views: View | None = None,
        embeddings: Float[Tensor, "batch tokens width"] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        demographics: Sequence[Demographics | None] | None = None,
        images: Float[Tensor, "batch views 1 height width"] | None = None,
        image_views: Sequence[Sequence[str | None]] | None = None,
        num_inference_steps: int | None = None,
        guidance: Mapping[str, float] | float | None = None,
        seeds: Sequence[int] | None = None,
        size: tuple[int, int] | None = None,
        micro_batch: int | None = None,
        *,
        prompt: Prompt | None = None,
        view: View | None = None,
        regions: Float[Tensor, "batch kinds rows columns"] | None = None,
        image_priors: Sequence[Sequence[bool]] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
    ) -> SynthesisOutput | tuple[Any]:
        """Draw one image for each prompt or view.

        Args:
            views: As `view`, by position.
            embeddings: Of prompts that were encoded before, instead of `prompt`, (B, T, D).
            mask: Their tokens, (B, T) bool.
            demographics: See Conditioner.prepare.
            images: (B, K, 1, H, W) in [-1, 1], other images (views of the study, priors), of the size asked for.
            image_views: See Conditioner.prepare.
            num_inference_steps: Of sampling; None: as the pipeline records.
            guidance: {condition: scale} (diffusion.guidance), 1 for those not named, or the report's alone; None: as
                the pipeline records.
            seeds: One an image, from 0 to 2**63 - 1 (None: 0, 1, ...).
            size: (H, W), multiples of `size_multiple`; None: `image_size` squared.
            micro_batch: Images that go through the networks at once; the last ones are filled up. An image depends on
                its row, its seed and this number, not on its batch: on a CPU floating-point sums change with a matrix's
                size, as they do with torch's number of threads (torch.set_num_threads). None: 1 on a CPU and 8
                elsewhere.
            prompt: A text, or one an image.
            view: Of `known_views`, one for all or one an image; None leaves it open.
            regions: Where findings shall be, if the model takes it: maps (B, R, h, w) in [0, 1], one for each of
                radiographs.vocabulary.FINDINGS and of any resolution (`radiographs.regions.region_map`), 0 where
                nothing is said.
            image_priors: Which of `images` are of an earlier study.
            generator: torch's, from which the seeds are drawn instead, or one an image.
            output_type: "pt", "np" or "pil", see SynthesisOutput.
            return_dict: Whether the result comes as an object instead of a tuple.

        Returns:
            `.images`, or them as the only item of a tuple.

        Raises:
            ValueError: Nothing is asked for, numbers or sizes differ, or the model does not know a condition.
        """
        check_output_type(output_type)
        check_synthesis_scheduler(self.scheduler)  # it may have been exchanged
        prompts, views = asked_for(prompt, view, views, self.known_views)
        if prompts is not None:
            if embeddings is not None:
                raise ValueError("prompt and embeddings: give one of them")
            embeddings, mask = self.encode_prompt(prompts)
        count = len(views)
        seeds = seeds_from(generator, seeds, count)
        steps = num_inference_steps if num_inference_steps is not None else self.config["num_inference_steps"]
        lot = micro_batch or (1 if self.device.type == "cpu" else 8)
        height, width = height_width(size, self.config["image_size"])
        check_request(count, seeds, steps, lot, (height, width), self.size_multiple)
        images, regions = checked_other_views(images, (height, width)), checked_regions(regions)
        embeddings, mask = as_tensor("embeddings", embeddings), as_tensor("mask", mask, torch.bool)
        asked = self.conditioner.prepare(views, embeddings, mask, demographics, region=regions)
        guidance = (self.config["guidance"] or {}) if guidance is None else guidance
        terms = guidance_terms(self.conditioner.conditions, guidance)
        shape = (height // self.vqgan.downsampling, width // self.vqgan.downsampling)
        pieces = []
        for start in self.progress_bar(range(0, count, lot)):
            rows = [min(start + i, count - 1) for i in range(lot)]
            given = asked.rows(rows)
            if images is not None:
                others = [None if one is None else [one[i] for i in rows] for one in (image_views, image_priors)]
                given = self.conditioner.with_images(given, self._encode(images[rows]), *others)
            latent = self._sample(given, terms, steps, [seeds[i] for i in rows], shape)
            image = decode(self.vqgan, latent.to(self.vqgan.dtype)).float().clamp(-1, 1).cpu()
            pieces.append(image[: count - start])
        drawn = given_back(torch.cat(pieces) if pieces else torch.empty(0, 1, height, width), output_type)
        return SynthesisOutput(images=drawn) if return_dict else (drawn,)

    def encode_prompt(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch tokens width"], Bool[Tensor, "batch tokens"]]:
        """Embed texts, for `embeddings` and `mask` of a call.

        Args:
            prompts: B texts.

        Returns:
            Embeddings (B, T, D) float32 and mask (B, T) bool.

        Raises:
            ValueError: The model reads no text, or a text is too long; or see `load_text_encoder`.
        """
        config: Any = self.conditioner.config
        if not config["text_width"]:
            raise ValueError("this model reads no prompts (its conditioner's text_width is 0): give view=... alone")
        if self.text_encoder is None:
            self.load_text_encoder()
        reader = self._reader
        if reader is None or reader.model is not self.text_encoder or reader.device != str(self.text_encoder.device):
            reader = self._reader = TextEncoder.of(self.text_encoder, self.tokenizer, config["text_length"])
        return reader(prompts)

    def load_text_encoder(self, source: str | None = None) -> None:
        """Take in the text encoder that the model was trained with; `save_pretrained` then writes it too.

        Args:
            source: Its folder or name on the Hugging Face hub; None: as the conditioner records.

        Raises:
            ValueError: None is recorded, none could be read, or it is another one.
        """
        config: Any = self.conditioner.config
        source = source or config.get("text_encoder")
        if not source:
            raise ValueError("the model does not record its text encoder: call load_text_encoder(FOLDER or OWNER/NAME)")
        encoder = TextEncoder(source, config["text_length"])
        if config.get("text_fingerprint") not in (None, encoder.fingerprint):
            raise ValueError(f"{source} is not the text encoder that this model was trained with: give that one")
        model, tokenizer = encoder.components()
        self.register_modules(text_encoder=model.to(self.device), tokenizer=tokenizer)

    def _encode(self, images: Tensor) -> Tensor:
        flat = images.flatten(0, 1).to(self.device, self.vqgan.dtype)
        return encode(self.vqgan, flat, self.config["latent"]).float().unflatten(0, images.shape[:2])

    def _sample(
        self, given: Conditions, terms: Terms, steps: int, seeds: Sequence[int], shape: tuple[int, int]
    ) -> Tensor:
        """Scaled latents (B, C, h, w), float32."""
        given = given.to(self.device, self.unet.dtype)
        asked = []
        for weight, left_out in terms:
            part = given
            for name in left_out:
                part = part.without(name)
            part, _ = self.conditioner.planned(part)
            asked.append((weight, part, self.conditioner(part)))
        generators = seeded_generators(seeds)
        channels = self.unet.config.get("out_channels") or self.unet.config["latent_channels"]
        noise = seeded_noise(generators, (channels, *shape), self.device)

        def answer(noisy: Tensor, timestep: Tensor) -> Tensor:
            answers = [(weight, ask(self.unet, noisy, timestep, part, context)) for weight, part, context in asked]
            return weighted_sum(answers)

        return denoise(answer, self.scheduler, noise, steps, generators)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **options: Any) -> SynthesisPipeline:
        """Load a folder that `save_pretrained` wrote, or a model of the Hugging Face hub.

        Args:
            pretrained_model_name_or_path: A folder, or OWNER/NAME.
            **options: As diffusers takes them (dtype, scheduler=..., revision, ...).

        Returns:
            The pipeline, on the CPU.

        Raises:
            FileNotFoundError: The folder or a part of it is missing.
            ValueError: It is of another kind, has an older version's conditioner, or weights that are not finite.
        """
        folder = pipeline_folder(fspath(pretrained_model_name_or_path), options)
        names = read_index(folder)
        if class_name(names) != cls.__name__:
            raise ValueError(f"{folder} holds a {class_name(names)}, not a {cls.__name__}")
        for name in COMPONENTS:
            pattern = "*.json" if name == "scheduler" else "*.safetensors*"
            if name not in options and not list((folder / name).glob(pattern)):
                raise FileNotFoundError(f"{folder / name} lacks {pattern}; copy the whole folder that training wrote")
        options = {"low_cpu_mem_usage": False, **options}
        pipeline = super().from_pretrained(folder, **options)
        refuse_broken(pipeline.components, folder)
        return pipeline

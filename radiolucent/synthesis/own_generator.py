"""Our SynthesisPipeline as a generator, with the text encoder that it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.folders import read_index
from radiographs import read_radiograph
from radiographs.files import read_json
from radiographs.letterbox import centre_crop
from radiographs.regions import region_map
from radiographs.vocabulary import VIEWS
from radiolucent.synthesis.generator import TEXTS_KEPT, GeneratorOptions, Lengths, claim_device
from radiolucent.synthesis.prompts import Row


class OwnGenerator:
    """SynthesisPipeline: view and report, with the text encoder that it was trained with.

    Args:
        options: All that an image depends on besides its row.
    """

    def __init__(self, options: GeneratorOptions) -> None:
        import torch

        from diffusion import SynthesisPipeline
        from radiolucent.synthesis.decode_ahead import Overlap

        self.options = options
        device = claim_device(options.device)
        pipeline: Any = SynthesisPipeline.from_pretrained(
            options.checkpoint, text_encoder=None, tokenizer=None
        )  # its texts go through `encoder`
        pipeline.to(device, getattr(torch, options.dtype))
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline
        self.encoder = own_text_encoder(options, device)
        self.overlap = Overlap(getattr(pipeline.vqgan, "decoder", None), device)

    def generate(self, rows: Sequence[Row]) -> np.ndarray:
        """Images float32 (len(rows), H, W) in [-1, 1], bones bright.

        Args:
            rows: `micro_batch` of them; see `Generator`.

        Returns:
            An image a row, in the same order.
        """
        with self.overlap.turn():
            return self._generate(rows)

    def _generate(self, rows: Sequence[Row]) -> np.ndarray:
        embeddings, mask = None, None
        if self.encoder is not None:
            if len(self.encoder.memory) > TEXTS_KEPT:
                self.encoder.memory.clear()
            embeddings, mask = self.encoder([self.options.text(row) for row in rows])
        size = self.options.size
        images = self.pipeline(
            [row.view for row in rows],
            embeddings,
            mask,
            **self._priors(rows),
            num_inference_steps=self.options.steps,
            guidance=dict(self.options.guidance),
            seeds=[row.seed for row in rows],
            size=None if size is None else (size, size),
            micro_batch=self.options.micro_batch,
            regions=self._regions(rows),
        ).images
        return images[:, 0].numpy()

    def _regions(self, rows: Sequence[Row]) -> Any:
        """Maps (len(rows), 5, h, w) of where findings shall be, on the latents' grid; None if no row says it."""
        import torch

        if not any(row.regions for row in rows):
            return None
        side = self._side // self.pipeline.vqgan.downsampling
        return torch.from_numpy(np.stack([region_map(row.regions, side) for row in rows]))

    @property
    def _side(self) -> int:
        return self.options.size or self.pipeline.config["image_size"]

    def _priors(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The earlier radiographs, their middle square, as the pipeline's arguments; none if no row has one."""
        import torch

        if not any(row.prior for row in rows):
            return {}
        images = torch.full((len(rows), self.pipeline.conditioner.config["images"], 1, self._side, self._side), -1.0)
        views: list[list[str | None]] = [[None] * images.shape[1] for _ in rows]
        for number, row in enumerate(rows):
            if row.prior is not None:
                path, view = row.prior
                pixels = centre_crop(read_radiograph(path).pixels, self._side)
                images[number, 0, 0], views[number][0] = torch.from_numpy(pixels), view or row.view
        priors = [[place == 0 and row.prior is not None for place in range(images.shape[1])] for row in rows]
        return {"images": images, "image_views": views, "image_priors": priors}


def takes(checkpoint: str, condition: str) -> bool:
    """Whether a SynthesisPipeline's folder holds a model with a condition.

    Args:
        checkpoint: The folder.
        condition: "regions" or "priors", as the conditioner's config names them.

    Returns:
        False also for a folder written before the condition existed.
    """
    return bool(read_json(Path(checkpoint) / "conditioner/config.json").get(condition))


def known_views(checkpoint: str) -> tuple[str, ...]:
    """The views that a SynthesisPipeline's folder draws, without its weights being read.

    Args:
        checkpoint: The folder.

    Returns:
        Those that it records as trained, else all that its conditioner can encode.

    Raises:
        ValueError: The record is damaged.
    """
    from diffusion.pipelines.requests import check_trained_views

    encoded = int(read_json(Path(checkpoint) / "conditioner/config.json").get("views", len(VIEWS)))
    trained = read_index(checkpoint).get("trained_views")
    check_trained_views(trained, encoded)
    return tuple(view for view in VIEWS[:encoded] if trained is None or view in trained)


def refuse_own_size(checkpoint: str, side: int) -> None:
    """Refuse a size that the networks of a SynthesisPipeline's folder cannot halve.

    Args:
        checkpoint: The folder.
        side: Of the images, in pixels.

    Raises:
        ValueError: It is no multiple of what they need.
    """
    from diffusion import SynthesisPipeline

    pipeline = SynthesisPipeline.from_pretrained(checkpoint, text_encoder=None, tokenizer=None)
    if side % pipeline.size_multiple:
        raise ValueError(f"--size {side}: this model needs a multiple of {pipeline.size_multiple}")


def own_text_encoder(options: GeneratorOptions, device: str = "cpu") -> Any:
    """The TextEncoder of a SynthesisPipeline's folder, checked by its fingerprint.

    Args:
        options: With the folder.
        device: Where it computes.

    Returns:
        The encoder; None if the model reads no text.

    Raises:
        FileNotFoundError: Before a batch begins: a part is missing.
        ValueError: The conditioner is another version's; or no text encoder, or the wrong one.
    """
    from diffusion import Conditioner, TextEncoder

    path = Path(options.checkpoint) / "conditioner"
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path / 'config.json'} is missing: copy the whole folder that training wrote")
    config: Any = Conditioner.from_pretrained(path).config
    if not config["text_width"]:
        return None
    own = options.checkpoint if (path.parent / "text_encoder").is_dir() else None  # the pipeline's own component
    source = options.text_encoder or own or config.get("text_encoder")
    if not source:
        raise ValueError(f"{options.checkpoint} does not say which text encoder it was trained with: --text-encoder")
    encoder = TextEncoder(source, config["text_length"], "truncate" if options.cut else "error", device=device)
    wanted = config.get("text_fingerprint")
    if wanted and wanted != encoder.fingerprint:
        raise ValueError(f"{source} is not the text encoder that {options.checkpoint} was trained with: --text-encoder")
    return encoder


def own_lengths(options: GeneratorOptions) -> Lengths | None:
    """The measure of a text's length; None for a model that reads no text.

    Args:
        options: The model's folder and the text encoder's, if the model does not name its own.

    Returns:
        text -> (its tokens, how many the encoder takes).
    """
    encoder = own_text_encoder(options)
    return None if encoder is None else lambda text: (encoder.tokens(text), encoder.limit)

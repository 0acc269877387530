"""Any text-to-image folder of diffusers as a generator: Stable Diffusion (RoentGen), SDXL, PixArt, Sana and others."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffusion.finite import refuse_broken
from diffusion.folders import read_index
from radiographs.files import read_json
from radiolucent.synthesis.decode_ahead import Overlap
from radiolucent.synthesis.generator import TEXTS_KEPT, GeneratorOptions, claim_device, pipeline_class
from radiolucent.synthesis.lora import add_lora

if TYPE_CHECKING:
    from radiolucent.synthesis.generator import Lengths
    from radiolucent.synthesis.prompts import Row

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
# What encode_prompt gives, by what the pipeline takes: the names of its call's arguments, in order.
ENCODED = (
    ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask"),
    ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
    ("prompt_embeds", "negative_prompt_embeds"),
)


def text_to_image_class(checkpoint: str) -> Any:
    """The diffusers class of a folder, checked: it draws from a prompt alone, and its weights are safetensors.

    Args:
        checkpoint: The folder; of its files only the configurations are read.

    Returns:
        The pipeline's class, not loaded.

    Raises:
        ValueError: A class that is not one of diffusers', that needs more than a prompt, or whose weights are pickled;
            or transformers is not installed.
    """
    import diffusers

    name = pipeline_class(checkpoint)
    found: Any = getattr(diffusers, name, None)
    if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ValueError(f"{checkpoint} holds a {name}, which is neither a SynthesisPipeline nor one of diffusers'")
    call = inspect.signature(found.__call__).parameters
    needed = {key for key, value in call.items() if value.default is value.empty} - {"self", "args", "kwargs"}
    if "prompt" not in call or "image" in call or needed - {"prompt"}:
        raise ValueError(f"{checkpoint} holds a {name}, which does not draw images from text alone")
    if find_spec("transformers") is None:
        raise ValueError("text-to-image pipelines need transformers: pip install 'radiolucent[synthesis]'")
    index = read_index(checkpoint)
    for part in (Path(checkpoint) / key for key in index if not key.startswith("_")):
        pickled = [path.name for path in sorted(part.glob("*")) if path.suffix in PICKLED]
        if pickled and not list(part.glob("*.safetensors")) and part.name != "safety_checker":
            raise ValueError(f"{part / pickled[0]} is pickled, which can run code: convert it to safetensors")
    return found


def call_default(kind: Any, name: str) -> Any:
    """The default of an argument of the pipeline's call; None if it has none.

    Args:
        kind: The pipeline's class.
        name: The argument's.

    Returns:
        None also where the default is None, or where there is no such argument.
    """
    parameter = inspect.signature(kind.__call__).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def refuse_size(checkpoint: str, side: int) -> None:
    """Refuse a size that the pipeline's own check refuses, before its weights are read.

    Args:
        checkpoint: The folder.
        side: Of the images, in pixels.

    Raises:
        ValueError: It is no multiple of what the pipeline needs.
    """
    check = getattr(text_to_image_class(checkpoint), "check_inputs", None)
    if check is None:
        return
    given = {"prompt": "", "height": side, "width": side, "callback_steps": 1}
    needed = [name for name, one in inspect.signature(check).parameters.items() if one.default is one.empty]
    vae = read_json(path) if (path := Path(checkpoint) / "vae/config.json").is_file() else {}
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or [0] * 4
    alone = SimpleNamespace(vae_scale_factor=2 ** (len(blocks) - 1), _callback_tensor_inputs=[])
    try:
        check(alone, **{name: None for name in needed[1:]} | {name: given[name] for name in needed if name in given})
    except Exception as error:  # of the other arguments, which are not there: nothing is known of the size then
        if "divisible" in str(error):
            raise ValueError(f"--size {side}: {error}") from None


def tokenizer_lengths(checkpoint: str) -> Lengths | None:
    """A text's tokens and the limit, of the encoder that reads furthest where there are several.

    Args:
        checkpoint: The pipeline's folder, with its tokenizers beside the weights.

    Returns:
        text -> (its tokens, the limit), start and end tokens counted; None for a folder without a tokenizer.
    """
    from transformers import AutoTokenizer

    kind = text_to_image_class(checkpoint)
    folders = sorted(path for path in Path(checkpoint).glob("tokenizer*") if path.is_dir())
    tokenizers = [AutoTokenizer.from_pretrained(str(folder), local_files_only=True) for folder in folders]
    if not tokenizers:
        return None
    limit = call_default(kind, "max_sequence_length")
    if limit is not None and call_default(kind, "complex_human_instruction"):
        limit -= 1  # Sana's instruction takes one of the tokens
    limits = [min(tokenizer.model_max_length, limit or tokenizer.model_max_length) for tokenizer in tokenizers]

    def measure(text: str) -> tuple[int, int]:
        counts = [len(tokenizer(text, verbose=False)["input_ids"]) for tokenizer in tokenizers]
        return min(zip(counts, limits), key=lambda found: found[0] - found[1])

    return measure


class DiffusersGenerator:
    """A folder of diffusers, safetensors only, with or without LoRA; the text is encoded once per distinct prompt.

    Args:
        options: All that an image depends on besides its row.
    """

    def __init__(self, options: GeneratorOptions) -> None:
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.options = options
        kind = text_to_image_class(options.checkpoint)
        parts = inspect.signature(kind.__init__).parameters
        off = {"safety_checker": None, "requires_safety_checker": False}  # it blackens what it takes for nudity
        pipeline = kind.from_pretrained(
            options.checkpoint,
            use_safetensors=True,
            local_files_only=True,
            **{name: value for name, value in off.items() if name in parts},
        )
        if options.lora is not None:
            add_lora(pipeline, Path(options.lora), options.lora_scale)
        refuse_broken(pipeline.components, f"{options.checkpoint}{f' with {options.lora}' if options.lora else ''}")
        device = claim_device(options.device)
        pipeline.to(device, getattr(torch, options.dtype))
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline
        self.call = inspect.signature(kind.__call__).parameters
        self.texts: OrderedDict[str, dict[str, torch.Tensor] | None] = OrderedDict()
        self.overlap = Overlap(self._decoder(), device)

    def _decoder(self) -> torch.nn.Module | None:
        """Where sampling has ended; None where the pipeline changes its autoencoder's precision around decoding."""
        vae = getattr(self.pipeline, "vae", None)
        if self.options.dtype == "float16" and getattr(getattr(vae, "config", None), "force_upcast", False):
            return None
        return getattr(vae, "decoder", None)

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
        texts = [self.options.text(row) for row in rows]
        encoded = [self._encode(text) for text in texts]
        given: dict[str, Any] = {"prompt": texts, "negative_prompt": [self.options.negative_prompt] * len(rows)}
        if None not in encoded:
            given = {name: torch.cat([one[name] for one in encoded if one]) for name in encoded[0] or {}}
            given["negative_prompt"] = None  # Sana's and PixArt's default is "", which they refuse beside embeddings
        side = self.options.size or self._trained_size()
        wanted = {
            **given,
            "num_inference_steps": self.options.steps,
            "guidance_scale": dict(self.options.guidance).get(""),
            "generator": [torch.Generator().manual_seed(row.seed) for row in rows],
            "height": side,
            "width": side,
            "output_type": "np",
            "use_resolution_binning": False,  # draw what was asked for
        }
        known = {
            name: value
            for name, value in wanted.items()
            if name in self.call and (value is not None or name == "negative_prompt")
        }
        colour = np.asarray(self.pipeline(**known).images, np.float32)
        return (colour @ np.array(LUMA, np.float32) if colour.ndim == 4 and colour.shape[-1] == 3 else colour) * 2 - 1

    def _trained_size(self) -> int | None:
        """Side in pixels; None where the folder does not say, which leaves it to the pipeline."""
        network = getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "transformer", None)
        trained = getattr(network.config, "sample_size", None) if network is not None else None
        factor = getattr(self.pipeline, "vae_scale_factor", None)
        return trained * factor if isinstance(trained, int) and isinstance(factor, int) else None

    @torch.no_grad()
    def _encode(self, text: str) -> dict[str, torch.Tensor] | None:
        """The call's arguments of one text, encoded alone; None where the pipeline has to do it itself."""
        if text not in self.texts:
            self.texts[text] = self._encode_anew(text)
            if len(self.texts) > TEXTS_KEPT:
                self.texts.popitem(last=False)
        return self.texts[text]

    def _encode_anew(self, text: str) -> dict[str, torch.Tensor] | None:
        names = next((names for names in ENCODED if all(name in self.call for name in names)), None)
        encode = getattr(self.pipeline, "encode_prompt", None)
        if names is None or encode is None:
            return None
        parameters = inspect.signature(encode).parameters
        wanted = {
            "device": self.pipeline._execution_device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": True,
            "negative_prompt": self.options.negative_prompt,
        }
        if any(name.startswith("prompt_") and name[-1].isdigit() for name in parameters):
            wanted |= {"prompt_2": None, "prompt_3": None}
        for name in ("clean_caption", "max_sequence_length", "complex_human_instruction"):
            if name in self.call:
                wanted[name] = self.call[name].default
        found = encode(text, **{name: value for name, value in wanted.items() if name in parameters})
        shaped = len(found) == len(names) and all(
            isinstance(value, torch.Tensor) and value.ndim == (3 if name in ENCODED[-1] else 2)
            for name, value in zip(names, found)
        )  # not so where a pipeline gives them in another order
        return dict(zip(names, found)) if shaped else None

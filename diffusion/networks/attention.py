"""Which code computes attention: torch's scaled_dot_product_attention, which diffusers uses by itself, or xformers."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin


def use_xformers(network: ModelMixin) -> None:
    """Let xformers' memory-efficient attention compute all attention of a U-Net; weights and results are the same.

    Args:
        network: A U-Net of diffusers.

    Raises:
        ValueError: No CUDA device or no xformers is available, or the network has none of diffusers' attention
            (LatentDiT).
    """
    if not torch.cuda.is_available():
        raise ValueError("xformers' attention needs a CUDA device, and there is none: set xformers to false")
    if find_spec("xformers") is None:
        raise ValueError("xformers is not installed: install it (pip install xformers) or set xformers to false")
    if not any(isinstance(module, Attention) for module in network.modules()):
        raise ValueError(
            f"{type(network).__name__} has no attention that xformers could compute: set xformers to false"
        )
    network.enable_xformers_memory_efficient_attention()

"""DeBoneDiT's SiT (a DiT whose condition is input channels) as our LatentDiT on the difference of the latents.

DeBoneDiT's network sees x_t, on the bridge from the soft-tissue latent x_0 to the radiograph's y, beside y, and tells
the noise e in x_t = (1 - m) x_0 + m y + s e. Ours sees d_t = y - x_t, the same bridge for d_0 = y - x_0 with the noise
-e (diffusion/schedulers/brownian_bridge.py). The first layer is linear and so is the last: with x_t = y - d_t,

    W [x_t, y] = W [-d_t, 0] + W [y, y],

so that the change of variables goes into their weights and nothing is approximated.
"""

from __future__ import annotations

import torch

from diffusion import LatentDiT
from diffusion.networks.dit import position_embedding
from radiolucent.convert.source import Tensors, count, fill, need, rename

KIND = "DeBoneDiT's transformer (SiT)"
RULES = [
    (r"^x_embedder\.proj\.", "patchify."),
    (r"^t_embedder\.mlp\.0\.", "time_embedding.linear_1."),
    (r"^t_embedder\.mlp\.2\.", "time_embedding.linear_2."),
    (r"\.attn\.(qkv|proj)\.", r".\1."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
    (r"\.adaLN_modulation\.1\.", ".modulation."),
    (r"^final_layer\.adaLN_modulation\.1\.", "modulation."),
    (r"^final_layer\.modulation\.", "modulation."),
    (r"^final_layer\.linear\.", "out."),
]
UNUSED = ("y_embedder.", "pos_embed")  # class labels are not given; the fixed position embedding is computed


def convert_sit(tensors: Tensors, heads: int) -> LatentDiT:
    """LatentDiT of a SiT's state dict; half of its input channels are the latent's, and as many outputs are kept.

    Args:
        tensors: By name.
        heads: Of each attention, which the weights do not say.

    Returns:
        The network with its weights.

    Raises:
        ValueError: A position embedding that is not the fixed one, or weights of another shape.
    """
    first = need(tensors, "x_embedder.proj.weight", KIND)
    width, inputs, patch = first.shape[:3]
    latent = inputs // 2
    _check_positions(need(tensors, "pos_embed", KIND))
    state = rename({name: t for name, t in tensors.items() if not name.startswith(UNUSED)}, RULES)
    of_x, of_y = first[:, :latent], first[:, latent:]
    state["patchify.weight"] = torch.cat([-of_x, of_x + of_y], dim=1)
    for name in ("out.weight", "out.bias"):  # rows run over (patch, patch, channel)
        rows = need(state, name, KIND)
        kept = rows.reshape(patch * patch, -1, *rows.shape[1:])[:, :latent]
        state[name] = -kept.reshape(-1, *rows.shape[1:])
    model = LatentDiT(
        latent_channels=latent,
        condition_channels=inputs - latent,
        width=width,
        depth=count(tensors, r"blocks\.(\d+)\."),
        heads=heads,
        patch=patch,
        mlp_ratio=need(tensors, "blocks.0.mlp.fc1.weight", KIND).shape[0] / width,
    )
    fill(model, state, "a LatentDiT of their sizes")
    return model


def _check_positions(embedding: torch.Tensor) -> None:
    side = round(embedding.shape[1] ** 0.5)
    fixed = position_embedding(side, side, embedding.shape[2], embedding.device)
    if side**2 != embedding.shape[1] or (embedding[0] - fixed).abs().max() > 1e-3:
        raise ValueError("this transformer's position embedding is not the fixed one: LatentDiT cannot express it")

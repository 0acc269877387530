"""Where the findings of a report are likely to be: maps from text, which the denoising network then draws into.

Learnt from data with boxes or masks, by a loss of its own: in a diffusion model's loss the words left and right change
so little that a small model takes very long to obey them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

WIDTH, HEADS, LAYERS, COARSE = 128, 4, 2, 12  # of the tokens; the side of the maps before they are enlarged


class RegionPlanner(nn.Module):
    """One query a kind of finding reads the report and answers with a map.

    Args:
        text_width: D, of the report's embeddings.
        views: How many views the model knows.
        regions: R, kinds of findings.
        side: Of the maps, in pixels.
    """

    def __init__(self, text_width: int, views: int, regions: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.words = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, WIDTH))
        self.view = nn.Embedding(1 + views, WIDTH)
        self.kind = nn.Parameter(torch.randn(regions, WIDTH))
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.read = nn.TransformerDecoder(layer, LAYERS, nn.LayerNorm(WIDTH))
        self.draw = nn.Linear(WIDTH, COARSE * COARSE)

    def forward(self, report: Tensor, mask: Tensor, view: Tensor) -> Tensor:
        """Plan.

        Args:
            report: Embeddings of the reports' tokens (B, T, D).
            mask: (B, T) bool, true where there is a token.
            view: (B,) int as in Conditions.

        Returns:
            Logits (B, R, side, side) of each pixel being in a finding of the kind.
        """
        view = self.view(view).unsqueeze(1)
        memory = torch.cat([view, self.words(report)], dim=1)
        absent = torch.cat([mask.new_zeros(len(mask), 1), ~mask], dim=1)  # the view is always there to attend to
        found = self.read(self.kind + view, memory, memory_key_padding_mask=absent)
        coarse = self.draw(found).unflatten(-1, (COARSE, COARSE))
        return interpolate(coarse, size=(self.side, self.side), mode="bilinear", align_corners=False)

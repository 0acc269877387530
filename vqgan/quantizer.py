"""Vector quantiser: taming-transformers' VectorQuantizer2 with usage statistics and revival of dead codes."""

from __future__ import annotations

import torch
from taming.modules.vqvae.quantize import VectorQuantizer2
from torch import Tensor, distributed


def codebook_statistics(indices: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """Perplexity exp(-sum p log p) and used fraction of the codebook, scalars, over int64 `indices` of any shape."""
    return count_statistics(torch.bincount(indices.flatten(), minlength=codebook_size))


def count_statistics(counts: Tensor) -> tuple[Tensor, Tensor]:
    """As `codebook_statistics`, from how often each code was taken, int64 (codebook_size,)."""
    p = counts.float() / counts.sum()
    return torch.exp(-torch.xlogy(p, p).sum()), (p > 0).float().mean()


class VectorQuantizer(VectorQuantizer2):
    """Nearest-neighbour quantiser with a straight-through gradient (van den Oord et al. 2017, arXiv:1711.00937, eq. 3).

    The loss is ||sg(z) - e||^2 + commitment * ||z - sg(e)||^2, in the codebook's dtype also under autocast.
    While training, a running mean of each code's share of the assignments is kept; a code whose share falls under
    `revive_below` / codebook_size is set to an encoder output of the current batch ("random restarts", Dhariwal et al.
    2020, arXiv:2005.00341, section 3.1). A fresh codebook is dead as a whole, so the first batch initialises it.
    Which outputs are taken depends on `seed` and the number of batches seen only, so a resumed run does the same.

    Buffers: `usage` (codebook_size,) running share, 0 while untrained (weights from elsewhere: set it to 1 /
    codebook_size); `batches` () number of training batches seen.
    """

    def __init__(
        self,
        codebook_size: int,
        latent_channels: int,
        commitment: float = 0.25,
        usage_decay: float = 0.99,
        revive_below: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(codebook_size, latent_channels, commitment, sane_index_shape=True, legacy=False)
        self.usage_decay = usage_decay
        self.revive_below = revive_below
        self.seed = seed
        self.register_buffer("usage", torch.zeros(codebook_size))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) -> quantised (B, C, h, w) of the codebook's dtype, loss (), indices (B, h, w) int64."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.embedding.weight.dtype)
            if self.training:
                self._revive(z.detach())
            quantised, loss, (_, _, indices) = super().forward(z)
        if self.training:
            self._count(indices)
        return quantised, loss, indices

    def lookup(self, indices: Tensor) -> Tensor:
        """Codes (B, C, h, w) of indices (B, h, w)."""
        return self.embedding(indices).movedim(-1, 1)

    @torch.no_grad()
    def _revive(self, z: Tensor) -> None:
        dead = torch.nonzero(self.usage * self.n_e < self.revive_below).flatten()
        if len(dead) == 0:
            return
        outputs = z.movedim(1, -1).reshape(-1, self.e_dim)
        draw = torch.Generator().manual_seed(self.seed + int(self.batches))
        chosen = torch.randint(len(outputs), (len(dead),), generator=draw).to(z.device)
        codes = outputs[chosen]
        if distributed.is_initialized():
            distributed.broadcast(codes, src=0)
        self.embedding.weight[dead] = codes
        self.usage[dead] = 1 / self.n_e

    @torch.no_grad()
    def _count(self, indices: Tensor) -> None:
        counts = torch.bincount(indices.flatten(), minlength=self.n_e).float()
        if distributed.is_initialized():
            distributed.all_reduce(counts)
        self.usage.lerp_(counts / counts.sum(), 1 - self.usage_decay)
        self.batches += 1

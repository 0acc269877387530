"""Vector quantiser: taming-transformers' VectorQuantizer2 with usage statistics and revival of dead codes."""

from __future__ import annotations

import torch
from taming.modules.vqvae.quantize import VectorQuantizer2
from torch import Tensor, distributed


def codebook_statistics(indices: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """How evenly a codebook is used.

    Args:
        indices: int64, of any shape, in [0, codebook_size).
        codebook_size: Number of codes.

    Returns:
        Perplexity exp(-sum p log p), in [1, codebook_size], and the used fraction of the codebook, in (0, 1]; scalars.

    Example:
        >>> codebook_statistics(torch.tensor([0, 1, 2, 3]), 8)
        (tensor(4.), tensor(0.5000))
    """
    return count_statistics(torch.bincount(indices.flatten(), minlength=codebook_size))


def count_statistics(counts: Tensor) -> tuple[Tensor, Tensor]:
    """As `codebook_statistics`, from how often each code was taken.

    Args:
        counts: int64 (codebook_size,).

    Returns:
        Perplexity and used fraction, scalars.
    """
    p = counts.float() / counts.sum()
    return torch.exp(-torch.xlogy(p, p).sum()), (p > 0).float().mean()


class VectorQuantizer(VectorQuantizer2):
    """Nearest-neighbour quantiser with a straight-through gradient, usage statistics and revival of dead codes.

    The loss is ||sg(z) - e||^2 + commitment * ||z - sg(e)||^2, in the codebook's dtype also under autocast.
    While training, a running mean of each code's share of the assignments is kept; a code whose share falls under
    `revive_below` / codebook_size is set to an encoder output of the current batch ("random restarts"). A fresh
    codebook is dead as a whole, so the first batch initialises it. Which outputs are taken depends only on `seed` and
    the number of batches seen, so that a resumed run does the same.

    Buffers: `usage` (codebook_size,), the running share, 0 while untrained (weights from elsewhere: set it to 1 /
    codebook_size); `batches` (), the number of training batches seen.

    Args:
        codebook_size: Number of codes.
        latent_channels: Numbers a code.
        commitment: Factor of the loss that draws the encoder's outputs to their codes.
        usage_decay: Of the running mean, a training batch.
        revive_below: Share, in units of 1 / codebook_size, under which a code is dead.
        seed: Of the choice of outputs that revive dead codes.

    Reference:
        van den Oord et al. 2017, arXiv:1711.00937, eq. 3; Dhariwal et al. 2020, arXiv:2005.00341, section 3.1.
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
        """Quantise latents; in training, count the codes and revive dead ones.

        Args:
            z: Latents (B, C, h, w).

        Returns:
            Codes (B, C, h, w) of the codebook's dtype, loss (), indices (B, h, w) int64.
        """
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.embedding.weight.dtype)
            if self.training:
                self._revive(z.detach())
            quantised, loss, (_, _, indices) = super().forward(z)
        if self.training:
            self._count(indices)
        return quantised, loss, indices

    def lookup(self, indices: Tensor) -> Tensor:
        """Codes of given indices.

        Args:
            indices: (B, h, w) in [0, codebook_size).

        Returns:
            Codes (B, C, h, w).
        """
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

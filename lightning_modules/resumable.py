"""Data in an order that depends on the seed and the epoch alone, and that a stopped run takes up where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class EpochSampler(DistributedSampler):
    """Yields (epoch, index), so that a data set can seed its augmentation, whichever worker it runs in.

    Being a DistributedSampler, it is given the epoch by Lightning and is not replaced on several devices.
    """

    start: int = 0  # samples to leave out of the next pass: they were seen before the run was stopped

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        start, self.start = self.start, 0
        for index in list(super().__iter__())[start:]:
            yield self.epoch, index


class ResumableLoader(DataLoader):
    """A DataLoader over an `EpochSampler` whose position in the epoch is saved in Lightning's checkpoints."""

    delivered: int = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.delivered = self.sampler.start // (self.batch_size or 1)  # type: ignore[attr-defined]
        for batch in super().__iter__():
            self.delivered += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The batches already delivered in this epoch; 0 when it is over."""
        return {"delivered": self.delivered % max(1, len(self))}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches in `state`."""
        self.sampler.start = state["delivered"] * (self.batch_size or 1)  # type: ignore[attr-defined]


def epoch_loader(
    dataset: Dataset,
    trainer: Any,
    train: bool,
    batch_size: int,
    workers: int,
    seed: int,
    collate: Callable | None = None,
) -> ResumableLoader:
    """The loader of a data module: items asked for by (epoch, index), dealt to the trainer's devices.

    dataset: has a length. trainer: Lightning's, or None for one device. train: shuffled by seed and epoch, and an
    incomplete last batch left out unless it is the only one; else in order.
    """
    sampler = EpochSampler(
        dataset,
        num_replicas=trainer.world_size if trainer else 1,
        rank=trainer.global_rank if trainer else 0,
        shuffle=train,
        seed=seed,
    )
    return ResumableLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        drop_last=train and len(dataset) >= batch_size * sampler.num_replicas,  # type: ignore[arg-type]
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )

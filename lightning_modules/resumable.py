"""Data in an order that depends on the seed and the epoch alone, and that a stopped run takes up where it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler


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

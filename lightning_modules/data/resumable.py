"""Data in an order that depends on the seed and the epoch alone, and in which a stopped run resumes where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import Trainer
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

    def position(self, place: int) -> int:
        """Where an image of this process stands in the whole order.

        Args:
            place: Its number among this process's images.

        Returns:
            Its number among all; -1 for one that only fills this process up.
        """
        position = place * self.num_replicas + self.rank
        return position if position < len(self.dataset) else -1  # type: ignore[arg-type]


class ResumableLoader(DataLoader):
    """A DataLoader over an `EpochSampler` whose position in the epoch is saved in Lightning's checkpoints.

    Batches for measuring, which are not shuffled, are dicts with one more entry, "position" (list of int): each image's
    place in the whole order, over all processes, or -1 for one that the sampler repeats so that every process has as
    many (see `lightning_modules.processes.own_images`).

    Attributes:
        trainer: Lightning's, whose count of batches is put right when a run resumes with another batch size.
        seen: images of this epoch that this process has delivered.
    """

    trainer: Trainer | None = None
    seen: int = 0

    @property
    def _order(self) -> EpochSampler:
        """The sampler; for prediction, Lightning makes the loader anew and hides it in a batch sampler."""
        return self.batch_sampler.sampler  # type: ignore[union-attr, return-value]

    @property
    def _size(self) -> int:
        return self.batch_sampler.batch_size  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        order = self._order
        self.seen = order.start
        for batch in super().__iter__():
            places = range(self.seen, min(self.seen + self._size, order.num_samples))
            self.seen = places.stop
            if not order.shuffle and isinstance(batch, dict):
                batch["position"] = [order.position(place) for place in places]
            yield batch

    def _batches_after(self, seen: int) -> int:
        left = self._order.num_samples - seen
        return left // self._size if self.batch_sampler.drop_last else -(-left // self._size)  # type: ignore[union-attr]

    def state_dict(self) -> dict[str, int]:
        """The images that all processes together have delivered in this epoch; 0 when it is over.

        Returns:
            {"images": count}, which Lightning puts into a checkpoint.
        """
        return {"images": self.seen * self._order.num_replicas if self._batches_after(self.seen) else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume after the images in `state`, whatever the batch size was and is.

        Args:
            state: As `state_dict` gives it; {"delivered": batches} of an earlier version is taken too.

        Raises:
            ValueError: The epoch has images left, but too few for one batch.
        """
        order = self._order
        before = state["delivered"] * self._size if "delivered" in state else state["images"] // order.num_replicas
        if not before:
            return
        left = self._batches_after(before)
        if not left:
            raise ValueError(
                f"the checkpoint was saved {before * order.num_replicas} images into an epoch of {order.total_size}, "
                f"and {order.num_replicas} x batch_size {self._size} is more than the rest: resume with the batch_size "
                "that it was trained with, or a smaller one"
            )
        order.start = before
        if self.trainer is not None:
            progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
            shift = len(self) - left - progress.ready  # not 0 where batches have become larger or smaller
            for name in ("ready", "started", "processed", "completed"):
                setattr(progress, name, getattr(progress, name) + shift)


def epoch_loader(
    dataset: Dataset,
    trainer: Trainer | None,
    train: bool,
    batch_size: int,
    workers: int,
    seed: int,
    collate: Callable | None = None,
) -> ResumableLoader:
    """The loader of a data module: items asked for by (epoch, index), dealt to the trainer's devices.

    Args:
        dataset: Has a length.
        trainer: Lightning's, or None for one device.
        train: Shuffled by seed and epoch, and an incomplete last batch left out unless it is the only one; else in
            order.
        batch_size: Items of a batch.
        workers: Data processes.
        seed: Of the order.
        collate: Items to a batch; None: torch's.

    Returns:
        The loader.
    """
    sampler = EpochSampler(
        dataset,
        num_replicas=trainer.world_size if trainer else 1,
        rank=trainer.global_rank if trainer else 0,
        shuffle=train,
        seed=seed,
    )
    loader = ResumableLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        drop_last=train and len(dataset) >= batch_size * sampler.num_replicas,  # type: ignore[arg-type]
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    loader.trainer = trainer
    return loader

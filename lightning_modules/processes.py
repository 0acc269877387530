"""Several processes as one: what is measured on one of them is measured on all, and counts every image once.

Lightning's own `sync_dist` divides whole numbers of images on the CPU with the remainder cut off, and counts images
that the sampler repeats, so that a metric's mean would depend on the number of processes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, distributed

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

Value = TypeVar("Value")


def of_all_processes(value: Value) -> list[Value]:
    """`value`, which can be pickled, of every process, in the order of their ranks.

    Args:
        value: Of this process.

    Returns:
        A list of one value without torch.distributed.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def own_images(batch: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The batch without the images that a sampler repeats to give every process as many.

    Args:
        batch: Tensors and lists of B each; "position" as ResumableLoader puts it there, or without it.

    Returns:
        (batch, how many images are left). Where that is none, the batch is whole, and nothing in it counts.
    """
    size = len(batch["radiograph"])
    count = sum(position >= 0 for position in batch.get("position", range(size)))
    return ({key: value[:count] for key, value in batch.items()} if 0 < count < size else batch), count


def among_first(batch: dict[str, Any], batch_idx: int, images: int) -> int:
    """How many of a batch's images, its first ones, are among the first of all that are measured.

    Args:
        batch: With "position" as ResumableLoader puts it there; without it, the first batch's images are those.
        batch_idx: Number of the batch.
        images: How many are the first.

    Returns:
        0 to B.
    """
    if "position" in batch:
        return sum(0 <= position < images for position in batch["position"])
    return min(images, len(batch["radiograph"])) if batch_idx == 0 else 0


def image_seeds(batch: dict[str, Any], *keys: int) -> list[int]:
    """One seed an image, of keys and its name alone, so that neither its batch nor its process decides what it gets.

    Args:
        batch: With "name" (list of str); without it, the image's place in the batch stands in.
        *keys: Numbers of 0 or more.

    Returns:
        B seeds.
    """
    names = batch.get("name", [str(place) for place in range(len(batch["radiograph"]))])
    return [zlib.crc32(repr((*keys, name)).encode()) for name in names]


class Means:
    """Means over all images of an evaluation, however they are dealt to batches and processes."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, mean: Tensor | float, count: int) -> None:
        """Take in a mean.

        Args:
            name: Of what.
            mean: ().
            count: Images that it is over, 1 or more.
        """
        value, images = self.sums.get(name, (0.0, 0))
        self.sums[name] = (value + float(mean) * count, images + count)

    def collect(self) -> dict[str, float]:
        """The means over all processes; and start anew.

        Returns:
            {name: mean over all images}; every process gets the same.
        """
        gathered, self.sums = of_all_processes(self.sums), {}
        names = dict.fromkeys(name for sums in gathered for name in sums)
        totals = {name: map(sum, zip(*(sums[name] for sums in gathered if name in sums))) for name in names}
        return {name: value / count for name, (value, count) in totals.items()}


class Spread:
    """The standard deviation of all numbers that any process has taken in."""

    def __init__(self) -> None:
        self.moments = (0.0, 0.0, 0.0)  # how many, their sum, the sum of their squares

    def add(self, values: Tensor) -> None:
        """Take in numbers of any shape.

        Args:
            values: On any device, of any type; added up in float64.
        """
        numbers = values.detach().cpu().double()
        count, total, squares = self.moments
        self.moments = (count + numbers.numel(), total + float(numbers.sum()), squares + float(numbers.square().sum()))

    def collect(self) -> float:
        """The deviation (with n - 1, as torch's `std`) over all processes; and start anew.

        Returns:
            In the numbers' unit; every process gets the same.
        """
        gathered, self.moments = of_all_processes(self.moments), (0.0, 0.0, 0.0)
        count, total, squares = map(sum, zip(*gathered))
        return max(0.0, (squares - total**2 / count) / (count - 1)) ** 0.5


def unit_scale(scale: float, deviation: float) -> float:
    """What latents must be scaled by to have standard deviation 1.

    Args:
        scale: Their present scaling factor.
        deviation: Their standard deviation under it.

    Returns:
        The new factor.

    Raises:
        ValueError: There is none: they are all the same, or not finite.
    """
    if not 0 < deviation < float("inf"):
        raise ValueError(
            f"the first batch's latents have a standard deviation of {deviation:g}, so that no scale brings it to 1: "
            "look at the images, and at the VQ-GAN's reconstructions of them"
        )
    return scale / deviation


def find_unused_parameters(module: LightningModule) -> None:
    """Let DDP look, at each step, for the parameters that a loss does not reach; for networks that learn in turns.

    Args:
        module: Whose `setup` this is called in, before the strategy wraps it.

    Raises:
        ValueError: The strategy was told not to look.
    """
    from lightning.pytorch.strategies import DDPStrategy

    strategy = getattr(getattr(module, "_trainer", None), "strategy", None)
    if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.setdefault("find_unused_parameters", True):
        raise ValueError(
            "a generator and its discriminator learn in turns, so that a step leaves parameters without a gradient, "
            "which this strategy does not allow: set trainer.strategy to ddp or ddp_find_unused_parameters_true"
        )

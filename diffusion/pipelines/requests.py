"""How images are asked for and given back in diffusers' manner: prompts, views, generators, and output types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor

from diffusion.pipelines.checks import whole_seeds
from radiographs.vocabulary import VIEWS

if TYPE_CHECKING:
    from jaxtyping import Float

OUTPUT_TYPES = ("pt", "np", "pil")
Prompt = str | Sequence[str]
View = str | Sequence[str | None]


@dataclass
class SynthesisOutput(BaseOutput):
    """What SynthesisPipeline returns.

    Attributes:
        images: (B, 1, H, W) float32 on the CPU, in [-1, 1], bones bright; with output_type "np" float32 (B, H, W, 1) in
            [0, 1], with "pil" a list of 8-bit PIL images.
    """

    images: Any


def asked_for(
    prompt: Prompt | None, view: View | None, views: View | None, known: Sequence[str]
) -> tuple[list[str] | None, list[str | None]]:
    """Prompts and views, as many of the one as of the other.

    Args:
        prompt: One, or one an image; None: none is read.
        view: One for all, or one an image; None leaves it open.
        views: The same under its older name.
        known: Views that the model draws.

    Returns:
        The prompts, or None, and the views.

    Raises:
        ValueError: Nothing is asked for, their numbers differ, or the model does not know a view.
    """
    if view is not None and views is not None:
        raise ValueError("view and views are the same: give one of them")
    chosen = views if view is None else view
    if isinstance(chosen, str) and chosen not in VIEWS:
        raise ValueError(f"the view is '{chosen}'; expected one of {', '.join(known)} (a text is given as prompt=...)")
    for name, given in (("prompt", prompt), ("view", chosen)):
        if isinstance(given, str) or given is None:
            continue
        if not isinstance(given, Sequence) or any(not isinstance(one, str | None) for one in given):
            raise ValueError(f"{name} is {given!r}; expected a text, or a list with one for each image")
    if prompt is None and chosen is None:
        raise ValueError("nothing is asked for: give prompt=..., view=..., or both")
    for one in (chosen,) if isinstance(chosen, str) else chosen or ():
        if one is not None and one not in known:
            raise ValueError(f"the view is '{one}'; expected one of {', '.join(known)}: this model knows no other")
    one_view = chosen is None or isinstance(chosen, str)
    prompts = None if prompt is None else [prompt] if isinstance(prompt, str) else list(prompt)
    count = 1 if prompts is None else len(prompts)
    asked: list[str | None] = [chosen] * count if one_view else list(chosen)  # type: ignore[list-item, arg-type]
    if prompts is not None and len(prompts) != len(asked):
        if not isinstance(prompt, str):
            raise ValueError(f"{len(prompts)} prompts for {len(asked)} views: give as many, or one view for all")
        prompts = prompts * len(asked)
    return prompts, asked


def check_trained_views(trained: Any, encoded: int) -> None:
    """Check which views a model says that it was trained on.

    Args:
        trained: Names, or None where they are not recorded.
        encoded: How many of VIEWS, from the first, its conditioner can encode.

    Raises:
        ValueError: It is no list, is empty, or names another view.
    """
    if trained is None:
        return
    views = VIEWS[:encoded]
    if not isinstance(trained, (list, tuple)) or not trained or any(view not in views for view in trained):
        raise ValueError(f"trained_views is {trained!r}; expected a list of {', '.join(views)}, or None")


def seeds_from(generator: Any, seeds: Sequence[int] | None, count: int) -> Sequence[int]:
    """The seeds of `count` images: as given, or drawn, else 0, 1, ...

    Args:
        generator: A torch.Generator from which all are drawn, or one an image.
        seeds: One an image.
        count: Number of images.

    Returns:
        One seed an image.

    Raises:
        ValueError: Both are given, the generators are not one an image, or seeds are no whole numbers from 0.
    """
    if generator is None:
        return range(count) if seeds is None else whole_seeds(seeds)
    if seeds is not None:
        raise ValueError("generator and seeds: give one of them")
    if isinstance(generator, torch.Generator):
        return _draw(generator, count)
    if len(generator) != count:
        raise ValueError(f"{len(generator)} generators for {count} images: give one an image, or one for all")
    return [_draw(one, 1)[0] for one in generator]


def as_tensor(name: str, given: Any, dtype: torch.dtype = torch.float32) -> Tensor | None:
    """A caller's array as a tensor.

    Args:
        name: Of the argument, for the message.
        given: A tensor, which stays as it is, a numpy array, or None.
        dtype: Of the tensor made of a numpy array.

    Returns:
        The tensor, or None.

    Raises:
        ValueError: It is something else.
    """
    if given is None or isinstance(given, Tensor):
        return given
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "biuf":
        raise ValueError(f"{name} is a {type(given).__name__}; expected a tensor, or a numpy array of numbers")
    return torch.as_tensor(given.copy()).to(dtype)


def height_width(size: Any, side: int) -> tuple[int, int]:
    """The size that is asked for.

    Args:
        size: (H, W), or None.
        side: Of images where it is None.

    Returns:
        (H, W).

    Raises:
        ValueError: It is something else.
    """
    if size is None:
        return side, side
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(one, int) for one in size):
        raise ValueError(f"size is {size!r}; expected (height, width) in pixels")
    return size[0], size[1]


def check_output_type(output_type: str) -> None:
    """Check in which form images are wanted.

    Args:
        output_type: "pt", "np" or "pil".

    Raises:
        ValueError: It is something else.
    """
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type is '{output_type}'; expected one of {', '.join(OUTPUT_TYPES)}")


def given_back(images: Tensor, output_type: str) -> Any:
    """Images as they are, or in diffusers' other forms.

    Args:
        images: (B, 1, H, W) in [-1, 1].
        output_type: "pt", "np" or "pil".

    Returns:
        "pt": as they are. "np": float32 (B, H, W, 1) in [0, 1]. "pil": a list of 8-bit grey PIL images.
    """
    if output_type == "pt":
        return images
    array = images.clamp(-1, 1).add(1).div(2).permute(0, 2, 3, 1).numpy()
    return array if output_type == "np" else DiffusionPipeline.numpy_to_pil(array) if len(array) else []


def _draw(generator: torch.Generator, count: int) -> list[int]:
    return torch.randint(0, 2**31 - 1, (count,), generator=generator, device=generator.device).tolist()


def check_request(
    count: int, seeds: Sequence[int], steps: int, micro_batch: int, size: tuple[int, int], multiple: int
) -> None:
    """Check how images are asked for.

    Args:
        count: Images.
        seeds: One an image.
        steps: Of sampling, 1 or more.
        micro_batch: Images at once, 1 or more.
        size: (H, W).
        multiple: What both must be divisible by.

    Raises:
        ValueError: One of them is something else.
    """
    if len(seeds) != count:
        raise ValueError(f"{count} images were asked for with {len(seeds)} seeds; give one seed an image")
    if not isinstance(steps, int) or not isinstance(micro_batch, int) or steps < 1 or micro_batch < 1:
        raise ValueError(
            f"num_inference_steps is {steps} and micro_batch {micro_batch}; both must be whole numbers of 1 or more"
        )
    if min(size) < 1 or size[0] % multiple or size[1] % multiple:
        raise ValueError(f"the size is {size[0]} x {size[1]}; this model needs multiples of {multiple}")


def checked_other_views(given: Any, size: tuple[int, int]) -> Float[Tensor, "batch views 1 height width"] | None:
    """The other views of a study, checked.

    Args:
        given: Expected: (B, K, 1, H, W) in [-1, 1], see `as_tensor`; or None.
        size: (H, W) of what is asked for.

    Returns:
        They as a tensor, or None.

    Raises:
        ValueError: Another kind, shape or range.
    """
    images = as_tensor("images", given)
    if images is None:
        return None
    if images.ndim != 5 or images.shape[2:] != (1, *size):
        raise ValueError(f"other views are {tuple(images.shape)}; expected (B, K, 1, {size[0]}, {size[1]})")
    low, high = images.aminmax()
    if not (low >= -1.001 and high <= 1.001):  # false for NaN as well
        raise ValueError(f"other views' values run from {low:g} to {high:g}; expected [-1, 1], bones bright")
    return images


def checked_regions(given: Any) -> Float[Tensor, "batch kinds rows columns"] | None:
    """The maps of where findings shall be, checked.

    Args:
        given: Expected: in [0, 1], 1 where a finding of the kind shall be, see `as_tensor`; or None.

    Returns:
        They as a tensor, or None.

    Raises:
        ValueError: Another kind or range.
    """
    regions = as_tensor("regions", given)
    if regions is None:
        return None
    low, high = regions.aminmax() if regions.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # true for NaN as well
        raise ValueError(f"maps of regions run from {low:g} to {high:g}; expected [0, 1], 1 where a finding shall be")
    return regions

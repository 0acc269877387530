"""What the bone suppression protocol reads beside the images: masks of the lungs, and findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from evaluation.suppression.contrast import lesions_from_mask, read_boxes
from radiographs.folders import images_in, read_mask, refuse
from radiographs.io import radiograph_size
from radiographs.lungs import inner_lungs


def lungs_of(
    source: str | None, path: Path | None, pixels: Mapping[str, np.ndarray], name: str, without: dict[str, str]
) -> np.ndarray | None:
    """The mask of an image's lungs.

    Args:
        source: "auto", a folder of masks, or None for no masks.
        path: The image's mask in that folder.
        pixels: The image by role.
        name: Of the image.
        without: Receives the image with the reason if no lungs are found.

    Returns:
        bool (H, W), or None.

    Raises:
        ValueError: A mask of another size, or an empty one.
    """
    if source is None:
        return None
    if path is None:
        try:
            return inner_lungs(pixels["radiograph"])
        except ValueError as error:
            without[name] = str(error)
            return None
    mask = read_mask(path)
    if mask.shape != pixels["truth"].shape or not mask.any():
        raise ValueError(f"a lung mask of {mask.sum()} pixels in {mask.shape[0]}x{mask.shape[1]}")
    return mask


def masks_of(folder: str, images: Mapping) -> dict[str, Path]:
    """The mask of each image.

    Args:
        folder: Masks under the images' names.
        images: By name; a mask that belongs to none of them is ignored.

    Returns:
        {name: file} of all masks in the folder.

    Raises:
        BadInputs: Images that lack a mask, all listed.
    """
    masks = images_in(folder)
    refuse(folder, [f"{name}: no mask" for name in images if name not in masks])
    return masks


def findings_of(source: str | None, images: Mapping[str, Mapping[str, Path]]) -> Callable[[str], list]:
    """How to get at the findings of an image; an image may have none.

    Args:
        source: A folder of masks, a CSV of boxes, or None.
        images: {name: {role: path}}.

    Returns:
        A function from an image's name to its findings.

    Raises:
        FileNotFoundError: No such folder or CSV.
        ValueError: Findings that do not fit the images.
    """
    if source is None:
        return lambda name: []
    if Path(source).is_dir():
        masks = images_in(source)
        refuse(source, [f"{name}: a mask of no image here" for name in masks if name not in images])

        def from_mask(name: str) -> list:
            if name not in masks:
                return []
            mask, shape = read_mask(masks[name]), radiograph_size(images[name]["truth"])
            if mask.shape != shape:
                raise ValueError(f"the findings' mask has {mask.shape} pixels, the image {shape}")
            return lesions_from_mask(mask)

        return from_mask
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source}: there is no such folder of masks or CSV file")
    shapes = {name: radiograph_size(paths["truth"]) for name, paths in images.items()}
    boxes = read_boxes(source, shapes)
    return lambda name: [box.draw(shapes[name]) for box in boxes.get(name, [])]

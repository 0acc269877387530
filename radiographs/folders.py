"""Folders of images: found by name and refused with the whole list of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radiographs.io import read_radiograph
from radiographs.kinds import FORMATS

if TYPE_CHECKING:
    from jaxtyping import Bool


class BadInputs(ValueError):
    """Inputs that are refused; `problems` is the whole list.

    Args:
        where: Folder or file that holds them.
        problems: One sentence each.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        shown = "; ".join(self.problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        super().__init__(f"{where}: {len(problems)} bad: {shown}")


def refuse(where: str, problems: Sequence[str]) -> None:
    """Raise BadInputs if there are problems.

    Args:
        where: Folder or file that holds them.
        problems: One sentence each; none is fine.

    Raises:
        BadInputs: With the whole list.
    """
    if problems:
        raise BadInputs(where, problems)


BESIDES = ("strips", "selftest")  # folders in which `radiolucent suppress` puts pictures that are no results


def images_in(folder: str | Path) -> dict[str, Path]:
    """The images in a folder and below it; not those in BESIDES.

    Args:
        folder: Where to look.

    Returns:
        {path without the suffix, relative to the folder: file}, in order.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Two images have one name, there is none, or a folder is linked, so that its images would be left out
            of the measurement.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    everything = list(folder.rglob("*"))
    linked = [f"{path}: a linked folder" for path in everything if path.is_symlink() and path.is_dir()]
    refuse(f"{folder} (links to folders are not followed: copy what they lead to)", linked)
    files = (path for path in everything if path.suffix.lower() in FORMATS and not path.name.startswith("."))
    files = (path for path in files if path.relative_to(folder).parts[0] not in BESIDES)
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(path for path in files if path.is_file()):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            problems.append(f"{path.name}: {found[name].name} has its name too")
        found[name] = path
    refuse(str(folder), problems)
    if not found:
        raise ValueError(f"{folder}: no images ({', '.join(FORMATS)})")
    return found


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """A mask file: every level above the lowest possible is inside.

    Args:
        path: A grey picture.

    Returns:
        bool (H, W).

    Raises:
        ValueError: As `read_radiograph`.
    """
    return read_radiograph(path).pixels > -1

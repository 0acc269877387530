"""Pairs on disk: a radiograph and the soft-tissue image of the same name.

Two layouts: BS-LDM's (root/CXR, root/BS, and the lists train_set.txt and test_set.txt) and two plain folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radiographs.io import FORMATS, radiograph_size
from radiographs.readable import why_unreadable
from radiographs.tables import read_lines

RADIOGRAPHS, SOFTS = "CXR", "BS"
TRAIN_LIST, TEST_LIST = "train_set.txt", "test_set.txt"


@dataclass(frozen=True)
class Pair:
    """Two images of the same view.

    Attributes:
        name: The radiograph's file name.
        radiograph: Its file.
        soft: File of its soft tissue.
    """

    name: str
    radiograph: Path
    soft: Path


def find_pairs(radiographs: str | Path, softs: str | Path) -> list[Pair]:
    """All pairs of two folders, matched by file name without the suffix.

    Args:
        radiographs: Folder.
        softs: Folder.

    Returns:
        Pairs in the order of their names.

    Raises:
        ValueError: Images without a partner, unreadable, or of another size than their partner, all listed.
    """
    ours, theirs = _images(radiographs), _images(softs)
    problems = [f"{path.name}: no partner in {softs}" for stem, path in ours.items() if stem not in theirs]
    problems += [f"{path.name}: no partner in {radiographs}" for stem, path in theirs.items() if stem not in ours]
    pairs = [Pair(path.name, path, theirs[stem]) for stem, path in ours.items() if stem in theirs]
    problems += [problem for pair in pairs if (problem := _problem(pair))]
    _refuse(problems, f"{radiographs} and {softs}")
    if not pairs:
        raise ValueError(f"{radiographs}: no images ({', '.join(FORMATS)}) where pairs were expected")
    return pairs


def read_list(path: str | Path) -> list[str]:
    """The file names in a BS-LDM list: no header, the first column of tab-separated lines.

    Args:
        path: The list.

    Returns:
        Names in its order.
    """
    return [name for line in read_lines(path) if (name := line.split("\t")[0].strip())]


def select(pairs: Sequence[Pair], names: Sequence[str], where: str) -> list[Pair]:
    """The pairs that a list names, in its order.

    Args:
        pairs: To choose from.
        names: Of the list.
        where: The list's file, for messages.

    Returns:
        As many pairs as names.

    Raises:
        ValueError: Names that have no pair or occur twice, all listed.
    """
    by_name = {pair.name: pair for pair in pairs}
    problems = [f"{name}: no such pair" for name in names if name not in by_name]
    problems += [f"{name}: named more than once" for name, count in Counter(names).items() if count > 1]
    _refuse(problems, where)
    return [by_name[name] for name in names]


def _images(folder: str | Path) -> dict[str, Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; pairs lie in two folders, such as {RADIOGRAPHS} and {SOFTS}"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS and path.name[0] != ".")
    images = {path.stem: path for path in files}
    _refuse([f"{path.name}: {images[path.stem].name} too" for path in files if images[path.stem] != path], str(folder))
    return images


def _problem(pair: Pair) -> str:
    if problem := why_unreadable(pair.radiograph) or why_unreadable(pair.soft):
        return problem
    size, other = radiograph_size(pair.radiograph), radiograph_size(pair.soft)
    if size != other:
        return f"{pair.name}: {size[0]}x{size[1]} pixels, its partner {other[0]}x{other[1]}"
    return ""


def _refuse(problems: list[str], where: str) -> None:
    if problems:
        shown = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise ValueError(f"{where}: {len(problems)} bad: {shown}")

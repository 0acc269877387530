"""Images that are to be evaluated: found, matched and checked. What is wrong is refused with the whole list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radiographs.folders import images_in, refuse
from radiographs.io import radiograph_size
from radiographs.tables import read_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NAME_COLUMNS = ("img_savename", "synthetic_filename", "filename", "path", "image", "name")  # CheXGenBench's and ours

PROMPT_COLUMNS = ("annotated_prompt", "prompt")

OPPOSITE = -0.5  # correlation with the rest of a set below which an image counts as a negative

THUMBNAIL = 32


@dataclass(frozen=True)
class ImageSet:
    """Images by name.

    Attributes:
        source: Where they come from, for messages.
        paths: {name: file}.
        rows: {name: its row of the CSV}; empty for a folder.
    """

    source: str
    paths: dict[str, Path]
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The images' names, in order."""
        return list(self.paths)

    def column(self, name: str) -> list[str]:
        """A column of the CSV in the order of the images.

        Args:
            name: Of the column, as the header spells it.

        Returns:
            One cell an image, as text.

        Raises:
            ValueError: The table lacks that column, or the images come from a folder.
        """
        columns = next(iter(self.rows.values()), {})
        if name not in columns:
            raise ValueError(f"{self.source}: no column '{name}'; its columns are {', '.join(columns) or 'none'}")
        return [self.rows[image][name] for image in self.paths]

    @property
    def prompts(self) -> list[str]:
        """The prompts, from the first of CheXGenBench's columns that is there."""
        columns = next(iter(self.rows.values()), {})
        return self.column(next((c for c in PROMPT_COLUMNS if c in columns), PROMPT_COLUMNS[0]))


def read_set(source: str | Path, root: str | Path | None = None) -> ImageSet:
    """Find the images of a folder or of a table.

    Args:
        source: A folder of images, or a table whose rows name images in one of `NAME_COLUMNS`.
        root: What names in the table are relative to; None: the table's folder.

    Returns:
        The images, with their rows.

    Raises:
        FileNotFoundError: No such folder or table.
        ValueError: Files that the table names and that are not there or are named twice, all listed; with a table and a
            `root`, also images in `root` that no row names.
    """
    source = Path(source)
    if source.is_dir():
        return ImageSet(str(source), images_in(source))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such folder or CSV file")
    rows = list(read_rows(source))
    if not rows:
        raise ValueError(f"{source}: no rows")
    column = next((name for name in NAME_COLUMNS if name in rows[0]), None)
    if column is None:
        raise ValueError(f"{source}: none of its columns ({', '.join(rows[0])}) is one of {', '.join(NAME_COLUMNS)}")
    base = source.parent if root is None else Path(root)
    names = [str(row[column] or "") for row in rows]
    problems = [f"{row.where}: no image named" for row, name in zip(rows, names) if not name]
    problems += [f"{name}: named in {n} rows" for name, n in Counter(names).items() if n > 1 and name]
    problems += [f"{base / name}: no such file" for name in dict.fromkeys(names) if not (base / name).is_file()]
    if root is not None:
        listed = {(base / name).resolve() for name in names}
        problems += [f"{path}: no row" for path in images_in(root).values() if path.resolve() not in listed]
    refuse(str(source), problems)
    return ImageSet(str(source), {name: base / name for name in names}, dict(zip(names, rows)))


def match(folders: Mapping[str, str | Path], resizable: Collection[str] = ()) -> dict[str, dict[str, Path]]:
    """Images of the same name in every folder: {name: {role: path}}, ordered by name.

    Args:
        folders: {role: folder}.
        resizable: Roles whose images may have another size than their partners', but not another aspect.

    Returns:
        The files of each name; every inner mapping has all roles.

    Raises:
        BadInputs: Images that lack a partner, cannot be read, or differ in size (or aspect), all listed.
    """
    found = {role: images_in(folder) for role, folder in folders.items()}
    names = sorted(set().union(*found.values()))
    problems = [
        f"{name}: not in {folders[role]}" for name in names for role, images in found.items() if name not in images
    ]
    matched = {}
    for name in names:
        paths = {role: images[name] for role, images in found.items() if name in images}
        sizes = {}
        for role, path in paths.items():
            try:
                sizes[role] = radiograph_size(path)
            except (ValueError, OSError) as error:
                problems.append(str(error))
        fixed = {size for role, size in sizes.items() if role not in resizable}
        bent = [size for role, size in sizes.items() if role in resizable and not all(map(partial(alike, size), fixed))]
        if len(fixed) > 1 or bent:
            listed = ", ".join(f"{role} {height}x{width}" for role, (height, width) in sizes.items())
            problems.append(f"{name}: sizes differ ({listed})")
        matched[name] = paths
    refuse(", ".join(str(folder) for folder in folders.values()), problems)
    return matched


def alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes have one aspect, to a pixel of the smaller one.

    Args:
        a: (H, W) in pixels.
        b: (H, W) in pixels.

    Returns:
        Whether one is the other, made larger or smaller.
    """
    scale = max(a) / max(b)
    return max(abs(n - scale * m) for n, m in zip(a, b)) <= max(1.0, scale)


def opposite(a: Float[np.ndarray, "height width"], b: Float[np.ndarray, "height width"]) -> bool:
    """Whether two images of the same view look like negatives of each other.

    Args:
        a: (H, W) on any scale.
        b: (H, W) on any scale.

    Returns:
        Whether they correlate below OPPOSITE.
    """
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return scale > 0 and float((x * y).sum()) / scale < OPPOSITE


def negatives(thumbnails: Float[np.ndarray, "count height width"]) -> np.ndarray:
    """Indices of images that look like negatives among the others: the minority along the common pattern.

    The common pattern is the first principal direction of the standardised images, not centred on their mean, so that
    half of a set may be turned. Views may differ: only a correlation under -0.5 with the majority's pattern counts.

    Args:
        thumbnails: (N, h, w).

    Returns:
        (K,) of [0, N).
    """
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = flat / np.where(norms > 0, norms, 1)
    _, directions = np.linalg.eigh(flat.T @ flat)
    along = flat @ directions[:, -1]
    if np.median(along) < 0 or (np.median(along) == 0 and along.sum() < 0):
        along = -along
    return np.flatnonzero(along < OPPOSITE)


def check_set(
    images: ImageSet,
    thumbnails: Float[np.ndarray, "count 32 32"],
    sizes: Int[np.ndarray, "count 2"],
    accept: Sequence[str] = (),
) -> None:
    """Refuse a set of mixed polarity or of mixed sizes, with the list of the minority.

    Args:
        images: N images.
        thumbnails: (N, 32, 32).
        sizes: (N, 2) of the files.
        accept: "polarity", "sizes": what may be mixed.

    Raises:
        BadInputs: It is mixed.
    """
    problems = []
    if "polarity" not in accept:
        problems += [f"{images.names[i]}: a negative among the others" for i in negatives(thumbnails)]
    if "sizes" not in accept:
        (usual, _), *_ = Counter(map(tuple, sizes.tolist())).most_common(1)
        odd = (np.array(sizes) != usual).any(axis=1)
        problems += [
            f"{images.names[i]}: {sizes[i][0]}x{sizes[i][1]} pixels where most have {usual[0]}x{usual[1]}"
            for i in np.flatnonzero(odd)
        ]
    refuse(f"{images.source} (--accept polarity or sizes takes such a set as it is)", problems)


def check_pair(
    a: ImageSet,
    a_thumbnails: Float[np.ndarray, "count 32 32"],
    b: ImageSet,
    b_thumbnails: Float[np.ndarray, "others 32 32"],
) -> None:
    """Refuse two sets of which one is the other's negative, and sets that share a file.

    Args:
        a: N images.
        a_thumbnails: (N, 32, 32).
        b: M images.
        b_thumbnails: (M, 32, 32).

    Raises:
        ValueError: They are such sets.
    """
    if opposite(a_thumbnails.mean(axis=0), b_thumbnails.mean(axis=0)):
        raise ValueError(f"{b.source} looks like a negative of {a.source}: bones must be bright in both")
    ours = {path.resolve() for path in a.paths.values()}
    shared = [f"{name}: in {a.source} too" for name, path in b.paths.items() if path.resolve() in ours]
    refuse(b.source, shared)


def check_splits(
    a: ImageSet,
    a_thumbnails: Float[np.ndarray, "count 32 32"],
    b: ImageSet,
    b_thumbnails: Float[np.ndarray, "others 32 32"],
) -> None:
    """Refuse two splits that share an image, whatever its file is called, with the list.

    Args:
        a: N images.
        a_thumbnails: (N, 32, 32).
        b: M images.
        b_thumbnails: (M, 32, 32).

    Raises:
        BadInputs: They share one.
    """
    known = {small.tobytes(): name for name, small in zip(a.names, a_thumbnails)}
    pairs = ((name, known.get(small.tobytes())) for name, small in zip(b.names, b_thumbnails))
    refuse(b.source, [f"{name}: the same image as {other} in {a.source}" for name, other in pairs if other])


def thumbnail(pixels: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "32 32"]:
    """(H, W) -> (32, 32) by area averages, for checks.

    Args:
        pixels: In any range; the aspect is not kept.

    Returns:
        In the same range.
    """
    import cv2

    return cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)

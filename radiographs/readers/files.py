"""Files of a data set's folder by name."""

from __future__ import annotations

from pathlib import Path


def tables_named(root: Path, pattern: str) -> list[Path]:
    """The tables (.csv, .csv.gz) in a folder whose names match a pattern, in order.

    Args:
        root: The folder.
        pattern: As Path.glob takes it.

    Returns:
        Their paths.

    Raises:
        FileNotFoundError: No such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    return sorted(path for path in root.glob(pattern) if path.suffix in (".csv", ".gz"))


def the_one_table(root: Path, pattern: str) -> Path | None:
    """The table of a name, packed or not.

    Args:
        root: The folder.
        pattern: The name, with * for what differs between releases.

    Returns:
        The file; None where there is none.

    Raises:
        ValueError: There are two releases of it.
    """
    found = tables_named(root, pattern)
    if len({path.name.removesuffix(".gz") for path in found}) > 1:
        raise ValueError(f"{root}: several tables {', '.join(path.name for path in found)}: keep those of one release")
    return found[0] if found else None


def files_below(root: Path) -> list[Path]:
    """All files below a folder but hidden ones, such as the ._NAME that macOS leaves.

    Args:
        root: The folder.

    Returns:
        The files, sorted.
    """
    return sorted(path for path in root.rglob("*") if not path.name.startswith("."))

"""Which CT volumes the inputs of `radiolucent drr` hold: files, DICOM series, and trees of both, links followed."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from radiographs.vocabulary import VIEWS

DICOM_LOOKED_AT = 20  # files of a folder, to tell whether it holds a DICOM series
NAMES_SHOWN = 3
RAW = (".raw", ".zraw", ".raw.gz")  # the voxels of .mhd and .nhdr


@dataclass(frozen=True)
class Found:
    """A CT.

    Attributes:
        path: Its file or folder.
        name: Without suffix, below the input.
        series: If it is spread over several folders.
    """

    path: str
    name: str
    series: str | None = None


def find_cts(given: str) -> tuple[list[Found], str]:
    """The CTs of one input, and a sentence on the files that were left out.

    Args:
        given: A volume's file, a DICOM folder, or a tree of both.

    Returns:
        CTs ordered by path; where a folder holds none, the folder itself, which the reader will refuse. The sentence is
        "" if no file was left out.

    Raises:
        FileNotFoundError: an input that does not exist.
    """
    path = Path(given)
    if path.is_file():
        return [Found(given, stem(path.name))], ""
    if not path.is_dir():
        view = f"; repeat the option for a further view: --view {given}" if given.upper() in VIEWS else ""
        raise FileNotFoundError(f"{given}: there is no such file or folder; give CT volumes, or 'sample'{view}")
    found: list[Found] = []
    series: dict[Path, str] = {}
    left: dict[str, list[str]] = defaultdict(list)
    for folder, names in _walk(path):
        _look_into(folder, names, path, found, series, left)
    found += _dicom_jobs(series, path)
    if not found:
        found = [Found(given, path.resolve().name)]  # for the reader to say what is wrong with it
    return sorted(found, key=lambda one: one.path), _sentence(given, left)


def stem(name: str) -> str:
    """A file's name without .nii.gz, .nii, .mha, ...

    Args:
        name: Of the file, without its folder.

    Returns:
        The name without the longest such ending; of an unknown one without what follows its last dot.
    """
    from drr.io.read import FILES

    longest_first = sorted(FILES, key=len, reverse=True)
    ending = next((end for end in longest_first if name.lower().endswith(end)), Path(name).suffix)
    return name[: len(name) - len(ending)]


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names of its files), hidden ones left out; linked folders are followed, each folder once."""
    seen = set()
    for where, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(where), sorted(name for name in names if not name.startswith("."))


def _look_into(
    folder: Path,
    names: list[str],
    root: Path,
    found: list[Found],
    series: dict[Path, str],
    left: dict[str, list[str]],
) -> None:
    """Sort one folder's files: volumes into `found`, a DICOM folder into `series`, the others into `left` by kind."""
    from drr.io.read import FILES

    volumes = [name for name in names if name.lower().endswith(FILES)]
    others = [name for name in names if not name.lower().endswith(FILES)]
    if any(name.lower().endswith((".mhd", ".nhdr")) for name in volumes):
        others = [name for name in others if not name.lower().endswith(RAW)]
    for name in volumes:
        if _is_label_map(folder / name):
            left["NIfTI of 8 bits, such as label maps"].append(name)
        else:
            found.append(Found(str(folder / name), str((folder / stem(name)).relative_to(root))))
    uid = _series_of(folder, others)
    if uid is not None:
        series[folder] = uid
        return
    for name in others:
        kind = "broken links" if not (folder / name).exists() else Path(name).suffix or "without a suffix"
        left["DICOMDIR" if name.upper() == "DICOMDIR" else kind].append(name)


def _is_label_map(path: Path) -> bool:
    """Whether a NIfTI file holds numbers of 8 bits; one whose header cannot be read is kept, to be reported."""
    from drr.io.ct_rate import parse_name
    from drr.io.nifti import read_header

    if not path.name.lower().endswith((".nii", ".nii.gz")) or parse_name(path):
        return False
    try:
        header = read_header(path)
    except (ValueError, OSError):
        return False
    return header.dtype.itemsize == 1 and header.scale == (1.0, 0.0)


def _series_of(folder: Path, names: list[str]) -> str | None:
    """Series Instance UID of a folder's first DICOM image; None where there is none."""
    from drr.io.dicom.files import may_be_dicom, read_image

    candidates = (folder / name for name in names if may_be_dicom(folder / name))
    for path in islice(candidates, DICOM_LOOKED_AT):
        try:
            image = read_image(path)
        except ValueError:
            return ""  # damaged: the reader says so
        if image is not None:
            return str(image.header.get("SeriesInstanceUID") or "")
    return None


def _dicom_jobs(series: dict[Path, str], root: Path) -> list[Found]:
    """One CT for each DICOM folder; a series that is spread over several of them is one CT, named after the first."""
    by_uid: dict[str, list[Path]] = defaultdict(list)
    for folder, uid in series.items():
        by_uid[uid or str(folder)].append(folder)
    found = []
    for uid, folders in by_uid.items():
        name = root.resolve().name if folders[0] == root else str(folders[0].relative_to(root))
        if len(folders) == 1:
            found.append(Found(str(folders[0]), name))
        else:
            found.append(Found(os.path.commonpath(folders), name, uid))
    return found


def _sentence(given: str, left: dict[str, list[str]]) -> str:
    """What was left out of a folder: how many of which kind, and some names."""
    if not left:
        return ""
    counts = Counter({kind: len(names) for kind, names in left.items()})
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    some = [name for names in left.values() for name in names][:NAMES_SHOWN]
    names = [name.encode("utf-8", "backslashreplace").decode() for name in some]  # a name need not be UTF-8
    return f"{given}: left out {sum(counts.values())} file(s) that are no CT: {kinds} (such as {', '.join(names)})"

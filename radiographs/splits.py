"""Splits by patient, so that no patient is trained on and tested on."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from radiographs.readers.base import plain_text
from radiographs.tables import read_rows


def patients_from_names(names: Sequence[str], pattern: str | None = None) -> dict[str, str]:
    """The patient of each image, from its name.

    Args:
        names: Of images.
        pattern: A regular expression, whose first group (or whole match) is the patient; None: every image is its own
            patient.

    Returns:
        {name: patient}.

    Raises:
        ValueError: Names in which the pattern is not found, all listed.
    """
    if pattern is None:
        return {name: Path(name).stem for name in names}
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a regular expression: {error}") from None
    found = {name: expression.search(name) for name in names}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise ValueError(f"no patient in {len(missing)} names by '{pattern}': {_some(missing)}")
    return {name: match.group(1 if expression.groups else 0) for name, match in found.items() if match}


def patients_from_csv(names: Sequence[str], path: str | Path, name_column: str, patient_column: str) -> dict[str, str]:
    """The patient of each image, from a table (see radiographs.tables).

    Args:
        names: Of images.
        path: The table.
        name_column: Its column of names.
        patient_column: Its column of patients.

    Returns:
        {name: patient}.

    Raises:
        ValueError: Names that have no row, or no patient, all listed; or a name that has two patients.
    """
    rows: dict[str, str] = {}
    for row in read_rows(path, (name_column, patient_column)):
        name, patient = str(row[name_column]), plain_text(row[patient_column])
        if rows.setdefault(name, patient) != patient:
            raise ValueError(f"{row.where}: {name} is of patient {patient} here and of {rows[name]} before: keep one")
    missing = [name for name in names if not rows.get(name)]
    if missing:
        raise ValueError(f"{path}: no patient for {len(missing)} images: {_some(missing)}")
    return {name: rows[name] for name in names}


def split_by_patient(
    names: Sequence[str], patients: Mapping[str, str], fractions: Mapping[str, float], seed: int = 0
) -> dict[str, list[str]]:
    """Deal whole patients to the splits, in about the given fractions.

    A patient's split depends on the seed and the patient alone (a hash), so adding images moves nobody. Only if
    few patients leave a split empty, it takes one from a split that has several: the patient whose number of images is
    nearest to what the split should have or, among equals, whose hash is nearest.

    Args:
        names: Of images.
        patients: {name: patient}.
        fractions: {split: share}, of sum 1.
        seed: Of the hash.

    Returns:
        {split: names}.

    Raises:
        ValueError: Fractions that do not sum to 1, or fewer patients than splits.
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
        raise ValueError(f"fractions {dict(fractions)}: they must not be negative and must sum to 1")
    wanted = [split for split, fraction in fractions.items() if fraction > 0]
    ends = dict(zip(wanted, accumulate(fractions[split] for split in wanted)))
    places = {patient: _place(seed, patient) for patient in sorted({patients[name] for name in names})}
    if len(places) < len(wanted):
        raise ValueError(f"{len(places)} patients for {len(wanted)} splits ({', '.join(wanted)}): each needs one")
    homes = {who: next((s for s in wanted if place < ends[s]), wanted[-1]) for who, place in places.items()}
    images = Counter(patients[name] for name in names)
    for split in wanted:
        if split not in homes.values():
            crowds = Counter(homes.values())
            movable = [who for who in places if crowds[homes[who]] > 1]
            middle, share = ends[split] - fractions[split] / 2, fractions[split] * len(names)
            homes[min(movable, key=lambda who: (abs(images[who] - share), abs(places[who] - middle)))] = split
    return {split: [name for name in names if homes[patients[name]] == split] for split in fractions}


def _place(seed: int, patient: str) -> float:
    """A patient's place in [0, 1), by a hash."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:7], "big") / 2**56


def refuse_overlap(splits: Mapping[str, Sequence[str]], patients: Mapping[str, str]) -> None:
    """Check that no patient is in two splits.

    Args:
        splits: {split: names}.
        patients: {name: patient}.

    Raises:
        ValueError: Patients that are, all listed.
    """
    homes: dict[str, set[str]] = {}
    for split, names in splits.items():
        for name in names:
            homes.setdefault(patients[name], set()).add(split)
    shared = [f"{patient} ({', '.join(sorted(home))})" for patient, home in sorted(homes.items()) if len(home) > 1]
    if shared:
        raise ValueError(f"{len(shared)} patients are in more than one split: {_some(shared)}")


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:20]) + (f" and {len(items) - 20} more" if len(items) > 20 else "")

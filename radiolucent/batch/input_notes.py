"""What a batch says about its inputs on the screen: files that it left out, and warnings, each kind of them once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from radiographs.files import printable

SHOWN = 5  # names in one line


def tell_left_out(paths: Sequence[Path]) -> None:
    """Count and name the files of the input folders that are no radiographs.

    Args:
        paths: The files; nothing is printed if there are none, and at most SHOWN are named.
    """
    if paths:
        names = ", ".join(path.name for path in paths[:SHOWN])
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        files = "1 file is" if len(paths) == 1 else f"{len(paths)} files are"
        print(printable(f"{files} no radiograph (or hidden, linked or a DICOMDIR) and left out: {names}{more}"))


def tell_warnings(out: str | Path, names: Mapping[str, str]) -> None:
    """Print a line for each kind of warning that the manifest has for items, with one item that has it.

    Args:
        out: Folder of the batch.
        names: {key: name} of the items.
    """
    found: dict[str, list[str]] = {}
    with open(Path(out) / "manifest.jsonl", "rb") as file:
        for line in file:
            record = json.loads(line)
            if record.get("key") in names:
                found[record["key"]] = record.get("warnings", [])  # of an item done again, the latest counts
    kinds: dict[str, list[str]] = {}
    for key, warnings in found.items():
        for warning in warnings:
            kinds.setdefault(warning, []).append(names[key])
    for warning, items in kinds.items():
        others = f" and {len(items) - 1} more" if len(items) > 1 else ""
        print(printable(f"warning: {items[0]}{others}: {warning}"))

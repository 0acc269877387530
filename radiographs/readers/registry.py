"""The readers by the name of their data set; one file a data set.

Every reader takes (root, table) and gives a `Reading`: what it found, and how many images it skipped for what reason.
A view is one of VIEWS, or None where the data do not tell. No name, date or free text but the report's is kept.
Tables are read by radiographs.tables: damage, and a value that is none of those known, is refused with file and line.
"""

from __future__ import annotations

from collections.abc import Callable

from radiographs.readers.base import Reading
from radiographs.readers.chexpert import read_chexpert
from radiographs.readers.manifest import read_manifest
from radiographs.readers.mimic_cxr import read_mimic_cxr
from radiographs.readers.open_i import read_open_i
from radiographs.readers.table import read_table

READERS: dict[str, Callable[..., Reading]] = {
    "table": read_table,
    "mimic_cxr": read_mimic_cxr,
    "chexpert": read_chexpert,
    "open_i": read_open_i,
    "manifest": read_manifest,
}
RENAMED = {"ct_rate": "manifest"}  # readers by their old names, which are accepted until version 0.3

"""What the backends find of a CT and keep for its next views: one record a volume, gone with it.

A change of the voxels would not be seen, so a record makes the volume's arrays read-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from drr.volume import Volume

if TYPE_CHECKING:
    from drr.projection.packed import Packed


class Kept:
    """One volume's record.

    Attributes:
        slices: What slice streaming found, by the order in which it reads the voxels (see streaming.slices).
        on_device: The CT packed on the GPU (see cuda), by whether bone is with it.
    """

    def __init__(self) -> None:
        self.slices: dict[str, tuple] = {}
        self.on_device: dict[bool, Packed] = {}


_records: WeakKeyDictionary[Volume, Kept] = WeakKeyDictionary()


def kept_of(volume: Volume) -> Kept:
    """The record of a volume; an empty one if nothing has been found of it.

    Args:
        volume: The very object: a copy has its own record.

    Returns:
        The record itself, to be written to; it goes away with the volume.
    """
    return _records.setdefault(volume, Kept())


def lock(volume: Volume) -> None:
    """Make a volume's arrays read-only, since something has been found of them.

    Args:
        volume: Its voxels and its bone mask, if it has one.
    """
    for array in (volume.hu, volume.bone):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False


def forget(volume: Volume) -> None:
    """Drop a volume's record, and with it up to a copy of the CT on the CPU and 12 bytes a voxel on the GPU.

    Its arrays stay read-only: others share them.

    Args:
        volume: The CT.
    """
    _records.pop(volume, None)

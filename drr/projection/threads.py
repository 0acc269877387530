"""Torch's number of threads, kept over numba's kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads_of_torch_kept() -> Iterator[None]:
    """Around kernels of numba with threads of their own.

    numba's OpenMP layer sets the number of threads of the process, and torch's with it: without this, a process that
    was told to use two (OMP_NUM_THREADS, torch.set_num_threads) would compute in all cores after the first projection.

    Yields:
        Nothing; torch's number of threads is put back at the end, also after an error.
    """
    count = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)

"""A lot of images is decoded while the next one is sampled: two threads, of which one samples at a time.

Each runs a pipeline's own call from its first line to its last, so that the bytes are those of one call at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

THREADS = 2


class Overlap:
    """Decoding of one batch of images while the next one is sampled.

    Args:
        decoder: The module that a call comes to when its sampling is over; None overlaps nothing.
        device: `cpu`, where each thread works with one core, or a GPU, where each has a stream of its own.
    """

    def __init__(self, decoder: nn.Module | None, device: str) -> None:
        self._device = torch.device(device)
        self._lock, self._mine = threading.Lock(), threading.local()
        self._threads = ThreadPoolExecutor(THREADS, initializer=self._prepare)
        if decoder is not None:
            decoder.register_forward_pre_hook(lambda *_: self._give_up_the_turn())

    def _prepare(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_stream(torch.cuda.Stream(self._device))
        else:
            torch.set_num_threads(1)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around a call of the pipeline: waits until no other thread samples, and ends where the decoder begins.

        Yields:
            Nothing; a call that fails gives its turn to the next thread too.
        """
        self._lock.acquire()
        self._mine.turn = True
        try:
            yield
        finally:
            self._give_up_the_turn()

    def _give_up_the_turn(self) -> None:
        if getattr(self._mine, "turn", False):
            if self._device.type == "cuda":  # what was sampled and encoded must be there for the next thread's stream
                torch.cuda.current_stream(self._device).synchronize()
            self._mine.turn = False
            self._lock.release()

    def map(self, call: Callable[[Any], Any], lots: Sequence[Any]) -> Iterator[Any]:
        """call(lot) of each, in their order; at most one more than the threads is begun before it is asked for.

        Args:
            call: What draws one lot; it is called in a thread and takes its `turn` itself.
            lots: Its arguments, one a call.

        Yields:
            What `call` returned. What it raised is raised here, when its lot is reached.
        """
        begun: deque[Future] = deque()
        for lot in lots:
            begun.append(self._threads.submit(call, lot))
            if len(begun) > THREADS:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

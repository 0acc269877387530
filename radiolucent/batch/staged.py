"""Work in three stages that overlap: files are read ahead and written behind while a network answers.

Reading and writing wait for storage, or decode and compress outside of Python's lock; so threads of one process do.
What is in memory at once is bounded: a batch and a few files more on either side.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

MOST_THREADS = 4  # on either side; more would hold large images without being faster

Attempted = tuple[Any, str]  # what a stage gave, and "", or None and the reason


@runtime_checkable
class Staged(Protocol):
    """Work that a batch may overlap. Called with a payload it does all three stages of one item.

    Attributes:
        batch: Items that are answered together.
    """

    batch: int

    def __call__(self, payload: Any) -> dict[str, Any]:
        """All three stages of one item; its record for the manifest."""

    def read(self, payload: Any) -> Any:
        """What the work needs of the files; in a thread.

        Args:
            payload: Of one item.

        Returns:
            Whatever `answer` takes.
        """
        ...

    def answer(self, read: Sequence[Any]) -> list[Any]:
        """The results of up to `batch` items, in their order; where the batch was called.

        Args:
            read: What `read` returned for each; items that could not be read are not among them.

        Returns:
            One result an item, whatever `write` takes.
        """
        ...

    def write(self, answered: Any) -> dict[str, Any]:
        """Write one item's files; in a thread.

        Args:
            answered: One result of `answer`.

        Returns:
            The item's record for the manifest.
        """
        ...


def run_staged(
    work: Staged, items: Sequence[tuple[str, Any]], attempt: Callable[[Any, Any], Attempted]
) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    """Do all items, stage by stage, a few at a time.

    Args:
        work: The stages.
        items: (key, payload) each.
        attempt: Calls one function with one argument: (its result, "") or (None, the reason).

    Yields:
        (key, record or None, reason) of each item, in their order.
    """
    threads = max(1, min(MOST_THREADS, (os.cpu_count() or 1) // 2))
    readers, writers = ThreadPoolExecutor(threads, "read"), ThreadPoolExecutor(threads, "write")
    waiting, reading, writing = deque(items), deque[tuple[str, Future]](), deque[tuple[str, Future]]()
    try:
        while waiting or reading:
            while waiting and len(reading) < work.batch + threads:
                key, payload = waiting.popleft()
                reading.append((key, readers.submit(attempt, work.read, payload)))
            taken = [reading.popleft() for _ in range(min(work.batch, len(reading)))]
            found = [(key, future.result()) for key, future in taken]
            answers = iter(_answers(work, [read for _, (read, reason) in found if not reason], attempt))
            for key, (_, reason) in found:
                answered, reason = (None, reason) if reason else next(answers)
                writing.append((key, _done(reason) if reason else writers.submit(attempt, work.write, answered)))
            while writing and (writing[0][1].done() or len(writing) > threads):
                key, future = writing.popleft()
                yield (key, *future.result())
        for key, future in writing:
            yield (key, *future.result())
    finally:
        for pool in (readers, writers):
            pool.shutdown(cancel_futures=True)


def _answers(work: Staged, read: list[Any], attempt: Callable[[Any, Any], Attempted]) -> list[Attempted]:
    """Each item's answer; one by one where they fail together, so that only the guilty one is blamed."""
    together, reason = attempt(work.answer, read) if read else ([], "")
    if not reason:
        return [(answer, "") for answer in together]
    if len(read) == 1:
        return [(None, reason)]
    return [found for each in read for found in _answers(work, [each], attempt)]


def _done(reason: str) -> Future:
    future: Future = Future()
    future.set_result((None, reason))
    return future

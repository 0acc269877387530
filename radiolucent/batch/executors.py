"""Where a batch's items are worked on: in this process, in a pool of processes, or on a Ray cluster.

An executor is a generator function (work, items, workers, gpus) -> (key, record, reason) in the order of finishing;
`record` is None for a bad item and `reason` says why; gpus is what each worker needs.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

from radiolucent.batch.staged import Staged, run_staged

Item = tuple[str, Any]
Work = Callable[[Any], dict[str, Any]]
Result = tuple[str, "dict[str, Any] | None", str]

# glibc's memory in large pages, and kept when it is freed: a volume is given back and asked for again all the time, and
# the kernel would clear its pages each time, which takes as long as the ray casting.
MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.arena_max=1"
)
ATTEMPTS = 2  # times an item may lose its worker when it runs alone


def attempt(work: Callable[[Any], Any], payload: Any) -> tuple[Any, str]:
    """Run one item.

    Args:
        work: A function of one payload.
        payload: What it is given.

    Returns:
        (record, "") or (None, the reason in one line).
    """
    try:
        return work(payload), ""
    except (ValueError, OSError) as error:
        reason = str(error) or type(error).__name__
    except Exception as error:  # an overnight batch must not end at its first bad item
        reason = f"{type(error).__name__}: {error}"
    return None, " ".join(reason.split())


def _end_with_parent() -> None:
    """In a worker: end when the parent is killed, rather than write into a folder that a second run has taken."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _pool(workers: int) -> ProcessPoolExecutor:
    """Spawned, not forked: torch and numba hold threads, which a fork would lose."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent)


def worker_environment(workers: int) -> dict[str, str]:
    """The cores shared out among the workers, and memory as MALLOC says (glibc 2.35 or later; ignored elsewhere).

    Args:
        workers: Processes.

    Returns:
        Variables and their values, without those that are set already.
    """
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
    wanted = {**dict.fromkeys(names, threads), "GLIBC_TUNABLES": MALLOC}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


@contextmanager
def _inherited(environment: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started inside the block, and for nobody later.

    numba refuses to compile in a process whose NUMBA_NUM_THREADS changes after its threads began.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_local(work: Work, items: Sequence[Item], workers: int, gpus: int = 0) -> Iterator[Result]:
    """Do the items in this process or in spawned ones. Items of a lost worker are done again.

    In this process, work in stages overlaps them (see radiolucent.batch.staged).

    Args:
        work: A function of one payload.
        items: (key, payload).
        workers: Processes; 0 is this one.
        gpus: The processes see all of the machine's and share them out among themselves.

    Yields:
        (key, record, reason), in the order of finishing.
    """
    if workers == 0 and isinstance(work, Staged):
        yield from run_staged(work, items, attempt)
        return
    if workers == 0:
        for key, payload in items:
            yield (key, *attempt(work, payload))
        return
    environment = worker_environment(workers)
    waiting = list(reversed(items))
    while waiting:
        lost: list[Item] = []
        yield from _run_pool(work, waiting, workers, lost, environment)
        for item in lost:  # one at a time, so that only the item that kills its worker is blamed
            yield _run_alone(work, item, environment)


def _run_pool(
    work: Work, waiting: list[Item], workers: int, lost: list[Item], environment: Mapping[str, str]
) -> Iterator[Result]:
    """Take from the end of `waiting` until it is empty or a worker dies; then `lost` holds what was in flight."""
    with _pool(workers) as pool:
        flying: dict[Future, Item] = {}
        while waiting or flying:
            try:
                while waiting and len(flying) < 2 * workers and not lost:
                    with _inherited(environment):  # submitting starts a process where one is missing
                        flying[pool.submit(attempt, work, waiting[-1][1])] = waiting[-1]
                    waiting.pop()
            except BrokenProcessPool:
                lost.append(waiting.pop())
            if not flying:
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                item = flying.pop(future)
                try:
                    yield (item[0], *future.result())
                except BrokenProcessPool:
                    lost.append(item)


def _run_alone(work: Work, item: Item, environment: Mapping[str, str]) -> Result:
    for _ in range(ATTEMPTS):
        with _pool(1) as pool:
            try:
                with _inherited(environment):
                    future = pool.submit(attempt, work, item[1])
                return (item[0], *future.result())
            except BrokenProcessPool:
                continue
    return item[0], None, f"its worker process died {ATTEMPTS + 1} times (out of memory?)"


def connect_ray() -> Any:
    """The module ray, connected to the cluster at RAY_ADDRESS, or to one started here.

    Returns:
        The module, initialised.

    Raises:
        ValueError: Ray is not installed, did not start, or no cluster answers at the address within 10 s.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("--executor ray needs Ray: pip install 'radiolucent[ray]', or use --executor local") from None
    address = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():  # Ray itself would go on trying for minutes
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise ValueError(f"no Ray cluster answers at {address} ({error})") from None
    environment = worker_environment(os.cpu_count() or 1)  # a worker has one core
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False, runtime_env={"env_vars": environment})
    except Exception as error:  # on a busy machine Ray gives up starting, with a bare Exception
        raise ValueError(f"Ray did not start ({str(error).splitlines()[0]}): run the same command again") from error
    return ray


class RayWorker:
    """A process on a Ray cluster that does one item after another, and keeps what it has loaded.

    Args:
        work: A function of one payload.
        folder: Where the command was started, so that relative paths mean the same.
    """

    def __init__(self, work: Work, folder: str) -> None:
        self.work = work
        with suppress(OSError):  # a node that lacks the folder can still work with absolute paths
            os.chdir(folder)

    def ready(self) -> None:
        """Answers as soon as the worker runs."""

    def attempt(self, payload: Any) -> tuple[dict[str, Any] | None, str]:
        """Do one item; see the function `attempt`.

        Args:
            payload: Of the item.

        Returns:
            (record, "") or (None, the reason in one line).
        """
        return attempt(self.work, payload)


def run_ray(work: Work, items: Sequence[Item], workers: int, gpus: int = 0) -> Iterator[Result]:
    """Do the items on a Ray cluster (RAY_ADDRESS) or a local one.

    A free worker takes the next item; a lost one's is done again. The folders must be seen by every node.

    Args:
        work: A function of one payload.
        items: (key, payload).
        workers: 0 takes as many as the cluster has CPUs, or GPUs if each needs `gpus`; Ray shows a worker no others.
        gpus: That each worker needs.

    Yields:
        (key, record, reason), in the order of finishing.

    Raises:
        ValueError: No worker can start.
    """
    ray = connect_ray()
    kind, need = ("GPU", gpus) if gpus else ("CPU", 1)
    there = int(ray.cluster_resources().get(kind, 0))
    if there < need:
        raise ValueError(f"each worker needs {need} {kind} and the Ray cluster has {there}")
    remote = ray.remote(num_cpus=1, num_gpus=gpus)(RayWorker)
    waiting = list(reversed(items))
    flying: dict[Any, tuple[Any, Item | None]] = {}  # what was asked: (the worker, its item or None while it starts)
    losses: Counter[str] = Counter()

    def start() -> None:
        worker = remote.remote(work, os.getcwd())
        flying[worker.ready.remote()] = (worker, None)

    for _ in range(min(workers or there // need, len(items))):
        start()
    failures = 0  # of workers to start, one after the other
    while waiting or any(item for _, item in flying.values()):
        (done,), _ = ray.wait(list(flying), num_returns=1)
        worker, item = flying.pop(done)
        try:
            answer = ray.get(done)
            failures = 0
            if item is not None:
                yield (item[0], *answer)
            if waiting:
                item = waiting.pop()
                flying[worker.attempt.remote(item[1])] = (worker, item)
        except ray.exceptions.RayError as error:
            if item is None:
                failures += 1
                if failures > ATTEMPTS:
                    raise ValueError(f"no Ray worker could start: {str(error).splitlines()[0]}") from None
            else:
                losses[item[0]] += 1
                if losses[item[0]] <= ATTEMPTS:
                    waiting.append(item)
                else:
                    yield item[0], None, f"its Ray worker died {ATTEMPTS + 1} times (out of memory?)"
            start()


EXECUTORS: dict[str, Callable[[Work, Sequence[Item], int, int], Iterator[Result]]] = {
    "local": run_local,
    "ray": run_ray,
}

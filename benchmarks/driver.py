"""Whether the driver of a batch is its bottleneck: 64 workers that only sleep, 50,000 items, and what the driver takes.

python -m benchmarks.driver [--items 50000] [--workers 64] [--seconds 0.02] [--ray-items 0]

The batch's own code runs as it is (tasks, claims, manifest, progress bar, run_ray), against workers that are threads
and sleep instead of a cluster. CPU seconds are the driver's thread's alone; that over the items is the most items a
second that it could hand out. --ray-items N asks the same of Ray itself: N items that do nothing, on two real workers.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import queue
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from radiolucent.batch import executors
from radiolucent.batch.runner import Task, file_identity, run_batch


def sleep(payload: str, seconds: float) -> dict[str, Any]:
    """The work."""
    time.sleep(seconds)
    return {"outputs": [], "volume": payload, "notes": {"spacing_mm": [0.7, 0.7, 1.0], "shape": [512, 512, 300]}}


class SleepingCluster:
    """What run_ray asks of Ray, answered by threads."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, workers: int) -> None:
        self.pool, self.workers = ThreadPoolExecutor(workers), workers
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def cluster_resources(self) -> dict[str, float]:
        """As many processors as workers."""
        return {"CPU": self.workers}

    def remote(self, **_: Any) -> Any:
        """A class whose objects live on the cluster."""
        return lambda kind: SimpleNamespace(remote=lambda *given: self._actor(kind(*given)))

    def _actor(self, real: Any) -> Any:
        return SimpleNamespace(
            **{name: SimpleNamespace(remote=self._method(getattr(real, name))) for name in ("ready", "attempt")}
        )

    def _method(self, call: Any) -> Any:
        def remote(*given: Any) -> Any:
            future = self.pool.submit(call, *given)
            future.add_done_callback(self.done.put)
            return future

        return remote

    def wait(self, flying: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        """One that is done."""
        return [self.done.get()], []

    def get(self, future: Any) -> Any:
        """Its answer."""
        return future.result()


def batch(items: int, work: Any, folder: Path, **options: Any) -> dict[str, float]:
    """Wall seconds, the driver's CPU seconds in listing the tasks and in all, of a batch of so many items."""
    (folder / "in").mkdir(exist_ok=True)
    source = folder / "in/volume"
    source.touch()
    wall, cpu = time.perf_counter(), time.thread_time()
    names = [f"train_{number}_a_1" for number in range(items)]
    tasks = [Task(name, name, (f"{name}/PA_total.png",), file_identity(source)) for name in names]
    listed = time.thread_time() - cpu
    with contextlib.redirect_stdout(io.StringIO()):
        assert run_batch(work, tasks, folder / "out", settings={}, executor="ray", **options) == 0
    return {"wall_s": time.perf_counter() - wall, "listing_cpu_s": listed, "cpu_s": time.thread_time() - cpu}


def main() -> None:
    """A line for the sleeping workers, and one for Ray's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--ray-items", type=int, default=0)
    args = parser.parse_args()

    def report(case: str, items: int, found: dict[str, float]) -> None:
        line = {"case": case, "items": items} | {name: round(value, 2) for name, value in found.items()}
        line["driver_ms_an_item"] = round(1000 * found["cpu_s"] / items, 3)
        print(json.dumps({**line, "most_items_per_s": round(items / found["cpu_s"])}), flush=True)

    with tempfile.TemporaryDirectory() as home:
        cluster = SleepingCluster(args.workers)
        with mock.patch.object(executors, "connect_ray", lambda: cluster):
            work = functools.partial(sleep, seconds=args.seconds)
            found = batch(args.items, work, Path(home), workers=args.workers)
        report(f"{args.workers} sleeping workers", args.items, found)
    if args.ray_items:
        with tempfile.TemporaryDirectory() as home:
            found = batch(args.ray_items, functools.partial(sleep, seconds=0.0), Path(home), workers=2)
        report("two workers of Ray", args.ray_items, found)


if __name__ == "__main__":
    main()

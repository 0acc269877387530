"""What every batch command shares: a manifest of finished items, errors.csv, a progress bar, and executors.

A command lists its tasks, hands over one picklable function `work(payload) -> record`, and calls `run_batch`. It can be
killed at any moment and run again: what is finished, from the same input, is skipped.
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiographs.files import atomic_path, printable
from radiolucent.batch.executors import EXECUTORS
from radiolucent.batch.identity import file_identity
from radiolucent.batch.manifest import Manifest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

SHOW_S = 0.2  # between two changes of the rate on the screen
REASONS_SHOWN = 5  # on the screen; errors.csv has all
ERRORS = "errors.csv"
__all__ = ["Manifest", "Task", "add_batch_arguments", "atomic_path", "file_identity", "run_batch"]


@dataclass(frozen=True)
class Task:
    """One item of a batch.

    Attributes:
        key: Names it in the manifest; unique, and the same in every run.
        payload: What the work is given, picklable.
        outputs: The files that it will write, relative to the folder, with `/`.
        identity: Of its input, by `file_identity`; None if key or settings hold all that the result depends on.
        about: What else is recorded with the result (JSON values), on which it does not depend.
        shown: What it is called on the screen and in errors.csv; by default its key.
    """

    key: str
    payload: Any
    outputs: tuple[str, ...] = ()
    identity: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    shown: str = ""

    @property
    def name(self) -> str:
        """What it is called on the screen and in errors.csv."""
        return printable(self.shown or self.key)


def add_batch_arguments(parser: ArgumentParser, workers: int = 0) -> None:
    """Add the options --out, --workers and --executor.

    Args:
        parser: Of a command.
        workers: The default.
    """
    parser.add_argument("--out", type=str, required=True, help="folder for the results; run again to resume")
    parser.add_argument("--workers", type=int, default=workers, help="worker processes; 0 works in this one")
    parser.add_argument("--executor", choices=sorted(EXECUTORS), default="local", help="where the workers run")


def run_batch(
    work: Callable[[Any], dict[str, Any]],
    tasks: Sequence[Task],
    out: str | Path,
    *,
    settings: dict[str, Any],
    tables: Sequence[str] = (),
    workers: int = 0,
    executor: str = "local",
    gpus: int = 0,
    title: str = "images",
) -> int:
    """Do every task that is not finished yet.

    A task is finished if the manifest has it with the same input (path, size and time) and its files are there. One
    whose input has changed is done again.

    Args:
        work: a function of one payload, picklable (module level, or functools.partial of one) when workers > 0. It
            writes its files with `atomic_path` and returns the task's record for the manifest: JSON values, with
            `outputs`, the written paths relative to `out`. An exception skips the task; the rest goes on.
        tasks: in the order in which they are done.
        out: the folder.
        settings: what the outputs depend on, see `Manifest`.
        tables: the files, or whole folders, that the command itself writes into `out` besides errors.csv.
        workers: processes; 0 works in this one.
        executor: one of `EXECUTORS`.
        gpus: that each worker needs, 0 or 1.
        title: of the progress bar.

    Returns:
        The exit status: 0, or 1 if any task was bad (see `out/errors.csv`: input, reason).

    Raises:
        ValueError: before any work, see `Manifest` and `Manifest.claim`.
    """
    twice = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} inputs occur more than once, such as {printable(twice[0])}: give each one once")
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor '{executor}': choose one of {', '.join(sorted(EXECUTORS))}")
    if workers < 0:
        raise ValueError(f"--workers {workers}: give 0 (work in this process) or more")
    manifest = Manifest(out, settings)
    try:
        claims = {task.key: task.outputs for task in tasks}
        identities = {task.key: task.identity for task in tasks if task.identity}
        manifest.claim(claims, identities, (ERRORS, *tables))
        manifest.remove_parts()
        todo = [task for task in tasks if not manifest.is_finished(task.key, task.identity)]
        changed = [task for task in todo if manifest.is_changed(task.key, task.identity)]
        if changed:
            print(f"{len(changed)} {title} have changed since and are done again, such as {changed[0].name}")
        results = EXECUTORS[executor](work, [(task.key, task.payload) for task in todo], workers, gpus)
        bad = _record(results, manifest, {task.key: task for task in todo}, len(tasks), title)
        manifest.remove_parts()
    finally:
        manifest.close()
    return 1 if bad else 0


def _record(results: Iterator, manifest: Manifest, todo: Mapping[str, Task], total: int, title: str) -> int:
    """Write each result to the manifest or to errors.csv as it arrives; return the number of bad tasks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    errors = manifest.out / ERRORS
    errors.unlink(missing_ok=True)
    bad = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]}"),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=total, completed=total - len(todo), rate="", bad="")
        shown = time.monotonic()

        def show_rate() -> None:
            done = progress.tasks[0]
            rate = done.finished_speed or done.speed
            progress.update(bar, rate=f"{rate:.2f}/s" if rate else "", bad=f"{bad} skipped" if bad else "")

        for key, record, reason in results:
            task = todo[key]
            if record is not None:
                manifest.add(key, {**record, **task.about}, task.identity)
            else:
                bad += 1
                _append_error(errors, task.name, printable(reason))
                if bad <= REASONS_SHOWN:
                    text = f"skipped {task.name}: {printable(reason)}"
                    progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
            progress.advance(bar)
            if time.monotonic() - shown > SHOW_S:  # seldom, since the speed is a sum over a thousand steps
                show_rate()
                shown = time.monotonic()
        show_rate()
    if bad:
        print(f"{bad} of {total} {title} were skipped: see {errors}")
    return bad


def _append_error(path: Path, name: str, reason: str) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["input", "reason"])
        writer.writerow([name, reason])

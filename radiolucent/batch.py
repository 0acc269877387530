"""What every batch command shares: a manifest of finished items, errors.csv, a progress bar, and executors.

A command lists its items as (key, payload), hands over one picklable function `work(payload) -> record`, and calls
`run_batch`. It can be killed at any moment and run again: finished items are skipped.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiographs.files import PART, atomic_path, printable
from radiolucent.executors import EXECUTORS, Item

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

REASONS_SHOWN = 5  # on the screen; errors.csv has all
__all__ = ["Manifest", "add_batch_arguments", "atomic_path", "run_batch"]


class Manifest:
    """`out/manifest.jsonl`: the settings in the first line, then one JSON line for each finished item.

    settings: what the outputs depend on (JSON values). A folder made with other settings raises ValueError, as does a
    folder in which another run is at work. A line torn by a kill is cut off, so that its item is done again.
    """

    def __init__(self, out: str | Path, settings: dict[str, Any]) -> None:
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.path = self.out / "manifest.jsonl"
        self._file = open(self.path, "a+b")  # noqa: SIM115 (held, with its lock, for the whole run)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ValueError(f"another run is writing to {self.out}: wait for it or choose another --out") from None
        self.finished: dict[str, dict[str, Any]] = {}
        self._read(json.loads(json.dumps(settings)))

    def _read(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        whole = 0
        lines = []
        for line in self._file:
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        self._file.truncate(whole)
        if not whole:
            self._append({"settings": settings})
            return
        before = lines[0].get("settings", {})
        changed = [name for name in sorted({*before, *settings}) if before.get(name) != settings.get(name)]
        if changed:
            what = ", ".join(f"{name} {before.get(name)} then, {settings.get(name)} now" for name in changed)
            self.close()
            raise ValueError(f"{self.out} holds results made with other options ({what}): choose another --out")
        self.finished = {line["key"]: line for line in lines[1:] if "key" in line}

    def _append(self, line: dict[str, Any]) -> None:
        try:
            text = json.dumps(line, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a file name that is no UTF-8: as \udce4 or the like, which is read back as it was
            text = json.dumps(line).encode()
        self._file.write(text + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def is_finished(self, key: str) -> bool:
        """Whether `key` is recorded and each of its outputs still exists."""
        record = self.finished.get(key)
        return record is not None and all((self.out / name).exists() for name in record.get("outputs", []))

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Record a finished item: `record` holds JSON values; `outputs` are paths relative to the folder."""
        line = {"key": key, **record}
        self._append(line)
        self.finished[key] = line

    def close(self) -> None:
        """Give the folder free."""
        self._file.close()


def add_batch_arguments(parser: ArgumentParser, workers: int = 0) -> None:
    """The options --out, --workers and --executor."""
    parser.add_argument("--out", type=str, required=True, help="folder for the results; run again to go on")
    parser.add_argument("--workers", type=int, default=workers, help="worker processes; 0 works in this one")
    parser.add_argument("--executor", choices=sorted(EXECUTORS), default="local", help="where the workers run")


def run_batch(
    work: Callable[[Any], dict[str, Any]],
    items: Sequence[Item],
    out: str | Path,
    *,
    settings: dict[str, Any],
    workers: int = 0,
    executor: str = "local",
    gpus: int = 0,
    title: str = "images",
) -> int:
    """Do every item that is not finished yet; return 0, or 1 if any was bad (see `out/errors.csv`: input, reason).

    work: a function of one payload, picklable (module level, or functools.partial of one) when workers > 0. It writes
        its files with `atomic_path` and returns the item's record for the manifest: JSON values, with `outputs`, the
        written paths relative to `out`. An exception sets the item aside; the rest goes on.
    items: (key, payload); the key names the item in the manifest, so it must be unique and the same in every run.
    settings: what the outputs depend on, see `Manifest`. gpus: that each worker needs, 0 or 1.
    """
    twice = [key for key, count in Counter(key for key, _ in items).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} inputs occur more than once, such as {twice[0]}: give each one once")
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor '{executor}': choose one of {', '.join(sorted(EXECUTORS))}")
    if workers < 0:
        raise ValueError(f"--workers {workers}: give 0 (work in this process) or more")
    manifest = Manifest(out, settings)
    try:
        _remove_parts(manifest.out)
        todo = [item for item in items if not manifest.is_finished(item[0])]
        bad = _record(EXECUTORS[executor](work, todo, workers, gpus), manifest, len(items), len(todo), title)
        _remove_parts(manifest.out)
    finally:
        manifest.close()
    return 1 if bad else 0


def _remove_parts(out: Path) -> None:
    """Remove what killed processes left half written; nobody may be at work."""
    for part in out.rglob(f"{PART}*"):
        part.unlink(missing_ok=True)


def _record(results: Iterator, manifest: Manifest, total: int, todo: int, title: str) -> int:
    """Write each result to the manifest or to errors.csv as it arrives; return the number of bad items."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    errors = manifest.out / "errors.csv"
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
        task = progress.add_task(title, total=total, completed=total - todo, rate="", bad="")
        for key, record, reason in results:
            if record is not None:
                manifest.add(key, record)
            else:
                bad += 1
                _append_error(errors, key, reason)
                if bad <= REASONS_SHOWN:
                    line = printable(f"set aside {key}: {reason}")
                    progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            done = progress.tasks[0]
            rate = done.finished_speed or done.speed
            progress.update(
                task, advance=1, rate=f"{rate:.2f}/s" if rate else "", bad=f"{bad} set aside" if bad else ""
            )
    if bad:
        print(f"{bad} of {total} {title} were set aside: see {errors}")
    return bad


def _append_error(path: Path, key: str, reason: str) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["input", "reason"])
        writer.writerow([printable(key), printable(reason)])

"""The record of a batch: `out/manifest.jsonl`, by which a run resumes and by which it knows its own files.

What is finished is known by its input, not by its name: an item's record holds the identity of what it was made from.
What may be written is known too: a file that is there and that no run of this batch has claimed is never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from radiographs.files import PART
from radiolucent.batch.identity import stands_for

FORMAT = 2  # of manifest.jsonl; 1 did not record inputs and claims
SETTINGS_LINE = b'{"settings"'
LONGEST_FIRST_LINE = 2**26  # bytes
SHOWN = 5  # files in a message
SYNC_S = 1.0  # the disk is made to keep finished items' lines no more often; a power cut loses what is done again


class Manifest:
    """`out/manifest.jsonl`: settings in the first line, then the files that are claimed, then a line a finished item.

    A line torn by a kill is cut off, so that its item is done again. Nothing is written before the first claim.

    Args:
        out: the folder, which is made.
        settings: what the outputs depend on (JSON values).

    Raises:
        ValueError: a folder made with other settings or by an earlier version, one in which another run is at work, a
            manifest.jsonl that is another program's or damaged.
    """

    def __init__(self, out: str | Path, settings: Mapping[str, Any]) -> None:
        self.out = Path(out)
        self.path = self.out / "manifest.jsonl"
        # what close() takes away again if nothing was written
        self._made = [one for one in (self.path, self.out, *self.out.parents) if not os.path.lexists(one)]
        self.out.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b")  # noqa: SIM115 (held, with its lock, for the whole run)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.path.exists() or not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                raise BlockingIOError  # a run that was refused has just taken the file away
        except BlockingIOError:
            self._file.close()
            raise ValueError(f"another run is writing to {self.out}: wait for it or choose another --out") from None
        self._synced = 0.0
        self.finished: dict[str, dict[str, Any]] = {}
        self.claimed: set[str] = set()
        self._owners: dict[str, str] = {}
        self._first: dict[str, Any] | None = {"settings": json.loads(json.dumps(settings)), "format": FORMAT}
        try:
            self._read(self._first)
        except BaseException:
            self.close()
            raise

    def _read(self, expected: dict[str, Any]) -> None:
        self._file.seek(0)
        start = self._file.readline(LONGEST_FIRST_LINE)
        if not start or (start.startswith(SETTINGS_LINE) and not start.endswith(b"\n")):
            self._file.truncate(0)
            return
        first = _parsed(start)
        if not isinstance(first, dict) or not isinstance(first.get("settings"), dict):
            raise ValueError(f"{self.path} is no manifest of this program and was left as it was: choose another --out")
        if first.get("format") != FORMAT:
            raise ValueError(
                f"{self.out} holds results of another version of Radiolucent, whose record does not say from which "
                "files they were made: choose another --out"
            )
        whole = len(start)
        for number, line in enumerate(self._file, start=2):
            found = _parsed(line)
            if not line.endswith(b"\n"):
                self._file.truncate(whole)
                break
            if not isinstance(found, dict):
                raise ValueError(f"{self.path} line {number} is damaged: repair it, or choose another --out")
            whole += len(line)
            self._take(found)
        before, settings = first["settings"], expected["settings"]
        changed = [name for name in sorted({*before, *settings}) if before.get(name) != settings.get(name)]
        if not changed:
            self._first = None
        elif self.finished:  # where no item was finished, the record begins anew with these settings
            what = ", ".join(f"{name} {before.get(name)} then, {settings.get(name)} now" for name in changed)
            raise ValueError(f"{self.out} holds results made with other options ({what}): choose another --out")

    def _take(self, line: dict[str, Any]) -> None:
        """One line into memory. A file belongs to the item that wrote it last; who lost one is not finished."""
        if "claims" in line:
            self.claimed.update(line["claims"])
        elif "update" in line:
            record = self.finished.get(line["update"], {})
            record.update({name: value for name, value in line.items() if name != "update"})
        elif "key" in line:
            key = line["key"]
            for name in line.get("outputs", []):
                previous = self._owners.get(name, key)
                if previous != key:
                    self.finished.pop(previous, None)
                self._owners[name] = key
            self.finished[key] = line

    def _append(self, line: dict[str, Any], at_once: bool = True) -> None:
        lines = [line]
        if self._first is not None:
            self._file.truncate(0)
            lines = [self._first, line]
        self._file.write(b"".join(_line(one) for one in lines))
        self._file.flush()
        if at_once or time.monotonic() - self._synced > SYNC_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()
        self._first = None

    def claim(
        self, outputs: Mapping[str, Iterable[str]], inputs: Mapping[str, Mapping[str, Any]], shared: Iterable[str] = ()
    ) -> None:
        """Take files of the folder as this batch's own, before they are written.

        Args:
            outputs: {key of an item: its files, relative to the folder}.
            inputs: {key of an item: the `file_identity` of its input}.
            shared: files, or whole folders, of the batch, which any run of it may write anew.

        Raises:
            ValueError: with the list of files, two items of one file's name, a file that is there and is not this
                batch's, or is the result of another input.
        """
        homes: dict[str, str] = {}
        problems = []
        for key, names in outputs.items():
            same = not self.is_of_another_file(key, inputs.get(key))
            for name in names:
                other = homes.setdefault(name, key)
                if other != key:
                    problems.append(f"{name} would be written for {other} and for {key}")
                elif os.path.lexists(self.out / name) and (reason := self._why_not(name, key, same)):
                    problems.append(f"{name} is there and is {reason}")
        for name in shared:
            homes.setdefault(name, "")
            if name not in self.claimed and os.path.lexists(self.out / name):
                problems.append(f"{name} is there and is no result of this batch")
        if problems:
            more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise ValueError(
                f"--out {self.out}: nothing was done, since files would be lost: {'; '.join(problems[:SHOWN])}{more}: "
                "choose another --out for these"
            )
        fresh = self._first is not None  # then what a run with other settings claimed is claimed again
        new = [*self.claimed, *homes] if fresh else [name for name in homes if name not in self.claimed]
        new = list(dict.fromkeys(new))
        if new or fresh:
            self._append({"claims": new})
            self.claimed.update(new)

    def _why_not(self, name: str, key: str, same: bool) -> str:
        """Whose a file is that must not be written for `key`; "" where it may be. same: the input is the one before."""
        owner = self._owners.get(name)
        if name not in self.claimed:
            return "no result of this batch"
        if owner == key:
            return "" if same else "the result of another file of that name"
        return "" if owner is None else f"the result of {owner}"

    def is_of_another_file(self, key: str, identity: Mapping[str, Any] | None) -> bool:
        """Whether an item is recorded, and its input lay elsewhere than this one.

        Args:
            key: Of the item.
            identity: Of its input now, by `file_identity`; None for one that has no file.

        Returns:
            False also if it is not recorded, or was recorded without an input.
        """
        before = self.finished.get(key, {}).get("input")
        return before is not None and before["path_sha256"] != (identity or {}).get("path_sha256")

    def is_changed(self, key: str, identity: Mapping[str, Any] | None) -> bool:
        """Whether an item is recorded, and its input is not in the state in which it was.

        Args:
            key: Of the item.
            identity: Of its input now, by `file_identity`; None for one that has no file.

        Returns:
            False also if it is not recorded, or was recorded without an input.
        """
        before = self.finished.get(key, {}).get("input")
        return before is not None and not stands_for(before, identity)

    def is_finished(self, key: str, identity: Mapping[str, Any] | None = None) -> bool:
        """Whether `key` is recorded with this input, and each of its outputs still exists.

        Args:
            key: Of the item.
            identity: Of its input, by `file_identity`; None for one that has no file.

        Returns:
            Whether it can be skipped.
        """
        record = self.finished.get(key)
        if record is None or not stands_for(record.get("input"), identity):
            return False
        return all((self.out / name).exists() for name in record.get("outputs", []))

    def add(self, key: str, record: Mapping[str, Any], identity: Mapping[str, Any] | None = None) -> None:
        """Record a finished item.

        Args:
            key: Of the item.
            record: JSON values; `outputs` are paths relative to the folder.
            identity: Of its input.
        """
        line = {"key": key, **({} if identity is None else {"input": identity}), **record}
        self._append(line, at_once=False)
        self._take(line)

    def update(self, key: str, **values: Any) -> None:
        """Add to the record of a finished item, or replace, JSON values; nothing is written that is there already.

        Args:
            key: Of the item, which must be recorded.
            **values: By name.
        """
        record = self.finished[key]
        changed = {name: value for name, value in values.items() if record.get(name) != value}
        if changed:
            self._append({"update": key, **changed})
            record.update(changed)

    def remove_parts(self) -> None:
        """Remove what killed processes left half written of the claimed files; nobody may be at work."""
        for part in self.out.rglob(f"{PART}*"):
            found = re.fullmatch(rf"{re.escape(PART)}[0-9a-f]{{12}}-(.+)", part.name)
            if found and part.with_name(found[1]).relative_to(self.out).as_posix() in self.claimed:
                part.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder free; where nothing was written, leave no trace of this run."""
        if self._first is None:
            os.fsync(self._file.fileno())
        elif self._made and os.fstat(self._file.fileno()).st_size == 0:
            with contextlib.suppress(OSError):  # a folder holds another's files by now
                self.path.unlink()
                for folder in self._made[1:]:
                    folder.rmdir()
        self._file.close()


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _line(values: dict[str, Any]) -> bytes:
    """JSON in UTF-8; a file's name that is no UTF-8 in JSON's own escapes."""
    try:
        return json.dumps(values, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(values).encode() + b"\n"

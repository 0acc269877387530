"""What visitors sent and what was made of it: a folder each, deleted when it is old, or when too much is held."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radiolucent.app.limits import Limits

GONE = "what you sent is no longer held here (it was too long ago, or too many came after you): send it again"


@dataclass(eq=False)
class Entry:
    """One visitor's image.

    Attributes:
        token: A secret that only their page knows.
        folder: Its files.
        name: What the visitor calls it; only ever shown.
        uploads: Where the server puts what is sent: nothing else is ever taken for it.
        kept: What is small and is needed again.
        used: When it was last looked at, by time.monotonic.
    """

    token: str
    folder: Path
    name: str
    uploads: Path
    kept: dict[str, Any] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)

    def bytes(self) -> int:
        """The size of its files.

        Returns:
            Bytes, of subfolders too.
        """
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class Store:
    """Entries by token, below one temporary folder.

    Args:
        root: The folder.
        limits: How many are held, for how long, on how much disk.
        uploads: Where the server puts what is sent.
    """

    def __init__(self, root: Path, limits: Limits, uploads: Path) -> None:
        self.root, self.limits, self.uploads = root, limits, uploads
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def new(self, name: str) -> Entry:
        """An empty entry; older ones go where there are too many.

        Args:
            name: What the visitor calls it.

        Returns:
            The entry, whose folder is there and which only this user can read.
        """
        token = secrets.token_urlsafe(18)
        entry = Entry(token, self.root / token, name, self.uploads)
        entry.folder.mkdir(parents=True, mode=0o700)
        with self._lock:
            self._entries[token] = entry
        self.sweep(keep=token)
        return entry

    def get(self, token: Any) -> Entry:
        """The entry of a token.

        Args:
            token: As a browser sent it, whatever that is.

        Returns:
            The entry, now the most recently used.

        Raises:
            ValueError: There is none, or none any more.
        """
        with self._lock:
            entry = self._entries.get(token) if isinstance(token, str) else None
            if entry is None:
                raise ValueError(GONE)
            entry.used = time.monotonic()
            return entry

    def drop(self, token: str) -> None:
        """Delete an entry and its files.

        Args:
            token: Of the entry; nothing happens if there is none.
        """
        with self._lock:
            entry = self._entries.pop(token, None)
        if entry is not None:
            entry.kept.clear()
            shutil.rmtree(entry.folder, ignore_errors=True)

    def sweep(self, keep: str = "") -> None:
        """Delete what is too old, and the least recently used of what is too much.

        Args:
            keep: Token of an entry that stays in any case.
        """
        now = time.monotonic()
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: entry.used, reverse=True)
        held = 0
        for place, entry in enumerate(entries):
            size = entry.bytes()
            old = now - entry.used > self.limits.age
            full = place >= self.limits.entries or held + size > self.limits.disk
            if (old or full) and entry.token != keep:
                self.drop(entry.token)
            else:
                held += size

    def __contains__(self, token: str) -> bool:
        return token in self._entries

    def __len__(self) -> int:
        return len(self._entries)

"""What the page's tabs work with: one of each for all visitors."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from radiolucent.app.drawing import Drawing
from radiolucent.app.limits import Limits
from radiolucent.app.rotation import Rotation
from radiolucent.app.scenes import Scenes
from radiolucent.app.store import Store
from radiolucent.app.suppression import Suppression

if TYPE_CHECKING:
    from radiolucent.suppression.suppressor import Suppressor

SWEEP_S = 60.0
AT_ONCE = 2  # downloads that are made at the same time: each holds whole images in memory
UPLOADS, HELD, KEYS = "uploads", "held", "keys"


@dataclass(eq=False)
class Services:
    """The store, and what each tab does.

    Attributes:
        root: The temporary folder of everything.
        suppressor: The model of Suppress and Judge.
        drawing: Of Synthesise; None where no model was given.
        limits: Of all of it.
    """

    root: Path
    suppressor: Suppressor
    drawing: Drawing | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in (UPLOADS, HELD, KEYS):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        self.store = Store(self.root / HELD, self.limits, self.root / UPLOADS)
        self.scenes = Scenes(self.store, self.limits)
        self.rotation = Rotation(self.scenes.get, self.limits)
        self.suppression = Suppression(self.suppressor, self.limits, self.root / KEYS)
        self.turns = threading.BoundedSemaphore(AT_ONCE)
        self._stop = threading.Event()

    def sweep(self) -> None:
        """Delete what is old: entries, CTs without one, and uploads that nothing was done with."""
        self.store.sweep()
        self.scenes.sweep()
        oldest = time.time() - self.limits.age
        for path in (self.root / UPLOADS).rglob("*"):
            try:
                if path.is_file() and (path.stat().st_mtime < oldest or not path.stat().st_size):
                    path.unlink()
            except FileNotFoundError:  # its request deleted it
                continue

    def start(self) -> None:
        """Sweep every minute from now on, in a thread of its own."""
        threading.Thread(target=self._sweep_until_stopped, daemon=True).start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stop.set()

    def _sweep_until_stopped(self) -> None:
        while not self._stop.wait(SWEEP_S):
            self.sweep()

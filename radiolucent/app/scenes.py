"""The CTs that visitors turn: the packaged one, shared by all, and those that were sent."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from radiolucent.app.limits import Limits
from radiolucent.app.scene import Scene, Shot, picture
from radiolucent.app.store import Entry, Store
from radiolucent.app.uploads import check_slices, check_volume, volume_suffix
from radiolucent.app.zips import unpack_series

SAMPLE = "sample"


class Scenes:
    """CTs by token.

    Args:
        store: Holds what was sent.
        limits: Of the voxels and of all memory.
    """

    def __init__(self, store: Store, limits: Limits) -> None:
        self.store, self.limits = store, limits
        self._lock = threading.Lock()
        self._sample: Scene | None = None
        self._sent: dict[str, Scene] = {}  # the least recently used first

    def get(self, token: Any) -> Scene:
        """The packaged CT, or the one of a token.

        Args:
            token: As a browser sent it, whatever that is; SAMPLE for the packaged CT.

        Returns:
            The scene, now the most recently used.

        Raises:
            ValueError: There is none, or it had to make room.
        """
        if token == SAMPLE:
            return self.sample()
        self.store.get(token)
        with self._lock:
            if token not in self._sent:
                raise ValueError("this CT had to make room for others': send it again")
            self._sent[token] = self._sent.pop(token)
            return self._sent[token]

    def sample(self) -> Scene:
        """The packaged CT, read when it is first asked for.

        Returns:
            The same scene for all visitors.
        """
        from drr import sample_ct

        with self._lock:
            if self._sample is None:
                self._sample = Scene.of(sample_ct(), "the packaged CT (LIDC-IDRI-0001)")
            return self._sample

    def add(self, entry: Entry, sent: Path, series: str = "") -> tuple[Scene, list[str]]:
        """Read the CT that was sent; its files in the entry are deleted, the voxels stay in memory.

        Args:
            entry: Its visitor's.
            sent: A zip of DICOM slices or of a volume, a NIfTI, MHA or NRRD file, or an enhanced DICOM file.
            series: Number or UID, where a zip holds several.

        Returns:
            The scene, and what a person should know about how it was read.

        Raises:
            ValueError: No CT of a body, or one that is too large.
        """
        from drr.anatomy.chest import require_chest
        from drr.io.read import load_ct

        path = sent
        with sent.open("rb") as file:
            packed = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        if packed:
            path = unpack_series(sent, entry.folder / "series", entry.name, self.limits)
        if path.is_file() and volume_suffix(path.name):
            check_volume(path, entry.name, self.limits)
        else:
            check_slices(path, entry.name, self.limits)
        volume = load_ct(path, series=series or None if path.is_dir() else None, checked=True)
        notes = list(volume.notes)
        try:
            require_chest(volume)
        except ValueError as error:
            notes.append(str(error).partition(": ")[2])
        if volume.hu.size > self.limits.voxels:
            raise ValueError(f"{entry.name}: {volume.hu.size / 1e6:.0f} million voxels: too many to be turned here")
        scene = Scene.of(volume, entry.name)
        for left in entry.folder.iterdir():
            _delete(left)
        with self._lock:
            self._sent[entry.token] = scene
            self._make_room(entry.token)
        return scene, notes

    def sweep(self) -> None:
        """Let go of the CTs whose entries are gone."""
        with self._lock:
            for token in list(self._sent):
                if token not in self.store:
                    del self._sent[token]

    def _make_room(self, newest: str) -> None:
        for token in list(self._sent):
            if sum(scene.bytes for scene in self._sent.values()) <= self.limits.ct_bytes or token == newest:
                return
            del self._sent[token]


def _delete(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def written(scene: Scene, shot: Shot, token: str, folder: Path) -> tuple[bytes, bytes]:
    """A picture as 16-bit PNG, as `radiolucent drr` writes it for a preset, and its geometry and settings as JSON.

    Args:
        scene: The CT.
        shot: How it is looked at.
        token: Of the request, for the name of a temporary file.
        folder: Where that file lies for a moment.

    Returns:
        (PNG, JSON in UTF-8); with findings the JSON holds them, their boxes, labels and the report.
    """
    from dataclasses import asdict

    from drr.io.manifest import image_row
    from radiolucent import __version__
    from radiolucent.rendering.images import write_image

    plain = shot == Shot(view=shot.view, size=shot.size)
    turned = f"{shot.view}, total" if plain else f"{shot.view}, turned {shot.yaw:g}, tipped {shot.tilt:g}"
    name = f"{shot.view}.png"
    path = folder / f"{token}-{threading.get_ident()}.png"
    description = f"Rendered from a CT by Radiolucent: {turned}"
    digest = write_image(path, picture(scene.lines(shot), shot), description)
    content = path.read_bytes()
    path.unlink()
    row = image_row(name, shot.view, "total", name, digest, scene.beam(shot))
    truth = scene.truth(shot)
    found = [
        {"finding": finding.kind, "place": finding.place, "box": projection.box, **finding.size}
        for finding, projection in zip(truth.findings, truth.projections)
    ]
    known = {"findings": found, "labels": truth.labels, "report": truth.report} if shot.findings else {}
    units = "vectors in mm, LPS; pixel (r, c) has its centre at origin + c * du + r * dv"
    about = {**row, "units": units, "settings": asdict(shot), **known, "version": __version__}
    return content, json.dumps(about, indent=1).encode()

"""Bodies made of CTs and cast once, in layers, for the pairs that are drawn from them in training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from drr import ConeBeam, Volume, deform, read_ct, sample_ct
from drr.anatomy.chest import lung_box
from drr.geometry import body_box
from drr.pairs.layers import cast_layers, training_body
from radiographs.files import atomic_path

FORMAT = "layers"  # of the cached files; earlier ones held soft tissue and all bone


@dataclass(frozen=True)
class Projections:
    """How bodies are made of one CT and cast; the cached line integrals depend on these values alone.

    Args:
        ct: As `drr.read_ct` takes it; null is the packaged sample CT.
        labels: Label map of the CT, as `drr.read_ct` takes it.
        structures: What the labels mean, as `drr.read_ct` takes it.
        views: Drawn in turn for a body's poses; frontal ones.
        poses: For each body.
        pixels: Side of the square cached projections, whose middle is the lungs'.
        field_mm: Their width at the lungs' middle.
        amplitude_mm: Of the deformation, see `drr.deform`.
        scale: Of the deformation, see `drr.deform`.
        turn: Largest rotation about the body's axis, degrees.
        tip: Largest rotation towards head or feet, degrees.
        seed: Of bodies and poses.
    """

    ct: str | None = None
    labels: str | None = None
    structures: str | None = None
    views: Sequence[str] = ("PA", "AP", "PA", "PA")
    poses: int = 6
    pixels: int = 512
    field_mm: float = 400.0
    amplitude_mm: float = 8.0
    scale: float = 0.12
    turn: float = 9.0
    tip: float = 9.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))  # a list, as YAML gives it, has no hash

    @property
    def pixel_mm(self) -> float:
        """Side of a cached pixel at the lungs' middle, in mm."""
        return self.field_mm / self.pixels

    def folder(self, cache: Path) -> Path:
        """Where in `cache` these projections lie.

        Args:
            cache: Folder of all caches; it need not be there.

        Returns:
            A subfolder whose name is a hash of these values and of the files' format, so that old files are not read.
        """
        kept = asdict(self) | {"format": FORMAT}
        return cache / hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def file(self, cache: Path, body: int) -> Path:
        """The cached line integrals of one body, float16 (poses, 6, pixels, pixels), see `drr.pairs.layers.LAYERS`.

        Args:
            cache: Folder of all caches.
            body: Its number, from 0.

        Returns:
            The path, whether the file is there or not.
        """
        return self.folder(cache) / f"{body:05d}.npy"


@lru_cache(maxsize=1)
def base_body(settings: Projections) -> Volume:
    """The CT as `drr.pairs.layers.training_body` makes it ready.

    Args:
        settings: Only the CT, its labels and its structures count.

    Returns:
        The undeformed CT, from which all bodies are made.
    """
    return training_body(read_ct(settings.ct, settings.labels, settings.structures) if settings.ct else sample_ct())


def cast_body(job: tuple[Projections, Path, int]) -> None:
    """One body in all its poses, to its file in the cache. Body 0 is the CT itself.

    Args:
        job: (settings, cache, body's number).

    Raises:
        ValueError: A CT without lungs.
    """
    settings, cache, body = job
    rng = np.random.default_rng([settings.seed, body])
    base = base_body(settings)
    if body:
        base = deform(base, int(rng.integers(2**31)), settings.amplitude_mm, scale=settings.scale)
    box, lungs = body_box(base), np.mean(lung_box(base), axis=0)
    beams = []
    for pose in range(settings.poses):
        view = settings.views[pose % len(settings.views)]
        beam = ConeBeam.preset(view, base, (settings.pixels, settings.pixels), settings.field_mm, box, lungs)
        beam = beam.orbit(rng.uniform(-settings.turn, settings.turn))
        beams.append(beam.orbit(rng.uniform(-settings.tip, settings.tip), axis=(1, 0, 0)))
    with atomic_path(settings.file(cache, body)) as part, open(part, "wb") as file:
        np.save(file, cast_layers(base, beams))


def cast_missing(projections: Sequence[Projections], bodies: int, cache: Path, workers: int) -> None:
    """Cast every body that is not yet in the cache, with a progress bar.

    Args:
        projections: Settings of each CT.
        bodies: How many of each CT.
        cache: Folder.
        workers: Processes, at least one is used.
    """
    from rich.progress import track

    jobs = []
    for settings in projections:
        settings.folder(cache).mkdir(parents=True, exist_ok=True)
        (settings.folder(cache) / "settings.json").write_text(json.dumps(asdict(settings), indent=1))
        jobs += [(settings, cache, n) for n in range(bodies) if not settings.file(cache, n).exists()]
    if jobs:
        with ProcessPoolExecutor(max(1, workers), get_context("spawn")) as pool:
            list(track(pool.map(cast_body, jobs), total=len(jobs), description="casting bodies"))

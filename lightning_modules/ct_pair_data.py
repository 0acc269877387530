"""CTPairDataModule: pairs of radiograph and soft tissue drawn on the fly from CTs, without any patient's radiograph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from drr import ConeBeam, Look, Volume, deform, isolate_body, project, read_ct, render_pair, sample_ct, separate_bone
from drr.chest import lung_box
from drr.findings import FRONTAL
from drr.geometry import body_box
from drr.overlays import add_arm, add_device, add_nodule_shadow, add_vessels
from lightning_modules.resumable import ResumableLoader, epoch_loader
from radiographs.files import atomic_path

CONTRAST_HU = 150  # what is denser and not bone is contrast medium: taken for blood


@dataclass(frozen=True)
class Projections:
    """How bodies are made of a CT and cast; the cached line integrals depend on these values alone.

    ct, labels, structures: as `drr.read_ct` takes them; ct None is the packaged sample CT.
    views: drawn in turn for a body's poses. poses: for each body. pixels, field_mm: of the square cached projections,
        whose middle is the lungs', as a chest radiograph is collimated.
    amplitude_mm, scale: see `drr.deform`. continued_mm: by how much the outermost slices are repeated, so that
        the picture does not end where the scan did.
    turn, tip: largest rotation about the body's axis and towards head or feet, degrees. seed: of bodies and poses.
    """

    ct: str | None = None
    labels: str | None = None
    structures: str | None = None
    views: Sequence[str] = ("PA", "PA", "PA", "AP", "PA", "PA", "PA", "LL")
    poses: int = 8
    pixels: int = 384
    field_mm: float = 360.0
    amplitude_mm: float = 8.0
    scale: float = 0.12
    continued_mm: float = 80.0
    turn: float = 10.0
    tip: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))  # a list, as YAML gives it, has no hash

    def folder(self, cache: Path) -> Path:
        """Where in `cache` these projections lie."""
        kept = asdict(self) | {"about": "lungs"}  # earlier ones, about the body's middle, lie elsewhere
        return cache / hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def base_body(settings: Projections) -> Volume:
    """The CT without its table, bones known, contrast medium as dense as blood, continued above and below."""
    volume = read_ct(settings.ct, settings.labels, settings.structures) if settings.ct else sample_ct()
    volume = separate_bone(isolate_body(volume))
    assert volume.bone is not None
    hu = np.where((volume.bone == 0) & (volume.hu > CONTRAST_HU), np.int16(CONTRAST_HU), volume.hu)
    more = round(settings.continued_mm / volume.spacing[2])
    around = ((more, more), (0, 0), (0, 0))
    affine = volume.affine.copy()
    affine[:3, 3] -= more * affine[:3, 2]
    return Volume(np.pad(hu, around, "edge"), affine, bone=np.pad(volume.bone, around, "edge"), source=volume.source)


def cast_body(job: tuple[Projections, Path, int]) -> None:
    """One body in all its poses: float16 (poses, 2, pixels, pixels), soft and bone, to BODY.npy. Body 0 is the CT.

    ValueError: a CT without lungs.
    """
    settings, folder, body = job
    rng = np.random.default_rng([settings.seed, body])
    base = base_body(settings)
    if body:
        base = deform(base, int(rng.integers(2**31)), settings.amplitude_mm, scale=settings.scale)
    box, lungs = body_box(base), np.mean(lung_box(base), axis=0)
    lines = np.empty((settings.poses, 2, settings.pixels, settings.pixels), np.float16)
    for pose in range(settings.poses):
        view = settings.views[pose % len(settings.views)]
        beam = ConeBeam.preset(view, base, (settings.pixels, settings.pixels), settings.field_mm, box, lungs)
        beam = beam.orbit(rng.uniform(-settings.turn, settings.turn))
        beam = beam.orbit(rng.uniform(-settings.tip, settings.tip), axis=(1, 0, 0))
        lines[pose] = project(base, [beam], ("soft", "bone"), backend="cpu")[0].numpy()
    with atomic_path(folder / f"{body:05d}.npy") as part, open(part, "wb") as file:
        np.save(file, lines)


class CTPairDataset(Dataset):
    """Pairs {"radiograph", "soft"}: (1, size, size) float32 in [-1, 1], bones bright; "name": str.

    An item is asked for by (epoch, index) and depends on the seed and that alone. Each takes cached line integrals and
    sets the field of view, turn, flip, vessels, nodules, devices, bone strength, vendor look and noise at random.
    field: range of the picture's width over the cached width.
    clutter: whether vessels, nodules, devices and arms are drawn. twins: adds "without_nodules", the same radiograph
    before nodules were put in, and "nodules", see `nodule_weights`. vary: False gives every epoch the same items.
    """

    def __init__(
        self,
        files: Sequence[Path],
        settings: Projections,
        size: int,
        field: tuple[float, float],
        seed: int,
        clutter: bool,
        twins: bool,
        vary: bool,
        length: int,
    ) -> None:
        self.files, self.settings, self.size, self.field, self.seed = list(files), settings, size, field, seed
        self.clutter, self.twins, self.vary, self.length = clutter, twins, vary, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch if self.vary else 0, index])
        file = self.files[index % len(self.files)]
        pose = int(rng.integers(self.settings.poses))
        soft, bone, mm_per_pixel = self._place(np.load(file, mmap_mode="r")[pose], rng)
        nodules = np.zeros_like(soft)
        if self.clutter:
            view = self.settings.views[pose % len(self.settings.views)]
            for side in (-1, 1):
                if view in FRONTAL and rng.random() < 0.4:
                    soft, bone = add_arm(soft, bone, mm_per_pixel, rng, side)
            soft, nodules = add_clutter(soft, mm_per_pixel, rng)
        look = Look.random(rng)
        noise = rng.normal(0, rng.uniform(0, 0.03), soft.shape).astype(np.float32)
        radiograph, soft_image = render_pair(soft, bone, look)
        pair = {"radiograph": (radiograph + noise).clip(-1, 1), "soft": soft_image}
        if self.twins:
            twin = render_pair(soft - nodules, bone, look)[0] if nodules.any() else radiograph
            pair |= {"without_nodules": (twin + noise).clip(-1, 1), "nodules": nodule_weights(nodules)}
        name = f"{file.stem}_{pose}_{epoch}_{index}"
        return {**{key: torch.from_numpy(image)[None] for key, image in pair.items()}, "name": name}

    def _place(self, lines: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        """(soft, bone, mm a pixel) under a random field of view, turn, shift and flip."""
        share = rng.uniform(*self.field)
        middle, pixels = (self.settings.pixels - 1) / 2, self.settings.pixels
        scale = self.size / (share * pixels)
        matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), rng.normal(0, 3), scale), np.float64)
        matrix[:, 2] += (self.size - 1) / 2 - middle + rng.normal(0, 0.04, 2) * self.size
        if rng.random() < 0.5:
            matrix = np.array([[-1, 0, self.size - 1], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]])
        soft, bone = (
            cv2.warpAffine(image.astype(np.float32), matrix, (self.size,) * 2, borderMode=cv2.BORDER_REPLICATE)
            for image in lines
        )
        return soft, bone, self.settings.field_mm / pixels / scale


def add_clutter(soft: np.ndarray, mm_per_pixel: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fine vessels, up to eight nodules of 4 to 35 mm, at times a device, and sharper edges of soft tissue.

    Returns the new soft line integrals and the nodules' part of them, (H, W) each.
    """
    sharper = rng.uniform(0, 1.5)
    soft = soft + sharper * (soft - cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.8, 2.0)))
    soft = before = add_vessels(soft, mm_per_pixel, rng, int(rng.integers(2, 10)))
    for _ in range(int(rng.integers(0, 9))):
        diameter = float(np.exp(rng.uniform(np.log(4), np.log(35))))
        soft = add_nodule_shadow(soft, mm_per_pixel, rng, diameter, rng.uniform(0.3, 1.2))
    nodules = soft - before
    while rng.random() < 0.25:
        soft = add_device(soft, mm_per_pixel, rng)
    return soft, nodules


def nodule_weights(nodules: np.ndarray) -> np.ndarray:
    """The nodules' line integrals (H, W) over their sum in each, so that large and small ones count the same.

    Nodules that touch count as one.
    """
    _, parts = cv2.connectedComponents((nodules > 1e-4).astype(np.uint8))
    sums = np.bincount(parts.ravel(), weights=nodules.ravel())
    sums[0] = np.inf
    return (nodules / sums[parts]).astype(np.float32)


class CTPairDataModule(LightningDataModule):
    """Batches {"radiograph", "soft": (B, 1, S, S) each, "name": list[str]} drawn from CTs through drr/.

    projections: one CT's settings, or several CTs'. bodies: random deformations of each that are cast, once, into
    `cache` (the line integrals of soft tissue and bone; 16 bit); a stopped run goes on with those that are missing.
    image_size: side of the square pairs. field: the range of their width, as a part of the projections' width.
    epoch_size: pairs an epoch, all different. validation_bodies: the last ones,
    never trained on. clutter, twins: see CTPairDataset. workers: data processes; casting uses them too (at least one).
    """

    def __init__(
        self,
        projections: Projections | list[Projections] | None = None,
        bodies: int = 100,
        validation_bodies: int = 8,
        cache: str = "data/ct_pairs",
        image_size: int = 256,
        field: tuple[float, float] = (0.62, 1.0),
        batch_size: int = 8,
        epoch_size: int = 1000,
        validation_size: int = 32,
        clutter: bool = True,
        twins: bool = False,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < validation_bodies < bodies:
            raise ValueError(f"bodies {bodies}, validation_bodies {validation_bodies}: give 0 < validation < bodies")
        for name, value in (("image_size", image_size), ("batch_size", batch_size), ("epoch_size", epoch_size)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        if not 0 < field[0] <= field[1] <= 1:
            raise ValueError(f"field {field}: give two parts of the projections' width, 0 < first <= second <= 1")
        given = projections if isinstance(projections, list) else [projections or Projections()]
        self.projections, self.bodies, self.validation_bodies = given, bodies, validation_bodies
        self.cache, self.image_size, self.batch_size, self.epoch_size = Path(cache), image_size, batch_size, epoch_size
        self.field, self.validation_size, self.clutter, self.twins = field, validation_size, clutter, twins
        self.workers, self.seed = workers, seed

    def prepare_data(self) -> None:
        """Cast every body that is not yet in the cache."""
        from rich.progress import track

        for settings in self.projections:
            folder = settings.folder(self.cache)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=1))
            jobs = [(settings, folder, n) for n in range(self.bodies) if not (folder / f"{n:05d}.npy").exists()]
            if jobs:
                with ProcessPoolExecutor(max(1, self.workers), get_context("spawn")) as pool:
                    list(track(pool.map(cast_body, jobs), total=len(jobs), description="casting bodies"))

    def _loader(self, training: bool) -> ResumableLoader:
        edge = self.bodies - self.validation_bodies
        chosen = range(edge) if training else range(edge, self.bodies)
        datasets = [
            CTPairDataset(
                [settings.folder(self.cache) / f"{n:05d}.npy" for n in chosen],
                settings,
                self.image_size,
                self.field,
                self.seed + (0 if training else 1),
                self.clutter,
                self.twins,
                training,
                (self.epoch_size if training else self.validation_size) // len(self.projections),
            )
            for settings in self.projections
        ]
        dataset = datasets[0] if len(datasets) == 1 else _Several(datasets)
        return epoch_loader(dataset, self.trainer, training, self.batch_size, self.workers, self.seed)

    def train_dataloader(self) -> ResumableLoader:
        """Pairs of the training bodies, new ones every epoch."""
        return self._loader(True)

    def val_dataloader(self) -> ResumableLoader:
        """The same pairs of the validation bodies every time."""
        return self._loader(False)

    def test_dataloader(self) -> ResumableLoader:
        """As `val_dataloader`."""
        return self._loader(False)

    def predict_dataloader(self) -> ResumableLoader:
        """As `val_dataloader`."""
        return self._loader(False)


class _Several(Dataset):
    """Data sets of equal length as one, each item asked for by (epoch, index)."""

    def __init__(self, datasets: Sequence[CTPairDataset]) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        return self.datasets[index % len(self.datasets)][epoch, index // len(self.datasets)]

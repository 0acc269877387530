"""Anatomy as labels: each structure's projected mask, thickness and box, and Chest ImaGenome's locations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from drr.geometry import ConeBeam
from drr.projection.attenuation import MU_WATER_PER_MM
from drr.projection.projector import project
from drr.volume import Volume, require_array

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

Box = tuple[int, int, int, int]
ABDOMEN = (
    "liver", "spleen", "stomach", "kidney", "pancreas", "gallbladder", "small_bowel", "duodenum", "colon", "adrenal",
)  # fmt: skip
MEDIASTINUM = (
    "heart", "aorta", "atrial", "trachea", "esophagus", "superior_vena_cava", "pulmonary_vein", "brachiocephalic",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Projection:
    """A structure as one view shows it.

    Attributes:
        thickness_mm: float32 (H, W), the path of each ray through it.
        mask: bool (H, W), more than half a voxel thick.
        box: (left, top, right, bottom) in pixels, the last column and row included; None if it is not in the picture.
    """

    thickness_mm: Float32[np.ndarray, "height width"]
    mask: Bool[np.ndarray, "height width"]
    box: Box | None


def project_mask(
    volume: Volume, mask: Bool[np.ndarray, "depth rows columns"], beam: ConeBeam, backend: str = "auto"
) -> Projection:
    """Where a part of the volume appears in a view.

    Args:
        volume: The CT.
        mask: bool (D, H, W) on its grid. Interpolation spreads its border over one voxel, as it does HU's.
        beam: The view.
        backend: See `project`.

    Returns:
        Thickness, mask and box.

    Raises:
        ValueError: A mask of another shape.
    """
    if mask.shape != volume.hu.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the CT {tuple(volume.hu.shape)}; they must be equal")
    if not mask.any():
        empty = np.zeros(beam.shape, np.float32)
        return Projection(empty, empty > 0, None)
    # one voxel of air around it, so that the border is the mask's own wherever the structure ends
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    part = np.pad(mask[box], 1)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start - 1 for s in box[::-1]]
    water = Volume(np.where(part, 0, -1000).astype(np.int16), affine)
    lines = project(water, [beam], materials=("total",), backend=backend)[0, 0].cpu().numpy()
    thickness = lines / np.float32(MU_WATER_PER_MM)
    shadow = thickness > 0.5 * volume.spacing.min()
    return Projection(thickness, shadow, bounding_box(shadow))


def bounding_box(mask: Bool[np.ndarray, "height width"]) -> Box | None:
    """The smallest box around a mask.

    Args:
        mask: bool (H, W).

    Returns:
        (left, top, right, bottom), the last column and row included; None if the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def project_structures(
    volume: Volume, beam: ConeBeam, names: Iterable[str] | None = None, backend: str = "auto"
) -> dict[str, Projection]:
    """Project the label map's structures.

    Args:
        volume: With a label map.
        beam: The view.
        names: Only these; None: all that the volume holds.
        backend: See `project`.

    Returns:
        {structure: Projection}, named as the label map's table names them.

    Raises:
        ValueError: No label map, or an unknown name.
    """
    if names is None:
        present = set() if volume.labels is None else {int(i) for i in np.unique(volume.labels)}
        names = [name for i, name in (volume.structures or {}).items() if i in present]
    return {name: project_mask(volume, volume.mask(name), beam, backend) for name in names}


def project_locations(volume: Volume, beam: ConeBeam, backend: str = "auto") -> dict[str, Projection]:
    """Project Chest ImaGenome's locations.

    Args:
        volume: With a label map.
        beam: The view.
        backend: See `project`.

    Returns:
        {location: Projection} for those of the 29 names that the label map knows; see `locations`.
    """
    return {name: project_mask(volume, mask, beam, backend) for name, mask in locations(volume).items()}


def locations(volume: Volume) -> dict[str, Bool[np.ndarray, "depth height width"]]:
    """Chest ImaGenome's anatomical locations, cut from a label map.

    Of the 29, 28 are given when lungs, heart, aorta and trachea are labelled; the right atrium is part of `heart` in
    the table. Lungs, clavicles, spine, superior vena cava, trachea and cardiac silhouette are the label map's; the
    rest is cut from it by height: the lungs' zones are thirds, the apical zone is the highest tenth, the hila are lung
    within 25 mm of trachea, main bronchi and pulmonary veins, from 10 mm above to 50 mm below the carina; a
    hemidiaphragm is the lung within 10 mm of an abdominal organ below it, a costophrenic angle the lowest 30 mm of
    the lateral third.

    Args:
        volume: Axes as `read_ct` turns them.

    Returns:
        {name: bool (D, H, W)}.

    Raises:
        ValueError: No label map.

    Reference:
        Wu et al., Chest ImaGenome, 2021, arXiv:2108.00316.
    """
    require_array(volume, "locations")
    volume.require_patient_axes("locations")
    parts = _Parts(volume)
    found: dict[str, np.ndarray] = {}
    for side in ("right", "left"):
        found |= _lung_locations(parts, side)
        found[f"{side} clavicle"] = parts.any_of(f"clavicula_{side}")
    found["spine"] = parts.any_of("vertebrae", "sacrum")
    found["trachea"] = parts.any_of("trachea")
    found["svc"] = parts.any_of("superior_vena_cava")
    found["cardiac silhouette"] = parts.any_of("heart", "atrial_appendage")
    found["mediastinum"] = parts.any_of(*MEDIASTINUM)
    found["abdomen"] = parts.any_of(*ABDOMEN)
    heart, trachea, svc = parts.extent("heart"), parts.extent("trachea"), parts.extent("superior_vena_cava")
    if heart:
        found["mediastinum"] &= parts.between(heart[0], np.inf)
        found["upper mediastinum"] = found["mediastinum"] & parts.between(heart[1], np.inf)
    if svc:
        found["cavoatrial junction"] = found["svc"] & parts.between(svc[0], svc[0] + 15)
    if trachea:
        found["carina"] = found["trachea"] & parts.between(trachea[0], trachea[0] + 15)
        found["aortic arch"] = parts.any_of("aorta") & parts.between(trachea[0], np.inf)
    return {name: mask for name, mask in found.items() if mask.any()}


class _Parts:
    """The label map, asked by names and by height above the lowest slice in mm."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        volume.mask()  # says what to do when there is no label map
        self.near: dict[tuple[float, tuple[str, ...]], np.ndarray] = {}  # what `within` found, for both sides
        self.height = np.arange(volume.hu.shape[0])[:, None, None] * volume.spacing[2]

    def any_of(self, *starts: str) -> np.ndarray:
        return self.volume.mask(*self.volume.names_where(lambda name: name.startswith(starts)).values())

    def extent(self, start: str) -> tuple[float, float] | None:
        """Lowest and highest height of a structure in mm."""
        slices = np.flatnonzero(self.any_of(start).any(axis=(1, 2)))
        return (slices[0] * self.volume.spacing[2], slices[-1] * self.volume.spacing[2]) if len(slices) else None

    def within(self, mm: float, *starts: str) -> np.ndarray:
        """Bool (D, H, W): what lies nearer than `mm` to structures."""
        if (mm, starts) not in self.near:
            self.near[mm, starts] = self._within(mm, self.any_of(*starts))
        return self.near[mm, starts]

    def _within(self, mm: float, part: np.ndarray) -> np.ndarray:
        """The same, of a mask; the distance is measured where it can be less than `mm` alone."""
        near = np.zeros(part.shape, bool)
        if part.any():
            spacing = self.volume.spacing[::-1]
            margin = np.ceil(mm / spacing).astype(int)
            around = ndimage.find_objects(part.astype(np.uint8))[0]
            box = tuple(slice(max(0, side.start - m), side.stop + m) for side, m in zip(around, margin))
            near[box] = ndimage.distance_transform_edt(~part[box], sampling=spacing) < mm
        return near

    def between(self, low: float, high: float) -> np.ndarray:
        """Bool (D, 1, 1): slices from `low` to `high` mm."""
        return (self.height >= low) & (self.height <= high)


def _lung_locations(parts: _Parts, side: str) -> dict[str, np.ndarray]:
    """The eight locations of one lung."""
    volume = parts.volume
    lobes = volume.names_where(lambda name: name.startswith("lung_") and name.endswith(side))
    lung = volume.mask(*lobes.values())
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    if not len(slices):
        return {}
    low, high = slices[0] * volume.spacing[2], slices[-1] * volume.spacing[2]
    third = (high - low) / 3
    found = {
        f"{side} lung": lung,
        f"{side} upper lung zone": lung & parts.between(high - third, high),
        f"{side} mid lung zone": lung & parts.between(low + third, high - third),
        f"{side} lower lung zone": lung & parts.between(low, low + third),
        f"{side} apical zone": lung & parts.between(high - 0.3 * third, high),
    }
    trachea = parts.extent("trachea")
    if trachea:
        near = parts.within(25, "trachea", "pulmonary_vein")
        found[f"{side} hilar structures"] = lung & near & parts.between(trachea[0] - 50, trachea[0] + 10)
    organs_below = np.logical_or.accumulate(parts.any_of(*ABDOMEN), axis=0)
    found[f"{side} hemidiaphragm"] = lung & organs_below & parts.within(10, *ABDOMEN)
    columns = np.flatnonzero(lung.any(axis=(0, 1)))
    outward = columns if side == "left" else columns[::-1]  # x runs to the patient's left
    lateral = np.zeros(lung.shape[2], bool)
    lateral[outward[len(outward) * 2 // 3 :]] = True
    flank = lung & lateral
    bottom = np.flatnonzero(flank.any(axis=(1, 2)))[0] * volume.spacing[2]
    found[f"{side} costophrenic angle"] = flank & parts.between(bottom, bottom + 30)
    return found

"""The bodies of benchmarks.prompt_agreement: CTs without their table, with bones, lobes and heart known."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from drr import Finding, Volume, isolate_body, read_ct, separate_bone
from drr.anatomy.regions import label_chest
from radiolucent.rendering.demo_pairs import sample_body

VOXEL_MM = 2.0  # of CTs on a finer grid, which would take longer and show no more at 192 pixels
OWN = {"lungdx_a0001": ("left upper lobe", 50.0)}  # the tumour that a CT came with: its lobe, its size in mm


@lru_cache(maxsize=8)
def body_of(ct: str | None) -> Volume:
    """A CT without its table, with its bones, lobes and heart known, on voxels of about 2 mm or larger."""
    if ct is None:
        return sample_body()
    volume = isolate_body(read_ct(ct))
    factor = np.minimum(1, volume.spacing / VOXEL_MM)[::-1]
    hu = ndimage.gaussian_filter(volume.hu.astype(np.float32), 0.4 * (1 / factor - 1))
    hu = np.rint(ndimage.zoom(hu, factor, order=1, grid_mode=True, mode="nearest")).astype(np.int16)
    step = (np.array(volume.hu.shape) / hu.shape)[::-1]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((step - 1) / 2)
    affine[:3, :3] *= step
    return label_chest(separate_bone(Volume(hu, affine, source=volume.source)))


def own_findings(ct: str | None) -> list[Finding]:
    """What a CT shows of itself, see OWN."""
    name = "" if ct is None else Path(ct).name.split(".")[0]
    if name not in OWN:
        return []
    lobe, size = OWN[name]
    sizes = {"diameter_mm": size, "hu": 40.0, "spiculation": 0.0}
    return [Finding("nodule", lobe.split()[0], lobe, np.zeros((1, 1, 1), bool), sizes)]


def chest(volume: Volume) -> tuple[slice, slice, slice]:
    """Lungs and heart with 20 mm around them: all that findings change, in a third of the voxels."""
    names = volume.names_where(lambda name: name.startswith("lung_") or name == "heart").values()
    box = ndimage.find_objects(volume.mask(*names).astype(np.uint8))[0]
    margin = np.ceil(20 / volume.spacing[::-1]).astype(int)
    z, y, x = (slice(max(0, part.start - m), part.stop + m) for part, m in zip(box, margin))
    return z, y, x


def chest_mm(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z of `chest` in mm."""
    box = chest(volume)[::-1]
    ends = (np.array([getattr(part, end) for part in box]) - 0.5 for end in ("start", "stop"))
    corners = [volume.affine[:3, :3] @ end + volume.affine[:3, 3] for end in ends]
    return np.min(corners, axis=0), np.max(corners, axis=0)

"""`project`: radiographs' line integrals from a CT, by one of three backends that compute the same thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .attenuation import bone_per_mm, mu_per_mm
from .geometry import ConeBeam
from .reference import joseph
from .volume import Volume

MATERIALS = ("total", "bone", "soft")
BACKENDS = ("auto", "torch", "cpu")


def project(
    volume: Volume,
    beams: Sequence[ConeBeam],
    materials: Sequence[str] = MATERIALS,
    backend: str = "auto",
) -> torch.Tensor:
    """Line integrals of the attenuation, float32 (V, M, H, W), dimensionless, >= 0 up to fatty marrow in bone.

    beams: V beams of one shape. materials: of total, bone (what bone attenuates beyond the soft tissue in its place)
    and soft (the body with soft tissue for bone); total = bone + soft exactly. bone and soft need `volume.bone`.
    backend: torch (differentiable in a float tensor `volume.hu` and in the beam), cpu, or auto.
    The cpu backend keeps what it finds of a volume for its next views, so it makes the volume's arrays read-only.

    ValueError: an unknown material or backend, no beams, beams of several shapes, bone without `volume.bone`.
    """
    _check(volume, beams, materials, backend)
    with_bone = any(m != "total" for m in materials)
    if backend == "torch" or (backend == "auto" and _wants_gradient(volume, beams)):
        views = [_by_torch(volume, beam, with_bone) for beam in beams]
    else:
        volume = _as_numpy(volume)
        views = [_by_cpu(volume, beam, with_bone) for beam in beams]
    return torch.stack([_materials(lines.float(), materials) for lines in views])


def _materials(lines: torch.Tensor, materials: Sequence[str]) -> torch.Tensor:
    """(2, H, W) total and bone -> (M, H, W). total is formed last, so that it is the rounded sum of its parts."""
    if all(m == "total" for m in materials):
        return torch.stack([lines[0]] * len(materials))
    bone = lines[1]
    soft = lines[0] - bone
    parts = {"total": bone + soft, "bone": bone, "soft": soft}
    return torch.stack([parts[m] for m in materials])


def _by_torch(volume: Volume, beam: ConeBeam, with_bone: bool) -> torch.Tensor:
    hu = torch.as_tensor(volume.hu)
    hu = hu if hu.is_floating_point() else hu.float()
    channels = [mu_per_mm(hu)]
    if with_bone:
        channels.append(bone_per_mm(hu, torch.as_tensor(volume.bone, device=hu.device)))
    return joseph(torch.stack(channels), volume.affine, beam)


def _by_cpu(volume: Volume, beam: ConeBeam, with_bone: bool) -> torch.Tensor:
    from .ray import project_rays
    from .streaming import stream

    if min(volume.hu.shape) < 2:
        return torch.zeros(2, *beam.shape)  # the box of the outer voxel centres has no thickness
    lines = stream(volume, beam, with_bone)
    if lines is None:
        lines = project_rays(volume.hu, volume.bone if with_bone else None, volume.affine, beam)
    return torch.from_numpy(lines)


def _as_numpy(volume: Volume) -> Volume:
    hu = volume.hu
    if isinstance(hu, torch.Tensor):
        hu = hu.detach().cpu().numpy()
    elif hu.dtype != np.float16 and hu.flags.c_contiguous:
        return volume  # the same object, so that what streaming keeps of it is found again
    return volume.replace(hu=np.ascontiguousarray(hu, np.float32 if hu.dtype == np.float16 else hu.dtype))


def _wants_gradient(volume: Volume, beams: Sequence[ConeBeam]) -> bool:
    values = [volume.hu, *(getattr(beam, n) for beam in beams for n in ("source", "origin", "du", "dv"))]
    return torch.is_grad_enabled() and any(isinstance(v, torch.Tensor) and v.requires_grad for v in values)


def _check(volume: Volume, beams: Sequence[ConeBeam], materials: Sequence[str], backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"no backend is called {backend!r}; give one of {', '.join(BACKENDS)}")
    if isinstance(beams, ConeBeam) or not len(beams):
        raise ValueError("project needs a list of at least one beam: project(volume, [beam])")
    if len({beam.shape for beam in beams}) > 1:
        raise ValueError(f"the beams have detectors of {len({b.shape for b in beams})} shapes; give beams of one shape")
    unknown = [m for m in materials if m not in MATERIALS]
    if isinstance(materials, str) or unknown or not materials:
        raise ValueError(f"materials are {materials!r}; give a list of {', '.join(MATERIALS)}")
    if volume.bone is None and any(m != "total" for m in materials):
        raise ValueError("bone and soft need to know where the bone is: call separate_bone(volume) first")
    if str(volume.hu.dtype).removeprefix("torch.") not in ("int16", "float16", "float32", "float64"):
        raise ValueError(f"the CT's voxels are {volume.hu.dtype}; int16 or floating-point HU are needed")

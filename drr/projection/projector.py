"""`project`: radiographs' line integrals from a CT, by one of three backends that compute the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from drr.geometry import ConeBeam
from drr.projection.attenuation import bone_per_mm, mu_per_mm
from drr.projection.kept import forget
from drr.projection.reference import joseph
from drr.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Float32

MATERIALS = ("total", "bone", "soft")
BACKENDS = ("auto", "torch", "cpu", "cuda")


def project(
    volume: Volume,
    beams: Sequence[ConeBeam],
    materials: Sequence[str] = MATERIALS,
    backend: str = "auto",
) -> Float32[torch.Tensor, "views materials height width"]:
    """Line integrals of the attenuation.

    cpu and cuda keep what they find of a volume for its next views, so they make the volume's arrays read-only. cpu is
    exact for a detector parallel to the voxels or where a gradient is wanted, and within 2e-3 in L2 otherwise.

    Args:
        volume: The CT; its hu may be a float tensor, in which the result is differentiable by every backend.
        beams: V beams of one shape. The result is differentiable in their vectors by torch, which auto then takes.
        materials: M of total, bone (what bone attenuates beyond the soft tissue in its place) and soft (the body with
            soft tissue for bone); total = bone + soft exactly. bone and soft need `volume.bone`.
        backend: torch (plain; the specification), cpu, cuda (the extra `cuda`) or auto (cuda if available, else cpu).

    Returns:
        float32 (V, M, H, W), dimensionless, >= 0 up to fatty marrow in bone. It lies where the voxels lie: on a GPU for
        a tensor there, else on the CPU.

    Raises:
        ValueError: An unknown material or backend, no beams, beams of several shapes, bone without `volume.bone`, cuda
            without a GPU, a pose's gradient asked of cpu or cuda.

    Example:
        >>> volume = separate_bone(isolate_body(sample_ct()))
        >>> beam = ConeBeam.preset("PA", volume, shape=(256, 256))
        >>> project(volume, [beam], ["total", "soft"]).shape
        torch.Size([1, 2, 256, 256])

    Reference:
        Joseph, IEEE Trans. Med. Imaging 1, 192, 1982.
    """
    return Projector(volume)(beams, materials, backend)


class Projector:
    """A CT that many views are made of, and what the backends find of it once for all of them.

    What is found (the ranges of each row that are not air, a copy turned for laterals, a copy on the GPU) is kept with
    the volume and goes with it; `forget` frees it before. The volume's arrays become read-only.

    Args:
        volume: The CT, see `project`.

    Example:
        >>> projector = Projector(isolate_body(sample_ct()))
        >>> beam = ConeBeam.preset("PA", projector.volume, shape=(256, 256))
        >>> views = [projector([beam.orbit(angle)], ["total"]) for angle in range(0, 360, 10)]
        >>> projector.forget()
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def __call__(
        self, beams: Sequence[ConeBeam], materials: Sequence[str] = MATERIALS, backend: str = "auto"
    ) -> Float32[torch.Tensor, "views materials height width"]:
        """As `project`.

        Args:
            beams: V beams of one shape.
            materials: M of total, bone and soft.
            backend: torch, cpu, cuda or auto.

        Returns:
            float32 (V, M, H, W), dimensionless.

        Raises:
            ValueError: See `project`.
        """
        return _project(self.volume, beams, materials, backend)

    def forget(self) -> None:
        """Free what was found of the volume, up to a copy of it on the CPU and, on the GPU, 12 bytes a voxel."""
        forget(self.volume)


def _project(volume: Volume, beams: Sequence[ConeBeam], materials: Sequence[str], backend: str) -> torch.Tensor:
    _check(volume, beams, materials, backend)
    with_bone = any(m != "total" for m in materials)
    if backend == "auto":
        backend = "torch" if _pose_needs_gradient(beams) else "cuda" if _has_cuda() else "cpu"
    if backend == "torch":
        lines = torch.stack([_by_torch(volume, beam, with_bone) for beam in beams])
    elif min(volume.hu.shape) < 2:
        lines = torch.zeros(len(beams), 2, *beams[0].shape)  # the box of the outer voxel centres has no thickness
    elif backend == "cuda":
        lines = _by_cuda(volume, beams, with_bone)
    else:
        lines = _by_cpu(_on_cpu(volume), beams, with_bone)
    device = volume.hu.device if isinstance(volume.hu, torch.Tensor) else "cpu"
    return materials_of(lines.float(), materials).to(device)


def materials_of(lines: torch.Tensor, materials: Sequence[str]) -> torch.Tensor:
    """What was asked for, of what is cast; total is formed last, as the rounded sum of its parts.

    Args:
        lines: (V, 1 or 2, H, W) total and bone.
        materials: M of total, bone and soft.

    Returns:
        (V, M, H, W); `lines` itself where that is it.
    """
    if all(m == "total" for m in materials):
        return lines if lines.shape[1] == len(materials) == 1 else torch.cat([lines[:, :1]] * len(materials), dim=1)
    bone = lines[:, 1]
    soft = lines[:, 0] - bone
    parts = {"total": bone + soft, "bone": bone, "soft": soft}
    return torch.stack([parts[m] for m in materials], dim=1)


def _by_torch(volume: Volume, beam: ConeBeam, with_bone: bool) -> torch.Tensor:
    hu: torch.Tensor = torch.tensor(volume.hu) if isinstance(volume.hu, np.ndarray) else volume.hu
    hu = hu if hu.is_floating_point() else hu.float()
    channels = [mu_per_mm(hu)]
    if with_bone:
        bone: Any = volume.bone
        bone = torch.tensor(bone) if isinstance(bone, np.ndarray) else bone
        channels.append(bone_per_mm(hu, bone.to(hu.device)))
    return joseph(torch.stack(channels), volume.affine, beam)


def _by_cpu(volume: Volume, beams: Sequence[ConeBeam], with_bone: bool) -> torch.Tensor:
    from drr.projection.ray import project_rays
    from drr.projection.streaming.kernel import stream
    from drr.projection.threads import threads_of_torch_kept

    bone = volume.bone if with_bone else None
    if isinstance(volume.hu, torch.Tensor):
        from drr.projection.adjoint import ProjectVolume

        return ProjectVolume.apply(volume.hu, bone, volume.affine, beams, "cpu")
    views = []
    with threads_of_torch_kept():
        for beam in beams:
            lines = stream(volume, beam, with_bone)
            views.append(project_rays(volume.hu, bone, volume.affine, beam) if lines is None else lines)
    return torch.from_numpy(np.stack(views))


def _by_cuda(volume: Volume, beams: Sequence[ConeBeam], with_bone: bool) -> torch.Tensor:
    from drr.projection.adjoint import ProjectVolume
    from drr.projection.cuda import on_device, packed, project_packed

    if isinstance(volume.hu, torch.Tensor) and torch.is_grad_enabled() and volume.hu.requires_grad:
        hu = on_device(volume.hu)
        bone = on_device(volume.bone, hu.device) if with_bone else None
        return ProjectVolume.apply(hu, bone, volume.affine, beams, "cuda")
    return project_packed(packed(volume, with_bone), volume.affine, beams)


def _on_cpu(volume: Volume) -> Volume:
    """HU as a contiguous array that numba knows, or as a tensor if it wants a gradient; bone as an array."""
    hu, bone = volume.hu, volume.bone
    if isinstance(bone, torch.Tensor):
        bone = bone.cpu().numpy()
    if isinstance(hu, torch.Tensor):
        hu = hu.cpu() if hu.dtype != torch.float16 else hu.cpu().float()
        if not (torch.is_grad_enabled() and hu.requires_grad):
            hu = hu.detach().numpy()
    elif hu.dtype == np.float16:
        hu = hu.astype(np.float32)
    if isinstance(hu, np.ndarray):
        hu = np.ascontiguousarray(hu)
    # The same object where nothing changed, so that what streaming keeps of a volume is found again.
    return volume if hu is volume.hu and bone is volume.bone else volume.replace(hu=hu, bone=bone)


def _has_cuda() -> bool:
    if not torch.cuda.is_available():
        return False
    try:
        from drr.projection.cuda import is_available
    except ImportError:
        return False
    return is_available()


def _pose_needs_gradient(beams: Sequence[ConeBeam]) -> bool:
    values = [getattr(beam, name) for beam in beams for name in ("source", "origin", "du", "dv")]
    return torch.is_grad_enabled() and any(isinstance(v, torch.Tensor) and v.requires_grad for v in values)


def _check(volume: Volume, beams: Sequence[ConeBeam], materials: Sequence[str], backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"no backend is called {backend!r}; give one of {', '.join(BACKENDS)}")
    if backend == "cuda":
        try:
            from drr.projection.cuda import is_available
        except ImportError as error:
            raise ValueError("backend='cuda' needs numba-cuda: pip install 'radiolucent[cuda]'") from error
        if not is_available():
            raise ValueError("backend='cuda' needs an NVIDIA GPU and there is none here; use backend='cpu'")
    if isinstance(beams, ConeBeam) or not len(beams):
        raise ValueError("project needs a list of at least one beam: project(volume, [beam])")
    if len({beam.shape for beam in beams}) > 1:
        raise ValueError(f"the beams have detectors of {len({b.shape for b in beams})} shapes; give beams of one shape")
    if backend in ("cpu", "cuda") and _pose_needs_gradient(beams):
        raise ValueError(f"backend={backend!r} has no gradient in the beam's pose; use backend='torch'")
    unknown = [m for m in materials if m not in MATERIALS]
    if isinstance(materials, str) or unknown or not materials:
        raise ValueError(f"materials are {materials!r}; give a list of {', '.join(MATERIALS)}")
    if volume.bone is None and any(m != "total" for m in materials):
        raise ValueError("bone and soft need to know where the bone is: call separate_bone(volume) first")
    if str(volume.hu.dtype).removeprefix("torch.") not in ("int16", "float16", "float32", "float64"):
        raise ValueError(f"the CT's voxels are {volume.hu.dtype}; int16 or floating-point HU are needed")

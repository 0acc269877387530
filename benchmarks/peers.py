"""Other people's ray casters behind one signature, for benchmarks/drr.py.

A peer is `prepare(mu, volume, beam) -> render`, where `render()` returns the line integrals (rows, columns) and what is
made once a volume is made in `prepare`: only the cast is timed. plastimatch is a program that reads a file: the time it
prints, less that for reading, counts.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from drr import ConeBeam, Volume
from drr.projection.attenuation import MU_WATER_PER_MM

Render = Callable[[], np.ndarray]
RAYS_AT_ONCE = 8192


def attenuation(volume: Volume) -> np.ndarray:
    """float32 (D, H, W) in 1/mm, which the peers are given."""
    return MU_WATER_PER_MM * np.maximum(0, 1 + volume.hu.astype(np.float32) / 1000)


def rtk(mu: np.ndarray, volume: Volume, beam: ConeBeam) -> Render:
    """RTK's JosephForwardProjectionImageFilter, all cores."""
    import itk
    from itk import RTK

    kind = itk.Image[itk.F, 3]
    image = itk.image_view_from_array(mu)
    image.SetSpacing(volume.spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(volume.affine[:3, :3] / volume.spacing))
    pitch = [float(np.linalg.norm(v)) for v in (beam.du, beam.dv)]
    geometry = RTK.ThreeDCircularProjectionGeometry.New()
    points = [itk.Point[itk.D, 3](p.tolist()) for p in (beam.source, beam.origin)]
    vectors = [itk.Vector[itk.D, 3]((v / p).tolist()) for v, p in zip((beam.du, beam.dv), pitch)]
    if not geometry.AddProjection(*points, *vectors):
        raise ValueError("RTK refuses this geometry")
    blank = itk.image_from_array(np.zeros((1, *beam.shape), np.float32))
    blank.SetSpacing([*pitch, 1.0])
    blank.SetOrigin([0.0, 0.0, 0.0])
    caster = RTK.JosephForwardProjectionImageFilter[kind, kind].New()
    caster.InPlaceOff()
    caster.SetInput(0, blank)
    caster.SetInput(1, image)
    caster.SetGeometry(geometry)

    def render() -> np.ndarray:
        caster.Modified()
        caster.Update()
        return itk.array_from_image(caster.GetOutput())[0]

    return render


def plastimatch(mu: np.ndarray, volume: Volume, beam: ConeBeam) -> Render:
    """`plastimatch drr -i exact`; `render.seconds` is what the program says it took."""
    import SimpleITK as sitk

    folder = tempfile.TemporaryDirectory()
    image = sitk.GetImageFromArray(mu)
    image.SetSpacing(volume.spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    sitk.WriteImage(image, f"{folder.name}/mu.mha")
    rows, columns = beam.shape
    middle = beam.origin + (columns - 1) / 2 * beam.du + (rows - 1) / 2 * beam.dv
    depth, distance = np.linalg.norm(beam.source - beam.centre), np.linalg.norm(beam.source - middle)
    size = np.linalg.norm(beam.dv) * rows, np.linalg.norm(beam.du) * columns
    up, normal = -beam.dv / np.linalg.norm(beam.dv), (beam.source - middle) / distance
    program = Path(sysconfig.get_path("scripts")) / "plastimatch"
    command = [str(program), "drr", "-i", "exact", "-P", "none", "-t", "pfm", "--sad", f"{depth:.6f}",
               "--sid", f"{distance:.6f}", "-r", f"{rows} {columns}", "-z", "{:.6f} {:.6f}".format(*size),
               "-n", "{:.9f} {:.9f} {:.9f}".format(*normal), "--vup", "{:.9f} {:.9f} {:.9f}".format(*up),
               "-o", "{:.6f} {:.6f} {:.6f}".format(*beam.centre), "-O", "out_", "mu.mha"]  # fmt: skip

    def render() -> np.ndarray:
        done = subprocess.run(command, cwd=folder.name, capture_output=True, text=True, check=True)
        spent, read = (re.search(rf"{what} time: ([\d.]+)", done.stdout) for what in ("Total", "I/O"))
        render.seconds = float(spent[1]) - float(read[1])  # type: ignore[attr-defined,index]
        data = Path(folder.name, "out_0000.pfm").read_bytes().split(b"\n", 3)[3]
        image = np.frombuffer(data, "<f4").reshape(rows, columns)
        return 10 * image[:, ::-1]  # lengths in cm; columns run the other way round

    render.folder = folder  # type: ignore[attr-defined]
    return render


def _ends(beam: ConeBeam) -> tuple[np.ndarray, np.ndarray]:
    """Source (1, 3) and pixels (rows * columns, 3) in mm."""
    r, c = np.indices(beam.shape).reshape(2, -1, 1)
    return beam.source[None], beam.origin + c * beam.du + r * beam.dv


def _diffdrr(renderer: torch.nn.Module, mu: np.ndarray, volume: Volume, beam: ConeBeam, **options: int) -> Render:
    """A renderer of DiffDRR in voxel indices, in chunks of rays (all at once would not fit the memory)."""
    data = torch.from_numpy(mu).permute(2, 1, 0).contiguous()
    to_index = np.linalg.inv(volume.affine)
    source, pixels = _ends(beam)
    lengths = torch.from_numpy(np.linalg.norm(pixels - source, axis=1)).float()
    start, ends = (torch.from_numpy(p @ to_index[:3, :3].T + to_index[:3, 3]).float()[None] for p in (source, pixels))

    def render() -> np.ndarray:
        with torch.no_grad():
            parts = [renderer(data, start, some, None, **options)[0, 0] for some in ends.split(RAYS_AT_ONCE, dim=1)]
        return (torch.cat(parts) * lengths).reshape(beam.shape).numpy()

    return render


def diffdrr_siddon(mu: np.ndarray, volume: Volume, beam: ConeBeam) -> Render:
    """DiffDRR's Siddon: voxels are boxes."""
    from diffdrr.renderers import Siddon

    return _diffdrr(Siddon(), mu, volume, beam)


def diffdrr_trilinear(mu: np.ndarray, volume: Volume, beam: ConeBeam) -> Render:
    """DiffDRR's Trilinear with 500 samples a ray."""
    from diffdrr.renderers import Trilinear

    return _diffdrr(Trilinear(), mu, volume, beam, n_points=500)


def nanodrr(mu: np.ndarray, volume: Volume, beam: ConeBeam) -> Render:
    """nanodrr with 500 samples a ray: its torch backend on a CPU, Triton on a GPU."""
    cast = nanodrr_views(mu, volume, [beam])
    return lambda: cast()[0, 0].cpu().numpy()


def nanodrr_views(
    mu: np.ndarray, volume: Volume, beams: Sequence[ConeBeam], with_bone: bool = False
) -> Callable[[], torch.Tensor]:
    """nanodrr for several poses at once, the result left where it is: (V, 1, rows, columns).

    With bone its label map has two classes, (V, 2, rows, columns): what is not bone, and bone. Their sum is the total.
    """
    from nanodrr.data import Subject
    from nanodrr.drr import render as cast

    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = torch.from_numpy(mu)[None, None]
    label = torch.zeros_like(data)
    if with_bone and volume.bone is not None:
        label[0, 0] = torch.from_numpy(volume.bone) > 0
    affine = torch.from_numpy(volume.affine)
    matrices = [m.float() for m in (affine, affine.inverse())]
    grid = Subject._make_voxel_to_grid(data.shape)
    subject = Subject(data, label, *matrices, grid, torch.zeros(3), convert_to_mu=False).to(device)
    ends = [[torch.from_numpy(points).float() for points in _ends(beam)] for beam in beams]
    source, pixels = (torch.stack(points).to(device) for points in zip(*ends))
    identity = torch.eye(4, device=device).expand(len(beams), 4, 4).contiguous()
    distance = torch.ones(len(beams))

    def render() -> torch.Tensor:
        with torch.no_grad():
            return cast(subject, identity[:, :3, :3], identity, distance, *beams[0].shape, 500, src=source, tgt=pixels)

    return render


PEERS = {
    "rtk": rtk,
    "plastimatch": plastimatch,
    "nanodrr": nanodrr,
    "diffdrr_trilinear": diffdrr_trilinear,
    "diffdrr_siddon": diffdrr_siddon,
}

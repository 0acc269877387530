"""The CUDA kernels: in numba's simulator against torch, compiled to PTX, and on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from drr import ConeBeam, Volume, project
from drr.projection.kept import kept_of

needs_numba_cuda = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs the extra `cuda`: pip install '.[cuda]'"
)


def scene() -> tuple[Volume, list[ConeBeam]]:
    rng = np.random.default_rng(0)
    hu = np.full((8, 10, 12), -1000, np.int16)
    hu[:, 1:9, 2:11] = rng.integers(-1100, 1500, (8, 8, 9))
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = -11
    beam = ConeBeam((0, 300, 0), (-14, -60, 14), (5, 0, 0), (0, 0, -5), (6, 7))
    bone = rng.integers(0, 3, hu.shape).astype(np.uint8)
    return Volume(hu, affine, bone=bone), [beam, beam.orbit(40).orbit(20, (1, 0, 0)), beam.orbit(90)]


def check_against_torch(device: str) -> None:
    """Values in one launch of three views, int16 and float16, and the gradient."""
    volume, beams = scene()
    expected = project(volume, beams, backend="torch")
    largest = float(expected.abs().max())
    for hu in (volume.hu, torch.tensor(volume.hu).to(device), torch.tensor(volume.hu).half().to(device)):
        lines = project(volume.replace(hu=hu), beams, backend="cuda")
        assert lines.device.type == (hu.device.type if isinstance(hu, torch.Tensor) else "cpu")
        torch.testing.assert_close(lines.cpu(), expected, rtol=1e-5, atol=1e-5 * largest)
    gradients = []
    for backend, place in (("torch", "cpu"), ("cuda", device)):
        leaf = (torch.tensor(volume.hu) + 0.25).to(place).requires_grad_()
        (project(volume.replace(hu=leaf), beams, ["bone", "total"], backend) ** 2).sum().backward()
        gradients.append(leaf.grad.cpu())
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5 * float(gradients[0].abs().max()))


def check_what_is_kept(device: str) -> None:
    """Arrays are packed once, with bone and without, and tensors, which may change, at each call."""
    volume, beams = scene()
    ahead, across = [beams[0]], [beams[2]]
    first = project(volume, ahead, ["total"], "cuda")
    with pytest.raises(ValueError, match="read-only"):
        volume.hu[0, 0, 0] = 5
    words = kept_of(volume).on_device[False].words
    assert torch.equal(project(volume, ahead, ["total"], "cuda"), first)
    assert kept_of(volume).on_device[False].words is words and not kept_of(volume).on_device[False].turned_at
    project(volume, across, ["bone"], "cuda")
    assert list(kept_of(volume).on_device) == [False, True] and kept_of(volume).on_device[True].turned_at
    for place in {"cpu", device}:
        hu = torch.tensor(volume.hu).to(place)
        tensors = volume.replace(hu=hu, bone=torch.tensor(volume.bone).to(place))
        torch.testing.assert_close(project(tensors, ahead, ["total"], "cuda").cpu(), first)
        hu.fill_(-1000)
        assert not project(tensors, ahead, ["total"], "cuda").any()


def check_borders(device: str) -> None:
    """A body that the grid's border cuts, voxels of all int16, no two voxels thick, rays along faces, in one launch."""
    rng = np.random.default_rng(1)
    hu = rng.integers(-32768, 32768, (2, 9, 8)).astype(np.int16)
    hu[0, 0, :4] = 32767, -32768, -1000, -999
    volume = Volume(hu, np.eye(4), bone=rng.integers(0, 3, hu.shape).astype(np.uint8))
    beam = ConeBeam((3.5, -900, 0.5), (0, 30, 0), (1, 0, 0), (0, 0, 0.25), (5, 8))
    beams = [beam, beam.orbit(45), beam.orbit(-90), beam.orbit(180), beam.orbit(80, (1, 0, 0))]
    expected = project(volume.replace(hu=torch.tensor(hu).double()), beams, backend="torch")
    for voxels in (hu, torch.tensor(hu).to(device).float()):
        lines = project(volume.replace(hu=voxels), beams, backend="cuda").cpu()
        torch.testing.assert_close(lines, expected.float(), rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@needs_numba_cuda
def test_the_simulator_agrees_with_torch():
    program = (
        "import importlib.util as u, sys\n"
        "sys.setswitchinterval(1e-5)\n"  # the simulator's threads wait for a manager that polls them
        f"spec = u.spec_from_file_location('test_cuda', {__file__!r})\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "module.check_against_torch('cpu'); module.check_what_is_kept('cpu'); module.check_borders('cpu')"
    )
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@needs_numba_cuda
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_the_kernels_compile_to_ptx_without_a_gpu(capability, monkeypatch):
    import numba
    from numba import cuda
    from numba.cuda import dispatcher

    from drr.projection import cuda_kernels

    # Nested device functions ask the current device for its capability; there may be none.
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
    f32, f64, i64 = numba.float32, numba.float64, numba.int64
    kinds = {"short": numba.int16, "pair": numba.int32, "real": f32, "reals": f32}
    for name, voxel in kinds.items():
        kernel = getattr(cuda_kernels, f"cast_{name}")
        types = (voxel[::1], numba.uint32, numba.uint32, i64, i64, i64, f64[:, :, ::1], f32[:, :, :, ::1])
        ptx, _ = cuda.compile_ptx(kernel, numba.void(*types), cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx and "fma.rn.f32" in ptx
        # A corner of a cell is one load: 16 bits without bone, 32 with it.
        load = {"short": r"ld\.global\.[ub]16", "pair": r"ld\.global\.[ub]32"}.get(name, r"ld\.global\.f32")
        assert re.search(load, ptx) and not re.search(r"\bld\.[ubf]", ptx), name
    types = (f32[::1], numba.uint8[::1], i64, i64, i64, f64[:, :, ::1], f32[:, :, :, ::1], f32[::1])
    adjoint, _ = cuda.compile_ptx(cuda_kernels.back_project, numba.void(*types), cc=capability)
    assert "atom" in adjoint or "red.global.add" in adjoint


def test_cuda_without_a_gpu_says_what_to_do():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    volume, beams = scene()
    with pytest.raises(ValueError, match=r"needs an NVIDIA GPU|radiolucent\[cuda\]"):
        project(volume, beams, backend="cuda")


@pytest.mark.gpu
@needs_numba_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("check", [check_against_torch, check_what_is_kept, check_borders])
def test_the_gpu_agrees_with_torch(check):
    check("cuda")


@needs_numba_cuda
def test_no_ray_along_x_is_overlooked():
    """Views of which some rays may read the turned copy: brute force over all pixels, for 300 random poses."""
    from drr.projection.cuda import _may_run_along_x
    from drr.projection.ray import index_geometry

    rng = np.random.default_rng(2)
    said, is_so = [], []
    for _ in range(300):
        affine = np.diag([*rng.uniform(0.5, 3, 3), 1])
        beam = ConeBeam(rng.normal(0, 300, 3), rng.normal(0, 300, 3), *rng.normal(0, 20, (2, 3)), (9, 7))
        geometry = index_geometry(affine, beam)
        r, c = np.indices(beam.shape)[..., None]
        x, y, z = np.moveaxis(abs(geometry[1] - geometry[0] + c * geometry[2] + r * geometry[3]), -1, 0)
        is_so.append(bool(((x >= y) & (x >= z)).any()))
        said.append(_may_run_along_x(geometry, beam.shape))
    assert all(said[i] for i in range(300) if is_so[i])
    assert 0.3 < np.mean(is_so) < 0.9 and np.mean(said) - np.mean(is_so) < 0.1

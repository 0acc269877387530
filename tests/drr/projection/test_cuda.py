"""The CUDA kernels: in numba's simulator against torch, compiled to PTX, and on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from drr import ConeBeam, Volume, project

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


@needs_numba_cuda
def test_the_simulator_agrees_with_torch():
    program = (
        "import importlib.util as u\n"
        f"spec = u.spec_from_file_location('test_cuda', {__file__!r})\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "module.check_against_torch('cpu')"
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

    from drr.projection.cuda import back_project_kernel, project_kernel

    # Nested device functions ask the current device for its capability; there may be none.
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
    f32, f64, i64 = numba.float32, numba.float64, numba.int64
    for hu in (numba.int16, numba.types.float16, f32):
        voxels = (hu[::1], numba.uint8[::1], i64, i64, i64, i64[:, ::1], f64[:, :, ::1], f64[:, :, ::1])
        ptx, _ = cuda.compile_ptx(project_kernel, numba.void(*voxels, f32[:, :, :, ::1]), cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx and "fma.rn.f32" in ptx
    adjoint, _ = cuda.compile_ptx(back_project_kernel, numba.void(*voxels, f32[:, :, :, ::1], f32[::1]), cc=capability)
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
def test_the_gpu_agrees_with_torch():
    check_against_torch("cuda")

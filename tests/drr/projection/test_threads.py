"""The kernels' results do not depend on the number of threads, down to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numba
import numpy as np
import pytest

from drr import ConeBeam, Volume, isolate_body, sample_ct, separate_bone
from drr.projection.adjoint import back_project
from drr.projection.streaming.kernel import stream

THREADS = 2


def assert_equal_in_all_threads() -> None:
    """Every kernel that has threads, in one and in as many as numba has here."""
    most = numba.get_num_threads()
    assert most == THREADS
    ct = separate_bone(isolate_body(sample_ct()))
    volumes = (ct, Volume(ct.hu.astype(np.float32), ct.affine, bone=ct.bone), Volume(ct.hu, ct.affine))
    beams = [ConeBeam.preset(view, ct, (96, 96)).orbit(turn) for view in ("PA", "LL") for turn in (0, 33)]
    cases = [(volume, beam) for volume in volumes for beam in beams]
    rng = np.random.default_rng(1)
    noise = rng.uniform(200, 1500, (40, 40, 40)).astype(np.float32)
    bone = rng.integers(0, 3, noise.shape).astype(np.uint8)
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    small = [ConeBeam.preset("PA", Volume(noise, affine), (16, 16)).orbit(turn) for turn in (0, 40, 90)]
    lines = rng.normal(size=(2, 16, 16))
    results = []
    for threads in (1, most):
        numba.set_num_threads(threads)
        fresh = [(Volume(v.hu.copy(), v.affine, bone=v.bone), beam) for v, beam in cases]  # without the packed slices
        streamed = [stream(volume, beam, volume.bone is not None) for volume, beam in fresh]
        assert not any(one is None for one in streamed)
        results.append([*streamed, *(back_project(noise, bone, affine, beam, lines) for beam in small)])
    assert all(np.array_equal(one, many) for one, many in zip(*results, strict=True))


def assert_torch_keeps_its_threads() -> None:
    """Casting and its adjoint leave torch the one thread that it was given."""
    import torch

    from drr import project

    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1  # from here on torch asks OpenMP
    ct = isolate_body(sample_ct())
    beam = ConeBeam.preset("PA", ct, (32, 32))
    project(ct, [beam], ("total",), backend="cpu")
    assert torch.get_num_threads() == 1
    hu = torch.tensor(ct.hu[::4, ::8, ::8].astype(np.float32), requires_grad=True)
    project(Volume(hu, np.diag([8.0, 8.0, 10.0, 1.0])), [beam], ("total",), backend="cpu").sum().backward()
    assert torch.get_num_threads() == 1 and hu.grad is not None


CHECKS = """
import json, os, runpy, sys
import torch  # first, as users do: the order matters
checks = runpy.run_path(sys.argv[1])
statuses = {}
for name in sys.argv[2:]:
    child = os.fork()  # before anything has run: each check has threads of its own
    if not child:
        checks[name]()
        sys.exit()
    statuses[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(statuses))
"""


@pytest.fixture(scope="module")
def in_two_threads() -> Callable[[str], None]:
    """Whether one of the functions above ended well, in a process of its own with two threads."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(THREADS)}
    names = ("assert_torch_keeps_its_threads", "assert_equal_in_all_threads")
    command = [sys.executable, "-c", CHECKS, __file__, *names]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    statuses = json.loads(run.stdout.splitlines()[-1])

    def ended_well(check: str) -> None:
        assert statuses[check] == 0, run.stderr

    return ended_well


def test_torch_keeps_its_threads(in_two_threads):
    in_two_threads("assert_torch_keeps_its_threads")


def test_the_result_does_not_depend_on_the_number_of_threads(in_two_threads):
    in_two_threads("assert_equal_in_all_threads")

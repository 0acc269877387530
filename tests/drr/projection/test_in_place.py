"""A batch's CT cast once from every side, turned in its own memory."""

from __future__ import annotations

import numpy as np
import pytest

from drr import ConeBeam, Volume, project
from drr.projection.in_place import project_once, turn
from drr.projection.streaming.slices import slices_along


@pytest.fixture
def volume():
    """Blocks of tissue and bone off the middle, on 10 x 24 x 30 voxels that are no cubes."""
    hu = np.full((10, 24, 30), -1000, np.int16)
    hu[2:9, 4:20, 3:25], hu[3:7, 6:9, 10:24] = 40, 700
    affine = np.diag([1.5, 2.0, 4.0, 1.0])
    affine[:3, 3] = (-20, -25, 7)
    return Volume(hu, affine, bone=2 * (hu > 300).astype(np.uint8))


def fresh(volume):
    return Volume(volume.hu.copy(), volume.affine, bone=volume.bone.copy())


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_the_lines_are_those_of_project(volume, backend):
    views = ("LL", "PA", "RL", "AP")
    beams = [ConeBeam.preset(view, volume, (40, 36)) for view in views]
    beams += [beams[0].orbit(20), beams[1].orbit(30), beams[1].orbit(50)]
    expected = project(fresh(volume), beams, backend=backend)
    once = project_once(fresh(volume), beams, backend=backend)
    assert expected[:, 1].amax(dim=(1, 2)).min() > 0.05  # the bone is in every picture
    np.testing.assert_allclose(once, expected, atol=2e-4 if backend == "cpu" else 2e-6)
    np.testing.assert_allclose(once[:4], expected[:4], atol=2e-6)  # along the voxels: exact either way


def test_turning_moves_every_voxel_to_its_place_and_takes_no_memory(volume):
    given = fresh(volume)
    turned = turn(given)
    assert turned.hu.shape == (10, 30, 24) and np.shares_memory(turned.hu, given.hu)
    assert np.array_equal(turned.hu, volume.hu.transpose(0, 2, 1))
    assert np.array_equal(turned.bone, volume.bone.transpose(0, 2, 1))
    found = slices_along(Volume(turned.hu.copy(), turned.affine, bone=turned.bone.copy()), 1).spans
    np.testing.assert_array_equal(slices_along(turned, 1).spans, found)
    x, y, z = 7, 11, 3
    np.testing.assert_allclose(turned.affine @ (y, x, z, 1), volume.affine @ (x, y, z, 1))


def test_voxels_that_project_has_locked_can_be_turned(volume):
    given = fresh(volume)
    project(given, [ConeBeam.preset("PA", given, (20, 20))], backend="cpu")
    assert not given.hu.flags.writeable
    assert np.array_equal(turn(given).hu, volume.hu.transpose(0, 2, 1))

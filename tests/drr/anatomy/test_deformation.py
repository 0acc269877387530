"""Random bodies."""

from __future__ import annotations

import numpy as np
import pytest

from drr.anatomy.deformation import deform
from drr.volume import Volume


@pytest.fixture(scope="module")
def ball() -> Volume:
    z, y, x = np.mgrid[:40, :48, :44]
    inside = ((x - 22) ** 2 + (y - 24) ** 2 + (z - 20) ** 2 < 12**2).astype(np.uint8)
    return Volume(
        inside * np.int16(1000), np.diag([3.0, 3.0, 3.0, 1.0]), inside * np.uint8(7), {7: "heart"}, inside * 2
    )


def test_same_seed_same_body(ball):
    one, same, other = deform(ball, 3), deform(ball, 3), deform(ball, 4)
    np.testing.assert_array_equal(one.hu, same.hu)
    np.testing.assert_array_equal(one.affine, same.affine)
    assert (one.hu != other.hu).any() and (one.affine != other.affine).any()


def test_nothing_asked_nothing_done(ball):
    same = deform(ball, 0, amplitude_mm=0, scale=0)
    for name in ("hu", "labels", "bone", "affine"):
        np.testing.assert_array_equal(getattr(same, name), getattr(ball, name))


def test_labels_and_bone_move_with_the_hu(ball):
    moved = deform(ball, 1, amplitude_mm=12)
    assert (moved.hu != ball.hu).sum() > 1000
    inside = moved.labels == 7
    assert moved.hu[inside].min() >= 100 and moved.hu[inside].mean() > 900
    assert ((moved.bone == 2) == inside).all()
    assert (moved.bone[moved.hu > 0] > 0).all()  # no bright edge is left outside the rim
    assert 0.7 < inside.sum() / (ball.labels == 7).sum() < 1.4


def test_stretch_keeps_the_centre(ball):
    wide = deform(ball, 2, amplitude_mm=0, scale=0.3)
    middle = [21.5, 23.5, 19.5, 1]
    np.testing.assert_allclose(wide.affine @ middle, ball.affine @ middle)
    assert (np.abs(wide.spacing / 3 - 1) <= 0.3).all() and np.ptp(wide.spacing) > 0.05


def test_no_fold():
    """A ramp stays a ramp: along each axis the order of the voxels is kept."""
    for axis in range(3):
        ramp = np.moveaxis(np.broadcast_to(np.arange(50, dtype=np.int16) * 100, (50, 50, 50)), 2, axis)
        bent = deform(Volume(ramp, np.diag([4.0, 4.0, 4.0, 1.0])), 5, amplitude_mm=60)
        assert (np.diff(bent.hu.astype(int), axis=axis) >= 0).all()


def test_bad_arguments(ball):
    with pytest.raises(ValueError, match="lattice_mm > 0"):
        deform(ball, 0, lattice_mm=0)

"""Slice streaming against the ray function in float64."""

from __future__ import annotations

import numpy as np
import pytest

from drr import ConeBeam, Volume, isolate_body, project, sample_ct, separate_bone
from drr.projection.ray import index_geometry, project_rays
from drr.projection.streaming.kernel import stream
from drr.projection.streaming.plan import plan
from drr.projection.streaming.simd import WIDEST_STEPS, resample
from drr.projection.streaming.slices import occupied, slices_along

SIZE = (96, 96)


@pytest.fixture(scope="module")
def ct() -> Volume:
    return separate_bone(isolate_body(sample_ct()))


def compare(volume: Volume, beam: ConeBeam) -> tuple[float, float]:
    """Relative L2 distance of total, and of bone relative to total, from Joseph's method in float64."""
    exact = project_rays(volume.hu.astype(np.float64), volume.bone, volume.affine, beam)
    lines = stream(volume, beam, volume.bone is not None)
    assert lines is not None
    return tuple(np.linalg.norm(lines[m] - exact[m]) / np.linalg.norm(exact[0]) for m in (0, 1))


@pytest.mark.parametrize("name", ["PA", "AP", "LL", "RL"])
@pytest.mark.parametrize("shape", [SIZE, (150, 70), (300, 280)])
def test_a_detector_along_the_voxels_is_exact(ct, name, shape):
    assert max(compare(ct, ConeBeam.preset(name, ct, shape))) < 1e-6


def test_a_rolled_by_90_degrees_and_a_beam_from_above_are_exact_too(ct):
    beam = ConeBeam.preset("PA", ct, (80, 90))
    rolled = ConeBeam(beam.source, beam.origin, beam.dv, beam.du, (90, 80), beam.centre)
    above = beam.orbit(90, (1, 0, 0))
    for turned in (rolled, above):
        assert max(compare(ct, turned)) < 1e-6


# The last two look along a face at which the body is cut, where the image has an edge.
POSES = [(1, 0), (10, 5), (25, 10), (40, 0), (45, 0), (50, -15), (130, 20), (-75, -30), (20, 75), (0, 5.8), (10, -5.5)]


@pytest.mark.parametrize("turn, tip", POSES)
def test_any_pose_is_within_two_thousandths(ct, turn, tip):
    beam = ConeBeam.preset("PA", ct, SIZE).orbit(turn).orbit(tip, (1, 0, 0))
    total, bone = compare(ct, beam)
    assert total < 2e-3
    assert bone < 2e-3


def test_near_45_degrees_two_sweeps_share_the_detector(ct):
    beam = ConeBeam.preset("PA", ct, SIZE).orbit(45)
    sweeps = plan(index_geometry(ct.affine, beam), occupied(ct), beam.shape, ct.spacing)
    assert sorted(sweep.axis for sweep in sweeps) == [0, 1]


@pytest.mark.parametrize("shift", [0, 60])
def test_voxels_up_to_every_face_are_cut_as_by_the_rays(shift):
    """Noise up to the border, where a cell counts by its share; the source is not before the middle."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 1500, (24, 28, 32)).astype(np.int16)
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = -36
    volume = Volume(hu, affine, bone=rng.integers(0, 3, hu.shape).astype(np.uint8))
    beam = ConeBeam((shift, 300, -shift), (-60, -90, 60), (2.1, 0, 0), (0, 0, -2.3), (52, 57))
    exact = project_rays(hu.astype(np.float64), volume.bone, affine, beam)
    lines = stream(volume, beam, True)
    error = abs(lines[0] - exact[0]) / exact[0].max()
    assert np.quantile(error, 0.99) < 1e-6
    assert error.max() < 0.25 / 28  # where two faces cut one cell: a part of one of 28


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turn", [0, 90, 30])
def test_floating_point_volumes(ct, dtype, turn):
    small = Volume(ct.hu[::3, ::3, ::3].astype(dtype), ct.affine @ np.diag([3, 3, 3, 1]), bone=ct.bone[::3, ::3, ::3])
    beam = ConeBeam.preset("PA", small, (40, 40)).orbit(turn)
    integers = small.replace(hu=small.hu.astype(np.int16))
    for m in (True, False):
        np.testing.assert_allclose(stream(small, beam, m), stream(integers, beam, m), rtol=1e-5, atol=1e-5)


def test_coarse_and_fine_detectors(ct):
    """Steps of more than two voxels a pixel, where sixteen outputs need more than two registers, and of a fifth."""
    coarse = ConeBeam.preset("PA", ct, (24, 24))
    fine = ConeBeam.preset("LL", ct, (24, 24), field_mm=12.0)
    assert max(compare(ct, coarse)) < 1e-6
    assert max(compare(ct, fine)) < 1e-6


@pytest.mark.parametrize("step", [0.2, 0.9, 1.5, 3.0])
def test_resampling_with_registers_is_linear_interpolation(step):
    rng = np.random.default_rng(0)
    q = rng.normal(size=400).astype(np.float32)
    places = 3.3 + step * np.arange(100)
    index = places.astype(np.int32)
    weight = (places - index).astype(np.float32)
    padded = [np.zeros(116, a.dtype) for a in (index, weight, index, weight)]
    padded[0][:100], padded[1][:100] = index, weight
    padded[2][:100] = index - index[np.arange(100) // 16 * 16]
    registers = 1 + sum(step > widest for widest in WIDEST_STEPS)
    resample(q, padded[0], padded[2], padded[1], padded[3], 16, 100, registers)
    expected = np.interp(places, np.arange(400), q)
    np.testing.assert_allclose(padded[3][16:100], expected[16:], atol=1e-5)
    assert (padded[3][:16] == 0).all()


def test_where_streaming_does_not_apply_rays_are_cast(ct):
    beam = ConeBeam.preset("PA", ct, (20, 20))
    inside = ConeBeam(beam.centre, beam.origin, beam.du, beam.dv, beam.shape)
    in_front = ConeBeam(beam.source, beam.origin + np.array([0, 150, 0]), beam.du, beam.dv, beam.shape)
    for odd in (inside, in_front):
        assert stream(ct, odd, True) is None
        expected = project_rays(ct.hu, ct.bone, ct.affine, odd)
        np.testing.assert_allclose(project(ct, [odd], ["total"], "cpu")[0, 0], expected[0], rtol=1e-5, atol=1e-6)
        assert expected[0].max() > 0.1


def test_air_gives_zero():
    volume = Volume(np.full((8, 8, 8), -1024, np.int16), np.eye(4))
    beam = ConeBeam((4, 100, 4), (0, -50, 0), (1, 0, 0), (0, 0, 1), (8, 8))
    assert not stream(volume, beam, False).any()


def test_the_turned_copy_is_as_large_as_the_ct_and_what_is_kept_cannot_go_stale(ct):
    volume = Volume(ct.hu.copy(), ct.affine, bone=ct.bone.copy())
    slices = slices_along(volume, 0)
    assert slices.voxels.nbytes == volume.hu.nbytes and slices.bone is None
    assert np.shares_memory(slices_along(volume, 1).voxels, volume.hu)
    with pytest.raises(ValueError, match="read-only"):
        volume.hu[0, 0, 0] = 0


def test_bone_that_the_packed_copy_marks_is_that_of_the_map(ct):
    packed = slices_along(ct, 0).voxels.reshape(ct.hu.shape[0], ct.hu.shape[2], ct.hu.shape[1]).transpose(0, 2, 1)
    np.testing.assert_array_equal(packed & 0x7FFF, np.maximum(ct.hu.astype(int) + 1000, 0))
    np.testing.assert_array_equal(packed >> 15, (ct.bone == 2) | ((ct.bone == 1) & (ct.hu > 50)))

"""`project` against analytic values, against itself moved, and backend against backend."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from drr import ConeBeam, Projector, Volume, project
from drr.projection.attenuation import MU_SOFT_PER_MM, bone_per_mm, mu_per_mm
from drr.projection.kept import kept_of

WATER = 0.0206
BACKENDS = ["torch", "cpu"]


def beam_along(axis: int, shape=(24, 20), source_mm=900.0, pitch=4.0) -> ConeBeam:
    """A beam along a world axis whose central ray goes through the origin."""
    along, du, dv = np.eye(3)[axis], np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
    corner = -150 * along - (shape[1] - 1) / 2 * pitch * du - (shape[0] - 1) / 2 * pitch * dv
    return ConeBeam(source_mm * along, corner, du * pitch, dv * pitch, shape)


def centred(hu: np.ndarray, spacing=(1.5, 2.0, 2.5), **fields) -> Volume:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(hu.shape[::-1]) - 1) / 2 * spacing
    return Volume(hu, affine, **fields)


def cosines(beam: ConeBeam, axis: int) -> np.ndarray:
    rows, columns = np.indices(beam.shape)
    rays = beam.origin + columns[..., None] * beam.du + rows[..., None] * beam.dv - beam.source
    return abs(rays[..., axis]) / np.linalg.norm(rays, axis=-1)


def test_attenuation_of_air_water_soft_tissue_and_bone():
    hu = torch.tensor([-2048.0, -1000, 0, 50, 1000])
    assert mu_per_mm(hu).tolist() == pytest.approx([0, 0, 0.0206, 0.02163, 0.0412])
    hu = torch.tensor([500.0, 500, 500, 0, 0])
    excess = bone_per_mm(hu, torch.tensor([0, 1, 2, 1, 2], dtype=torch.uint8))
    assert excess.tolist() == pytest.approx([0, 0.0309 - MU_SOFT_PER_MM, 0.0309 - MU_SOFT_PER_MM, 0, -0.00103])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slab(backend, axis):
    """Seven planes of 500 HU across the beam: 1.5 x water times their thickness over the ray's cosine."""
    hu = np.full((60, 60, 60), -1000, np.int16)
    hu[(slice(None),) * (2 - axis) + (slice(20, 27),)] = 500
    volume = centred(hu)
    beam = beam_along(axis, pitch=2.0)
    expected = 7 * volume.spacing[axis] * 1.5 * WATER / cosines(beam, axis)
    np.testing.assert_allclose(project(volume, [beam], ["total"], backend)[0, 0], expected, rtol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_body_cut_by_the_border_ends_at_the_outer_voxel_centres(backend, axis):
    volume = centred(np.zeros((30, 30, 30), np.int16))
    beam = beam_along(axis, pitch=1.0)
    expected = 29 * volume.spacing[axis] * WATER / cosines(beam, axis)
    np.testing.assert_allclose(project(volume, [beam], ["total"], backend)[0, 0], expected, rtol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("turn, tip", [(0, 0), (37, 0), (45, 20), (-120, -35), (90, 60)])
def test_sphere_at_several_poses(backend, turn, tip):
    """Chords of a sphere of 30 mm that is not at the centre, with a soft edge of one voxel."""
    centre, radius = np.array([6.0, -4.0, 3.0]), 30.0
    volume = centred(np.zeros((90, 90, 90), np.int16), (0.9, 0.9, 0.9))
    z, y, x = np.indices(volume.hu.shape)
    place = np.stack([x, y, z], -1) * 0.9 + volume.affine[:3, 3]
    inside = np.clip((radius - np.linalg.norm(place - centre, axis=-1)) / 0.9 + 0.5, 0, 1)
    volume = volume.replace(hu=np.rint(1000 * inside - 1000).astype(np.int16))
    beam = beam_along(1, (40, 40), pitch=2.5).orbit(turn).orbit(tip, (1, 0, 0))
    rows, columns = np.indices(beam.shape)
    rays = beam.origin + columns[..., None] * beam.du + rows[..., None] * beam.dv - beam.source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    miss = np.linalg.norm(np.cross(rays, centre - beam.source), axis=-1)
    chord = 2 * np.sqrt(np.maximum(radius**2 - miss**2, 0)) * WATER
    lines = project(volume, [beam], ["total"], backend)[0, 0].numpy()
    well_inside = miss < radius - 3
    np.testing.assert_allclose(lines[well_inside], chord[well_inside], rtol=1.5e-2)
    assert lines.sum() == pytest.approx(chord.sum(), rel=2e-3)
    assert abs(lines[miss > radius + 3]).max() < 1e-3 * chord.max()


def noisy(seed=0, shape=(22, 26, 30)) -> Volume:
    rng = np.random.default_rng(seed)
    bone = rng.integers(0, 3, shape).astype(np.uint8)
    return centred(rng.integers(-1024, 1500, shape).astype(np.int16), bone=bone)


def body() -> Volume:
    """An ellipsoid of soft tissue with a lung and bones in it, smooth over about a voxel, cut by the border in z."""
    volume = noisy()
    z, y, x = np.indices(volume.hu.shape)
    radius = np.sqrt(((y - 12) / 10) ** 2 + ((x - 15) / 12) ** 2)
    hu = 1040 * np.clip((1 - radius) * 10 + 0.5, 0, 1) - 1000
    hu -= 800 * np.clip((5 - np.hypot(y - 12, x - 10)) + 0.5, 0, 1)
    spine = np.clip(3 - np.hypot(y - 12, x - 20) + np.sin(z) + 0.5, 0, 1)
    return volume.replace(hu=np.rint(hu + 500 * spine).astype(np.int16), bone=np.rint(spine * 2).astype(np.uint8))


POSES = [(0, 0), (33, 0), (45, 0), (90, 0), (200, 25), (10, 70), (-50, -40)]


@pytest.mark.parametrize("turn, tip", POSES)
@pytest.mark.parametrize("make, limit", [(body, 4e-3), (noisy, 2e-2)])  # white noise is the worst case for resampling
def test_cpu_agrees_with_torch_and_total_is_bone_plus_soft(turn, tip, make, limit):
    volume = make()
    beam = beam_along(1, (30, 34), pitch=2.5).orbit(turn).orbit(tip, (1, 0, 0))
    double = volume.replace(hu=torch.from_numpy(volume.hu).double())
    by_torch, by_cpu = project(double, [beam], backend="torch"), project(volume, [beam], backend="cpu")
    assert by_torch.shape == (1, 3, 30, 34) and by_cpu.dtype == by_torch.dtype == torch.float32
    assert (by_cpu[:, 0] - by_torch[:, 0]).norm() / by_torch[:, 0].norm() < limit
    assert (by_cpu[:, 1] - by_torch[:, 1]).norm() / by_torch[:, 0].norm() < limit
    for lines in (by_torch, by_cpu):
        assert torch.equal(lines[:, 0], lines[:, 1] + lines[:, 2])
    assert (by_cpu[:, 1].abs() > 0.1).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_soft_is_the_body_with_soft_tissue_for_bone(backend):
    volume = noisy()
    replaced = np.where((volume.bone == 2) | ((volume.bone == 1) & (volume.hu > 50)), 50, volume.hu).astype(np.int16)
    beam = beam_along(1, pitch=2.5)
    soft = project(volume, [beam], ["soft"], backend)
    expected = project(volume.replace(hu=replaced), [beam], ["total"], backend)
    np.testing.assert_allclose(soft, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_volume_and_a_beam_turned_together_give_the_same_image(backend):
    volume = noisy()
    beam = beam_along(1, pitch=2.5).orbit(12)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    matrix[:3, 3] = 100, -20, 30
    here, there = volume, volume.replace(affine=matrix @ volume.affine)
    expected, lines = project(here, [beam], backend=backend), project(there, [beam.moved(matrix)], backend=backend)
    assert (lines - expected).abs().max() / expected.abs().max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_axes_permuted_in_memory_with_their_affine_give_the_same_image(backend):
    volume = noisy()
    beam = beam_along(1, pitch=2.5)
    turned = volume.affine[:, [1, 2, 0, 3]]  # x', y', z' = y, z, x
    permuted = Volume(np.ascontiguousarray(volume.hu.transpose(2, 0, 1)), turned)
    expected, lines = project(volume, [beam], ["total"], backend), project(permuted, [beam], ["total"], backend)
    np.testing.assert_allclose(lines, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rays_end_at_the_pixel_and_start_at_the_source(backend):
    """A detector in the middle of the body sees the planes before it; a source in the middle those after it."""
    volume = centred(np.zeros((21, 21, 21), np.int16), (2, 2, 2))
    full = beam_along(1, (3, 3), pitch=0.01)
    half = ConeBeam(full.source, full.origin + np.array([0, 150.5, 0]), full.du / 8, full.dv / 8, full.shape)
    inner = ConeBeam([0, -0.5, 0], full.origin, full.du, full.dv, full.shape)
    for beam, planes in ((full, 20), (half, 9.75), (inner, 9.75)):
        np.testing.assert_allclose(project(volume, [beam], ["total"], backend), planes * 2 * WATER, rtol=1e-4)


def test_views_keep_their_order_and_materials_theirs():
    volume = noisy()
    beams = [beam_along(1).orbit(turn) for turn in (0, 90, 30)]
    together = project(volume, beams, ["soft", "total"])
    for beam, lines in zip(beams, together):
        assert torch.equal(project(volume, [beam], ["soft"])[0, 0], lines[0])
        with_bone, alone = project(volume, [beam], ["total", "bone"])[0, 0], project(volume, [beam], ["total"])[0, 0]
        np.testing.assert_allclose(with_bone, alone, rtol=3e-7, atol=1e-6)


def test_bad_requests_say_what_to_do():
    volume, beam = noisy(), beam_along(1)
    for arguments, words in (
        ((volume, [beam], ["bones"]), "give a list of total, bone, soft"),
        ((volume, [beam], "total"), "give a list of total, bone, soft"),
        ((volume, [beam], ["total"], "gpu"), "no backend is called 'gpu'"),
        ((volume, []), "at least one beam"),
        ((volume, [beam, beam_along(1, (4, 4))]), "beams of one shape"),
        ((volume.replace(bone=None), [beam]), "call separate_bone"),
        ((volume.replace(hu=volume.hu.astype(np.uint16)), [beam]), "uint16; int16 or floating-point"),
    ):
        with pytest.raises(ValueError, match=words):
            project(*arguments)


def test_a_projector_finds_what_it_needs_once_and_frees_it():
    """What is found of a CT is kept for its next views, until it is forgotten or the CT is gone."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (24, 26, 28)).astype(np.int16)
    volume = centred(hu)
    projector = Projector(volume)
    views = [[beam_along(axis)] for axis in range(3)]
    lines = [projector(beams, ["total"], "cpu") for beams in views]
    for beams, expected in zip(views, lines):
        torch.testing.assert_close(project(centred(hu.copy()), beams, ["total"], "cpu"), expected, rtol=0, atol=0)
    found = kept_of(volume).slices
    assert set(found) == {"natural", "turned"} and not hu.flags.writeable
    first = found["turned"]
    projector(views[0], ["total"], "cpu")
    assert kept_of(volume).slices["turned"] is first  # not found anew
    projector.forget()
    assert not kept_of(volume).slices and not hu.flags.writeable
    torch.testing.assert_close(projector(views[0], ["total"], "cpu"), lines[0], rtol=0, atol=0)
    gone = weakref.ref(first[0])
    del found, first, projector, volume
    gc.collect()
    assert gone() is None

"""The scenes' nodules: line integrals in closed form, where a beam shows a voxel, classes that hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from drr import ConeBeam, Volume, project
from drr.projection.attenuation import MU_WATER_PER_MM
from evaluation.nodules.scenes import BONE_LINES, nodule_lines, pixels_of, render_scene, render_scenes


def lung(hu: int = -800, body: int = 40) -> Volume:
    """A box of lung of 2.5 mm voxels in soft tissue."""
    voxels = np.full((48, 40, 44), body, np.int16)
    voxels[4:-4, 4:-4, 4:-4] = hu
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = -60
    return Volume(voxels, affine)


def beam_of(volume: Volume) -> ConeBeam:
    return ConeBeam.preset("PA", volume, (128, 128), field_mm=100)


@pytest.mark.parametrize("diameter", [6.0, 10.0, 30.0])
@pytest.mark.parametrize(("hu", "added"), [(40, 840), (-500, 300)])
def test_a_sphere_adds_its_chord_and_its_volume(diameter, hu, added):
    volume = lung()
    beam = beam_of(volume)
    lines = nodule_lines(volume, np.array([24, 20, 22]), diameter, hu, beam)
    mu = MU_WATER_PER_MM * added / 1000
    assert lines.max() == pytest.approx(mu * diameter, rel=0.03)
    # the shadow of a small sphere at the beam's centre is magnified by a factor that the pixel's size takes out
    at = volume.affine[:3, :3] @ [22, 20, 24] + volume.affine[:3, 3]
    source, corner = beam.numpy("source"), beam.numpy("origin")
    pixel = np.linalg.norm(beam.numpy("du")) * abs((at - source)[1] / (corner - source)[1])
    assert lines.sum() * pixel**2 == pytest.approx(mu * np.pi / 6 * diameter**3, rel=0.03)


def test_a_sphere_replaces_nothing_denser():
    volume = lung(hu=100)
    assert nodule_lines(volume, np.array([24, 20, 22]), 20.0, 40, beam_of(volume)).max() < 1e-4


@pytest.mark.parametrize("voxel", [(24, 20, 22), (8, 33, 30)])
def test_pixels_of_is_where_the_beam_shows_a_voxel(voxel):
    volume = lung()
    beam = beam_of(volume).orbit(4).orbit(-3, axis=(1, 0, 0))
    bead = np.full(volume.hu.shape, -1000, np.int16)
    bead[voxel] = 2000
    lines = project(volume.replace(hu=bead), [beam], ("total",), backend="torch")[0, 0].numpy()
    rows, columns = np.indices(lines.shape)
    seen = [(lines * rows).sum() / lines.sum(), (lines * columns).sum() / lines.sum()]
    np.testing.assert_allclose(pixels_of(volume, beam, np.array([voxel]))[0], seen, atol=0.1)


def test_a_scene_has_every_nodule_once_and_each_in_its_class():
    scene = render_scene(0, 192, seed=3)
    kinds = Counter((n.diameter_mm, n.density, n.place) for n in scene.nodules)
    assert len(kinds) + len(scene.missing) == 24 and set(kinds.values()) == {1} and len(scene.missing) <= 2
    for nodule in scene.nodules:
        assert (nodule.bone_cover >= 0.5) == (nodule.place == "under ribs")
        assert scene.lungs[nodule.mask].mean() > 0.9 and not (nodule.mask & nodule.around).any()
        area = np.pi * (0.87 * nodule.diameter_mm / 2 / scene.pixel_mm) ** 2
        assert nodule.mask.sum() == pytest.approx(area, rel=0.3, abs=4)
        added = nodule.soft - scene.soft
        assert added[nodule.mask].mean() > 5 * abs(added[~nodule.mask & ~nodule.around].mean()) + 1e-3
    under = [n.bone_lines for n in scene.nodules if n.place == "under ribs"]
    between = [n.bone_lines for n in scene.nodules if n.place == "between ribs"]
    assert np.mean(between) < BONE_LINES < np.mean(under)


def test_a_body_depends_on_seed_and_number_alone():
    first, second = render_scenes(2, 128, seed=5)
    again = render_scene(1, 128, seed=5)
    np.testing.assert_array_equal(again.nodules[3].radiograph, second.nodules[3].radiograph)
    assert np.abs(first.radiograph - second.radiograph).mean() > 0.05
    with pytest.raises(ValueError, match="128 pixels or more"):
        render_scenes(1, 64, seed=0)

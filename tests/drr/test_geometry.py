"""Views hang as a radiologist reads them; beams refuse nonsense."""

from __future__ import annotations

import numpy as np
import pytest

from drr import ConeBeam, Volume, project, sample_ct
from drr.geometry import body_box
from drr.projection.ray import index_geometry


@pytest.fixture(scope="module")
def ct() -> Volume:
    return sample_ct()


def shadow(ct: Volume, mask: np.ndarray, beam: ConeBeam) -> tuple[float, float]:
    """Row and column of the centre of a structure's shadow, from 0 (top, left) to 1."""
    only = Volume(np.where(mask, 0, -1000).astype(np.int16), ct.affine)
    lines = project(only, [beam], ["total"], "cpu")[0, 0].numpy()
    rows, columns = np.indices(lines.shape)
    return (rows * lines).sum() / lines.sum() / beam.shape[0], (columns * lines).sum() / lines.sum() / beam.shape[1]


@pytest.mark.parametrize("name", ["PA", "AP", "drr-rate"])
def test_frontal_views_show_the_heart_on_the_viewers_right_and_the_head_up(ct, name):
    beam = ConeBeam.preset(name, ct, (48, 48))
    spine = shadow(ct, np.isin(ct.labels, range(29, 47)), beam)
    heart = shadow(ct, ct.mask("heart"), beam)
    clavicles = shadow(ct, np.isin(ct.labels, (73, 74)), beam)
    assert heart[1] > spine[1] + 0.05
    assert clavicles[0] < heart[0] - 0.2


@pytest.mark.parametrize(
    "name, faces", [("LL", "left"), ("LATERAL", "left"), ("drr-rate-lateral", "left"), ("RL", "right")]
)
def test_laterals_face_the_side_that_the_docstring_says(ct, name, faces):
    beam = ConeBeam.preset(name, ct, (48, 48))
    spine, sternum = (shadow(ct, np.isin(ct.labels, ids), beam) for ids in (range(29, 47), (116,)))
    clavicles = shadow(ct, np.isin(ct.labels, (73, 74)), beam)
    assert (sternum[1] < spine[1] - 0.2) if faces == "left" else (sternum[1] > spine[1] + 0.2)
    assert clavicles[0] < 0.3


def test_the_side_next_to_the_detector_and_the_magnification_it_gives(ct):
    middle = (ConeBeam.preset("PA", ct).centre).copy()
    for name, axis, sign in (("PA", 1, 1), ("AP", 1, -1), ("LL", 0, -1), ("LATERAL", 0, -1), ("RL", 0, 1)):
        beam = ConeBeam.preset(name, ct)
        assert sign * (beam.source - middle)[axis] > 900, name  # the source stands on that side
        assert sign * (beam.origin - middle)[axis] < -100, name  # the detector on the other
        sid, sdd = abs(beam.source - middle)[axis], abs(beam.source - beam.origin)[axis]
        assert sdd == pytest.approx(1200 if name == "AP" else 1800)
        assert 1.05 < sdd / sid < 1.25


@pytest.mark.parametrize("name", ["PA", "AP", "LL", "RL"])
@pytest.mark.parametrize("shape", [(64, 64), (64, 96)])
def test_the_field_covers_the_body_and_little_more(name, shape):
    hu = np.full((50, 40, 60), -1000, np.int16)
    hu[10:40, 10:30, 10:54] = 0
    affine = np.diag([3.0, 4.0, 5.0, 1.0])
    lines = project(Volume(hu, affine), [ConeBeam.preset(name, Volume(hu, affine), shape)], ["total"], "cpu")[0, 0]
    rows, columns = ((lines > 0).any(dim=d).float().mean() for d in (1, 0))
    assert max(rows, columns) > 0.9


def test_field_mm_is_the_width_at_the_centre_and_drr_rate_has_its_own(ct):
    for beam, field in ((ConeBeam.preset("PA", ct, field_mm=300.0), 300), (ConeBeam.preset("drr-rate", ct), 339)):
        sid, sdd = abs(beam.source - beam.centre)[1], abs(beam.source - beam.origin)[1]
        assert np.linalg.norm(beam.du) * 512 * sid / sdd == pytest.approx(field)


def test_orbit_turns_pa_into_a_left_lateral_and_back(ct):
    beam = ConeBeam.preset("PA", ct)
    turned = beam.orbit(90)
    np.testing.assert_allclose(turned.source - beam.centre, [-(beam.source - beam.centre)[1], 0, 0], atol=1e-9)
    np.testing.assert_allclose(turned.du / np.linalg.norm(turned.du), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned.orbit(-90).origin, beam.origin, atol=1e-9)
    assert beam.orbit(30, axis=(1, 0, 0)).source[2] > beam.source[2] + 500  # over the head


def test_index_geometry_puts_a_pixel_where_the_affine_says():
    affine = np.array([[0, -2.0, 0, 7], [1.5, 0, 0, -3], [0, 0, 3, 11], [0, 0, 0, 1]])
    beam = ConeBeam((1.0, 2, 3), (50.0, 60, 70), (0.0, 1, 0), (0.0, 0, -1), (4, 5))
    source, origin, du, dv = index_geometry(affine, beam)
    pixel = np.append(origin + 3 * du + 2 * dv, 1)
    np.testing.assert_allclose((affine @ pixel)[:3], [50, 63, 68])
    np.testing.assert_allclose((affine @ np.append(source, 1))[:3], [1, 2, 3])


def test_nonsense_is_refused_with_what_to_do(ct):
    good = {"source": (0, 900, 0), "origin": (0, -100, 0), "du": (1, 0, 0), "dv": (0, 0, -1), "shape": (8, 8)}
    for change, words in (
        ({"source": (0, 1)}, "three finite numbers"),
        ({"origin": (0, np.nan, 0)}, "three finite numbers"),
        ({"dv": (2, 0, 0)}, "parallel"),
        ({"du": (0, 0, 0)}, "parallel or zero"),
        ({"source": (5, -100, 3)}, "lies in the detector's plane"),
        ({"shape": (0, 8)}, "rows, columns"),
        ({"shape": 8}, "rows, columns"),
        ({"shape": (8, float("nan"))}, "rows, columns"),
    ):
        with pytest.raises(ValueError, match=words):
            ConeBeam(**{**good, **change})
    with pytest.raises(ValueError, match="'pa'; give one of PA"):
        ConeBeam.preset("pa", ct)
    with pytest.raises(ValueError, match="denser than -500 HU"):
        ConeBeam.preset("PA", Volume(np.full((4, 4, 4), -1000, np.int16), np.eye(4)))


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float32])
@pytest.mark.parametrize("share", [0.5, 0.02, 0.002])
def test_the_bodys_box_holds_every_second_voxel_of_it(dtype, share):
    rng = np.random.default_rng(7)
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    for _ in range(20):
        hu = np.where(rng.random((9, 14, 21)) < share, 40, -900).astype(dtype)
        z, y, x = np.nonzero(hu[::2, ::2, ::2] > -500)
        if not len(z):
            with pytest.raises(ValueError, match="nothing in it is denser"):
                body_box(Volume(hu, affine))
            continue
        low, high = body_box(Volume(hu, affine))
        assert np.array_equal(low, affine.diagonal()[:3] * (2 * np.array([x.min(), y.min(), z.min()]) - 0.5))
        last = np.minimum(2 * np.array([x.max(), y.max(), z.max()]) + 1.5, np.array(hu.shape[::-1]) - 0.5)
        assert np.array_equal(high, affine.diagonal()[:3] * last)


@pytest.mark.parametrize("name", ["PA", "LL"])
def test_the_pictures_middle_can_be_chosen_and_the_detector_stays_outside_of_the_body(name, ct):
    centre = np.array([30.0, -20.0, -100.0])
    beam, usual = (ConeBeam.preset(name, ct, (65, 65), 300.0, centre=place) for place in (centre, None))
    middle = beam.origin + 32 * (beam.du + beam.dv)
    along = (centre - beam.source) / np.linalg.norm(centre - beam.source)
    assert np.allclose(np.cross(along, middle - beam.source), 0, atol=1e-6) and np.array_equal(beam.centre, centre)
    assert np.allclose(beam.origin - usual.origin, centre - usual.centre) and np.array_equal(beam.du, usual.du)


@pytest.mark.parametrize("field_mm", [-5, 0, float("nan"), float("inf")])
def test_a_field_that_is_not_positive_is_refused(field_mm):
    with pytest.raises(ValueError, match="field_mm is"):
        ConeBeam.preset("PA", sample_ct(), (10, 10), field_mm=field_mm)


@pytest.mark.parametrize(("degrees", "axis"), [(float("nan"), (0, 0, 1)), (10, (0, 0, 0)), (10, (0, 0, float("inf")))])
def test_an_orbit_needs_an_angle_and_a_direction(degrees, axis):
    with pytest.raises(ValueError, match="a finite angle and a direction"):
        ConeBeam.preset("PA", sample_ct(), (10, 10)).orbit(degrees, axis)


@pytest.mark.parametrize("shape", [(0, 8), 8, (8,), (8, 8.5), "88"])
def test_a_preset_refuses_what_is_no_detector(shape):
    volume = Volume(np.full((4, 5, 6), 40, np.int16), np.eye(4))
    with pytest.raises(ValueError, match="rows, columns"):
        ConeBeam.preset("PA", volume, shape)

"""Projected structures: place, thickness, box, names."""

from __future__ import annotations

import numpy as np
import pytest

from drr.anatomy.structures import bounding_box, locations, project_locations, project_mask, project_structures
from drr.geometry import ConeBeam
from drr.io.read import sample_ct
from drr.volume import Volume

IMAGENOME = {
    *(f"{side} {part}" for side in ("right", "left") for part in (
        "lung", "upper lung zone", "mid lung zone", "lower lung zone", "hilar structures", "apical zone",
        "costophrenic angle", "hemidiaphragm", "clavicle",
    )),
    "trachea", "spine", "aortic arch", "mediastinum", "upper mediastinum", "svc", "cardiac silhouette",
    "cavoatrial junction", "right atrium", "carina", "abdomen",
}  # fmt: skip


@pytest.fixture(scope="module")
def ct() -> Volume:
    return sample_ct()


@pytest.fixture(scope="module")
def frontal(ct):
    return project_locations(ct, ConeBeam.preset("PA", ct, (96, 96)), backend="cpu")


def test_thickness_and_box_of_a_block():
    """A block of 20 x 10 x 8 voxels of 2 mm before a source so far away that rays are parallel."""
    mask = np.zeros((40, 40, 40), bool)
    mask[16:24, 12:22, 10:30] = True
    volume = Volume(np.full(mask.shape, -1000, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    beam = ConeBeam((40, -1e7, 40), (0, 100, 80), (2, 0, 0), (0, 0, -2), (41, 41))
    seen = project_mask(volume, mask, beam, backend="cpu")
    np.testing.assert_allclose(seen.thickness_mm[17:24, 11:29], 20, rtol=1e-3)
    assert seen.box == (10, 17, 29, 24)  # columns are x / 2 mm, rows run down from z = 80 mm
    np.testing.assert_array_equal(np.argwhere(seen.mask).min(axis=0), [17, 10])


def test_nothing_there_has_no_box(ct):
    beam = ConeBeam.preset("PA", ct, (16, 16))
    empty = project_mask(ct, np.zeros(ct.hu.shape, bool), beam)
    assert empty.box is None and not empty.mask.any() and empty.thickness_mm.shape == (16, 16)
    assert bounding_box(np.zeros((4, 4), bool)) is None
    with pytest.raises(ValueError, match="must be equal"):
        project_mask(ct, np.zeros((2, 2, 2), bool), beam)


def test_structures_by_their_table_names(ct):
    beam = ConeBeam.preset("PA", ct, (64, 64))
    seen = project_structures(ct, beam, ["heart", "liver"], backend="cpu")
    assert list(seen) == ["heart", "liver"]
    heart, liver = seen["heart"].box, seen["liver"].box
    assert heart and liver
    assert sum(heart[::2]) > sum(liver[::2])  # the heart is on the viewer's right
    assert heart[1] < liver[1]
    volume_mm3 = seen["heart"].thickness_mm.sum() * np.linalg.norm(np.cross(beam.du, beam.dv))
    truth = ct.mask("heart").sum() * 2.5**3
    assert 1 < volume_mm3 / truth < 1.35  # magnified: the detector lies behind the body
    with pytest.raises(ValueError, match="no structure tail"):
        project_structures(ct, beam, ["tail"])


def test_chest_imagenome_names(ct):
    names = set(locations(ct))
    assert len(IMAGENOME) == 29 and names <= IMAGENOME
    assert IMAGENOME - names == {"right atrium"}


def test_locations_lie_where_a_radiologist_looks(frontal):
    def middle(name):
        left, top, right, bottom = frontal[name].box
        return (left + right) / 2, (top + bottom) / 2

    for side, sign in (("right", -1), ("left", 1)):
        x, _ = middle("spine")
        assert (middle(f"{side} lung")[0] - x) * sign > 5
        assert abs(middle(f"{side} costophrenic angle")[0] - x) > abs(middle(f"{side} hilar structures")[0] - x)
        downwards = ("apical zone", "upper lung zone", "mid lung zone", "lower lung zone", "costophrenic angle")
        heights = [middle(f"{side} {part}")[1] for part in downwards]
        assert heights == sorted(heights)
    assert middle("aortic arch")[1] < middle("cardiac silhouette")[1] < middle("abdomen")[1]
    assert middle("svc")[0] < middle("aortic arch")[0]
    assert frontal["carina"].box[3] <= frontal["trachea"].box[3]


def test_without_labels():
    with pytest.raises(ValueError, match="no label map"):
        locations(Volume(np.zeros((3, 3, 3), np.int16), np.eye(4)))

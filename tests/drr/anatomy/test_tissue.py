"""Body and bone."""

from __future__ import annotations

import numpy as np
import pytest

from drr.anatomy.tissue import AIR, is_bone, isolate_body, prepare, separate_bone
from drr.io.read import sample_ct
from drr.projection.streaming.slices import slices_along
from drr.volume import Volume


@pytest.fixture(scope="module")
def body():
    return separate_bone(isolate_body(sample_ct()))


def excess(volume):
    """What the bone attenuates beyond soft tissue, in HU."""
    hu = volume.hu - np.float32(50)
    return np.where(volume.bone == 2, hu, np.where(volume.bone == 1, np.maximum(hu, 0), 0))


def test_table_goes_and_the_patient_stays(body):
    raw = sample_ct()
    table = (raw.hu > -300) & (body.hu == AIR)
    assert table.sum() > 15000
    assert np.argwhere(table)[:, 1].mean() > 110  # it lies behind the back
    assert not table[raw.labels > 0].any()
    kept = body.hu != AIR
    np.testing.assert_array_equal(body.hu[kept], raw.hu[kept])
    assert kept[raw.labels > 0].mean() > 0.9999  # lungs and bowel, too


def test_a_body_of_finer_voxels():
    """A cylinder of water with a lung in it, above a thin table; 1.25 mm, so the masks are coarser than the voxels."""
    z, y, x = np.mgrid[:10, :120, :120]
    hu = np.full(z.shape, -1000, np.int16)
    inside = (x - 60) ** 2 + (y - 50) ** 2 < 40**2
    lung = (x - 60) ** 2 + (y - 50) ** 2 < 20**2
    hu[inside], hu[lung], hu[:, 100:104] = 20, -800, 100
    result = isolate_body(Volume(hu, np.diag([1.25, 1.25, 1.25, 1]))).hu
    np.testing.assert_array_equal(result[inside], hu[inside])
    assert (result[:, 100:104] == AIR).all() and (hu[:, 100:104] == 100).all()
    cut = prepare(Volume(hu.copy(), np.diag([1.25, 1.25, 1.25, 1])), with_bone=False)
    assert cut.hu.shape[0] == 10 and cut.hu.size < 0.7 * hu.size
    first = np.rint(cut.affine[:3, 3] / 1.25).astype(int)
    full = np.full_like(hu, AIR)
    full[tuple(slice(n, n + size) for n, size in zip(first[::-1], cut.hu.shape))] = cut.hu
    np.testing.assert_array_equal(full, result)
    assert (cut.hu[:, 0] == AIR).all() and (cut.hu[:, :, [0, -1]] == AIR).all()  # the border stays air


@pytest.mark.parametrize("with_labels", [True, False])
def test_prepared_for_a_batch_is_the_same_on_a_smaller_grid(with_labels):
    raw = sample_ct() if with_labels else sample_ct().replace(labels=None)
    expected = separate_bone(isolate_body(raw))
    cut = prepare(raw)
    first = np.rint(np.linalg.inv(raw.affine) @ cut.affine[:, 3]).astype(int)[2::-1]
    box = tuple(slice(n, n + size) for n, size in zip(first, cut.hu.shape))
    assert cut.hu.size < 0.8 * expected.hu.size and first.any()
    np.testing.assert_array_equal(cut.hu, expected.hu[box])
    np.testing.assert_array_equal(cut.bone, expected.bone[box])
    assert (expected.hu != AIR).sum() == (cut.hu != AIR).sum() and expected.bone.sum() == cut.bone.sum()


@pytest.mark.parametrize("with_bone", [True, False])
def test_prepared_for_a_batch_its_rows_are_known(with_bone):
    prepared = prepare(sample_ct().replace(labels=None, structures=None), with_bone)
    assert not prepared.hu.flags.writeable  # what is known of it stays true
    known = slices_along(prepared, 1).spans
    found = slices_along(Volume(prepared.hu.copy(), prepared.affine, bone=prepared.bone), 1).spans
    np.testing.assert_array_equal(known, found)
    assert (known[1] > known[0]).any() and (known[3] > known[2]).any() == with_bone


def test_all_air_is_refused():
    with pytest.raises(ValueError, match="all of it is air"):
        isolate_body(Volume(np.full((4, 8, 8), -1000, np.int16), np.eye(4)))


def test_names_of_bones():
    bones = {name for name in sample_ct().structures.values() if is_bone(name)}
    assert len(bones) == 26 + 10 + 1 + 24 + 1  # spine with sacrum and S1, limbs and girdles, skull, ribs, sternum
    assert not bones & {"costal_cartilages", "spinal_cord", "heart", "carpal"}


def test_bone_from_labels_has_a_rim_of_one_voxel():
    labels = np.zeros((7, 7, 7), np.uint8)
    labels[3, 3, 3] = 5
    hu = np.full(labels.shape, 40, np.int16)
    hu[3, 3, 4] = -800  # lung
    volume = Volume(hu, np.eye(4), labels, {5: "rib_left_3"})
    expected = np.zeros_like(labels)
    expected[2:5, 2:5, 2:5] = 1
    expected[3, 3, 3] = 2
    np.testing.assert_array_equal(separate_bone(volume).bone, expected)
    hu[3, 3, 3] = 3000  # undiluted contrast medium
    assert not separate_bone(volume).bone.any()


def test_cartilage_and_organs_are_not_bone(body):
    cartilage = body.mask("costal_cartilages")
    assert (body.bone[cartilage] == 2).mean() == 0
    assert (body.bone[body.mask("vertebrae_T8")] == 2).all()


def test_bone_from_hu_agrees_with_the_label_map(body):
    """Arterial contrast makes heart and aorta as dense as ribs: the hardest case."""
    found = separate_bone(body.replace(labels=None, structures=None))
    for axis in (1, 2):
        truth, ours = (excess(volume).sum(axis=axis).ravel() for volume in (body, found))
        assert np.corrcoef(truth, ours)[0, 1] > 0.95
        assert 0.85 < ours.sum() / truth.sum() < 1.2
    for organ in ("heart", "aorta", "superior_vena_cava", "pulmonary_vein"):
        assert (found.bone[body.mask(organ)] == 2).mean() < 0.05, organ
    for bone in ("vertebrae_T6", "scapula_left", "clavicula_right", "rib_right_7"):
        assert (found.bone[body.mask(bone)] > 0).mean() > 0.9, bone


def test_marrow_is_filled():
    """A tube of cortex around fatty marrow, in muscle, away from any lung."""
    z, y, x = np.mgrid[:12, :80, :80]
    r = np.hypot(x - 25, y - 30)
    hu = np.full(z.shape, 50, np.int16)
    hu[r < 6] = 900
    hu[r < 3.5] = -60
    bone = separate_bone(Volume(hu, np.diag([2.5, 2.5, 2.5, 1]))).bone
    assert (bone[r < 6] == 2).all() and (bone[r > 9] == 0).all()

"""Bodies of another CT: lungs and spine found without labels agree with the sample CT's own labels."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from drr import isolate_body, sample_ct, separate_bone
from drr.anatomy.chest import lung_box
from evaluation.nodules.body import ct_body, with_found_parts
from evaluation.nodules.scenes import render_scene


@pytest.fixture(scope="module")
def bare():
    """The sample CT without its labels, bone from HU."""
    return separate_bone(isolate_body(sample_ct().replace(labels=None, structures=None)))


@pytest.fixture(scope="module")
def nifti(tmp_path_factory):
    """The sample CT as a file of 1.25 mm slices, so that its grid is finer than the one on which parts are found."""
    ct = sample_ct()
    path = tmp_path_factory.mktemp("ct") / "other.nii.gz"
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.affine
    affine[:3, 2] /= 2
    voxels = np.repeat(ct.hu, 2, axis=0).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def test_lungs_and_spine_by_hu_are_those_of_the_labels(bare):
    known, found = sample_ct(), with_found_parts(bare)
    parts = {}
    for start in ("lung_", "vertebra"):
        parts[start] = [v.mask(*v.names_where(lambda n, s=start: n.startswith(s)).values()) for v in (known, found)]
    true, ours = parts["lung_"]
    assert 2 * (true & ours).sum() / (true.sum() + ours.sum()) > 0.9
    true, ours = parts["vertebra"]
    chest = np.flatnonzero(parts["lung_"][0].any(axis=(1, 2)))
    rows = slice(chest[0], chest[-1])
    assert (true & ours)[rows].sum() > 0.6 * true[rows].sum()
    columns = [np.nonzero(mask[rows])[2].mean() for mask in (true, ours)]
    assert abs(columns[0] - columns[1]) * 2.5 < 10  # mm beside the labels' spine


def test_a_finer_grid_finds_the_same(bare):
    fine = bare.replace(
        hu=np.repeat(bare.hu, 2, axis=0),
        bone=np.repeat(bare.bone, 2, axis=0),
        affine=bare.affine @ np.diag([1, 1, 0.5, 1]),
    )
    coarse_labels, fine_labels = with_found_parts(bare).labels, with_found_parts(fine).labels
    assert fine_labels.shape == fine.hu.shape
    np.testing.assert_array_equal(fine_labels[::2], coarse_labels)
    np.testing.assert_array_equal(fine_labels[1::2], coarse_labels)


def test_scenes_of_another_ct_show_its_lungs_and_nodules(nifti):
    body = ct_body(nifti)
    low, high = lung_box(body.volume)
    np.testing.assert_allclose(body.centre, (low + high) / 2)
    scene = render_scene(0, 128, 0, body)
    assert len(scene.nodules) >= 18 and len(scene.twins) >= 3
    for nodule in scene.nodules:
        assert scene.lungs[nodule.mask].mean() > 0.9
        area = np.pi * (0.87 * nodule.diameter_mm / 2 / scene.pixel_mm) ** 2
        assert nodule.mask.sum() == pytest.approx(area, rel=0.4, abs=5)
    rows, columns = np.nonzero(scene.lungs)
    assert 0.5 < np.ptp(rows) / 128 < 1 and 0.5 < np.ptp(columns) / 128 <= 1


def test_a_ct_without_a_chest_is_refused(tmp_path):
    voxels = np.full((40, 40, 40), -1000, np.int16)
    voxels[8:-8, 8:-8] = np.random.default_rng(0).integers(20, 60, (24, 24, 40))
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([5.0, 5.0, 5.0, 1.0])), tmp_path / "block.nii.gz")
    with pytest.raises(ValueError, match="not enough chest"):
        ct_body(tmp_path / "block.nii.gz")

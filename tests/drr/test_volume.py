"""The CT volume refuses what would be a wrong picture without a word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drr import ConeBeam, Volume, deform, isolate_body, project, sample_ct, separate_bone
from drr.anatomy.regions import label_chest
from drr.anatomy.structures import locations
from drr.anatomy.tissue import prepare
from drr.findings.scene import chest_box
from drr.pairs.layers import bone_layers

HU = np.zeros((4, 5, 6), np.int16)
SHIFTED = np.array([[1.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hu": HU.tolist()}, "the CT is a list"),
        ({"hu": np.where(HU == 0, np.nan, 0.0)}, "not finite numbers"),
        ({"hu": np.full(HU.shape, np.inf, np.float32)}, "not finite numbers"),
        ({"affine": SHIFTED.T}, "last row is .*is it transposed"),
        ({"bone": np.ones(HU.shape, bool)}, "bone is bool; uint8 is needed"),
        ({"bone": np.full(HU.shape, -2, np.int8)}, "bone is int8"),
    ],
)
def test_what_is_no_ct_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Volume(**{"hu": HU, "affine": SHIFTED, **fields})


def test_byte_order_does_not_matter():
    hu = np.random.default_rng(0).integers(-1000, 900, (12, 12, 12)).astype(np.int16)
    one, other = (Volume(each, np.eye(4)) for each in (hu, hu.astype(">i2")))
    beam = ConeBeam.preset("PA", one, (16, 16))
    np.testing.assert_array_equal(project(other, [beam], ["total"]), project(one, [beam], ["total"]))


@pytest.mark.parametrize("turned", ["to the front", "swapped"])
def test_what_knows_the_chest_by_place_refuses_other_axes(turned):
    """A CT whose y runs to the front got a sixth less bone, without a word."""
    ct = sample_ct()
    affine = ct.affine.copy()
    if turned == "to the front":
        affine[:3, 3] += affine[:3, 1] * (ct.hu.shape[1] - 1)
        affine[:3, 1] *= -1
        hu, labels = ct.hu[:, ::-1], ct.labels[:, ::-1]
    else:
        affine = affine[:, [1, 0, 2, 3]]
        hu, labels = ct.hu.swapaxes(1, 2), ct.labels.swapaxes(1, 2)
    plain, labelled = Volume(hu, affine), Volume(hu, affine, labels=labels, structures=ct.structures)
    for function in (separate_bone, isolate_body, prepare, label_chest, bone_layers):
        with pytest.raises(ValueError, match="axes x, y, z that run to the patient's left, back and head"):
            function(plain)
    for function in (locations, chest_box):
        with pytest.raises(ValueError, match="axes x, y, z that run to the patient's left, back and head"):
            function(labelled)
    ct.require_patient_axes("nothing")


ARRAYS = [isolate_body, separate_bone, prepare, lambda volume: deform(volume, 0), label_chest, bone_layers]


@pytest.mark.parametrize("function", [*ARRAYS, locations, chest_box])
def test_hu_in_a_tensor_are_refused_where_compiled_code_reads_them(function):
    volume = Volume(torch.zeros(4, 4, 4), np.diag([1.0, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"needs HU in a numpy array, these are a Tensor: volume.replace\(hu="):
        function(volume)


@pytest.mark.parametrize("given", [torch.zeros(4, 4, 4), HU], ids=["tensor", "array"])
@pytest.mark.parametrize("function", [*ARRAYS, locations, chest_box])
def test_an_array_without_its_affine_is_refused(function, given):
    with pytest.raises(ValueError, match=r"needs a drr.Volume, this is a (Tensor|ndarray): Volume\(hu, affine\)"):
        function(given)

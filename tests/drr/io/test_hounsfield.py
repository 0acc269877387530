"""Voxels that cannot be Hounsfield units are refused with what they look like; what can be is read."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from drr import read_ct, sample_ct
from drr.io.hounsfield import check_hu, to_int16

AFFINE = np.diag([-5.0, -5.0, 5.0, 1.0])


@pytest.fixture(scope="module")
def chest():
    """int16 (67, 72, 72) of the sample CT, with a scanner's noise."""
    rng = np.random.default_rng(0)
    hu = sample_ct().hu[::2, ::2, ::2]
    return np.where(hu > -1020, hu + rng.normal(0, 12, hu.shape).round(), -1024).clip(-1024).astype(np.int16)


def write(path, voxels):
    nibabel.Nifti1Image(np.ascontiguousarray(voxels.T), AFFINE).to_filename(path)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda hu: (hu + 1024).astype(np.int16), "stored values without their rescale"),
        (lambda hu: (hu + 1024).astype(np.float32), "stored values without their rescale"),
        (lambda hu: (hu + 1024).clip(0).astype(np.uint16), "unsigned voxels without an offset"),
        (lambda hu: (hu + 1024) / 4096, r"scaled to 0\.\.1"),
        (lambda hu: ((hu + 1024) / 2048 - 1).clip(-1, 1), r"scaled to -1\.\.1"),
        (lambda hu: hu / 1000, "HU / 1000"),
        (lambda hu: (0.02 * (1 + hu / 1000)).clip(0), "attenuation in 1/mm"),
        (lambda hu: (0.2 * (1 + hu / 1000)).clip(0), "attenuation in 1/cm"),
        (lambda hu: (hu / 8).clip(-128, 127).astype(np.int8), "8 bits"),
        (lambda hu: ((hu + 1024) / 16).clip(0, 255).astype(np.int16), "grey levels of 8 bits"),
        (lambda hu: hu.clip(-160, 240), "cut off at a window"),
        (lambda hu: hu.clip(-700, 500), "cut off at -700"),
        (lambda hu: hu.clip(-1000, 400), "cut off at 400.*bone is lost"),
        (lambda hu: (hu - 1024).astype(np.int16), "rescaled twice"),
        (lambda hu: hu.astype(np.int32) * 10, "far from air and tissue"),
        (lambda hu: np.full_like(hu, 40), "all voxels are 40"),
    ],
)
def test_what_cannot_be_hu_is_refused(tmp_path, chest, change, says):
    path = write(tmp_path / "ct.nii.gz", change(chest))
    with pytest.raises(ValueError, match=says) as error:
        read_ct(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu,
        lambda hu: hu.astype(np.float64),
        lambda hu: hu.clip(-1000, 3071),
        lambda hu: np.where(hu <= -1024, -3024, hu),
        lambda hu: hu.clip(-1024, 1200),  # a scanner's range may end where only metal is
        lambda hu: np.where(hu > -300, 50, -1000).astype(np.int32),  # a phantom of two values
        lambda hu: np.where(hu > 700, 20000, hu),  # metal
        lambda hu: np.full_like(hu, -1000),  # air: for others to refuse
    ],
)
def test_what_can_be_hu_is_read(tmp_path, chest, change):
    hu = change(chest)
    read = read_ct(write(tmp_path / "ct.nii.gz", hu)).hu
    np.testing.assert_array_equal(read.clip(-1000), hu.clip(-1000))


def test_little_air_between_the_samples_is_enough():
    hu = np.full((300, 300, 300), 40, np.int16)
    hu[1, 1, 1] = -1000
    check_hu(hu, hu, "phantom")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_stored_values_are_scaled_rounded_and_clipped(dtype):
    values = np.array([[0, 1, 100, 127]], dtype)
    for slope, intercept in ((1.0, -1024.0), (2.5, -1000.25), (1.0, 40000.0), (-1.0, 0.0)):
        out = np.empty(values.shape, np.int16)
        to_int16(values, (slope, intercept), out, "ct")
        np.testing.assert_array_equal(out, np.rint(np.clip(values * slope + intercept, -32768, 32767)))
    to_int16(np.array([[65535, 0]], np.uint16), (1.0, -1024.0), out[:, :2], "ct")
    assert out[0, :2].tolist() == [32767, -1024]

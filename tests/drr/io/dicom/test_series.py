"""DICOM series: what is dense lies where the headers put it, or one line says why not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from drr import read_ct
from drr.io.read import CTWarning

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
PIXELS = 48
WHERE = np.array((20.0, 15.0, 30.0))


@pytest.fixture(autouse=True)
def quiet():
    """Notes are looked at in `Volume.notes`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CTWarning)
        yield


def turned(degrees):
    angle = np.radians(degrees)
    return (1, 0, 0, 0, np.cos(angle), -np.sin(angle))


def scene(place, axes=AXIAL, pixel=5.0, where=WHERE):
    """HU of one slice: soft tissue in air, and a soft-edged ball at `where` mm."""
    along_row, along_column = np.array(axes[:3]), np.array(axes[3:])
    step = pixel * np.arange(PIXELS)
    points = np.array(place) + step[:, None, None] * along_column + step[None, :, None] * along_row
    ball = 900 * np.exp(-((points - where) ** 2).sum(-1) / (2 * 8.0**2))
    body = (points[..., 0] / 100) ** 2 + (points[..., 1] / 80) ** 2 < 1
    return np.where(ball > 45, 40 + ball, np.where(body, 40, -1000))


def places(heights=None):
    return [[-117.5, -117.5, z] for z in (np.arange(40) * 5 - 97.5 if heights is None else heights)]


def centre(volume):
    weight = np.clip(volume.hu.astype(float) - 40, 0, None)
    weight[weight < 45] = 0
    index = [(grid * weight).sum() / weight.sum() for grid in np.indices(weight.shape)[::-1]]
    return volume.affine[:3, :3] @ index + volume.affine[:3, 3]


@pytest.fixture
def series(tmp_path, write_series):
    """series(edit, axes, heights): write the scene, and read it."""

    def make(edit=None, axes=AXIAL, heights=None, where=WHERE, **options):
        there = places(heights)
        write_series(tmp_path / "ct", [scene(p, axes, where=where) for p in there], there, axes, edit)
        return read_ct(tmp_path / "ct", **options)

    return make


@pytest.mark.parametrize("degrees", [-25, 8, 20])
def test_a_tilted_gantry_is_an_oblique_affine(series, degrees):
    volume = series(axes=turned(degrees))
    np.testing.assert_allclose(centre(volume), WHERE, atol=0.3)
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 5], atol=1e-5)
    assert abs(np.linalg.det(volume.affine[:3, :3])) == pytest.approx(125 * np.cos(np.radians(degrees)), rel=1e-4)
    assert f"tilted by {abs(degrees)}.0 degrees" in volume.notes[0]


def test_a_tilted_gantry_is_projected_rightly():
    """A ball of water on an oblique grid: chords of a sphere (analytic)."""
    from drr import ConeBeam, Volume, project

    affine = np.eye(4)
    affine[:3, 1], affine[:3, :3] = affine[:3, 1], np.diag([2.0, 2.0, 2.0])
    affine[:3, 1] = 2 * np.array(turned(20)[3:])
    affine[:3, 3] = -80, -80, -60
    z, y, x = np.indices((80, 80, 80))
    points = np.stack([x, y, z], -1) @ affine[:3, :3].T + affine[:3, 3]
    middle = np.array([10.0, 5.0, 20.0])
    volume = Volume(np.where(np.linalg.norm(points - middle, axis=-1) < 25, 0, -1000).astype(np.int16), affine)
    beam = ConeBeam.preset("LL", volume, (48, 48))
    r, c = np.indices((48, 48))
    rays = beam.origin + c[..., None] * beam.du + r[..., None] * beam.dv - beam.source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    to_middle = middle - beam.source
    off = np.linalg.norm(to_middle - (rays @ to_middle)[..., None] * rays, axis=-1)
    chords = 0.0206 * 2 * np.sqrt(np.maximum(25**2 - off**2, 0))
    for backend in ("torch", "cpu"):
        lines = project(volume, [beam], ("total",), backend)[0, 0].numpy()
        assert np.linalg.norm(lines - chords) < 0.05 * np.linalg.norm(chords)


UPPER = np.arange(40) >= 20


@pytest.mark.parametrize(
    ("heights", "height", "note"),
    [
        (np.r_[np.arange(15) * 2.5, 37.5 + np.arange(25) * 5.0], 120.0, "2.5 to 5 mm apart were resampled"),
        (np.arange(40) * 5.0 + 2.4 * UPPER, 80.0, "5 to 7.4 mm apart were resampled"),
        (np.arange(40) * 5.0 - 5 * UPPER, 70.0, "1 slice(s) that repeat another were left out"),
        (np.round(np.arange(40) * 5.0 + 0.04 * (-1.0) ** np.arange(40), 2), 70.0, None),
    ],
)
def test_uneven_slices(series, heights, height, note):
    where = np.array((20.0, 15.0, height))
    volume = series(heights=heights, where=where)
    np.testing.assert_allclose(centre(volume), where, atol=0.4)
    assert [note in one for one in volume.notes] == ([True] if note else [])


def test_resampled_values_are_linear_between_the_slices(tmp_path, write_series):
    heights = [0, 2, 4, 8, 12]
    planes = [np.full((8, 8), 10.0 * z - 1000) for z in heights]
    volume = read_ct(write_series(tmp_path / "ct", planes, [[0, 0, z] for z in heights]))
    np.testing.assert_allclose(volume.spacing, [5, 5, 2])
    np.testing.assert_array_equal(volume.hu[:, 4, 4], 20 * np.arange(7) - 1000)


def localizer(data, k):
    if k == 0:
        data.ImageOrientationPatient, data.ImageType = list(SAGITTAL), ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def test_localizers_are_left_out(series):
    volume = series(localizer)
    assert volume.hu.shape[0] == 39 and "1 localizer" in volume.notes[0]
    np.testing.assert_allclose(centre(volume), WHERE, atol=0.3)
    with pytest.warns(CTWarning, match="1 localizer"):
        series(localizer)


def setting(first=0, last=None, **attributes):
    """An edit of the slices from `first` to `last`; None deletes an attribute."""

    def edit(data, k):
        if k < first or (last is not None and k >= last):
            return
        for name, value in attributes.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)

    return edit


def fewer_rows(data, k):
    if k == 3:
        data.Rows, data.PixelData = 64, bytes(2 * 64 * 48)


@pytest.mark.parametrize(
    ("edit", "heights", "says"),
    [
        (setting(20, ImageOrientationPatient=list(turned(12))), None, "as Image Orientation, where most slices"),
        (setting(25, PixelSpacing=[2.5, 2.5]), None, r"2\.5 x 2\.5 mm between pixels"),
        (fewer_rows, None, r"0003\.dcm: 64 x 48 pixels, where most slices of the series have 48 x 48"),
        (setting(PixelSpacing=None), None, "40 of 40 slices have no Pixel Spacing"),
        (setting(PixelSpacing=[0, 0]), None, "Pixel Spacing of"),
        (setting(ImagePositionPatient=None), None, "no Image Position"),
        (setting(3, 4, ImagePositionPatient=None), None, "1 of 40 slices have no Image Position"),
        (setting(ImageOrientationPatient=None), None, "no Image Orientation"),
        (setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), None, "right angle"),
        (setting(7, 8, ImagePositionPatient=[-100, -117.5, -62.5]), None, r"0007\.dcm: the slice lies 17\.5 mm beside"),
        (None, [0, 5, 10, 15, 25, 30], "slices are missing .a step of 10 mm where 5 is usual"),
        (None, np.zeros(3), "repeat|one slice"),
        (setting(Modality="MR"), None, r"the modality is MR \(40 image"),
        (setting(Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128"), None, "the modality is PT"),
        (setting(RescaleType="MGML"), None, "Rescale Type is MGML"),
        (setting(RescaleIntercept=None, RescaleSlope=None), None, "unsigned pixels and no Rescale Intercept"),
        (setting(ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"]), None, "Image Type says MIP, a projection"),
        (setting(RescaleSlope=0), None, "Rescale Slope is 0"),
        (setting(RescaleIntercept=0), None, "no air among the voxels.*stored values"),
        (setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), None, "are localizers"),
        (setting(5, 6, PixelData=bytes(100)), None, r"0005\.dcm: 100 bytes of pixels"),
        (setting(BitsStored=17), None, "Bits Stored 17"),
    ],
)
def test_refused_in_one_line(series, tmp_path, edit, heights, says):
    with pytest.raises(ValueError, match=says) as error:
        series(edit, heights=heights)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "ct"))


def test_two_phases_are_called_so(tmp_path, write_series):
    twice = [p for p in places() for _ in range(2)]
    planes = [scene(p, where=WHERE + 9 * (k % 2)) for k, p in enumerate(twice)]
    edit = lambda data, k: setattr(data, "NominalPercentageOfCardiacPhase", 40 + 35 * (k % 2))  # noqa: E731
    write_series(tmp_path / "ct", planes, twice, edit=edit)
    with pytest.raises(ValueError, match=r"several phases.*NominalPercentageOfCardiacPhase 40.*75") as error:
        read_ct(tmp_path / "ct")
    assert "missing" not in str(error.value)


def test_a_callers_affine_makes_up_for_what_is_not_said(series):
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = places()[0]
    for missing in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        np.testing.assert_allclose(centre(series(setting(**{missing: None}), affine=affine)), WHERE, atol=0.3)
    edit = setting(ImagePositionPatient=None, InstanceNumber=None)
    with pytest.raises(ValueError, match="no Instance Numbers give their order"):
        series(edit, affine=affine)


def test_each_slice_has_its_own_rescale_and_a_callers_stands_in_its_place(series):
    def steeper(data, k):
        if k % 2:
            stored = np.frombuffer(data.PixelData, "<u2").astype(int) - 1024
            data.PixelData = np.rint((stored + 2048) / 2).astype("<u2").tobytes()
            data.RescaleSlope, data.RescaleIntercept = 2, -2048

    plain = series()
    assert np.abs(series(steeper).hu.astype(int) - plain.hu).max() <= 1
    np.testing.assert_array_equal(series(rescale=(1, -1024)).hu, plain.hu)
    np.testing.assert_array_equal(series(setting(RescaleIntercept=0), rescale=(1, -1024)).hu, plain.hu)


def padded(value, vr, signed=False, declared=None, limit=None):
    def edit(data, k):
        stored = np.frombuffer(data.PixelData, "<u2").reshape(PIXELS, PIXELS).astype(int)
        stored = stored - 1024 if signed else stored
        stored[:4] = value
        if signed:
            data.PixelRepresentation, data.RescaleIntercept = 1, 0
        data.PixelData = (stored % 65536).astype("<u2").tobytes()
        if declared is not None:
            data.add_new("PixelPaddingValue", vr, declared)
        if limit is not None:
            data.add_new("PixelPaddingRangeLimit", vr, limit)

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        padded(63536, "US", declared=63536),
        padded(-2000, "SS", signed=True, declared=-2000),
        padded(-2000, "US", signed=True, declared=63536),
        padded(0, "SS", signed=True, declared=0),
        padded(4000, "US", declared=3900, limit=4095),
        padded(-3024, "SS", signed=True),
        padded(0, "SS", signed=True),
        padded(32767, "SS", signed=True),
    ],
)
def test_padding_is_air(series, edit):
    volume = series(edit)
    assert volume.hu[:, :4].max() <= -1000
    np.testing.assert_allclose(centre(volume), WHERE, atol=0.3)
    assert (volume.hu[:, 4:] == 40).sum() > 10000


def test_padding_of_0_leaves_tissue_of_0_alone(series):
    def water(data, k):
        stored = np.frombuffer(data.PixelData, "<u2").reshape(PIXELS, PIXELS) - 1024 - 40
        stored = stored.astype("<i2")
        stored[:4] = 0
        data.PixelRepresentation, data.RescaleIntercept, data.PixelData = 1, 0, stored.tobytes()
        data.add_new("PixelPaddingValue", "SS", 0)

    volume = series(water)
    assert volume.hu[:, :4].max() <= -1000 and (volume.hu[:, 4:] == 0).sum() > 10000


def high_bits(data, k):
    """12 bits in the upper part of 16, an overlay's bit below."""
    stored = np.frombuffer(data.PixelData, "<u2").astype(int)
    data.BitsStored, data.HighBit, data.PixelData = 12, 15, (stored * 16 + 1).astype("<u2").tobytes()


def signed_12_bits(data, k):
    stored = np.frombuffer(data.PixelData, "<u2").astype(int) - 1024
    data.BitsStored, data.HighBit, data.PixelRepresentation, data.RescaleIntercept = 12, 11, 1, 0
    data.PixelData = (stored % 4096).astype("<u2").tobytes()


def lossless(data, k):
    from pydicom.uid import RLELossless

    data.compress(RLELossless)


def big_endian(data, k):
    from pydicom.uid import ExplicitVRBigEndian

    data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian


def deflated(data, k):
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize(
    "edit",
    [high_bits, signed_12_bits, lossless, big_endian, deflated, setting(PhotometricInterpretation="MONOCHROME1")],
)
def test_however_stored_the_hu_are_the_same(series, edit):
    np.testing.assert_array_equal(series(edit).hu, series().hu)

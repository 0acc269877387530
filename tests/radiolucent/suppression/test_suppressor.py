"""`Suppressor`, the door in Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import Dataset, dcmread

import radiolucent
from diffusion.networks.bone_unet import BoneUNet
from diffusion.pipelines.regression import BoneRegressionPipeline
from radiographs import read_radiograph, write_radiograph
from radiolucent import Suppressor
from radiolucent.cli import dispatch
from radiolucent.suppression.strength import bone_slope, strength_of
from radiolucent.suppression.suppressor import suppress_pixels


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network that takes something away."""
    torch.manual_seed(0)
    network = BoneUNet((8, 16), sigma=8.0)
    with torch.no_grad():
        network.last.weight.normal_(0, 0.1)
    folder = tmp_path_factory.mktemp("model")
    BoneRegressionPipeline(network, 2, 64, flips=True, detail_size=128).save_pretrained(folder)
    return folder


@pytest.fixture
def pixels():
    return np.random.default_rng(0).uniform(-0.9, 0.9, (96, 80)).astype(np.float32)


def test_importing_the_package_is_light():
    code = "import sys, time; before = time.process_time(); import radiolucent; taken = time.process_time() - before; "
    code += "print('torch' in sys.modules, 'numpy' in sys.modules, taken < 0.3)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert said.split() == ["False", "False", "True"]
    assert all(hasattr(radiolucent, name) for name in radiolucent.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Supressor'"):
        _ = radiolucent.Supressor


def test_a_file_gives_what_the_command_writes(model, pixels, tmp_path):
    write_radiograph(tmp_path / "a.png", pixels, 16)
    result = Suppressor(model)(tmp_path / "a.png")
    assert (
        dispatch(["suppress", str(tmp_path / "a.png"), "--checkpoint", str(model), "--out", str(tmp_path / "out")]) == 0
    )
    result.save(tmp_path / "saved.png")
    by_command, saved = (read_radiograph(tmp_path / name).pixels for name in ("out/a.png", "saved.png"))
    np.testing.assert_array_equal(by_command, saved)
    source = read_radiograph(tmp_path / "a.png").pixels
    np.testing.assert_allclose(result.soft + result.bone, source, atol=1e-6)
    assert np.abs(result.bone).max() > 1e-3 and result.uncertainty is None


def test_a_negative_file_is_turned_and_turned_back_and_said(model, tmp_path):
    from drr import ConeBeam, detector_response, project, sample_ct

    volume = sample_ct()
    beam = ConeBeam.preset("PA", volume, (128, 128))
    chest = detector_response(project(volume, [beam], ("total",))[0, 0]).numpy()
    for name, pixels in (("positive", chest), ("negative", -chest)):
        write_radiograph(tmp_path / f"{name}.png", pixels, 16)
    one, other = (Suppressor(model)(tmp_path / f"{name}.png") for name in ("positive", "negative"))
    np.testing.assert_allclose(other.soft, -one.soft, atol=1e-4)
    np.testing.assert_allclose(other.soft + other.bone, -chest, atol=1e-4)
    assert any("negative" in warning for warning in other.warnings) and not one.warnings
    levels = np.asarray(Image.open(tmp_path / "negative.png"))
    for image in (levels, Image.open(tmp_path / "negative.png"), levels.astype(np.float32)):
        same = Suppressor(model)(image)
        assert same.warnings == other.warnings
        np.testing.assert_allclose(same.soft + same.bone, levels, atol=0.02)
        if same.source is not None:  # an array of floats is clipped at its own extremes
            np.testing.assert_allclose(same.soft, (other.soft + 1) / 2 * 65535, atol=65)
    result = Suppressor(model)(levels)
    result.save(tmp_path / "saved.png")
    np.testing.assert_allclose(read_radiograph(tmp_path / "saved.png").pixels, other.soft.clip(-1, 1), atol=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_an_image_of_one_grey_level_comes_back_with_a_warning_as_from_a_file(model, tmp_path, kind):
    result = Suppressor(model)(np.full((64, 64), 9, kind))
    write_radiograph(tmp_path / "flat.png", np.full((64, 64), -0.9, np.float32), 8)
    assert result.warnings == Suppressor(model)(tmp_path / "flat.png").warnings != ()
    np.testing.assert_allclose(result.soft, 9, atol=0.02)


def test_arrays_keep_their_own_scale(model, pixels):
    suppressor = Suppressor(model)
    unit = suppressor(pixels)
    span = pixels.max() - pixels.min()
    counts = suppressor((pixels * 700 + 5000).astype(np.float64))
    np.testing.assert_allclose(counts.soft, unit.soft * 700 + 5000, atol=0.2)
    assert unit.soft.dtype == np.float32 and np.abs(unit.bone).max() < span
    levels = np.rint((pixels + 1) * 127.5).astype(np.uint8)
    eight, picture = suppressor(levels), suppressor(Image.fromarray(levels))
    np.testing.assert_allclose(eight.soft + eight.bone, levels, atol=1e-3)
    np.testing.assert_array_equal(eight.soft, picture.soft)


def test_a_dataset_is_read_as_its_file_is(model, pixels, tmp_path):
    write_radiograph(tmp_path / "a.dcm", pixels, 12)
    suppressor = Suppressor(model)
    np.testing.assert_array_equal(suppressor(dcmread(tmp_path / "a.dcm")).soft, suppressor(tmp_path / "a.dcm").soft)


@pytest.mark.parametrize(("levels", "bits"), [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16)])
def test_pictures_in_memory_are_saved_at_their_own_depth(model, pixels, tmp_path, levels, bits):
    """An array of 12 bits in 16 is read as its file is, and written as its file would be."""
    image = np.rint((pixels + 1) / 2 * (2**bits - 1)).astype(levels)
    Image.fromarray(image).save(tmp_path / "a.png")
    suppressor = Suppressor(model)
    by_file = suppressor(tmp_path / "a.png")
    by_file.save(tmp_path / "by_file.png")
    for name, given in (("array", image), ("picture", Image.open(tmp_path / "a.png"))):
        result = suppressor(given)
        assert result.soft.max() < 2**bits and result.levels == (0, 2**bits - 1)
        np.testing.assert_allclose(result.soft + result.bone, image, atol=2**bits * 1e-5)
        result.save(tmp_path / f"{name}.png")
        written, expected = (np.asarray(Image.open(tmp_path / f"{which}.png")) for which in (name, "by_file"))
        assert written.dtype == expected.dtype
        np.testing.assert_allclose(written.astype(int), expected.astype(int), atol=1)


def test_a_picture_in_memory_is_turned_as_its_file_is(model, pixels, tmp_path):
    """Pillow leaves a photograph's EXIF orientation to who opens it."""
    tags = Image.Exif()
    tags[0x0112] = 6  # the file is to be turned by 90 degrees clockwise
    grey = Image.fromarray(np.rint((pixels + 1) * 127.5).astype(np.uint8))
    grey.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=tags)
    suppressor = Suppressor(model)
    by_file, in_memory = suppressor(tmp_path / "a.png"), suppressor(Image.open(tmp_path / "a.png"))
    assert by_file.soft.shape == in_memory.soft.shape == (96, 80)
    np.testing.assert_allclose(in_memory.soft / 127.5 - 1, by_file.soft, atol=1e-5)


def test_a_picture_in_memory_whose_white_is_0_is_inverted_as_its_file_is(model, pixels, tmp_path):
    """Pillow inverts such a TIFF of 8 bits and not one of 16."""
    for dtype in (np.uint8, np.uint16):
        levels = np.rint((pixels + 1) / 2 * np.iinfo(dtype).max).astype(dtype)
        Image.fromarray(np.iinfo(dtype).max - levels).save(tmp_path / "a.tif")
        data = (tmp_path / "a.tif").read_bytes()
        black_is_zero = b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00"  # tag 262, one short, value 1
        (tmp_path / "a.tif").write_bytes(data.replace(black_is_zero, black_is_zero[:-2] + b"\x00\x00"))
        suppressor = Suppressor(model)
        expected = suppressor(levels).soft
        for given in (tmp_path / "a.tif", Image.open(tmp_path / "a.tif")):
            soft = suppressor(given).soft
            if isinstance(given, Path):
                soft = (soft + 1) / 2 * np.iinfo(dtype).max
            np.testing.assert_allclose(soft, expected, atol=np.iinfo(dtype).max * 2e-4)


def test_a_picture_in_memory_with_transparent_pixels_is_refused(model, tmp_path):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "a.png", transparency=0)
    with pytest.raises(ValueError, match="the image: an alpha channel that makes pixels transparent"):
        Suppressor(model)(Image.open(tmp_path / "a.png"))


def test_neither_byte_order_nor_kind_of_array_changes_an_answer(model, pixels):
    levels = np.rint((pixels + 1) * 2047.5).astype(np.uint16)
    suppressor = Suppressor(model)
    expected = suppressor(levels)
    swapped = suppressor(levels.astype(">u2"))
    np.testing.assert_array_equal(swapped.soft, expected.soft)
    assert swapped.levels == expected.levels == (0, 4095)
    tensor = torch.from_numpy(pixels).bfloat16().requires_grad_()
    np.testing.assert_array_equal(suppressor(tensor).soft, suppressor(tensor.detach().float().numpy()).soft)


def test_colour_pictures_are_read_as_their_files_are(model, pixels):
    grey = Image.fromarray(np.rint((pixels + 1) * 127.5).astype(np.uint8))
    suppressor = Suppressor(model)
    expected = suppressor(grey).soft
    for mode in ("RGB", "RGBA", "LA", "P"):
        np.testing.assert_array_equal(suppressor(grey.convert(mode)).soft, expected)
    with pytest.raises(ValueError, match="the image: 3 channels that differ"):
        suppressor(Image.merge("RGB", (grey, grey, grey.point(lambda level: level // 2))))


def test_a_dataset_of_another_modality_is_refused_as_its_file_is(model, pixels, tmp_path):
    write_radiograph(tmp_path / "a.dcm", pixels, 12)
    dataset = dcmread(tmp_path / "a.dcm")
    dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    with pytest.raises(ValueError, match=r"the dataset: .*where a radiograph was expected"):
        Suppressor(model)(dataset)


def test_uncertainty_is_in_the_images_own_scale(model, pixels):
    unit, counts = (Suppressor(model, samples=2)(image) for image in (pixels, pixels * 700))
    assert unit.uncertainty.shape == pixels.shape and unit.uncertainty.max() > 0
    np.testing.assert_allclose(counts.uncertainty, unit.uncertainty * 700, rtol=2e-3, atol=0.05)


def test_a_name_on_the_hub_is_looked_up(model, pixels, tmp_path, monkeypatch):
    """Laid out as the hub's client lays out what it downloads; a test has no network."""
    snapshot = tmp_path / "models--lab--bones" / "snapshots" / ("0123456789abcdef" * 3)[:40]
    shutil.copytree(model, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    suppressor = Suppressor("lab/bones")
    assert suppressor.folder == str(snapshot)
    np.testing.assert_array_equal(suppressor(pixels).soft, Suppressor(model)(pixels).soft)
    with pytest.raises(FileNotFoundError, match="lab/none is no folder here, and no model of that name"):
        Suppressor("lab/none")


def test_several_at_once_and_figures(model, pixels):
    pytest.importorskip("matplotlib", reason="figure() draws with matplotlib")
    one, two = Suppressor(model)([pixels, pixels[:64]])
    assert one.soft.shape == (96, 80) and two.soft.shape == (64, 80)
    assert len(one.figure().axes) == 3


def test_strength_scales_what_is_taken_away(model, pixels):
    whole, half, none = (Suppressor(model, strength=strength)(pixels) for strength in (1.0, 0.5, 0.0))
    inside = np.abs(whole.soft) < 0.89
    np.testing.assert_allclose(half.bone[inside], whole.bone[inside] / 2, atol=2e-3)
    np.testing.assert_allclose(none.soft, pixels, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3)), r"shape \(8, 8, 3\)"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), "not finite"),
        (np.array([["a", "b"]]), "type <U1"),
        (np.zeros((8, 8), "m8[s]"), "type timedelta64"),
        (np.array([[-1e308, 1e308]]), "more than float32 holds"),
        (np.ma.masked_less(np.arange(64.0).reshape(8, 8), 9), "masked values: fill them"),
        (None, "NoneType: an image of shape"),
        (Dataset(), "Dataset: an image of shape"),
    ],
)
def test_what_is_no_grey_image_is_refused(model, image, message):
    with pytest.raises(ValueError, match=message):
        Suppressor(model)(image)


def test_bad_options_are_refused(model, tmp_path):
    for options, message in (
        ({"strength": 3.0}, "strength is 3"),
        ({"compose": "add"}, "compose is 'add'"),
        ({"samples": 0}, "samples is 0"),
        ({"size": 33}, "multiple of 4"),
    ):
        with pytest.raises(ValueError, match=message):
            Suppressor(model, **options)
    with pytest.raises(FileNotFoundError, match="no such folder, nor a packaged model"):
        Suppressor(tmp_path / "gone")
    with pytest.raises(ValueError, match="came from an array"):
        Suppressor(model)(np.eye(64)).save(tmp_path / "a.png")


def test_the_second_look_takes_away_what_the_first_cannot_hold():
    """Bone with lines of one pixel of 128: at 64 pixels they are half lost, with the second look they are gone."""
    bone = np.zeros((128, 128), np.float32)
    bone[::2, 32:96] = 0.4
    pixels = bone - 0.3

    def knowing(seen: np.ndarray, seed: int) -> np.ndarray:
        from radiographs import resize

        return seen - resize(bone, seen.shape)

    options = {"compose": "subtract", "seeds": [0], "size": 64}
    once, *_ = suppress_pixels(knowing, pixels, **options)
    twice, *_ = suppress_pixels(knowing, pixels, **options, detail=(knowing, 128))
    assert np.abs(once + 0.3).max() > 0.15
    np.testing.assert_allclose(twice, -0.3, atol=0.02)


def test_slope_is_how_much_bone_is_shown_of_what_was_predicted():
    rng = np.random.default_rng(0)
    bone = np.zeros((256, 256), np.float32)
    for row in range(10, 250, 24):
        bone[row : row + 9] = 0.2
    soft = rng.normal(0, 0.02, bone.shape).astype(np.float32)
    lungs = np.zeros(bone.shape, bool)
    lungs[20:240, 20:240] = True
    for shown in (0.5, 1.0, 1.7):
        assert bone_slope(soft + shown * bone, bone, lungs) == pytest.approx(shown, abs=0.03)
    assert bone_slope(soft, 0 * bone, lungs) is None and bone_slope(soft, bone, lungs & False) is None


def test_the_law_is_linear_within_bounds():
    law = {"gain": 0.5, "offset": 0.4, "bounds": (0.8, 1.3)}
    factors = [strength_of(slope, **law) for slope in (0.0, 1.0, 1.4, 9.0, None)]
    assert factors == pytest.approx([0.8, 0.9, 1.1, 1.3, 1.0])

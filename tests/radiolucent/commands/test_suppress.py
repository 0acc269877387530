"""`radiolucent suppress` with a real, small, untrained pipeline, and the composition with known predictions."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.config import RAISE, settings
from pydicom.uid import JPEG2000Lossless

from radiographs import read_radiograph, to_levels, write_radiograph
from radiolucent.cli import dispatch
from radiolucent.suppression.suppressor import suppress_pixels

SIZE = 32


def radiograph(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3) * 3


def suppress(checkpoint: Path, out: Path, *words: str) -> int:
    steps = [] if "--steps" in words else ["--steps", "2"]
    return dispatch(["suppress", *words, "--checkpoint", str(checkpoint), "--out", str(out), *steps])


@pytest.mark.parametrize("shape", [(97, 64), (31, 33), (128, 128), (301, 201)])
def test_subtract_takes_a_known_bone_away_at_native_resolution(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    middle, width = np.array(shape) / 2, max(shape) / 8
    bone = 0.5 * np.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / (2 * width**2)).astype(np.float32)
    detail = 0.2 * np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)  # lost on the model's grid
    pixels = detail - 0.2 + bone

    def predict(seen: np.ndarray, seed: int) -> np.ndarray:
        from radiographs import fit

        return seen - (fit(bone - 1, 64)[0] + 1)  # the truth of a model that knows the bone

    soft, deviation, _ = suppress_pixels(predict, pixels, compose="subtract", seeds=[0], size=64)
    np.testing.assert_allclose(soft, detail - 0.2, atol=0.01)
    assert (deviation == 0).all()


def test_bfloat16_that_is_slower_here_is_said(
    regression: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_radiograph(tmp_path / "x.png", radiograph((40, 40)).clip(-1, 1), 8)
    words = ["suppress", str(tmp_path / "x.png"), "--checkpoint", str(regression), "--device", "cpu"]
    for ratio, precision, said in ((9.0, "bfloat16", True), (0.5, "bfloat16", False), (9.0, "float32", False)):
        monkeypatch.setattr("radiolucent.commands.suppress.bfloat16_time", lambda ratio=ratio: ratio)
        out = tmp_path / f"{ratio} {precision}"
        assert dispatch([*words, "--precision", precision, "--out", str(out)]) == 0
        assert ("bfloat16 takes longer than float32" in capsys.readouterr().err) == said


def test_subtract_leaves_every_pixel_where_nothing_is_taken_and_direct_does_not() -> None:
    pixels = np.random.default_rng(0).uniform(-1, 1, (99, 50)).astype(np.float32)
    same, *_ = suppress_pixels(lambda seen, seed: seen, pixels, compose="subtract", seeds=[0], size=32)
    np.testing.assert_array_equal(same, pixels)
    direct, *_ = suppress_pixels(lambda seen, seed: seen, pixels, compose="direct", seeds=[0], size=32)
    assert direct.shape == pixels.shape and np.std(direct) < 0.5 * np.std(pixels)


def test_samples_are_averaged_and_their_spread_is_measured() -> None:
    pixels = np.zeros((20, 20), np.float32)
    soft, deviation, _ = suppress_pixels(
        lambda seen, seed: np.full_like(seen, -0.1 * seed), pixels, compose="direct", seeds=[1, 2, 3], size=20
    )
    np.testing.assert_allclose(soft, -0.2, atol=1e-6)
    np.testing.assert_allclose(deviation, np.std([0.1, 0.2, 0.3]), atol=1e-6)


def test_size_depth_and_format_come_back(checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_radiograph(source / "eight.png", radiograph((41, 60)), 8)
    write_radiograph(source / "deep" / "sixteen.tif", radiograph((67, 33)), 16)
    write_radiograph(source / "photo.jpg", radiograph((40, 40)), 8)
    write_radiograph(source / "twelve.dcm", radiograph((35, 35)), 12)
    (source / "notes.txt").write_text("left alone")
    assert suppress(checkpoint, tmp_path / "out", str(source)) == 0
    for name, shape, bits in (
        ("eight.png", (41, 60), 8),
        ("deep/sixteen.tif", (67, 33), 16),
        ("photo.png", (40, 40), 8),
        ("twelve.dcm", (35, 35), 12),
    ):
        result = read_radiograph(tmp_path / "out" / name)
        assert (result.pixels.shape, result.bits) == (shape, bits)
    text = Image.open(tmp_path / "out" / "eight.png").text["Description"]  # type: ignore[attr-defined]
    assert text.startswith("Research use only. Bones suppressed") and "subtract" in text
    derived = dcmread(tmp_path / "out" / "twelve.dcm")
    assert dcmread(source / "twelve.dcm").SOPInstanceUID not in str(derived)  # docs/deidentification.md


def test_a_compressed_negative_comes_back_as_a_valid_derived_image(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JPEG 2000, MONOCHROME1: the same soft tissue as from a PNG, in a file that validators take."""
    pytest.importorskip("openjpeg", reason="JPEG 2000 needs the dicom extra")
    monkeypatch.setattr(settings, "reading_validation_mode", RAISE)
    pixels = radiograph((48, 40))
    write_radiograph(tmp_path / "plain.png", to_levels(pixels, 12) / 4095 * 2 - 1, 16)
    write_radiograph(tmp_path / "positive.dcm", pixels, 12)
    negative = dcmread(tmp_path / "positive.dcm")
    negative.PhotometricInterpretation, negative.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    negative.PixelData = (4095 - negative.pixel_array).tobytes()
    negative.PatientName, negative.PatientID, negative.StudyID = "Doe^Jane", "ID-4711", "7"
    negative.compress(JPEG2000Lossless)
    negative.save_as(tmp_path / "negative.dcm")
    assert suppress(checkpoint, tmp_path / "png", str(tmp_path / "plain.png")) == 0
    expected = read_radiograph(tmp_path / "png" / "plain.png").pixels
    for name, words in (("nobody", []), ("somebody", ["--keep-identity"])):
        assert suppress(checkpoint, tmp_path / name, str(tmp_path / "negative.dcm"), *words) == 0
        path = tmp_path / name / "negative.dcm"
        np.testing.assert_allclose(read_radiograph(path).pixels, expected, atol=2 / 4095)
        derived = dcmread(path)
        assert (derived.PhotometricInterpretation, derived.BitsStored) == ("MONOCHROME2", 12)
        assert (b"ID-4711" in path.read_bytes()) == (derived.PatientName == "Doe^Jane") == (name == "somebody")
        assert len(list(derived.iterall())) > 30  # each element is read, and so checked by pydicom
        if shutil.which("dciodvfy"):
            report = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
            assert "SCImage" in report and "Error" not in report, report


def test_compose_seed_and_samples(checkpoint: Path, tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.png", radiograph((48, 40)), 16)
    levels = {}
    for name, words in {
        "one": [],
        "again": [],
        "seed": ["--seed", "1"],
        "direct": ["--compose", "direct"],
        "both": ["--samples", "2", "--compose", "direct", "--strip"],
        "seed direct": ["--seed", "1", "--compose", "direct"],
    }.items():  # on a grid of the image's own size, so that nothing but the padding is between model and file
        assert suppress(checkpoint, tmp_path / name, str(tmp_path / "a.png"), "--size", "48", *words) == 0
        levels[name] = cv2.imread(str(tmp_path / name / "a.png"), cv2.IMREAD_UNCHANGED).astype(float)
    np.testing.assert_array_equal(levels["one"], levels["again"])
    assert np.abs(levels["one"] - levels["seed"]).max() > 100
    mean = (levels["direct"] + levels["seed direct"]) / 2
    np.testing.assert_allclose(levels["both"], mean, atol=1)
    spread = cv2.imread(str(tmp_path / "both" / "a_std.png"), cv2.IMREAD_UNCHANGED) / 65535
    expected = np.abs(levels["direct"] - levels["seed direct"]) / 65535
    np.testing.assert_allclose(spread, expected, atol=2e-5)  # two samples lie one deviation each side of their mean
    strip = Image.open(tmp_path / "both" / "strips" / "a.png")
    assert strip.width > 3 * 40 and strip.height > 48


def test_bad_inputs_are_set_aside_and_the_run_goes_on(checkpoint: Path, tmp_path: Path) -> None:
    write_radiograph(tmp_path / "in" / "good.png", radiograph((32, 32)), 8)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / "in" / "colour.png")
    (tmp_path / "in" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 50)
    assert suppress(checkpoint, tmp_path / "out", str(tmp_path / "in")) == 1
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        reasons = {Path(row["input"]).name: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"colour.png", "broken.dcm"} and "3 channels" in reasons["colour.png"]
    before = (tmp_path / "out" / "good.png").stat().st_mtime_ns
    (tmp_path / "in" / "colour.png").unlink()
    (tmp_path / "in" / "broken.dcm").unlink()
    assert suppress(checkpoint, tmp_path / "out", str(tmp_path / "in")) == 0
    assert (tmp_path / "out" / "good.png").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other options"):
        suppress(checkpoint, tmp_path / "out", str(tmp_path / "in"), "--seed", "5")


def test_workers_give_the_same_images(regression: Path, tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.png", radiograph((32, 32)), 8)
    assert suppress(regression, tmp_path / "0", str(tmp_path / "a.png")) == 0
    assert suppress(regression, tmp_path / "1", str(tmp_path / "a.png"), "--workers", "1") == 0
    here, there = (to_levels(read_radiograph(tmp_path / n / "a.png").pixels, 8).astype(int) for n in "01")
    assert np.abs(here - there).max() <= 1


def test_files_that_differ_by_their_format_alone_go_together_unless_they_would_write_one_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("a.png", "a.tif"):
        write_radiograph(tmp_path / "in" / name, radiograph((32, 32)), 8)
    assert suppress(checkpoint, tmp_path / "out", str(tmp_path / "in")) == 0
    assert (tmp_path / "out/a.png").is_file() and (tmp_path / "out/a.tif").is_file()
    for words, file in ((("--strip",), "strips/a.png"), (("--samples", "2"), "a_std.png")):
        with pytest.raises(ValueError, match=rf"a\.png and .*a\.tif would both be written as {file}"):
            suppress(checkpoint, tmp_path / "other", str(tmp_path / "in"), *words)
    assert not (tmp_path / "other").exists()


def test_what_cannot_work_is_told_before_the_batch(checkpoint: Path, tmp_path: Path) -> None:
    write_radiograph(tmp_path / "in" / "a.png", radiograph((32, 32)), 8)
    image = str(tmp_path / "in" / "a.png")
    for words, message in {
        (str(tmp_path / "gone.png"),): "no such file",
        (image, "--steps", "0"): "steps is 0",
        (image, "--size", "33"): "multiple of 4",
        (image, "--device", "cuda"): "no CUDA device",
        (image, image): "would both be written",
        (str(tmp_path),): "lies in the input folder",
    }.items():
        if "cuda" in words and torch.cuda.is_available():
            continue
        with pytest.raises((ValueError, OSError), match=message):
            suppress(checkpoint, tmp_path / "out", *words)
    with pytest.raises(ValueError, match="would overwrite"):
        suppress(checkpoint, tmp_path / "in", image)
    with pytest.raises(OSError, match="model_index"):
        suppress(tmp_path / "in", tmp_path / "out", image)
    with pytest.raises((ValueError, OSError)):
        suppress(checkpoint / "unet", tmp_path / "out", image)

"""`radiolucent suppress` on what people give it: whole folders, wrong names, negatives, ten bits in sixteen."""

from __future__ import annotations

import csv
import json
import os
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import dcmread

from radiographs import read_radiograph, write_radiograph
from radiographs.dicom.deidentify import KEY_NAME
from radiographs.kinds import radiographs_in
from radiolucent.cli import dispatch

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
CODE = ("Error:", "object has no attribute", "invalid literal", "NoneType", "Traceback", "unpack")


def suppress(checkpoint: Path, out: Path, *words: Path | str) -> int:
    return dispatch(["suppress", *map(str, words), "--checkpoint", str(checkpoint), "--out", str(out), "--steps", "1"])


def records(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {line["outputs"][0]: line for line in lines if "outputs" in line}


def skipped(out: Path) -> dict[str, str]:
    with open(out / "errors.csv", newline="", encoding="utf-8") as file:
        return {row["input"]: row["reason"] for row in csv.DictReader(file)}


def chest(height: int = 96, width: int = 88) -> np.ndarray:
    """Two dark lungs, a bright middle and abdomen, air above the shoulders and beside the body."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    lungs = np.minimum(*(((x - c) / 0.14) ** 2 + ((y - 0.42) / 0.3) ** 2 for c in (0.31, 0.69)))
    pixels = np.where(lungs < 1, -0.5, 0.3) + 0.4 * (np.abs(x - 0.5) < 0.06) + 0.2 * (y > 0.75)
    pixels[np.abs(x - 0.5) > 0.3 + 0.17 * np.minimum(1, y / 0.3) + 0.04 * y] = -0.95
    noise = np.random.default_rng(0).normal(0, 0.03, pixels.shape)
    return (cv2.GaussianBlur(pixels, (0, 0), 1.5) + noise).clip(-1, 1).astype(np.float32)


@pytest.mark.filterwarnings("ignore")
def test_the_whole_test_folder_of_pydicom(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is suppressed, skipped with a reason for a person, or named as left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about its own damaged files
        assert suppress(checkpoint, tmp_path / "out", FOLDER) == 1
    done, reasons, printed = records(tmp_path / "out"), skipped(tmp_path / "out"), capsys.readouterr().out
    images, others = radiographs_in(FOLDER)
    assert len(done) + len(reasons) == len(images) and len(done) >= 6
    assert f"{len(others)} files are no radiograph" in printed
    for path, reason in reasons.items():
        assert len(reason) > 20 and not [word for word in CODE if word in reason], (path, reason)
    named = {Path(path).name: reason for path, reason in reasons.items()}
    assert "a slice of a CT (Modality CT), where a radiograph was expected" in named["CT_small.dcm"]
    for name, record in done.items():
        source = FOLDER / name if (FOLDER / name).exists() else FOLDER / name.removesuffix(".dcm")
        assert read_radiograph(tmp_path / "out" / name).pixels.shape == read_radiograph(source).pixels.shape
        assert all(isinstance(text, str) and text for text in record.get("warnings", []))
    original = FOLDER / "dicomdirtests" / "77654033" / "CR1" / "6154"
    assert original.is_file() and "dicomdirtests/77654033/CR1/6154.dcm" in done
    assert dcmread(original).StudyInstanceUID not in str(dcmread(tmp_path / "out/dicomdirtests/77654033/CR1/6154.dcm"))


def test_names_and_suffixes(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    for name, kind in (("scan", "PNG"), ("photo.jfif", "JPEG"), ("other.JPE", "JPEG"), ("film.dcm", "PNG")):
        write_radiograph(tmp_path / "a.png", chest(), 8)
        source.mkdir(exist_ok=True)
        Image.open(tmp_path / "a.png").save(source / name, kind)
    with open(os.fsencode(source) + b"/b\xe4d.png", "wb") as file:
        file.write((tmp_path / "a.png").read_bytes())
    with open(os.fsencode(source) + b"/w\xe4rse.png", "wb") as file:
        file.write(b"text")
    (source / "._scan").write_bytes(b"\x00\x05\x16\x07" + bytes(90))
    assert suppress(checkpoint, tmp_path / "out", source) == 1
    for name in ("scan.png", "photo.png", "other.png", "film.png", os.fsdecode(b"b\xe4d.png")):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG"), name
    assert list(skipped(tmp_path / "out")) == [str(source) + "/w\\udce4rse.png"]
    assert "1 file is no radiograph (or hidden, linked or a DICOMDIR) and left out: ._scan" in capsys.readouterr().out
    assert suppress(checkpoint, tmp_path / "out", source) == 1  # finished ones are known again by such a name
    assert len(records(tmp_path / "out")) == 5


def test_polarity(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A negative is turned, suppressed and turned back: the positive's result, inverted. It is said, once a kind."""
    source = tmp_path / "in"
    write_radiograph(source / "a.png", chest(), 16)
    for name in ("b", "c"):
        write_radiograph(source / f"{name}.png", -chest(), 16)
    assert suppress(checkpoint, tmp_path / "out", source) == 0
    positive, negative = (read_radiograph(tmp_path / "out" / f"{name}.png").pixels for name in "ab")
    np.testing.assert_allclose(negative, -positive, atol=1e-4)
    made = records(tmp_path / "out")
    assert "inverted" not in made["a.png"] and "warnings" not in made["a.png"]
    assert made["b.png"]["inverted"] is True and "turned before, and back after" in made["b.png"]["warnings"][0]
    line = f"warning: {source / 'b.png'} and 1 more: bones are dark (a negative): turned before, and back after"
    assert capsys.readouterr().out.count(line) == 1
    assert suppress(checkpoint, tmp_path / "forced", source / "b.png", "--polarity", "positive") == 0
    made = records(tmp_path / "forced")["b.png"]
    assert "inverted" not in made and "against --polarity positive" in made["warnings"][0]
    assert suppress(checkpoint, tmp_path / "said", source / "b.png", "--polarity", "negative") == 0
    np.testing.assert_array_equal(read_radiograph(tmp_path / "said" / "b.png").pixels, negative)
    assert records(tmp_path / "said")["b.png"]["inverted"] is True


def test_ten_bits_in_sixteen_is_the_same_radiograph(checkpoint: Path, tmp_path: Path) -> None:
    levels = np.rint((chest() + 1) / 2 * 1023).astype(np.uint16)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "ten.png"), levels)
    cv2.imwrite(str(tmp_path / "in" / "sixteen.png"), np.rint(levels / 1023 * 65535).astype(np.uint16))
    assert suppress(checkpoint, tmp_path / "out", tmp_path / "in") == 0
    ten, sixteen = (
        cv2.imread(str(tmp_path / "out" / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in ("ten", "sixteen")
    )
    np.testing.assert_allclose(ten / 1023, sixteen / 65535, atol=1 / 1023)
    assert "use 10 of 16 bits" in records(tmp_path / "out")["ten.png"]["warnings"][0]


def test_uids_of_one_run_go_together_and_another_run_has_others(regression: Path, tmp_path: Path) -> None:
    for name in ("1", "2"):
        write_radiograph(tmp_path / "in" / f"{name}.dcm", np.roll(chest(), int(name), 0), 12)
        dataset = dcmread(tmp_path / "in" / f"{name}.dcm")
        dataset.StudyInstanceUID = "2.25.77"
        dataset.save_as(tmp_path / "in" / f"{name}.dcm")
    assert suppress(regression, tmp_path / "one", tmp_path / "in", "--workers", "2") == 0
    assert suppress(regression, tmp_path / "two", tmp_path / "in") == 0
    studies = {run: {dcmread(tmp_path / run / f"{n}.dcm").StudyInstanceUID for n in (1, 2)} for run in ("one", "two")}
    assert len(studies["one"]) == len(studies["two"]) == 1 and studies["one"] != studies["two"]
    assert "2.25.77" not in studies["one"]
    assert (tmp_path / "one" / KEY_NAME).is_file()
    assert suppress(regression, tmp_path / "kept", tmp_path / "in", "--keep-identity") == 0
    assert dcmread(tmp_path / "kept" / "1.dcm").StudyInstanceUID == "2.25.77"
    assert not (tmp_path / "kept" / KEY_NAME).exists()

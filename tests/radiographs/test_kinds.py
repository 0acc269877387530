"""What a file is, by its content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from radiographs import read_radiograph
from radiographs.kinds import kind_of_file, output_name, radiographs_in

LEVELS = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def save(path: Path, kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(LEVELS).save(path, kind)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "result"),
    [
        ("scan", "PNG", "scan.png"),
        ("1.2.840.5", "PNG", "1.2.840.5.png"),
        ("film.dcm", "PNG", "film.png"),
        ("photo.jfif", "JPEG", "photo.png"),
        ("photo.JPE", "JPEG", "photo.png"),
        ("photo.png", "JPEG", "photo.png"),
        ("film.png", "TIFF", "film.tiff"),
        ("film.TIF", "TIFF", "film.TIF"),
    ],
)
def test_pictures_by_their_content(tmp_path: Path, name: str, kind: str, result: str) -> None:
    path = save(tmp_path / name, kind)
    assert output_name(path, f"deep/{name}") == f"deep/{result}"
    assert read_radiograph(path).format == kind.lower() == kind_of_file(path)


def test_dicom_by_its_content_with_and_without_a_preamble(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    whole = write_dicom("1.2.840.113619", LEVELS, 8)
    assert output_name(whole, whole.name) == "1.2.840.113619.dcm"
    bare = tmp_path / "old"
    dataset = dcmread(whole)
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(bare, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[:4] == b"\x08\x00\x16\x00" and kind_of_file(bare) == "dicom"
    np.testing.assert_array_equal(read_radiograph(bare).pixels, read_radiograph(whole).pixels)
    png = save(tmp_path / "picture.dcm", "PNG")
    assert kind_of_file(png) == "png"
    (tmp_path / "notes.txt").write_text("Some text that is long enough to hold a signature, were there one in it")
    assert kind_of_file(tmp_path / "notes.txt") is None


def test_a_folder_is_searched_by_content_and_the_rest_is_named(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    folder = tmp_path / "in"
    wanted = [save(folder / name, "PNG") for name in ("a.png", "b", "deep/c.dcm")]
    os.rename(write_dicom("d", LEVELS, 8), folder / "d")
    (folder / "broken.png").write_text("text")  # claims to be one: reading it says what is wrong
    others = [folder / name for name in ("._a.png", ".DS_Store", "notes.txt", "DICOMDIR", "__MACOSX/a.png")]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wanted[0].read_bytes() if path.suffix == ".png" else b"something")
    (folder / "linked").symlink_to(tmp_path)
    found, left_out = radiographs_in(folder)
    assert set(found) == {*wanted, folder / "d", folder / "broken.png"}
    assert set(left_out) == {*others, folder / "linked"}

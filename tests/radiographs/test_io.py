"""Radiographs in and out: bit-exact levels, one convention, clear refusals."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from radiographs import read_radiograph, to_levels, to_unit, write_radiograph
from radiographs.files import PART, atomic_folder, atomic_path
from radiographs.io import radiograph_size


def every_level(bits: int) -> np.ndarray:
    """All levels once, in an odd-sided image."""
    levels = np.arange(2**bits, dtype=np.uint8 if bits == 8 else np.uint16)
    return np.append(levels, levels[: -len(levels) % 7]).reshape(7, -1)


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 15, 16])
def test_levels_survive_the_convention(bits: int) -> None:
    levels = np.arange(2**bits)
    unit = to_unit(levels, bits)
    assert unit.dtype == np.float32 and unit[0] == -1 and unit[-1] == 1
    np.testing.assert_array_equal(to_levels(unit, bits), levels)


@pytest.mark.parametrize(("suffix", "bits"), [(".png", 8), (".png", 16), (".tif", 8), (".tiff", 16), (".dcm", 8)])
def test_round_trip_is_bit_exact(tmp_path: Path, suffix: str, bits: int) -> None:
    path = tmp_path / f"image{suffix}"
    levels = every_level(bits)
    write_radiograph(path, to_unit(levels, bits), bits)
    again = read_radiograph(path)
    assert again.bits == bits and again.pixels.shape == levels.shape == radiograph_size(path)
    np.testing.assert_array_equal(to_levels(again.pixels, bits), levels)
    if suffix != ".dcm":  # another library sees the same levels
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), levels)


def test_twelve_bits_spread_over_sixteen(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.png", np.array([[-1, 1]], np.float32), bits=12)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), [[0, 65535]])


def test_jpeg_is_read_and_written_in_eight_bits(tmp_path: Path) -> None:
    pixels = np.linspace(-1, 1, 31 * 33, dtype=np.float32).reshape(31, 33)
    write_radiograph(tmp_path / "a.jpg", pixels, bits=8)
    again = read_radiograph(tmp_path / "a.jpg")
    assert (again.format, again.bits) == ("jpeg", 8)
    np.testing.assert_allclose(again.pixels, pixels, atol=0.03)
    with pytest.raises(ValueError, match="JPEG holds 8 bits"):
        write_radiograph(tmp_path / "b.jpg", pixels, bits=16)


def test_metadata_says_research_use_only(tmp_path: Path) -> None:
    pixels = np.zeros((3, 3), np.float32)
    for name in ("a.png", "a.tif", "a.jpg"):
        write_radiograph(tmp_path / name, pixels, 8, description="Bones suppressed")
    assert Image.open(tmp_path / "a.png").text["Description"] == "Research use only. Bones suppressed"  # type: ignore[attr-defined]
    assert Image.open(tmp_path / "a.tif").tag_v2[270] == "Research use only. Bones suppressed"  # type: ignore[attr-defined]
    assert Image.open(tmp_path / "a.jpg").info["comment"] == b"Research use only. Bones suppressed"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_tiff_is_turned(tmp_path: Path, dtype: type) -> None:
    top = np.iinfo(dtype).max
    picture = Image.fromarray(np.array([[0, top], [top // 5, 0]], dtype))
    picture.save(tmp_path / "plain.tif")
    data = bytearray((tmp_path / "plain.tif").read_bytes())
    entry = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # tag 262, one short, value 1 (black is zero)
    data[entry + 8] = 0
    (tmp_path / "white.tif").write_bytes(data)
    plain, white = read_radiograph(tmp_path / "plain.tif"), read_radiograph(tmp_path / "white.tif")
    np.testing.assert_allclose(white.pixels, -plain.pixels, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_equal_channels_are_grey_and_others_refused(tmp_path: Path, dtype: type, suffix: str) -> None:
    levels = np.arange(20, dtype=dtype).reshape(4, 5) * (np.iinfo(dtype).max // 20)
    colour = np.dstack([levels] * 3)
    cv2.imwrite(str(tmp_path / f"grey{suffix}"), colour)
    grey = read_radiograph(tmp_path / f"grey{suffix}")
    assert grey.bits == dtype(0).nbytes * 8
    np.testing.assert_array_equal(to_levels(grey.pixels, grey.bits), levels)
    colour[2, 3, 1] += 1
    cv2.imwrite(str(tmp_path / f"colour{suffix}"), colour)
    with pytest.raises(ValueError, match="3 channels"):
        read_radiograph(tmp_path / f"colour{suffix}")


def test_transparent_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4, 2), 255, np.uint8), "LA").save(tmp_path / "opaque.png")
    assert (read_radiograph(tmp_path / "opaque.png").pixels == 1).all()
    Image.fromarray(np.full((4, 4, 2), 254, np.uint8), "LA").save(tmp_path / "clear.png")
    with pytest.raises(ValueError, match="an alpha channel that makes pixels transparent"):
        read_radiograph(tmp_path / "clear.png")


def test_a_transparent_colour_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    """Pillow gives such a picture in 8 bits and its transparent colour in 16."""
    levels = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(levels[..., None], 3, -1))
    data = (tmp_path / "a.png").read_bytes()
    place = data.index(b"IDAT") - 4
    for level, refused in ((8000, True), (1234, False)):
        chunk = b"tRNS" + level.to_bytes(2, "big") * 3
        part = (6).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        (tmp_path / "b.png").write_bytes(data[:place] + part + data[place:])
        if refused:
            with pytest.raises(ValueError, match="makes pixels transparent"):
                read_radiograph(tmp_path / "b.png")
        else:
            assert read_radiograph(tmp_path / "b.png").bits == 16


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "P", "1"])
def test_an_image_with_a_transparent_grey_is_refused(mode: str, tmp_path: Path) -> None:
    """PNG has it without an alpha channel too: one grey or colour, or entries of the palette."""
    levels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 4000)
    elif mode == "RGB":
        image = Image.fromarray(np.repeat(levels[..., None], 3, -1))
    elif mode == "P":
        image = Image.fromarray(levels)
        image.putpalette([level for level in range(256) for _ in range(3)])
    else:
        image = Image.fromarray(levels * 16).convert(mode)
    first, unused = {"RGB": ((0, 0, 0), (99, 99, 99)), "P": (b"\x00", b"\xff" * 16), "1": (0, 1)}.get(mode, (0, 99))
    if mode == "1":
        image.paste(0, (0, 0, 4, 4))
    image.save(tmp_path / "opaque.png", transparency=unused)
    assert read_radiograph(tmp_path / "opaque.png").pixels.shape == (4, 4)
    image.save(tmp_path / "clear.png", transparency=first)
    with pytest.raises(ValueError, match="makes pixels transparent: save the image without it"):
        read_radiograph(tmp_path / "clear.png")


def test_bad_files_are_refused_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_radiograph(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png: neither PNG"):
        read_radiograph(tmp_path / "text.png")
    write_radiograph(tmp_path / "whole.png", np.random.default_rng(0).uniform(-1, 1, (64, 64)), 16)
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"cut\.png: cannot be read"):
        read_radiograph(tmp_path / "cut.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="kind 'F'"):
        read_radiograph(tmp_path / "float.tif")
    frames = [Image.fromarray(np.full((4, 4), i, np.uint8)) for i in range(3)]
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="3 pages"):
        read_radiograph(tmp_path / "pages.tif")


def test_bad_images_are_not_written(tmp_path: Path) -> None:
    for pixels in (np.zeros((1, 4, 4)), np.zeros((0, 4)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match=r"shape|finite"):
            write_radiograph(tmp_path / "a.png", pixels)
    with pytest.raises(ValueError, match=r"suffix '.bmp'"):
        write_radiograph(tmp_path / "a.bmp", np.zeros((2, 2)))
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic_path(target) as part:
        part.write_text("first")
    with pytest.raises(RuntimeError), atomic_path(target) as part:
        part.write_text("half")
        assert part.name.startswith(PART) and part.suffix == ".txt"
        raise RuntimeError
    assert target.read_text() == "first" and [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_a_folder_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def write(text: str, fail: bool = False, **options: bool) -> None:
        with atomic_folder(target, **options) as part:
            (part / "a.txt").write_text(text)
            assert not target.exists() or (target / "a.txt").read_text() == "first"
            if fail:
                raise RuntimeError

    write("first")
    with pytest.raises(RuntimeError):
        write("half", fail=True, replace=True)
    with pytest.raises(OSError):
        write("second")
    assert (target / "a.txt").read_text() == "first"
    write("second", replace=True)
    assert (target / "a.txt").read_text() == "second" and list(tmp_path.iterdir()) == [target]


def test_an_old_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("first")
    with pytest.raises(OSError), atomic_folder(target, replace=True) as part:
        part.rmdir()  # somebody cleaned up
    assert (target / "a.txt").read_text() == "first" and list(tmp_path.iterdir()) == [target]

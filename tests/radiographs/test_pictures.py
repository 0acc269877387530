"""PNG, TIFF and JPEG as people have them: turned by EXIF, 10 bits in 16, packed 12 bits, wrong names."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from radiographs import read_radiograph, read_together, to_levels, write_radiograph
from radiographs.io import radiograph_size

RAMP = np.linspace(0, 1, 48 * 40).reshape(48, 40)
TO_STORED = {  # how an upright picture is stored, by its EXIF orientation (TIFF 6.0, tag 274)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a.T, 2),
    8: lambda a: np.rot90(a, -1),
}


def shown(path: Path) -> np.ndarray:
    return (read_radiograph(path).pixels.astype(np.float64) + 1) / 2


@pytest.mark.parametrize("orientation", TO_STORED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_picture_is_read_as_it_is_shown(tmp_path: Path, suffix: str, orientation: int) -> None:
    levels = np.rint(TO_STORED[orientation](RAMP) * 255).astype(np.uint8)
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[274] = orientation
    options = {"quality": 98} if suffix == ".jpg" else {}
    Image.fromarray(np.ascontiguousarray(levels)).save(path, exif=exif, **options)
    np.testing.assert_allclose(shown(path), RAMP, atol=0.02)
    assert radiograph_size(path) == RAMP.shape


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("used", "highest"), [(8, 200), (10, 1023), (12, 3000), (14, 16383)])
def test_the_depth_in_use_of_sixteen_bits(tmp_path: Path, suffix: str, used: int, highest: int) -> None:
    levels = np.rint(RAMP * highest).astype(np.uint16)
    path, result = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    cv2.imwrite(str(path), levels)
    image = read_radiograph(path)
    np.testing.assert_allclose((image.pixels + 1) / 2, levels / (2**used - 1), atol=1e-6)
    assert image.bits == used and image.warnings == (
        f"the grey levels use {used} of 16 bits: {2**used - 1} was taken for white",
    )
    write_radiograph(result, image.pixels, image.bits, source=image)  # the same levels come back, and are read again
    np.testing.assert_array_equal(cv2.imread(str(result), cv2.IMREAD_UNCHANGED), levels)
    again = read_radiograph(result)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert not again.warnings  # the file names its white


def test_what_uses_the_whole_range_or_is_ours_is_taken_as_it_is(tmp_path: Path) -> None:
    for name, highest in (("bright", 65535), ("dim", 30000)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.rint(RAMP * highest).astype(np.uint16))
        image = read_radiograph(tmp_path / f"{name}.png")
        assert image.bits == 16 and not image.warnings
    for suffix in (".png", ".tif"):  # a dim result of ours: its scale is that of its radiograph
        write_radiograph(tmp_path / f"ours{suffix}", RAMP * 0.01 - 1, 16)
        image = read_radiograph(tmp_path / f"ours{suffix}")
        np.testing.assert_allclose(image.pixels, RAMP * 0.01 - 1, atol=2e-5)
        assert not image.warnings
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4), np.uint16))
    assert (read_radiograph(tmp_path / "black.png").pixels == -1).all()


def test_images_that_belong_together_keep_their_scale(tmp_path: Path) -> None:
    """A soft-tissue image of 12 bits that happens to stay below 1024."""
    radiograph, soft = np.rint(RAMP * 4000).astype(np.uint16), np.rint(RAMP * 1000).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), radiograph)
    cv2.imwrite(str(tmp_path / "b.png"), soft)
    assert read_radiograph(tmp_path / "b.png").bits == 10
    together = read_together({"radiograph": tmp_path / "a.png", "soft": tmp_path / "b.png"})
    for role, levels in (("radiograph", radiograph), ("soft", soft)):
        np.testing.assert_allclose((together[role].pixels + 1) / 2, levels / 4095, atol=1e-6)
        assert together[role].bits == 12
    cv2.imwrite(str(tmp_path / "c.png"), np.rint(RAMP * 255).astype(np.uint8))  # of 8 bits: nothing to bring together
    mixed = read_together({"a": tmp_path / "b.png", "b": tmp_path / "c.png"})
    np.testing.assert_allclose((mixed["b"].pixels + 1) / 2, np.rint(RAMP * 255) / 255, atol=1e-6)


def packed_tiff(path: Path, levels: np.ndarray, photometric: int) -> None:
    """12 bits a pixel, three bytes for two pixels, as film scanners write it."""
    left, right = levels[:, ::2], levels[:, 1::2]
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], -1).astype(np.uint8).tobytes()
    height, width = levels.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(packed)}
    short = (258, 259, 262, 277)
    entries = b"".join(struct.pack("<HHII", tag, 3 if tag in short else 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory)


def test_packed_twelve_bits(tmp_path: Path) -> None:
    levels = np.rint(RAMP * 4095).astype(np.uint16)
    packed_tiff(tmp_path / "a.tif", levels, 1)
    image = read_radiograph(tmp_path / "a.tif")
    np.testing.assert_allclose((image.pixels + 1) / 2, levels / 4095, atol=1e-6)
    assert image.bits == 12 and not image.warnings
    write_radiograph(tmp_path / "b.tif", image.pixels, 12, source=image)  # no reader knows 12 bits: spread over 16
    np.testing.assert_allclose(shown(tmp_path / "b.tif"), (image.pixels + 1) / 2, atol=1e-4)


def test_a_variant_that_pillow_does_not_know_is_not_called_another_format(tmp_path: Path) -> None:
    packed_tiff(tmp_path / "a.tif", np.zeros((4, 4), np.uint16), 0)  # packed, and white is zero
    with pytest.raises(ValueError, match="a TIFF file that is damaged, or of a variant that is not read"):
        read_radiograph(tmp_path / "a.tif")


def test_grey_of_sixteen_bits_beside_alpha_keeps_its_depth(tmp_path: Path) -> None:
    levels = np.rint(RAMP * 65535).astype(np.uint16)
    deep = np.dstack([levels, levels, levels, np.full_like(levels, 65535)])
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    image = read_radiograph(tmp_path / "a.png")
    assert image.bits == 16
    np.testing.assert_array_equal(to_levels(image.pixels, 16), levels)


def test_other_files_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "._scan.png").write_bytes(b"\x00\x05\x16\x07" + bytes(60))
    with pytest.raises(ValueError, match="macOS's notes on a file"):
        read_radiograph(tmp_path / "._scan.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match="an empty file"):
        read_radiograph(tmp_path / "empty.png")

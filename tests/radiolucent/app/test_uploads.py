"""Hostile and damaged files: each gets one line, opens nothing else, and is not unpacked beyond its bounds."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiolucent.app.codestreams import check_codestreams, codestream_size
from radiolucent.app.limits import Limits, line_about
from radiolucent.app.scenes import Scenes
from radiolucent.app.store import Store
from radiolucent.app.suppression import Suppression
from radiolucent.app.uploads import shown_name, take, take_folder, volume_suffix

LIMITS = replace(Limits(), radiograph=4 << 20, voxels=2_000_000, slices=5)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def zip_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def lying_zip() -> bytes:
    """A member that says it is small and is not."""
    honest = bytearray(zip_of({"0.dcm": bytes(20 << 20)}))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = honest.index(signature)
        struct.pack_into("<I", honest, at + place, 100)
    return bytes(honest)


def nifti_of(shape: tuple[int, int, int]) -> bytes:
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(1000)


def dicom_of(modality: str = "DX", deflated: bool = False, side: int = 8, size: int = 128) -> bytes:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid(), modality
    data.PatientName = "<script>window.caught=1</script>"
    data.Rows, data.Columns, data.SamplesPerPixel = side, side, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.add_new("PixelData", "OW", bytes(size))
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def compressed_dicom(kind: str, frame: bytes, side: int) -> bytes:
    """A DICOM file that holds one compressed frame and says it is `side` pixels square."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000, JPEGBaseline8Bit

    data = dcmread(io.BytesIO(dicom_of(side=side)))
    data.file_meta.TransferSyntaxUID = JPEG2000 if kind == "JPEG2000" else JPEGBaseline8Bit
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = encapsulate([frame])
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def frame_of(kind: str, height: int, width: int, **options: object) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.arange(height * width, dtype=np.uint8).reshape(height, width)).save(packed, kind, **options)
    return packed.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
RADIOGRAPHS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "script in an SVG": ("a.png", lambda: SVG, "neither PNG, TIFF, JPEG nor DICOM"),
    "empty": ("a.png", lambda: b"", "an empty file"),
    "10 GB header of a PNG": ("a.png", lambda: png_of(70_000, 70_000), "4900000000 pixels"),
    "header of a large PNG": ("a.png", lambda: png_of(9_000, 9_000), "promises 9000 x 9000 pixels"),
    "cut short": ("a.png", lambda: png_of(60, 60), "cannot be read"),
    "10 GB header of a DICOM": ("a.dcm", lambda: dicom_of(side=65000), "promises 65000 x 65000 pixels"),
    "script in a DICOM tag": ("a.dcm", lambda: dicom_of("CT"), "Modality CT"),
    "deflated bomb": ("a.dcm", lambda: dicom_of(deflated=True, size=64 << 20), "unpacks to more than 4 MB"),
    "JPEG 2000 larger than its header": (
        "a.dcm",
        lambda: compressed_dicom("JPEG2000", frame_of("JPEG2000", 64, 96, no_jp2=True), 8),
        "promises 8 x 8 pixels and its compressed picture says 64 x 96",
    ),
    "JPEG larger than its header": (
        "a.dcm",
        lambda: compressed_dicom("JPEG", frame_of("JPEG", 64, 96), 8),
        "promises 8 x 8 pixels and its compressed picture says 64 x 96",
    ),
    "JPEG 2000 that is none": ("a.dcm", lambda: compressed_dicom("JPEG2000", b"\xff\x4f\xff\x51", 8), "says no size"),
    "too large": ("a.png", lambda: png_of(9, 9) + bytes(5 << 20), "5 MB, where at most 4 MB"),
    "path as name": ("../../../etc/passwd", lambda: b"root:x:0:0", "^passwd: neither"),
    "script as name": ("<img src=x onerror=alert(1)>.png", lambda: SVG, "^<img src=x onerror=alert"),
}


@pytest.mark.parametrize("case", RADIOGRAPHS)
def test_a_bad_radiograph_gets_one_line(case: str, tmp_path: Path) -> None:
    name, make, says = RADIOGRAPHS[case]
    store = Store(tmp_path / "held", LIMITS, tmp_path)
    sent = tmp_path / "sent" / "x"
    sent.parent.mkdir()
    sent.write_bytes(make())
    entry = store.new(shown_name(name))
    with pytest.raises((ValueError, OSError)) as caught:
        path = take(entry, sent, LIMITS.radiograph)
        Suppression(None, LIMITS, tmp_path).read(entry, path)  # type: ignore[arg-type]  # it comes to no model
    line = line_about(caught.value, entry.folder, entry.name)
    assert re.search(says, line), line
    assert "\n" not in line and str(tmp_path) not in line and "script" not in line


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG2000", {"no_jp2": True}), ("JPEG2000", {})],
)
def test_a_streams_own_size_is_read(kind: str, options: dict, tmp_path: Path) -> None:
    frame = frame_of(kind, 24, 40, **options)
    assert codestream_size(frame) == (24, 40)
    assert all(codestream_size(frame[:length]) in (None, (24, 40)) for length in range(0, len(frame), 7))
    honest = tmp_path / "a.dcm"
    honest.write_bytes(compressed_dicom(kind, frame_of(kind, 8, 8, **options), 8))
    check_codestreams(honest, "a.dcm")  # and so are files that are not compressed
    honest.write_bytes(dicom_of())
    check_codestreams(honest, "a.dcm")


CTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zip bomb": ("a.zip", lambda: zip_of({f"{n}.dcm": bytes(4 << 20) for n in range(3)}), "unpacks to 12 MB"),
    "zip that lies": ("a.zip", lying_zip, "damaged zip|unpacks to more"),
    "zip of many": ("a.zip", lambda: zip_of({f"{n}": b"" for n in range(9)}), "9 files, where at most 5"),
    "path that leads out": ("a.zip", lambda: zip_of({"../../evil.dcm": b"x"}), "leads out of it"),
    "absolute path": ("a.zip", lambda: zip_of({"/etc/cron.d/evil": b"x"}), "leads out of it"),
    "drive letter": ("a.zip", lambda: zip_of({"C:\\evil.dcm": b"x"}), "leads out of it"),
    "empty zip": ("a.zip", lambda: zip_of({}), "without files"),
    "no CT in it": ("a.zip", lambda: zip_of({"notes": b"hello" * 50}), "no DICOM series"),
    "deflated bomb in it": ("a.zip", lambda: zip_of({"0": dicom_of("CT", True, size=6 << 20)}), "unpacks to more"),
    "slices of 8 GB": (
        "a.zip",
        lambda: zip_of({str(n): dicom_of("CT", side=65000) for n in range(2)}),
        "promise more than",
    ),
    "one file of 8 GB": ("a.dcm", lambda: dicom_of("CT", side=65000), "promise more than"),
    "10 GB header": ("a.nii", lambda: nifti_of((2000, 2000, 1300)), "2000 x 2000 x 1300 voxels \\(10.4 GB\\)"),
    "header of more than there is": ("a.nii", lambda: nifti_of((100, 100, 100)), "truncated or its header is wrong"),
    "header that names another file": (
        "a.mha",
        lambda: (
            b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n"
        ),
        "voxels lie in another file",
    ),
    "NRRD that names another file": (
        "a.nrrd",
        lambda: b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: /etc/passwd\n\n",
        "voxels lie in another file",
    ),
    "script": ("a.nii.gz", lambda: SVG, "not a NIfTI file"),
}


@pytest.mark.parametrize("case", CTS)
def test_a_bad_ct_gets_one_line(case: str, tmp_path: Path) -> None:
    name, make, says = CTS[case]
    store = Store(tmp_path / "held", LIMITS, tmp_path)
    sent = tmp_path / "sent" / "x"
    sent.parent.mkdir()
    sent.write_bytes(make())
    entry = store.new(name)
    with pytest.raises((ValueError, OSError)) as caught:
        Scenes(store, LIMITS).add(entry, take(entry, sent, 64 << 20, volume_suffix(name)))
    line = line_about(caught.value, entry.folder, entry.name)
    assert re.search(says, line), line
    assert "\n" not in line and str(tmp_path) not in line
    assert not list(tmp_path.rglob("*evil*"))
    assert sum(path.stat().st_size for path in entry.folder.rglob("*") if path.is_file()) < 20 << 20


def test_a_zipped_series_is_the_ct_that_was_zipped(write_series: Callable[..., Path], tmp_path: Path) -> None:
    """A body of water with air inside, as DICOM slices in a zip, in folders and beside hidden files."""
    from drr import read_ct
    from radiolucent.app.scene import Scene, Shot

    plane = np.full((40, 40), -1000.0)
    plane[8:32, 6:34] = 40
    planes = [plane] * 30
    folder = write_series(tmp_path / "series", planes, [(0, 0, 5 * k) for k in range(30)])
    packed = zip_of({f"deep/er/{path.name}": path.read_bytes() for path in folder.iterdir()} | {"__MACOSX/._x": b"no"})
    sent = tmp_path / "sent"
    sent.write_bytes(packed)
    limits = replace(LIMITS, slices=40)
    store = Store(tmp_path / "held", limits, tmp_path)
    scenes, entry = Scenes(store, limits), store.new("series.zip")
    _, notes = scenes.add(entry, take(entry, sent, 64 << 20))
    assert any("not enough chest" in note for note in notes)
    assert not list(entry.folder.iterdir())  # nothing of it is left on disk
    shot = Shot(size=128, yaw=20)
    wanted = Scene.of(read_ct(folder), "").lines(shot)
    assert np.array_equal(scenes.get(entry.token).lines(shot), wanted)
    assert wanted.max() > 1


def test_a_ct_makes_room_and_old_entries_go(tmp_path: Path) -> None:
    store = Store(tmp_path, replace(Limits(), entries=2, age=1000), tmp_path)
    first, second = store.new("a"), store.new("b")
    store.get(first.token)
    third = store.new("c")
    assert third.token in store and first.token in store and second.token not in store
    assert not second.folder.exists()
    with pytest.raises(ValueError, match="no longer held"):
        store.get(second.token)
    with pytest.raises(ValueError, match="no longer held"):
        store.get("../" + first.token)
    first.used -= 2000
    store.sweep()
    assert first.token not in store and third.token in store


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "held", LIMITS, tmp_path)
    sent = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        sent.append(tmp_path / str(number) / "a.png")
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(sent[-1])
    with pytest.raises(ValueError, match=r"two files are called a\.png"):
        take_folder(store.new("x"), "truth", list(map(str, sent)), LIMITS)


def test_a_file_that_was_not_sent_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "uploads" / "link").symlink_to(tmp_path / "secret")
    store = Store(tmp_path / "held", LIMITS, tmp_path / "uploads")
    for named in (tmp_path / "secret", tmp_path / "uploads/../secret", tmp_path / "uploads/link", tmp_path / "uploads"):
        with pytest.raises(ValueError, match="was not sent to this page"):
            take(store.new("a"), named, 1000)
        with pytest.raises(ValueError, match="was not sent to this page"):
            take_folder(store.new("a"), "truth", [str(named)], LIMITS)
    assert (tmp_path / "secret").read_text() == "x"

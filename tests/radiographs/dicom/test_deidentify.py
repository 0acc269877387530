"""docs/deidentification.md: who can be recognised in a derived image."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from radiographs import read_radiograph, write_radiograph
from radiographs.dicom.deidentify import KEY_NAME, is_code, uid_key

Write = Callable[..., Path]
LEVELS = np.linspace(0, 4095, 63).astype(np.uint16).reshape(7, 9)
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
IDS = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "SOPInstanceUID": "2.25.3"}


def derive(source: Path, key: str = "", keep: bool = False) -> Dataset:
    image = read_radiograph(source)
    path = source.with_suffix(".out.dcm")
    write_radiograph(path, image.pixels, image.bits, source=image, keep_identity=keep, uid_key=key)
    return dcmread(path)


def test_a_study_stays_a_study_and_cannot_be_traced(write_dicom: Write) -> None:
    one = derive(write_dicom("1.dcm", LEVELS, **IDS), "key")
    two = derive(write_dicom("2.dcm", LEVELS[::-1].copy(), **{**IDS, "SOPInstanceUID": "2.25.4"}), "key")
    other = derive(write_dicom("3.dcm", LEVELS, **{**IDS, "StudyInstanceUID": "2.25.9", "SeriesInstanceUID": "2.25.8"}))
    assert one.StudyInstanceUID == two.StudyInstanceUID != other.StudyInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    again, elsewhere = (
        derive(Path(write_dicom("1.dcm", LEVELS, **IDS)), "key"),
        derive(write_dicom("4.dcm", LEVELS, **IDS)),
    )
    for uid in UIDS:
        assert again[uid].value == one[uid].value != elsewhere[uid].value  # under another key it is another
    reference = one.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert reference == again.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert not [uid for uid in IDS.values() if f"{uid}\0" in str(one) or uid == reference]


def test_what_is_claimed(write_dicom: Write) -> None:
    plain = derive(write_dicom("1.dcm", LEVELS))
    assert plain.PatientIdentityRemoved == "YES" and plain.LongitudinalTemporalInformationModified == "REMOVED"
    assert plain.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    for value in ("YES", "yes"):
        burned = derive(write_dicom("2.dcm", LEVELS, BurnedInAnnotation=value))
        assert burned.PatientIdentityRemoved == "NO" and burned.PatientName == "" and burned.PatientID == ""
        assert "DeidentificationMethod" not in burned
    source = write_dicom("3.dcm", LEVELS, BurnedInAnnotation="YES", PatientIdentityRemoved="YES")
    assert derive(source, keep=True).PatientIdentityRemoved == "NO"
    assert "names may stand in the pixels" in " ".join(read_radiograph(source).warnings)
    assert not read_radiograph(write_dicom("4.dcm", LEVELS, BurnedInAnnotation="NO")).warnings


@pytest.mark.parametrize("keep", [False, True])
def test_free_text_is_dropped(write_dicom: Write, keep: bool) -> None:
    text = {
        name: "Jane Doe of Elm Street"
        for name in ("ImageComments", "SeriesDescription", "ProtocolName", "DerivationDescription", "PatientComments")
    }
    source = write_dicom("1.dcm", LEVELS, BodyPartExamined="CHEST", ViewPosition="Jane Doe", **text)
    derived = derive(source, keep=keep)
    assert derived.BodyPartExamined == "CHEST" and "Elm Street" not in str(derived)
    assert "ViewPosition" not in derived  # a code string that is no code


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    keys = {uid_key(tmp_path / "out") for _ in range(3)}
    assert len(keys) == 1 and len(keys.pop()) == 64
    assert uid_key(tmp_path / "other") != uid_key(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [KEY_NAME]
    assert stat.S_IMODE((tmp_path / "out" / KEY_NAME).stat().st_mode) == 0o600
    (tmp_path / "out" / KEY_NAME).write_text("")
    with pytest.raises(ValueError, match="no key of this program"):
        uid_key(tmp_path / "out")


def test_a_code_string_is_one_line_of_capitals() -> None:
    dataset = Dataset()
    for value, kept in (
        ("AP", True),
        ("LEFT_LATERAL 2", True),
        ("Mrs Miller", False),
        ("AP\n", False),
        ("A" * 17, False),
    ):
        dataset.add_new("ViewPosition", "CS", value)
        assert is_code(dataset["ViewPosition"]) == kept

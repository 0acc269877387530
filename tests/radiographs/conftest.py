"""DICOM files as devices write them, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


@pytest.fixture
def write_dicom(tmp_path: Path) -> Callable[..., Path]:
    """write_dicom(name, levels, bits=12, **attributes): a digital radiograph in tmp_path; levels uint16 or int16."""

    def write(name: str, levels: np.ndarray, bits: int = 12, **attributes: Any) -> Path:
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.Modality, dataset.PatientName, dataset.PatientID = "DX", "Doe^Jane", "ID-4711"
        dataset.Rows, dataset.Columns = levels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = levels.itemsize * 8, bits, bits - 1
        dataset.PixelRepresentation = int(levels.dtype.kind == "i")
        dataset.add_new("PixelData", "OW", levels.tobytes())
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return write

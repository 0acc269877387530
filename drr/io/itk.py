"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files, by SimpleITK; what it would fill in is looked up first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from drr.io.stored import FILLED_IN, Stored, affine_fault, is_filled_in

HEADER_BYTES = 1 << 16
NO_SPACING = "the header gives no voxel spacing"
NO_ORIENTATION = "the header gives no orientation: its axes were taken to run to the patient's left, back and head"
MM = {"mm", "millimeter", "millimeters", "millimetre", "millimetres", ""}


def read_itk(path: Path) -> Stored:
    """A MetaImage or NRRD file as it is stored.

    Args:
        path: .mha, .mhd, .nrrd or .nhdr.

    Returns:
        Voxels and geometry.

    Raises:
        ValueError: Unreadable, not 3-D, several channels, or of another modality than CT.
    """
    image = _execute(path)
    if image.GetDimension() != 3 or min(image.GetSize()) < 2 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path}: an image of size {image.GetSize()}; a 3-D CT of one channel is needed")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    fields = _fields(path)
    of_kind = _nrrd if path.suffix.lower() in (".nrrd", ".nhdr") else _metaimage
    fault, scale, notes = of_kind(fields, path)
    fault = fault or affine_fault(affine) or (FILLED_IN if is_filled_in(affine) else "")
    import SimpleITK as sitk

    return Stored(sitk.GetArrayFromImage(image), affine, scale, fault, notes)


def _execute(path: Path) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        return reader.Execute()
    except (RuntimeError, MemoryError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{path}: cannot be read ({lines[-1] if lines else type(error).__name__})") from None


def _fields(path: Path) -> dict[str, str]:
    """{name in lower case: value} of the text that both formats begin with."""
    with path.open("rb") as stream:
        text = stream.read(HEADER_BYTES)
    if text.startswith(b"NRRD"):
        text = re.split(rb"\r?\n\r?\n", text, maxsplit=1)[0]
    fields: dict[str, str] = {}
    divider = ":" if text.startswith(b"NRRD") else "="
    for line in text.decode("latin-1").split("\n"):
        name, divided, value = line.partition(divider)
        if divided:
            fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":  # the voxels may follow
            break
    return fields


def _nrrd(fields: dict[str, str], path: Path) -> tuple[str, tuple[float, float], tuple[str, ...]]:
    """(fault, scale, notes) of a NRRD's header."""
    said = fields.get("space directions", fields.get("spacings", ""))
    if not said or "nan" in said.lower() or "none" in said.lower():
        return NO_SPACING, (1.0, 0.0), ()
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", ""))))
    if wrong := sorted(unit for unit in units if unit.strip().lower() not in MM):
        return f"the header gives the spacing in {', '.join(wrong)} instead of mm", (1.0, 0.0), ()
    return "", (1.0, 0.0), () if "space" in fields and "space directions" in fields else (NO_ORIENTATION,)


def _metaimage(fields: dict[str, str], path: Path) -> tuple[str, tuple[float, float], tuple[str, ...]]:
    """(fault, scale, notes) of a MetaImage's header; SimpleITK does not apply its slope and offset of intensity."""
    modality = fields.get("modality", "").upper()
    if modality.startswith("MET_MOD_") and modality not in ("MET_MOD_CT", "MET_MOD_OTHER", "MET_MOD_UNKNOWN"):
        raise ValueError(f"{path}: its header says {modality}; a CT is needed")
    slope, offset = (fields.get(f"elementtointensityfunction{part}") for part in ("slope", "offset"))
    scale = (float(slope or 1), float(offset or 0))
    if "elementspacing" not in fields and "elementsize" not in fields:
        return NO_SPACING, scale, ()
    turned = {"transformmatrix", "rotation", "orientation"} & fields.keys()
    return "", scale, () if turned else (NO_ORIENTATION,)

"""De-identification of derived DICOM images by PS3.15, Basic Profile; docs/deidentification.md says what and why."""

from __future__ import annotations

import os
import re
import secrets
import uuid
from pathlib import Path
from typing import Any

from radiographs.files import PART

KEY_NAME = "deidentification.key"
BASIC_PROFILE = ("113100", "DCM", "Basic Application Confidentiality Profile")
CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")


def uid_key(folder: str | Path) -> str:
    """The secret of a batch: made by whoever asks first, the same for every worker and resume.

    It lies in folder/deidentification.key, readable by its owner alone. Who has it and the source's UIDs can tell
    which study became which; delete it before the folder is passed on.

    Args:
        folder: That the batch writes to.

    Returns:
        The secret.

    Raises:
        ValueError: The file is there but holds no key.
    """
    path = Path(folder) / KEY_NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{PART}{uuid.uuid4().hex[:12]}-{KEY_NAME}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(part, path)  # fails where another worker was first: theirs counts, and it is whole
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    key = path.read_text().strip()
    if len(key) < 32:
        raise ValueError(f"{path}: no key of this program; move it away, or choose another output folder")
    return key


def key_for(folder: str | Path, header: Any, keep_identity: bool) -> str:
    """`uid_key` if a DICOM source's identity is to go.

    Args:
        folder: That the batch writes to.
        header: Of the source; None for what is no DICOM.
        keep_identity: Whether it stays.

    Returns:
        The secret; "" if nothing is replaced, so that no key is made.
    """
    return "" if header is None or keep_identity else uid_key(folder)


def new_uid(key: str, *parts: str) -> str:
    """The UID that stands for something under a key: always the same one.

    Args:
        key: Of the batch.
        *parts: A role and a UID of the source.

    Returns:
        A UID.
    """
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[key, *parts]))


def is_burned_in(header: Any) -> bool:
    """Whether Burned In Annotation says that the pixels show something of the patient: anything but NO and nothing.

    Args:
        header: A pydicom Dataset.

    Returns:
        True also for a word that the standard does not know, since it may mean yes.
    """
    return str(header.get("BurnedInAnnotation") or "NO").strip().upper() != "NO"


def mark_identity_removed(derived: Any) -> None:
    """Say in `derived` that its attributes and, as far as its source knows, its pixels name nobody.

    Patient Identity Removed is about attributes and pixels (PS3.3 C.7.1.1), so it is NO beside burned-in annotation.

    Args:
        derived: A pydicom Dataset whose identifying attributes are gone already; it is changed in place.
    """
    from pydicom import Dataset

    derived.PatientIdentityRemoved = "NO" if is_burned_in(derived) else "YES"
    if derived.PatientIdentityRemoved == "NO":
        return
    derived.DeidentificationMethod = "Radiolucent: only technical attributes kept"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = BASIC_PROFILE
    derived.DeidentificationMethodCodeSequence = [code]
    derived.LongitudinalTemporalInformationModified = "REMOVED"


def is_code(element: Any) -> bool:
    """Whether an element of a code string (CS) holds codes, and no free text that somebody wrote there.

    Args:
        element: A pydicom DataElement.

    Returns:
        True also for an empty element and for one of another kind than CS.
    """
    if element.VR != "CS" or element.is_empty:
        return True
    values = [element.value] if isinstance(element.value, str) else list(element.value)
    return all(CODE_STRING.fullmatch(str(value)) for value in values)

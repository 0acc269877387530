"""What other libraries raise for bad input, wrong settings or a machine that cannot do what was asked, as one line.

Our own refusals are ValueError and OSError. Anything else is a bug and keeps its traceback, but for what is listed.
"""

from __future__ import annotations

import re
from types import TracebackType

# Libraries that read files or check settings: an exception of a class of their own is about what they were given.
READERS = {
    "_csv": "a table",
    "binascii": "a damaged file",
    "gzip": "a damaged gzip file",
    "lightning": "the training's settings",
    "lightning_fabric": "the training's settings",
    "nibabel": "a NIfTI file",
    "pyarrow": "a Parquet file",
    "pydicom": "a DICOM file",
    "safetensors": "a file of weights",
    "safetensors_rust": "a file of weights",
    "tarfile": "an archive",
    "xml": "an XML file",
    "yaml": "a YAML file",
    "zipfile": "an archive, or a checkpoint",
    "zlib": "a damaged compressed file",
    "pickle": "a checkpoint, or another pickled file",
    "_pickle": "a checkpoint, or another pickled file",
}
WORKER = re.compile(r"^Caught (\w+) in \w+ worker process \d+\.\s*Original Traceback", re.DOTALL)
LONGEST = 600  # characters of a message


def refusal(error: BaseException) -> str | None:
    """The line to print for an exception; None for a bug.

    Args:
        error: What a command raised.

    Returns:
        One line that says what is wrong, for ValueError, OSError and what other libraries raise for bad input.
    """
    text = one_line(error)
    if isinstance(error, (ValueError, OSError)):
        return text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"the memory is not enough ({text}): take a smaller batch or size, or fewer workers"
    for kind in type(error).__mro__:
        room = kind.__module__.partition(".")[0]
        if room in READERS:
            return f"{READERS[room]}: {text}"
    return _runtime(error, text) if isinstance(error, (RuntimeError, ImportError)) else None


def one_line(error: BaseException) -> str:
    """An exception's message on one line; of one that a data worker passed on, the worker's message alone.

    Args:
        error: Any; one without a message gives the name of its class.

    Returns:
        At most LONGEST characters, and then "...".
    """
    text = str(error)
    passed_on = WORKER.match(text)
    if passed_on:
        text = re.split(rf"\n(?:\w+\.)*{passed_on[1]}: ", text)[-1]
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _runtime(error: RuntimeError | ImportError, text: str) -> str | None:
    """RuntimeErrors that are about the input: torch and Lightning have no class for them."""
    if "DataLoader worker" in text and ("exited unexpectedly" in text or "killed by signal" in text):
        return f"a data process died (out of memory?): take fewer workers ({text})"
    if "PytorchStreamReader" in text or "Error(s) in loading state_dict" in text:
        return f"the checkpoint is damaged, or is of another model than the config's: {text}"
    if "Exception thrown in SimpleITK" in text or "Exception thrown in the SimpleITK" in text:
        return text
    by_lightning = _module(error.__traceback__).partition(".")[0] in ("lightning", "lightning_fabric")
    return f"{READERS['lightning']}: {text}" if by_lightning else None


def _module(traceback: TracebackType | None) -> str:
    """The module in which an exception was raised."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__", ""))

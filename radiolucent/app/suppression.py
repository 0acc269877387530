"""Suppression for the page: the network runs once, and every strength, window and download is made of its answer."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs import FORMATS, resize, write_radiograph
from radiographs.dicom.deidentify import key_for
from radiographs.for_suppression import POLARITIES
from radiographs.kinds import output_name
from radiolucent.app.limits import Limits
from radiolucent.app.packing import pack
from radiolucent.app.store import Entry
from radiolucent.app.uploads import check_radiograph
from radiolucent.suppression.compose import take_away
from radiolucent.suppression.input_check import read_checked

if TYPE_CHECKING:
    from radiographs import Radiograph
    from radiolucent.suppression.self_test import SelfTest
    from radiolucent.suppression.suppressor import Suppressor

SHOWN_SIDE = 1024  # longest side of what the browser gets, in pixels
STRENGTH = (0.0, 1.0)
SAMPLES = 16
KINDS = {"png": ".png", "dicom": ".dcm"}


class Suppression:
    """What the Suppress tab does, with one model for all visitors.

    Args:
        suppressor: The model; its strength is left as it is.
        limits: Of what is read.
        keys: The folder of the secret by which DICOM results' UIDs are replaced, until the server ends.
    """

    def __init__(self, suppressor: Suppressor, limits: Limits, keys: Path) -> None:
        import torch

        self.suppressor, self.limits, self.keys = suppressor, limits, keys
        self.threads = torch.get_num_threads()
        self._model = threading.Lock()  # one network at a time, whatever the queue lets through

    def read(self, entry: Entry, path: Path, polarity: str = "auto") -> Radiograph:
        """The radiograph that was sent, bones bright; what is odd about it goes into the entry.

        Args:
            entry: Of the visitor; whether the image is a negative, the warnings and the result's name are put into
                `kept`.
            path: Its file.
            polarity: One of POLARITIES.

        Returns:
            Pixels float32 (H, W) in [-1, 1], with the file's depth and header.

        Raises:
            ValueError: It is none, or too large.
        """
        check_radiograph(path, entry.name, self.limits)
        if polarity not in POLARITIES:
            raise ValueError(f"polarity {polarity[:40]!r}: choose one of {', '.join(POLARITIES)}")
        source, notes = read_checked(path, polarity)
        entry.kept["inverted"] = bool(notes.get("inverted"))
        entry.kept["warnings"] = tuple(notes.get("warnings", ()))
        entry.kept["written"] = output_name(path, entry.name)
        return source

    def run(self, entry: Entry, source: Radiograph, samples: int = 1) -> None:
        """Find the bone, and keep it with the radiograph in the entry's folder.

        Args:
            entry: Where it is kept.
            source: As `read` gives it.
            samples: Answers that are averaged; with more than one, how far they differ is kept too.

        Raises:
            ValueError: No samples, or more than SAMPLES.
        """
        if not 1 <= samples <= SAMPLES:
            raise ValueError(f"{samples} answers: 1 to {SAMPLES} are averaged here")
        suppressor = copy.copy(self.suppressor)
        suppressor.seeds = range(suppressor.seeds[0], suppressor.seeds[0] + samples)
        with self._turn():
            bone, spread, own = suppressor.find_bone(source.pixels)
        np.save(entry.folder / "pixels.npy", source.pixels)
        np.save(entry.folder / "bone.npy", bone)
        (entry.folder / "spread.npy").unlink(missing_ok=True)
        if samples > 1:
            np.save(entry.folder / "spread.npy", spread)
        empty = np.empty((0, 0), np.float32)
        entry.kept |= {"source": replace(source, pixels=empty), "own": own, "suppressor": suppressor}

    def layers(self, entry: Entry) -> bytes:
        """Radiograph, bone and, if known, their uncertainty for the browser, in at most SHOWN_SIDE pixels.

        The header says how strongly the image itself asks for suppression (`own`); the bone is to be multiplied by it.

        Args:
            entry: In which something was suppressed.

        Returns:
            As `pack`; a negative is shown as it came.
        """
        pixels, bone = _load(entry, "pixels"), _load(entry, "bone")
        sign = np.float32(-1 if entry.kept["inverted"] else 1)  # a negative is shown as it came
        spread = np.load(entry.folder / "spread.npy") if (entry.folder / "spread.npy").exists() else None
        shape = _shown_shape(pixels.shape)
        arrays = [sign * resize(pixels, shape), sign * resize(bone, shape)]
        if spread is not None:
            arrays.append(resize(spread, shape))
        about = {"own": entry.kept["own"], "spread": spread is not None, "size": list(pixels.shape)}
        return pack(arrays, about)

    def download(self, entry: Entry, strength: float, kind: str = "") -> tuple[str, bytes]:
        """The result as a file: what `radiolucent suppress` writes for the same image and settings.

        Args:
            entry: In which something was suppressed.
            strength: From 0 to 1.
            kind: "png" or "dicom"; "" for the format that was sent (PNG for JPEG).

        Returns:
            Its name and its bytes.

        Raises:
            ValueError: Another strength or kind.
        """
        if not STRENGTH[0] <= strength <= STRENGTH[1]:
            raise ValueError(f"strength is {strength:g}: it lies between {STRENGTH[0]:g} and {STRENGTH[1]:g}")
        if kind and kind not in KINDS:
            raise ValueError(f"a download of kind {kind[:20]!r}: give {' or '.join(KINDS)}, or none")
        source, suppressor = entry.kept["source"], entry.kept["suppressor"]
        name = str(entry.kept["written"])
        suffix = KINDS.get(kind, Path(name).suffix)
        soft = self.soft(entry, strength)
        if entry.kept["inverted"]:
            soft = -soft  # a negative gets a negative back
        path = entry.folder / f"result{suffix}"
        key = key_for(self.keys, source.header, False)
        note = suppressor.description(strength * entry.kept["own"])
        write_radiograph(path, soft, source.bits, source=source, description=note, uid_key=key)
        content = path.read_bytes()
        path.unlink()
        return (name if FORMATS.get(suffix) == FORMATS.get(Path(name).suffix) else f"{name}{suffix}"), content

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The network for one visitor, in as many threads as the command has.

        Float sums depend on their number, and every thread of a server has its own.
        """
        import torch

        with self._model:
            torch.set_num_threads(self.threads)
            yield

    def soft(self, entry: Entry, strength: float) -> np.ndarray:
        """The radiograph float32 (H, W), bones bright, without `strength` of its bone.

        Args:
            entry: In which something was suppressed.
            strength: From 0 to 1; it is multiplied by what the image itself asks for.

        Returns:
            In [-1, 1], at the radiograph's own size.
        """
        return take_away(_load(entry, "pixels"), _load(entry, "bone"), strength * entry.kept["own"])

    def self_test(self, entry: Entry, strength: float) -> SelfTest:
        """Nodules of known size put into this image, and what of them would survive at this strength.

        Args:
            entry: In which something was suppressed.
            strength: Above 0 and at most 1.

        Returns:
            The test; a pixel's side comes from the header, or is guessed from the lungs.

        Raises:
            ValueError: A strength at which nothing is taken away, or no lungs were found to put them in.
        """
        from radiographs.spacing import pixel_mm
        from radiolucent.suppression.self_test import self_test

        if not STRENGTH[0] < strength <= STRENGTH[1]:
            raise ValueError(f"strength is {strength:g}: nothing is taken away, so nothing can be lost")
        pixels = _load(entry, "pixels")
        suppressor = copy.copy(entry.kept["suppressor"])
        suppressor.strength = strength
        mm = pixel_mm(replace(entry.kept["source"], pixels=pixels))
        with self._turn():
            plain = self.soft(entry, strength)
            return self_test(lambda seen: suppressor.suppress(seen).soft, pixels, mm, plain=plain)


def _load(entry: Entry, name: str) -> Any:
    try:
        return np.load(entry.folder / f"{name}.npy")
    except FileNotFoundError:
        raise ValueError("nothing was suppressed here yet") from None


def _shown_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, SHOWN_SIDE / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))

"""One radiograph's file to the files of its result, in stages that a batch overlaps: `radiolucent suppress`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from radiographs import Radiograph
    from radiolucent.suppression.suppressor import Suppressed, Suppressor

STRIPS = "strips"
STRIP_SIZE = 512  # longest side of each picture in a strip, in pixels
Payload = tuple[str, str, "str | None"]  # path, name of the result, lung mask
Options = tuple[tuple[str, Any], ...]


@functools.lru_cache(maxsize=1)
def load_suppressor(*options: tuple[str, Any]) -> Suppressor:
    """The Suppressor of these options, loaded once in each process.

    Args:
        options: Suppressor's keyword arguments as (name, value) pairs, since a cache's key must be hashable.

    Returns:
        The same object for equal options, as long as no others were asked for in between.
    """
    from radiolucent.suppression.suppressor import Suppressor

    return Suppressor(**dict(options))


@dataclass(frozen=True)
class Read:
    """A radiograph's file that was read.

    Attributes:
        name: Of the result.
        source: As read_checked gives it.
        notes: As read_checked gives them.
        lungs: bool (size, size), or None.
    """

    name: str
    source: Radiograph
    notes: dict[str, Any]
    lungs: np.ndarray | None


@dataclass(frozen=True)
class SuppressFiles:
    """The work on one radiograph: (path, name of the result, lung mask) to files in `out` and a manifest's record.

    Args:
        out: The folder.
        model: Options of Suppressor, as pairs, so that another process can load it.
        strip: As the command's.
        keep_identity: As the command's.
        polarity: As the command's.
        self_test: As the command's.
        batch: Radiographs that the network sees together.
    """

    out: str
    model: Options
    strip: bool
    keep_identity: bool
    polarity: str
    self_test: bool = False
    batch: int = 1

    def __call__(self, payload: Payload) -> dict[str, Any]:
        """All of it, for one."""
        read = self.reading(payload)
        return self.writing(read, self.answering([read])[0])

    def reading(self, payload: Payload) -> Read:
        """Read a radiograph, and its lungs if they were given.

        Args:
            payload: (path of the radiograph, name of the result relative to `out`, path of a lung mask or None).

        Returns:
            The radiograph with bones bright; its lungs are None unless a mask was given.

        Raises:
            OSError: A file cannot be read.
            ValueError: It holds no single grey image, or the mask does not fit it.
        """
        from radiolucent.suppression.input_check import read_checked

        path, name, mask = payload
        source, notes = read_checked(path, self.polarity)
        if mask is None:
            return Read(name, source, notes, None)
        from radiographs.lungs import read_lungs

        return Read(name, source, notes, read_lungs(mask, source.pixels, load_suppressor(*self.model).size))

    def answering(self, read: Sequence[Read]) -> list[Suppressed]:
        """Suppress radiographs that were read.

        Args:
            read: What `reading` returned, up to `batch` of them; they go through the network together.

        Returns:
            One result each, in the same order, in [-1, 1] with bones bright even where the file was a negative.
        """
        from radiolucent.suppression.together import suppress_together

        suppressor = load_suppressor(*self.model)
        return suppress_together(suppressor, [each.source.pixels for each in read], [each.lungs for each in read])

    def writing(self, read: Read, result: Suppressed) -> dict[str, Any]:
        """Write one result's files.

        Args:
            read: What `reading` returned.
            result: What `answering` returned for it.

        Returns:
            The record for the manifest: `outputs` (paths relative to `out`), `strength`, what was noted when the file
            was read (such as `warnings`), and with `self_test` its figures.
        """
        from radiographs import write_radiograph
        from radiographs.dicom.deidentify import key_for

        suppressor = load_suppressor(*self.model)
        source, notes, soft, samples = read.source, read.notes, result.soft, len(suppressor.seeds)
        note = suppressor.description(result.strength)
        outputs = output_names(read.name, samples, self.strip)
        shown = -soft if notes.get("inverted") else soft  # a negative gets a negative back
        key, path = key_for(self.out, source.header, self.keep_identity), Path(self.out) / read.name
        keep = self.keep_identity
        write_radiograph(path, shown, source.bits, source=source, description=note, keep_identity=keep, uid_key=key)
        if result.uncertainty is not None:
            scale = "Standard deviation of the samples: 65535 is 1, half of the grey range"
            write_radiograph(Path(self.out) / outputs[1], 2 * result.uncertainty - 1, 16, description=scale)
        if self.strip:
            draw_strip(Path(self.out) / outputs[-1], source, soft)
        record = {"outputs": outputs, "strength": round(result.strength, 3), **notes}
        return self._tested(read, soft, record) if self.self_test else record

    def _tested(self, read: Read, soft: np.ndarray, record: dict[str, Any]) -> dict[str, Any]:
        """The self-test's files and record beside the others."""
        from radiolucent.suppression.self_test import write_self_test

        suppressor = load_suppressor(*self.model)
        tested = write_self_test(
            self.out, read.name, read.source, lambda seen: suppressor.suppress(seen, read.lungs).soft, soft
        )
        joined: dict[str, Any] = {
            name: [*record.get(name, []), *tested[name]] for name in ("outputs", "warnings") if name in tested
        }
        return {**record, **tested, **joined}


class SuppressFilesInStages(SuppressFiles):
    """The same, whose stages overlap (radiolucent.batch.staged); not with a self-test, which asks the network anew."""

    def read(self, payload: Payload) -> Read:
        """Read a radiograph, in a thread of its own.

        Args:
            payload: As of `reading`.

        Returns:
            As `reading`.
        """
        return self.reading(payload)

    def answer(self, read: Sequence[Read]) -> list[tuple[Read, Suppressed]]:
        """Suppress radiographs in the thread that called the batch, where the network is.

        Args:
            read: As of `answering`.

        Returns:
            What was read with its result, a pair each, in the same order.
        """
        return list(zip(read, self.answering(read)))

    def write(self, answered: tuple[Read, Suppressed]) -> dict[str, Any]:
        """Write one result's files, in a thread of its own.

        Args:
            answered: One pair that `answer` returned.

        Returns:
            The record for the manifest, as `writing`.
        """
        return self.writing(*answered)


def output_names(name: str, samples: int, strip: bool, self_test: bool = False) -> list[str]:
    """The files of one radiograph, relative to the folder: the result, its standard deviation, its strip, ...

    Args:
        name: Of the result.
        samples: Answers that are averaged.
        strip: Whether a strip is drawn.
        self_test: Whether nodules are tested.

    Returns:
        Paths with forward slashes: `name` first, then the PNGs NAME_std.png and strips/NAME.png, and the self-test's
        two.
    """
    names = [name]
    if samples > 1:
        names.append(Path(name).with_suffix("").as_posix() + "_std.png")
    if strip:
        names.append(f"{STRIPS}/{Path(name).with_suffix('.png').as_posix()}")
    if self_test:
        from radiolucent.suppression.self_test import self_test_names

        names += self_test_names(name)
    return names


def draw_strip(path: Path, source: Radiograph, soft: np.ndarray) -> None:
    """Before, after and what was taken away (black: nothing; white: half of the grey range), side by side.

    Args:
        path: The PNG.
        source: The radiograph.
        soft: (H, W) in [-1, 1].
    """
    from evaluation.reporting.montage import montage, to_grey
    from radiographs import atomic_path, resize

    height, width = soft.shape
    scale = min(1.0, STRIP_SIZE / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    before, after = resize(source.pixels, shape), resize(soft, shape)
    row = [to_grey(before), to_grey(after), to_grey(before - after, 0.0, 1.0)]
    with atomic_path(path) as part:
        montage([row], ["radiograph", "bones suppressed", "taken away, 2x contrast"], part)

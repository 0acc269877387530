"""What the page takes and holds at most, and how it says what it refuses."""

from __future__ import annotations

import html
import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from radiolucent.refusals import one_line, refusal

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Sizes are in bytes, times in seconds.

    Attributes:
        upload: One file that a visitor sends.
        radiograph, pixels: A radiograph's file, and its pixels, 64 million of which no detector has.
        voxels: Of a CT; as int16 they take twice as many bytes.
        slices: Files in a zipped series.
        images, images_bytes: Files, and bytes of them, that one judgement takes.
        ct_bytes: Memory of all CTs that visitors sent; the one that was used least recently goes first.
        entries, disk: Visitors' images held at once, and the disk they take; the oldest go first.
        age: After which what was not looked at is deleted.
        uploaded: After which what was sent is deleted; what was made of it stays for `age`.
        waiting: Requests in the queue; whoever comes later is told so.
        sockets: Rotating CTs at once.
        drawn: Images in one grid.
        prompt: Its letters.
        steps: Of sampling.
    """

    upload: int = 1024 * MIB
    radiograph: int = 128 * MIB
    pixels: int = 64_000_000
    voxels: int = 320_000_000
    slices: int = 3000
    images: int = 600
    images_bytes: int = 2048 * MIB
    ct_bytes: int = 3072 * MIB
    entries: int = 48
    disk: int = 8192 * MIB
    age: float = 1800.0
    uploaded: float = 900.0
    waiting: int = 24
    sockets: int = 24
    drawn: int = 9
    prompt: int = 2000
    steps: int = 200


def line_about(error: BaseException, folder: Path | None = None, name: str = "") -> str:
    """The one line that a visitor gets for an error; a bug's traceback goes to the server's terminal.

    Args:
        error: Of reading or working on what was sent.
        folder: The visitor's folder on the server, which the line must not show.
        name: How the visitor calls the file.

    Returns:
        The line, without any path of the server.
    """
    line = refusal(error)
    if line is None:
        traceback.print_exception(error)
        return f"this page has a fault ({type(error).__name__}): the terminal of `radiolucent app` says more"
    if os.environ.get("RADIOLUCENT_DEBUG"):
        traceback.print_exception(error)
    if folder is not None:
        for hidden in {str(folder), str(folder.resolve())}:
            line = line.replace(f"{hidden}/{INPUT}", name or "the file").replace(f"{hidden}/", "")
            line = line.replace(hidden, name or "what was sent")
    return line


INPUT = "input"  # name of a visitor's file in their folder; its own name opens nothing


def status(text: str) -> str:
    """A sentence for a visitor, as HTML; whatever a file's name or header holds is shown as text.

    Args:
        text: Plain text.

    Returns:
        A paragraph that screen readers announce.
    """
    return f'<p class="rl-status" role="status">{html.escape(text)}</p>'


def problem(text: str) -> str:
    """A refusal, as HTML: one line.

    Args:
        text: Plain text; its line breaks become spaces.

    Returns:
        A paragraph that screen readers announce at once.
    """
    return f'<p class="rl-status rl-problem" role="alert">{html.escape(" ".join(text.split()))}</p>'


def refused(error: BaseException, folder: Path | None = None, name: str = "") -> str:
    """`line_about` as HTML.

    Args:
        error: As of `line_about`.
        folder: As of `line_about`.
        name: As of `line_about`.

    Returns:
        As `problem`.
    """
    return problem(line_about(error, folder, name))


__all__ = ["INPUT", "MIB", "Limits", "line_about", "one_line", "problem", "refused", "status"]

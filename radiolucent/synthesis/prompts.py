"""The CSV of prompts: one row, one image. What a row asks for is checked here, before any model is loaded."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from radiographs.regions import Region, format_regions, parse_masks, parse_regions
from radiographs.tables import read_cells
from radiolucent.synthesis.columns import LABEL_COLUMNS, NAME_COLUMNS, PROMPT_COLUMNS, check_columns

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")
LONGEST_NAME = 200  # bytes of one part of a path, so that a temporary name fits into 255
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Row:
    """What is asked for.

    Attributes:
        name: Of the image, a relative path that ends in .png.
        prompt: Its text.
        view: One that the model knows, or None.
        seed: Of its noise.
        labels: (name, 1 present, 0 absent or -1 uncertain) as they were given; they do not change the image.
        regions: Where findings shall be (`radiographs.regions`).
        prior: File of the patient's earlier radiograph, which the image shall follow, and its view; None: none.
    """

    name: str
    prompt: str
    view: str | None
    seed: int
    labels: tuple[tuple[str, int], ...] = ()
    regions: tuple[Region, ...] = ()
    prior: tuple[Path, str | None] | None = None

    @property
    def digest(self) -> str:
        """Of all that the image depends on in this row."""
        asked: list[object] = [self.name, self.prompt, self.view, self.seed]
        if self.regions:
            asked += [format_regions(self.regions), [one.mask and _content(one.mask) for one in self.regions]]
        if self.prior:
            asked += [_content(self.prior[0]), self.prior[1]]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def read_prompts(
    path: str | Path, seed: int = 0, views: Collection[str] = (), classes: Collection[str] = ()
) -> tuple[list[Row], dict[str, str]]:
    """The rows that can be drawn.

    A prompt in `annotated_prompt` or `prompt`; optional columns: the image's name (`img_savename`, `filename`, `image`
    or `name`), `view` (one of `views`), `seed`, where findings shall be as `boxes` or `masks` (`radiographs.regions`;
    a mask's file is relative to the table), the earlier radiograph that the image shall follow as `prior`, likewise a
    file, and `prior_view`, and labels: a dict in `labels_dict`, `chexpert_labels` or `labels`, or
    columns named as in `classes`. A row without a name is named after what it holds, and one without a seed gets it
    from its name and `seed` by a hash: neither depends on the rows around it. Other columns are named on stderr and not
    read.

    Args:
        path: The table.
        seed: For rows without a seed.
        views: Those that the model knows.
        classes: Columns that are labels.

    Returns:
        The rows, and {line: reason} of those that cannot be drawn.

    Raises:
        FileNotFoundError: No such table.
        ValueError: No prompt column, a misspelt one (`radiolucent.synthesis.columns`), no rows, a damaged file, names
            that occur twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such CSV of prompts")
    columns, cells = _read_cells(path)
    check_columns(path, columns, classes)
    prompt_column = next((name for name in PROMPT_COLUMNS if name in columns), None)
    if prompt_column is None:
        raise ValueError(
            f"{path}: no column {' or '.join(PROMPT_COLUMNS)}; its columns are {', '.join(columns) or 'none'}"
        )
    if not cells:
        raise ValueError(f"{path}: no rows")
    name_column = next((name for name in NAME_COLUMNS if name in columns), None)
    label_column = next((name for name in LABEL_COLUMNS if name in columns), None)
    rows: list[Row] = []
    bad: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for line, values in cells.items():
        try:
            if len(values) != len(columns):
                raise ValueError(f"{len(values)} cells where the header has {len(columns)}")
            row = dict(zip(columns, values))
            if label_column is None:
                labels = checked_labels({name: row[name] for name in classes if row.get(name)})
            else:
                labels = parse_labels(row[label_column])
            prompt = _checked_prompt(row[prompt_column])
            view = _checked_view(row.get("view", ""), views)
            name = _named_after(row, seen) if name_column is None else checked_name(row[name_column])
            number = _checked_seed(row.get("seed", ""), name, seed)
            regions = (
                *parse_regions(row.get("boxes", "")),
                *parse_masks(row.get("masks", ""), path.parent, square=True),
            )
            prior = _checked_prior(row.get("prior", ""), row.get("prior_view", ""), path.parent, views)
            rows.append(Row(name, prompt, view, number, labels, regions, prior))
        except ValueError as error:
            bad[f"{path.name} line {line}"] = str(error)
    twice = [name for name, count in Counter(row.name.casefold() for row in rows).items() if count > 1]
    if twice:
        listed = ", ".join(sorted(twice)[:5]) + (f" and {len(twice) - 5} more" if len(twice) > 5 else "")
        raise ValueError(f"{path}: names of images that occur more than once: {listed}; give each row its own")
    return rows, bad


def _read_cells(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """The header and {line at which a row begins: cells}; rows without any cell are left out."""
    lines = read_cells(path)
    _, columns = next(lines)
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise ValueError(f"{path}: the column {twice[0]} is there more than once; keep one, or rename the other")
    return columns, dict(lines)


def _checked_prompt(text: str) -> str:
    if not text.strip():
        raise ValueError("the prompt is empty")
    return text.strip()


def _checked_view(text: str, views: Collection[str]) -> str | None:
    if not text.strip():
        return None
    if text.strip() not in views:
        raise ValueError(
            f"the view is '{text.strip()}'; expected one of {', '.join(views)}, which this model knows, or nothing"
        )
    return text.strip()


def _checked_prior(text: str, view: str, folder: Path, views: Collection[str]) -> tuple[Path, str | None] | None:
    if not text.strip():
        return None
    path = folder / text.strip()
    if not path.is_file():
        raise ValueError(f"the prior {path} does not exist")
    return path, _checked_view(view, views)


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checked_seed(text: str, name: str, seed: int) -> int:
    if not text.strip():
        return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1
    try:
        given = int(text)
    except ValueError:
        given = -1
    if not 0 <= given <= LARGEST_SEED:
        raise ValueError(f"the seed is '{text.strip()}'; expected a whole number from 0 to {LARGEST_SEED}, or nothing")
    return given


def _named_after(row: Mapping[str, str], seen: Counter[str]) -> str:
    """A name from the row's content; equal rows are told apart by how many came before."""
    content = hashlib.sha256(json.dumps(dict(row), sort_keys=True).encode()).hexdigest()[:20]
    seen[content] += 1
    return f"{content}-{seen[content] - 1}.png" if seen[content] > 1 else f"{content}.png"


def checked_name(text: str) -> str:
    """Bring an image's name from a table into the form that the dataset uses.

    Args:
        text: A file's name, or a path with forward slashes; spaces at either end do not count.

    Returns:
        A relative path inside the folder with the suffix .png; another suffix of an image is replaced, any other kept
        before it.

    Raises:
        ValueError: It is empty or too long, would leave the folder, begins with a dot, or has control characters.
    """
    name = text.strip()
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name) or ".." in parts
    if not name or name.endswith("/") or outside or any(ord(letter) < 32 for letter in name):
        raise ValueError(f"the image's name is '{name[:80]}'; expected a file's name or a path inside the folder")
    if any(part.startswith(".") for part in parts):
        raise ValueError(f"the image's name is '{name[:80]}'; names that begin with a dot are for the program's use")
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise ValueError(f"the image's name '{name[:40]}...' is longer than {LONGEST_NAME} bytes")
    name = str(PurePosixPath(name))
    stem, dot, suffix = name.rpartition(".")
    return f"{stem if dot + suffix.lower() in IMAGE_SUFFIXES else name}.png"


def parse_labels(text: str) -> tuple[tuple[str, int], ...]:
    """{"Edema": 1, ...} as Python or JSON writes it; values as in `checked_labels`.

    Args:
        text: The cell; an empty one holds no labels. Nothing in it is run.

    Returns:
        (name, value) pairs as of `checked_labels`.

    Raises:
        ValueError: It is no dict, or a value is none of 1, 0, -1 and nothing.
    """
    try:
        found = ast.literal_eval(re.sub(r"\b(nan|NaN|null)\b", "None", text.strip())) if text.strip() else {}
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"the labels are '{text[:40]}'; expected a dict such as {{'Edema': 1, 'Pneumonia': 0}}")
    return checked_labels(found)


def checked_labels(found: Mapping[str, object]) -> tuple[tuple[str, int], ...]:
    """(name, 1, 0 or -1) in the given order; those without a value are left out.

    Args:
        found: {name: value}; numbers, their text, true and false, in any case; None, "" and NaN are no value.

    Returns:
        Pairs: 1 present, 0 absent, -1 uncertain.

    Raises:
        ValueError: Any other value.
    """
    known = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "-1": -1, "-1.0": -1}
    labels = []
    for name, value in found.items():
        text = "" if value is None else str(value).strip().lower()
        if text in ("", "nan", "none"):
            continue
        if text not in known:
            raise ValueError(f"the label {name} is '{text[:40]}'; expected 1, 0, -1 or nothing")
        labels.append((str(name), known[text]))
    return tuple(labels)

"""What shall be put into CTs, where, how severe and how often: the schema of findings.yaml.

```yaml
seed: 7                       # the same seed gives the same studies
studies: 20                   # of each CT (default 1)
body_mm: 6                    # each study is another body, bent by about so much; 0, the default, is the CT's own
field: chest                  # what the picture covers: the lungs with a margin (default), or the whole body
pose: {turn_degrees: 4, tip_degrees: 2, shift_mm: 8, zoom: 0.04, exposure: 0.2}  # largest differences of an exposure
known_absent: [pneumothorax]  # what a reader has excluded in these CTs: reports may deny it, its label is 0
changes: {new: 1, grown: 2, shrunk: 1, resolved: 1, unchanged: 2}  # weights, for priors and currents
findings:
  - kind: nodule              # or consolidation, pleural effusion, pneumothorax, cardiomegaly
    probability: 0.5          # part of the studies that have it (default 1)
    count: [1, 2]             # how many, where it is there (default 1)
    place: [right upper lobe, left]  # lobes or sides; default anywhere
    severity: [small, large]  # small (mild), moderate, large (severe); default any
    hu: 40                    # or its measures, a number or a range, in place of a severity
  - pneumothorax              # a kind alone: everything by default
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drr.findings.lung import LOBES
from radiographs.vocabulary import FINDINGS

Range = tuple[float, float]
SIDES = ("right", "left")
KINDS = FINDINGS
CHANGES = ("new", "grown", "shrunk", "resolved", "unchanged")
WORDS = {"mild": "small", "small": "small", "moderate": "moderate", "severe": "large", "large": "large"}
# {kind: (the measure that says how severe it is, {word: its range}, {other measure: its default})}; the limits of the
# words are those of the report's own
MEASURES: dict[str, tuple[str, dict[str, Range], dict[str, Range]]] = {
    "nodule": (
        "diameter_mm",
        {"small": (8, 14), "moderate": (14, 30), "large": (31, 45)},
        {"hu": (40, 60), "spiculation": (0, 0)},
    ),
    "consolidation": (
        "lobe_fraction",
        {"small": (0.15, 0.3), "moderate": (0.3, 0.5), "large": (0.55, 0.95)},
        {"density": (0.75, 0.95)},
    ),
    "pleural effusion": ("volume_ml", {"small": (120, 290), "moderate": (300, 900), "large": (1010, 1500)}, {}),
    "pneumothorax": ("gap_mm", {"small": (10, 19), "moderate": (20, 29), "large": (31, 50)}, {}),
    "cardiomegaly": (
        "cardiothoracic_ratio",
        {"small": (0.56, 0.6), "moderate": (0.6, 0.65), "large": (0.66, 0.73)},
        {},
    ),
}
LIMITS: dict[str, Range] = {
    "diameter_mm": (4, 60), "hu": (-900, 2000), "spiculation": (0, 1), "lobe_fraction": (0.02, 1), "density": (0.05, 1),
    "volume_ml": (20, 4000), "gap_mm": (5, 50), "cardiothoracic_ratio": (0.4, 0.75),
}  # fmt: skip
MOST_STUDIES = 10_000_000


@dataclass(frozen=True)
class Wish:
    """One entry of `findings`: what, how often, how many, where, how severe.

    Args:
        kind: One of KINDS.
        probability: Part of the studies that have it.
        count: Least and most, where it is there.
        places: Lobes or sides; empty for anywhere.
        severities: small, moderate, large: one of them is drawn, then its range.
        measures: {measure: range}, in place of a severity's or a default.
        changes: {change: weight} between prior and current.
    """

    kind: str
    probability: float = 1.0
    count: tuple[int, int] = (1, 1)
    places: tuple[str, ...] = ()
    severities: tuple[str, ...] = ("small", "moderate", "large")
    measures: Mapping[str, Range] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(CHANGES, 1.0))


@dataclass(frozen=True)
class Pose:
    """The largest differences of one exposure from the preset; each is drawn uniformly within them.

    Args:
        turn_degrees: The patient's turn about the long axis.
        tip_degrees: The beam's tilt to head or feet.
        shift_mm: Of the beam along each axis.
        zoom: Of the picture's width, as a fraction.
        exposure: Of the film's middle line integral (`detector_response`'s centre).
    """

    turn_degrees: float = 0.0
    tip_degrees: float = 0.0
    shift_mm: float = 0.0
    zoom: float = 0.0
    exposure: float = 0.0


POSE_LIMITS = {"turn_degrees": 45.0, "tip_degrees": 30.0, "shift_mm": 100.0, "zoom": 0.5, "exposure": 2.0}
TWO_EXPOSURES = Pose(turn_degrees=4.0, tip_degrees=2.0, shift_mm=8.0, zoom=0.04, exposure=0.2)


@dataclass(frozen=True)
class Plan:
    """All of findings.yaml; see the module.

    Attributes:
        wishes: What, where, how severe, how often.
        seed: The same seed gives the same studies.
        studies: Of each CT.
        body_mm: By how much each study's body is bent.
        field: "chest" or "body": what the picture covers.
        pose: Largest differences of an exposure; None takes what suits: none, or TWO_EXPOSURES for two exposures.
        known_absent: Kinds that a reader has excluded in these CTs.
    """

    wishes: tuple[Wish, ...] = ()
    seed: int = 0
    studies: int = 1
    body_mm: float = 0.0
    field: str = "chest"
    pose: Pose | None = None
    known_absent: tuple[str, ...] = ()


def read_plan(path: str | Path) -> Plan:
    """The plan of a findings.yaml.

    Args:
        path: UTF-8, with or without a byte order mark.

    Returns:
        What the file says, with defaults for the rest.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No YAML, or none of this schema: what stands where, and what may stand there.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of findings")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no YAML ({' '.join(str(error).split())})") from None
    try:
        return parse_plan(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_plan(values: Any) -> Plan:
    """The plan of what YAML holds.

    Args:
        values: A dict of the keys of `Plan`, with lists of dicts for its findings.

    Returns:
        What it says, with defaults for the rest.

    Raises:
        ValueError: What stands there and should not, or what is missing, with its place and what may stand there.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a {type(values).__name__} where options such as 'findings: [...]' were expected")
    known = ("findings", "seed", "studies", "body_mm", "field", "pose", "known_absent", "changes")
    _refuse_unknown(values, known, "")
    entries = values.get("findings")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"findings: {entries!r} where a list of findings was expected, each with a 'kind'")
    changes = _changes(values["changes"], "changes") if "changes" in values else None
    wishes = tuple(_wish(entry, f"findings[{n}]", changes) for n, entry in enumerate(entries))
    covered = values.get("field", "chest")
    if covered not in ("chest", "body"):
        raise ValueError(f"field: {covered!r}; give chest or body")
    absent = _names(values.get("known_absent", []), KINDS, "known_absent")
    return Plan(
        wishes,
        seed=int(_number(values.get("seed", 0), (0, 2**31), "seed", whole=True)),
        studies=int(_number(values.get("studies", 1), (1, MOST_STUDIES), "studies", whole=True)),
        body_mm=_number(values.get("body_mm", 0), (0, 20), "body_mm"),
        field=covered,
        pose=_pose(values["pose"]) if "pose" in values else None,
        known_absent=absent,
    )


def _wish(entry: Any, where: str, changes: Mapping[str, float] | None) -> Wish:
    entry = {"kind": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or entry.get("kind") not in KINDS:
        said = entry.get("kind") if isinstance(entry, dict) else entry
        raise ValueError(f"{where}: kind {said!r}; give one of {', '.join(KINDS)}")
    kind = entry["kind"]
    main, _, others = MEASURES[kind]
    allowed = ("kind", "probability", "count", "place", "severity", "changes", main, *others)
    _refuse_unknown(entry, allowed, f"{where} ({kind}) ")
    if "severity" in entry and main in entry:
        raise ValueError(f"{where}: severity and {main} both say how severe the {kind} is; give one of them")
    measures = {
        name: _range(entry[name], LIMITS[name], f"{where}: {name}") for name in (main, *others) if name in entry
    }
    count = _range(entry.get("count", 1), (1, 10), f"{where}: count", whole=True)
    places = _names(entry.get("place", []), allowed_places(kind), f"{where}: place")
    if count[1] > 1 and kind != "nodule":
        raise ValueError(f"{where}: count {entry['count']}; of a {kind} there is one, give further ones an entry each")
    words = _names(entry.get("severity", ["small", "moderate", "large"]), tuple(WORDS), f"{where}: severity")
    own = _changes(entry["changes"], f"{where}: changes") if "changes" in entry else changes
    return Wish(
        kind,
        _number(entry.get("probability", 1), (0, 1), f"{where}: probability"),
        (int(count[0]), int(count[1])),
        places,
        tuple(dict.fromkeys(WORDS[word] for word in words)),
        measures,
        own or dict.fromkeys(CHANGES, 1.0),
    )


def allowed_places(kind: str) -> tuple[str, ...]:
    """Where a kind can be asked for.

    Args:
        kind: One of KINDS.

    Returns:
        Lobes and sides; none for a kind that has one place only.
    """
    if kind == "cardiomegaly":
        return ()
    return (*SIDES, *LOBES) if kind in ("nodule", "consolidation") else SIDES


def _changes(values: Any, where: str) -> dict[str, float]:
    if isinstance(values, (str, list)):
        values = dict.fromkeys(_names(values, CHANGES, where), 1)
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} where weights of {', '.join(CHANGES)} were expected")
    _refuse_unknown(values, CHANGES, f"{where}: ")
    weights = {str(name): _number(value, (0, 1e6), f"{where}: {name}") for name, value in values.items()}
    if not sum(weights.values()):
        raise ValueError(f"{where}: no weight is above 0")
    return weights


def _pose(values: Any) -> Pose:
    if not isinstance(values, dict):
        raise ValueError(f"pose: {values!r} where the largest differences ({', '.join(POSE_LIMITS)}) were expected")
    _refuse_unknown(values, tuple(POSE_LIMITS), "pose: ")
    return Pose(**{name: _number(value, (0, POSE_LIMITS[name]), f"pose: {name}") for name, value in values.items()})


def _refuse_unknown(values: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise ValueError(f"{where}no option is called {', '.join(unknown)}; there are {', '.join(known)}")


def _names(values: Any, allowed: Sequence[str], where: str) -> tuple[str, ...]:
    names = [values] if isinstance(values, str) else values
    if not isinstance(names, list):
        raise ValueError(f"{where}: {values!r} where one or a list of {', '.join(allowed)} was expected")
    wrong = [name for name in names if name not in allowed]
    if wrong:
        choice = f"give {', '.join(allowed)}" if allowed else "it has none to choose"
        raise ValueError(f"{where}: {wrong[0]!r}; {choice}")
    return tuple(names)


def _number(value: Any, limits: Range, where: str, whole: bool = False) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and limits[0] <= value <= limits[1]
    if not good or not np.isfinite(value) or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{where}: {value!r} where {kind} from {limits[0]:g} to {limits[1]:g} was expected")
    return float(value)


def _range(value: Any, limits: Range, where: str, whole: bool = False) -> Range:
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2:
        raise ValueError(f"{where}: {value!r}; give a number, or the two ends of a range")
    low, high = (_number(end, limits, where, whole) for end in ends)
    if low > high:
        raise ValueError(f"{where}: {value!r}; the first end of a range is the lower one")
    return low, high

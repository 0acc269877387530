"""What the synthesis protocol is asked to compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.features.clip import DESCRIPTORS, Clip
from evaluation.features.extract import Extractor, Reading
from evaluation.synthesis.radgraph import Annotator


@dataclass
class SynthesisProtocol:
    """features: {name: Extractor}. classifier, view_classifier: extractors of logits with their classes.

    frd: the distance of pyradiomics' features; radiomics: of our own. by_finding: distances for each class besides.
    radgraph: see `evaluation.synthesis.radgraph.load_radgraph`; reports_column: of the reports that prompts are
        compared with.
    missing: what an empty label means, see `evaluation.features.labels.read_labels`. accept: see
    `evaluation.inputs.check_set`.
    """

    features: Mapping[str, Extractor]
    k: int = 5
    kid_subset: int = 1000
    radiomics: bool = False
    frd: bool = False
    by_finding: bool = False
    clip: Clip | None = None
    descriptors: Mapping[str, Sequence[str]] = field(default_factory=lambda: DESCRIPTORS)
    classifier: Extractor | None = None
    classes: Sequence[str] = ()
    view_classifier: Extractor | None = None
    views: Sequence[str] = ()
    view_column: str = "view"
    radgraph: Annotator | None = None
    reports_column: str = "report"
    missing: str = "unknown"
    accept: Sequence[str] = ()
    seed: int = 0
    reading: Reading = field(default_factory=Reading)

"""What the synthesis protocol is asked to compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.features.clip import DESCRIPTORS, Clip
from evaluation.features.extract import Extractor, Reading
from evaluation.synthesis.radgraph import Annotator


@dataclass
class SynthesisProtocol:
    """What is computed.

    Attributes:
        features: {name: Extractor}.
        k: Of the nearest neighbours in precision, recall, density and coverage.
        kid_subset: Images in a subset of KID.
        radiomics: The distance of our own texture features.
        frd: The distance of pyradiomics' features.
        by_finding: Distances for each class besides.
        clip: For the alignment of images and prompts.
        descriptors: Of each finding, in words, for Clip.
        classifier: Extractor of logits of `classes`.
        classes: The labels.
        view_classifier: Extractor of logits of `views`.
        views: The views.
        view_column: Of the table.
        radgraph: See `evaluation.synthesis.radgraph.load_radgraph`.
        reports_column: Of the reports that prompts are compared with.
        missing: What an empty label means, see `evaluation.features.labels.read_labels`.
        accept: See `evaluation.inputs.check_set`.
        seed: Of subsets and draws.
        reading: How images are read.
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

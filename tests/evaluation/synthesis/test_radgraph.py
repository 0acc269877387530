"""RadGraph's annotations, as its package returns them, and their agreement worked out by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from evaluation.inputs import BadInputs
from evaluation.synthesis.radgraph import agreement, agreements, annotate, label_counts, load_radgraph


def annotation(*entities):
    """(words, label, relations) in the package's structure."""
    return {
        "text": " ".join(words for words, *_ in entities),
        "entities": {
            str(i): {"tokens": words, "label": label, "start_ix": i, "end_ix": i, "relations": relations}
            for i, (words, label, relations) in enumerate(entities, start=1)
        },
        "data_source": None,
        "data_split": "inference",
    }


# "no acute cardiopulmonary process", and "Moderate pleural effusion, no acute process" without its first relation
FIRST = annotation(
    ("acute", "OBS-DA", []), ("cardiopulmonary", "ANAT-DP", []), ("process", "OBS-DA", [["located_at", "2"]])
)
SECOND = annotation(
    ("Acute", "OBS-DA", []), ("process", "OBS-DA", []), ("effusion", "OBS-DP", []), ("left", "ANAT-DP", [])
)
OTHER_PLACE = annotation(
    ("acute", "OBS-DA", []), ("pleural", "ANAT-DP", []), ("process", "OBS-DA", [["located_at", "2"]])
)


def test_f1_by_hand():
    assert agreement(FIRST, SECOND, "entities") == pytest.approx((2 / 3, 2 / 4, 4 / 7))  # acute and process agree
    assert agreement(FIRST, SECOND, "related") == pytest.approx((1 / 3, 1 / 4, 2 / 7))  # process is related in one
    assert agreement(FIRST, OTHER_PLACE, "related")[2] == pytest.approx(2 / 3)
    assert agreement(FIRST, OTHER_PLACE, "relations")[2] == pytest.approx(1 / 3)  # located at another place
    assert agreement(FIRST, FIRST, "relations") == (1, 1, 1)
    assert agreement(FIRST, annotation(), "entities") == (0, 0, 0)
    absent = annotation(("acute", "OBS-DP", []))
    assert agreement(FIRST, absent, "entities")[2] == 0  # present is not absent


def test_f1_is_that_of_the_radgraph_package():
    rewards = pytest.importorskip("radgraph.rewards", reason="radgraph is not installed (extra: radgraph)")
    random = np.random.default_rng(0)
    words = ["edema", "effusion", "left", "lung", "mild", "process"]

    def draw():
        n = int(random.integers(1, 6))
        relations = [
            [["modify", str(random.integers(1, n + 1))] for _ in range(int(random.integers(0, 3)))] for _ in range(n)
        ]
        return annotation(
            *((str(random.choice(words)), str(random.choice(["OBS-DP", "OBS-DA"])), r) for r in relations)
        )

    ours, theirs = [draw() for _ in range(50)], [draw() for _ in range(50)]
    found = agreements(ours, theirs)
    expected = np.array([rewards.compute_reward(a, b, "all") for a, b in zip(ours, theirs)])
    assert np.allclose(np.stack([v[:, 2] for v in found.values()], axis=1), expected)
    assert expected.std(axis=0).min() > 0.1


def test_equal_texts_are_annotated_once_and_gaps_are_refused():
    asked = []

    def annotator(texts):
        asked.append(texts)
        return {str(i): FIRST for i, text in enumerate(texts) if text != "?"}

    found = annotate(["a", "b", "a"], annotator, lambda done, total: None)
    assert asked == [["a", "b"]] and len(found) == 3
    assert label_counts(found) == {"OBS-DA": 6, "ANAT-DP": 3}
    with pytest.raises(BadInputs, match="'\\?': not annotated"):
        annotate(["a", "?"], annotator, lambda done, total: None)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="give one of radgraph, radgraph-xl"):
        load_radgraph(str(tmp_path))
    (tmp_path / "radgraph-xl").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no config.json, weights.th, vocabulary"):
        load_radgraph(str(tmp_path / "radgraph-xl"))
    monkeypatch.setitem(sys.modules, "radgraph", None)  # as where it is not installed
    with pytest.raises(ValueError, match="pip install radgraph"):
        load_radgraph("radgraph")

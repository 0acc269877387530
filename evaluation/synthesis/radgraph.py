"""RadGraph's entities and relations in prompts and reports, and how far two texts agree in them.

RadGraph (Jain et al. 2021) marks anatomy and observations (present, absent, uncertain) and how they are related. The
three F1 scores are those of Delbrouck et al. 2022: entities alone (RG_E), entities with whether they are related at
all (RG_ER), and entities with each of their relations (RG_ER, strict). The package's own scores compare capital
letters in some of these and not in others; here none are compared, and a text without capitals scores the same.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radiographs.folders import refuse

MODELS = ("radgraph", "radgraph-xl", "modern-radgraph-xl")
FILES = ("config.json", "weights.th", "vocabulary")
LEVELS = {"entities": "RG_E", "related": "RG_ER", "relations": "RG_ER strict"}
BATCH = 64
Annotation = Mapping[str, Any]  # {"text": ..., "entities": {"1": {"tokens", "label", "relations": [[kind, "2"]]}}}
Annotator = Callable[[list[str]], Mapping[str, Annotation]]


def load_radgraph(source: str, device: str = "cpu") -> Annotator:
    """The radgraph package's model.

    Args:
        source: A name of `MODELS`, which the package downloads, or a folder of that name with its files.
        device: Where it computes.

    Returns:
        Texts to their annotations.

    Raises:
        FileNotFoundError: A folder without weights.
        ValueError: The package is not installed, or cannot load the model.
    """
    folder = Path(source)
    if folder.name not in MODELS:
        raise ValueError(f"--radgraph {source}: give one of {', '.join(MODELS)}, or a folder of that name")
    if source not in MODELS:
        absent = [name for name in FILES if not (folder / name).exists()]
        if absent:
            raise FileNotFoundError(
                f"{folder}: no {', '.join(absent)}, where RadGraph's unpacked weights were expected"
            )
    try:
        from radgraph import RadGraph
    except ImportError as error:
        raise ValueError(f"RadGraph needs its package: pip install radgraph ({error})") from None
    options = {} if source in MODELS else {"model_cache_dir": str(folder.parent)}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return RadGraph(model_type=folder.name, cuda=0 if device == "cuda" else -1, **options)
    except Exception as error:  # the package raises bare exceptions
        raise ValueError(f"RadGraph's model {source} could not be loaded: {error}") from None


def annotate(texts: Sequence[str], annotator: Annotator, progress: Callable[[int, int], None]) -> list[Annotation]:
    """Each text's annotation; equal texts are annotated once.

    Args:
        texts: N texts.
        annotator: Of `load_radgraph`.
        progress: Called with texts done and of how many.

    Returns:
        N annotations.

    Raises:
        BadInputs: Texts that the package could not annotate, all listed.
    """
    different = list(dict.fromkeys(texts))
    found: dict[str, Annotation] = {}
    for start in range(0, len(different), BATCH):
        part = different[start : start + BATCH]
        answers = annotator(part)
        found |= {text: answers[str(i)] for i, text in enumerate(part) if str(i) in answers}
        progress(min(start + BATCH, len(different)), len(different))
    refuse("RadGraph", [f"'{text[:60]}': not annotated" for text in different if text not in found])
    return [found[text] for text in texts]


def facts(annotation: Annotation, level: str) -> set[tuple[str, ...]]:
    """What an annotation states at one of `LEVELS`, as a set of tuples of words and labels.

    Args:
        annotation: RadGraph's, of one text.
        level: "entities", "related" (whether an entity has relations at all) or "relations".

    Returns:
        Such as {("effusion", "OBS-DP", "located_at", "left")}; words in lower case, and what is said twice counts once.
    """
    entities = annotation["entities"]
    found: set[tuple[str, ...]] = set()
    for entity in entities.values():
        fact = (entity["tokens"].lower(), entity["label"])
        if level == "entities" or not entity["relations"]:
            found.add(fact)
        elif level == "related":
            found.add((*fact, "related"))
        else:
            found |= {(*fact, kind, entities[other]["tokens"].lower()) for kind, other in entity["relations"]}
    return found


def agreement(found: Annotation, reference: Annotation, level: str) -> tuple[float, float, float]:
    """How far one annotation agrees with another; 0 if either states nothing, as the package has it.

    Args:
        found: Of a text.
        reference: Of another.
        level: One of `LEVELS`.

    Returns:
        Precision, recall and F1.
    """
    ours, theirs = facts(found, level), facts(reference, level)
    if not ours or not theirs:
        return 0.0, 0.0, 0.0
    common = len(ours & theirs)
    return common / len(ours), common / len(theirs), 2 * common / (len(ours) + len(theirs))


def agreements(found: Sequence[Annotation], reference: Sequence[Annotation]) -> dict[str, np.ndarray]:
    """{level: (N, 3) of precision, recall and F1} of each pair.

    Args:
        found: N annotations, of the texts that are judged.
        reference: N annotations, of the texts that they should agree with.

    Returns:
        Values in 0 .. 1, as `agreement` has them.
    """
    pairs = list(zip(found, reference, strict=True))
    return {level: np.array([agreement(a, b, level) for a, b in pairs]) for level in LEVELS}


def label_counts(annotations: Sequence[Annotation]) -> dict[str, int]:
    """How many entities have each label, the most frequent first.

    Args:
        annotations: Of any texts.

    Returns:
        {label, such as "OBS-DP": count}.
    """
    return dict(Counter(e["label"] for a in annotations for e in a["entities"].values()).most_common())

"""What several protocols read from their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radiolucent.commands.evaluate.console import Progress


def named_folders(given: list[str]) -> dict[str, str]:
    """Folders with their names.

    Args:
        given: NAME=PATH, or PATH, whose name is its last part.

    Returns:
        {name: path}.

    Raises:
        ValueError: Two of one name.
    """
    pairs = [
        (name, folder) if mark else (Path(name).name, name) for name, mark, folder in (g.partition("=") for g in given)
    ]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: give each its own name, as NAME=PATH")
    return dict(pairs)


def extractors(args: Any) -> dict[str, Any]:
    """--features by name, each with its --transform.

    Args:
        args: With `features` and `transform`, lists of [NAME=]VALUE; a transform without a name is for all others.

    Returns:
        {name: network, loaded}, in the order given.

    Raises:
        ValueError: A transform for a name that is not among the features, or a network that cannot be loaded.
    """
    from evaluation.features.networks import load_extractor

    transforms = dict(text.split("=", 1) if "=" in text else ("", text) for text in args.transform)
    sources = named_folders(args.features)
    unknown = sorted(set(transforms) - set(sources) - {""})
    if unknown:
        raise ValueError(f"--transform names {', '.join(unknown)}, which --features does not: {', '.join(sources)}")
    return {n: load_extractor(s, transforms.get(n, transforms.get(""))) for n, s in sources.items()}


def reading(args: Any, progress: Progress) -> Any:
    """How images are read; features are kept in OUT/features.

    Args:
        args: With `batch_size`, `workers` (0: in this process), `device` and `out`.
        progress: Is told how many images are done.

    Returns:
        The `Reading` that every extraction of this run takes.
    """
    from evaluation.features.extract import Reading

    return Reading(args.batch_size, args.workers, args.device, Path(args.out) / "features", progress)


def refuse_leak(pattern: str | None, sets: dict[str, Any]) -> dict[str, str]:
    """Refuse sets that share a patient.

    Args:
        pattern: Of the patient in a name, or None.
        sets: {name: images}.

    Returns:
        {image: patient}; empty without a pattern.

    Raises:
        ValueError: A patient in two sets.
    """
    from radiographs.splits import patients_from_names, refuse_overlap

    if pattern is None:
        return {}
    found: dict[str, str] = {}
    for images in sets.values():
        found |= patients_from_names([str(path) for path in images.paths.values()], pattern)
    refuse_overlap({n: [str(path) for path in images.paths.values()] for n, images in sets.items()}, found)
    return {name: found[str(path)] for images in sets.values() for name, path in images.paths.items()}


def settings(args: Any) -> dict[str, Any]:
    """The options as the report shows them.

    Args:
        args: The protocol's.

    Returns:
        {name: value}, without the config's path and what was not given.
    """
    return {name: value for name, value in args.as_dict().items() if name != "config" and value is not None}

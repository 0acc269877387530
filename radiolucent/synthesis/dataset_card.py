"""The card (README.md) of a synthetic dataset: what made it, with which settings, what is in it, what it is for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radiographs.files import atomic_path
from radiolucent.synthesis.dataset_formats import Example

HEAD = """---
pretty_name: {title}
tags:
- chest-x-ray
- synthetic
- research-use-only
---

# {title}

{count} chest radiographs drawn by a generative model from text. **Research use only**: none shows a patient, none may
be used for diagnosis, and a model trained on them has to be tested on real images. The prompts' and the model's own
licences and terms go on.

## How they were made
"""
FILES = """
## Files
- `images/`: PNG, grey, bones bright; each file's Description says the seed and the settings' hash.
- `metadata.csv`: image, filename, prompt, labels_dict (1 present, 0 absent, -1 uncertain, as the prompts' CSV gave
  them: what was asked for, not what was seen), view, seed, tokens_cut, agreement.
- `chexgenbench.csv`: annotated_prompt, img_savename, chexpert_labels, for
  `radiolucent evaluate synthesis --synthetic images --prompts chexgenbench.csv`.
"""
EXTRA = {
    "webdataset": "- `webdataset/`: tar shards of png, txt (the prompt) and json.\n",
    "parquet": "- `parquet/`: the images and their metadata for Hugging Face's `datasets`.\n",
    "llava": "- `llava.json`: instructions for report-generation models, the prompt as the answer.\n",
}


def settings_hash(settings: Mapping[str, Any]) -> str:
    """sha256 of the settings, by their names' order; 16 digits.

    Args:
        settings: What the images depend on, as JSON can hold it.

    Returns:
        16 hexadecimal digits, whatever the order of the names.
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def write_card(
    out: Path,
    examples: Sequence[Example],
    settings: Mapping[str, Any],
    *,
    model: str,
    formats: Sequence[str],
    missing: int,
    quality: str,
) -> None:
    """Write README.md.

    Args:
        out: The folder.
        examples: The images that were kept.
        settings: What they depend on.
        model: What to call it.
        formats: That were written.
        missing: Rows that were skipped.
        quality: What the filter did, or "".
    """
    guidance = settings["guidance"]
    rows = [
        ("model", model),
        ("sha256 of its files", settings["checkpoint"]),
        ("settings' hash", settings_hash(settings)),
        ("steps", settings["steps"]),
        ("guidance", ", ".join(f"{name or 'text'} {scale:g}" for name, scale in guidance) or "none"),
        ("seeds", f"as in metadata.csv; from each name and --seed {settings['seed']} where the prompts gave none"),
        ("number format", f"{settings['dtype']} on {settings['device']}, {settings['micro_batch']} images at once"),
    ]
    rows += [(name.replace("_", " "), settings[name]) for name in ("lora", "negative_prompt") if settings[name]]
    rows += [("text", settings["template"])] if settings["template"] != "{prompt}" else []
    text = HEAD.format(title="Synthetic chest radiographs", count=len(examples))
    text += "\n| | |\n|---|---|\n" + "".join(f"| {name} | {_cell(value)} |\n" for name, value in rows)
    text += "\n" + _counts(examples, missing)
    text += f"\n{quality}\n" if quality else ""
    text += FILES + "".join(EXTRA[name] for name in EXTRA if name in formats)
    with atomic_path(out / "README.md") as part:
        part.write_text(text, encoding="utf-8")


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _counts(examples: Sequence[Example], missing: int) -> str:
    views = Counter(example.row.view or "not given" for example in examples)
    labels: dict[str, Counter] = {}
    for example in examples:
        for name, value in example.row.labels:
            labels.setdefault(name, Counter())[value] += 1
    cut = sum(example.tokens_cut > 0 for example in examples)
    lines = ["Views: " + ", ".join(f"{name} {count}" for name, count in sorted(views.items())) + "."]
    lines.append(f"Prompts longer than the text encoder's limit, cut: {cut}. Rows of the prompts skipped: {missing}.")
    if labels:
        lines += ["", "| label | present | absent | uncertain |", "|---|---|---|---|"]
        lines += [f"| {_cell(name)} | {n[1]} | {n[0]} | {n[-1]} |" for name, n in sorted(labels.items())]
    return "\n".join(lines) + "\n"

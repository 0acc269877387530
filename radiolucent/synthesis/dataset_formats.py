"""A synthetic dataset's files beside its images: SynthCheX-75K's and CheXGenBench's CSV, shards, Parquet, instructions.

Each file depends on the examples alone, which are ordered by name, and is written in one step.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiographs.files import atomic_path
from radiographs.regions import format_regions
from radiolucent.synthesis.prompts import Row

IMAGES = "images"
NOTICE = "synthetic, research use only"
SHARD = re.compile(r"\d{6}\.tar|train-\d{5}-of-\d{5}\.parquet")
MEDIA_TOKEN = re.compile(r"<(image|video|audio|im_start|im_end|im_patch)>", re.IGNORECASE)  # in texts of llava's kind
VIEW_NAMES = {"PA": "PA ", "AP": "AP ", "LL": "left lateral ", "RL": "right lateral ", "LATERAL": "lateral "}


@dataclass(frozen=True)
class Example:
    """A row whose image was kept.

    Attributes:
        row: What was asked for.
        tokens_cut: Of its text, unseen by the model.
        agreement: With the filter, if any.
    """

    row: Row
    tokens_cut: int = 0
    agreement: float | None = None

    @property
    def labels(self) -> str:
        """As SynthCheX-75K's labels_dict: read alike as JSON and as Python."""
        return json.dumps(dict(self.row.labels))

    def record(self) -> dict[str, Any]:
        """The metadata, in the order of the columns; the image is added by each format.

        Returns:
            {column: value}; what is missing is "". The agreement is text with six digits after the point.
        """
        row = self.row
        agreement = "" if self.agreement is None else f"{self.agreement:.6f}"
        return {
            "filename": row.name,
            "prompt": row.prompt,
            "labels_dict": self.labels,
            "view": row.view or "",
            "seed": row.seed,
            "boxes": format_regions(row.regions),
            "tokens_cut": self.tokens_cut,
            "agreement": agreement,
            "notice": NOTICE,
        }


def write_tables(examples: Sequence[Example], out: Path) -> None:
    """metadata.csv (SynthCheX-75K's columns first) and chexgenbench.csv (annotated_prompt, img_savename, labels).

    Args:
        examples: Those whose image was kept, ordered by name.
        out: The dataset's folder; the tables of an earlier run are replaced.
    """
    records = [{"image": f"{IMAGES}/{example.row.name}", **example.record()} for example in examples]
    _write_csv(out / "metadata.csv", records)
    bench = [
        {"annotated_prompt": e.row.prompt, "img_savename": e.row.name, "chexpert_labels": e.labels} for e in examples
    ]
    _write_csv(out / "chexgenbench.csv", bench)


def _write_csv(path: Path, records: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def write_webdataset(examples: Sequence[Example], out: Path, shard_size: int) -> None:
    """webdataset/NNNNNN.tar of KEY.png, KEY.txt (the prompt) and KEY.json (all metadata), KEY counted over all.

    Args:
        examples: In the order of their names.
        out: The folder.
        shard_size: Images a file.
    """
    for number, shard in _shards(examples, out / "webdataset", shard_size):
        with atomic_path(out / "webdataset" / f"{number:06d}.tar") as part, tarfile.open(part, "w") as tar:
            for place, example in enumerate(shard, start=number * shard_size):
                _add(tar, f"{place:08d}.png", (out / IMAGES / example.row.name).read_bytes())
                _add(tar, f"{place:08d}.txt", example.row.prompt.encode())
                _add(tar, f"{place:08d}.json", json.dumps(example.record(), ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # owner 0 and time 0, so that the same dataset has the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def write_parquet(examples: Sequence[Example], out: Path, shard_size: int) -> None:
    """parquet/train-NNNNN-of-NNNNN.parquet with the PNG bytes, which Hugging Face's `datasets` shows as images.

    Args:
        examples: In the order of their names.
        out: The folder.
        shard_size: Images a file.
    """
    import pyarrow
    from pyarrow import parquet

    kinds = {"filename": "string", "prompt": "string", "labels_dict": "string", "view": "string", "seed": "int64"}
    kinds |= {"boxes": "string", "tokens_cut": "int64", "agreement": "string", "notice": "string"}
    features = {
        "image": {"_type": "Image"},
        **{name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()},
    }
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = [("image", image), *((name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items())]
    schema = pyarrow.schema(columns, {"huggingface": json.dumps({"info": {"features": features}})})
    count = -(-len(examples) // shard_size)
    for number, shard in _shards(examples, out / "parquet", shard_size):
        rows = []
        for example in shard:
            content = (out / IMAGES / example.row.name).read_bytes()
            rows.append({"image": {"bytes": content, "path": example.row.name}, **example.record()})
        with atomic_path(out / "parquet" / f"train-{number:05d}-of-{count:05d}.parquet") as part:
            parquet.write_table(pyarrow.Table.from_pylist(rows, schema), part, row_group_size=100)


def write_llava(examples: Sequence[Example], out: Path, shard_size: int) -> None:
    """llava.json: LLaVA's instruction format, in which the report is the answer to a question about the image.

    Args:
        examples: In the order of their names.
        out: The folder.
        shard_size: Without effect: there is one file.
    """
    conversations = [
        {
            "id": Path(example.row.name).with_suffix("").as_posix(),
            "image": f"{IMAGES}/{example.row.name}",
            "conversations": [
                {"from": "human", "value": f"<image>\n{_question(example.row.view)}"},
                {"from": "gpt", "value": example.row.prompt},
            ],
        }
        for example in examples
    ]
    with atomic_path(out / "llava.json") as part:
        part.write_text(json.dumps(conversations, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _question(view: str | None) -> str:
    return f"Write the report of this {VIEW_NAMES.get(view or '', '')}chest radiograph."


def _shards(examples: Sequence[Example], folder: Path, size: int) -> Iterable[tuple[int, Sequence[Example]]]:
    """(number, examples) of each shard; earlier shards, which may have been more, are removed, and nothing else."""
    for path in folder.glob("*"):
        if SHARD.fullmatch(path.name):
            path.unlink()
    return enumerate(examples[start : start + size] for start in range(0, len(examples), size))


FORMATS: dict[str, Callable[[Sequence[Example], Path, int], None]] = {
    "webdataset": write_webdataset,
    "parquet": write_parquet,
    "llava": write_llava,
}

"""The table of rendered images: one row an image, as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

VOLUMES_PER_GROUP = 1000  # rows are written in groups, so that 50,000 volumes need little memory
REPORT_PARTS = ("clinical_information", "technique", "findings", "impression")


def image_row(name: str, view: str, material: str, file: str, sha256: str, beam: Any) -> dict[str, Any]:
    """What is known of one image.

    Args:
        name: Its ImageName.
        view: The preset's name.
        material: total, bone or soft.
        file: Its path below the output folder.
        sha256: Of the file.
        beam: The ConeBeam (mm, LPS) that it was rendered with.

    Returns:
        JSON values by column.
    """
    vectors = {
        part: np.asarray(getattr(beam, part), dtype=np.float64).tolist() for part in ("source", "origin", "du", "dv")
    }
    shape = [int(n) for n in beam.shape]
    return {
        "ImageName": name,
        "view": view,
        "material": material,
        "file": file,
        "sha256": sha256,
        **vectors,
        "shape": shape,
    }


def write_manifest(
    path: str | Path,
    records: Iterable[Mapping[str, Any]],
    labels: Mapping[str, Mapping[str, int]] | None = None,
    reports: Mapping[str, Mapping[str, str | None]] | None = None,
) -> int:
    """Write the Parquet table of all images.

    Columns: ImageName, view, material, file, sha256, source, origin, du, dv (mm, LPS), shape (H, W), volume, labels,
    report, decision, notes, version.

    Args:
        path: The file.
        records: One a volume: key, images (`image_row`s), decision, notes, version.
        labels: {key: its abnormalities}, as `drr.io.ct_rate_tables` reads them; else null.
        reports: {key: its report's parts}; else null.

    Returns:
        Number of rows, which are in the order of `records`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in (labels or {}).values() for name in row))
    schema = _schema(names)
    rows = 0
    remaining = iter(records)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        while group := list(islice(remaining, VOLUMES_PER_GROUP)):
            table = list(_rows(group, labels or {}, reports or {}))
            rows += len(table)
            writer.write_table(pa.Table.from_pylist(table, schema=schema))
    return rows


def _rows(group: list[Mapping[str, Any]], labels: Mapping, reports: Mapping) -> Iterator[dict[str, Any]]:
    for record in group:
        key = record["key"]
        about = {
            "volume": key,
            "labels": labels.get(key),
            "report": reports.get(key),
            "decision": record["decision"],
            "notes": record["notes"],
            "version": record["version"],
        }
        for image in record["images"]:
            yield {**image, **about}


def _schema(label_names: list[str]) -> Any:
    import pyarrow as pa

    text, vector = pa.string(), pa.list_(pa.float64(), 3)
    fields = {name: text for name in ("ImageName", "view", "material", "file", "sha256")}
    fields |= {name: vector for name in ("source", "origin", "du", "dv")}
    fields |= {"shape": pa.list_(pa.int32(), 2), "volume": text}
    fields["labels"] = pa.struct([(name, pa.int8()) for name in label_names]) if label_names else pa.null()
    fields["report"] = pa.struct([(part, text) for part in REPORT_PARTS])
    fields |= {"decision": text, "notes": pa.list_(text), "version": text}
    return pa.schema(list(fields.items()))

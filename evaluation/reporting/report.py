"""One evaluation as a self-contained HTML page (no script or picture from elsewhere) and as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from evaluation.reporting.cells import Cell, Interval, bounds, number, show
from evaluation.reporting.template import TEMPLATE
from radiographs import atomic_path

if TYPE_CHECKING:
    from jaxtyping import UInt8

SLIDER_SIDE = 480  # pictures in the page are scaled down to this


@dataclass(frozen=True)
class Table:
    """Rows of cells under column titles.

    Attributes:
        title: Above the table.
        columns: Titles of the columns.
        rows: Cells, as many a row as columns.
        note: Below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Slider:
    """Two pictures of one size, one over the other.

    Attributes:
        title: Above them.
        before: uint8 (H, W).
        after: uint8 (H, W).
        labels: Of the two.
    """

    title: str
    before: np.ndarray
    after: np.ndarray
    labels: tuple[str, str] = ("before", "after")


@dataclass(frozen=True)
class Picture:
    """A PNG file's content with its title.

    Attributes:
        title: Above it.
        png: The file's bytes.
    """

    title: str
    png: bytes


@dataclass(frozen=True)
class Chart:
    """Points and a straight line through them.

    Attributes:
        title: Above it.
        x: Of each point.
        y: Of each point.
        line: (intercept, slope).
        x_label: Of the axis.
        y_label: Of the axis.
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    line: tuple[float, float]
    x_label: str
    y_label: str


@dataclass
class Report:
    """What one evaluation found.

    Attributes:
        title: Of the page.
        settings: Its options.
        tables: In the order of the page.
        notes: What a reader must know.
        sliders: Pictures over each other.
        pictures: PNG files.
        charts: Points with a line.
        links: (text, file beside the page).
        data: For the JSON.
    """

    title: str
    settings: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sliders: list[Slider] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


def write_report(report: Report, out: str | Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.json`.

    Args:
        report: What was found.
        out: Folder, made if needed.

    Returns:
        The two paths.
    """
    html, data = Path(out) / "report.html", Path(out) / "report.json"
    with atomic_path(html) as part:
        part.write_text(render(report), encoding="utf-8")
    content = {
        "title": report.title,
        "settings": report.settings,
        "notes": report.notes,
        "tables": [
            {"title": t.title, "columns": list(t.columns), "rows": [list(row) for row in t.rows]} for t in report.tables
        ],
        "data": report.data,
    }
    with atomic_path(data) as part:
        part.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return html, data


def plain(value: Any) -> Any:
    """Nested values as JSON takes them; numbers that are not finite become the words nan, inf and -inf.

    Args:
        value: Dicts, lists, tuples, numpy's arrays and numbers, and `Interval`s, nested in any way.

    Returns:
        A copy; an `Interval` becomes {"value", "low", "high"}, and keys become text.
    """
    if isinstance(value, Interval):
        return plain({"value": value.value, "low": value.low, "high": value.high})
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def encode_png(pixels: UInt8[np.ndarray, "height width"], side: int | None = None) -> bytes:
    """Encode a picture as PNG.

    Args:
        pixels: uint8 (H, W).
        side: What its longer side is scaled down to; None: it stays.

    Returns:
        The file's bytes.
    """
    scale = 1.0 if side is None else min(1.0, side / max(pixels.shape))
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", pixels)[1].tobytes()


def data_uri(png: bytes) -> str:
    """A picture as an address that a page can hold.

    Args:
        png: A PNG file's bytes.

    Returns:
        The data: URI.
    """
    return "data:image/png;base64," + base64.b64encode(png).decode()


def draw_chart(chart: Chart) -> dict[str, Any]:
    """A chart of 420x240 pixels.

    Args:
        chart: One point or more, the rightmost at an x above 0.

    Returns:
        Its texts, and in pixels of the chart the points and the line's two ends; "low", "high" and "right" are the
        numbers at the axes' ends.
    """
    x, y = np.asarray(chart.x, float), np.asarray(chart.y, float)
    intercept, slope = chart.line
    right = float(x.max()) * 1.05
    ends = np.array([[0.0, intercept], [right, intercept + slope * right]])
    heights = np.concatenate([y, ends[:, 1]])
    low, high = float(heights.min()), float(heights.max())
    spread = (high - low) or 1.0

    def place(px: float, py: float) -> tuple[float, float]:
        return round(60 + 340 * px / right, 1), round(200 - 180 * (py - low) / spread, 1)

    return {
        "title": chart.title,
        "points": [place(px, py) for px, py in zip(x, y)],
        "line": [place(px, py) for px, py in ends],
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "low": number(low),
        "high": number(high),
        "right": number(right),
    }


def render(report: Report) -> str:
    """The HTML page; all text is escaped.

    Args:
        report: Its pictures are put into the page, so that the page can be mailed alone.

    Returns:
        The text of one file.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    sliders = [
        {
            "title": s.title,
            "before": data_uri(encode_png(s.before, SLIDER_SIDE)),
            "after": data_uri(encode_png(s.after, SLIDER_SIDE)),
            "labels": s.labels,
        }
        for s in report.sliders
    ]
    return environment.from_string(TEMPLATE).render(
        report=report,
        tables=[
            {
                "title": t.title,
                "note": t.note,
                "columns": t.columns,
                "rows": [[(show(cell), bounds(cell)) for cell in row] for row in t.rows],
            }
            for t in report.tables
        ],
        sliders=sliders,
        pictures=[{"title": p.title, "source": data_uri(p.png)} for p in report.pictures],
        charts=[draw_chart(chart) for chart in report.charts],
    )

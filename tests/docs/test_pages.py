"""Every block of Python in a page of docs/ runs, in the page's order, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drr import geometry

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {
    path.relative_to(DOCS).as_posix(): blocks
    for path in sorted(DOCS.rglob("*.md"))
    if (blocks := BLOCK.findall(path.read_text(encoding="utf-8")))
}


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_runs(page, sample_radiograph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(geometry, "VIEWS", dict(geometry.VIEWS))  # a page adds one
    Path("radiograph.png").write_bytes(sample_radiograph.read_bytes())
    names: dict[str, object] = {}
    for number, block in enumerate(PAGES[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


def test_pages_with_code_are_found():
    assert {"index.md", "how-to/new-metric.md", "how-to/new-reader.md", "how-to/new-view.md"} <= PAGES.keys()


def test_every_room_has_its_reference():
    rooms = ("drr", "radiographs", "vqgan", "diffusion", "evaluation", "lightning_modules")
    for room in rooms:
        assert f"::: {room}\n" in (DOCS / "reference" / f"{room}.md").read_text(encoding="utf-8")

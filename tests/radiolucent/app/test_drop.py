"""Files and folders that are dropped on the page with a real drag, and what each tab shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def drop(page: Any, place: Any, *paths: Path) -> None:
    """Drag files or folders of this machine over an element and let them fall, as the system's file manager does."""
    box = place.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    session.detach()


def test_a_radiograph_is_dropped(page: Any, sample_radiograph: Path) -> None:
    drop(page, page.locator("#radiograph"), sample_radiograph)
    page.locator("suppress-view[data-ready]").wait_for()
    said = page.locator("[role=tabpanel]:visible .rl-status").first.inner_text()
    assert said.startswith("radiograph.png: 128 x 128 pixels, 16 bits.")


def test_a_folder_on_a_field_for_one_file_gets_one_line(page: Any, tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series/1.dcm").write_bytes(b"x")
    page.get_by_role("tab", name="X-ray a CT").click()
    place = page.locator("#ct")
    place.scroll_into_view_if_needed()
    drop(page, place, tmp_path / "series")
    alert = page.locator("[role=tabpanel]:visible [role=alert]").filter(has_text="a zip of DICOM slices")
    alert.wait_for()
    assert alert.inner_text().count("\n") == 0


def test_folders_are_dropped_and_judged(page: Any, sample_radiograph: Path, tmp_path: Path) -> None:
    levels = np.array(Image.open(sample_radiograph))
    page.get_by_role("tab", name="Judge").click()
    for field, shift in (("radiographs", 0), ("truth", 3000), ("results-1", 1000)):
        folder = tmp_path / f"my {field}"
        folder.mkdir()
        for name in "ab":
            Image.fromarray(np.maximum(levels, shift) - np.uint16(shift)).save(folder / f"{name}.png")
        (folder / ".DS_Store").write_bytes(b"no image")
        place = page.locator(f"#{field}")
        place.scroll_into_view_if_needed()
        drop(page, place, folder)
        place.locator(".file-preview").wait_for()
    page.get_by_role("button", name="Judge").click()
    report = page.frame_locator("rl-report iframe")
    report.get_by_role("heading", name="Bone suppression").wait_for()
    assert "method 1" in report.locator("table").first.inner_text()
    page.get_by_role("button", name="Every image under a slider").click()
    report.get_by_role("heading", name="Before and after").wait_for()
    assert report.locator("figure").count() == 2

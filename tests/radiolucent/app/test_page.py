"""The page in a real browser: what visitors do, and what they see."""

from __future__ import annotations

import base64
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drr import ConeBeam, detector_response, project
from radiographs import to_levels

TABS = ("Suppress", "X-ray a CT", "Synthesise", "Judge")


def upload(page: Any, tab: str, field: str, *files: Any) -> None:
    """Give files to a field of a tab, through its input element as a drop does."""
    page.get_by_role("tab", name=tab).click()
    page.locator(f"#{field} input[type=file]").set_input_files(list(files))


def slide(page: Any, label: str, value: float) -> None:
    """Move a slider as a hand does: its value, and the event."""
    page.locator("[role=tabpanel]:visible").get_by_label(label, exact=True).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def canvas_levels(page: Any, element: str) -> np.ndarray:
    """uint8 (H, W, 4): what a viewer's canvas shows."""
    script = "(e) => e.querySelector('canvas').toDataURL('image/png')"
    data = page.locator(element).evaluate(script)
    return np.array(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))))


def test_upload_strength_and_download_are_the_commands(
    page: Any, sample_radiograph: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    upload(page, "Suppress", "radiograph", sample_radiograph)
    page.locator("suppress-view[data-ready]").wait_for()
    before = canvas_levels(page, "suppress-view")
    slide(page, "Strength", 0.4)
    slide(page, "Before | after", 0.25)
    after = canvas_levels(page, "suppress-view")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    got = Path(download.value.path()).read_bytes()
    assert command(sample_radiograph, tmp_path / "out", "--strength", "0.4") == 0
    assert download.value.suggested_filename == "radiograph.png"
    assert got == (tmp_path / "out/radiograph.png").read_bytes()

    width = before.shape[1]
    shown = to_levels(np.array(Image.open(io.BytesIO(got)), np.float32) / 32767.5 - 1, 8).astype(int)
    right = slice(round(0.25 * width) + 1, None)
    assert np.abs(after[:, right, 0].astype(int) - shown[:, right]).max() <= 1
    left = slice(0, round(0.25 * width) - 1)
    assert (after[:, left] == before[:, left]).all()  # the radiograph, whatever the strength


def test_the_turned_ct_is_what_project_says(page: Any, services: Any) -> None:
    page.get_by_role("tab", name="X-ray a CT").click()
    view = page.locator("xray-view")
    page.locator("xray-view[data-ready]").wait_for(timeout=120_000)  # the kernels are compiled first
    view.locator("select").nth(2).select_option("256")
    page.locator("xray-view[data-ready]").wait_for()
    first = canvas_levels(page, "xray-view")[..., 0]
    frames = int(view.get_attribute("data-frames"))
    box = view.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    for step in range(1, 5):
        page.mouse.move(box["x"] + box["width"] / 2 + step * box["width"] / 20, box["y"] + 50)
    page.mouse.up()
    page.locator("xray-view[data-ready]").wait_for()
    yaw, tilt = (float(view.get_by_label(name, exact=True).input_value()) for name in ("Turn", "Tip"))
    assert (yaw, tilt) == (pytest.approx(36, abs=2), 0)
    slide(page, "Bone", 0.5)
    page.locator("xray-view[data-ready]").wait_for()

    volume = services.scenes.sample().volume
    beam = ConeBeam.preset("PA", volume, (256, 256)).orbit(yaw)
    soft, bone = project(volume, [beam], ("soft", "bone"))[0].numpy()
    wanted = to_levels(detector_response(soft + np.float32(0.5) * bone), 8)
    shown = canvas_levels(page, "xray-view")[..., 0]
    assert (shown == wanted).all()
    assert np.abs(shown.astype(int) - first).max() > 20
    assert int(view.get_attribute("data-frames")) > frames + 2


def test_findings_have_boxes_and_a_report_and_the_geometry_is_saved(page: Any) -> None:
    page.get_by_role("tab", name="X-ray a CT").click()
    page.locator("xray-view[data-ready]").wait_for(timeout=120_000)
    page.get_by_label("pleural effusion").check()
    page.locator("xray-view[data-ready] .rl-box").wait_for()
    assert page.locator(".rl-box span").all_inner_texts() == ["pleural effusion"]
    assert "Moderate left pleural effusion." in page.locator(".rl-report-text").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the geometry").click()
    about = json.loads(Path(download.value.path()).read_text())
    assert about["settings"]["findings"] == ["pleural effusion"]
    assert about["labels"]["Pleural Effusion"] == 1
    assert len(about["source"]) == 3 and about["shape"] == [512, 512]


def bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            with archive.open(f"{number}.dcm", "w", force_zip64=True) as member:
                for _ in range(40):
                    member.write(bytes(1 << 20))
    return packed.getvalue()


def test_hostile_files_get_one_line_and_run_nothing(page: Any) -> None:
    script = b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.caught=1"><script>window.caught=1</script></svg>'
    name = "<img src=x onerror=window.caught=1>.png"
    upload(page, "Suppress", "radiograph", {"name": name, "mimeType": "image/png", "buffer": script})
    alert = page.locator("[role=tabpanel]:visible [role=alert]:visible")
    alert.wait_for()
    assert "neither PNG, TIFF, JPEG nor DICOM" in alert.inner_text()
    assert alert.inner_text().count("\n") == 0
    upload(page, "X-ray a CT", "ct", {"name": "series.zip", "mimeType": "application/zip", "buffer": bomb()})
    refused = alert.filter(has_text="series.zip: unpacks to 120 MB")  # the view's own alert may come before it
    refused.wait_for()
    assert refused.inner_text().count("\n") == 0
    assert page.evaluate("window.caught") is None


def test_what_is_gone_is_forgotten(page: Any, services: Any, sample_radiograph: Path) -> None:
    held = len(services.store)
    upload(page, "Suppress", "radiograph", sample_radiograph)
    page.locator("suppress-view[data-ready]").wait_for()
    assert len(services.store) == held + 1
    page.goto("about:blank")
    deadline = time.monotonic() + 10
    while len(services.store) > held and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert len(services.store) == held
    sent = [path for path in (services.root / "uploads").rglob("*") if path.is_file() and path.stat().st_size]
    assert any(path.suffix == ".png" for path in sent)  # others are of tests before: the server is theirs too
    for path in sent:
        os.utime(path, (0, 0))  # long ago
    services.sweep()
    left = [path for path in (services.root / "uploads").rglob("*") if path.is_file() and path.stat().st_size]
    assert not left


def test_judge_opens_the_report(page: Any, tmp_path: Path, sample_radiograph: Path) -> None:
    levels = np.array(Image.open(sample_radiograph))
    for folder, shift in (("input", 0), ("truth", 3000), ("method", 1000)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.maximum(levels, shift) - np.uint16(shift)).save(tmp_path / folder / "a.png")
    for field, folder in (("radiographs", "input"), ("truth", "truth"), ("results-1", "method")):
        upload(page, "Judge", field, tmp_path / folder)
        page.locator(f"#{field} .file-preview").wait_for()
    page.get_by_role("button", name="Judge").click()
    report = page.frame_locator("rl-report iframe")
    report.get_by_role("heading", name="Bone suppression").wait_for()
    assert "method 1" in report.locator("table").first.inner_text()
    assert "/tmp" not in report.locator("body").inner_text()
    page.get_by_role("button", name="Every image under a slider").click()
    report.get_by_role("heading", name="Before and after").wait_for()
    assert report.locator("figure").count() == 1


OVERLAPS = """() => {
  const SEEN = {visibilityProperty: true, opacityProperty: true};
  const seen = [...document.querySelectorAll('[role=tabpanel] :is(input, select, textarea, canvas, img)')]
    .filter((e) => e.checkVisibility(SEEN) && e.type !== 'file')
    .map((e) => [e, e.outerHTML.slice(0, 60), [e.getBoundingClientRect()]]);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  while (texts.nextNode()) {
    const node = texts.currentNode, e = node.parentElement;
    const apart = 'script, style, select, .rl-stage, [aria-hidden=true], .visually-hidden';
    if (!node.data.trim() || !e.checkVisibility(SEEN) || e.closest(apart)) continue;
    range.selectNodeContents(node);
    seen.push([node, node.data.trim().slice(0, 40), [...range.getClientRects()]]);
  }
  const found = [];
  for (const [i, [a, name, p]] of seen.entries()) for (const [b, other, q] of seen.slice(i + 1)) {
    if (a.contains(b) || b.contains(a)) continue;
    const crossed = p.some((r) => q.some((s) => Math.min(r.right, s.right) - Math.max(r.left, s.left) > 2
      && Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top) > 2));
    if (crossed) found.push(`${name} <> ${other}`);
  }
  return found;
}"""
UNNAMED = """() => [...document.querySelectorAll('[role=tabpanel] :is(input, select, textarea, button, canvas, a)')]
  .filter((e) => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && e.type !== 'file'
    && !(e.labels?.length || e.getAttribute('aria-label') || e.innerText?.trim() || e.title))
  .map((e) => e.outerHTML.slice(0, 120))"""
CONTRASTS = """() => {
  const SEEN = {visibilityProperty: true, opacityProperty: true};
  const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > .7) return c;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), low = [];
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.checkVisibility(SEEN) || e.closest('script, style, :disabled')) continue;
    const style = getComputedStyle(e), [a, b] = [light(rgb(style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) low.push(`${texts.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overlaps_and_all_can_be_read_and_reached(page: Any, sample_radiograph: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    upload(page, "Suppress", "radiograph", sample_radiograph)
    page.locator("suppress-view[data-ready]").wait_for()
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        if tab == "X-ray a CT":
            page.locator("xray-view[data-ready]").wait_for(timeout=120_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        assert page.evaluate(OVERLAPS) == [], tab
        assert page.evaluate(UNNAMED) == [], tab
        assert page.evaluate(CONTRASTS) == [], tab


def test_keys_alone_turn_the_ct(page: Any) -> None:
    tab = page.get_by_role("tab", name="Suppress")
    tab.focus()
    page.keyboard.press("ArrowRight")
    if page.get_by_role("tab", name="X-ray a CT").get_attribute("aria-selected") != "true":
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    page.locator("xray-view[data-ready]").wait_for(timeout=120_000)
    page.locator("xray-view canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    view = page.locator("xray-view")
    turned = [view.get_by_label(name, exact=True).input_value() for name in ("Turn", "Tip")]
    assert turned == ["5", "-5"]


def test_nothing_is_fetched_from_elsewhere(page: Any, address: str) -> None:
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(200)
    outside = [url for url in page.requests if not url.startswith((address, "data:", "blob:"))]
    assert outside == []
    policy = page.request.get(address).headers["content-security-policy"]
    assert "default-src 'self'" in policy


def test_two_visitors_may_send_the_same_file(page: Any, browser: Any, address: str, sample_radiograph: Path) -> None:
    other = browser.new_context().new_page()
    other.goto(address)
    for visitor in (page, other, page):
        upload(visitor, "Suppress", "radiograph", sample_radiograph)
    for visitor in (page, other):
        visitor.locator("suppress-view[data-ready]").wait_for()
        assert visitor.locator("[role=alert]:visible").count() == 0
    other.context.close()

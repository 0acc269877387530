"""The report: JSON that is strict, HTML that is escaped and self-contained, and a page that works in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from evaluation.reporting.cells import Interval, bounds, number, show
from evaluation.reporting.report import Chart, Picture, Report, Slider, Table, encode_png, write_report


@pytest.fixture
def written(tmp_path):
    pixels = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    report = Report("A <title>", {"pred": "a<b>&c"})
    report.tables = [
        Table("Scores", ["method", "PSNR"], [["ours", Interval(30.123, 29.5, 31)], ["truth", float("inf")]])
    ]
    report.sliders = [Slider("case 1", pixels, 255 - pixels)]
    report.pictures = [Picture("worst", encode_png(pixels))]
    report.charts = [Chart("FID", [0.01, 0.02], [12.0, 14.0], (10.0, 200.0), "1/N", "FID")]
    report.data = {"values": np.array([1.0, np.nan])}
    return write_report(report, tmp_path)


def test_json_is_strict_and_whole(written):
    content = json.loads(written[1].read_text(), parse_constant=lambda word: pytest.fail(word))
    assert content["tables"][0]["rows"] == [["ours", {"value": 30.123, "low": 29.5, "high": 31}], ["truth", "inf"]]
    assert content["data"]["values"] == [1.0, "nan"]


def test_html_escapes_and_refers_to_nothing_outside(written):
    html = written[0].read_text()
    assert "A &lt;title&gt;" in html and "a&lt;b&gt;&amp;c" in html
    assert "30.12<br><small>[29.50, 31.00]</small>" in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html) and "http" not in html


def test_numbers_as_shown():
    assert [number(v) for v in (0.0, 1234.5, 0.01234, 1.2e-7, float("nan"))] == [
        "0.0000",
        "1234",
        "0.0123",
        "1.20e-07",
        "–",
    ]
    assert show(Interval(1.0, 0.5, 2.0)) == "1.000" and show(None) == "–"
    assert bounds(Interval(1.0, 0.5, 2.0)) == "[0.5000, 2.000]" and bounds(Interval(1.0, float("nan"), 2.0)) == ""


def test_page_works_in_headless_chromium(written, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    check = """<script>
    const errors = [];
    const input = document.querySelector(".slider input"), after = document.querySelector(".slider .after");
    const before = getComputedStyle(after).clipPath;
    input.value = 80; input.dispatchEvent(new Event("input"));
    addEventListener("load", () => {
      const loaded = [...document.images].every(i => i.complete && i.naturalWidth > 0);
      document.title = ["checked", document.images.length, loaded, before, getComputedStyle(after).clipPath,
        document.querySelectorAll("tbody tr").length, document.querySelectorAll("svg circle").length].join("|");
    });
    </script></body>"""
    page = tmp_path / "checked.html"
    page.write_text(written[0].read_text().replace("</body>", check))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search("<title>(.*?)</title>", result.stdout)
    assert title is not None, result.stderr[-500:]
    assert title.group(1) == "checked|3|true|inset(0px 0px 0px 50%)|inset(0px 0px 0px 80%)|2|2"

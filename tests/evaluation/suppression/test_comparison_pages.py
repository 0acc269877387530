"""Pages of sliders: every image and method in them, as what they are, and nothing from elsewhere."""

from __future__ import annotations

import base64
import json
import re

import cv2
import numpy as np
import pytest

from evaluation.suppression.comparison_pages import PER_PAGE, ComparisonPages, page_name

LEVELS = {"radiograph": 0.0, "truth": -0.5, "ours <1>": 0.5}


def fill(out, count: int) -> None:
    with ComparisonPages(out, ["ours <1>"]) as pages:
        for i in range(count):
            pictures = {role: np.full((40, 30), level, np.float32) for role, level in LEVELS.items()}
            pages(f"p{i}", pictures, {"ours <1>": {"lungs": 1.25 + i, "whole": float("inf")}})


def test_every_image_is_there_with_all_that_can_be_chosen(tmp_path):
    fill(tmp_path, 2)
    text = (tmp_path / "images.html").read_text()
    found = [json.loads(part) for part in re.findall(r'<script type="application/json">(.*?)</script>', text, re.S)]
    assert len(found) == 2 and set(found[0]) == set(LEVELS)
    for role, level in LEVELS.items():
        data = base64.b64decode(found[1][role].removeprefix("data:image/jpeg;base64,"))
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture.shape == (40, 30) and np.abs(picture - (level + 1) * 127.5).max() <= 2
    assert text.count("<option selected>ours &lt;1&gt;</option>") == 3  # each image's right side, and that of all
    assert "<td>2.250</td><td>∞</td><td>–</td>" in text and "p1" in text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text) and "<1>" not in text


def test_a_thousand_images_are_many_pages_and_older_ones_go(tmp_path):
    fill(tmp_path, 2 * PER_PAGE + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.html", "images_2.html", "images_3.html"]
    middle = (tmp_path / page_name(2)).read_text()
    assert 'href="images.html"' in middle and 'href="images_3.html"' in middle
    assert middle.count('class="compare"') == PER_PAGE and "images_4" not in (tmp_path / page_name(3)).read_text()
    fill(tmp_path, PER_PAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["images.html"]
    assert 'rel="next"' not in (tmp_path / page_name(1)).read_text()


def test_what_failed_leaves_no_last_page(tmp_path):
    with pytest.raises(KeyError), ComparisonPages(tmp_path, ["a"]) as pages:
        pages("p", {"radiograph": np.zeros((4, 4)), "truth": np.zeros((4, 4))}, {})
    assert not list(tmp_path.iterdir())

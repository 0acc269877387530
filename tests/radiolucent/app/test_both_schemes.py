"""Colours of the page for those whose system is dark and those whose is light, as WCAG 2.1 AA asks (1.4.3, 1.4.11)."""

from __future__ import annotations

from typing import Any

import pytest

from .test_page import CONTRASTS, TABS

# Fields whose place is shown by a border alone, and words in an empty field: [what, contrast, least].
FIELDS = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > .7) return c;
    }
    return [255, 255, 255];
  };
  const FRAMED = '[role=tabpanel] :is(input[type=checkbox], textarea, select, .wrap-inner)', found = [];
  for (const e of document.querySelectorAll(FRAMED)) {
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true}) || e.closest(':disabled')) continue;
    let framed = e;
    while (framed && !parseFloat(getComputedStyle(framed).borderTopWidth)) framed = framed.parentElement;
    const border = rgb(getComputedStyle(framed).borderTopColor);
    found.push([e.outerHTML.slice(0, 60), ratio(border, behind(framed.parentElement)), 3]);
    const words = rgb(getComputedStyle(e, '::placeholder').color);
    if (e.placeholder) found.push([e.placeholder, ratio(words, behind(e)), 4.5]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_fields_stand_out(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.reload()
    page.get_by_role("tab", name="Suppress").wait_for()
    seen = 0
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.locator("[role=tabpanel]:visible .rl-status").first.wait_for()
        assert page.evaluate(CONTRASTS) == [], tab
        fields = page.evaluate(FIELDS)
        seen += len(fields)
        assert [field for field in fields if field[1] < field[2]] == [], tab
    assert seen > 12
    dark = page.evaluate("document.body.classList.contains('dark')")
    assert dark == (scheme == "dark")

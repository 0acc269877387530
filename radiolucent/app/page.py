"""The page: four tabs, our styles and viewers. Nothing of it is fetched from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio

from radiolucent.app.judge_tab import add_judge
from radiolucent.app.services import Services
from radiolucent.app.suppress_tab import add_suppress
from radiolucent.app.synthesise_tab import add_synthesise
from radiolucent.app.xray_tab import add_xray

FOOTER_LINKS: list[Any] = []
SCRIPTS = ("common.js", "drop.js", "suppress.js", "xray.js")
STYLES = ("app.css",)
INTRODUCTION = """
<header class="rl-header"><h1>Radiolucent</h1>
<p><strong>Research use only: not a medical device.</strong> What you send stays on the machine that serves this page,
and is deleted after at most half an hour, or when the server ends. Never read a suppressed image without the
radiograph beside it.</p></header>
"""


def theme() -> Any:
    """Plain, with the system's fonts, and buttons whose text stands out as WCAG AA asks.

    Returns:
        A theme of gradio's.
    """
    fonts = [gradio.themes.Font(name) for name in ("system-ui", "sans-serif")]
    mono = [gradio.themes.Font(name) for name in ("ui-monospace", "monospace")]
    return gradio.themes.Default(
        primary_hue="blue", secondary_hue="blue", neutral_hue="gray", font=fonts, font_mono=mono
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        color_accent="*primary_700",
        slider_color="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        input_border_color="*neutral_500",
        input_border_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        slider_color_dark="*primary_400",
    )


def head() -> str:
    """Our styles and scripts, in the page itself.

    Returns:
        HTML, so that no further request is needed for it.
    """
    folder = files("radiolucent") / "app" / "static"
    styles = "".join(f"<style>{(folder / name).read_text(encoding='utf-8')}</style>" for name in STYLES)
    scripts = "".join(f"<script>{(folder / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS)
    return styles + scripts


def build_page(services: Services) -> gradio.Blocks:
    """Gradio's Blocks of all tabs.

    Args:
        services: What the tabs work with.

    Returns:
        The page, not yet served.
    """
    with gradio.Blocks(title="Radiolucent", analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(INTRODUCTION, js_on_load=None)
        with gradio.Tabs():
            with gradio.Tab("Suppress", elem_id="suppress"):
                add_suppress(services)
            with gradio.Tab("X-ray a CT", elem_id="xray"):
                add_xray(services)
            with gradio.Tab("Synthesise", elem_id="synthesise"):
                add_synthesise(services)
            with gradio.Tab("Judge", elem_id="judge"):
                add_judge(services)
    return page

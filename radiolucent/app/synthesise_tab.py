"""The tab Synthesise: a prompt, a view, and a grid of seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import gradio

from radiographs.vocabulary import VIEWS
from radiolucent.app.drawing import missing_for_text
from radiolucent.app.limits import refused, status
from radiolucent.app.services import Services
from radiolucent.app.waiting import MODEL, PRIVATE, in_turn
from radiolucent.synthesis.packaged import packaged_prompts
from radiolucent.synthesis.prompts import read_prompts

NO_MODEL = (
    "No synthesis model came with this installation, and none was given. Start the page with: radiolucent app "
    "--synthesis FOLDER, the folder of a pipeline that radiolucent fit trained, or of any text-to-image model of "
    "diffusers."
)
ANY_VIEW = "any"
LONGEST = 26  # letters of an example that are shown


class SynthesiseTab:
    """The tab's event.

    Args:
        services: Of the page; without a drawing the tab says what is missing.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def draw(
        self, prompt: str, view: str, seed: float, steps: float, count: float, boxes: str, old: str
    ) -> Iterator[tuple[str, str, str]]:
        """Draw a grid of images.

        Args:
            prompt: What they shall show.
            view: Of the model's views, or ANY_VIEW.
            seed: Of the first image.
            steps: Of sampling.
            count: Images, of one seed after another.
            boxes: Where findings shall be; "" for anywhere.
            old: Token of the images shown so far, which are deleted; "" for none.

        Yields:
            (status, grid, token): HTML and HTML, and "" as token where nothing came of it.
        """
        if self.services.drawing is None:
            yield status(NO_MODEL), "", ""
            return
        self.services.store.drop(old)
        entry = self.services.store.new("synthetic")
        yield status(f"Drawing {count:.0f} image(s), {steps:.0f} steps each ..."), "", entry.token
        asked = (prompt or "", "" if view == ANY_VIEW else view)
        try:
            seeds = self.services.drawing.draw(entry, *asked, int(seed), int(steps), int(count), boxes or "")
        except Exception as error:  # one line, whatever went wrong
            self.services.store.drop(entry.token)
            yield refused(error, entry.folder), "", ""
            return
        figures = "".join(
            f'<rl-picture data-path="picture/{entry.token}/{number}.png" data-about="synthetic, seed {number}" '
            f'data-name="synthetic_{number}.png" data-caption="seed {number}"></rl-picture>'
            for number in seeds
        )
        yield status("Synthetic: these images show no patient."), f'<div class="rl-drawn">{figures}</div>', entry.token


def example_prompts(views: Sequence[str]) -> dict[str, tuple[str, str]]:
    """{prompt, shortened: (prompt, view)} of the packaged prompts, as far as the model knows their views.

    Args:
        views: Those that the model knows.

    Returns:
        Examples of other views stand under ANY_VIEW.
    """
    rows, _ = read_prompts(packaged_prompts(), views=VIEWS)
    known = ((row.prompt, row.view if row.view and row.view in views else ANY_VIEW) for row in rows)
    return {f"{view}: {prompt[:LONGEST]}…": (prompt, view) for prompt, view in known}


def add_synthesise(services: Services) -> None:
    """Build the tab inside gradio's current block.

    Args:
        services: Of the page.
    """
    tab = SynthesiseTab(services)
    model = services.drawing
    missing = missing_for_text()
    said = NO_MODEL if model is None else "Write what the radiograph should show."
    with gradio.Row(equal_height=False):
        with gradio.Column(scale=1, min_width=280):
            views = VIEWS if model is None else model.views
            examples = example_prompts(views)
            chosen = gradio.Dropdown(list(examples), label="Examples", value=next(iter(examples)))
            first = next(iter(examples.values()))
            prompt = gradio.Textbox(first[0], label="Prompt", lines=3, max_length=services.limits.prompt)
            view = gradio.Dropdown([ANY_VIEW, *views], value=first[1], label="View")
            boxes = gradio.Textbox(
                "",
                label="Where (optional)",
                placeholder="nodule 0.20 0.25 0.35 0.40",
                info="finding and its box: left, top, right, bottom as parts of the picture; several with ;",
                max_length=services.limits.prompt,
                visible=model is not None and model.takes_places,
            )
            seed = gradio.Number(0, label="First seed", precision=0, minimum=0)
            steps = gradio.Slider(
                1, services.limits.steps, 50 if model is None else model.options.steps, step=1, label="Steps"
            )
            count = gradio.Slider(1, services.limits.drawn, 4, step=1, label="Images", info="one seed after another")
            draw = gradio.Button("Draw", variant="primary", interactive=model is not None)
            if missing:
                gradio.HTML(status(f"Models that read text need: {missing}"), js_on_load=None)
        with gradio.Column(scale=4, min_width=320):
            about = gradio.HTML(status(said), js_on_load=None)
            grid = gradio.HTML("", js_on_load=None)
    token = gradio.State("")
    inputs, outputs = [prompt, view, seed, steps, count, boxes, token], [about, grid, token]
    chosen.change(None, [chosen], [prompt, view], js=f"(chosen) => ({json.dumps(examples)})[chosen]", **PRIVATE)
    in_turn(draw.click, tab.draw, inputs, outputs, services.limits, kind=MODEL)

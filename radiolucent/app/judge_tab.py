"""The tab Judge: folders of truth and methods are dropped, the suppression report opens in the page."""

from __future__ import annotations

from collections.abc import Iterator

import gradio

from radiolucent.app.judging import judge
from radiolucent.app.limits import refused, status
from radiolucent.app.services import Services
from radiolucent.app.waiting import MODEL, in_browser, in_turn

HINT = (
    "Choose a folder of radiographs and one of their true soft-tissue images (of the same names), and what is to be "
    "judged: folders of results, or the model of this page."
)
METHODS = 3


class JudgeTab:
    """The tab's event.

    Args:
        services: Of the page: store, model and limits.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def judge(
        self, radiographs: list[str] | None, truth: list[str] | None, with_model: bool, old: str, *methods: object
    ) -> Iterator[tuple[str, str, str]]:
        """Measure what was sent, and show the report.

        Args:
            radiographs: Files of the folder that was dropped; None for nothing.
            truth: Likewise.
            with_model: Whether the page's model is judged too.
            old: Token of the report shown so far, which is deleted; "" for none.
            methods: Names and files in turn; a method without files does not count.

        Yields:
            (status, report, token): HTML and HTML, and "" as token where nothing came of it.
        """
        pairs = zip(methods[::2], methods[1::2])
        named = {str(name or f"method {i + 1}").strip()[:60]: sent for i, (name, sent) in enumerate(pairs) if sent}
        if not radiographs or not truth or not (named or with_model):
            yield status(HINT), "", old
            return
        self.services.store.drop(old)
        entry = self.services.store.new("judgement")
        yield status(f"Measuring {len(radiographs)} radiograph(s) ..."), "", entry.token
        try:
            model = self.services.suppressor if with_model else None
            judge(entry, radiographs, truth, named, model, self.services.limits)  # type: ignore[arg-type]
        except Exception as error:  # one line, whatever went wrong
            self.services.store.drop(entry.token)
            yield refused(error, entry.folder), "", ""
            return
        yield status("Measured."), f'<rl-report data-token="{entry.token}"></rl-report>', entry.token


def add_judge(services: Services) -> None:
    """Build the tab inside gradio's current block.

    Args:
        services: Of the page.
    """
    tab = JudgeTab(services)
    with gradio.Row(equal_height=False):
        given = [
            gradio.File(label=label, file_count="directory", type="filepath", height=170, elem_id=name)
            for name, label in (("radiographs", "Radiographs (a folder)"), ("truth", "True soft tissue (a folder)"))
        ]
    pairs: list[gradio.components.Component] = []
    with gradio.Row(equal_height=False):
        for number in range(METHODS):
            with gradio.Column(min_width=220):
                pairs.append(gradio.Textbox(f"method {number + 1}", label="Name", max_lines=1, max_length=60))
                pairs.append(
                    gradio.File(
                        label="Results (a folder)",
                        file_count="directory",
                        type="filepath",
                        height=170,
                        elem_id=f"results-{number + 1}",
                    )
                )
    with_model = gradio.Checkbox(False, label="Let the model of this page suppress the radiographs too")
    start = gradio.Button("Judge", variant="primary")
    said = gradio.HTML(status(HINT), js_on_load=None)
    report = gradio.HTML("", js_on_load=None)
    token = gradio.State("")
    inputs, outputs = [*given, with_model, token, *pairs], [said, report, token]
    done = in_turn(start.click, tab.judge, inputs, outputs, services.limits, kind=MODEL)
    files = [*given, *pairs[1::2]]
    in_browser(done.success, files, *[None] * len(files))

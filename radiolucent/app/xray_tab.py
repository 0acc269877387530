"""The tab X-ray a CT: a CT is turned by hand, and its radiograph follows."""

from __future__ import annotations

import html
from collections.abc import Iterator

import gradio

from radiolucent.app.limits import refused, status
from radiolucent.app.scene import FINDINGS, LOOKS
from radiolucent.app.scenes import SAMPLE
from radiolucent.app.services import Services
from radiolucent.app.uploads import shown_name, take, volume_suffix
from radiolucent.app.waiting import CT, in_turn

VIEWS = {"PA": "PA", "AP": "AP", "LL": "Left lateral", "RL": "Right lateral"}
TURN = "Drag the picture to turn and tip it, or use the sliders or arrow keys."
READY = f"The packaged CT (LIDC-IDRI-0001, CC BY 3.0). {TURN}"


class XrayTab:
    """The tab's events.

    Args:
        services: Of the page: store, scenes and limits.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def sent(self, file: str | None, series: str, old: str) -> Iterator[tuple[str, str, str, None]]:
        """Show a CT that was dropped.

        Args:
            file: Where gradio put it; None for nothing, which goes back to the packaged CT.
            series: Number or UID, where a zip holds several; "" for the only one.
            old: Token of the CT shown so far, which is deleted; "" for the packaged one.

        Yields:
            (status, viewer, token, None, which empties the field): HTML and HTML, and "" as token where nothing came of
            it.
        """
        if not file:
            yield status(READY), viewer_html(SAMPLE, True), "", None
            return
        self._forget(old)
        entry = self.services.store.new(shown_name(file))
        yield status(f"{entry.name}: reading it, and finding body and bone ..."), "", "", None
        try:
            path = take(entry, file, self.services.limits.upload, volume_suffix(entry.name))
            scene, notes = self.services.scenes.add(entry, path, (series or "").strip()[:80])
        except Exception as error:  # one line, whatever went wrong
            self.services.store.drop(entry.token)
            yield refused(error, entry.folder, entry.name), "", "", None
            return
        shape = " x ".join(str(n) for n in scene.volume.hu.shape[::-1])
        about = status(f"{entry.name}: {shape} voxels around the body. {TURN}")
        if notes:
            items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
            about += f'<div class="rl-status rl-problem" role="alert">To know:<ul>{items}</ul></div>'
        yield about, viewer_html(entry.token, scene.takes_findings), entry.token, None

    def sample(self, old: str) -> tuple[str, str, str]:
        """Go back to the packaged CT.

        Args:
            old: Token of the CT shown so far, which is deleted; "" for none.

        Returns:
            (status, viewer, "" as token).
        """
        self._forget(old)
        return status(READY), viewer_html(SAMPLE, True), ""

    def _forget(self, token: str) -> None:
        self.services.store.drop(token)
        self.services.scenes.sweep()


def viewer_html(token: str, takes_findings: bool) -> str:
    """The element of static/xray.js for a CT.

    Args:
        token: Of the CT, or SAMPLE.
        takes_findings: Whether findings can be put into it.

    Returns:
        HTML; the script finds its settings in the element's data.
    """
    findings = ",".join(sorted(FINDINGS)) if takes_findings else ""
    views = ",".join(f"{name}:{said}" for name, said in VIEWS.items())
    about = f'data-views="{views}" data-looks="{LOOKS}" data-findings="{findings}"'
    return f'<xray-view data-ct="{token}" {about}></xray-view>'


def add_xray(services: Services) -> None:
    """Build the tab inside gradio's current block.

    Args:
        services: Of the page.
    """
    tab = XrayTab(services)
    said = gradio.HTML(status(READY), js_on_load=None)
    viewer = gradio.HTML(viewer_html(SAMPLE, True), js_on_load=None)
    with gradio.Row(equal_height=False):
        file = gradio.File(
            label="Your CT (NIfTI, MHA, NRRD, or a zip of DICOM slices)", type="filepath", height=170, elem_id="ct"
        )
        with gradio.Column(min_width=240):
            series = gradio.Textbox(
                "", label="Series", info="its number or UID, where a zip holds several", max_lines=1, max_length=80
            )
            sample = gradio.Button("Back to the packaged CT")
    token = gradio.State("")
    outputs, limits = [said, viewer, token, file], services.limits
    in_turn(file.upload, tab.sent, [file, series, token], outputs, limits, kind=CT, emptied=[file])
    in_turn(sample.click, tab.sample, [token], outputs[:3], limits, kind=CT)

"""The tab Suppress: a radiograph is dropped; before and after, strength, window, the test on this very image."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio

from radiographs.for_suppression import POLARITIES
from radiolucent.app.limits import INPUT, refused, status
from radiolucent.app.services import Services
from radiolucent.app.store import Entry
from radiolucent.app.suppression import SAMPLES
from radiolucent.app.uploads import shown_name, take
from radiolucent.app.waiting import MODEL, in_browser, in_turn
from radiolucent.suppression.self_test import CLASSES

EXAMPLES = {"Example: digital": 1, "Example: film": 0}  # looks of the packaged CT (see drr.Look)
EXAMPLE_SIDE = 1024
STRENGTH_SHOWN = "document.querySelector('suppress-view')?.strength ?? 1"
HINT = "Drop a frontal chest radiograph (PNG, JPEG, TIFF or DICOM), or take an example: it is suppressed at once."


class SuppressTab:
    """The tab's events; each returns what its outputs show.

    Args:
        services: Of the page: store, model, scenes and limits.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def sent(self, file: str | None, polarity: str, samples: float, old: str) -> Iterator[tuple[str, str, str, None]]:
        """Suppress a file that was dropped.

        Args:
            file: Where gradio put it; None for nothing.
            polarity: One of POLARITIES.
            samples: Answers that are averaged.
            old: Token of the image shown so far, which is deleted; "" for none.

        Yields:
            (status, viewer, token, None, which empties the field): HTML and HTML, and "" as token where nothing came of
            it.
        """
        if not file:
            yield status(HINT), "", old, None
            return
        self.services.store.drop(old)
        entry = self.services.store.new(shown_name(file))
        try:
            path = take(entry, file, self.services.limits.radiograph)
        except (ValueError, OSError) as error:
            self.services.store.drop(entry.token)
            yield refused(error, entry.folder, entry.name), "", "", None
            return
        yield from self._suppressed(entry, path, polarity, samples)

    def example(self, look: int, polarity: str, samples: float, old: str) -> Iterator[tuple[str, str, str, None]]:
        """Suppress the packaged CT seen from behind, as a radiograph.

        Args:
            look: 0 for film; 1 to LOOKS for a digital system's.
            polarity: As of `sent`.
            samples: As of `sent`.
            old: As of `sent`.

        Yields:
            As `sent`.
        """
        from radiolucent.app.scene import Shot, picture
        from radiolucent.rendering.images import write_image

        self.services.store.drop(old)
        entry = self.services.store.new("example.png")
        path = entry.folder / f"{INPUT}.png"
        yield status("Rendering the packaged CT ..."), "", "", None
        shot = Shot(size=EXAMPLE_SIDE, look=look)
        write_image(path, picture(self.services.scenes.sample().lines(shot), shot), "The packaged CT, PA")
        yield from self._suppressed(entry, path, polarity, samples)

    def again(self, polarity: str, samples: float, token: str) -> Iterator[tuple[str, str, str, None]]:
        """Suppress the image that is here with other settings.

        Args:
            polarity: As of `sent`.
            samples: As of `sent`.
            token: Of the image.

        Yields:
            As `sent`.
        """
        try:
            entry = self.services.store.get(token)
        except ValueError as error:
            yield refused(error) if token else status(HINT), "", "", None
            return
        path = next(entry.folder.glob(f"{INPUT}*"))
        yield from self._suppressed(entry, path, polarity, samples)

    def test(self, token: str, strength: float) -> Iterator[tuple[str, str]]:
        """Run the self-test on the image that is here.

        Args:
            token: Of the image.
            strength: As the slider shows it, above 0 and at most 1.

        Yields:
            (status, table, legend and map as HTML).
        """
        yield status("Putting nodules of 8, 12 and 20 mm into this image and suppressing it 12 times ..."), ""
        entry = None
        try:
            entry = self.services.store.get(token)
            found = self.services.suppression.self_test(entry, float(strength))
            found.write_map(entry.folder / "selftest.png")
        except Exception as error:  # one line, whatever went wrong
            folder = None if entry is None else entry.folder
            yield refused(error, folder) if token else status(HINT), ""
            return
        rows = "".join(
            f"<tr><th scope=row>{html.escape(size)}</th><td>{row['n']:.0f}</td><td>{row['kept']:.0%}</td>"
            f"<td>{row['at_90']:.0%}</td><td>{row['half_lost']:.0%}</td></tr>"
            for size, row in found.summary().items()
        )
        heads = "".join(f"<th scope=col>{head}</th>" for head in ("size", "n", "kept", "keep 90%", "half lost"))
        table = f"<table class=rl-table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        about = "Map of implanted nodules: the colour of each place says how much of a nodule there would survive"
        named = f'data-about="{about}" data-name="selftest.png" data-caption="map"'
        picture = f'<rl-picture data-path="picture/{entry.token}/selftest.png" {named}></rl-picture>'
        note = "<p>Balls that were put in, not findings: what suppression does to them in this image.</p>"
        yield status(f"Tested at strength {strength:.2f}."), table + note + legend() + picture

    def _suppressed(
        self, entry: Entry, path: Path, polarity: str, samples: float
    ) -> Iterator[tuple[str, str, str, None]]:
        doing = "suppressing" if samples == 1 else f"suppressing {samples:.0f} times"
        yield status(f"{entry.name}: {doing} ..."), "", entry.token, None
        try:
            source = self.services.suppression.read(entry, path, polarity)
            self.services.suppression.run(entry, source, int(samples))
        except Exception as error:  # one line, whatever went wrong
            line = refused(error, entry.folder, entry.name)
            self.services.store.drop(entry.token)
            yield line, "", "", None
            return
        height, width = source.pixels.shape
        warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in entry.kept["warnings"])
        about = status(f"{entry.name}: {width} x {height} pixels, {source.bits} bits.")
        if warnings:
            about += f'<div class="rl-status rl-problem" role="alert">Warning:<ul>{warnings}</ul></div>'
        kind = "" if source.format in ("png", "jpeg") else source.format
        yield about, f'<suppress-view data-token="{entry.token}" data-kind="{kind}"></suppress-view>', entry.token, None


def legend() -> str:
    """The map's colours in words, as HTML: in the picture they are too small to be read on a small screen.

    Returns:
        A list.
    """
    items = (f'<li><i style="background:rgb{colour}"></i>{html.escape(text)}</li>' for _, colour, text in CLASSES)
    return f"<ul class=rl-legend>{''.join(items)}</ul>"


def add_suppress(services: Services) -> None:
    """Build the tab inside gradio's current block.

    Args:
        services: Of the page.
    """
    tab = SuppressTab(services)
    with gradio.Row(equal_height=False):
        with gradio.Column(scale=1, min_width=280):
            file = gradio.File(
                label="Radiograph (PNG, JPEG, TIFF, DICOM)", type="filepath", height=170, elem_id="radiograph"
            )
            with gradio.Row():
                examples = [gradio.Button(name, size="sm") for name in EXAMPLES]
            polarity = gradio.Dropdown(
                list(POLARITIES), value="auto", label="Polarity", info="auto turns what surely is a negative"
            )
            samples = gradio.Slider(
                1, SAMPLES, 1, step=1, label="Answers averaged", info="more than 1 also shows how sure the model is"
            )
            again = gradio.Button("Suppress again with these settings")
            test = gradio.Button("Test on my image", variant="primary")
            if find_spec("pylibjpeg") is None:
                gradio.HTML(
                    status("DICOM in JPEG 2000 or lossless JPEG is not read: pip install 'radiolucent[dicom]'"),
                    js_on_load=None,
                )
        with gradio.Column(scale=4, min_width=320):
            said = gradio.HTML(status(HINT), js_on_load=None)
            viewer = gradio.HTML("", js_on_load=None)
            tested = gradio.HTML("", js_on_load=None)
            map_ = gradio.HTML("", js_on_load=None)
    token = gradio.State("")
    strength = gradio.Number(1.0, visible=False)
    outputs = [said, viewer, token, file]
    given = [polarity, samples, token]
    starts: list[tuple[Any, Callable[..., Any], list[Any]]] = [(file.upload, tab.sent, [file, *given])]
    starts += [(b.click, tab.example, [gradio.State(look), *given]) for b, look in zip(examples, EXAMPLES.values())]
    starts += [(again.click, tab.again, given)]
    for listen, work, inputs in starts:
        event = in_turn(listen, work, inputs, outputs, services.limits, kind=MODEL, emptied=[file])
        in_browser(event.success, [tested, map_], "", "")
    js = f"(token, _) => [token, {STRENGTH_SHOWN}]"
    in_turn(test.click, tab.test, [token, strength], [tested, map_], services.limits, kind=MODEL, js=js)

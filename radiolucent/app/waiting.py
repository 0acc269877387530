"""Requests that wait for their turn: the page says so at once, and says it too where there is no room to wait."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from radiolucent.app.limits import Limits, problem, status

MODEL, CT = "model", "ct"  # kinds of work: one of each at a time
WAITING = "Waiting for its turn ..."
PRIVATE = {"api_visibility": "private"}


def in_turn(
    listen: Callable[..., Any],
    work: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    limits: Limits,
    *,
    kind: str,
    emptied: Sequence[Any] = (),
    js: str | None = None,
) -> Any:
    """Have an event do its work when it is its turn.

    What is said meanwhile is said by the browser: a word from the server would have to wait, too.

    Args:
        listen: Of a component, such as `button.click`.
        work: What is done; a generator.
        inputs: Components whose values it takes.
        outputs: Those that it fills; the first one is the status.
        limits: How many may wait.
        kind: Events of one kind are done one after another.
        emptied: Components that are emptied where there is no room.
        js: What the browser makes of the inputs before they are sent.

    Returns:
        gradio's event, for what comes after it.
    """
    listen(None, None, outputs[0], js=_script(status(WAITING)), **PRIVATE)
    event = listen(work, list(inputs), list(outputs), js=js, concurrency_id=kind, show_progress="hidden", **PRIVATE)
    many = f"{limits.waiting} request{'' if limits.waiting == 1 else 's'}"
    refused = problem(
        f"Not done: {many} wait here already, the most that may, or the server has ended. Try again later."
    )
    event.failure(None, None, [outputs[0], *emptied], js=_script(refused, *[None] * len(emptied)), **PRIVATE)
    return event


def in_browser(listen: Callable[..., Any], outputs: Sequence[Any], *values: Any) -> None:
    """Have an event set components to fixed values, without the server.

    Args:
        listen: Of an event, such as `button.click`.
        outputs: The components.
        values: One for each of them, JSON values.
    """
    listen(None, None, list(outputs), js=_script(*values), **PRIVATE)


def _script(*values: Any) -> str:
    text = json.dumps(values[0] if len(values) == 1 else values)
    return f"() => {text}"

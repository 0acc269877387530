"""A server of the page with a small model, and a headless browser on it; skipped, with the reason, where one lacks."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

UPLOADED = "GRADIO_TEMP_DIR"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def services(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the tabs work with: the small model of random weights."""
    from radiolucent.app.limits import Limits
    from radiolucent.app.services import Services
    from radiolucent.suppression.suppressor import Suppressor

    root = tmp_path_factory.mktemp("app")
    return Services(
        root, Suppressor(checkpoint, device="cpu", size=32, steps=2), None, replace(Limits(), voxels=20_000_000)
    )


@pytest.fixture
def command(services: Any, checkpoint: Path) -> Callable[..., int]:
    """command(radiograph, out, *options): `radiolucent suppress` with the page's model and settings.

    In as many threads as a process of its own would have, since float sums depend on it: numba gives every thread that
    it runs in all cores, whatever was set.
    """
    import torch

    from radiolucent.cli import dispatch

    def run(radiograph: Path, out: Path, *options: str) -> int:
        torch.set_num_threads(services.suppression.threads)
        words = ["--checkpoint", str(checkpoint), "--size", "32", "--steps", "2", "--device", "cpu"]
        return dispatch(["suppress", str(radiograph), *words, "--out", str(out), *options])

    return run


@contextmanager
def serving(services: Any, **options: Any) -> Iterator[str]:
    """The address of a server of these services; options as for `radiolucent.app.server.build`.

    Where uploads lie is one of the process's variables, so what a server beside it had is put back in the end.
    """
    pytest.importorskip("gradio", reason="gradio is not installed (extra: app)")
    import uvicorn

    from radiolucent.app.server import build

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = os.environ.get(UPLOADED)
    server = uvicorn.Server(
        uvicorn.Config(build(services, **options), port=port, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    if before is not None:
        os.environ[UPLOADED] = before


@pytest.fixture(scope="session")
def address(services: Any) -> Iterator[str]:
    """Where the page is served."""
    with serving(services) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed (one of {', '.join(BROWSERS)})")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A visitor's page, open; every request and every error of its scripts is noted in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.get_by_role("tab", name="Suppress").wait_for()
    yield page
    context.close()
    assert page.errors == []

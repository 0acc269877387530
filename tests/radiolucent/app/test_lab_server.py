"""The page as a lab serves it: behind a proxy, with a login, and with more visitors than it has room for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from radiolucent.app.guard import Login
from radiolucent.app.services import Services

from .conftest import serving

PREFIX = b"/lab/xray"


def pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes of one side to the other, until it has no more."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve_one(client: socket.socket, upstream: tuple[str, int]) -> None:
    """A request passed on as nginx does by default: the prefix gone, Host that of the server behind, nothing added."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(1 << 16)
        if not data:
            client.close()
            return
        head += data
    lines = head.split(b"\r\n")
    if not lines[0].split(b" ")[1].startswith(PREFIX + b"/"):
        client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.close()
        return
    lines[0] = lines[0].replace(PREFIX, b"", 1)
    socketed = any(line.lower().startswith(b"upgrade:") for line in lines)
    dropped = (b"host:",) if socketed else (b"host:", b"connection:")
    lines = [line for line in lines if not line.lower().startswith(dropped)]
    lines.insert(1, b"Host: %s:%d" % (upstream[0].encode(), upstream[1]))
    if not socketed:
        lines.insert(1, b"Connection: close")
    with socket.create_connection(upstream) as server:
        server.sendall(b"\r\n".join(lines))
        thread = threading.Thread(target=pump, args=(client, server), daemon=True)
        thread.start()
        pump(server, client)
    client.close()


@contextmanager
def proxy() -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of a proxy below PREFIX, and what to tell it: "to", the server's address."""
    told: dict[str, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                parts = urlsplit(told["to"])
                threading.Thread(target=serve_one, args=(client, (parts.hostname, parts.port)), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        yield f"http://localhost:{listening.getsockname()[1]}{PREFIX.decode()}", told
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def small(services: Any, tmp_path: Path) -> Callable[..., Services]:
    """small(drawing=None, **limits): services of their own with the small model."""

    def make(drawing: Any = None, **limits: Any) -> Services:
        root = tmp_path / "app"
        root.mkdir()
        return Services(root, services.suppressor, drawing, replace(services.limits, **limits))

    return make


def test_all_works_below_a_proxys_path_and_behind_a_login(
    browser: Any, small: Callable[..., Services], synthesis: Path, sample_radiograph: Path, tmp_path: Path,
    command: Callable[..., int],
) -> None:  # fmt: skip
    from radiolucent.app.drawing import Drawing
    from radiolucent.app.limits import Limits

    (tmp_path / "password").write_text("correct horse\n")
    login = Login.read(f"ada:{tmp_path / 'password'}")
    services = small(Drawing.of(str(synthesis), "cpu", Limits()))
    with proxy() as (address, told), serving(services, root_path=address, login=login) as behind:
        told["to"] = behind
        stranger = browser.new_context()
        assert stranger.request.get(f"{address}/").status == 401
        stranger.close()
        context = browser.new_context(
            http_credentials={"username": "ada", "password": "correct horse"}, accept_downloads=True
        )
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.goto(f"{address}/")

        page.locator("#radiograph input[type=file]").set_input_files(sample_radiograph)
        page.locator("suppress-view[data-ready]").wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert command(sample_radiograph, tmp_path / "out") == 0
        assert Path(download.value.path()).read_bytes() == (tmp_path / "out/radiograph.png").read_bytes()

        page.get_by_role("tab", name="X-ray a CT").click()
        page.locator("xray-view[data-ready]").wait_for(timeout=120_000)  # its websocket goes through the proxy, too
        assert int(page.locator("xray-view").get_attribute("data-frames")) > 0

        page.get_by_role("tab", name="Synthesise").click()
        page.get_by_label("Prompt", exact=True).fill("effusion")
        page.get_by_label("number input for Images").fill("2")
        page.get_by_label("First seed").fill("3")
        page.get_by_role("button", name="Draw").click()
        drawn = page.locator(".rl-drawn img")
        drawn.nth(1).wait_for()
        page.wait_for_function("[...document.querySelectorAll('.rl-drawn img')].every((i) => i.naturalWidth > 0)")
        alts = [drawn.nth(i).get_attribute("alt") for i in range(drawn.count())]
        assert alts == ["synthetic, seed 3", "synthetic, seed 4"]
        context.close()
        assert errors == []


def test_who_waits_is_told_so_and_who_comes_too_late_too(
    browser: Any, small: Callable[..., Services], sample_radiograph: Path
) -> None:
    """One network is at work, one visitor waits for it, the third is sent away; the two get their results."""
    services = small(waiting=1)
    with serving(services) as address:
        pages = [browser.new_context().new_page() for _ in range(3)]
        said = []
        with services.suppression._model:  # a long run of somebody's
            for page, expected in zip(pages, ("suppressing", "waiting for its turn", "try again later")):
                page.goto(address)
                page.locator("#radiograph input[type=file]").set_input_files(sample_radiograph)
                status = page.locator("[role=tabpanel]:visible .rl-status").filter(has_text=expected)
                status.wait_for()
                said.append(status.inner_text())
        assert "1 request" in said[2]
        for page in pages[:2]:
            page.locator("suppress-view[data-ready]").wait_for()
        for page in pages:
            page.context.close()

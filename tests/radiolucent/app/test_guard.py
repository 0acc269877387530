"""Who may ask the page what: hosts, other pages, a login, paths of this machine, too much at once."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from radiolucent.app.guard import CLOSED, LOOPBACK, Guard, Login
from radiolucent.app.limits import Limits
from radiolucent.cli import dispatch


def ask(guard: Guard, path: str = "/", kind: str = "http", method: str = "GET", **headers: str) -> list[dict[str, Any]]:
    """What a request is answered with; `x_y` stands for the header x-y."""
    sent: list[dict[str, Any]] = []
    named = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"type": kind, "path": path, "method": method, "headers": raw, "root_path": ""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    work = guard(scope, receive, send)
    try:  # nothing in it waits, so that no event loop is needed; a browser's may run in this thread
        work.send(None)
    except StopIteration:
        return sent
    raise AssertionError("it waits for something")


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


def status(answer: list[dict[str, Any]]) -> int:
    return answer[0].get("status", answer[0].get("code"))


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(inside, tmp_path, Limits(), LOOPBACK, None)


def test_a_name_that_was_bent_to_this_machine_gets_nothing(guard: Guard) -> None:
    assert status(ask(guard)) == 200
    assert status(ask(guard, host="localhost:7860")) == status(ask(guard, host="[::1]:7860")) == 200
    assert status(ask(guard, host="evil.example:7860")) == 421


@pytest.mark.parametrize(("kind", "refused"), [("http", 403), ("websocket", 1008)])
def test_another_page_may_not_post_nor_open_a_socket(guard: Guard, kind: str, refused: int) -> None:
    assert status(ask(guard, kind=kind, method="POST", origin="https://evil.example")) == refused
    assert status(ask(guard, kind=kind, method="POST", origin="null")) == refused
    assert status(ask(guard, kind=kind, method="POST", origin="http://127.0.0.1:7860")) == 200


def test_behind_a_proxy_the_pages_own_origin_is_let_in(guard: Guard) -> None:
    origin = {"origin": "https://lab.example", "x_forwarded_host": "lab.example"}
    assert status(ask(guard, method="POST", **origin)) == 200


def test_a_login_opens_and_its_cookie_goes_on(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    login = Login.read(f"ada:{tmp_path / 'password'}")
    guard = Guard(inside, tmp_path, Limits(), None, login)

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert status(ask(guard)) == 401
    assert status(ask(guard, kind="websocket")) == 1008
    for wrong in ("ada:correct hors", "eve:correct horse", "ada", ""):
        assert status(ask(guard, authorization=basic(wrong))) == 401
    assert status(ask(guard, authorization="Basic ???")) == 401
    answer = ask(guard, authorization=basic("ada:correct horse"), host="anything")
    assert status(answer) == 200
    cookie = dict(answer[0]["headers"])[b"set-cookie"].decode()
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert status(ask(guard, kind="websocket", cookie=cookie.partition(";")[0])) == 200
    assert status(ask(guard, cookie="radiolucent=guess")) == 401


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/proxy=https://evil.example/x", "/gradio_api/vibe-edit", "/gradio_api/run/predict",
     "/gradio_api/call/x", "/gradio_api/info", "/gradio_api/run-history/records", "/gradio_api/process_recording"],
)  # fmt: skip
def test_doors_that_nobody_needs_are_closed(guard: Guard, path: str) -> None:
    assert status(ask(guard, path)) == 404
    assert CLOSED.match("/gradio_api/queue/join") is None and CLOSED.match("/gradio_api/upload") is None


def test_too_much_at_once_is_refused(guard: Guard) -> None:
    assert status(ask(guard, "/gradio_api/upload", method="POST", content_length=str(3 << 30))) == 413
    assert status(ask(guard, "/gradio_api/upload", method="POST", content_length="-1")) == 413
    assert status(ask(guard, "/gradio_api/upload", method="POST", content_length="1000")) == 200


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "opens the page to others: add --auth"),
        (["--auth", "ada"], "give USER:FILE"),
        (["--auth", "ada:missing"], "there is no such file"),
        (["--port", "0"], "give one from 1 to 65535"),
        (["--root-path", "lab"], "give a path such as /lab/xray"),
        (["--queue", "0"], "it must be 1 or more"),
        (["--share"], "share"),
    ],
)
def test_options_that_cannot_be_are_refused(words: list[str], says: str, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed (extra: app)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=says):
        dispatch(["app", *words])


def test_what_a_killed_server_left_is_deleted(tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile

    from radiolucent.app.server import temporary_folder

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / f"radiolucent-app-{2**22 + 1}-x"  # beyond the largest number that a process can have
    other = tmp_path / "radiolucent-app-mine"
    for folder in (dead, other):
        folder.mkdir()
    with temporary_folder() as here:
        (here / "file").write_text("x")
        assert not dead.exists() and other.exists() and f"-{os.getpid()}-" in here.name
        with temporary_folder():
            assert here.exists()
    assert not here.exists()


def test_no_path_or_address_from_the_browser_is_opened(page: Any, address: str, services: Any, tmp_path: Path) -> None:
    """gradio's queue is asked to take a file of this machine, and one of another, for an upload."""
    secret = tmp_path / "secret.png"
    secret.write_text("secret")
    config = page.request.get(f"{address}/config").json()
    event = next(d for d in config["dependencies"] if any(target[1] == "upload" for target in d["targets"]))
    for path in (str(secret), "/etc/passwd", f"{services.root}/keys/deidentification.key", f"{address}/config"):
        sent = {"path": path, "url": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
        data = [sent, "auto", 1, None]
        body = {"data": data, "fn_index": event["id"], "session_hash": "tester", "trigger_id": event["targets"][0][0]}
        joined = page.request.post(f"{address}/gradio_api/queue/join", data=body)
        if joined.status == 200:
            text = page.request.get(f"{address}/gradio_api/queue/data?session_hash=tester").text()
            last = [json.loads(line[6:]) for line in text.splitlines() if "process_completed" in line]
            assert last and not last[-1]["success"], text
            assert "secret.png" not in text and "passwd" not in text
        assert page.request.get(f"{address}/gradio_api/file={path}").status in (403, 404)
    assert secret.read_text() == "secret"

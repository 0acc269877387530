"""What stands before every request: which host was asked for, from which page, by whom, and how much is sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from radiolucent.app.limits import MIB, Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
COOKIE = "radiolucent"
# Doors of gradio that this page has no use for: proxies, code editing, recordings, calls that pass by the queue.
CLOSED = re.compile(
    r"/(gradio_api/)?(proxy=|vibe|undo-vibe|custom_component|deep_link|process_recording|run-history|runs|stream|"
    r"run/|api/|call/|info|openapi|dev/|component_server|monitoring)"
)
HEADERS = {
    # nothing is fetched from, sent to or framed by another place; gradio's page needs its inline scripts
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' {socket}; frame-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'self'; "
    "object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Login:
    """One user; the password is held as its hash alone.

    Attributes:
        user: The name, as the browser sends it.
        digest: Hash of name and password.
        session: A secret that the cookie holds, new in every process.
    """

    user: str
    digest: bytes
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @classmethod
    def read(cls, given: str) -> Login:
        """Read a user and a password from the words of --auth.

        Args:
            given: `USER:FILE`, the file holding the password in its first line.

        Returns:
            The login; the password itself is not kept.

        Raises:
            ValueError: Not of this form, or a password of fewer than 8 letters.
            FileNotFoundError: No such file.
        """
        user, colon, file = given.partition(":")
        if not (user and colon and file):
            raise ValueError(f"--auth {given}: give USER:FILE, where the first line of FILE is the password")
        if not Path(file).is_file():
            raise FileNotFoundError(f"--auth {user}:{file}: there is no such file; its first line is the password")
        password = (Path(file).read_text(encoding="utf-8").splitlines() or [""])[0].strip()
        if len(password) < 8:
            raise ValueError(f"--auth: the password in {file} has {len(password)} letters: give at least 8")
        return cls(user, _digest(user, password))

    def knows(self, authorization: str, cookie: str) -> bool:
        """Whether a request's headers are this user's: HTTP's basic authentication, or the cookie given after it.

        Args:
            authorization: The header of that name, or "".
            cookie: The header of that name, or "".

        Returns:
            False also for what cannot be read; secrets are compared in constant time.
        """
        if hmac.compare_digest(_session(cookie).encode(), self.session.encode()):
            return True
        kind, _, packed = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return kind.lower() == "basic" and hmac.compare_digest(_digest(user, password), self.digest)


def _digest(user: str, password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=f"radiolucent {user}".encode(), n=2**12, r=8, p=1)


def _session(cookie: str) -> str:
    try:
        found = SimpleCookie(cookie).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: What it guards.
        root: The temporary folder of everything that is sent.
        limits: Of one file, and of the folder.
        hosts: Names by which the page may be asked for, so that no page elsewhere can have its own name lead here
            (DNS rebinding); None allows all, for a server with a login.
        login: Who may come in; None: everybody.
        shown_at: The address at which a proxy shows it, if it is a whole one: a proxy may pass on any Host, and the
            page's own requests are known by this.
    """

    def __init__(
        self,
        app: Any,
        root: Path,
        limits: Limits,
        hosts: tuple[str, ...] | None,
        login: Login | None,
        shown_at: str = "",
    ) -> None:
        self.app, self.root, self.limits, self.hosts, self.login = app, root, limits, hosts, login
        shown = urlsplit(shown_at)
        self.proxy, self.secure = shown.netloc, "; Secure" if shown.scheme == "https" else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(scope, send, *refusal)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        new = self.login is not None and not _session(headers.get("cookie", ""))
        names = sorted({headers.get("host", ""), self.proxy} - {""})
        socket = " ".join(f"{scheme}://{name}" for name in names for scheme in ("ws", "wss"))

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                ours = {n: v.replace("{socket}", socket) for n, v in HEADERS.items() if n.encode() not in given}
                if new and self.login is not None:
                    ours["set-cookie"] = (
                        f"{COOKIE}={self.login.session}; HttpOnly; SameSite=Strict; Path=/{self.secure}"
                    )
                more = [(name.encode(), value.encode("latin-1")) for name, value in ours.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self.app(scope, self._counted(receive), answer)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """(status, line) for a request that goes no further."""
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return 421, f"this page is not called {_name(host)[:80]}: see --host and --root-path of `radiolucent app`"
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        here = {host, headers.get("x-forwarded-host", ""), self.proxy} - {""}
        if changes and origin and urlsplit(origin).netloc not in here:
            return 403, "another page may not use this one"
        if self.login is not None and not self.login.knows(headers.get("authorization", ""), headers.get("cookie", "")):
            return 401, "user and password are needed"
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        if CLOSED.match(path):
            return 404, "there is nothing here"
        if scope["type"] == "http" and scope["method"] == "POST":
            return self._too_much(headers.get("content-length", "0"))
        return None

    def _too_much(self, length: str) -> tuple[int, str] | None:
        most = self.limits.images_bytes
        if not length.isdigit() or int(length) > most:
            return 413, f"at most {most // MIB} MB are taken at once"
        held = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        if held + int(length) > self.limits.disk + most:
            return 507, "this server holds as much as it may: try again later"
        return None

    def _counted(self, receive: Receive) -> Receive:
        """A body without a length, cut where it is too long."""
        total = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            return message if total <= self.limits.images_bytes else {"type": "http.disconnect"}

        return counted


def _name(host: str) -> str:
    return host if host.endswith("]") else re.sub(r":\d*$", "", host)


async def _refuse(scope: Scope, send: Send, status: int, line: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": line[:100]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Radiolucent", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{line}\n".encode()})

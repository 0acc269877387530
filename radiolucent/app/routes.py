"""The page's own addresses, below /radiolucent/: what its viewers fetch, and what is downloaded. A token opens each."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from fastapi import FastAPI, Request, Response, WebSocket

from radiolucent.app.judging import FILES, REPORT
from radiolucent.app.limits import line_about
from radiolucent.app.scene import Shot
from radiolucent.app.scenes import written
from radiolucent.app.services import Services

PREFIX = "/radiolucent"
PRIVATE = {"cache-control": "no-store"}
SANDBOX = "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
SANDBOX += "script-src 'unsafe-inline'"


def add_routes(app: FastAPI, services: Services) -> None:
    """Put the page's own addresses into an application.

    Whatever goes wrong there is answered with status 400 and one line; nothing is raised here.

    Args:
        app: Takes the routes.
        services: What they answer from.
    """
    store = services.store

    def answer(make: Callable[[], Response], folder_of: str = "") -> Response:
        try:
            with services.turns:
                return make()
        except Exception as error:  # one line, whatever was asked for
            entry = store.get(folder_of) if folder_of and folder_of in store else None
            line = line_about(error, entry.folder if entry else None, entry.name if entry else "")
            return Response(f"{line}\n", 400, PRIVATE, "text/plain; charset=utf-8")

    def file(content: bytes, name: str, kind: str) -> Response:
        named = f"attachment; filename*=UTF-8''{quote(name)}"
        return Response(content, 200, {**PRIVATE, "content-disposition": named}, kind)

    @app.get(PREFIX + "/suppressed/{token}/layers")
    def layers(token: str) -> Response:
        make = services.suppression.layers
        return answer(lambda: Response(make(store.get(token)), 200, PRIVATE, "application/octet-stream"), token)

    @app.get(PREFIX + "/suppressed/{token}/download")
    def download(token: str, strength: float = 1.0, kind: str = "") -> Response:
        def make() -> Response:
            name, content = services.suppression.download(store.get(token), strength, kind)
            return file(content, name, "application/octet-stream")

        return answer(make, token)

    @app.get(PREFIX + "/picture/{token}/{name}")
    def pictures(token: str, name: str) -> Response:
        def make() -> Response:
            folder = store.get(token).folder
            known = {path.name: path for path in folder.glob("*.png")} | {
                path.name: path for path in (folder / "images").glob("*.png")
            }
            if name not in known:
                raise ValueError("there is no such picture")
            return Response(known[name].read_bytes(), 200, PRIVATE, "image/png")

        return answer(make, token)

    @app.get(PREFIX + "/xray/{token}/{what}")
    def xray(token: str, what: str, shot: str) -> Response:
        def make() -> Response:
            given = json.loads(shot)
            if what not in ("picture", "geometry") or not isinstance(given, dict):
                raise ValueError("a picture or its geometry, and its settings as a JSON object, are to be asked for")
            asked = Shot.read(given)
            picture, about = written(services.scenes.get(token), asked, "xray", store.root)
            stem = f"{asked.view}_{asked.yaw:g}_{asked.tilt:g}"
            if what == "picture":
                return file(picture, f"{stem}.png", "image/png")
            return file(about, f"{stem}.json", "application/json")

        return answer(make, token)

    @app.get(PREFIX + "/report/{token}/{name}")
    def report(token: str, name: str) -> Response:
        def make() -> Response:
            path = store.get(token).folder / REPORT / name
            if not FILES.fullmatch(name) or not path.is_file():
                raise ValueError("the report has no such page")
            kinds = {".html": "text/html; charset=utf-8", ".png": "image/png", ".csv": "text/csv"}
            headers = {**PRIVATE, "content-security-policy": SANDBOX}
            return Response(path.read_bytes(), 200, headers, kinds.get(path.suffix, "application/json"))

        return answer(make, token)

    @app.post(PREFIX + "/forget")
    async def forget(request: Request) -> Response:
        token = (await request.body())[:100].decode("ascii", "replace")
        store.drop(token)
        services.scenes.sweep()
        return Response(status_code=204)

    @app.websocket(PREFIX + "/rotate")
    async def rotate(socket: WebSocket) -> None:
        await services.rotation(socket)

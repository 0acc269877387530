"""The rotating CT: poses come in over a websocket, pictures go out; of poses that wait, only the latest counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from radiographs import to_levels
from radiolucent.app.limits import Limits, line_about
from radiolucent.app.packing import message
from radiolucent.app.scene import Scene, Shot, picture

JPEG_QUALITY = 88
PNG_EFFORT = 1  # of 9: a picture at rest is lossless, and soon there
LONGEST = 4000  # letters of a message
AT_ONCE = 2  # pictures that are computed at the same time


class Rotation:
    """What one server does for all its rotating CTs.

    Args:
        scene_of: The CT of a token.
        limits: How many may rotate at once.
    """

    def __init__(self, scene_of: Callable[[Any], Scene], limits: Limits) -> None:
        self.scene_of, self.limits = scene_of, limits
        self.open = 0
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, socket: Any) -> None:
        """Serve one websocket (starlette's) until it closes."""
        from starlette.websockets import WebSocketDisconnect

        await socket.accept()
        if self.open >= self.limits.sockets:
            text = f"{self.open} CTs are being turned here already, the most this server takes: try again later"
            await socket.send_text(json.dumps({"error": text}))
            await socket.close(1013)
            return
        self.open += 1
        viewer = _Viewer(self.scene_of)
        waiting: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        artist = asyncio.create_task(self._draw(socket, viewer, waiting))
        try:
            while True:
                text = await socket.receive_text()
                if waiting.full():
                    waiting.get_nowait()  # an older pose that nobody needs any more
                waiting.put_nowait(text)
        except (WebSocketDisconnect, KeyError):
            pass
        finally:
            self.open -= 1
            artist.cancel()

    async def _draw(self, socket: Any, viewer: _Viewer, waiting: asyncio.Queue[str]) -> None:
        from starlette.websockets import WebSocketDisconnect

        while True:
            text = await waiting.get()
            try:
                async with self._turns:
                    frame = await asyncio.to_thread(viewer.frame, text)
                await socket.send_bytes(frame)
            except (WebSocketDisconnect, RuntimeError):
                return
            except Exception as error:  # one line for the visitor, who may go on
                await socket.send_text(json.dumps({"error": line_about(error)}))


class _Viewer:
    """One visitor's CT; the last pose's line integrals are kept, so that display alone costs no projection."""

    def __init__(self, scene_of: Callable[[Any], Scene]) -> None:
        self.scene_of = scene_of
        self._pose: tuple[Any, ...] = ()
        self._lines = np.empty(0)

    def frame(self, text: str) -> bytes:
        """A message's answer: JPEG in motion; at rest, where `final` is set, PNG with boxes and report."""
        start = time.perf_counter()
        if len(text) > LONGEST:
            raise ValueError(f"a message of {len(text)} letters: at most {LONGEST} are read")
        try:
            given = json.loads(text)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise ValueError("a message that is no JSON object")
        shot, token = Shot.read(given), given.get("ct")
        scene = self.scene_of(token)
        if (token, *shot.pose) != self._pose:
            self._lines, self._pose = scene.lines(shot), (token, *shot.pose)
        levels = to_levels(picture(self._lines, shot), 8)
        final = bool(given.get("final"))
        kind, options = (
            (".png", [cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT])
            if final
            else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        )
        encoded = cv2.imencode(kind, levels, options)[1].tobytes()
        header = {"type": "image/png" if final else "image/jpeg", "final": final, "number": given.get("number")}
        if final:
            header |= _findings(scene, shot)
        header["ms"] = round(1000 * (time.perf_counter() - start), 1)
        return message(header, encoded)


def _findings(scene: Scene, shot: Shot) -> dict[str, Any]:
    if not shot.findings:
        return {"boxes": [], "report": ""}
    truth = scene.truth(shot)
    named = zip(truth.findings, truth.projections)
    boxes = [{"name": finding.kind, "place": finding.place, "box": projection.box} for finding, projection in named]
    return {"boxes": boxes, "report": truth.report}

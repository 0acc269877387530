"""The server of `radiolucent app`: gradio's page and our own addresses behind one guard, in a folder that goes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from radiolucent.app.guard import LOOPBACK, Guard, Login
from radiolucent.app.limits import Limits
from radiolucent.app.services import UPLOADS, Services

FOLDER = "radiolucent-app-"
SOCKET_BYTES = 1 << 16  # of one message


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for everything that visitors send, deleted at the end; those that killed servers left are deleted too.

    Its name holds the process's number, so that a folder whose process is gone is known.

    Yields:
        The folder, which only this user can read.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        number = left.name.removeprefix(FOLDER).partition("-")[0]
        if number.isdigit() and left.stat().st_uid == os.getuid() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def quiet_gradio(root: Path) -> None:
    """Gradio keeps its files in our folder, and tells nobody that it runs; before it is first imported.

    Args:
        root: The temporary folder; what is sent goes below UPLOADS.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(root / UPLOADS)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def build(
    services: Services, *, hosts: tuple[str, ...] | None = LOOPBACK, root_path: str = "", login: Login | None = None
) -> Any:
    """The application, to be run by an ASGI server.

    Args:
        services: What its tabs work with.
        hosts: Names by which it may be asked for; None for all.
        root_path: Where a proxy shows it: a path, or a whole address.
        login: Who may come in.

    Returns:
        An ASGI application, the guard around everything.
    """
    quiet_gradio(services.root)
    import gradio
    from fastapi import FastAPI

    from radiolucent.app.page import FOOTER_LINKS, build_page, head, theme
    from radiolucent.app.routes import add_routes

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, services)
    page = build_page(services)
    page.queue(max_size=services.limits.waiting, default_concurrency_limit=1, api_open=False)
    gradio.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=root_path or None,
        max_file_size=services.limits.upload,
        show_error=False,
        footer_links=FOOTER_LINKS,
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        theme=theme(),
        head=head(),
    )
    # Without it gradio takes a mounted page for one that is still being built, and lets a request name any file of
    # this machine as its upload.
    page.has_launched = True
    return Guard(app, services.root, services.limits, hosts, login, root_path)


def serve(application: Any, host: str, port: int) -> None:
    """Run until it is interrupted. Requests are not logged: their addresses hold visitors' secrets.

    Args:
        application: As `build` gives it.
        host: Name or address to listen at.
        port: TCP port.
    """
    import uvicorn

    uvicorn.run(
        application, host=host, port=port, log_level="warning", access_log=False, ws_max_size=SOCKET_BYTES,
        timeout_graceful_shutdown=3, server_header=False,
    )  # fmt: skip


def allowed_hosts(host: str, root_path: str) -> tuple[str, ...]:
    """The names by which a server on this machine may be asked for: its own, and that of the proxy before it.

    Args:
        host: As --host has it.
        root_path: As --root-path has it; a path alone adds no name.

    Returns:
        Names without a port.
    """
    proxy = urlsplit(root_path).hostname
    return (*LOOPBACK, host, *([proxy] if proxy else []))


def services_of(
    root: Path, checkpoint: str | None, synthesis: str | None, device: str, trust_remote_code: bool, limits: Limits
) -> Services:
    """The models, loaded and checked before anybody is served, and all else that the page works with.

    Args:
        root: The temporary folder.
        checkpoint: Of suppression, as `radiolucent suppress` takes it; None for the packaged one.
        synthesis: Of synthesis, as `radiolucent synthesize` takes it; None for the packaged one, if it is installed.
        device: "auto", "cpu" or "cuda".
        trust_remote_code: Whether code in the suppression model's folder may run.
        limits: Of everything that visitors send.

    Returns:
        The services, not yet started.

    Raises:
        ValueError: A model that does not suppress, or does not draw from text.
        OSError: No such folder.
    """
    from radiolucent.app.drawing import Drawing
    from radiolucent.suppression.suppressor import Suppressor
    from radiolucent.synthesis.packaged import packaged_synthesis_model

    suppressor = Suppressor(checkpoint, device=device, trust_remote_code=trust_remote_code)
    if synthesis is None:
        try:
            synthesis = packaged_synthesis_model()
        except FileNotFoundError:
            return Services(root, suppressor, None, limits)
    drawing = Drawing.of(synthesis, device, limits)
    return Services(root, suppressor, drawing, limits)

"""A page in the browser, on this machine: `radiolucent app`, then open the address that it prints.

Suppress bones in your own image, turn a CT and see its radiograph, draw synthetic ones, judge methods. What is sent to
the page stays on this machine, in a temporary folder, and is deleted. Needs the extra `app`. Research use only.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

PORTS = (1, 65535)


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent app`.

    Args:
        parser: Takes them.
    """
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on; other than this machine's "
                        "own only with --auth")  # fmt: skip
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--root-path", type=str, default="", help="where a proxy shows the page: /lab/xray, or https://HOST/lab/xray"
    )
    parser.add_argument("--auth", type=str | None, default=None, help="USER:FILE; FILE holds the password in a line")
    parser.add_argument(
        "--checkpoint", type=str | None, default=None, help="model of Suppress and Judge; default: the packaged one"
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code that lies in --checkpoint's folder: read it first"
    )
    parser.add_argument(
        "--synthesis",
        type=str | None,
        default=None,
        help="model of Synthesise: a folder, ours or diffusers'; default: the packaged one, if there is one",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the models run")
    parser.add_argument("--max-upload-mb", type=int, default=1024, help="largest file that is taken")
    parser.add_argument("--queue", type=int, default=24, help="requests that may wait; who comes later is told so")


def run(args: Namespace) -> int:
    """Serve until Ctrl-C.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0, when it was stopped.

    Raises:
        ValueError: A package of the extra `app` is missing, an option is out of its range, or the page would be open to
            others without a password.
    """
    for package in ("gradio", "websockets"):  # without the second one the page comes up and the CT never turns
        if find_spec(package) is None:
            raise ValueError(f"the page needs {package}, which is not installed: pip install 'radiolucent[app]'")
    from radiolucent.app.guard import LOOPBACK, Login
    from radiolucent.app.limits import MIB, Limits
    from radiolucent.app.server import allowed_hosts, build, serve, services_of, temporary_folder

    login = None if args.auth is None else Login.read(args.auth)
    if args.host not in LOOPBACK and login is None:
        raise ValueError(f"--host {args.host} opens the page to others: add --auth USER:FILE, or leave --host out")
    if not PORTS[0] <= args.port <= PORTS[1]:
        raise ValueError(f"--port {args.port}: give one from {PORTS[0]} to {PORTS[1]}")
    if args.root_path and not args.root_path.startswith(("/", "http://", "https://")):
        raise ValueError(f"--root-path {args.root_path}: give a path such as /lab/xray, or a whole address")
    for name, value in (("max-upload-mb", args.max_upload_mb), ("queue", args.queue)):
        if value < 1:
            raise ValueError(f"--{name} {value}: it must be 1 or more")
    limits = replace(Limits(), upload=args.max_upload_mb * MIB, waiting=args.queue)
    with temporary_folder() as root:
        services = services_of(root, args.checkpoint, args.synthesis, args.device, args.trust_remote_code, limits)
        hosts = None if args.host not in LOOPBACK else allowed_hosts(args.host, args.root_path)
        application = build(services, hosts=hosts, root_path=args.root_path, login=login)
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"http://{shown}:{args.port}  (Ctrl-C ends it and deletes what was sent; research use only)", flush=True)
        services.start()
        try:
            serve(application, args.host, args.port)
        finally:
            services.stop()
    return 0

"""The page of `radiolucent app` under load: time to the first result, frames a second, memory with many visitors.

python -m benchmarks.app [--visitors 1 5 20] [--side 512] [--seconds 5]

Starts a server of its own and drives it with the system's Chromium, each visitor a browser context: all of them turn
the packaged CT and then send a radiograph at the same time. One JSON line a case; memory is the server's alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
RESULT = "suppress-view[data-ready], [role=tabpanel]:visible [role=alert]"
# A hand that never rests: a new pose for every frame that the screen shows.
TURN = """(seconds) => new Promise((done) => {
  const view = document.querySelector('xray-view'), start = performance.now();
  const before = Number(view.dataset.frames || 0);
  const step = (now) => {
    if (now - start > 1000 * seconds) done((Number(view.dataset.frames) - before) / (now - start) * 1000);
    else { view.turn((now - start) / 20 % 360, 0); requestAnimationFrame(step); }
  };
  requestAnimationFrame(step);
})"""
BEGIN = "(seconds) => { window.rate = null; (" + TURN + ")(seconds).then((rate) => { window.rate = rate; }); }"


@contextmanager
def server() -> Iterator[tuple[str, psutil.Process, float]]:
    """Its address, its process, and the seconds until it listened."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    words = [sys.executable, "-m", "radiolucent", "app", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid), time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(20)


class Memory:
    """Greatest resident memory of a process while inside `with`, in MB."""

    def __init__(self, process: psutil.Process) -> None:
        self.process, self.most, self._stop = process, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, now(self.process))


def now(process: psutil.Process) -> float:
    """Resident memory in MB."""
    return process.memory_info().rss / 2**20


def radiograph(folder: Path, side: int) -> Path:
    """A PNG of the packaged CT in a digital look."""
    from drr import sample_ct
    from radiolucent.app.scene import Scene, Shot, picture
    from radiolucent.rendering.images import write_image

    shot = Shot(size=side, look=1)
    write_image(folder / "radiograph.png", picture(Scene.of(sample_ct(), "").lines(shot), shot), "Benchmark")
    return folder / "radiograph.png"


def visit(browser: Any, address: str) -> Any:
    """A new visitor, whose page is there."""
    page = browser.new_context().new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    page.get_by_role("tab", name="Suppress").wait_for()
    return page


def first_result(browser: Any, address: str, image: Path) -> dict[str, float]:
    """Seconds of one visitor: to the page, to its first radiograph without bones, and to the next."""
    start = time.perf_counter()
    page = visit(browser, address)
    seconds = {"page_s": time.perf_counter() - start}
    for case in ("first_result_s", "next_result_s"):
        start = time.perf_counter()
        page.locator("#radiograph input[type=file]").set_input_files(image)
        if case == "next_result_s":
            page.wait_for_function("!document.querySelector('suppress-view')")
        page.locator("suppress-view[data-ready]").wait_for()
        seconds[case] = time.perf_counter() - start
    page.context.close()
    return seconds


def crowd(browser: Any, address: str, image: Path, visitors: int, seconds: float) -> dict[str, float]:
    """All turn the CT for some seconds, then all send a radiograph: frames a second, results, refusals, seconds."""
    pages = [visit(browser, address) for _ in range(visitors)]
    for page in pages:
        page.get_by_role("tab", name="X-ray a CT").click()
        page.locator("xray-view[data-ready]").wait_for()
    for page in pages:
        page.evaluate(BEGIN, seconds)
    for page in pages:
        page.wait_for_function("window.rate !== null")
    rates = [page.evaluate("window.rate") for page in pages]
    start = time.perf_counter()
    for page in pages:
        page.get_by_role("tab", name="Suppress").click()
        page.locator("#radiograph input[type=file]").set_input_files(image)
    for page in pages:
        page.locator(RESULT).first.wait_for()
    wall = time.perf_counter() - start
    results = sum(page.locator("suppress-view[data-ready]").count() for page in pages)
    for page in pages:
        page.context.close()
    return {
        "frames_per_s_each": min(rates),
        "frames_per_s_all": sum(rates),
        "results": results,
        "refused": visitors - results,
        "results_wall_s": wall,
    }


def main() -> None:
    """Run the cases one after another on one server."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--side", type=int, default=512, help="of the radiograph that is sent, in pixels")
    parser.add_argument("--seconds", type=float, default=5.0, help="for which the CT is turned")
    args = parser.parse_args()
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        parser.error(f"no browser is installed: one of {', '.join(BROWSERS)} is needed")

    def tell(case: str, figures: dict[str, float]) -> None:
        rounded = {name: round(value, 2) for name, value in figures.items()}
        print(json.dumps({"case": case, "side": args.side, **rounded}), flush=True)

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        image = radiograph(Path(folder), args.side)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with server() as (address, process, started):
            tell("one visitor", {"start_s": started, "idle_mb": now(process), **first_result(browser, address, image)})
            for visitors in args.visitors:
                with Memory(process) as memory:
                    figures = crowd(browser, address, image, visitors, args.seconds)
                tell(f"{visitors} at once", {**figures, "peak_mb": memory.most, "after_mb": now(process)})
        browser.close()


if __name__ == "__main__":
    main()

"""How fast priors and currents with exact truth are made: `python -m benchmarks.studies [--pairs 50] [--workers 2]`.

One JSON line: pairs a second and CPU seconds a pair of `radiolucent drr --prior-current` on the packaged CT, and how
long 2,000 pairs take at that rate. The first pair of each worker (imports, compilation, reading the CT) is not counted
where there is one worker; with more, all is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from radiolucent.cli import dispatch

PLAN = Path(__file__).resolve().parents[1] / "configs" / "findings" / "chest.yaml"
GOAL = 2000  # pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--size", type=int, default=512, help="side of the pictures in pixels")
    parser.add_argument("--views", nargs="+", default=["PA"])
    parser.add_argument("--workers", type=int, default=0, help="worker processes; 0 is this process")
    parser.add_argument("--structures", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.workers:
            render(Path(folder), 1, options)
        start, spent = time.perf_counter(), cpu_seconds()
        render(Path(folder), options.pairs + (0 if options.workers else 1), options)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - spent
    line = {"case": "prior-current", "pairs": options.pairs, "views": options.views, "size": options.size}
    line |= {"workers": options.workers, "structures": options.structures, "cores": os.cpu_count()}
    line |= {
        "pairs_per_second": round(options.pairs / seconds, 3),
        "cpu_seconds_per_pair": round(cpu / options.pairs, 2),
    }
    print(json.dumps({**line, f"minutes_for_{GOAL}": round(GOAL * seconds / options.pairs / 60, 1)}))


def render(folder: Path, studies: int, options: argparse.Namespace) -> None:
    """As many pairs as are not there yet."""
    plan = folder / "plan.yaml"
    plan.write_text(PLAN.read_text().replace("studies: 20", f"studies: {studies}"))
    views = [word for view in options.views for word in ("--view", view)]
    words = ["drr", "sample", "--findings", str(plan), "--prior-current", *views, "--size", str(options.size)]
    words += ["--materials", "total", "--workers", str(options.workers), "--out", str(folder / "out")]
    if dispatch([*words, *(["--structures"] if options.structures else [])]):
        raise RuntimeError("studies were skipped: see errors.csv")


def cpu_seconds() -> float:
    """User and system time of this process and of those that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


if __name__ == "__main__":
    main()

"""Seconds of `import radiolucent` against a bare Python, each in a new process: what the front door costs.

python -m benchmarks.import_time [--repeats 15]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

CASES = {"bare": "pass", "radiolucent": "import radiolucent", "Suppressor": "from radiolucent import Suppressor"}


def seconds(code: str) -> float:
    """Wall time of a new process that runs the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Time the cases in turns, so that a busy machine slows all of them alike; medians, and ratios to bare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    if repeats < 1:
        parser.error(f"--repeats {repeats}: it must be 1 or more")
    for code in CASES.values():
        seconds(code)  # bytecode and the disk's cache
    rounds = [{name: seconds(code) for name, code in CASES.items()} for _ in range(repeats)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in CASES}
    for name, median in medians.items():
        print(json.dumps({"case": name, "seconds": round(median, 4), "ratio": round(median / medians["bare"], 2)}))


if __name__ == "__main__":
    main()

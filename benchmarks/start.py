"""What `radiolucent suppress` of one PNG costs before and beside its image: by package, and against torch alone.

python -m benchmarks.start [RADIOGRAPH] [--repeats 5]

Each case is a new process, in turns, so that a busy machine slows all of them alike; CPU seconds are what the processes
took, whoever else was waiting. The modules' own times are those of `python -X importtime`, largest first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

OURS = ("radiolucent", "radiographs", "diffusion", "evaluation", "vqgan", "drr", "lightning_modules")
SHOWN = 12  # packages


def measure(command: list[str]) -> tuple[float, float, str]:
    """(wall seconds, CPU seconds, what it wrote to its standard error) of a new process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def by_package(importtime: str) -> Counter[str]:
    """Seconds of import by top-level package, from what -X importtime wrote: each module's own, without its imports."""
    seconds: Counter[str] = Counter()
    for line in importtime.splitlines():
        own, _, name = line.removeprefix("import time:").split("|") if line.count("|") == 2 else ("", "", "")
        if own.strip().isdecimal():
            seconds[name.strip().split(".")[0]] += int(own) / 1e6
    return seconds


def main() -> None:
    """Print a line a case, and one of the packages' import times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("radiograph", nargs="?", help="default: the sample CT, 256 x 256")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for a busy core spin, which is no work
    with tempfile.TemporaryDirectory() as folder:
        radiograph = args.radiograph or _sample(Path(folder))
        suppress = ["-m", "radiolucent", "suppress", radiograph, "--out"]
        cases = {"python": ["-c", "pass"], "torch": ["-c", "import torch"], "suppress": suppress}
        found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in cases}
        for turn in range(args.repeats + 1):  # the first fills the disk's cache
            for name, command in cases.items():
                more = [f"{folder}/out{turn}"] if name == "suppress" else []
                found[name].append(measure([sys.executable, *command, *more]))
        medians = {
            name: [statistics.median(run[i] for run in runs[1:]) for i in (0, 1)] for name, runs in found.items()
        }
        for name, (wall, cpu) in medians.items():
            line = {"case": name, "wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
            print(json.dumps({**line, "cpu_over_torch": round(cpu / medians["torch"][1], 2)}))
        seconds = by_package(measure([sys.executable, "-X", "importtime", *suppress, f"{folder}/imports"])[2])
    own = sum(seconds[name] for name in OURS)
    print(json.dumps({"case": "imports", "ours_s": round(own, 3), "all_s": round(seconds.total(), 3)}))
    print(json.dumps({name: round(value, 3) for name, value in seconds.most_common(SHOWN)}))


def _sample(folder: Path) -> str:
    from drr import ConeBeam, detector_response, project, sample_ct
    from radiographs import write_radiograph

    volume = sample_ct()
    lines = project(volume, [ConeBeam.preset("PA", volume, (256, 256))], ("total",))
    write_radiograph(folder / "radiograph.png", detector_response(lines[0, 0]).numpy())
    return str(folder / "radiograph.png")


if __name__ == "__main__":
    main()

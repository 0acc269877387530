"""How fast pairs are drawn on the fly: `python -m benchmarks.pairs [--workers 2] [--size 256]`.

One JSON line for casting bodies (deformation and projections, once for a training) and one for each number of worker
processes: pairs a second through CTPairDataModule's loader, and over that of one process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

from lightning_modules.data.ct_pairs import CTPairDataModule, Projections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2], help="worker processes; 0 is this process")
    parser.add_argument("--size", type=int, default=256, help="side of the pairs in pixels")
    parser.add_argument("--pairs", type=int, default=400, help="pairs that are timed, for each number of workers")
    parser.add_argument("--bodies", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        made = CTPairDataModule(Projections(), bodies=options.bodies, cache=cache, workers=max(1, *options.workers))
        start = time.perf_counter()
        made.prepare_data()
        seconds = time.perf_counter() - start
        rate = options.bodies * Projections().poses / seconds
        print(json.dumps({"step": "cast", "bodies": options.bodies, "projections_per_second": round(rate, 2)}))
        first = None
        for workers in options.workers:
            rate = pairs_per_second(cache, workers, options)
            first = first or rate
            line = {"step": "draw", "workers": workers, "size": options.size, "pairs_per_second": round(rate, 1)}
            print(json.dumps({**line, "times_first": round(rate / first, 2)}), flush=True)


def pairs_per_second(cache: str, workers: int, options: argparse.Namespace) -> float:
    """Of a loader that is warm: the workers' start and first batch are not counted."""
    made = CTPairDataModule(
        Projections(),
        bodies=options.bodies,
        cache=cache,
        image_size=options.size,
        epoch_size=options.pairs + 8 * 8,
        workers=workers,
    )
    batches = iter(made.train_dataloader())
    for _ in range(8):
        next(batches)
    start = time.perf_counter()
    count = sum(len(batch["name"]) for batch in batches)
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

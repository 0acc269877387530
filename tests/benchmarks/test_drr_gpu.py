"""The GPU's timing script: walked through without a GPU, and its refusal."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs the extra `cuda`: pip install '.[cuda]'"
)


BOTH = """
import sys
from benchmarks.drr_gpu import main

for words in (["--dry-run"], ["--dry-run", "--minutes", "0"]):
    sys.argv[1:] = words
    main()
"""


def call(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def reports() -> list[dict[str, Any]]:
    """Of a dry run, and of one that has no time; of one process, whose imports take longer than both."""
    done = call("-c", BOTH)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_dry_run_times_every_case_and_ends_with_one_json(reports):
    report = reports[0]
    assert len(reports) == 2 and len(report["rows"]) == 2 * 2 * 1 * 2 and not report["not_reached"]
    for row in report["rows"]:
        assert row["ours_host_ms"] > 0 and row["ours_device_ms"] > 0 and row["turns"] == 1
        assert "nanodrr_host_ms" in row or "No module named" in row["nanodrr_failed"]
    exact = [row["ours_relative_l2"] for row in report["rows"] if row["materials"] == row["poses"] == 1]
    assert len(exact) == 2 and max(exact) < 1e-6
    assert min(report["limits"].values()) > 0


def test_cases_that_are_not_reached_are_listed(reports):
    report = reports[1]
    assert not report["rows"] and len(report["not_reached"]) == 8
    assert report["not_reached"][0] == {"materials": 1, "poses": 1, "size": 4, "view": "frontal"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    done = call("-m", "benchmarks.drr_gpu")
    assert done.returncode == 2 and "--dry-run" in done.stderr and "NVIDIA GPU" in done.stderr

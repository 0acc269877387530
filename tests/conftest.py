"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory) -> Path:
    """`radiolucent demo` with a few steps of training: every stage is real, the models are bad."""
    from radiolucent.cli import dispatch

    out = tmp_path_factory.mktemp("demo") / "demo_output"
    short = ["--bodies", "3", "--held-out", "1", "--vqgan-epochs", "1", "--diffusion-steps", "3", "--workers", "1"]
    assert dispatch(["demo", "--out", str(out), *short]) == 0
    return out

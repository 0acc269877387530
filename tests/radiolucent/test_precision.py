"""In which precision a CPU trains."""

from __future__ import annotations

import pytest
import torch

from radiolucent import precision


def test_bfloat16_is_taken_where_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for ratio, expected in ((0.5, "bf16-mixed"), (0.95, "32-true"), (9.0, "32-true")):
        monkeypatch.setattr(precision, "bfloat16_time", lambda ratio=ratio: ratio)
        assert precision.training_precision("cpu") == expected
        assert precision.training_precision("cuda") == "bf16-mixed"


def test_the_step_is_measured_once_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    ratio = precision.bfloat16_time()
    assert 0 < ratio < float("inf") and precision.bfloat16_time() == ratio
    assert torch.equal(torch.get_rng_state(), before)

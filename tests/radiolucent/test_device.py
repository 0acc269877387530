"""What --device means."""

from __future__ import annotations

import pytest
import torch

from radiolucent.device import choose_device


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert [choose_device("auto", gpus) for gpus in (0, 1, 8)] == ["cpu", "cuda", "cuda"]
    assert choose_device("cpu", 8) == "cpu" and choose_device("cuda", 1) == "cuda"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(ValueError, match="no CUDA device was found; use --device cpu"):
        choose_device("cuda", 0)
